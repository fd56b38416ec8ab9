package edge

import (
	"bytes"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// message takes a message from a flow; here the data path begins. It is called
// in the order in which the messages came.
func (e *Edge) message(t *turn, f *Flow, m *sip.Message) {
	if m.IsRequest() {
		e.handleRequest(t, f, m)
		return
	}
	e.handleResponse(t, f, m)
}

var (
	methodAck     = []byte("ACK")
	methodCancel  = []byte("CANCEL")
	methodOptions = []byte("OPTIONS")
)

// handleRequest is the only way through the edge. A request passes two doors:
// admit asks whether this peer may say this, permit whether it may go there.
func (e *Edge) handleRequest(t *turn, f *Flow, m *sip.Message) {
	if e.overload.on.Load() && e.weigh(t, f, m) {
		return
	}
	r := e.requests.Get().(*request)
	defer e.release(r)
	r.f, r.m, r.turn, r.began = f, m, t, time.Now()
	r.read(e)
	switch {
	case bytes.Equal(m.Method(), methodAck):
		e.handleAck(t, r)
		return
	case bytes.Equal(m.Method(), methodCancel) && m.Fault() == nil:
		e.handleCancel(t, r)
		return
	case e.negotiates(r):
		e.decline(t, r)
		return
	}
	v := e.judge(r)
	if e.oneWay(r) {
		e.pushOn(t, r, v)
		return
	}
	if !v.Allowed() {
		e.refuse(t, r, v)
		return
	}
	if r.forEdge() {
		e.answerSelf(t, r)
		return
	}
	e.locate(r)
	wait, ok := e.registerTurn(r)
	if !ok {
		e.refuse(t, r, allowlists.Refusal(allowlists.AccessRate, r.way.pool.rule))
		return
	}
	if x := e.begin(t, r); x != nil {
		x.try(t, m, wait)
	}
}

// judge walks a request through the two doors and finds its way. Explain calls
// it, too, with a request that it makes up.
func (e *Edge) judge(r *request) allowlists.Verdict {
	if v := e.validate(r); !v.Allowed() {
		return v
	}
	if v := e.readRoute(r); !v.Allowed() {
		return v
	}
	v := e.admit(r)
	if !v.Allowed() {
		return v
	}
	r.audit.rule, r.audit.reason = v.Rule, v.Reason
	if v := e.route(r); !v.Allowed() {
		return v
	}
	if v := e.permit(r); !v.Allowed() {
		return v
	} else if v.Reason != allowlists.ReasonNone {
		r.audit.rule, r.audit.reason = v.Rule, v.Reason
	}
	return allowlists.Verdict{Action: allowlists.Allow, Reason: r.audit.reason, Rule: r.audit.rule}
}

// release gives r back.
func (e *Edge) release(r *request) {
	r.trial.Settle(remoteaccess.OutcomeNone) // it went no further
	*r = request{}
	e.requests.Put(r)
}

// broken answers a message whose end cannot be known; the transport closes the
// connection then.
func (e *Edge) broken(t *turn, f *Flow, m *sip.Message, err *sip.Error) {
	if !m.IsRequest() || bytes.Equal(m.Method(), methodAck) {
		e.dropped(f, m)
		return
	}
	r := e.requests.Get().(*request)
	defer e.release(r)
	r.f, r.m, r.began = f, m, time.Now()
	r.audit.begin(r)
	e.refuseFault(t, r, err)
}

package home

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A Call is one end of a call (RFC 3261 §13): the end that began it, with Dial,
// or the end that was called, in OnCall.
type Call struct {
	u   *User
	key string

	ringing, answered, acked, ended event
	done                            chan struct{} // the final answer of a call that we began

	// Of a call that we began; what follows done is set when it is closed.
	invite *sip.Request
	result Answer
	err    error

	// Of a call that came in.
	req *sip.Request
	tx  sip.ServerTransaction
	tag string

	mu          sync.Mutex // guards what follows
	dialog      *dialog
	provisional []int
}

func (u *User) newCall() *Call {
	return &Call{
		u: u, ringing: newEvent(), answered: newEvent(), acked: newEvent(), ended: newEvent(),
		done: make(chan struct{}),
	}
}

// An event happens once. Those who wait for it see the channel closed.
type event struct {
	c    chan struct{}
	once *sync.Once
}

func newEvent() event   { return event{make(chan struct{}), new(sync.Once)} }
func (e event) happen() { e.once.Do(func() { close(e.c) }) }

func (e event) happened() bool {
	select {
	case <-e.c:
		return true
	default:
		return false
	}
}

// Ringing happens when the other end rings.
func (c *Call) Ringing() <-chan struct{} { return c.ringing.c }

// Acked happens when the caller has confirmed our answer.
func (c *Call) Acked() <-chan struct{} { return c.acked.c }

// Ended happens when the other end hangs up, or takes its call back.
func (c *Call) Ended() <-chan struct{} { return c.ended.c }

// CallID names the call.
func (c *Call) CallID() string {
	if c.invite != nil {
		return c.invite.CallID().Value()
	}
	return c.req.CallID().Value()
}

// Hops is how many have sent the INVITE of a call that came in.
func (c *Call) Hops() int {
	if c.req == nil {
		return 0
	}
	return len(c.req.GetHeaders("Via"))
}

// Dial begins a call. It returns when the INVITE is sent; Wait tells the answer.
func (u *User) Dial(ctx context.Context, to string) (*Call, error) {
	req, err := u.request(sip.INVITE, to)
	if err != nil {
		return nil, err
	}
	req.AppendHeader(&sip.ContactHeader{Address: u.place()})
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody([]byte(sessionDescription))
	c := u.newCall()
	c.invite = req
	c.key = dialling(req)
	if err := u.keep(c); err != nil {
		return nil, err
	}
	start := time.Now()
	tx, err := u.begin(ctx, req)
	if err != nil {
		u.forget(c)
		return nil, err
	}
	u.wg.Go(func() {
		defer close(c.done)
		defer tx.Terminate()
		res, err := final(context.Background(), tx)
		u.forget(c)
		if err != nil {
			c.err = fmt.Errorf("INVITE: %w", err)
			return
		}
		c.result = answer(req, res, start)
		if res.IsSuccess() {
			c.err = c.confirm(res)
		}
		c.mu.Lock()
		c.result.Provisional = c.provisional
		c.mu.Unlock()
	})
	return c, nil
}

// dialling is the key of a call that has no dialog yet.
func dialling(m sip.Message) string { return "dialling " + m.CallID().Value() }

// sessionDescription offers audio that nobody will send: the port is the
// discard port.
const sessionDescription = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"

// onProvisional sees each message in its turn. sipgo's transactions handle each
// in a goroutine of its own: a 180 that comes right before its 200 is mostly
// overtaken, and then thrown away.
func (u *User) onProvisional(m sip.Message) {
	res, ok := m.(*sip.Response)
	if !ok || res.StatusCode <= 100 || !res.IsProvisional() || res.CallID() == nil {
		return
	}
	u.mu.Lock()
	c := u.calls[dialling(res)]
	u.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	c.provisional = append(c.provisional, res.StatusCode)
	c.mu.Unlock()
	if res.StatusCode == 180 {
		c.ringing.happen()
	}
}

// confirm makes the dialog and sends the ACK of a 2xx (RFC 3261 §13.2.2.4).
func (c *Call) confirm(res *sip.Response) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialog = answered(c.invite, res)
	c.key = c.dialog.key()
	if err := c.u.keep(c); err != nil {
		return err
	}
	ack := c.dialog.request(sip.ACK)
	ack.SetTransport(c.u.transport())
	ack.SetDestination(c.invite.Destination())
	return c.u.client.WriteRequest(ack)
}

// Wait waits for the final answer of a call that we began.
func (c *Call) Wait(ctx context.Context) (Answer, error) {
	select {
	case <-c.done:
		return c.result, c.err
	case <-ctx.Done():
		return Answer{}, fmt.Errorf("INVITE: %w", ctx.Err())
	}
}

// Cancel takes a call back that has not been answered (RFC 3261 §9.1). Wait
// still tells how the call itself ended: 487, or 200 if the two crossed.
func (c *Call) Cancel(ctx context.Context) (Answer, error) {
	start := time.Now()
	req := sip.NewRequest(sip.CANCEL, c.invite.Recipient)
	for _, name := range []string{"Via", "Max-Forwards", "From", "To", "Call-ID", "Route"} {
		sip.CopyHeaders(name, c.invite, req)
	}
	req.AppendHeader(&sip.CSeqHeader{SeqNo: c.invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	res, err := c.u.exchange(ctx, c.invite.Destination(), req)
	if err != nil {
		return Answer{}, fmt.Errorf("CANCEL: %w", err)
	}
	return answer(req, res, start), nil
}

// HangUp ends a call that was answered.
func (c *Call) HangUp(ctx context.Context) (Answer, error) {
	c.mu.Lock()
	d := c.dialog
	c.mu.Unlock()
	if d == nil {
		return Answer{}, errors.New("home: hang up: no call")
	}
	defer c.u.forget(c)
	return c.u.ask(ctx, d.request(sip.BYE))
}

// keep makes what belongs to the call find it.
func (u *User) keep(c *Call) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.calls) >= maxCalls {
		return errors.New("home: too many calls")
	}
	u.calls[c.key] = c
	return nil
}

func (u *User) forget(c *Call) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.calls, c.key)
}

// called finds the call of a request in a dialog.
func (u *User) called(req *sip.Request) *Call {
	u.mu.Lock()
	c := u.calls[watchKey(req.CallID().Value(), req.To().Params)]
	u.mu.Unlock()
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dialog.named(req) {
		return nil
	}
	return c
}

func (u *User) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	if req.To().Params.Has("tag") {
		reply(req, tx, 488, "Not Acceptable Here") // a call of this user agent does not change
		return
	}
	c := u.newCall()
	c.req, c.tx, c.tag = req, tx, sip.GenerateTagN(10)
	c.dialog = answering(req, c.tag)
	c.key = c.dialog.key()
	if err := u.keep(c); err != nil {
		reply(req, tx, 486, "Busy Here")
		return
	}
	tx.OnCancel(func(*sip.Request) { u.forget(c); c.ended.happen() })
	u.cfg.OnCall(c)
	c.answer(480, "Temporarily Unavailable") // if the script has not
}

// Ring tells the caller that our end rings.
func (c *Call) Ring() error { return c.tx.Respond(c.response(180, "Ringing")) }

// Accept answers a call that came in.
func (c *Call) Accept() error { return c.answer(200, "OK") }

// Decline refuses it.
func (c *Call) Decline(status int, reason string) error { return c.answer(status, reason) }

func (c *Call) answer(status int, reason string) error {
	if c.answered.happened() {
		return nil
	}
	c.answered.happen()
	if status >= 300 {
		c.u.forget(c)
	}
	res := c.response(status, reason)
	if status == 200 {
		res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		res.SetBody([]byte(sessionDescription))
	}
	return c.tx.Respond(res)
}

func (c *Call) response(status int, reason string) *sip.Response {
	res := sip.NewResponseFromRequest(c.req, status, reason, nil)
	res.To().Params.Add("tag", c.tag) // one tag for all answers (RFC 3261 §8.2.6.2)
	if status < 300 {
		res.AppendHeader(&sip.ContactHeader{Address: c.u.place()})
	}
	return res
}

func (u *User) onAck(req *sip.Request, _ sip.ServerTransaction) {
	if c := u.called(req); c != nil {
		c.acked.happen()
	}
}

func (u *User) onBye(req *sip.Request, tx sip.ServerTransaction) {
	c := u.called(req)
	if c == nil {
		reply(req, tx, 481, "No Such Call")
		return
	}
	u.forget(c)
	reply(req, tx, 200, "OK")
	c.ended.happen()
}

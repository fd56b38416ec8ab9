package edge

import (
	"fmt"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/sip"
)

// A Query asks what would become of a request.
type Query struct {
	From, To string // user@domain
	Method   string
	// Peer is what the certificate of the connection would prove. Nil: nothing,
	// unless the request comes from inside.
	Peer *certs.Identity
	// Inside says that a home server of ours sends it.
	Inside bool
}

// A Step is one thing that the doors looked at.
type Step struct {
	Name   string            // "syntax", "identity and partner", "route"
	Detail string            // what was looked at
	Passed bool              // or refused here
	Reason allowlists.Reason // if it says one
	Rule   allowlists.Rule   // if one decided
}

// An Explanation is what would become of a request, and why.
type Explanation struct {
	Verdict allowlists.Verdict
	Steps   []Step
	// Answer is what the peer would see: a status line and, for a refusal, the
	// Warning. Empty when the next hop would answer.
	Answer []string
	// Target is where it would go: a pool or a partner. Empty when refused.
	Target string
}

// Explain asks the doors about a request that nobody sent. It is the code that
// decides about those that come: the request is written out, read and judged.
func (e *Edge) Explain(q Query) (Explanation, error) {
	raw := fmt.Appendf(nil, "%[1]s sip:%[2]s SIP/2.0\r\nVia: SIP/2.0/TLS explain.invalid;branch=z9hG4bKexplain\r\n"+
		"Max-Forwards: 70\r\nFrom: <sip:%[3]s>;tag=explain\r\nTo: <sip:%[2]s>\r\nCall-ID: explain@%[4]s\r\n"+
		"CSeq: 1 %[1]s\r\nContent-Length: 0\r\n\r\n", q.Method, q.To, q.From, e.name)
	m := new(sip.Message)
	if err := m.Parse(raw, e.wire.limits); err != nil {
		return Explanation{}, fmt.Errorf("write the request: %w", err)
	}
	var x Explanation
	r := &request{f: e.explainFlow(q), m: m}
	r.note = func(s Step) { x.Steps = append(x.Steps, s) }
	r.read(e)
	x.Verdict = e.judge(r)
	x.conclude(e, r)
	return x, nil
}

// explainFlow is the connection that the request of q would come on.
func (e *Edge) explainFlow(q Query) *Flow {
	f := &Flow{Role: RoleFederation, Peer: q.Peer}
	if !q.Inside {
		return f
	}
	f.Role = RoleInternal
	f.state.pools = e.pools
	f.state.rule = allowlists.Rule{Name: "our home servers", File: e.config.File}
	return f
}

// conclude says what the peer sees and where the request goes.
func (x *Explanation) conclude(e *Edge, r *request) {
	switch v := x.Verdict; {
	case !v.Allowed():
		status := v.Code()
		x.Answer = []string{
			fmt.Sprintf("%d %s", status, sip.Phrase(status)),
			fmt.Sprintf("Warning: 399 %s \"%s; ref=...\"", e.name, sip.Phrase(status)),
		}
	case r.forEdge():
		x.Answer = []string{"200 OK"}
		x.Target = "the edge itself"
	case r.plan.outbound:
		x.Target = "partner " + string(r.to)
	default:
		x.Target = "pool " + r.way.pool.name
	}
}

package edge

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/sip"
)

// A Query asks what would become of a request.
type Query struct {
	From, To string // user@domain
	Method   string
	// Event is that of a SUBSCRIBE, NOTIFY or PUBLISH; "" is presence.
	Event string
	// ContentType and Body are what it carries; a Body needs a ContentType.
	ContentType string
	Body        []byte
	// Peer is what the certificate of the connection would prove. Nil: nothing,
	// unless the request comes from inside.
	Peer *certs.Identity
	// Inside says that a home server of ours sends it.
	Inside bool
	// Remote says that a user of ours sends it, outside: who signs in with a REGISTER,
	// or has signed in with all else.
	Remote bool
	// Bridge is the network by whose bridge it comes; "": by none.
	Bridge string
	// Proof is what proves the domain in From there.
	Proof bridges.Proof
	// Source is where a user outside comes from; the zero one is not known.
	Source netip.Addr
	// Tries says that the request brings credentials, as a REGISTER does in the end.
	Tries bool
}

// A Step is one thing that the doors looked at.
type Step struct {
	Name   string            // "syntax", "partner", "method", "route"
	Detail string            // what was looked at, and what is asked for
	Passed bool              // or refused here
	Late   bool              // behind the first refusal: the request does not come so far
	Reason allowlists.Reason // if it says one
	Rule   allowlists.Rule   // if one decided
}

// An Explanation is what would become of a request, and why.
type Explanation struct {
	Verdict allowlists.Verdict
	// Steps are those up to the verdict, and what the doors would say next if
	// it was another one.
	Steps []Step
	// Answer is what the peer would see: a status line and, for a refusal, the
	// Warning. Empty when the next hop would answer.
	Answer []string
	// Target is where it goes, or would if it was not refused: a pool or a
	// partner. Empty where nobody can say.
	Target string
}

// A walk is what explain takes down of a request on its way through the doors.
type walk struct {
	steps  []Step
	denied *allowlists.Verdict // the first refusal
	target string              // the SRV target that the certificate proves
	tries  bool                // the request brings credentials
}

// add takes down one step. Behind a refusal the walk goes on as if there was
// none, so that people learn what else would be in the way.
func (w *walk) add(name, detail string, v allowlists.Verdict) allowlists.Verdict {
	w.steps = append(w.steps, Step{name, detail, v.Allowed(), w.denied != nil, v.Reason, v.Rule})
	if v.Allowed() {
		return v
	}
	if w.denied == nil {
		w.denied = &v
	}
	return pass
}

// adopt takes the steps with a name over from another walk.
func (w *walk) adopt(o *walk, name string) {
	for _, s := range o.steps {
		if s.Name != name {
			continue
		}
		v := allowlists.Verdict{Action: allowlists.Allow, Reason: s.Reason, Rule: s.Rule}
		if !s.Passed {
			v = *o.denied
		}
		w.add(s.Name, s.Detail, v)
	}
}

// Explain asks the doors about a request that nobody sent. It is the code that
// decides about those that come: the request is written out, read and judged. DNS
// is asked where the doors or the way depend on it; nothing is counted.
func (e *Edge) Explain(q Query) (Explanation, error) {
	m := new(sip.Message)
	if err := m.Parse(q.write(e.name), e.wire.limits); err != nil {
		return Explanation{}, fmt.Errorf("write the request: %w", err)
	}
	f := e.explainFlow(q)
	if f == nil {
		return Explanation{}, fmt.Errorf("there is no bridge to %s: sipedge.toml has no [bridge.%s]", q.Bridge, q.Bridge)
	}
	r := &request{f: f, m: m, began: time.Now(), note: &walk{tries: q.Tries}}
	r.read(e)
	if n := len(q.Body); n > e.limits.Body {
		// The connection would end here, before anything is judged.
		r.note.add("length", fmt.Sprintf("a body of %d octets", n),
			allowlists.Verdict{Status: 513, Reason: allowlists.SIPTooLarge, Rule: e.limitsRule("body")})
	}
	x := Explanation{Verdict: e.judge(r)}
	if r.note.denied != nil {
		x.Verdict = *r.note.denied
	}
	x.Steps = r.note.steps
	x.conclude(e, r)
	if q.Remote && !r.plan.outbound && r.way.pool != nil && e.poolOf(r.to) == nil {
		return x, x.explainOnward(e, q)
	}
	return x, nil
}

// write writes the request out.
func (q Query) write(name string) []byte {
	target := q.To
	if q.Remote && q.Method == "REGISTER" {
		_, target, _ = cutAddress(q.To)
	}
	b := fmt.Appendf(nil, "%[1]s sip:%[5]s SIP/2.0\r\nVia: SIP/2.0/TLS explain.invalid;branch=z9hG4bKexplain\r\n"+
		"Max-Forwards: 70\r\nFrom: <sip:%[3]s>;tag=explain\r\nTo: <sip:%[2]s>\r\nCall-ID: explain@%[4]s\r\n"+
		"CSeq: 1 %[1]s\r\n", q.Method, q.To, q.From, name, target)
	switch q.Method {
	case "SUBSCRIBE", "NOTIFY", "BENOTIFY", "PUBLISH":
		event := q.Event
		if event == "" {
			event = "presence"
		}
		b = fmt.Appendf(b, "Event: %s\r\n", event)
	}
	if q.ContentType != "" {
		b = fmt.Appendf(b, "Content-Type: %s\r\n", q.ContentType)
	}
	return append(fmt.Appendf(b, "Content-Length: %d\r\n\r\n", len(q.Body)), q.Body...)
}

// explainFlow is the connection that the request of q would come on; nil: there is no
// such bridge.
func (e *Edge) explainFlow(q Query) *Flow {
	f := &Flow{Role: RoleFederation, Peer: q.Peer}
	switch {
	case q.Bridge != "":
		return e.explainSeat(q.Bridge, q.Proof)
	case q.Remote:
		f.Role, f.Remote = RoleRemote, netip.AddrPortFrom(q.Source, 0)
		e.explainUser(f, q)
		return f
	case !q.Inside:
		return f
	}
	f.Role = RoleInternal
	f.state.pools = e.pools
	f.state.rule = allowlists.Rule{Name: "our home servers", File: e.config.File}
	return f
}

// explainAdmit is admitPartner with each of its checks as a step: what it says is
// the verdict, and federation names the checks.
func (e *Edge) explainAdmit(r *request) allowlists.Verdict {
	w, aside := r.note, new(walk)
	r.note = aside // for what admitPartner says itself
	v := e.admitPartner(r)
	r.note = w
	q := e.explainQuestion(r, r.from)
	q.Target, q.Searched = aside.target, aside.target != ""
	said := v.Allowed() || aside.denied != nil
	for _, f := range e.partners.Load().Examine(allowlists.In, r.f.Peer, q) {
		if f.Name == "identity" {
			w.adopt(aside, "srv")
			if aside.denied != nil && aside.denied.Reason == allowlists.IdentityUnproven {
				continue // what DNS did not say, nobody can judge
			}
		}
		f.Verdict = notAcceptable(r.m, f.Verdict)
		said = said || f.Verdict == v
		w.add(f.Name, f.Detail, f.Verdict)
	}
	if w.adopt(aside, "limits"); !said {
		w.add("partner", string(r.from), v)
	}
	e.explainLimits(r)
	if !v.Allowed() {
		return pass
	}
	return v
}

// explainQuestion is what the lists are asked about r, with what it carries.
func (e *Edge) explainQuestion(r *request, remote []byte) federation.Request {
	q := r.question(remote, e.partners.Load())
	q.Kinds = kindsOf(r.m)
	return q
}

// explainLimits says what the partner may send. Whether it does so now, only the
// edge that runs can say.
func (e *Edge) explainLimits(r *request) {
	var limits []string
	if rate := r.grant.Rate(); rate > 0 {
		limits = append(limits, fmt.Sprintf("rate = %g a second", rate))
	}
	if r.audit.method == "SUBSCRIBE" && r.grant.Tier != federation.TierNone {
		n, _ := e.subscriptionLimit(r.grant)
		limits = append(limits, fmt.Sprintf("%d subscriptions at a time", n))
	}
	if limits != nil {
		r.note.add("limits", strings.Join(limits, ", "), pass)
	}
}

// explainPermit is permit with each of its checks as a step, and with the next
// hops.
func (e *Edge) explainPermit(r *request, v allowlists.Verdict) allowlists.Verdict {
	said := v.Allowed()
	for _, f := range e.partners.Load().Examine(allowlists.Out, nil, e.explainQuestion(r, r.to)) {
		f.Verdict = notAcceptable(r.m, f.Verdict)
		said = said || f.Verdict == v
		r.note.add(f.Name, f.Detail, f.Verdict)
	}
	if !said {
		r.note.add("partner", string(r.to), v)
	}
	if e.bridges != nil && v.Reason != allowlists.PartnerBlocked {
		e.explainWay(r)
	} else {
		e.explainHops(r)
	}
	if !v.Allowed() {
		return pass
	}
	return v
}

// explainHops says where the partner's servers are, as locate would find them.
func (e *Edge) explainHops(r *request) {
	route, ok := e.partners.Load().Dial(r.to)
	switch {
	case !ok && r.grant.Reason == allowlists.PartnerBlocked:
		return // nobody wants to know
	case !ok:
		route = federation.Route{Domain: string(r.to), Tier: federation.TierDiscovered}
	case route.Direct():
		r.note.add("next hop", strings.Join(route.Servers, ", "), pass)
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, dialTimeout)
	defer cancel()
	hops, err := e.directory(route.Tier).Partner(ctx, route.Domain)
	if err != nil {
		r.note.add("next hop", err.Error(), allowlists.Verdict{Status: 504, Reason: hopReason(err)})
		return
	}
	r.note.add("next hop", hopNames(hops), pass)
}

// hopNames lists the first hops.
func hopNames(hops []locate.Hop) string {
	const most = 3
	var names []string
	for _, h := range hops[:min(len(hops), most)] {
		names = append(names, h.String())
	}
	if len(hops) > most {
		names = append(names, fmt.Sprintf("and %d more", len(hops)-most))
	}
	return strings.Join(names, ", ")
}

// conclude says what the peer sees and where the request goes.
func (x *Explanation) conclude(e *Edge, r *request) {
	x.Target = e.explainTarget(r)
	for i, s := range slices.Backward(x.Steps) {
		switch {
		case s.Name != "route":
			continue
		case r.way.pool != nil:
			x.Steps[i].Detail = s.Detail + " -> " + x.Target
		case e.poolOf(r.to) == nil && !e.asksUs(r):
			x.Steps[i].Detail = s.Detail + " is not ours"
		}
		break
	}
	switch v := x.Verdict; {
	case !v.Allowed():
		status := v.Code()
		x.Answer = []string{
			fmt.Sprintf("%d %s", status, sip.Phrase(status)),
			fmt.Sprintf("Warning: 399 %s \"%s; ref=...\"", e.name, sip.Phrase(status)),
		}
	case r.forEdge():
		x.Answer = []string{"200 OK"}
	}
}

// explainTarget names where the request goes.
func (e *Edge) explainTarget(r *request) string {
	switch {
	case r.plan.outbound && r.plan.bridge != nil:
		return r.plan.bridge.String() + ", for " + string(r.to)
	case r.plan.outbound:
		return "partner " + string(r.to)
	case r.way.pool != nil:
		text := "pool " + r.way.pool.name
		for i, s := range r.way.pool.servers {
			if i == 0 {
				text += ", " + s.addr
			}
		}
		if n := len(r.way.pool.servers); n > 1 {
			text += fmt.Sprintf(" + %d more", n-1)
		}
		return text
	case e.asksUs(r):
		return "the edge itself"
	}
	return ""
}

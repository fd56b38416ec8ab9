package edge

import (
	"bytes"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// admitBridge asks whether a bridge may say this for the domain in From: by the lists
// of partners, with what the bridge has proved in the place of a certificate; and
// whether the user of ours may be reached from the network at all.
func (e *Edge) admitBridge(r *request) allowlists.Verdict {
	b, lists := r.f.bridge, e.partners.Load()
	g := lists.AdmitBridged(b.Name, proofOf(b.proof), r.question(r.from, lists))
	g.Verdict = notAcceptable(r.m, g.Verdict)
	r.grant = g
	if r.note != nil {
		return e.explainBridged(r)
	}
	if e.isLastWord(r, b) {
		r.grant.Verdict = allowlists.Allowance(allowlists.DialogAllowed, g.Rule)
		return r.grant.Verdict
	}
	if !g.Allowed() {
		e.knocked(r, g)
		return g.Verdict
	}
	if v := e.besideLists(r, b); !v.Allowed() {
		return v
	}
	if v := e.within(r, lists); !v.Allowed() {
		return v
	}
	if r.bound {
		g.Reason = allowlists.DialogAllowed
	}
	return g.Verdict
}

// isLastWord reports whether the bridge says by itself, and for nobody, that a
// subscription of our user's device is over. That passes whatever the lists and the
// user's opt-in say by now: else the device would show what it saw last until the
// subscription runs out. Nothing of the other side is in it: no body, and every field
// is the bridge's own or the device's.
func (e *Edge) isLastWord(r *request, b *bridge) bool {
	if !r.bound || b.proof != bridges.ProofBridge || r.audit.method != "NOTIFY" || len(r.m.Body()) > 0 || r.m.Count(sip.SubscriptionState) != 1 {
		return false
	}
	state, _, _ := bytes.Cut(r.m.Value(sip.SubscriptionState), []byte(";"))
	return bytes.EqualFold(bytes.TrimSpace(state), []byte("terminated")) && e.isBridgeDialog(r, b)
}

// besideLists judges what comes by a bridge in what the lists say nothing of.
func (e *Edge) besideLists(r *request, b *bridge) allowlists.Verdict {
	switch {
	case r.unmarked():
		return step(r, "mark", "proved by "+b.proof.String()+" alone", allowlists.Refusal(allowlists.PartnerUnmarked, r.grant.Rule))
	case r.bound && !e.isBridgeDialog(r, b):
		return step(r, "dialog", "another one's token", allowlists.Refusal(allowlists.RouteTokenInvalid, r.grant.Rule))
	}
	if v := r.refers(); !v.Allowed() {
		return v
	}
	return e.mayBeReached(r, b)
}

// isBridgeDialog reports whether the token of r is that of a dialog between one of
// our users and the domain that the request comes from, by this bridge.
func (e *Edge) isBridgeDialog(r *request, b *bridge) bool {
	return r.token.kind == tokenBridge && r.token.device == e.tokens.network(r.tokenKey, b.Name) && string(r.token.party) == string(r.from)
}

// network is how a token names a bridge.
func (s *signer) network(key int, name string) uint64 {
	return s.digest(key, []byte("network"), []byte(name))
}

// mayBeReached asks whether a user of ours may be reached from the network. To the
// outside it looks as if there was no such user: who is there is nobody's business
// who may not talk to them.
func (e *Edge) mayBeReached(r *request, b *bridge) allowlists.Verdict {
	if e.poolOf(r.to) == nil && !r.bound {
		return pass // route says what is wrong
	}
	v := e.optedIn(r, b, allowlists.In)
	if v.Status = 404; v.Allowed() {
		v.Status = 0
	} else if r.bound {
		v.Status = 0 // it was there when the dialog began
	}
	return step(r, "opt-in", r.ourUser(), v)
}

// optedIn asks whether the user of ours in r may use the network, one way. Within a
// dialog it was asked when that began; then he must merely still use it, whichever
// way. What ends or confirms something passes.
func (e *Edge) optedIn(r *request, b *bridge, d allowlists.Direction) allowlists.Verdict {
	user, domain := r.uri.User, r.to
	if d == allowlists.Out {
		user, domain = r.fromURI.User, r.from
	}
	p := e.policy.Load()
	if !r.bound {
		if !b.serves(domain) {
			return allowlists.Refusal(allowlists.BridgeNotEnabled, b.Rule)
		}
		return p.Decide(b.Name, user, domain, d)
	}
	switch r.audit.method {
	case "ACK", "BYE", "CANCEL":
		return pass
	}
	if d == allowlists.In {
		// The Request-URI is a Contact there; whose dialog it is says To.
		uri, err := r.m.ToURI()
		if err != nil {
			return allowlists.Refusal(allowlists.BridgeNotEnabled, b.Rule) // nobody knows whose it is
		}
		var room [256]byte
		user, domain = uri.User, sip.AppendDomain(room[:0], uri.Host)
	}
	if v := p.Decide(b.Name, user, domain, allowlists.In); v.Allowed() {
		return v
	}
	return p.Decide(b.Name, user, domain, allowlists.Out)
}

// ourUser is who of ours the request is from or for, for explain.
func (r *request) ourUser() string {
	if r.note == nil {
		return ""
	}
	user, domain := r.uri.User, r.to
	if r.f.Role == RoleInternal {
		user, domain = r.fromURI.User, r.from
	}
	return string(user) + "@" + string(domain)
}

// permitBridge decides by which network a request leaves that the lists let go to a
// domain, and whether it may leave by that: SIP first, unless the partner's entry
// says otherwise; a bridge where there is no SIP service. v is what the lists said.
func (e *Edge) permitBridge(r *request, v allowlists.Verdict) allowlists.Verdict {
	if r.bound {
		return e.permitBridged(r, v)
	}
	pin := r.grant.Network()
	b := e.bridgeTo(r, pin)
	switch {
	case b == nil && pin != "" && pin != federation.NetworkSIP:
		return step(r, "network", pin, allowlists.Refusal(allowlists.BridgeUnavailable, allowlists.Rule{Name: "no [bridge." + pin + "]", File: e.config.File}))
	case r.tunnel != nil && b != r.tunnel:
		return step(r, "network", pin, allowlists.Refusal(allowlists.BridgeNetwork, r.grant.Rule))
	case b == nil && e.outside == nil:
		return step(r, "network", "sip", noOutside)
	case b == nil:
		return v
	case pin != "" || r.tunnel != nil || e.outside == nil:
	default:
		switch e.sipService(r.to, r.grant.Tier) {
		case serviceThere:
			return v
		case serviceUnknown:
			// What is to be said of the bridge is said when DNS has answered.
			r.way.instead = &instead{bridge: b, verdict: e.mayLeave(r, b, v)}
			return v
		}
	}
	r.plan.bridge = b
	r.explainNetwork(b, pin)
	return e.mayLeave(r, b, v)
}

// noOutside refuses what would leave for a partner by SIP where nothing listens for
// partners.
var noOutside = allowlists.Refusal(allowlists.PartnerNotAllowed, allowlists.Rule{Name: "no listener with role federation"})

// permitBridged is permitBridge within a dialog, which goes on as it began.
func (e *Edge) permitBridged(r *request, v allowlists.Verdict) allowlists.Verdict {
	b, network := r.plan.bridge, federation.NetworkSIP
	if b != nil {
		network = b.Name
	}
	switch pin := r.grant.Network(); {
	case pin != "" && pin != network:
		return allowlists.Refusal(allowlists.BridgeNetwork, r.grant.Rule)
	case b == nil && e.outside == nil:
		return noOutside
	case b == nil:
		return v
	}
	return e.mayLeave(r, b, v)
}

// bridgeTo returns the bridge by which a domain may be reached, nil if only SIP can.
func (e *Edge) bridgeTo(r *request, pin string) *bridge {
	if r.tunnel != nil && (pin == "" || pin == r.tunnel.Name) {
		return r.tunnel
	}
	for _, b := range e.bridges {
		if pin == "" || pin == b.Name {
			return b
		}
	}
	return nil
}

// A service is whether a domain has a SIP service.
type service int

const (
	serviceUnknown service = iota // DNS is to be asked
	serviceThere
	serviceAbsent
)

// sipService says whether a domain has a SIP service, as far as is known without
// waiting. A connection that is open says more than DNS.
func (e *Edge) sipService(name []byte, tier federation.Tier) service {
	domain := string(name)
	d := e.directory(tier)
	if _, ok := d.CachedPartner(domain); ok {
		return serviceThere
	}
	e.partnersMu.RLock()
	p := e.partnerEdges[domain]
	e.partnersMu.RUnlock()
	switch {
	case p != nil && p.connected():
		return serviceThere
	case d.CachedAbsent(domain):
		return serviceAbsent
	}
	return serviceUnknown
}

// connected reports whether a connection to the partner is open.
func (p *partnerEdge) connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		if l.ready() != nil {
			return true
		}
	}
	return false
}

// mayLeave asks whether what the lists let go may leave by a bridge.
func (e *Edge) mayLeave(r *request, b *bridge, v allowlists.Verdict) allowlists.Verdict {
	switch {
	case secureOnly(r):
		return step(r, "scheme", "sips", allowlists.Refusal(allowlists.BridgeScheme, b.Rule))
	case r.m.Count(sip.SipedgeBridge) > 0 && !r.bound:
		return step(r, "loop", r.m.Value(sip.SipedgeBridge), allowlists.Refusal(allowlists.BridgeLoop, b.Rule))
	case b.paused() && !r.bound: // what has begun goes on
		return step(r, "bridge", b.String()+" is paused", b.unavailable())
	}
	if o := step(r, "opt-in", r.ourUser(), e.optedIn(r, b, allowlists.Out)); !o.Allowed() {
		return o
	}
	return v
}

// secureOnly reports whether a request wants TLS on all its way, in the Request-URI or
// To: no bridge can promise that, so it must not cross (RFC 7247 §8).
func secureOnly(r *request) bool {
	if bytes.EqualFold(r.uri.Scheme, []byte("sips")) {
		return true
	}
	to, err := r.m.To()
	return err == nil && len(to.URI) > 5 && bytes.EqualFold(to.URI[:5], []byte("sips:"))
}

// An instead is the bridge that takes a request if DNS says that there is no SIP
// service, and whether it may.
type instead struct {
	bridge  *bridge
	verdict allowlists.Verdict
}

// cross sends x by a bridge: there is no SIP service. The caller holds x.mu.
func (x *tx) cross(b *bridge) {
	x.plan.bridge, x.plan.border.bridged = b, true
	x.plan.device = x.edge.tokens.network(0, b.Name)
	x.way.bridge, x.way.flow = b, b.flow
}

// routeDialogBridge finds the way of a dialog with somebody whom a bridge reaches. A
// bridge that was started anew knows nothing of it and says so itself.
func (e *Edge) routeDialogBridge(r *request) allowlists.Verdict {
	p := e.poolOf(r.from)
	if p == nil || e.tokens.name(r.tokenKey, p.name) != r.token.pool {
		return allowlists.Refusal(allowlists.RouteTokenInvalid, allowlists.Rule{Name: "another pool's dialog"})
	}
	for _, b := range e.bridges {
		if e.tokens.network(r.tokenKey, b.Name) == r.token.device {
			r.plan.bridge = b
			return e.routePartner(r, r.token.party)
		}
	}
	return allowlists.Refusal(allowlists.RouteTokenInvalid, allowlists.Rule{Name: "bridge is gone"})
}

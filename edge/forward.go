package edge

import (
	"bytes"
	"strconv"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// A side is how we name ourselves on one side of the edge.
type side struct {
	via       string // "SIP/2.0/TLS edge1.example.com:5061;branch="
	host      string // "edge1.example.com:5061"
	transport string // "tls", "tcp" or "ws", as in a URI
	token     string // "TLS", "TCP" or "WSS", as in a Via
	web       *side  // the same by WebSocket, where one port has both; else nil
}

func newSide(host, transport, token string) *side {
	return &side{via: "SIP/2.0/" + token + " " + host + ";branch=", host: host, transport: transport, token: token}
}

// appendRoute appends our Record-Route for this side. The user part is the
// token; a sips request needs a sips URI (RFC 3261 §16.6 step 4), which says all
// about TLS, but not that there is a WebSocket on it (RFC 7118 §5.5).
func (s *side) appendRoute(dst, token []byte, sips bool) []byte {
	if sips {
		dst = append(dst, "<sips:"...)
	} else {
		dst = append(dst, "<sip:"...)
	}
	dst = append(append(append(dst, token...), '@'), s.host...)
	if !sips || s.transport == "ws" {
		dst = append(append(dst, ";transport="...), s.transport...)
	}
	return append(dst, ";lr>"...)
}

// A plan is how a request leaves, apart from what depends on the hop.
type plan struct {
	maxForwards int
	maxBreadth  int    // 0: as it came
	routes      int    // Route elements of ours on top
	outbound    bool   // to a partner, or to a user outside
	remote      bool   // who is outside is a user of ours
	record      bool   // we stay in the path
	sips        bool   // the Request-URI is a sips one
	dialog      bool   // within a dialog, by our token
	discovered  bool   // from a partner that nobody listed, and no part of a dialog
	border      border // what each side is told of the other
	target      uint64 // of that token
	tokenKey    int    // that signed it
	loop        uint64 // second part of the branch (RFC 5393 §4.2.1)
	throttles   bool   // its sender wants to be told about overload

	signIn *registration // of a REGISTER from outside; nil: none, or nothing will come of it
	bridge *bridge       // by which the request came, or leaves; nil: none
	hide   bool          // a REGISTER that must come to nothing: it leaves without its Contact

	// For the token:
	pool   uint32
	flow   uint64
	device uint64
	party  []byte // a partner's domain, or a user's address of record
}

// settle completes the plan of a request that passed both doors.
func (r *request) settle(s *signer) {
	p := &r.plan
	p.loop = r.loop
	p.throttles = r.via.Throttles && r.f.hears()
	p.dialog, p.target, p.tokenKey = r.bound, r.token.target, r.tokenKey
	p.sips = bytes.EqualFold(r.uri.Scheme, []byte("sips"))
	p.record = recorded(r.m)
	p.border = r.border()
	p.discovered = !p.outbound && !r.bound && r.grant.Tier == federation.TierDiscovered
	if p.signIn != nil && !p.hide {
		p.signIn.path = r.f.pathToken(s, p.signIn)
	}
	if !p.record && !p.dialog && !p.discovered {
		return
	}
	p.flow = r.f.ID
	if p.bridge != nil {
		p.device = s.network(0, p.bridge.Name)
	}
	switch {
	case p.remote:
		p.settleUser(s, r)
		return
	case p.outbound:
		p.party = bytes.Clone(r.to)
		p.pool = s.name(0, r.inside.name)
		return
	}
	p.pool = s.name(0, r.way.pool.name)
	p.party = bytes.Clone(r.from)
}

// settleUser notes for the token which user of ours is outside, on which flow and
// device.
func (p *plan) settleUser(s *signer, r *request) {
	u := r.user
	if u == nil {
		return // a REGISTER: nobody yet
	}
	p.flow, p.party = u.Flow, []byte(u.User)
	p.device = s.digest(0, p.party, []byte(u.Device))
	p.pool = s.name(0, u.pool.name)
}

// A scratch is room for the pieces of an edit.
type scratch struct {
	edit                       sip.Edit
	via, near, far, key, extra []byte
	lines, params, old, new    []byte
	records                    [2][]byte
}

// edit fills s with what RFC 3261 §16.6 tells a proxy to change, and with what
// no outsider may set.
func (p *plan) edit(s *scratch, x *tx, m *sip.Message, f *Flow) {
	s.edit = sip.Edit{
		PopRoutes:   p.routes,
		MaxForwards: p.maxForwards,
		MaxBreadth:  p.maxBreadth,
		Drop:        p.drops(p.outbound, x.flow),
		DropOther:   x.edge.dropMarks,
	}
	s.via = append(s.via[:0], f.state.side.via...)
	s.via = appendBranch(s.via, x.id, x.attempt, p.loop)
	s.edit.PushVia = s.via
	s.received(m, x.flow)
	p.border.request(s, x.edge, m, x.flow, p.outbound)
	if p.dialog && p.outbound {
		x.edge.moved(p, m)
	}
	if p.signIn != nil {
		p.path(s, x)
	}
	if !p.record {
		return
	}
	// RFC 5658 §3.1: one Record-Route for each side, as their addresses differ;
	// the one that the next hop sees first stands on top.
	s.key = p.appendToken(s.key[:0], x.edge, x, m)
	s.far = f.state.side.appendRoute(s.far[:0], s.key, p.sips)
	s.near = x.flow.state.side.appendRoute(s.near[:0], s.key, p.sips)
	s.records = [2][]byte{s.far, s.near}
	s.edit.PushRecordRoute = s.records[:]
}

// received notes where the request really came from, unless its Via says the
// same (RFC 3261 §18.2.1).
func (s *scratch) received(m *sip.Message, from *Flow) {
	via, err := m.TopVia()
	if err != nil || from.bridge != nil {
		return
	}
	s.extra = from.Remote.Addr().Unmap().AppendTo(s.extra[:0])
	received, rport := via.Arrival(s.extra)
	if received {
		s.edit.Received = s.extra
	}
	if rport {
		s.edit.RPort = int(from.Remote.Port()) // RFC 3581 §4
	}
}

// editResponse fills s with what changes in an answer: our Via comes off
// (RFC 3261 §16.7 step 3), and what no outsider may say.
func (p *plan) editResponse(s *scratch, x *tx, m *sip.Message) {
	s.edit = sip.Edit{
		PopVia:      true,
		MaxForwards: -1,
		Drop:        p.drops(!p.outbound, x.flow),
		DropOther:   x.edge.dropMarks,
	}
	p.border.response(s, x.edge, m, x.out, p.outbound)
	if p.throttles {
		s.edit.Throttle = x.edge.throttle(x.flow)
	}
	if p.remote && !p.outbound {
		p.toUser(s, x, m)
	}
	status := m.Status()
	if p.outbound || status <= 100 || status >= 300 {
		return
	}
	if p.record {
		p.sign(s, x, m)
	}
	if p.dialog || x.early > 0 {
		// A client that keeps the Route set of a provisional answer uses a token
		// that was made before this Contact was known.
		x.edge.moved(p, m)
	}
}

// Headers that say something about trust are worth something only if no
// outsider can write them (RFC 3325 §5, RFC 5502 §7.2, RFC 6050 §5.1.2, and the
// Microsoft dialect's own). They come off in both directions: what the inside says of
// itself does not leave. What we say ourselves is added then, see border.
var (
	borderNames = []sip.Header{
		sip.PAssertedIdentity, sip.PPreferredIdentity, sip.RemotePartyID, sip.PAssertedService, sip.PServedUser,
		sip.MSEdgeProxyMessageTrust, sip.MSUserLogonData, sip.MSSplitDomainInfo, sip.MSInternalInfo,
		sip.MSAssertedVerificationLevel, sip.MSDiagnostics, sip.MSDiagnosticsPublic, sip.MSClientDiagnostics,
		sip.SipedgeBridge,
	}
	borderIn  = sip.NewSet(borderNames...)
	borderOut = sip.NewSet(append(borderNames, sip.Authorization, sip.ProxyAuthorization)...)
)

// drops are the headers that are removed from what goes out, or in; sender is whose
// request it is, or was. Credentials of our users do not leave: nobody outside may
// ask for them.
func (p *plan) drops(out bool, sender *Flow) *sip.Set {
	switch {
	case p.remote:
		return p.remoteDrops(out, sender)
	case out:
		return borderOut
	}
	return borderIn
}

// Our branch: the cookie of RFC 3261 §8.1.1.7, the transaction, the attempt,
// and what loop detection compares.
const (
	branchCookie = "z9hG4bK"
	branchLen    = len(branchCookie) + 16 + 2 + 16
)

func appendBranch(dst []byte, id uint64, attempt uint8, loop uint64) []byte {
	dst = append(dst, branchCookie...)
	dst = appendHex(dst, id, 16)
	dst = appendHex(dst, uint64(attempt), 2)
	return appendHex(dst, loop, 16)
}

// parseBranch reads the branch of an answer; ok is false for one that is not
// ours.
func parseBranch(b []byte) (id uint64, attempt uint8, ok bool) {
	if len(b) != branchLen || string(b[:len(branchCookie)]) != branchCookie {
		return 0, 0, false
	}
	id, ok1 := parseHex(b[len(branchCookie):][:16])
	n, ok2 := parseHex(b[len(branchCookie)+16:][:2])
	return id, uint8(n), ok1 && ok2
}

// branchLoop reads the part of a branch of ours that loop detection compares.
func branchLoop(b []byte) (uint64, bool) {
	if _, _, ok := parseBranch(b); !ok {
		return 0, false
	}
	return parseHex(b[branchLen-16:])
}

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, v uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, hexDigits[v>>(4*i)&15])
	}
	return dst
}

func parseHex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// forwardStateless sends an ACK to a 2xx on: it has no answer, so it needs no
// transaction (RFC 3261 §16.11).
func (e *Edge) forwardStateless(t *turn, r *request) {
	r.settle(e.tokens)
	x := &tx{edge: e, flow: r.f, plan: r.plan, way: r.way}
	x.id = e.table.seq.Add(1) << shardBits
	s := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	out := e.sideTowards(r)
	s.edit = sip.Edit{PopRoutes: r.plan.routes, MaxForwards: r.plan.maxForwards, MaxBreadth: r.plan.maxBreadth, Drop: r.plan.drops(r.plan.outbound, r.f), DropOther: e.dropMarks}
	s.via = appendBranch(append(s.via[:0], out.via...), x.id, 0, r.plan.loop)
	s.edit.PushVia = s.via
	s.received(r.m, r.f)
	r.plan.border.request(s, e, r.m, r.f, r.plan.outbound)
	b := e.buffers.get(len(r.m.Raw()) + editRoom)
	b.b = r.m.Append(b.b, &s.edit)
	r.way.sendRaw(t, b.b)
	e.buffers.put(b)
	e.auditDone(r, logForwarded, 0, r.audit.reason)
}

// sendRaw sends an ACK the way that its INVITE went, or another request without
// an answer.
func (w *way) sendRaw(t *turn, b []byte) {
	if w.partner != nil && w.flow == nil {
		w.partner.sendRaw(t, b)
		return
	}
	l, f := w.next()
	switch {
	case f != nil:
		_ = f.queueRaw(t, b) // an ACK has nobody to complain to
	case l != nil:
		l.sendRaw(t, b)
	}
}

// sideTowards is our name on the side where a request leaves.
func (e *Edge) sideTowards(r *request) *side {
	if r.way.flow != nil {
		return r.way.flow.state.side
	}
	if r.plan.outbound {
		return e.outside.side
	}
	return r.way.pool.side
}

// port reads a port, 0 if it is none.
func port(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

package edge

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// The Microsoft dialect: what home servers of Live Communications Server and its
// successors expect of the edge before them, and no RFC says. It is spoken with
// pools whose profile is profileMSFT. Partners hear of it only if they are
// listed, and then no more than a mark and a number.
//
// COMPAT(Microsoft): all of this file, diagnostics.go and msftroute.go
// ([MS-SIPRE], [MS-OCER], [MS-CONMGMT]).

// profileMSFT is the profile of a pool that speaks the dialect.
const profileMSFT = "msft"

// speaksMSFT reports whether a home server that speaks the dialect is at the
// other end.
func (f *Flow) speaksMSFT() bool {
	return f.Role == RoleInternal && slices.ContainsFunc(f.state.pools, func(p *pool) bool { return p.msft })
}

// sourceType is the word for how a partner is known to us.
func sourceType(t federation.Tier) string {
	switch t {
	case federation.TierAllowed, federation.TierDirect:
		return "DirectPartner"
	case federation.TierUpstream:
		return "AuthorizedServer" // it may speak for others than itself
	}
	return "AutoFederation"
}

// appendInward appends what the home servers are told of a message from the
// partner at the other end of a flow ([MS-SIPRE] §2.2.15). What anybody else
// wrote under these names has been taken off.
func (b border) appendInward(dst []byte, e *Edge, m *sip.Message, from *Flow) []byte {
	if b.partner() == federation.TierNone {
		return dst // between two pools nothing comes from outside
	}
	user := "unverified"
	if b.verifies(m) {
		user = "verified"
	}
	dst = append(append(dst, "ms-edge-proxy-message-trust: ms-source-type="...), sourceType(b.partner())...)
	dst = append(append(dst, ";ms-ep-fqdn="...), e.name...)
	dst = append(append(dst, ";"+verifiedUser+"="...), user...)
	dst = append(dst, ";ms-source-network=federation"...)
	if name := from.state.peerHost; name != "" {
		dst = append(append(dst, ";ms-remote-fqdn="...), name...)
	}
	dst = append(dst, "\r\n"...)
	return append(append(append(dst, markPrefix...), user...), "\r\n"...)
}

const markPrefix = "ms-asserted-verification-level: " + verifiedUser + "="

// appendOutward appends what a listed partner is told of a message from inside:
// that our home server knows its user. Discovered ones are told nothing, since
// they would not believe us and have no business to know what we run. public
// says that the message may carry a diagnostic.
func (b border) appendOutward(dst []byte, m *sip.Message, public bool) []byte {
	if !listed(b.partner()) {
		return dst
	}
	dst = append(dst, markPrefix+"verified\r\n"...)
	if public {
		dst = appendPublic(dst, m)
	}
	return dst
}

// appendGenerated appends what says of an answer that it is the edge's own.
func (e *Edge) appendGenerated(dst []byte, f *Flow) []byte {
	if !f.speaksMSFT() {
		return dst
	}
	dst = append(append(dst, "ms-edge-proxy-message-trust: ms-source-type=EdgeProxyGenerated;ms-ep-fqdn="...), e.name...)
	return append(dst, ";"+verifiedUser+"=verified\r\n"...)
}

// peerHost is the name by which the inside may know a peer: the first that its
// certificate proves, which by custom is that of the edge itself.
func peerHost(id *certs.Identity) string {
	if id == nil {
		return ""
	}
	for _, name := range append(id.Hosts(), id.Domains()...) {
		if sip.ValidHost([]byte(name)) {
			return name
		}
	}
	return ""
}

// receivedParams are the parameters that appendReceived appends. They come off
// the Via of whoever writes them, and off ours on the way back: outside they are
// nobody's business.
var receivedParams = []string{"ms-received-port", "ms-received-cid"}

// appendReceived appends the parameters of a Via that name the connection that
// a request came on. They are for the home server's logs and caches: nothing is
// believed that comes back under these names, the way back is in our tokens.
func appendReceived(dst []byte, from *Flow) []byte {
	dst = strconv.AppendUint(append(dst, ";ms-received-port="...), uint64(from.Remote.Port()), 10)
	return strconv.AppendUint(append(dst, ";ms-received-cid="...), from.ID, 16)
}

// negotiates reports whether r asks to compress this connection ([MS-SIPCOMP]
// §3). That is between two neighbours and never forwarded; with partners it is
// ours to answer as soon as there is a pool inside that speaks the dialect.
func (e *Edge) negotiates(r *request) bool {
	return e.msft && r.audit.method == "NEGOTIATE" && (r.f.Role != RoleInternal || r.f.speaksMSFT())
}

// decline answers it. Peers then go on without compression. It comes with
// Max-Forwards: 0 and names no partner in From, so it does not come as far as
// the doors.
func (e *Edge) decline(t *turn, r *request) {
	e.refuse(t, r, allowlists.Verdict{Status: 488, Reason: allowlists.SIPUnsupported, Rule: allowlists.Rule{Name: "no compression"}})
}

// benotify is the option tag with which clients of the dialect subscribe: they can
// do without NOTIFY, and proxies on the way must know BENOTIFY ([MS-SIP]).
const benotify = "ms-benotify"

// knows reports whether we do what an option tag asks of proxies. No RFC has one that
// we would have to know, so there is only that of the dialect.
func (e *Edge) knows(tag []byte) bool { return e.msft && bytes.EqualFold(tag, []byte(benotify)) }

// knowsNot reports whether a message requires of proxies what we do not know.
func (e *Edge) knowsNot(m *sip.Message) bool {
	if m.Count(sip.ProxyRequire) == 0 {
		return false
	}
	elems := m.Elements(sip.ProxyRequire)
	for tag, ok := elems.Next(); ok; tag, ok = elems.Next() {
		if !e.knows(tag) {
			return true
		}
	}
	return false
}

// oneWay reports whether r is a BENOTIFY of the dialect: a NOTIFY to which its
// sender expects no answer, not even a refusal. Where no pool speaks the dialect
// it is a method like any other that we do not know.
func (e *Edge) oneWay(r *request) bool {
	if !e.msft || r.audit.method != "BENOTIFY" {
		return false
	}
	p := r.way.pool
	switch {
	case r.f.Role == RoleInternal:
		p = r.inside
	case p == nil && r.bound:
		p = e.poolByHash(r.token.pool, r.tokenKey)
	case p == nil:
		p = e.poolOf(r.to)
	}
	if p == nil {
		return r.f.Role != RoleInternal || r.f.speaksMSFT()
	}
	return p.msft
}

// pushOn sends such a request on if it passed the doors. What it gets for an
// answer belongs to no transaction and is dropped.
func (e *Edge) pushOn(t *turn, r *request, v allowlists.Verdict) {
	if !v.Allowed() {
		e.auditRefused(r, v, 0, "")
		if !r.grant.Allowed() {
			e.tire(r.f)
		}
		return
	}
	if r.plan.outbound && !r.plan.remote {
		e.notice(r)
	}
	e.locate(r)
	e.forwardStateless(t, r)
}

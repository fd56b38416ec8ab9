package edge

import (
	"bytes"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// listed reports whether a partner stands in the lists by name: somebody here
// has decided to talk to it. To all others nothing is said of trust.
func listed(t federation.Tier) bool {
	return t == federation.TierAllowed || t == federation.TierDirect
}

// verifies reports whether the user who sent m counts as verified. Of partners
// that nobody listed we know no more than the domain.
func (b border) verifies(m *sip.Message) bool {
	if b.partner() <= federation.TierDiscovered {
		return false
	}
	switch federation.Verification(b.verify) {
	case federation.VerifyAlways:
		return true
	case federation.VerifySource:
		return readMark(m) == markVerified
	}
	return false
}

// A mark is what a partner says of a message's sender.
type mark uint8

const (
	markNone mark = iota
	markUnverified
	markVerified
)

// verifiedUser is the parameter that says it.
const verifiedUser = "ms-source-verified-user"

// readMark reads ms-asserted-verification-level. Parameters may come in any
// order, and others beside; but a sender that says two things has said nothing
// good of itself.
func readMark(m *sip.Message) mark {
	found := markNone
	if m.Count(sip.MSAssertedVerificationLevel) == 0 {
		return found
	}
	elems := m.Elements(sip.MSAssertedVerificationLevel)
	for {
		elem, ok := elems.Next()
		if !ok {
			return found
		}
		for param := range bytes.SplitSeq(elem, []byte(";")) {
			name, value, _ := bytes.Cut(param, []byte("="))
			if !bytes.EqualFold(bytes.TrimSpace(name), []byte(verifiedUser)) {
				continue
			}
			if found != markNone {
				return markUnverified
			}
			found = markUnverified
			if bytes.EqualFold(bytes.Trim(value, " \t\r\n\""), []byte("verified")) {
				found = markVerified
			}
		}
	}
}

// unmarked reports whether a partner's entry refuses this request because it
// does not say whether its sender is verified. An ACK belongs to an INVITE that
// was asked, and nothing can be answered to it.
func (r *request) unmarked() bool {
	if r.f.bridge != nil && proofOf(r.f.bridge.proof) == federation.ProofStrong {
		return false
	}
	return r.grant.Verification() == federation.VerifySource && r.grant.Unmarked() == federation.UnmarkedRefused &&
		readMark(r.m) == markNone && r.audit.method != "ACK"
}

// A border is what one side of the edge is told of the other in a transaction.
// There is one in each transaction, so it is small.
type border struct {
	msft    bool  // the pool inside speaks the Microsoft dialect
	tier    uint8 // federation.Tier of the partner outside; none between two pools
	verify  uint8 // federation.Verification of what it says
	remote  bool  // a user of ours is outside
	bridged bool  // somebody whom a bridge reaches is outside
	again   bool  // the request came by a bridge, and goes on from one pool to another
	pool    *pool // inside; nil: none
}

// partner is how well we know who is outside.
func (b border) partner() federation.Tier { return federation.Tier(b.tier) }

// border says what the two sides of r are told of each other.
func (r *request) border() border {
	p := r.way.pool
	if r.plan.outbound {
		p = r.inside
	}
	b := border{
		msft: p != nil && p.msft, tier: uint8(r.grant.Tier), verify: uint8(r.grant.Verification()),
		remote: r.plan.remote, bridged: r.plan.bridge != nil, pool: p,
	}
	if r.f.bridge != nil {
		b.verify = uint8(r.verifiedBehind(b.verify))
	}
	b.again = r.f.Role == RoleInternal && !r.plan.outbound && r.m.Count(sip.SipedgeBridge) > 0
	return b
}

// verifiedBehind is whether who sent r by a bridge counts as verified. There are no
// marks; but the servers of these networks know their users, so where a certificate
// proves the server, it has said so.
func (r *request) verifiedBehind(entry uint8) federation.Verification {
	if federation.Verification(entry) == federation.VerifyNever || proofOf(r.f.bridge.proof) != federation.ProofStrong {
		return federation.VerifyNever
	}
	return federation.VerifyAlways
}

// request adds to s what the next hop is told of a request that came on from.
func (b border) request(s *scratch, e *Edge, m *sip.Message, from *Flow, outbound bool) {
	s.lines = s.lines[:0]
	switch {
	case b.remote && outbound:
	case b.remote && b.msft:
		s.params = appendReceived(s.params[:0], from)
		s.edit.DropViaParams, s.edit.AddViaParams = receivedParams, s.params
		s.lines = b.appendRemote(s.lines, e)
	case b.remote:
	case outbound && b.bridged:
	case outbound && b.msft:
		s.lines = b.appendOutward(s.lines, m, string(m.Method()) == "BYE")
	case outbound:
	case b.msft:
		s.params = appendReceived(s.params[:0], from)
		s.edit.DropViaParams, s.edit.AddViaParams = receivedParams, s.params
		s.lines = b.appendInward(s.lines, e, m, from)
		if listed(b.partner()) && string(m.Method()) == "BYE" {
			s.lines = appendPublic(s.lines, m)
		}
	case b.verifies(m):
		s.lines = appendAsserted(s.lines, m)
	}
	if !outbound {
		s.lines = b.appendMark(s.lines, b.pool)
		s.lines = b.appendBridge(s.lines, m, from)
	}
	s.edit.Add = s.lines
}

// appendBridge appends by which bridge a request came, now or before it came from one
// of our pools.
func (b border) appendBridge(dst []byte, m *sip.Message, from *Flow) []byte {
	var network []byte
	switch {
	case from.bridge == nil && !b.again:
		return dst
	case m.Count(sip.SipedgeBridge) == 1:
		network = m.Value(sip.SipedgeBridge) // as the bridge, or we, wrote it
	case from.bridge != nil:
		network = []byte(from.bridge.Name + ";hops=1")
	}
	return append(append(append(dst, bridges.LoopMark+": "...), network...), "\r\n"...)
}

// response adds to s what the sender of a request is told of an answer that
// came on from.
//
// A plain pool is told nothing. RFC 3325 §5 has us authenticate who is asserted,
// and nobody says who answers: To is what our own user wrote. RFC 5876 §1 leaves
// P-Asserted-Identity out of responses for that reason.
func (b border) response(s *scratch, e *Edge, m *sip.Message, from *Flow, outbound bool) {
	if !b.msft {
		return
	}
	s.lines = s.lines[:0]
	switch {
	case b.remote && outbound:
		s.lines = b.appendRemote(s.lines, e)
	case b.remote:
		s.edit.DropViaParams = receivedParams
		s.lines = append(s.lines, logonData...)
	case outbound:
		s.lines = b.appendInward(s.lines, e, m, from)
		if m.Status() >= 400 && !b.bridged {
			s.lines = b.appendRelayed(s.lines, e, m)
		}
	case b.bridged:
		s.edit.DropViaParams = receivedParams
	default:
		s.edit.DropViaParams = receivedParams
		s.lines = b.appendOutward(s.lines, m, m.Status() >= 400)
	}
	s.edit.Add = s.lines
}

// maxAsserted bounds the user of an identity. What we add to a message must not
// make it longer than we could read again.
const maxAsserted = 1 << 10

// appendAsserted appends who sent a request, for home servers that know no
// dialect. The certificate proved the domain in From, and the partner's word for
// the user counts; nothing else in From is proved. Our home servers are the trust
// domain (RFC 3325 §5), so that "Privacy: id" keeps nothing from them; towards
// partners it comes off always: there is no Spec(T) with anybody outside
// (RFC 3324 §2.4), so not even "Privacy: none" (RFC 3325 §7) lets it out.
//
// We are no privacy service: what RFC 3323 §5 asks of one is left to others, and
// Privacy leaves as it came.
func appendAsserted(dst []byte, m *sip.Message) []byte {
	uri, err := m.FromURI()
	if err != nil || string(m.Method()) == "ACK" || len(uri.User) > maxAsserted { // RFC 5876 §3.2
		return dst
	}
	dst = append(append(append(dst, "P-Asserted-Identity: <"...), uri.Scheme...), ':')
	if len(uri.User) > 0 {
		dst = append(append(dst, uri.User...), '@')
	}
	return append(append(dst, uri.Host...), ">\r\n"...)
}

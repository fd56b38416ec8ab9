package edge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// refuse answers a request that may not pass, and writes its line. The peer
// learns a status and a reference; which rule and why is in the log.
func (e *Edge) refuse(t *turn, r *request, v allowlists.Verdict) {
	if err := r.m.Fault(); err != nil {
		e.refuseFault(t, r, err)
		return
	}
	if v.Action == allowlists.Drop || r.audit.method == "ACK" {
		e.auditRefused(r, v, 0, "")
		return
	}
	ref := e.reference()
	e.respond(t, r.f, r.m, v.Code(), sip.Phrase(v.Code()), e.extra(r.f, r.m, v.Code(), v.Reason, ref))
	e.auditRefused(r, v, v.Code(), ref)
	if !r.grant.Allowed() {
		e.tire(r.f)
	}
}

// strangersRequests is how many requests of a stranger are refused on one connection
// before it ends.
const strangersRequests = 20

var (
	errStranger = errors.New("edge: nobody that we know, and all it asks is refused")
	errSeats    = errors.New("edge: this peer, or strangers together, have a quarter of all connections")
)

// tire ends the connection of a peer that is no partner of ours and goes on
// asking: nothing that it says can pass, and it holds a place that partners
// could need.
func (e *Edge) tire(f *Flow) {
	switch {
	case f.Role == RoleInternal || f.Role == RoleBridge || f.state.link != nil || f.state.known.Load():
		return
	case f.Role == RoleRemote && f.state.signed.Load() != nil:
		return
	}
	if f.state.strange++; f.state.strange < strangersRequests {
		return
	}
	if e.partners.Load().Knows(f.Peer) {
		f.state.known.Store(true)
		return
	}
	f.finish(errStranger)
}

// refuseFault answers a malformed request; its sender may know what is wrong
// with what it sent.
func (e *Edge) refuseFault(t *turn, r *request, err *sip.Error) {
	v := fault(err)
	ref := e.reference()
	if r.audit.method != "ACK" {
		e.respond(t, r.f, r.m, err.Status, err.Reason, e.extra(r.f, r.m, err.Status, v.Reason, ref))
	}
	e.auditRefused(r, v, err.Status, ref)
}

// reply answers a request that passed the doors and then could not be done, and
// returns the reference that its sender got.
func (e *Edge) reply(t *turn, f *Flow, m *sip.Message, status int, reason allowlists.Reason) (ref string) {
	ref = e.reference()
	e.respond(t, f, m, status, sip.Phrase(status), e.extra(f, m, status, reason, ref))
	return ref
}

// respond sends an answer of our own.
func (e *Edge) respond(t *turn, f *Flow, m *sip.Message, status int, phrase string, extra []byte) {
	b := e.buffers.get(len(m.Raw()) + editRoom)
	b.b = sip.AppendAnswer(b.b, m, status, phrase, e.tag(m), extra, e.topVia(f, m))
	_ = f.queueRaw(t, b.b) // nobody is there any more to be told
	e.buffers.put(b)
}

// topVia is what an answer of our own says in the topmost Via: where the request came
// from, which is nowhere for a bridge, and what we say of overload.
func (e *Edge) topVia(f *Flow, m *sip.Message) sip.TopVia {
	return sip.TopVia{Source: f.Remote, Throttle: e.throttleFor(f, m)}
}

// answerSelf answers an OPTIONS for the edge itself (RFC 3261 §11.2).
func (e *Edge) answerSelf(t *turn, r *request) {
	e.respond(t, r.f, r.m, 200, sip.Phrase(200), e.appendGenerated([]byte("Accept-Encoding: identity\r\n"), r.f))
	e.auditDone(r, logAnswered, 200, allowlists.RouteEdge)
}

// tag is our To tag. The same request gets the same one, as a stateless answer
// must (RFC 3261 §8.2.7).
func (e *Edge) tag(m *sip.Message) string {
	var h maphash.Hash
	h.SetSeed(e.table.seed)
	h.Write(m.CallID())
	if via, ok := m.Find(sip.Via); ok {
		h.Write(via.Value)
	}
	var room [16]byte
	return string(appendHex(room[:0], h.Sum64(), len(room)))
}

// reference names a refusal, so that the admin finds the line of which a peer
// complains: eight letters and digits that are not mistaken for each other. None
// comes twice in 2^40, and who has some cannot tell those of others, nor how many
// there were: a counter goes through a Feistel network with a secret.
func (e *Edge) reference() string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	const half, rounds = 20, 4
	n := e.refs.Add(1)
	left, right := n>>half&(1<<half-1), n&(1<<half-1)
	for i := range uint64(rounds) {
		key := binary.LittleEndian.AppendUint64(make([]byte, 0, 8), i<<half|right)
		left, right = right, left^maphash.Bytes(e.table.seed, key)&(1<<half-1)
	}
	n = left<<half | right
	var b [8]byte
	for i := range b {
		b[i] = digits[n&31]
		n >>= 5
	}
	return string(b[:])
}

// retryAfter is what a peer is asked to wait, in seconds. A server that comes
// back is in again within two health checks.
const retryAfter = 5

// extra are the header lines of an answer of ours.
func (e *Edge) extra(f *Flow, m *sip.Message, status int, reason allowlists.Reason, ref string) []byte {
	b := fmt.Appendf(nil, "Warning: 399 %s \"%s; ref=%s\"\r\n", e.name, sip.Phrase(status), ref)
	switch status {
	case 415:
		b = append(b, "Accept-Encoding: identity\r\n"...) // RFC 3261 §21.4.13
	case 420:
		b = e.appendUnsupported(b, m)
	case 503:
		wait := retryAfter
		if f.Role == RoleRemote {
			wait = later()
		}
		b = fmt.Appendf(b, "Retry-After: %d\r\n", wait) // RFC 3261 §21.5.4
	}
	return e.appendDiagnostics(b, f, m, reason)
}

// appendUnsupported names the extensions that Proxy-Require asks for and we do not
// know (RFC 3261 §16.3 step 5); those of Require are not a proxy's business.
func (e *Edge) appendUnsupported(b []byte, m *sip.Message) []byte {
	elems := m.Elements(sip.ProxyRequire)
	sep := "Unsupported: "
	for {
		elem, ok := elems.Next()
		if !ok {
			break
		}
		if e.knows(elem) {
			continue
		}
		b = append(append(b, sep...), elem...)
		sep = ", "
	}
	return append(b, "\r\n"...)
}

package edge

import (
	"bytes"
	"hash/maphash"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// fault is the verdict on a message that carries its own answer.
func fault(err *sip.Error) allowlists.Verdict {
	reason := allowlists.SIPMalformed
	switch err.Status {
	case 413, 513:
		reason = allowlists.SIPTooLarge
	case 416, 420, 501, 505:
		reason = allowlists.SIPUnsupported
	}
	return allowlists.Verdict{Status: err.Status, Reason: reason, Rule: allowlists.Rule{Name: err.Reason}}
}

// validate checks what a proxy must check before anything else
// (RFC 3261 §16.3).
func (e *Edge) validate(r *request) allowlists.Verdict {
	if err := r.m.Fault(); err != nil {
		return step(r, "syntax", err.Reason, fault(err))
	}
	r.plan.maxForwards = 70 // RFC 3261 §16.6 step 3: without one it gets 70
	if n, ok, _ := r.m.MaxForwards(); ok {
		if n == 0 && !e.asksUs(r) {
			return step(r, "hops", "Max-Forwards: 0", ruleless(483, allowlists.SIPTooManyHops))
		}
		r.plan.maxForwards = n - 1
	}
	if !breadth(r) && !e.asksUs(r) {
		return step(r, "hops", "Max-Breadth: 0", ruleless(440, allowlists.SIPMaxBreadth))
	}
	if e.loops(r) {
		return step(r, "hops", "a Via of ours", ruleless(482, allowlists.SIPLoop))
	}
	// RFC 3261 §16.3 step 5: what a proxy must know, and we do not, is refused.
	if e.knowsNot(r.m) {
		return step(r, "extensions", "Proxy-Require", ruleless(420, allowlists.SIPUnsupported))
	}
	// What somebody outside packs, nobody inside can look into before unpacking it,
	// and unpacking is what a bomb waits for (RFC 3261 §21.4.13).
	if r.f.Role != RoleInternal && encoded(r.m) {
		return step(r, "encoding", "Content-Encoding", ruleless(415, allowlists.SIPUnsupported))
	}
	return step(r, "syntax", "well-formed", pass)
}

// maxBreadth is how many branches a request may have at the same time, at most
// and where nobody has said (RFC 5393 §5.3.3).
const maxBreadth = 60

// breadth sees to it that the request leaves with a Max-Breadth, of which a
// proxy that does not fork passes all on (RFC 5393 §5.3.3). It reports false if
// none is left, so that even one branch would be too many.
func breadth(r *request) bool {
	n, ok, _ := r.m.MaxBreadth()
	if !ok || n > maxBreadth {
		r.plan.maxBreadth = maxBreadth
	}
	return !ok || n > 0
}

// ruleless is a refusal that no list decided, but a standard.
func ruleless(status int, reason allowlists.Reason) allowlists.Verdict {
	return allowlists.Verdict{Status: status, Reason: reason}
}

// encoded reports whether the body is packed: by any coding of any field, since
// they are applied one after the other (RFC 3261 §20.12).
func encoded(m *sip.Message) bool {
	codings := m.Elements(sip.ContentEncoding)
	for {
		coding, ok := codings.Next()
		if !ok {
			return false
		}
		if !bytes.EqualFold(coding, []byte("identity")) {
			return true
		}
	}
}

// loops reports whether the request was here before and nothing that decides
// its way has changed since (RFC 5393 §4.2.2). We do not fork and would not
// have to look; but two edges that send to each other would go on until
// Max-Forwards ends it.
func (e *Edge) loops(r *request) bool {
	var h maphash.Hash
	h.SetSeed(e.table.seed)
	h.Write(r.m.RequestURI())
	// What a user outside sends to a partner crosses us twice: to his home server,
	// and from there. That is no loop.
	if r.f.Role == RoleRemote {
		h.WriteByte(1)
	}
	if route, ok := r.m.Find(sip.Route); ok {
		h.WriteByte(0)
		h.Write(route.Value)
	}
	r.loop = h.Sum64()
	via := r.via
	vias := r.m.Elements(sip.Via)
	vias.Next() // the topmost has been read
	for {
		// A branch that is not of our making is told by a glance at it.
		if loop, ok := branchLoop(via.Branch); ok && loop == r.loop && e.isUs(via.Host) {
			return true
		}
		elem, ok := vias.Next()
		if !ok {
			return false
		}
		via, _, _ = sip.ParseVia(elem)
	}
}

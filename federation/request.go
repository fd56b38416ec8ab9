package federation

import (
	"github.com/sipedge/sipedge/allowlists"
)

// A Tier is how well we know a partner, in the words that administrators know.
// The zero Tier is nobody.
type Tier int

// The tiers, from the least known up.
const (
	TierNone       Tier = iota
	TierDiscovered      // not listed; DNS and its certificate say who it is
	TierUpstream        // not listed; the clearing house answers for it
	TierAllowed         // listed; its edge is found by DNS SRV
	TierDirect          // listed, with the servers of its edge
)

// String returns the word for logs and lists.
func (t Tier) String() string {
	switch t {
	case TierDiscovered:
		return "discovered"
	case TierUpstream:
		return "upstream"
	case TierAllowed:
		return "allowed"
	case TierDirect:
		return "direct"
	}
	return "none"
}

// An Address is a user at a domain. User is as it is on the wire, Domain in
// normal form.
type Address = allowlists.Address

// A Request is what the doors ask about: who says what to whom. It is not kept.
type Request struct {
	Method []byte
	Remote []byte // the partner's domain, in normal form
	// Them is the user on the partner's side, Us the one on ours.
	Them, Us Address
	// Number: the user on our side is a telephone number.
	Number bool
	// Dialog: it belongs to a dialog that our token vouches for. Whichever way
	// new ones go and whoever may begin them, this one may go on.
	Dialog bool
	// Size is the octets of the whole message, Body those of its body.
	Size, Body int
	// Kinds is what it carries; filled if Partners.AsksKinds says so.
	Kinds allowlists.Kinds
	// Target is the host of an SRV record of Remote that the certificate proves
	// (TargetOf found it), "" if there is none or nobody looked; Searched says
	// that somebody did.
	Target   string
	Searched bool
}

// A Grant is the answer to a Request: the Verdict, and what follows from who it
// is about. The zero Grant refuses.
type Grant struct {
	allowlists.Verdict
	Tier Tier
	// Search: it is refused because the certificate does not name the domain,
	// but if it is that of a server that the domain's SRV records name, ask
	// again with Target.
	Search bool

	terms *terms
}

// Rate is how many requests a second the partner may send; 0: as many as it
// likes.
func (g Grant) Rate() float64 {
	if g.terms == nil {
		return 0
	}
	return g.terms.rate
}

// Numbers reports whether the partner may have telephone numbers called on our
// side.
func (g Grant) Numbers() bool { return g.terms != nil && g.terms.lists.Numbers() }

// Subscriptions is how many there may be with the partner; 0: what [limits]
// says.
func (g Grant) Subscriptions() int {
	if g.terms == nil {
		return 0
	}
	return g.terms.subscriptions
}

// Network is the only one by which the partner is reached, "" if any may be.
func (g Grant) Network() string {
	if g.terms == nil {
		return NetworkSIP
	}
	return g.terms.network
}

// Verification is whether our users see the partner's users as verified.
func (g Grant) Verification() Verification {
	if g.terms == nil {
		return VerifyNever
	}
	return g.terms.verification
}

// Unmarked is what to do with a request without a mark, where Verification is
// VerifySource.
func (g Grant) Unmarked() Unmarked {
	if g.terms == nil {
		return UnmarkedRefused
	}
	return g.terms.unmarked
}

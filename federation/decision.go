package federation

import "time"

// An Action is what an administrator decided about a domain that partners.toml
// does not have.
type Action string

// The actions.
const (
	ActionAllow  Action = "allow"  // as if it were listed
	ActionBlock  Action = "block"  // as if it were blocked
	ActionIgnore Action = "ignore" // no decision is wanted: it stays as it is, and is not shown as waiting
)

// Valid reports whether a is one of the actions.
func (a Action) Valid() bool { return a == ActionAllow || a == ActionBlock || a == ActionIgnore }

// A Decision is one that was made while the edge runs. It is kept in the store,
// apart from partners.toml, which wins where both name a domain.
type Decision struct {
	Domain string    `json:"domain"` // in normal form
	Action Action    `json:"action"`
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"` // who, as the control socket knows
	Note   string    `json:"note,omitempty"`
	// Partner is what the partner's card says, for an allowed one. Nil: nothing
	// but the name.
	Partner *PartnerConfig `json:"partner,omitempty"`
}

// DiscoveryLimits are what keeps discovered partners within bounds. Zero means
// the default that is named.
type DiscoveryLimits struct {
	Rate           float64 // messages a second of one partner; default 20
	SuspiciousRate float64 // while too many of its requests fail; default 1
	Addresses      int     // different local addresses before it is watched; default 1,000
}

// Defaults fills in what is zero.
func (l DiscoveryLimits) Defaults() DiscoveryLimits {
	if l.Rate <= 0 {
		l.Rate = 20
	}
	if l.SuspiciousRate <= 0 {
		l.SuspiciousRate = 1
	}
	if l.Addresses <= 0 {
		l.Addresses = 1000
	}
	return l
}

package bridges

import (
	"github.com/sipedge/sipedge/allowlists"
)

// A Policy is who of our users may use public networks: an immutable snapshot of
// bridges.toml and of what was decided beside it. It is safe for concurrent use. A
// nil or zero Policy lets nobody.
type Policy struct {
	accounts []Account
}

// An Account is one that a user of ours has on a server of a public network.
type Account struct {
	User         string // ours, in normal form: "alice@example.com"
	Network      string // "xmpp"
	JID          string // as it is written
	PasswordFile string // a path that can be opened
	Server       string // "host:port"; "": by DNS
	Mechanism    string // of SASL; "": the best
	Rule         allowlists.Rule
}

// Compile makes a Policy of the file; own are our domains.
func Compile(f File, own []string) (*Policy, []error) { return &Policy{}, nil }

// May reports whether a user of ours, as in alice@example.com, may use a network:
// be reached from it (inbound), or reach it.
func (p *Policy) May(user, network string, inbound bool) allowlists.Verdict {
	return allowlists.Verdict{}
}

// Accounts returns those that users have on a network, in the order of the users.
func (p *Policy) Accounts(network string) (list []Account) {
	if p == nil {
		return nil
	}
	for _, a := range p.accounts {
		if a.Network == network {
			list = append(list, a)
		}
	}
	return list
}

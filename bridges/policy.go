package bridges

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
)

// Networks are the public networks that there are bridges to.
var Networks = [...]string{"xmpp"}

// A Policy is who of our users may use public networks: an immutable snapshot of
// bridges.toml and of what was decided beside it. It is safe for concurrent use. A
// nil or zero Policy lets nobody.
type Policy struct {
	own      map[string]bool   // our domains
	exact    map[string]*entry // by the key of the pattern
	decided  map[string]*entry // by the same; of decisions
	patterns []*entry          // with stars; the most literal first
	fallback *entry            // [default], complete
	odd      *entry            // refuses names that may be somebody else's
	shut     *entry            // refuses whom no section and no decision names; nil: decisions are whole
	accounts []Account         // in the order of the users
	warnings []allowlists.Problem
}

// An entry is one section, or what was decided about one user.
type entry struct {
	rule    allowlists.Rule
	name    string
	pattern *allowlists.Pattern
	note    string
	says    [2]says // by direction: In, Out
}

// says is what a section says of one direction: of which networks yes, and of which no.
// Its zero value is silent.
type says struct{ yes, no networks }

// networks is a set of them, by their place in Networks.
type networks uint8

const allNetworks networks = 1<<len(Networks) - 1

// networkOf returns the set of one network, empty for a name that is none.
func networkOf(name string) networks {
	return networks(1) << uint(slices.Index(Networks[:], name)) // of -1 it is huge, and nothing left
}

// names lists the set.
func (n networks) names() []string {
	list := make([]string, 0, len(Networks))
	for i, name := range Networks {
		if n&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// An Account is one that a user of ours has on a server of a public network.
type Account struct {
	User         string // ours, in normal form: "alice@example.com"
	Network      string // "xmpp"
	JID          string // as it is written
	PasswordFile string // a path that can be opened
	Server       string // "host:port"; "": by DNS
	Mechanism    string // of SASL; "": the best
	Note         string // of the administrator
	Rule         allowlists.Rule
}

// maxUser is how many octets the name of a user may have in normal form.
const maxUser = allowlists.MaxUser

// noFile is the rule that refuses where there is no file.
const noFile = "no bridges.toml"

// May reports whether a user of ours, as in alice@example.com, may be reached from a
// network (inbound), or reach it. A Verdict that allows has no Reason; its Rule says
// who decided.
func (p *Policy) May(user, network string, inbound bool) allowlists.Verdict {
	i := strings.LastIndexByte(user, '@')
	if i < 0 {
		return notEnabled(allowlists.Rule{Name: "no user"})
	}
	d := allowlists.Out
	if inbound {
		d = allowlists.In
	}
	domain, err := allowlists.NormalDomain(user[i+1:])
	if err != nil {
		return notEnabled(allowlists.Rule{Name: "not a domain of ours"})
	}
	return p.Decide(network, []byte(user[:i]), []byte(domain), d)
}

func notEnabled(r allowlists.Rule) allowlists.Verdict {
	return allowlists.Refusal(allowlists.BridgeNotEnabled, r)
}

// Decide is May for a user as it is on the wire and a domain in normal form. It
// allocates nothing for a user that is ours.
func (p *Policy) Decide(network string, user, domain []byte, d allowlists.Direction) allowlists.Verdict {
	if p == nil || p.fallback == nil {
		return notEnabled(allowlists.Rule{Name: noFile})
	}
	var room [maxUser + 1 + 255]byte
	name, ok := allowlists.AppendUser(room[:0:maxUser], user)
	switch {
	case !ok || len(name) == 0:
		return notEnabled(allowlists.Rule{Name: "no user"})
	case !p.own[string(domain)]:
		return notEnabled(allowlists.Rule{Name: "not a domain of ours"})
	case d < allowlists.In || d > allowlists.Out:
		return notEnabled(allowlists.Rule{})
	}
	full := append(append(room[:len(name)], '@'), domain...)
	n := networkOf(network)
	for _, e := range [...]*entry{p.exact[string(full)], p.exact[string(full[:len(name)+1])], p.decided[string(full)]} {
		if v, said := e.decide(n, d); said {
			return v
		}
	}
	if allowlists.OddUser(name) {
		v, _ := p.odd.decide(n, d)
		return v
	}
	if p.shut != nil {
		v, _ := p.shut.decide(n, d)
		return v
	}
	for _, e := range p.patterns {
		if !e.pattern.Match(name, domain) {
			continue
		}
		if v, said := e.decide(n, d); said {
			return v
		}
	}
	v, said := p.fallback.decide(n, d)
	if !said { // no such network
		return notEnabled(p.fallback.rule)
	}
	return v
}

// decide says what the entry says of a network, if it says anything. An entry that is
// not there is silent.
func (e *entry) decide(n networks, d allowlists.Direction) (v allowlists.Verdict, said bool) {
	switch {
	case e == nil:
		return notEnabled(allowlists.Rule{}), false
	case e.says[d].no&n != 0:
		return notEnabled(e.rule), true
	case e.says[d].yes&n != 0:
		return allowlists.Allowance(allowlists.ReasonNone, e.rule), true
	}
	return notEnabled(e.rule), false
}

// Named returns the section of the file that names a user, in normal form, and says
// whether he may use a network one way: there a decision counts for nothing.
func (p *Policy) Named(user, network string, d allowlists.Direction) (allowlists.Rule, bool) {
	pattern, err := allowlists.NewPattern(user)
	if p == nil || err != nil {
		return allowlists.Rule{}, false
	}
	for _, key := range []string{pattern.Key(), strings.TrimSuffix(pattern.Key(), pattern.Domain())} {
		if e := p.exact[key]; e != nil {
			if v, said := e.decide(networkOf(network), d); said {
				return v.Rule, true
			}
		}
	}
	return allowlists.Rule{}, false
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

// Account returns that of a user of ours, in normal form, on a network.
func (p *Policy) Account(user, network string) (Account, bool) {
	for _, a := range p.Accounts(network) {
		if a.User == user {
			return a, true
		}
	}
	return Account{}, false
}

// Len returns how many sections of users there are, and of accounts.
func (p *Policy) Len() (users, accounts int) {
	if p == nil {
		return 0, 0
	}
	return len(p.exact) + len(p.patterns), len(p.accounts)
}

// Warnings returns what the administrator should know about a file that works, by
// line.
func (p *Policy) Warnings() []allowlists.Problem {
	if p == nil {
		return nil
	}
	return slices.Clone(p.warnings)
}

// An Entry is one section or decision, for those who list them. Networks it says
// nothing of are in neither list of a direction.
type Entry struct {
	Kind string // "user", "pattern", "decision", "default"
	Name string // the address or pattern
	// The networks that each direction is allowed or denied, sorted.
	Inbound, NotInbound, Outbound, NotOutbound []string
	Note                                       string
	Rule                                       allowlists.Rule
}

// Entries returns all sections and decisions in the order in which they count: users,
// decisions, patterns, the default.
func (p *Policy) Entries() []Entry {
	if p == nil || p.fallback == nil {
		return nil
	}
	var list []Entry
	add := func(kind string, entries ...*entry) {
		for _, e := range entries {
			in, out := e.says[allowlists.In], e.says[allowlists.Out]
			list = append(list, Entry{
				Kind: kind, Name: e.name, Note: e.note, Rule: e.rule,
				Inbound: in.yes.names(), NotInbound: in.no.names(), Outbound: out.yes.names(), NotOutbound: out.no.names(),
			})
		}
	}
	add("user", inFileOrder(p.exact)...)
	add("decision", inFileOrder(p.decided)...)
	add("pattern", p.patterns...)
	add("default", p.fallback)
	return list
}

// inFileOrder returns entries in the order of the file, and then of their names.
func inFileOrder(m map[string]*entry) []*entry {
	list := make([]*entry, 0, len(m))
	for _, e := range m {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.rule.Line, b.rule.Line), cmp.Compare(a.name, b.name))
	})
	return list
}

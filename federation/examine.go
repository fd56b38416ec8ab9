package federation

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// A Finding is what one check says of a request, for people.
type Finding struct {
	Name    string // "partner", "identity", "method", ...
	Detail  string // what was looked at, and what is asked for
	Verdict allowlists.Verdict
}

// Examine makes each check that Admit (In) or Permit (Out) makes, also those
// behind the first that refuses: the first refusal in the list is their answer.
// Where nobody is there to have terms, no terms are asked.
func (p *Partners) Examine(d allowlists.Direction, id *certs.Identity, q Request) (list []Finding) {
	if p == nil || p.lists == nil {
		return nil
	}
	add := func(name, detail string, v allowlists.Verdict) { list = append(list, Finding{name, detail, v}) }
	if v, ok := p.own[string(q.Remote)]; ok && d == allowlists.In {
		add("identity", "a domain of ours, but the request comes from outside", v)
		return list
	}
	proved := id != nil && !id.IsZero()
	if d == allowlists.In && !proved {
		add("identity", "the peer proved nothing", p.none)
	}
	g, entry := p.find(q.Remote)
	add("partner", p.standing(q.Remote, g, entry), g.Verdict)
	if g.terms == nil {
		return list
	}
	if d == allowlists.In && proved {
		g.terms.examine(add, id, q, g.Rule)
	}
	question, number := q.question(d), q.Number && d == allowlists.In && !q.Dialog
	if entry == nil && allowlists.Registers(d, q.Method) {
		add("method", g.terms.asked(allowlists.CheckMethod, &question), allowlists.Refusal(allowlists.PartnerMethod, g.Rule))
	}
	if entry == nil && number {
		add("number", g.terms.asked(allowlists.CheckNumber, &question), allowlists.Refusal(allowlists.PartnerNumber, g.Rule))
	}
	for c := range allowlists.NumChecks {
		if entry != nil && (c != allowlists.CheckNumber || number) {
			add(checkNames[c], g.terms.asked(c, &question), entry.Check(c, &question))
		}
	}
	return list
}

var checkNames = [allowlists.NumChecks]string{
	allowlists.CheckDirection: "direction", allowlists.CheckMethod: "method", allowlists.CheckKinds: "kinds",
	allowlists.CheckUsers: "users", allowlists.CheckNumber: "number", allowlists.CheckSize: "size",
}

// standsBySRV is how a listed partner stands of which nothing else is said.
const standsBySRV = "allowed, its edge found by DNS SRV"

// standing says how well we know a domain.
func (p *Partners) standing(domain []byte, g Grant, entry *allowlists.Partner) string {
	switch {
	case g.Reason == allowlists.PartnerBlocked:
		about, _ := p.Describe(string(domain))
		return strings.TrimSuffix("blocked: "+about.Note, ": ")
	case g.Tier == TierDiscovered:
		return `not listed; unlisted = "discover"`
	case g.Tier == TierUpstream:
		return "not listed; the clearing house answers for it: " + few(g.terms.servers[:1], len(g.terms.servers)-1)
	case entry == nil:
		return "not listed"
	case g.Reason == allowlists.PartnerExpired:
		return fmt.Sprintf("until = %s, and that is over", p.details[entry.Index].until)
	case g.Tier == TierDirect:
		return "direct, at " + few(g.terms.servers[:1], len(g.terms.servers)-1)
	case g.terms.upstream:
		return "allowed, by way of the clearing house"
	case bridged(g.terms.network):
		return "allowed" // by the network that its entry names, which has a line of its own
	}
	return standsBySRV
}

// examine makes the checks of who the peer is.
func (t *terms) examine(add func(name, detail string, v allowlists.Verdict), id *certs.Identity, q Request, rule allowlists.Rule) {
	judged := func(ok bool, r allowlists.Reason) allowlists.Verdict {
		if ok {
			return allowlists.Allowance(allowlists.ReasonNone, rule)
		}
		return allowlists.Refusal(r, rule)
	}
	if bridged(t.network) {
		add("network", fmt.Sprintf("%s; network = %s", NetworkSIP, t.network), judged(false, allowlists.BridgeNetwork))
	}
	covered := t.covered(id, q.Remote, q.Target)
	add("identity", t.proof(id, q, covered), judged(covered, allowlists.IdentityDomainMismatch))
	if fits := t.fits(id.Usage(), allowlists.In); !fits || t.policy != certs.UsageFederation {
		add("usage", fmt.Sprintf("%s; peer_usage = %s", id.Usage(), t.policy), judged(fits, allowlists.IdentityUsage))
	}
	if len(t.pins) > 0 {
		add("key", fmt.Sprintf("%s; %d pinned", pinOf(id), len(t.pins)), judged(t.pinned(id), allowlists.IdentityPin))
	}
}

// proof says why the peer may speak for the domain, or what it proves instead.
func (t *terms) proof(id *certs.Identity, q Request, covered bool) string {
	domain := string(q.Remote)
	if covered && !t.only && t.coversDomain(id, q.Remote) {
		return "the certificate speaks for " + domain
	}
	for _, host := range t.hosts {
		if covered && t.coversHost(id, host) {
			return "the certificate is that of " + host
		}
	}
	if covered {
		return "the certificate is that of " + q.Target + ", where SRV leads"
	}
	wanted := append([]string{domain}, t.hosts...)
	if t.only {
		wanted = t.hosts
	}
	return fmt.Sprintf("the certificate proves %s, not %s", cmp.Or(id.String(), "nothing"), strings.Join(wanted, " or "))
}

// pinOf is the key of a certificate as an entry would pin it.
func pinOf(id *certs.Identity) string {
	key := id.Key()
	return "sha256/" + base64.StdEncoding.EncodeToString(key[:])
}

// fewNames is how many of a list people are shown.
const fewNames = 4

// few lists names, and how many more there are.
func few(names []string, more int) string {
	text := strings.Join(names, ", ")
	if more > 0 {
		text += fmt.Sprintf(" + %d more", more)
	}
	return text
}

// asked says what a check looks at, and what the entry says of it.
func (t *terms) asked(c allowlists.Check, q *allowlists.Question) string {
	said := func(key string, list []string) string {
		if list == nil {
			return "all may pass"
		}
		n := min(len(list), fewNames)
		return fmt.Sprintf("%s = %s", key, few(list[:n], len(list)-n))
	}
	switch c {
	case allowlists.CheckDirection:
		return fmt.Sprintf("%s; direction = %s", q.Direction, cmp.Or(t.config.Direction, "both"))
	case allowlists.CheckMethod:
		if len(t.config.Methods) == 0 && allowlists.Registers(q.Direction, q.Method) {
			return "REGISTER; only where methods names it"
		}
		return fmt.Sprintf("%s; %s", q.Method, said("methods", t.config.Methods))
	case allowlists.CheckKinds:
		return fmt.Sprintf("%s; %s", cmp.Or(q.Kinds.String(), "nothing of its own"), said("kinds", t.config.Kinds))
	case allowlists.CheckUsers:
		var sides []string
		if t.config.Users != nil {
			sides = append(sides, fmt.Sprintf("%s@%s; %s", q.Us.User, q.Us.Domain, said("users", t.config.Users)))
		}
		if t.config.TheirUsers != nil {
			sides = append(sides, fmt.Sprintf("%s@%s; %s", q.Them.User, q.Them.Domain, said("their_users", t.config.TheirUsers)))
		}
		return cmp.Or(strings.Join(sides, "; "), "everybody")
	case allowlists.CheckNumber:
		return fmt.Sprintf("%s; phone_numbers = %v", q.Us.User, t.config.PhoneNumbers)
	}
	return t.sizes(q)
}

func (t *terms) sizes(q *allowlists.Question) string {
	most := func(key string, n int) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("; %s = %d", key, n)
	}
	limits := most("max_message", t.config.MaxMessage) + most("max_body", t.config.MaxBody)
	return fmt.Sprintf("%d octets, %d of body%s", q.Size, q.Body, cmp.Or(limits, "; any"))
}

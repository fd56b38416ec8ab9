package federation

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// terms are what an entry says beside its domain and the words for people.
// Entries that say the same share them: of 100,000 partners the next one is
// never in the processor's cache, but their terms are.
type terms struct {
	lists *allowlists.Terms // what may pass

	servers  []string // addresses to dial; none: found by DNS SRV
	hosts    []string // names of which a direct partner's certificate must prove one
	peerName string
	upstream bool // servers are those of the clearing house
	card     bool // servers are what the partner says of himself
	only     bool // nobody but who proves one of hosts speaks for the domain

	policy    certs.UsagePolicy
	wildcard  bool
	cn        bool
	anyTarget bool // an SRV target may lie anywhere
	pins      [][sha256.Size]byte

	network string // the only one by which the partner is reached; "": any

	rate          float64
	subscriptions int
	verification  Verification
	unmarked      Unmarked

	config PartnerConfig // what was written
}

// nobody are the terms of what is blocked.
var nobody = &terms{}

// A Verification is whether our users see the users of a partner as verified.
// The zero Verification is never.
type Verification int

// The verifications.
const (
	VerifyNever  Verification = iota
	VerifySource              // if the partner's edge says so
	VerifyAlways
)

// String returns the word of the configuration.
func (v Verification) String() string {
	switch v {
	case VerifySource:
		return "source"
	case VerifyAlways:
		return "always"
	}
	return "never"
}

// Unmarked is what to do with a request that should be marked as verified or
// not, and is not. The zero Unmarked refuses it.
type Unmarked int

// What can be done.
const (
	UnmarkedRefused Unmarked = iota
	UnmarkedUnverified
)

// String returns the word of the configuration.
func (u Unmarked) String() string {
	if u == UnmarkedUnverified {
		return "unverified"
	}
	return "refuse"
}

// terms compiles what an entry says, once for all that say the same.
func (c *compiler) terms(p PartnerConfig) (*terms, []error) {
	p.Owner, p.Ticket, p.Note, p.Until, p.Line = "", "", "", Date{}, 0
	said, err := json.Marshal(p)
	if err != nil {
		return nil, []error{errors.New("a number in it is none")}
	}
	key := sha256.Sum256(said)
	if t, ok := c.shared[key]; ok {
		return t, nil
	}
	r := reader{t: &terms{config: p, wildcard: p.AllowWildcard, cn: p.AllowCN, rate: p.Rate, subscriptions: p.Subscriptions}}
	r.lists(p)
	r.servers(p)
	r.words(p)
	r.numbers(p)
	r.pins(p.Pins)
	r.network(p)
	if r.errs != nil {
		return nil, r.errs
	}
	if c.upstream != nil && len(r.t.servers) == 0 && !bridged(r.t.network) {
		u := c.upstream
		r.t.network = NetworkSIP
		r.t.servers, r.t.hosts, r.t.peerName, r.t.upstream = u.servers, u.hosts, u.peerName, true
	}
	c.shared[key] = r.t
	return r.t, nil
}

// reader reads one entry and collects its faults.
type reader struct {
	t    *terms
	errs []error
}

func (r *reader) fault(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

// lists reads what may pass.
func (r *reader) lists(p PartnerConfig) {
	r.patterns("users", p.Users)
	r.patterns("their_users", p.TheirUsers)
	var errs []error
	r.t.lists, errs = allowlists.NewTerms(p.allowed())
	r.errs = append(r.errs, errs...)
}

// allowed is what the entry says about what may pass.
func (p PartnerConfig) allowed() allowlists.Allowed {
	return allowlists.Allowed{
		Methods: p.Methods, Direction: p.Direction, Kinds: p.Kinds, Numbers: p.PhoneNumbers, MaxMessage: p.MaxMessage, MaxBody: p.MaxBody,
		Users: normalPatterns(p.Users), TheirUsers: normalPatterns(p.TheirUsers),
	}
}

// patterns complains of domains in address patterns.
func (r *reader) patterns(key string, list []string) {
	for _, pattern := range list {
		if _, err := allowlists.NormalPattern(pattern); err != nil {
			r.fault("%s %q: its domain is %w", key, pattern, err)
		}
	}
}

// normalPatterns brings the domains of address patterns into normal form, as far
// as they have one. A nil list stays nil.
func normalPatterns(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i], _ = allowlists.NormalPattern(out[i])
	}
	return out
}

// servers reads what makes a partner direct: servers, and the names that their
// certificates must prove.
func (r *reader) servers(p PartnerConfig) {
	if p.Servers != nil && len(p.Servers) == 0 {
		r.fault("servers is empty; leave it out to find them by DNS")
	}
	r.way("server", p.Servers)
	if p.PeerName != "" && len(p.Servers) == 0 {
		r.fault("peer_name needs servers; without them the certificate must name the domain")
	}
	r.name("peer_name", p.PeerName)
}

// way reads addresses of servers; what is how one is called.
func (r *reader) way(what string, servers []string) {
	for _, s := range servers {
		host, address, err := normalServer(s)
		if err != nil {
			r.fault("%s %q: %w", what, s, err)
			continue
		}
		r.t.servers = append(r.t.servers, address)
		if !slices.Contains(r.t.hosts, host) {
			r.t.hosts = append(r.t.hosts, host)
		}
	}
}

// name reads the one name that the servers' certificates must prove.
func (r *reader) name(key, name string) {
	if name == "" {
		return
	}
	host, err := normalHost(name)
	if err != nil {
		r.fault("%s %q: %w", key, name, err)
		return
	}
	r.t.peerName, r.t.hosts = host, []string{host}
}

// words reads the keys that have a few words as values.
func (r *reader) words(p PartnerConfig) {
	t := r.t
	t.policy = cmp.Or(certs.UsagePolicy(p.PeerUsage), certs.UsageFederation)
	if !t.policy.Valid() {
		r.fault(`peer_usage %q is none of "federation", "strict", "server"`, p.PeerUsage)
	}
	switch p.SRVTarget {
	case "", "in_domain":
	case "any":
		t.anyTarget = true
	default:
		r.fault(`srv_target %q is none of "in_domain", "any"`, p.SRVTarget)
	}
	switch p.Verification {
	case "", "source":
		t.verification = VerifySource
	case "always":
		t.verification = VerifyAlways
	case "never":
		t.verification = VerifyNever
	default:
		r.fault(`verification %q is none of "source", "always", "never"`, p.Verification)
	}
	switch p.Unmarked {
	case "", "unverified":
		t.unmarked = UnmarkedUnverified
	case "refuse":
		t.unmarked = UnmarkedRefused
	default:
		r.fault(`unmarked %q is none of "unverified", "refuse"`, p.Unmarked)
	}
}

func (r *reader) numbers(p PartnerConfig) {
	if p.Rate < 0 || math.IsInf(p.Rate, 0) {
		r.fault("rate must be more than 0; leave it out for the default")
	}
	if p.Subscriptions < 0 {
		r.fault("subscriptions must be more than 0; leave it out for the default")
	}
}

// pins reads the hashes of keys, in the form of RFC 7469 §2.4 that tools print.
func (r *reader) pins(list []string) {
	if list != nil && len(list) == 0 {
		r.fault("pins is empty; leave it out for any key")
	}
	for _, pin := range list {
		hash, ok := strings.CutPrefix(pin, "sha256/")
		sum, err := base64.StdEncoding.Strict().DecodeString(hash)
		if !ok || err != nil || len(sum) != sha256.Size {
			r.fault(`pin %q is not "sha256/" and the 44 characters of the key's SHA-256 in base64`, pin)
			continue
		}
		r.t.pins = append(r.t.pins, [sha256.Size]byte(sum))
	}
}

// The networks that entries name. A bridge has the name of its own.
const (
	NetworkSIP  = "sip"
	NetworkXMPP = "xmpp"
)

// bridged reports whether a network is one that a bridge leads to.
func bridged(network string) bool { return network != "" && network != NetworkSIP }

// network reads by which network the partner is reached. What only SIP has
// says so, too: nobody shows a bridge the key that an entry pins.
func (r *reader) network(p PartnerConfig) {
	sip := len(p.Servers) > 0 || len(p.Pins) > 0
	switch p.Network {
	case "", "any":
		if sip {
			r.t.network = NetworkSIP
		}
	case NetworkSIP:
		r.t.network = NetworkSIP
	case NetworkXMPP:
		r.t.network = p.Network
		if sip {
			r.fault("network = %q and servers or pins exclude each other: those are of SIP", p.Network)
		}
	default:
		r.fault(`network %q is none of "any", "sip", "xmpp"`, p.Network)
	}
}

// covered reports whether id may speak for the partner. A direct partner is who
// proves the name of one of its servers, whatever domain the certificate names:
// so one certificate may speak for many entries.
func (t *terms) covered(id *certs.Identity, domain []byte, target string) bool {
	for _, host := range t.hosts {
		if t.coversHost(id, host) {
			return true
		}
	}
	if t.only {
		return false
	}
	if t.coversDomain(id, domain) {
		return true
	}
	return target != "" && len(t.servers) == 0 && t.mayBe(target, domain) && t.coversHost(id, target)
}

// mayBe reports whether a host that DNS names for the domain may be its server.
// One that lies outside of the domain may only where the entry says so: DNS
// alone, without a signature, must not make anybody our partner.
func (t *terms) mayBe(target string, domain []byte) bool {
	return t.anyTarget || within(target, domain)
}

// mayProve reports whether any SRV target could make id a server of the domain.
// If not, DNS is not asked: who writes the domain in From may be somebody who has
// its name servers keep us waiting, on a connection that others share with him.
func (t *terms) mayProve(id *certs.Identity, domain []byte) bool {
	return t.anyTarget || t.wildcard || t.cn || id.HasHostIn(domain)
}

// coversDomain reports whether id proves the domain itself.
func (t *terms) coversDomain(id *certs.Identity, domain []byte) bool {
	return id.CoversBytes(domain) || t.wildcard && id.CoversWild(string(domain)) || t.cn && equal(id.CommonName(), string(domain))
}

// coversHost reports whether id proves the name of a server.
func (t *terms) coversHost(id *certs.Identity, host string) bool {
	return id.CoversHost(host) || t.wildcard && id.CoversHostWild(host) || t.cn && equal(id.CommonName(), host)
}

// fits reports whether a certificate's usage is what the partner's peer_usage
// asks for, when the partner is the client (In) or the server (Out).
func (t *terms) fits(u certs.Usage, d allowlists.Direction) bool {
	if d == allowlists.Out && t.policy != certs.UsageFederation {
		return u.Server()
	}
	return t.policy.Allows(u)
}

// pinned reports whether the certificate's key is one that the entry pins.
func (t *terms) pinned(id *certs.Identity) bool {
	return len(t.pins) == 0 || slices.Contains(t.pins, id.Key())
}

// tier is how well a listed partner is known.
func (t *terms) tier() Tier {
	if len(t.servers) > 0 && !t.upstream {
		return TierDirect
	}
	return TierAllowed
}

// sameWay reports whether connections of the one are good for the other.
func (t *terms) sameWay(o *terms) bool {
	return t == o || t.peerName == o.peerName && slices.Equal(t.servers, o.servers) && t.upstream == o.upstream && t.card == o.card &&
		t.policy == o.policy && t.network == o.network && t.wildcard == o.wildcard && t.cn == o.cn && t.anyTarget == o.anyTarget && slices.Equal(t.pins, o.pins)
}

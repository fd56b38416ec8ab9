// Package card makes and reads partner cards: what the administrator of another
// company must know to federate with us, signed with the key of our edge's
// certificate (a JWS, RFC 7515, with the certificate's chain in x5c).
//
// A card proves that who holds the certificate wrote it, and nothing more. That
// the certificate is theirs must be seen otherwise: by the authority that signed
// it, and by a look at the fingerprint together, over the telephone.
//
// Reading changes nothing and asks nobody: a card is a file from a stranger.
package card

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
)

// Bounds of a card. Domains is generous: who hosts more than that sends two.
const (
	MaxOctets  = 64 << 10 // of the whole file
	MaxDomains = 64
	MaxServers = 16
	MaxContact = 200 // octets
	MaxDays    = 366

	maxPins  = 8
	maxChain = 10
	maxDepth = 4               // of nested objects and lists
	maxSkew  = 5 * time.Minute // between their clock and ours
)

// version is the form of the card. One that a reader of today would
// misunderstand gets another number.
const version = 1

// A Card is what one company tells another about its edge.
type Card struct {
	Version int       `json:"version"`
	Domains []string  `json:"domains"` // whose users live behind the edge, normal form
	Edge    string    `json:"edge"`    // the name on its certificate
	Servers []string  `json:"servers"` // where it listens for partners, "host:port"
	Pins    []string  `json:"pins"`    // of its keys, see Pin
	Usage   string    `json:"usage"`   // of its certificate: "client,server"
	CA      []byte    `json:"ca,omitempty"`
	Contact string    `json:"contact,omitempty"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// A Signed is a card whose signature holds.
type Signed struct {
	Card
	Chain     []*x509.Certificate // who signed it first, then those between it and the authority
	Authority *x509.Certificate   // the private one that the chain leads to; nil: none is named
	ID        certs.Identity      // what the certificate proves, if its authority is believed
}

// Pin names the key of a certificate: the hash of its SubjectPublicKeyInfo, in
// the form of RFC 7469 §2.4 with a slash.
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256/" + base64.StdEncoding.EncodeToString(sum[:])
}

// Fingerprint names the key of a certificate for people who compare it over the
// telephone: the first 128 bits of its hash, in groups of four hexadecimal
// digits. To find another key with the same would take 2^128 tries.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = fmt.Sprintf("%X", sum[2*i:2*i+2])
	}
	return strings.Join(groups, " ")
}

// Valid returns what is wrong with what the card says, whoever signed it.
func (c *Card) Valid() error {
	switch {
	case c.Version != version:
		return fmt.Errorf("it is of version %d, and this program reads version %d", c.Version, version)
	case len(c.Domains) == 0:
		return errors.New("it names no domain")
	case len(c.Domains) > MaxDomains:
		return fmt.Errorf("it names %d domains, more than %d", len(c.Domains), MaxDomains)
	case len(c.Servers) == 0:
		return errors.New("it names no server")
	case len(c.Servers) > MaxServers:
		return fmt.Errorf("it names %d servers, more than %d", len(c.Servers), MaxServers)
	case len(c.Pins) > maxPins:
		return fmt.Errorf("it names %d keys, more than %d", len(c.Pins), maxPins)
	case len(c.Contact) > MaxContact || !utf8.ValidString(c.Contact):
		return fmt.Errorf("the contact is longer than %d octets, or not text", MaxContact)
	}
	return errors.Join(c.names(), c.dates())
}

// names checks each name. What is not in its normal form would be shown as one
// name and work as another.
func (c *Card) names() error {
	for i, d := range c.Domains {
		if n, err := federation.Normal(d); err != nil || n != d {
			return fmt.Errorf("%q is not a domain in its normal form", clip(d))
		}
		if slices.Contains(c.Domains[:i], d) {
			return fmt.Errorf("%s stands in it twice", d)
		}
	}
	if n, err := federation.Normal(c.Edge); err != nil || n != c.Edge {
		return fmt.Errorf("the edge's name %q is not a host name", clip(c.Edge))
	}
	for _, s := range c.Servers {
		if !validServer(s) {
			return fmt.Errorf("server %q is not a host with a port", clip(s))
		}
	}
	for u := range strings.SplitSeq(c.Usage, ",") {
		if !slices.Contains([]string{"client", "server", "sip", "any", "none"}, u) {
			return fmt.Errorf("%q is not what a certificate is for", clip(u))
		}
	}
	for _, p := range c.Pins {
		hash, ok := strings.CutPrefix(p, "sha256/")
		if b, err := base64.StdEncoding.Strict().DecodeString(hash); !ok || err != nil || len(b) != sha256.Size {
			return fmt.Errorf("%q is not the pin of a key", clip(p))
		}
	}
	return nil
}

func (c *Card) dates() error {
	switch life := c.Expires.Sub(c.Issued); {
	case life <= 0:
		return errors.New("it ends before it begins")
	case life > MaxDays*24*time.Hour+time.Hour: // an hour for the change of the clocks
		return fmt.Errorf("it is good for more than %d days", MaxDays)
	}
	return nil
}

// Current returns an error unless the card is good at a moment.
func (c *Card) Current(now time.Time) error {
	switch {
	case now.After(c.Expires):
		return fmt.Errorf("it ended %s; ask for a new one", c.Expires.UTC().Format(time.DateOnly))
	case now.Add(maxSkew).Before(c.Issued):
		return fmt.Errorf("it was issued %s, which is yet to come; one of the two clocks is wrong", c.Issued.UTC().Format(time.RFC3339))
	}
	return nil
}

// validServer takes "host:port" in normal form.
func validServer(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || net.JoinHostPort(host, port) != s {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" && ip.Unmap().String() == host
	}
	normal, err := federation.Normal(host)
	return err == nil && normal == host
}

// PeerName returns the name that the servers' certificates must prove, for the
// entry of a partner: "" if the host of each is on the certificate.
func (s *Signed) PeerName() string {
	for _, server := range s.Servers {
		if host, _, _ := net.SplitHostPort(server); !s.ID.CoversHost(host) {
			return s.Edge
		}
	}
	return ""
}

// Hosted returns the domains of the card that its certificate does not name. For
// those it proves no more than that it is the edge that says so.
func (s *Signed) Hosted() (domains []string) {
	for _, d := range s.Domains {
		if !s.ID.Covers(d) {
			domains = append(domains, d)
		}
	}
	return domains
}

// speaks checks that the card and the certificate that signed it belong
// together: it names the edge, or every domain; and the key is among the pins.
func (s *Signed) speaks() error {
	if hosted := s.Hosted(); len(hosted) > 0 && !s.ID.CoversHost(s.Edge) {
		return fmt.Errorf("the certificate that signed it names neither %s nor the edge %s: it is for %s", hosted[0], s.Edge, s.ID)
	}
	if name := s.PeerName(); name != "" && !s.ID.CoversHost(name) {
		return fmt.Errorf("the certificate that signed it is not that of the edge %s: it is for %s", name, s.ID)
	}
	if !slices.Contains(s.Pins, Pin(s.Chain[0])) {
		return errors.New("the key that signed it is none of the keys that it names")
	}
	return nil
}

// leadsTo checks that the chain ends at the authority that the card brings: else
// the card would have us trust an authority for nothing.
func (s *Signed) leadsTo() error {
	if s.Authority == nil {
		return nil
	}
	if !s.Authority.IsCA || !s.Authority.BasicConstraintsValid {
		return errors.New("what it brings as its authority is no authority")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(s.Authority)
	for _, c := range s.Chain[1:] {
		between.AddCert(c)
	}
	_, err := s.Chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime: s.Chain[0].NotBefore.Add(s.Chain[0].NotAfter.Sub(s.Chain[0].NotBefore) / 2),
	})
	if err != nil {
		return errors.New("the authority that it brings did not sign the certificate that signed it")
	}
	return nil
}

// clip bounds what a stranger wrote, for an error.
func clip(s string) string {
	return string(bytes.ToValidUTF8([]byte(s[:min(len(s), 64)]), []byte("?")))
}

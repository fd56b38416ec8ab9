package s2s

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"

	"github.com/sipedge/sipedge/locate"
)

// TEMPORARY until locate has them.
type Records struct {
	Targets []Target
	Secure  bool
}
type Target struct {
	Host   string
	Port   int
	Direct bool
	Hops   []locate.Hop
}
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

func (r TLSA) match(c *x509.Certificate) bool {
	raw := c.Raw
	if r.Selector == 1 {
		raw = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case 1:
		h := sha256.Sum256(raw)
		raw = h[:]
	case 2:
		h := sha512.Sum512(raw)
		raw = h[:]
	}
	return r.Usage == 3 && subtle.ConstantTimeCompare(raw, r.Data) == 1
}

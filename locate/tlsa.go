package locate

import (
	"encoding/hex"

	"github.com/miekg/dns"
)

// A TLSA is what DNS says about a server's certificate (RFC 6698 §2.1). The numbers
// may be ones that nobody knows.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte // nil if it is too much to be remembered
}

// Bounds of what is remembered of one answer.
const (
	maxTLSA       = 32
	maxTLSAOctets = 8 << 10 // of data: some whole certificates
)

// takeTLSA keeps a record. One whose data is too long is kept without: it is there,
// and nothing fits it.
func (r *reader) takeTLSA(rr *dns.TLSA) {
	r.lower(rr.Hdr.Ttl)
	if len(r.tlsa) == maxTLSA {
		return
	}
	t := TLSA{Usage: rr.Usage, Selector: rr.Selector, Matching: rr.MatchingType}
	if n := len(rr.Certificate) / 2; r.octets+n <= maxTLSAOctets {
		r.octets += n
		t.Data, _ = hex.DecodeString(rr.Certificate) // it was octets before
	}
	r.tlsa = append(r.tlsa, t)
}

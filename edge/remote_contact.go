package edge

import (
	"bytes"
	"time"

	"github.com/sipedge/sipedge/sip"
)

// contactParams are the parameters of a Contact in a REGISTER or its answer that mean
// something here, read in one pass. Of several with one name the first counts.
type contactParams struct {
	expires  []byte
	regID    []byte
	instance []byte // with its quotes
	gruu     []byte // the temporary one; nil: none
	limited  bool   // there is expires
	numbered bool   // there is reg-id
	tracked  bool   // there is +sip.instance
}

func readContactParams(params []byte) (p contactParams) {
	for len(params) > 0 {
		var name, value []byte
		name, value, params = sip.CutParam(params)
		switch {
		case !p.limited && isParam(name, "expires"):
			p.expires, p.limited = value, true
		case !p.numbered && isParam(name, "reg-id"):
			p.regID, p.numbered = value, true
		case !p.tracked && isParam(name, "+sip.instance"):
			p.instance, p.tracked = value, true
		case p.gruu == nil && isParam(name, "temp-gruu"):
			if p.gruu = value; value == nil {
				p.gruu = []byte{} // there is one
			}
		}
	}
	return p
}

// isParam reports whether a parameter has a name, given in lower case. Where the length
// in octets is the same, only ASCII letters can differ in nothing but case.
func isParam(name []byte, want string) bool {
	return len(name) == len(want) && bytes.EqualFold(name, []byte(want))
}

// lifetime is how long the Contact holds (RFC 3261 §10.2.1.1).
func (p *contactParams) lifetime(otherwise time.Duration) time.Duration {
	if p.limited {
		return seconds(p.expires, otherwise)
	}
	return otherwise
}

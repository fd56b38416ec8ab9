package remoteaccess

import (
	"encoding/base64"
	"encoding/binary"
	"unicode/utf16"
)

// The messages of NTLM that a client sends (MS-NLMP §2.2.1).
const (
	ntlmNegotiate    = 1
	ntlmAuthenticate = 3
)

const (
	ntlmSignature = "NTLMSSP\x00"
	ntlmUnicode   = 1        // NTLMSSP_NEGOTIATE_UNICODE
	maxNTLM       = 16 << 10 // octets of base64
	maxNTLMName   = 2 * 256  // octets of a user or domain
)

// An ntlmMessage is what can be read of a message without the password: of the
// last one, whose it is.
type ntlmMessage struct {
	kind         uint32
	user, domain string
}

// readNTLM reads a message in base64. It is bounded, and false if it is none
// that a client sends.
func readNTLM(data []byte) (ntlmMessage, bool) {
	if len(data) > maxNTLM {
		return ntlmMessage{}, false
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(data)))
	n, err := base64.StdEncoding.Decode(b, data)
	if b = b[:n]; err != nil || len(b) < len(ntlmSignature)+4 || string(b[:len(ntlmSignature)]) != ntlmSignature {
		return ntlmMessage{}, false
	}
	m := ntlmMessage{kind: binary.LittleEndian.Uint32(b[8:])}
	switch m.kind {
	case ntlmNegotiate:
		return m, true
	case ntlmAuthenticate:
		return m, m.authenticate(b)
	}
	return m, false
}

// authenticate reads the last message: the fields of domain and user, and the
// flags, which very old clients left out (MS-NLMP §2.2.1.3).
func (m *ntlmMessage) authenticate(b []byte) bool {
	const domainAt, userAt, flagsAt = 28, 36, 60
	if len(b) < flagsAt {
		return false
	}
	wide := len(b) >= flagsAt+4 && binary.LittleEndian.Uint32(b[flagsAt:])&ntlmUnicode != 0
	domain, ok := ntlmField(b, domainAt)
	if !ok {
		return false
	}
	user, ok := ntlmField(b, userAt)
	if !ok {
		return false
	}
	m.domain, m.user = ntlmText(domain, wide), ntlmText(user, wide)
	return true
}

// ntlmField returns the octets that the field at b[at] points to.
func ntlmField(b []byte, at int) ([]byte, bool) {
	n := int(binary.LittleEndian.Uint16(b[at:]))
	from := binary.LittleEndian.Uint32(b[at+4:])
	if n == 0 {
		return nil, true
	}
	if n > maxNTLMName || uint64(from)+uint64(n) > uint64(len(b)) {
		return nil, false
	}
	return b[from:][:n], true
}

// ntlmText decodes a name. What the flags say was agreed before this message, and
// a server may go by that: text with a zero octet in it is UTF-16 whatever they
// say.
func ntlmText(b []byte, wide bool) string {
	for _, c := range b {
		wide = wide || c == 0
	}
	if !wide {
		return string(b)
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// name returns the normal form of whose message it is; at is the domain of the
// address that signs in.
func (m ntlmMessage) name(at string) string {
	if m.domain != "" {
		at = m.domain
	}
	return normalName(m.user, at)
}

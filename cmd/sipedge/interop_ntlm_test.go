package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// What a server of the Microsoft dialect does of NTLM ([MS-NLMP]), as SIP uses
// it ([MS-SIPAE]): without a connection, with a fresh session key, and with the
// sequence number 100 in each signature.

// The flags of [MS-NLMP] §2.2.2.5 that make up such a session.
const (
	ntlmUnicode     = 0x00000001
	ntlmTarget      = 0x00000004
	ntlmSign        = 0x00000010
	ntlmDatagram    = 0x00000040
	ntlmNTLM        = 0x00000200
	ntlmAlwaysSign  = 0x00008000
	ntlmDomain      = 0x00010000
	ntlmExtended    = 0x00080000
	ntlmIdentify    = 0x00100000
	ntlmTargetInfo  = 0x00800000
	ntlmVersion     = 0x02000000
	ntlm128         = 0x20000000
	ntlmKeyExchange = 0x40000000

	ntlmNeeded  = ntlmUnicode | ntlmDatagram | ntlmExtended | ntlm128 | ntlmKeyExchange
	ntlmOffered = ntlmNeeded | ntlmTarget | ntlmSign | ntlmNTLM | ntlmAlwaysSign | ntlmDomain | ntlmIdentify | ntlmTargetInfo | ntlmVersion

	ntlmSequence = 100 // [MS-SIPAE] §3.1.1
)

// An ntlmSession is one sign-in: the challenge that it got, and the keys that
// came of it.
type ntlmSession struct {
	opaque     string
	challenge  []byte
	user       string // whose password was right, "" before
	fromClient ntlmKeys
	fromServer ntlmKeys
	signed     int // messages to the client, counted in snum
}

// ntlmKeys sign and seal one direction.
type ntlmKeys struct{ sign, seal []byte }

// utf16le is text as NTLM has it.
func utf16le(text string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// fromUTF16LE is the way back.
func fromUTF16LE(b []byte) string {
	var units []uint16
	for ; len(b) > 1; b = b[2:] {
		units = append(units, binary.LittleEndian.Uint16(b))
	}
	return string(utf16.Decode(units))
}

// challengeMessage is the second message of the handshake ([MS-NLMP] §2.2.1.2).
func (s *ntlmSession) challengeMessage() []byte {
	var info []byte
	for id, name := range []string{1: "SIP", 2: "EXAMPLE", 3: "sip.example.com", 4: "example.com"} {
		if name == "" {
			continue
		}
		text := utf16le(name)
		info = binary.LittleEndian.AppendUint16(info, uint16(id))
		info = append(binary.LittleEndian.AppendUint16(info, uint16(len(text))), text...)
	}
	info = append(info, 0, 0, 0, 0)
	target := utf16le("EXAMPLE")
	m := binary.LittleEndian.AppendUint32([]byte("NTLMSSP\x00"), 2)
	m = appendNTLMField(m, len(target), 56)
	m = binary.LittleEndian.AppendUint32(m, ntlmOffered)
	m = append(append(m, s.challenge...), make([]byte, 8)...)
	m = appendNTLMField(m, len(info), 56+len(target))
	m = append(m, 6, 1, 0xb1, 0x1d, 0, 0, 0, 15) // a version, which nobody reads
	return append(append(m, target...), info...)
}

// appendNTLMField appends where a part of the payload is.
func appendNTLMField(m []byte, length, offset int) []byte {
	m = binary.LittleEndian.AppendUint16(m, uint16(length))
	m = binary.LittleEndian.AppendUint16(m, uint16(length))
	return binary.LittleEndian.AppendUint32(m, uint32(offset))
}

// ntlmField is the part of the payload that the field at a place tells of.
func ntlmField(m []byte, at int) ([]byte, error) {
	if len(m) < at+8 {
		return nil, errors.New("message too short")
	}
	length, offset := int(binary.LittleEndian.Uint16(m[at:])), int(binary.LittleEndian.Uint32(m[at+4:]))
	if offset < 0 || offset > len(m) || length > len(m)-offset {
		return nil, fmt.Errorf("a field of %d octets at %d, of %d", length, offset, len(m))
	}
	return m[offset : offset+length], nil
}

// authenticate checks the third message ([MS-NLMP] §3.2.5.1.2) and makes the
// keys. The password is asked for by the name that the message claims.
func (s *ntlmSession) authenticate(m []byte, password func(user string) string) error {
	if len(m) < 64 || !bytes.HasPrefix(m, []byte("NTLMSSP\x00\x03\x00\x00\x00")) {
		return errors.New("no AUTHENTICATE_MESSAGE")
	}
	if flags := binary.LittleEndian.Uint32(m[60:]); flags&ntlmNeeded != ntlmNeeded {
		return fmt.Errorf("flags %08x lack %08x", flags, ntlmNeeded&^flags)
	}
	var response, domain, user, key []byte
	for _, f := range []struct {
		at int
		to *[]byte
	}{{20, &response}, {28, &domain}, {36, &user}, {52, &key}} {
		part, err := ntlmField(m, f.at)
		if err != nil {
			return err
		}
		*f.to = part
	}
	if len(response) < 16+28 || len(key) != 16 {
		return fmt.Errorf("an NTLMv2 response of %d octets and a key of %d", len(response), len(key))
	}
	name := fromUTF16LE(user)
	owf := ntowfv2(password(name), name, fromUTF16LE(domain))
	proof := hmacMD5(owf, s.challenge, response[16:])
	if password(name) == "" || !hmac.Equal(proof, response[:16]) {
		return fmt.Errorf("the password of %q is wrong", name)
	}
	s.user = name
	s.exchange(rc4ed(hmacMD5(owf, proof), key))
	return nil
}

// exchange makes the keys of a session key ([MS-NLMP] §3.4.5).
func (s *ntlmSession) exchange(session []byte) {
	derive := func(way, what string) []byte {
		sum := md5.Sum(append(slices.Clone(session), "session key to "+way+" "+what+" key magic constant\x00"...))
		return sum[:]
	}
	s.fromClient = ntlmKeys{derive("client-to-server", "signing"), derive("client-to-server", "sealing")}
	s.fromServer = ntlmKeys{derive("server-to-client", "signing"), derive("server-to-client", "sealing")}
}

// mac is the signature of a message ([MS-NLMP] §3.4.4.2), in hex. Without a
// connection the sealing key is one of its own for each sequence number.
func (k ntlmKeys) mac(message string) string {
	sequence := binary.LittleEndian.AppendUint32(nil, ntlmSequence)
	seal := md5.Sum(append(slices.Clone(k.seal), sequence...))
	sum := rc4ed(seal[:], hmacMD5(k.sign, sequence, []byte(message))[:8])
	return strings.ToUpper(hex.EncodeToString(slices.Concat([]byte{1, 0, 0, 0}, sum, sequence)))
}

// ntowfv2 is what NTLM knows of a password ([MS-NLMP] §3.3.2).
func ntowfv2(password, user, domain string) []byte {
	return hmacMD5(md4(utf16le(password)), utf16le(strings.ToUpper(user)+domain))
}

func hmacMD5(key []byte, parts ...[]byte) []byte {
	h := hmac.New(md5.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func rc4ed(key, data []byte) []byte {
	c, err := rc4.NewCipher(key)
	if err != nil {
		panic(err) // keys here are of 16 octets
	}
	out := make([]byte, len(data))
	c.XORKeyStream(out, data)
	return out
}

// md4 is RFC 1320, which NTLM needs and nobody else any more.
func md4(data []byte) []byte {
	message := append(slices.Clone(data), 0x80)
	for len(message)%64 != 56 {
		message = append(message, 0)
	}
	message = binary.LittleEndian.AppendUint64(message, uint64(len(data))*8)
	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	rounds := []struct {
		mix   func(x, y, z uint32) uint32
		add   uint32
		turns [4]int
		order [16]int
	}{
		{func(x, y, z uint32) uint32 { return x&y | ^x&z }, 0, [4]int{3, 7, 11, 19},
			[16]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
		{func(x, y, z uint32) uint32 { return x&y | x&z | y&z }, 0x5a827999, [4]int{3, 5, 9, 13},
			[16]int{0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15}},
		{func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ed9eba1, [4]int{3, 9, 11, 15},
			[16]int{0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15}},
	}
	for block := range slices.Chunk(message, 64) {
		was := state
		for _, round := range rounds {
			for i, word := range round.order {
				a, b, c, d := (16-i)%4, (17-i)%4, (18-i)%4, (19-i)%4
				sum := state[a] + round.mix(state[b], state[c], state[d]) + binary.LittleEndian.Uint32(block[4*word:]) + round.add
				state[a] = bits.RotateLeft32(sum, round.turns[i%4])
			}
		}
		for i := range state {
			state[i] += was[i]
		}
	}
	var sum []byte
	for _, w := range state {
		sum = binary.LittleEndian.AppendUint32(sum, w)
	}
	return sum
}

func TestNTLMIsThatOfItsSpecification(t *testing.T) {
	for text, want := range map[string]string{ // RFC 1320 appendix A.5
		"":               "31d6cfe0d16ae931b73c59d7e0c089c0",
		"message digest": "d9130a8164549fe818874806e1c7014b",
		"12345678901234567890123456789012345678901234567890123456789012345678901234567890": "e33b4ddc9c38f2199c3e7b164fcc0536",
	} {
		if got := hex.EncodeToString(md4([]byte(text))); got != want {
			t.Errorf("md4(%q) = %s, want %s", text, got, want)
		}
	}
	if got, want := hex.EncodeToString(ntowfv2("Password", "User", "Domain")), "0c868a403bfd7a93a3001ef22ef02e3f"; got != want {
		t.Errorf("NTOWFv2 = %s, want %s ([MS-NLMP] §4.2.4.1.1)", got, want)
	}
}

// TestNTLMHandshakeEndsWithTheRightPassword plays both sides, once with each
// password.
func TestNTLMHandshakeEndsWithTheRightPassword(t *testing.T) {
	for password, good := range map[string]bool{"secret": true, "guess": false, "": false} {
		s := &ntlmSession{challenge: []byte("8 octets")}
		info, err := ntlmField(s.challengeMessage(), 40)
		if err != nil {
			t.Fatal(err)
		}
		owf := ntowfv2(password, "alice", "EXAMPLE")
		temp := slices.Concat([]byte{1, 1, 0, 0, 0, 0, 0, 0}, make([]byte, 8), []byte("of mine!"), make([]byte, 4), info, make([]byte, 4))
		proof := hmacMD5(owf, s.challenge, temp)
		key := rc4ed(hmacMD5(owf, proof), []byte("a key of sixteen"))
		m := binary.LittleEndian.AppendUint32([]byte("NTLMSSP\x00"), 3)
		var payload []byte
		for _, part := range [][]byte{nil, append(proof, temp...), utf16le("EXAMPLE"), utf16le("alice"), utf16le("hotel"), key} {
			m = appendNTLMField(m, len(part), 64+len(payload))
			payload = append(payload, part...)
		}
		m = append(binary.LittleEndian.AppendUint32(m, ntlmOffered), payload...)
		err = s.authenticate(m, func(user string) string { return map[string]string{"alice": "secret"}[user] })
		if (err == nil) != good {
			t.Errorf("with %q: %v", password, err)
		}
		var same ntlmSession
		same.exchange([]byte("a key of sixteen"))
		if good && same.fromClient.mac("signed") != s.fromClient.mac("signed") {
			t.Errorf("both sides do not have the same keys")
		}
	}
}

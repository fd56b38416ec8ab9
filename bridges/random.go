package bridges

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
)

// dice are random octets that nobody guesses, asked of the system many at a time.
type dice struct {
	mu   sync.Mutex
	left []byte // of octets
	octs [512]byte
}

// roll fills b, which is no longer than 512 octets. crypto/rand.Read never
// fails.
func (d *dice) roll(b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.left) < len(b) {
		_, _ = rand.Read(d.octs[:])
		d.left = d.octs[:]
	}
	n := copy(b, d.left)
	clear(d.left[:n])
	d.left = d.left[n:]
}

// A branchID is what names a client transaction, as its branch parameter has it in
// hexadecimal behind the cookie (RFC 3261 §8.1.1.7).
type branchID [16]byte

func (d *dice) branch() (id branchID) {
	d.roll(id[:])
	return id
}

// tag returns a tag: at least 32 random bits (RFC 3261 §19.3), here 64.
func (d *dice) tag() string {
	var b [8]byte
	var text [16]byte
	d.roll(b[:])
	hex.Encode(text[:], b[:])
	return string(text[:])
}

// callID returns a Call-ID (RFC 3261 §8.1.1.4).
func (d *dice) callID() string {
	var b [16]byte
	var text [32]byte
	d.roll(b[:])
	hex.Encode(text[:], b[:])
	return string(text[:])
}

package xmpp

import (
	crand "crypto/rand"
	"encoding/base32"
	"math/rand/v2"
	"sync"
)

// An idMaker makes names that nobody has and nobody guesses: ids of stanzas,
// Message-IDs, Call-IDs. Who could guess one could forge an error or a receipt for
// what he never got, if his server let him.
type idMaker struct {
	mu   sync.Mutex
	dice *rand.ChaCha8
}

func newIDMaker() *idMaker {
	var seed [32]byte
	crand.Read(seed[:])
	return &idMaker{dice: rand.NewChaCha8(seed)}
}

var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// next returns 16 letters and digits: 80 bits.
func (m *idMaker) next() string {
	var b [10]byte
	m.mu.Lock()
	m.dice.Read(b[:])
	m.mu.Unlock()
	var out [16]byte
	letters.Encode(out[:], b[:])
	return string(out[:])
}

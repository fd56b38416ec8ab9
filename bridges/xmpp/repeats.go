package xmpp

import (
	"hash/maphash"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
)

const (
	// keepRepeats is how long a message is known that may come again: servers send what
	// was not acknowledged as soon as they have a new stream.
	keepRepeats = 2 * time.Minute
	maxRepeats  = 65_536
)

// repeats know the messages that came lately. What a stream has carried and not
// acknowledged when it broke comes again on the next one (XEP-0198), and our user
// should not see it twice.
//
// A message is known by its id and both full addresses, so nobody can keep back what
// anybody else says: his stream does not prove the other's address, and the session of
// an account counts apart. The same id twice on one stream, or with another text, is
// the sender's business: there are those who count anew each time.
type repeats struct {
	seed  maphash.Seed
	heard *memory[uint64, heard]
}

// heard is on which stream a message came last, and what it said, as a hash.
type heard struct{ stream, text uint64 }

func newRepeats() *repeats {
	return &repeats{seed: maphash.MakeSeed(), heard: newMemory[uint64, heard](maxRepeats, keepRepeats)}
}

// again notes a message, and reports whether it came before on another stream.
func (r *repeats) again(s *s2s.Stanza, w *inward, l *letter) (again bool) {
	if l.id == "" || s.Stream == 0 {
		return false
	}
	kind := "server"
	if s.Proof == bridges.ProofAccount {
		kind = "account"
	}
	w.repeat = r.hash(kind, w.from.String(), w.to.String(), l.id)
	now := heard{s.Stream, r.hash(l.subject, l.text)}
	r.heard.change(w.repeat, func(before *heard) {
		again = before.stream != 0 && before.stream != now.stream && before.text == now.text
		*before = now
	})
	return again
}

// forget lets a message come again: its sender was told that it did not arrive.
func (r *repeats) forget(w *inward) {
	if w.repeat != 0 {
		r.heard.forget(w.repeat)
	}
}

func (r *repeats) hash(words ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	for _, word := range words {
		h.WriteString(word)
		h.WriteByte(0)
	}
	return h.Sum64()
}

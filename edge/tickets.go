package edge

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sipedge/sipedge/certs"
)

// A ticketFile keeps the keys of session tickets of listeners for users, so that a
// crowd that comes back after a restart goes on with its sessions: that costs a third of
// a full handshake. Each key is used for a day and believed for another; then it is
// gone, and with it what could be read of sessions in TLS 1.2, whose tickets hold their
// secrets. (Those of TLS 1.3 agree on new ones, RFC 8446 §2.2.)
//
// Partners' sessions are not kept: a ticket of theirs ends with the lists that it was
// made under.
type ticketFile string

// ticketLife is how long a key makes tickets.
const ticketLife = 24 * time.Hour

// A ticketKey is one key, since when it is used.
type ticketKey struct {
	since time.Time
	key   [32]byte
}

func (f ticketFile) name() string { return filepath.Join(string(f), "tickets.keys") }

// turn returns the keys for now, the one that makes tickets first, and writes the file
// if there had to be a new one. What cannot be read is replaced: nothing is lost with
// it but time.
func (f ticketFile) turn(now time.Time, anew bool) ([]ticketKey, error) {
	var keys []ticketKey
	if !anew {
		keys = f.read(now)
	}
	if len(keys) > 0 && now.Sub(keys[0].since) < ticketLife {
		return keys, nil
	}
	fresh := ticketKey{since: now.UTC().Truncate(time.Second)}
	rand.Read(fresh.key[:]) // never fails
	keys = append([]ticketKey{fresh}, keys[:min(len(keys), 1)]...)
	return keys, f.write(keys)
}

// read returns the keys of the file that are not too old, nor of the future.
func (f ticketFile) read(now time.Time) (keys []ticketKey) {
	text, err := os.ReadFile(f.name())
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		day, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		since, err1 := time.Parse(time.RFC3339, day)
		key, err2 := hex.DecodeString(digits)
		if age := now.Sub(since); err1 != nil || err2 != nil || len(key) != 32 || age < -time.Hour || age > 2*ticketLife || len(keys) == 2 {
			continue
		}
		keys = append(keys, ticketKey{since, [32]byte(key)})
	}
	return keys
}

func (f ticketFile) write(keys []ticketKey) error {
	var text []byte
	for _, k := range keys {
		text = fmt.Appendf(text, "%s %x\n", k.since.Format(time.RFC3339), k.key)
	}
	temp := f.name() + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, f.name())
}

// turnTickets gives the listeners for users the ticket keys of now; anew voids all that
// there were. Each listener has its own, made from the same.
func (e *Edge) turnTickets(anew bool) {
	keys, err := ticketFile(e.keys).turn(time.Now(), anew)
	if err != nil {
		e.log.Warn(logTickets, keyErr, err) // they last as long as the process
	}
	for _, s := range e.settings {
		if !s.forUsers() || s.tls == nil {
			continue
		}
		var own [][32]byte
		for _, k := range keys {
			own = append(own, sha256.Sum256(append(k.key[:], s.name...)))
		}
		certs.SetTicketKeys(s.tls, own)
	}
}

// hasUsers reports whether there is a listener for users.
func (e *Edge) hasUsers() bool {
	for _, s := range e.settings {
		if s.forUsers() {
			return true
		}
	}
	return false
}

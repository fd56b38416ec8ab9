package home

import (
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// An Entry is one request that a home server took for one of its users.
type Entry struct {
	Time   time.Time
	Method string
	From   string // URI
	To     string // URI
	CallID string
	Hops   int // Via values: who has handled the request before us
	Body   string
}

// The ledger is what a home server took for its users, the oldest first.
type ledger struct {
	mu      sync.Mutex
	entries []Entry
}

func (l *ledger) add(req *sip.Request) {
	e := Entry{
		Time:   time.Now(),
		Method: req.Method.String(),
		From:   req.From().Address.String(),
		To:     req.To().Address.String(),
		CallID: req.CallID().Value(),
		Hops:   len(req.GetHeaders("Via")),
		Body:   string(req.Body()),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) >= maxLedger {
		l.entries = slices.Delete(l.entries, 0, maxLedger/2)
	}
	l.entries = append(l.entries, e)
}

// Ledger returns the requests that came to an address of our users, the oldest
// first: what a test compares with what was sent.
func (s *Server) Ledger() []Entry {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return slices.Clone(s.ledger.entries)
}

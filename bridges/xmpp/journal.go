package xmpp

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// journalPeriod and journalLines bound what is written down of one kind of event: so
// many lines in that time, then only how many there were.
const (
	journalPeriod = 10 * time.Second
	journalLines  = 20
)

// A journal writes down what ended at the bridge without an answer to anybody, and
// what failed. A stranger can make us drop as much as he likes, so there are no more
// lines than somebody can read; what is left out is counted.
type journal struct {
	log    *slog.Logger
	noted  atomic.Uint64 // all, written down or not
	failed atomic.Uint64

	mu    sync.Mutex // guards what follows
	kinds map[string]*told
}

// told is what was written down of a kind lately.
type told struct {
	since time.Time
	lines int
	left  uint64 // not written down since the last line
}

func newJournal(log *slog.Logger) *journal {
	return &journal{log: log, kinds: make(map[string]*told)}
}

// drop notes that something was not forwarded. why is a constant.
func (j *journal) drop(why string, attrs ...any) { j.note("stanza not forwarded", why, attrs) }

// fail notes that something was refused or lost. why is a constant.
func (j *journal) fail(why string, attrs ...any) {
	j.failed.Add(1)
	j.note("message not delivered", why, attrs)
}

func (j *journal) note(message, why string, attrs []any) {
	j.noted.Add(1)
	left, ok := j.mayWrite(message + why)
	if !ok {
		return
	}
	attrs = append([]any{"why", why}, attrs...)
	if left > 0 {
		attrs = append(attrs, "left_out", left)
	}
	j.log.Log(context.Background(), slog.LevelInfo, message, attrs...)
}

// mayWrite reports whether one more line of a kind may be written, and how many
// were left out before it.
func (j *journal) mayWrite(kind string) (left uint64, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.kinds[kind]
	if t == nil {
		t = new(told)
		j.kinds[kind] = t
	}
	if now := time.Now(); now.Sub(t.since) >= journalPeriod {
		t.since, t.lines = now, 0
	}
	if t.lines++; t.lines > journalLines {
		t.left++
		return 0, false
	}
	left, t.left = t.left, 0
	return left, true
}

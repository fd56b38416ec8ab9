package s2s

import (
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A bucket is what one domain may still send at once.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) fill(now time.Time, rate, burst float64) {
	b.tokens = min(burst, b.tokens+rate*now.Sub(b.at).Seconds())
	b.at = now
}

// rates paces domains. Only those that are proved are in it, so their streams
// bound it.
type rates struct {
	rate, burst float64

	mu      sync.Mutex
	domains map[string]*bucket
}

func newRates(rate, burst float64) *rates {
	return &rates{rate: rate, burst: burst, domains: make(map[string]*bucket)}
}

// take takes one stanza's place, and returns how long to wait before it is handled.
// Each stream waits before it takes the next, so the debt is as small as their
// number.
func (r *rates) take(domain string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	b := r.domains[domain]
	if b == nil {
		b = &bucket{r.burst, now}
		r.domains[domain] = b
	}
	b.fill(now, r.rate, r.burst)
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / r.rate * float64(time.Second))
}

// sweep forgets who has not sent for a while.
func (r *rates) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for domain, b := range r.domains {
		if b.fill(now, r.rate, r.burst); b.tokens >= r.burst {
			delete(r.domains, domain)
		}
	}
}

// A limitedLog writes lines that outsiders cause, so many a second, and says how
// many were left out. Each of them gets a quarter, so that none hides all others.
type limitedLog struct {
	to          *slog.Logger
	rate, burst float64

	mu      sync.Mutex
	bucket  bucket
	by      *simplelru.LRU[string, *bucket] // of those whom it was about lately
	leftOut int
}

// maxLogged bounds whom a log knows.
const maxLogged = 1024

func newLimitedLog(to *slog.Logger, rate, burst float64) *limitedLog {
	by, _ := simplelru.NewLRU[string, *bucket](maxLogged, nil) // fails for sizes below one only
	return &limitedLog{to: to, rate: rate, burst: burst, bucket: bucket{burst, time.Now()}, by: by}
}

// log writes a line that who has caused: the owner of a domain, or a source of those
// who have proved none.
func (l *limitedLog) log(who, msg string, args ...any) {
	if l.takes(who) {
		l.to.Info(msg, args...)
	}
}

func (l *limitedLog) takes(who string) bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	its, ok := l.by.Get(who)
	if !ok {
		its = &bucket{l.burst / 4, now}
		l.by.Add(who, its)
	}
	its.fill(now, l.rate/4, l.burst/4)
	l.bucket.fill(now, l.rate, l.burst)
	if l.bucket.tokens < 1 || its.tokens < 1 {
		l.leftOut++
		return false
	}
	l.bucket.tokens--
	its.tokens--
	return true
}

func (l *limitedLog) flush() {
	l.mu.Lock()
	n := l.leftOut
	l.leftOut = 0
	l.mu.Unlock()
	if n > 0 {
		l.to.Warn("stream lines left out", "lines", n)
	}
}

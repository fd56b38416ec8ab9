package s2s

import (
	"log/slog"
	"sync"
	"time"
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
// many were left out.
type limitedLog struct {
	to          *slog.Logger
	rate, burst float64

	mu      sync.Mutex
	bucket  bucket
	leftOut int
}

func newLimitedLog(to *slog.Logger, rate, burst float64) *limitedLog {
	return &limitedLog{to: to, rate: rate, burst: burst, bucket: bucket{burst, time.Now()}}
}

func (l *limitedLog) log(msg string, args ...any) {
	l.mu.Lock()
	l.bucket.fill(time.Now(), l.rate, l.burst)
	if l.bucket.tokens < 1 {
		l.leftOut++
		l.mu.Unlock()
		return
	}
	l.bucket.tokens--
	l.mu.Unlock()
	l.to.Info(msg, args...)
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

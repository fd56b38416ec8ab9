package s2s

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkOneStream is both sides of one stream in one process: writing, TLS,
// reading, acknowledging.
func BenchmarkOneStream(b *testing.B) {
	w := newWorld(b)
	var got atomic.Int64
	here := w.site(us, func(c *Config) { c.Log = nil })
	there := w.site(them, func(c *Config) {
		c.Log = nil
		c.Limits.Rate = 1e9
		c.Handle = func(*Stanza) { got.Add(1) }
	})
	_ = there
	wait(b, here.send(them, "first"), "the first")
	e := message("alice@"+us, "bob@"+them, "a message of a usual length, which is not long")
	var wg sync.WaitGroup
	room := make(chan struct{}, 5000)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	for range b.N {
		room <- struct{}{}
		wg.Add(1)
		here.Send(e, func(o Outcome) {
			if o.Err != nil {
				b.Error(o.Err)
			}
			<-room
			wg.Done()
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/(cpu()-before).Seconds(), "stanzas/cpu-s")
}

// BenchmarkWriting is the sending side alone: what is read is thrown away by a sink
// that acknowledges by count.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

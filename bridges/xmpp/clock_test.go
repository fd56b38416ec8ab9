package xmpp

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// An alarmed notes when it was told.
type alarmed struct {
	timer timer
	at    []time.Time
}

func (a *alarmed) expired() { a.at = append(a.at, time.Now()) }

func TestTimersAreDueWhenTheyShouldBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := newClock()
		go c.run(ctx)
		time.Sleep(time.Hour) // it stands still meanwhile
		began := time.Now()
		delays := []time.Duration{0, tick, time.Second, 25 * time.Second, 26 * time.Second, 10 * time.Minute}
		list := make([]alarmed, len(delays))
		var stopped, moved alarmed
		for i, d := range delays {
			c.start(&list[i].timer, d, &list[i])
		}
		c.start(&stopped.timer, time.Second, &stopped)
		c.start(&moved.timer, time.Second, &moved)
		c.start(&moved.timer, time.Minute, &moved)
		if !c.stop(&stopped.timer) || c.stop(&stopped.timer) {
			t.Error("a timer is stopped twice")
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		for i, d := range delays {
			if n := len(list[i].at); n != 1 {
				t.Errorf("%v: told %d times", d, n)
			} else if got := list[i].at[0].Sub(began); got < d || got > d+2*tick {
				t.Errorf("%v: told after %v", d, got)
			}
		}
		if len(stopped.at) != 0 || len(moved.at) != 1 || moved.at[0].Sub(began) < time.Minute {
			t.Errorf("stopped: %v, moved: %v", stopped.at, moved.at)
		}
		if !c.idle() {
			t.Error("the clock goes on")
		}
	})
}

package bridges_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
)

func TestRefusalsComeAtWholeQuartersOfASecond(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrived time.Duration // since the beginning
		known   time.Duration // when it is known that it is refused
		want    time.Duration
	}{
		{"known at once", 0, 0, 250 * time.Millisecond},
		{"a moment later", 10 * time.Millisecond, 10 * time.Millisecond, 500 * time.Millisecond},
		{"after a look into the directory", 10 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond},
		{"known just before the moment", 10 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond},
		{"known after the moment", 10 * time.Millisecond, 501 * time.Millisecond, 750 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				l, end := later(t)
				time.Sleep(tt.known)
				done := make(chan time.Duration, 1)
				if !l.Do(began.Add(tt.arrived), func() { done <- time.Since(began) }) {
					t.Fatal("not taken")
				}
				if got := <-done; got != tt.want {
					t.Errorf("after %v, want %v", got, tt.want)
				}
				end()
			})
		})
	}
}

// later runs a Later until end is called.
func later(t *testing.T) (l *bridges.Later, end func()) {
	l = bridges.NewLater()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		l.Run(ctx)
		close(done)
	}()
	return l, func() {
		cancel()
		<-done
	}
}

func TestRefusalsOfOneMomentComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, end := later(t)
		began := time.Now()
		time.Sleep(300 * time.Millisecond)
		var got []int
		for i, arrived := range []time.Duration{300, 0, 301, 100, 260} { // the second and the fourth are due now
			l.Do(began.Add(arrived*time.Millisecond), func() { got = append(got, i) })
		}
		time.Sleep(time.Second)
		synctest.Wait()
		want := []int{1, 3, 0, 2, 4}
		for i := range want {
			if len(got) != len(want) || got[i] != want[i] {
				t.Fatalf("came as %v, want %v", got, want)
			}
		}
		end()
	})
}

func TestRefusalsThatWaitAreBoundedAndNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, end := later(t)
		done, taken := 0, 0
		for range 5000 {
			if l.Do(time.Now(), func() { done++ }) {
				taken++
			}
		}
		if taken != 4096 {
			t.Errorf("took %d", taken)
		}
		end() // what is owed comes at once
		if done != taken {
			t.Errorf("did %d of %d", done, taken)
		}
	})
}

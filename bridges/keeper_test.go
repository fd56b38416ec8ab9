package bridges_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
)

// A bridge is a bridges.Bridge of functions; nil ones behave.
type bridge struct {
	name    string
	run     func(ctx context.Context, e *bridges.Endpoint) error
	request func(in *bridges.Incoming)
	status  func() bridges.Status
	test    func(ctx context.Context, address string) []bridges.Step
}

func (b *bridge) Name() string { return b.name }

func (b *bridge) Run(ctx context.Context, e *bridges.Endpoint) error {
	e.Handle(b)
	if b.run != nil {
		return b.run(ctx, e)
	}
	<-ctx.Done()
	return nil
}

func (b *bridge) Request(in *bridges.Incoming) {
	if b.request != nil {
		b.request(in)
		return
	}
	in.Answer(bridges.Response{Status: 200}, "")
}

func (b *bridge) Canceled(*bridges.Incoming) {}

func (b *bridge) Status() bridges.Status {
	if b.status != nil {
		return b.status()
	}
	return bridges.Status{Sent: 1}
}

func (b *bridge) Test(ctx context.Context, address string) []bridges.Step {
	if b.test != nil {
		return b.test(ctx, address)
	}
	return []bridges.Step{{Name: address, OK: true}}
}

// A kept is a bridge with its Keeper and the home server at its other end.
type kept struct {
	*bridges.Keeper
	home   *bridgestest.Home
	begun  atomic.Int32
	logged logs
}

// keep keeps what begin makes; n is which incarnation it is, from 1.
func keep(t testing.TB, begin func(n int) (bridges.Bridge, error)) *kept {
	k := new(kept)
	k.Keeper = bridges.NewKeeper("xmpp", func() (bridges.Bridge, error) { return begin(int(k.begun.Add(1))) }, slog.New(slog.NewTextHandler(&k.logged, nil)))
	k.home = bridgestest.NewHome(t, k.Receive)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx, &bridgestest.Link{Host: "bridge.example.com:5061", To: k.home.Receive}) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if p := k.State().Phase; p != bridges.Stopped {
			t.Errorf("is %v at the end", p)
		}
	})
	return k
}

// logs is what was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// says sends a MESSAGE to the bridge and returns the status that comes back.
func (k *kept) says(t testing.TB) int {
	t.Helper()
	resp, _ := k.home.Send(t, bridgestest.Message(alice, juliet, "hello"))
	return resp.Status
}

// works checks that messages go both ways.
func (k *kept) works(t testing.TB, name string) {
	t.Helper()
	if status := k.says(t); status != 200 {
		t.Errorf("%s answers %d", name, status)
	}
}

func TestABridgeThatFailsBeginsAgainLaterAndLater(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fail   func(ctx context.Context, e *bridges.Endpoint) error
		reason string
		logged string
	}{
		{"with an error", func(context.Context, *bridges.Endpoint) error { return errors.New("no port") }, "no port", "err=\"no port\""},
		{"with a panic", func(context.Context, *bridges.Endpoint) error { panic("at the disco") }, "panic: at the disco", "keeper_test.go"},
		{"with nothing", func(context.Context, *bridges.Endpoint) error { return nil }, "bridge ended by itself", "ended by itself"},
		{"with a panic of a goroutine", func(ctx context.Context, e *bridges.Endpoint) error {
			e.Go(func() { panic("at the disco") })
			<-ctx.Done()
			return nil
		}, "panic: at the disco", "keeper_test.go"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var begun []time.Time
				k := keep(t, func(int) (bridges.Bridge, error) {
					begun = append(begun, time.Now())
					return &bridge{run: tt.fail}, nil
				})
				other := keep(t, func(int) (bridges.Bridge, error) { return &bridge{}, nil })
				synctest.Wait()
				s := k.State()
				if s.Phase != bridges.Restarting || s.Reason != tt.reason || s.Restarts != 1 || time.Until(s.Next) > time.Second {
					t.Errorf("state %+v", s)
				}
				if status := k.says(t); status != 503 {
					t.Errorf("a bridge that is not there answers %d", status) // the Host's 503: it was not taken
				}
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				var waits []time.Duration
				for i, at := range begun[1:] {
					waits = append(waits, at.Sub(begun[i]).Round(time.Second))
				}
				if got, want := fmt.Sprint(waits), "[1s 2s 4s 8s 16s 32s 1m0s]"; got != want {
					t.Errorf("waited %s, want %s", got, want)
				}
				if !strings.Contains(k.logged.String(), tt.logged) {
					t.Errorf("logged %s", k.logged.String())
				}
				other.works(t, "the other bridge")
			})
		})
	}
}

func TestABridgeThatCannotBeMadeIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, func(n int) (bridges.Bridge, error) {
			switch n {
			case 1:
				return nil, errors.New("bad configuration")
			case 2:
				panic("at the disco")
			}
			return &bridge{}, nil
		})
		synctest.Wait()
		if s := k.State(); s.Reason != "bad configuration" {
			t.Errorf("state %+v", s)
		}
		time.Sleep(4 * time.Second)
		k.works(t, "the third")
		if s := k.State(); s.Phase != bridges.Running || s.Restarts != 2 || s.Reason != "panic: at the disco" {
			t.Errorf("state %+v", s)
		}
	})
}

func TestAWaitIsShortAgainAfterAGoodTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun []time.Time
		k := keep(t, func(n int) (bridges.Bridge, error) {
			begun = append(begun, time.Now())
			return &bridge{run: func(ctx context.Context, _ *bridges.Endpoint) error {
				if n == 4 {
					time.Sleep(11 * time.Minute)
				}
				return errors.New("failed")
			}}, nil
		})
		time.Sleep(12 * time.Minute)
		_ = k
		synctest.Wait()
		if d := begun[4].Sub(begun[3]).Round(time.Second); d != 11*time.Minute+time.Second {
			t.Errorf("began again after %v", d)
		}
	})
}

func TestAPanicInACallbackIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, func(n int) (bridges.Bridge, error) {
			if n == 1 {
				return &bridge{request: func(*bridges.Incoming) { panic("at the disco") }}, nil
			}
			return &bridge{}, nil
		})
		synctest.Wait()
		if status := k.says(t); status != 480 {
			t.Errorf("answered %d", status)
		}
		time.Sleep(2 * time.Second)
		k.works(t, "the second")
	})
}

func TestABridgeThatHangsIsLeftBehind(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hangs func(b *bridge, free chan struct{})
	}{
		{"in a callback", func(b *bridge, free chan struct{}) { b.request = func(*bridges.Incoming) { <-free } }},
		{"in its Status", func(b *bridge, free chan struct{}) {
			b.request = func(*bridges.Incoming) {} // never answers
			b.status = func() bridges.Status { <-free; return bridges.Status{} }
		}},
		{"in both, and in Run", func(b *bridge, free chan struct{}) {
			b.request = func(*bridges.Incoming) { <-free }
			b.status = func() bridges.Status { <-free; return bridges.Status{} }
			b.run = func(_ context.Context, e *bridges.Endpoint) error {
				<-free
				e.Do(request("MESSAGE"), nil) // it is cut off: nothing goes out
				return nil
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				free := make(chan struct{})
				k := keep(t, func(n int) (bridges.Bridge, error) {
					b := new(bridge)
					if n == 1 {
						tt.hangs(b, free)
					}
					return b, nil
				})
				other := keep(t, func(int) (bridges.Bridge, error) { return &bridge{}, nil })
				synctest.Wait()
				began := time.Now()
				statuses := make(chan int, 20)
				for range 20 {
					k.home.Do(bridgestest.Message(alice, juliet, "hello"), func(resp *bridges.Response, _ *bridges.Dialog) { statuses <- resp.Status })
				}
				other.works(t, "the other bridge")
				for range 20 {
					if status := next(t, statuses, "answer"); status != 480 {
						t.Errorf("answered %d", status)
					}
				}
				if d := time.Since(began); d < 9*time.Second || d > 16*time.Second {
					t.Errorf("given up after %v", d)
				}
				other.works(t, "the other bridge")
				time.Sleep(2 * time.Second)
				k.works(t, "the second")
				if s := k.State(); s.Phase != bridges.Running || s.Reason != "bridge hangs" || s.Abandoned != 1 {
					t.Errorf("state %+v", s)
				}
				close(free)
				synctest.Wait()
				k.home.None(t)
				if s := k.State(); s.Abandoned != 0 {
					t.Errorf("state %+v", s)
				}
			})
		})
	}
}

func TestABridgeThatAlwaysHangsIsNotBegunForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free []chan struct{}
		k := keep(t, func(int) (bridges.Bridge, error) {
			c := make(chan struct{})
			free = append(free, c)
			return &bridge{status: func() bridges.Status { <-c; return bridges.Status{} }}, nil
		})
		time.Sleep(time.Hour)
		if s := k.State(); s.Phase != bridges.Hung || s.Abandoned != 3 || len(free) != 3 {
			t.Errorf("state %+v after %d incarnations", s, len(free))
		}
		close(free[1])
		time.Sleep(2 * time.Second)
		if s := k.State(); s.Phase != bridges.Running || len(free) != 4 {
			t.Errorf("state %+v after %d incarnations", s, len(free))
		}
		for _, i := range []int{0, 2, 3} {
			close(free[i])
		}
	})
}

func TestABridgeThatDoesNotSayGoodbyeIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		k := bridges.NewKeeper("xmpp", func() (bridges.Bridge, error) {
			return &bridge{run: func(context.Context, *bridges.Endpoint) error { <-free; return nil }}, nil
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			k.Run(ctx, &bridgestest.Link{To: func([]byte) bool { return true }})
			close(done)
		}()
		synctest.Wait()
		began := time.Now()
		cancel()
		<-done
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("waited %v", d)
		}
		close(free)
	})
}

func TestABridgeSaysGoodbyeByItsEndpoint(t *testing.T) {
	began := make(chan struct{})
	k := bridges.NewKeeper("xmpp", func() (bridges.Bridge, error) {
		return &bridge{run: func(ctx context.Context, e *bridges.Endpoint) error {
			close(began)
			<-ctx.Done()
			done := make(chan int)
			e.Do(request("MESSAGE"), func(resp *bridges.Response, _ *bridges.Dialog) { done <- resp.Status })
			if status := <-done; status != 200 {
				t.Errorf("the last message was answered %d", status)
			}
			return nil
		}}, nil
	}, slog.New(slog.DiscardHandler))
	home := bridgestest.NewHome(t, k.Receive)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		k.Run(ctx, &bridgestest.Link{To: home.Receive})
		close(done)
	}()
	<-began
	cancel()
	home.Take(t, "MESSAGE", 200)
	<-done
}

func TestAPauseOutlivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics := make(chan struct{})
		k := keep(t, func(n int) (bridges.Bridge, error) {
			return &bridge{run: func(ctx context.Context, _ *bridges.Endpoint) error {
				select {
				case <-panics:
					panic("at the disco")
				case <-ctx.Done():
					return nil
				}
			}}, nil
		})
		synctest.Wait()
		k.works(t, "the first")
		k.Pause(true)
		if status := k.says(t); status != 480 || k.State().Phase != bridges.Paused || !k.Paused() {
			t.Errorf("answered %d, state %+v", status, k.State())
		}
		panics <- struct{}{}
		time.Sleep(2 * time.Second)
		if status := k.says(t); status != 480 || k.State().Phase != bridges.Paused {
			t.Errorf("answered %d, state %+v", status, k.State())
		}
		k.Pause(false)
		k.works(t, "the second")
		if k.State().Phase != bridges.Running {
			t.Errorf("state %+v", k.State())
		}
	})
}

func TestABridgeThatFloodsItsHostHarmsNoOther(t *testing.T) {
	var sent atomic.Int64
	k := keep(t, func(n int) (bridges.Bridge, error) {
		return &bridge{run: func(ctx context.Context, e *bridges.Endpoint) error {
			for r := bridgestest.Message(juliet, alice, "hello"); ctx.Err() == nil; sent.Add(1) {
				e.Do(r, nil)
			}
			return nil
		}}, nil
	})
	other := keep(t, func(int) (bridges.Bridge, error) { return &bridge{}, nil })
	k.home.Handle(handler{request: func(*bridges.Incoming) {}})          // takes, and never answers
	for other.State().Phase != bridges.Running || other.says(t) == 480 { // until it handles
		runtime.Gosched()
	}
	for sent.Load() < 20_000 { // of which 16,384 may be open
		other.works(t, "the other bridge")
	}
}

func TestStatusAndTestNeverWaitForABridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		var hang atomic.Bool
		k := keep(t, func(n int) (bridges.Bridge, error) {
			return &bridge{status: func() bridges.Status {
				if hang.Load() && n == 1 {
					<-free
				}
				return bridges.Status{Sent: uint64(n), Links: []bridges.Link{{Remote: "fabrikam.example"}}}
			}, test: func(ctx context.Context, address string) []bridges.Step {
				switch address {
				case "panics":
					panic("at the disco")
				case "hangs":
					<-free
				}
				return []bridges.Step{{Name: address, OK: true}}
			}}, nil
		})
		synctest.Wait()
		if s := k.Status(); s.Sent != 1 || len(s.Links) != 1 {
			t.Errorf("status %+v", s)
		}
		if s := k.Test(t.Context(), "x"); len(s) != 1 || !s[0].OK {
			t.Errorf("steps %+v", s)
		}
		hang.Store(true)
		for range 40 {
			if s := k.Status(); s.Sent != 1 { // the last one
				t.Errorf("status %+v", s)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if s := k.Test(ctx, "hangs"); len(s) != 1 || s[0].OK {
			t.Errorf("steps %+v", s)
		}
		time.Sleep(15 * time.Second)
		if s := k.Status(); s.Sent != 2 {
			t.Errorf("status of the second %+v", s)
		}
		var all sync.WaitGroup
		refused := atomic.Int32{}
		for range 10 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if s := k.Test(ctx, "hangs"); strings.Contains(s[0].Detail, "too many") {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		if refused.Load() != 6 {
			t.Errorf("refused %d of 10 tests", refused.Load())
		}
		close(free)
		synctest.Wait()
		if s := k.Test(t.Context(), "panics"); len(s) != 1 || s[0].OK {
			t.Errorf("steps %+v", s)
		}
		if s := k.Test(t.Context(), "x"); len(s) != 1 || s[0].OK {
			t.Errorf("steps of a bridge that is not there: %+v", s)
		}
	})
}

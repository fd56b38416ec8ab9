package edge

import (
	"math"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/sip"
)

func TestNineOfTenWaitLess(t *testing.T) {
	buckets := []float64{math.Inf(-1), 0, 0.001, 0.01, 0.1, math.Inf(1)}
	for _, tt := range []struct {
		name   string
		counts []uint64
		want   time.Duration
	}{
		{"nobody waited", []uint64{0, 0, 0, 0, 0}, 0},
		{"too few to tell", []uint64{0, 0, 0, fewWaits - 1, 0}, 0},
		{"most at once", []uint64{0, 95, 0, 5, 0}, 0},
		{"a fifth for a while", []uint64{0, 80, 0, 20, 0}, 10 * time.Millisecond},
		{"all for long", []uint64{0, 0, 0, 0, 100}, 100 * time.Millisecond},
		{"less than nothing", []uint64{100, 0, 0, 0, 0}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := quantile(&metrics.Float64Histogram{Counts: tt.counts, Buckets: buckets}, 0.9); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestTheMeterAllocatesNothing(t *testing.T) {
	m := newSchedMeter()
	if n := testing.AllocsPerRun(100, func() { m.read() }); n != 0 {
		t.Errorf("%v allocations each time", n)
	}
}

func TestWhatWaitsInASocketIsNoticed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nothing tells how much waits")
	}
	stub := newStub()
	const n = 2000
	first := make(chan *Flow, n)
	release := make(chan struct{})
	got := make(chan struct{}, n)
	stub.onMessage = func(_ *turn, f *Flow, _ *sip.Message) { first <- f; <-release; got <- struct{}{} }
	l := newLab(t, wireSettings{}, stub)
	c := l.dial()
	l.flow()
	go c.Write([]byte(strings.Repeat(message(1, strings.Repeat("x", 500)), n)))
	f := await(t, first, "the first message")
	until(t, "more than one reading takes", func() (more bool) {
		f.conn.raw.Control(func(fd uintptr) { more = unread(fd) > readAhead })
		return more
	})
	close(release)
	for range n {
		await(t, got, "a message")
	}
	if l.w.longest.Load() == 0 {
		t.Error("a megabyte at once does not wait")
	}
}

func TestAFlowThatRestsLosesNothing(t *testing.T) {
	stub := newStub()
	got := make(chan string, 100)
	stub.onMessage = func(_ *turn, f *Flow, m *sip.Message) {
		f.pause = time.Millisecond
		got <- string(m.CallID())
	}
	l := newLab(t, wireSettings{}, stub)
	c := l.dial()
	for i := range 50 {
		send(t, c, message(i, ""))
	}
	for range 50 {
		await(t, got, "a message")
	}
}

func TestAFlowRestsTheLongerTheLessItBrings(t *testing.T) {
	for _, tt := range []struct {
		name    string
		brought uint64
		full    bool
		want    time.Duration
	}{
		{"next to nothing", 0, false, longRest},
		{"half of what is enough", fullRest / 2, false, longRest / 2},
		{"enough", fullRest, false, shortRest},
		{"more than enough", 1 << 40, false, shortRest},
		{"not while more is there", 0, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &Flow{conn: &conn{taken: 1000 + tt.brought}, backlog: backlog{rested: 1000}, full: tt.full}
			if f.rest(); f.pause != tt.want {
				t.Errorf("rests for %v, want %v", f.pause, tt.want)
			}
		})
	}
}

func TestARestIsNotTakenForOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(wireSettings{}, newStub())
		f := &Flow{w: w, conn: &conn{w: w}, pause: 100 * time.Millisecond}
		f.takePause()
		f.full = true
		f.measure(0) // what came during the rest waits
		time.Sleep(90 * time.Millisecond)
		f.measure(0)
		if d := w.longest.Load(); d != 0 {
			t.Errorf("%v of delay, although it is worked off as fast as it comes", time.Duration(d))
		}
		f.measure(0)
		time.Sleep(150 * time.Millisecond)
		f.measure(0)
		if d := time.Duration(w.longest.Load()); d != 50*time.Millisecond {
			t.Errorf("%v of delay, want 50ms", d)
		}
		f.full = false
		f.measure(0)
		w.longest.Store(0)
		f.full = true
		f.measure(0)
		time.Sleep(30 * time.Millisecond)
		f.measure(0)
		if d := time.Duration(w.longest.Load()); d != 30*time.Millisecond {
			t.Errorf("%v of delay after all was read, want 30ms", d)
		}
	})
}

func TestAnswersFromInsideGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(wireSettings{}, newStub())
		home := &Flow{w: w, conn: &conn{w: w}, Role: RoleInternal, full: true}
		partner := &Flow{w: w, conn: &conn{w: w}, Role: RoleFederation}
		stands := func(f *Flow) time.Duration {
			began := time.Now()
			f.giveWay()
			return time.Since(began)
		}
		home.measure(0)
		time.Sleep(answersLate + time.Millisecond)
		home.measure(0)
		if d := stands(partner); d != standBack {
			t.Errorf("a partner stands back for %v, want %v and no more", d, standBack)
		}
		if d := stands(home); d != 0 {
			t.Errorf("a home server stands back for %v", d)
		}
		go func() { time.Sleep(5 * time.Millisecond); home.caughtUp() }()
		if d := stands(partner); d > 6*time.Millisecond {
			t.Errorf("a partner stands back for %v after all answers were read", d)
		}
		if n := w.hurrying.Load(); n != 0 {
			t.Errorf("%d readers are in a hurry and have nothing to read", n)
		}
	})
}

package bridges

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	errHung  = errors.New("bridge hangs")
	errEnded = errors.New("bridge ended by itself")
)

// An incarnation is a Bridge from its beginning to its end.
type incarnation struct {
	k      *Keeper
	b      Bridge
	e      *Endpoint
	ask    chan chan Status // questions for Status
	look   chan chan Status // and that of the watchdog
	tests  chan struct{}    // places
	ended  chan struct{}    // closed when nothing is asked any more
	idle   chan struct{}    // closed when its goroutines have ended, after that
	bridge chan error       // what Run of the bridge returned
	point  chan error       // and that of the Endpoint

	mu      sync.Mutex // guards what follows
	left    int        // goroutines
	closing bool       // ended is closed
	status  Status     // the last one
}

// mostTests bounds the tests of one bridge at the same time, mostQuestions the
// questions for its Status that wait.
const (
	mostTests     = 4
	mostQuestions = 16
)

// live runs one incarnation to its end, and returns why it ended.
func (k *Keeper) live(ctx context.Context, host Host) error {
	b, err := k.make()
	if err != nil {
		return err
	}
	i := &incarnation{
		k: k, b: b, e: NewEndpoint(k.log), ask: make(chan chan Status, mostQuestions), look: make(chan chan Status, 1), tests: make(chan struct{}, mostTests),
		ended: make(chan struct{}), idle: make(chan struct{}), bridge: make(chan error, 1), point: make(chan error, 1),
	}
	i.e.name = k.name
	i.e.Pause(k.Paused())
	k.mu.Lock()
	i.status = k.last // until it has been asked
	k.mu.Unlock()
	// The bridge says goodbye by its Endpoint, which ends after it.
	point, endPoint := context.WithCancel(context.WithoutCancel(ctx))
	defer endPoint()
	bridge, endBridge := context.WithCancel(ctx)
	defer endBridge()
	i.start(func() { i.point <- i.e.Run(point, host, nil) })
	<-i.e.Started()
	i.start(func() { i.bridge <- i.run(bridge) })
	i.start(i.prober)
	k.mu.Lock()
	k.current.Store(i)
	i.e.Pause(k.paused)
	k.set(k.running(), k.state.Reason)
	k.mu.Unlock()
	k.log.Info("bridge started", "bridge", k.name)
	err = i.watch(ctx)
	endBridge()
	return i.leave(endPoint, err)
}

// make asks for a new Bridge.
func (k *Keeper) make() (b Bridge, err error) {
	defer caught(&err)
	return k.begin()
}

// start runs f on a goroutine that is counted; false: the incarnation has ended.
func (i *incarnation) start(f func()) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closing {
		return false
	}
	i.left++
	go func() {
		defer func() {
			i.mu.Lock()
			defer i.mu.Unlock()
			if i.left--; i.left == 0 && i.closing {
				close(i.idle)
			}
		}()
		i.e.Guard(f)()
	}()
	return true
}

// close starts no more goroutines, and lets those end that wait for questions.
func (i *incarnation) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closing = true
	close(i.ended)
	if i.left == 0 {
		close(i.idle)
	}
}

// gone reports whether all its goroutines have ended.
func (i *incarnation) gone() bool {
	select {
	case <-i.idle:
		return true
	default:
		return false
	}
}

func (i *incarnation) run(ctx context.Context) (err error) {
	defer caught(&err)
	if err := i.b.Run(ctx, i.e); err != nil {
		return err
	}
	return errEnded
}

// watch waits until the incarnation ends, hangs, or is no longer wanted.
func (i *incarnation) watch(ctx context.Context) error {
	look := time.NewTicker(watch)
	defer look.Stop()
	var w watchdog
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-i.bridge:
			i.bridge <- err
			return err
		case err := <-i.point:
			i.point <- err
			return err
		case <-look.C:
			if w.hangs(i) {
				return errHung
			}
		}
	}
}

// A watchdog counts how often it found the same thing unfinished.
type watchdog struct {
	busy     time.Time
	found    int
	looks    int
	answer   chan Status
	awaiting int
}

// hangs looks once.
func (w *watchdog) hangs(i *incarnation) bool {
	if since := i.e.Busy(); since.IsZero() || since != w.busy {
		w.busy, w.found = since, 0
	} else if w.found++; w.found >= hangs {
		return true
	}
	if w.answer != nil {
		select {
		case <-w.answer:
			w.answer = nil
		default:
			w.awaiting++
		}
		return w.awaiting >= hangs
	}
	if w.looks++; w.looks%looks == 0 {
		w.answer, w.awaiting = make(chan Status, 1), 0
		i.look <- w.answer // has room: only one of these is open
	}
	return false
}

// leave ends the incarnation: in order if it can, else it is cut off and left
// behind.
func (i *incarnation) leave(endPoint func(), err error) error {
	k := i.k
	if err != errHung {
		clock := time.NewTimer(farewell)
		defer clock.Stop()
		done := await(i.bridge, clock)
		if endPoint(); done {
			done = await(i.point, clock)
		}
		i.close()
		if done {
			select {
			case <-i.idle:
			case <-clock.C:
				done = false
			}
		}
		if !done {
			err = errors.Join(err, errHung)
		}
	} else {
		i.close()
	}
	k.mu.Lock()
	k.last = i.lastStatus() // before anybody finds that there is no current one
	k.last.Links = nil
	k.current.Store(nil)
	k.mu.Unlock()
	if !errors.Is(err, errHung) {
		return err
	}
	i.e.fail(errHung)
	i.e.release()
	i.e.cut()
	k.log.Error("bridge abandoned", "bridge", k.name, "busy_since", i.e.Busy())
	k.mu.Lock()
	defer k.mu.Unlock()
	k.abandoned = append(k.abandoned, i)
	return err
}

// await waits for the end of a Run.
func await(c chan error, clock *time.Timer) bool {
	select {
	case err := <-c:
		c <- err
		return true
	case <-clock.C:
		return false
	}
}

// asked asks the bridge for its Status, which comes on the channel if at all; false:
// too many have asked.
func (i *incarnation) asked() (answer chan Status, ok bool) {
	answer = make(chan Status, 1)
	select {
	case i.ask <- answer:
		return answer, true
	default:
		return nil, false
	}
}

// prober asks the bridge for its Status when somebody wants it, so that one which
// hangs there holds up this goroutine and no other.
func (i *incarnation) prober() {
	for {
		var c chan Status
		select {
		case <-i.ended:
			return
		case c = <-i.look:
		case c = <-i.ask:
		}
		s := i.b.Status()
		i.mu.Lock()
		i.status = s
		i.mu.Unlock()
		c <- s
	}
}

func (i *incarnation) lastStatus() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status
}

// test runs a test in a place of its own.
func (i *incarnation) test(ctx context.Context, address string) []Step {
	select {
	case i.tests <- struct{}{}:
	default:
		return []Step{{Name: "bridge", Detail: "too many tests at the same time"}}
	}
	done := make(chan []Step, 1)
	if !i.start(func() {
		defer func() { <-i.tests }()
		done <- i.b.Test(ctx, address)
	}) {
		return []Step{{Name: "bridge", Detail: "the bridge ended"}}
	}
	select {
	case steps := <-done:
		return steps
	case <-ctx.Done():
		return []Step{{Name: "bridge", Detail: fmt.Sprintf("no answer: %v", context.Cause(ctx))}}
	case <-i.ended:
		return []Step{{Name: "bridge", Detail: "the bridge ended"}}
	}
}

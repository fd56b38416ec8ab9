package bridges

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Keeper runs one bridge. It catches its panics, notices when it hangs, and
// starts it anew, each time as a new Bridge with a new Endpoint: nobody knows in
// what state the old one is. It is safe for concurrent use.
//
// SIP is never touched: nothing that the edge calls here waits for the bridge, and
// an incarnation that hangs is cut off from the edge and left behind. A panic on
// a goroutine that the bridge has started by itself cannot be caught; it starts
// them by [Endpoint.Go]. What a bridge holds of SIP is bounded by its Endpoint; what
// it allocates besides, it has to bound itself.
type Keeper struct {
	name  string
	begin func() (Bridge, error)
	log   *slog.Logger

	current atomic.Pointer[incarnation] // nil: none runs

	mu        sync.Mutex // guards what follows
	paused    bool
	state     State
	last      Status // of the incarnation before
	abandoned []*incarnation
}

// A Phase is what a bridge does. The zero Phase is that it does nothing.
type Phase uint8

const (
	Stopped    Phase = iota // it has not begun, or has ended with the edge
	Running                 // it carries traffic
	Paused                  // an administrator has stopped what is new; what is open goes on
	Restarting              // it failed, and begins again after a while
	Hung                    // so many incarnations hang that no new one is begun
)

// String is the phase's name in logs and commands.
func (p Phase) String() string {
	switch p {
	case Running:
		return "running"
	case Paused:
		return "paused"
	case Restarting:
		return "restarting"
	case Hung:
		return "hung"
	}
	return "stopped"
}

// A State is how a bridge is kept.
type State struct {
	Phase     Phase
	Since     time.Time
	Reason    string    // why it was restarted last, or is not running; "": never
	Restarts  int       // since the edge began
	Abandoned int       // incarnations that hang and were left behind
	Next      time.Time // when it begins again, if it is restarting
}

// A Restarter is a Host that wants to know when an incarnation has ended: what was
// handed to it, and was not answered, never will be.
type Restarter interface{ Restarted() }

// The Keeper's times.
const (
	firstWait = time.Second
	longest   = time.Minute
	// steady is after how long without a failure the next wait is the first again.
	steady = 10 * time.Minute
	// watch is how often it looks whether the bridge hangs, and hangs is how many times
	// in a row the same callback, or the same question for Status, must be found
	// unfinished. Looks are counted, and not time: after a pause of the whole machine,
	// everybody is late. A question is asked at every fifth look, since a Status may be
	// long.
	watch = time.Second
	hangs = 10
	looks = 5
	// farewell is how long a bridge may take to say goodbye.
	farewell = 10 * time.Second
	// mostAbandoned bounds what hanging incarnations hold.
	mostAbandoned = 3
)

// NewKeeper makes a Keeper. begin makes a new Bridge; it opens nothing, and is called
// for each incarnation.
func NewKeeper(name string, begin func() (Bridge, error), log *slog.Logger) *Keeper {
	return &Keeper{name: name, begin: begin, log: log}
}

// Name returns the bridge's name.
func (k *Keeper) Name() string { return k.name }

// Receive hands SIP messages to the bridge, as [Endpoint.Receive] does. It reports
// false also while no incarnation runs.
func (k *Keeper) Receive(octets []byte) bool {
	i := k.current.Load()
	return i != nil && i.e.Receive(octets)
}

// Pause stops what is new, both ways, or lets it go on. It outlives restarts.
func (k *Keeper) Pause(paused bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.paused == paused {
		return
	}
	k.paused = paused
	if i := k.current.Load(); i != nil {
		i.e.Pause(paused)
		k.set(k.running(), k.state.Reason)
	}
}

// State says how the bridge is kept. Paused is also said while it is restarting.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count()
	return k.state
}

// Paused reports whether an administrator has paused the bridge.
func (k *Keeper) Paused() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.paused
}

// running is the phase of a bridge that is there. Keeper.mu is held.
func (k *Keeper) running() Phase {
	if k.paused {
		return Paused
	}
	return Running
}

// set notes a phase. Keeper.mu is held.
func (k *Keeper) set(p Phase, reason string) {
	k.state.Phase, k.state.Since, k.state.Reason, k.state.Next = p, time.Now(), reason, time.Time{}
	k.count()
}

// count forgets abandoned incarnations that have come back. Keeper.mu is held.
func (k *Keeper) count() {
	left := k.abandoned[:0]
	for _, i := range k.abandoned {
		if !i.gone() {
			left = append(left, i)
		}
	}
	clear(k.abandoned[len(left):])
	k.abandoned = left
	k.state.Abandoned = len(left)
}

// Status returns what the bridge says of itself. Of one that does not answer within
// a second, or is not running, it is what it last said, without links.
func (k *Keeper) Status() Status {
	i := k.current.Load()
	if i == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.last
	}
	answer, ok := i.asked()
	if !ok {
		return i.lastStatus()
	}
	clock := time.NewTimer(time.Second)
	defer clock.Stop()
	select {
	case s := <-answer:
		return s
	case <-clock.C:
	case <-i.ended:
	}
	return i.lastStatus()
}

// Test has the bridge look whether address can be reached, until ctx is done.
func (k *Keeper) Test(ctx context.Context, address string) []Step {
	i := k.current.Load()
	if i == nil {
		return []Step{{Name: "bridge", Detail: "the bridge is not running"}}
	}
	return i.test(ctx, address)
}

// Run keeps the bridge until ctx is done, and has let it say goodbye then. It is
// called once.
func (k *Keeper) Run(ctx context.Context, host Host) {
	wait := firstWait
	for ctx.Err() == nil {
		began := time.Now()
		err := k.live(ctx, host)
		if h, ok := host.(Restarter); ok {
			h.Restarted() // nothing is handed to the bridge now
		}
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) >= steady {
			wait = firstWait
		}
		k.complain(err, wait)
		if !k.pass(ctx, wait) {
			break
		}
		wait = min(2*wait, longest)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.set(Stopped, "")
}

// complain notes why an incarnation has ended.
func (k *Keeper) complain(err error, wait time.Duration) {
	k.mu.Lock()
	k.state.Restarts++
	k.set(Restarting, err.Error())
	k.state.Next = time.Now().Add(wait)
	k.mu.Unlock()
	var p *panicked
	if errors.As(err, &p) {
		k.log.Error("bridge panicked", "bridge", k.name, "panic", fmt.Sprint(p.value), "stack", string(p.stack), "again_in", wait)
		return
	}
	k.log.Error("bridge failed", "bridge", k.name, "err", err, "again_in", wait)
}

// pass waits before the next incarnation, and for a hanging one to come back if there
// are too many; false: ctx is done.
func (k *Keeper) pass(ctx context.Context, wait time.Duration) bool {
	clock := time.NewTimer(wait)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-clock.C:
		}
		k.mu.Lock()
		k.count()
		ready := len(k.abandoned) < mostAbandoned
		first := !ready && k.state.Phase != Hung
		if first {
			k.set(Hung, k.state.Reason)
		}
		k.mu.Unlock()
		if ready {
			return true
		}
		if first {
			k.log.Error("bridge hung and was not begun again", "bridge", k.name, "incarnations", mostAbandoned)
		}
		clock.Reset(watch)
	}
}

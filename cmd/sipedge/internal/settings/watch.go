package settings

import (
	"context"
	"log/slog"
	"time"

	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
)

// A Watcher keeps the lists in force: the partners, and who may sign in from outside,
// each as its file says and as administrators have decided beside it, and the partners
// on this day. It makes them anew when a file changes, when something was decided and
// when an end date comes.
//
// A bad file is refused whole, and the last good one stays, also under what is
// decided then. So it does when the partners' file vanishes, which is an accident more
// often than a wish (an empty file is the way to say "nobody"). Without remote.toml
// nobody may sign in from outside, also if there was one.
type Watcher struct {
	keeper[*federation.Partners]
	remote keeper[*remoteaccess.Access]

	retry time.Time // dates are not tried again before
}

// NewWatcher watches the lists of s from the state in which they were read.
// They are in force; partners and remote put others there.
func NewWatcher(s *Settings, partners func(*federation.Partners), remote func(*remoteaccess.Access), log *slog.Logger) *Watcher {
	own, decisions := s.Edge.Domains, s.decisions
	return &Watcher{
		keeper: keeper[*federation.Partners]{
			Path: s.PartnersPath, Apply: partners, Log: log,
			faulty: "partners faulty", stays: "partners not reloaded",
			make: func(l list) (*federation.Partners, []error) { return l.partners(own, decisions) },
			seen: s.partners.stamp, taken: s.partners.stamp, good: s.partners.list, current: s.Partners,
		},
		remote: keeper[*remoteaccess.Access]{
			Path: s.RemotePath, Apply: remote, Log: log,
			faulty: "remote access faulty", stays: "remote access not reloaded", vanished: "remote access gone: nobody may sign in from outside",
			make: func(l list) (*remoteaccess.Access, []error) { return l.remote(own, decisions) },
			seen: s.remote.stamp, taken: s.remote.stamp, good: s.remote.list, current: s.Remote,
		},
	}
}

// Run watches until ctx ends. What comes on now makes it read at once, changed
// or not.
func (w *Watcher) Run(ctx context.Context, now <-chan struct{}) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-now:
			w.reload(stampOf(w.Path))
			w.remote.reload(stampOf(w.remote.Path))
		case <-poll.C:
			w.look()
			w.dates()
			w.remote.look()
		}
	}
}

// retryEvery is after how long an end date is tried again that could not be put in
// force.
const retryEvery = time.Minute

// dates makes the partners anew when an entry ends, or has not ended after all.
// The clock is looked at, and not waited for: it is set, and machines sleep.
func (w *Watcher) dates() {
	now := time.Now()
	if now.Before(w.retry) || w.Partners().Holds(now) {
		return
	}
	if err := w.Refresh(); err != nil {
		w.retry = now.Add(retryEvery)
		w.Log.Error("partners not renewed at an end date", "err", err)
	}
}

// Partners returns those in force.
func (w *Watcher) Partners() *federation.Partners { return w.inForce() }

// Faults returns why partners.toml as it is now is not in force; nothing if it is.
func (w *Watcher) Faults() []error { return w.faults() }

// Refresh puts in force what has been decided about partners, on top of the last good
// file. With an error nothing has changed.
func (w *Watcher) Refresh() error { return w.again() }

// Remote returns who may sign in from outside.
func (w *Watcher) Remote() *remoteaccess.Access { return w.remote.inForce() }

// RemoteFaults is Faults of remote.toml.
func (w *Watcher) RemoteFaults() []error { return w.remote.faults() }

// RefreshRemote is Refresh for what has been decided about who may sign in from
// outside.
func (w *Watcher) RefreshRemote() error { return w.remote.again() }

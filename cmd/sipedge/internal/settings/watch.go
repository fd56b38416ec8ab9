package settings

import (
	"context"
	"log/slog"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
)

// A Watcher keeps the lists in force: the partners, who may sign in from outside, and
// who may use bridges, each as its file says and as administrators have decided beside
// it, and the partners on this day. It makes them anew when a file changes, when
// something was decided and when an end date comes.
//
// A bad file is refused whole, and the last good one stays, also under what is
// decided then. So it does when the partners' file vanishes, which is an accident more
// often than a wish (an empty file is the way to say "nobody"). Without remote.toml
// nobody may sign in from outside, also if there was one; nor use a bridge without
// bridges.toml.
type Watcher struct {
	keeper[*federation.Partners]
	remote  keeper[*remoteaccess.Access]
	bridges keeper[*bridges.Policy]

	retry time.Time // dates are not tried again before
}

// An Apply puts lists in force. What is nil nobody wants.
type Apply struct {
	Partners func(*federation.Partners)
	Remote   func(*remoteaccess.Access)
	Bridges  func(*bridges.Policy)
}

// NewWatcher watches the lists of s from the state in which they were read.
// They are in force; apply puts others there.
func NewWatcher(s *Settings, apply Apply, log *slog.Logger) *Watcher {
	c, own, decisions := s.Edge, s.Edge.Domains, s.decisions
	return &Watcher{
		keeper: keeper[*federation.Partners]{
			Path: s.PartnersPath, Apply: apply.Partners, Log: log,
			faulty: "partners faulty", stays: "partners not reloaded",
			make: func(l list) (*federation.Partners, []error) { return l.partners(own, decisions) },
			seen: s.partners.stamp, taken: s.partners.stamp, good: s.partners.list, current: s.Partners,
		},
		remote: keeper[*remoteaccess.Access]{
			Path: s.RemotePath, Apply: apply.Remote, Log: log,
			faulty: "remote access faulty", stays: "remote access not reloaded", vanished: "remote access gone: nobody may sign in from outside",
			make: func(l list) (*remoteaccess.Access, []error) { return l.remote(own, decisions) },
			seen: s.remote.stamp, taken: s.remote.stamp, good: s.remote.list, current: s.Remote,
		},
		bridges: keeper[*bridges.Policy]{
			Path: s.BridgesPath, Apply: apply.Bridges, Log: log,
			faulty: "bridges faulty", stays: "bridges not reloaded", vanished: "bridges gone: nobody may use one",
			make: func(l list) (*bridges.Policy, []error) { return l.bridges(c, decisions) },
			seen: s.bridges.stamp, taken: s.bridges.stamp, good: s.bridges.list, current: s.Bridges,
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
			w.bridges.reload(stampOf(w.bridges.Path))
		case <-poll.C:
			w.look()
			w.dates()
			w.remote.look()
			w.bridges.look()
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

// Bridges returns who may use bridges.
func (w *Watcher) Bridges() *bridges.Policy { return w.bridges.inForce() }

// BridgesFaults is Faults of bridges.toml.
func (w *Watcher) BridgesFaults() []error { return w.bridges.faults() }

// RefreshBridges is Refresh for what has been decided about who may use bridges.
func (w *Watcher) RefreshBridges() error { return w.bridges.again() }

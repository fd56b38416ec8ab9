package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/store"
)

// An installation is what the configuration and the state folder make together.
type installation struct {
	set       *settings.Settings
	edge      *edge.Edge
	discovery *federation.Discovery
	decisions *remoteaccess.Decisions // about users outside
	remote    edge.Remote
	bridging  *bridges.Decisions // about users and bridges
	pauses    *bridges.Pauses
	spans     []*span
	store     *store.Store
	locked    error // another process has the store
}

// close gives up what an installation that does not run holds.
func (s *installation) close() error {
	if s.edge != nil {
		s.edge.Close()
	}
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// setup reads the configuration and what was decided beside it, and makes the
// edge of it, without opening a port or changing a file: check and explain do the
// same as serve up to here. All faults are listed on w, and the error says only
// which exit code that is.
func setup(path string, log *slog.Logger, w io.Writer) (*settings.Settings, *edge.Edge, error) {
	s, err := assemble(path, store.OpenReadOnly, log, w)
	if err != nil {
		return nil, nil, err
	}
	return s.set, s.edge, s.store.Close() // all of it is in memory
}

// assemble is setup with a way to open the store.
func assemble(path string, open func(dir string) (*store.Store, error), log *slog.Logger, w io.Writer) (*installation, error) {
	s := new(installation)
	set, errs := settings.Load(path, s.decided(open, log), func(set *settings.Settings) []error {
		remote, errs := s.openRemote(set.Edge, set.Remote, log)
		e, more := edge.New(set.Edge, set.Partners, s.discovery, remote, log)
		s.edge = e
		return slices.Concat(errs, more, s.addBridges(set, log))
	})
	if len(errs) == 0 {
		s.set = set
		return s, nil
	}
	s.close() // what went wrong is said already
	if s.locked != nil {
		return nil, s.locked // no fault of the configuration: another try may go well
	}
	for _, err := range errs {
		sayLine(w, err.Error())
	}
	sayLine(w, faultsIn(path, errs))
	return nil, exit{code: exitConfiguration}
}

// sayLine prints what others read line by line: only a terminal gets it in several.
func sayLine(w io.Writer, text string) {
	p := newPage(w)
	if !isTerminal(w) {
		p.width = 0
	}
	p.text("", "  ", text)
}

// faultsIn sums faults up under the files that they are in: "remote.toml: 2 faults in
// the configuration". What has no file is the main one's.
func faultsIn(path string, errs []error) string {
	var files []string
	for _, err := range errs {
		file := path
		var at interface{ Position() (string, int) }
		if errors.As(err, &at) {
			if name, _ := at.Position(); name != "" && name != filepath.Base(path) {
				file = filepath.Join(filepath.Dir(path), name)
			}
		}
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return fmt.Sprintf("%s: %s in the configuration", strings.Join(files, ", "), plural(len(errs), "fault"))
}

// decided opens what the edge knows from before, once the main file has said
// where that is.
func (s *installation) decided(open func(dir string) (*store.Store, error), log *slog.Logger) settings.Decided {
	return func(c edge.Config) (settings.Decisions, error) {
		if c.StateDir == "" {
			return settings.Decisions{}, nil // a fault that the edge finds
		}
		if err := s.openState(stateDir(c), open, log); err != nil {
			return settings.Decisions{}, err
		}
		return settings.Decisions{Partners: s.discovery.Decisions, Remote: s.decisions.With, Bridges: s.bridging.With}, nil
	}
}

// openState opens what the edge knows from before.
func (s *installation) openState(dir string, open func(dir string) (*store.Store, error), log *slog.Logger) (err error) {
	if err := admin.CheckPath(admin.SocketPath(dir)); err != nil {
		return err
	}
	s.store, err = open(filepath.Join(dir, "store"))
	switch {
	case errors.Is(err, store.ErrLocked):
		s.locked = fmt.Errorf("another edge runs here, with state_dir %s: %w", dir, err)
		return s.locked
	case err != nil:
		return fmt.Errorf("state_dir: %w", err)
	}
	discovered, decisions, err := federation.Buckets(s.store)
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	if s.discovery, err = federation.OpenDiscovery(discovered, decisions, log); err != nil {
		return err
	}
	users, err := remoteaccess.DecisionsBucket(s.store)
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	s.decisions = remoteaccess.OpenDecisions(users, log)
	bridging, err := bridges.DecisionsBucket(s.store)
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	pauses, err := bridges.PausesBucket(s.store)
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	s.bridging, s.pauses = bridges.OpenDecisions(bridging, log), bridges.OpenPauses(pauses, log)
	return nil
}

// openRemote opens what decides about users outside. Their rules are nil if they are
// faulty, which is said elsewhere.
func (s *installation) openRemote(c edge.Config, a *remoteaccess.Access, log *slog.Logger) (r edge.Remote, errs []error) {
	r.Access = a
	var bans, known, groups *store.Bucket
	if s.store != nil {
		var err1, err2 error
		bans, known, err1 = remoteaccess.GuardBuckets(s.store)
		groups, err2 = remoteaccess.GroupsBucket(s.store)
		if err := errors.Join(err1, err2); err != nil {
			return r, []error{fmt.Errorf("state_dir: %w", err)}
		}
	}
	var err error
	if r.Guard, err = remoteaccess.OpenGuard(guardConfig(c, a), bans, known, log, time.Now); err != nil {
		return r, []error{err}
	}
	r.Directory, errs = remoteaccess.OpenDirectory(a, func(p string) string { return beside(c.Dir, p) }, groups, log)
	s.remote = r
	return r, errs
}

// guardConfig is what is done about those who guess. Where sources are not told apart,
// they are not counted.
func guardConfig(c edge.Config, a *remoteaccess.Access) remoteaccess.GuardConfig {
	g := a.Guard()
	g.NoSources = c.Limits.PerSource != nil && !*c.Limits.PerSource
	return g
}

// follow puts in force who may sign in from outside.
func (s *installation) follow(a *remoteaccess.Access, log *slog.Logger) {
	for _, err := range s.remote.Directory.Follow(a) {
		log.Error("directory not changed", "err", err)
	}
	if err := s.remote.Guard.Configure(guardConfig(s.set.Edge, a)); err != nil {
		log.Error("guard not changed", "err", err) // Compile has looked at it
	}
	s.edge.SetAccess(a)
}

// stateDir is the state folder of a configuration.
func stateDir(c edge.Config) string { return beside(c.Dir, c.StateDir) }

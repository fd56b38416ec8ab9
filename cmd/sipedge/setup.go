package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/store"
)

// An installation is what the configuration and the state folder make together.
type installation struct {
	set       *settings.Settings
	edge      *edge.Edge
	discovery *federation.Discovery
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
	set, errs := settings.Load(path, s.decided(open, log), func(c edge.Config, p *federation.Partners) (errs []error) {
		s.edge, errs = edge.New(c, p, s.discovery, edge.Remote{}, log)
		return errs
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
		fmt.Fprintln(w, err)
	}
	fmt.Fprintf(w, "%s: %s in the configuration\n", path, plural(len(errs), "fault"))
	return nil, exit{code: exitConfiguration}
}

// decided opens what the edge knows from before, once the main file has said
// where that is.
func (s *installation) decided(open func(dir string) (*store.Store, error), log *slog.Logger) settings.Decided {
	return func(c edge.Config) (settings.Decisions, error) {
		if c.StateDir == "" {
			return nil, nil // a fault that the edge finds
		}
		if err := s.openState(stateDir(c), open, log); err != nil {
			return nil, err
		}
		return s.discovery.Decisions, nil
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
	s.discovery, err = federation.OpenDiscovery(discovered, decisions, log)
	return err
}

// stateDir is the state folder of a configuration.
func stateDir(c edge.Config) string { return beside(c.Dir, c.StateDir) }

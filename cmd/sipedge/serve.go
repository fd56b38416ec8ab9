package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/store"
)

type serveCommand struct {
	configFlag
	LogFormat string     `enum:"text,json" default:"text" env:"SIPEDGE_LOG_FORMAT" help:"Format of the log: text or json."`
	LogLevel  slog.Level `default:"info" env:"SIPEDGE_LOG_LEVEL" help:"Least level to log: debug, info, warn or error."`
}

// ballast is memory that is never touched, so that none is used; but the
// garbage collector counts it. The edge lives on a few megabytes and makes that
// much garbage many times a second: with the ballast the collector runs when
// tens of megabytes have come together, and a MESSAGE costs a sixth less.
const ballast = 48 << 20

// Run serves until SIGTERM or SIGINT; a second one ends the process at once.
// SIGHUP reads certificates and partners again.
func (c serveCommand) Run(s streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A second signal meets the default again, which ends the process.
	defer context.AfterFunc(ctx, stop)()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	weight := make([]byte, ballast)
	defer runtime.KeepAlive(weight)
	out := newLogWriter(s.err, func(n int) { c.logger(s.err).Error("log lines left out", "missed", n) })
	defer out.Close()
	// Faults and the ready line go the same way as the log, behind its lines.
	ready := func(*edge.Edge) { fmt.Fprintln(out, "Server is ready.") }
	return serve(ctx, c.Config, c.logger(out), hup, out, ready)
}

func (c serveCommand) logger(w io.Writer) *slog.Logger {
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: c.LogLevel}))
	}
	return slog.New(newTextHandler(w, c.LogLevel))
}

// serve runs an edge from its files until ctx ends. It is all of "sipedge
// serve" but the process. Faults of the configuration go to faults; ready is
// called when the ports are open.
func serve(ctx context.Context, config string, log *slog.Logger, hup <-chan os.Signal, faults io.Writer, ready func(*edge.Edge)) error {
	audit := newRefHandler(log.Handler())
	defer audit.Close()
	log = slog.New(audit)
	i, err := assemble(config, store.Open, log, faults)
	if err != nil {
		return err
	}
	audit.open(filepath.Join(stateDir(i.set.Edge), auditFolder))
	defer i.store.Close()
	e, set := i.edge, i.set
	if err := i.openBridges(log); err != nil {
		e.Close()
		return err
	}
	if err := e.Listen(); err != nil {
		i.closeBridges()
		return err
	}
	watcher := settings.NewWatcher(set, settings.Apply{
		Partners: e.SetPartners, Remote: func(a *remoteaccess.Access) { i.follow(a, log) }, Bridges: e.SetBridgePolicy,
	}, log)
	control, err := admin.Listen(admin.SocketPath(stateDir(set.Edge)), admin.Config{
		Name: set.Edge.Name, Domains: set.Edge.Domains, Version: version(),
		Edge: e, Lists: watcher, Discovery: i.discovery, Access: watcher, Decisions: i.decisions,
		Guard: i.remote.Guard, Directory: i.remote.Directory, Crossings: i.crossings(), Bridging: watcher, BridgeDecisions: i.bridging,
		Pauses: i.pauses, Log: log,
	})
	if err != nil {
		i.closeBridges()
		e.Close()
		return err
	}
	for _, a := range e.Addresses() {
		log.Info("listening", "listener", a.Listener, "role", a.Role, "address", a.Addr)
	}
	partners, blocked := set.Partners.Len()
	log.Info("partners loaded", "partners", partners, "blocked", blocked, "file", set.PartnersPath, "absent", set.NoPartners)

	users, groups := set.Remote.Len()
	log.Info("remote access loaded", "users", users, "groups", groups, "file", set.RemotePath, "absent", set.NoRemote)

	if bridged, accounts := set.Bridges.Len(); len(i.spans) > 0 || !set.NoBridges {
		log.Info("bridges loaded", "users", bridged, "accounts", accounts, "file", set.BridgesPath, "absent", set.NoBridges)
	}

	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop() // a panic of Run must not wait for the others
	// Bridges say goodbye by the edge, so that it goes on until they have.
	carry, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group.Go(func() {
		defer end()
		i.runBridges(ctx)
		<-ctx.Done()
	})
	now := make(chan struct{})
	group.Go(func() { watcher.Run(ctx, now) })
	group.Go(func() { reload(ctx, hup, e, now) })
	group.Go(func() { i.discovery.Run(ctx) })
	group.Go(func() { i.remote.Guard.Run(ctx) })
	group.Go(func() { i.remote.Directory.Run(ctx) })
	group.Go(func() { control.Run(ctx) })
	ready(e)
	e.Run(carry)
	log.Info("stopped")
	return nil
}

// reload hands SIGHUP on to those who have files.
func reload(ctx context.Context, hup <-chan os.Signal, e *edge.Edge, now chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			e.ReloadCertificates()
		}
		select {
		case <-ctx.Done():
		case now <- struct{}{}:
		}
	}
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// Package admin is how a running edge is looked at and told: HTTP and JSON over
// a Unix socket in the edge's state folder.
//
// Who may connect is what the kernel says about the other end: root, and the
// user that the edge runs as. There is no password and no port; nothing outside
// of this machine can reach it. What is changed here goes to the log with who
// did it.
//
// It does not change files. partners.toml, remote.toml and bridges.toml are the
// administrators'; what they decide here is kept beside them, and where both name a
// domain or a user the file wins.
//
// Each resource is one line in routes; what it sends is a type of this package,
// so that the commands (Client) and the socket cannot differ.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
)

// socketName is the name of the socket in the state folder.
const socketName = "control.sock"

// SocketPath returns where the socket of an edge is, by its state folder.
func SocketPath(stateDir string) string { return filepath.Join(stateDir, socketName) }

// Bounds of what one may ask. They are for slips and bugs: who may connect is
// trusted.
const (
	maxConnections = 16
	maxHeader      = 8 << 10
	maxBody        = 64 << 10
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 30 * time.Second
	endTimeout     = time.Second // for answers that are under way when the edge ends
)

// Lists are the lists in force, and what makes them anew.
type Lists interface {
	// Partners are those in force.
	Partners() *federation.Partners
	// Faults are why partners.toml as it is now is not in force, and the last good
	// one is.
	Faults() []error
	// Refresh puts in force what was decided. With an error nothing has changed.
	Refresh() error
}

// Access is who may sign in from outside, and what makes it anew.
type Access interface {
	// Remote is what is in force.
	Remote() *remoteaccess.Access
	// RemoteFaults are why remote.toml as it is now is not in force, and the last good
	// one is.
	RemoteFaults() []error
	// RefreshRemote puts in force what was decided. With an error nothing has
	// changed.
	RefreshRemote() error
}

// Config is what the control socket shows and changes.
type Config struct {
	Name      string // of the edge
	Domains   []string
	Version   string
	Edge      *edge.Edge
	Lists     Lists
	Discovery *federation.Discovery
	Access    Access
	Decisions *remoteaccess.Decisions // about users outside
	Guard     *remoteaccess.Guard     // nil: guesses are not counted
	Directory *remoteaccess.Directory // nil: there is none

	Crossings       []Crossing // the bridges
	Bridging        Bridging   // who may use them
	BridgeDecisions *bridges.Decisions
	Pauses          *bridges.Pauses

	Log *slog.Logger
	Now func() time.Time // nil: time.Now
}

// A Server answers on the control socket of one edge.
type Server struct {
	Config
	began    time.Time
	listener *listener

	deciding sync.Mutex // one decision at a time: lists are compiled for each
}

// Listen opens the socket at path. The error of an edge that runs there already
// is ErrRunning.
func Listen(path string, c Config) (*Server, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	l, err := listen(path, c.Log)
	if err != nil {
		return nil, err
	}
	return &Server{Config: c, began: c.Now(), listener: l}, nil
}

// Close closes the socket of a server that does not run.
func (s *Server) Close() { s.listener.Close() }

// Run answers until ctx ends. The socket is gone when it returns.
func (s *Server) Run(ctx context.Context) {
	h := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*conn).peer)
		},
	}
	defer context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		if h.Shutdown(end) != nil {
			h.Close()
		}
	})()
	if err := h.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		s.Log.Error("control socket failed", "err", err)
	}
	s.listener.wait()
}

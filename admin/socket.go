package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrRunning is the error of a socket on which somebody answers.
var ErrRunning = errors.New("admin: another edge runs here")

// maxPath is how long the path of a Unix socket may be: the kernel's structure
// has 108 octets on Linux, 104 on others, with a zero at the end.
const maxPath = 103

// CheckPath returns an error if the path cannot be that of a socket.
func CheckPath(path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("the path of the control socket, %s, has %d octets; a Unix socket's may have %d: choose a shorter state_dir", path, len(path), maxPath)
	}
	return nil
}

// listen makes the socket. What lies there from an edge that was killed is
// replaced; one that somebody answers on is not.
func listen(path string, log *slog.Logger) (*listener, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	if err := prepareFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	// Until here the folder kept others out, and the kernel's word about who
	// they are does in any case.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	return &listener{UnixListener: l, log: log, may: mayConnect, slots: make(chan struct{}, maxConnections), closed: make(chan struct{})}, nil
}

// prepareFolder makes the folder, and refuses one in which others could put a
// socket of their own into the place of ours.
func prepareFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	if bad := info.Mode().Perm() & closedTo; bad != 0 {
		return fmt.Errorf("open control socket: others may enter or change %s (mode %#o): chmod 700 it", dir, info.Mode().Perm())
	}
	if foreign(info) {
		return fmt.Errorf("open control socket: %s belongs to somebody else, who may change it: run the edge as its owner, or chown it", dir)
	}
	return nil
}

// clear takes away a socket that nobody answers on.
func clear(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("open control socket: %s is there, and is no socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("%w: it answers on %s", ErrRunning, path)
	}
	if !refusesConnections(err) {
		return fmt.Errorf("open control socket: somebody may answer there: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	return nil
}

// A Peer is who is at the other end of a connection.
type Peer struct {
	UID  int    // -1: the kernel does not tell here
	Name string // for the log: a user's name, or "uid 1234"
}

type peerKey struct{}

// A listener hands out connections of those who may connect, a few at a time.
type listener struct {
	*net.UnixListener
	log   *slog.Logger
	may   func(uid int) bool
	slots chan struct{} // one for each connection that is open

	once   sync.Once
	closed chan struct{}
	open   sync.WaitGroup
}

// A conn is a connection whose other end is known.
type conn struct {
	net.Conn
	peer Peer
	once sync.Once
	free func()
}

// Accept waits for the next one that may connect. Who may not is told so, and
// nothing is read from them.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			<-l.slots
			return nil, err
		}
		peer, err := peerOf(c)
		if err == nil && l.may(peer.UID) {
			l.open.Add(1)
			return &conn{Conn: c, peer: peer, free: func() { <-l.slots; l.open.Done() }}, nil
		}
		l.log.Warn("control socket refused", "by", peer.Name, "uid", peer.UID, "err", err)
		c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		c.Write([]byte(notPermitted))
		c.Close()
	}
}

// Close ends Accept, also where it waits for a slot.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.UnixListener.Close()
}

// wait returns when all connections are closed.
func (l *listener) wait() { l.open.Wait() }

// Close closes the connection and gives its slot back, once.
func (c *conn) Close() error {
	c.once.Do(c.free)
	return c.Conn.Close()
}

// notPermitted is the answer to who may not connect.
const notPermitted = "HTTP/1.1 403 Forbidden\r\nContent-Type: " + problemType + "\r\nConnection: close\r\n\r\n" +
	`{"status":403,"code":"` + CodeNotPermitted + `","detail":"only root and the user that the edge runs as may connect"}` + "\n"

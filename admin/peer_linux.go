package admin

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// closedTo are the bits of the folder's mode that must not be set. That others
// may enter does no harm here: the kernel says who they are.
const closedTo = 0o022

// mayConnect reports whether a user may: root, or the one we run as.
func mayConnect(uid int) bool { return uid == 0 || uid == os.Geteuid() }

// peerOf asks the kernel who connected (SO_PEERCRED): the user at the time of
// the connection, which the other end cannot choose.
func peerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{UID: -1, Name: "unknown"}, err
	}
	var cred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return Peer{UID: -1, Name: "unknown"}, err
	}
	return Peer{UID: int(cred.Uid), Name: userName(int(cred.Uid))}, nil
}

// foreign reports whether a folder is somebody else's, who could put what he wants
// into it: neither root's nor ours.
func foreign(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return !ok || !mayConnect(int(s.Uid))
}

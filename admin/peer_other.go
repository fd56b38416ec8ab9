//go:build !linux

package admin

import (
	"io/fs"
	"net"
	"os"
)

// closedTo are the bits of the folder's mode that must not be set: here the
// folder is all that keeps others out.
const closedTo = 0o077

// mayConnect takes whoever got through the folder.
func mayConnect(int) bool { return true }

// peerOf says who may have connected: only our own user can enter the folder,
// and root, who looks the same.
func peerOf(*net.UnixConn) (Peer, error) {
	return Peer{UID: -1, Name: userName(os.Geteuid())}, nil
}

// foreign is never true here: nobody but its owner and root can enter the folder.
func foreign(fs.FileInfo) bool { return false }

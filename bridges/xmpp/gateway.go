// Package xmpp is the bridge to the XMPP network. The edge is a server of its
// federation for our domains: what comes by s2s becomes SIP, and the other way
// round (RFC 7247, RFC 7572, RFC 8048).
package xmpp

import (
	"log/slog"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A userAgent is what the gateway needs of the SIP side; *bridges.Endpoint is it.
type userAgent interface {
	Do(r *bridges.Request, answer func(resp *bridges.Response, dialog *bridges.Dialog))
}

// A network is what the gateway needs of the XMPP side: the servers' streams, and
// the accounts of users who have one.
type network interface {
	// Send queues a stanza, whose from and to say between whom, and calls done
	// exactly once, or not at all if it is nil. It never waits. up says whether a
	// stream is there already.
	Send(e *stanza.Element, done func(s2s.Outcome)) (up bool)
}

// A gateway is one bridge at work.
type gateway struct {
	log  *slog.Logger
	sip  userAgent
	xmpp network
}

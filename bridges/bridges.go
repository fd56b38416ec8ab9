// Package bridges is what all foreign networks share: what a Bridge is, whom
// of our users it may serve, and its place at the SIP side.
//
// A bridge is an in-process peer of the edge. It speaks SIP with the edge as any
// other peer does, by an Endpoint instead of a connection, so whatever it hands in
// or takes passes the same two doors, transactions and limits. A Keeper runs
// it: a bridge that panics, hangs or takes nothing costs its own traffic and no
// other's.
//
// What a Bridge starts, it starts by [Endpoint.Go] or [Endpoint.Guard]: nobody can
// catch the panic of another goroutine, and it would end SIP.
//
// The package knows no foreign protocol and opens no connection.
package bridges

import (
	"context"
	"time"
)

// A Bridge is one foreign network. Its methods may be called from anywhere at
// any time; Run is called by a Keeper only, and never twice at once.
type Bridge interface {
	// Name is its key in configuration, log and commands: "xmpp".
	Name() string
	// Run carries traffic until ctx is done, and says goodbye then. An error, or a
	// panic, means that it could not go on; the Keeper starts it again after a
	// while.
	Run(ctx context.Context, e *Endpoint) error
	// Status says how it is; it never waits.
	Status() Status
	// Test looks whether a foreign address or domain could be reached now, step by
	// step, without sending anything to a person.
	Test(ctx context.Context, address string) []Step
}

// A Status is how a bridge is, for people.
type Status struct {
	Links    []Link // connections to foreign servers, and accounts
	Waiting  int    // what is queued for links that are not up
	Sent     uint64 // messages and the like that went out
	Received uint64 // that came in
	Failed   uint64 // that were refused or lost, with a line in the log each
}

// A Link is one connection of a bridge, or one that it tries to make.
type Link struct {
	Local, Remote string // our domain or user, the foreign domain or account
	Direction     string // "in", "out", "both"
	State         string // "up", "connecting", "waiting", "down"
	Proof         Proof  // of the other side
	Detail        string // TLS version, features; or why it is down
	Since         time.Time
	Sent          uint64
	Received      uint64
	Waiting       int
}

// A Step is one thing that a test looked at.
type Step struct {
	Name   string // "SRV _xmpps-server._tcp.example.net", "TLS", …
	OK     bool
	Passed bool // it failed, and another way has led on
	Detail string
}

// A Proof says what proves that a foreign domain speaks. The zero Proof is
// none, and no door opens for it.
type Proof uint8

const (
	ProofNone        Proof = iota
	ProofBridge            // nobody but the bridge: it ends what the other side has left, or tells of it
	ProofDialback          // the domain's own server said so (XEP-0220); weak: it rests on DNS
	ProofDANE              // a certificate that signed DNS names (RFC 7712)
	ProofCertificate       // a certificate of a trusted authority
	ProofAccount           // a server on which our user has an account says so
)

// String is the proof's name in logs.
func (p Proof) String() string {
	switch p {
	case ProofBridge:
		return "bridge"
	case ProofDialback:
		return "dialback"
	case ProofDANE:
		return "dane"
	case ProofCertificate:
		return "certificate"
	case ProofAccount:
		return "account"
	}
	return "none"
}

// A Host is the edge, as an Endpoint sees it.
type Host interface {
	// Send hands in one SIP message. It never waits, and keeps nothing of message; what
	// comes back comes to Endpoint.Receive, maybe before Send returns. Messages of one
	// goroutine keep their order; many goroutines call it at the same time. An error
	// means that the message was not taken.
	Send(message []byte, proof Proof) error
	// Self is our host and port in the Via and Contact of the endpoint
	// (RFC 3261 §8.1.1.7), as home servers can resolve them; ";transport=tcp" behind
	// them says that it is not TLS.
	Self() string
}

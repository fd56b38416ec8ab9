package s2s

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"syscall"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// Config is what a Server is made of.
type Config struct {
	// Domains are ours. A stream speaks for one of them at a time.
	Domains []string
	// Keypair is what we show to both those who connect and those to whom we do.
	Keypair *certs.Keypair
	// Verifier knows who is trusted; nil trusts nobody, so that all rests on DANE
	// and dialback.
	Verifier *certs.Verifier
	// Finder finds servers.
	Finder Finder
	// Allow reports whether a foreign domain may have streams at all. It is asked
	// before each is built or proved, and at each Send. Nil allows nobody.
	Allow func(domain string) bool
	// Dialback reports whether a foreign domain may be proved by dialback
	// (XEP-0220), or by nothing but that DNS leads to it when we connect. Nil
	// allows nobody.
	Dialback func(domain string) bool
	// Handle takes each stanza that came in, in order for each stream. The stream
	// waits for it, and what it has returned from is acknowledged.
	Handle func(*Stanza)
	// Secret makes dialback keys (XEP-0185). All servers of our domains must have
	// the same one; nil makes one for this process.
	Secret []byte
	// Guard makes of what runs on a goroutine of its own what survives a panic there, or
	// tells of it; nil: a panic is the end of the program.
	Guard func(f func()) func()
	// OneWay makes each stream carry stanzas from who opened it only: XEP-0288 is
	// neither offered nor asked for.
	OneWay bool
	// Limits bound everything; zeros are the defaults.
	Limits Limits
	// Log gets what happens; nil discards it.
	Log *slog.Logger
}

// A Finder finds the servers of a domain; *locate.Locator is one.
type Finder interface {
	// XMPP finds the servers of a domain, in the order in which they are to be
	// tried.
	XMPP(ctx context.Context, domain string) (locate.XMPPRecords, error)
	// TLSA finds what DNS says about the certificate of a server. Only records that
	// are signed count: secure says so.
	TLSA(ctx context.Context, host string, port int) (records []locate.TLSA, secure bool, err error)
	// Control is the check of an address when it is dialled.
	Control(locate.Hop) func(network, address string, c syscall.RawConn) error
	// Failed and Succeeded remember which addresses are of use.
	Failed(netip.AddrPort)
	Succeeded(netip.AddrPort)
}

// Limits bound what a Server holds and how long it waits. A zero is the default.
type Limits struct {
	Queue        int           // stanzas that wait for a stream, for each pair of domains: 100
	QueueOctets  int           // octets of them: 1 MiB
	Window       int           // stanzas on a stream that are not done: 10,000
	WindowOctets int           // octets of them: 4 MiB
	AllOctets    int           // octets that wait or are not done, over all: 64 MiB
	Pairs        int           // pairs of domains with something to send: 4,096
	Builds       int           // streams that are being built: 64
	Build        time.Duration // until a stream is there: 30 s
	Pause        time.Duration // after a failure, until a domain is tried again; twice as long each time, up to 60 times: 1 s

	Stanza       int           // octets of one that comes in: 256 KiB
	Unproved     int           // octets that come before anything is proved: 8 KiB
	UnprovedTime time.Duration // until something must be proved: 20 s
	Strangers    int           // streams on which nothing is proved: 500; a quarter is kept for sources that have proved something before
	OfAddress    int           // of them, those that one address has opened: 16
	Arrivals     float64       // connections a second that one address may open, twice as many at once: 50
	OfDomain     int           // streams that one domain has opened: 20
	Streams      int           // streams that others have opened: 10,000
	Verifies     int           // dialback keys that are being verified, and certificates that are looked for in DNS: 64 each
	Rate         float64       // stanzas a second that one domain may send: 1,000
	Burst        float64       // at once: 2,000

	Idle      time.Duration // without a stanza, until we close a stream: 10 min
	Keepalive time.Duration // without an octet from us, until we send a space: 3 min
	Answer    time.Duration // until a peer must answer what we ask on a stream: 30 s
	Goodbye   time.Duration // until the other side must have closed a stream as well: 5 s
}

func (l Limits) orDefaults() Limits {
	for _, d := range []struct {
		limit *int
		value int
	}{
		{&l.Queue, 100}, {&l.QueueOctets, 1 << 20}, {&l.Window, 10000}, {&l.WindowOctets, 4 << 20}, {&l.AllOctets, 64 << 20},
		{&l.Pairs, 4096}, {&l.Builds, 64}, {&l.Stanza, 256 << 10}, {&l.Unproved, 8 << 10}, {&l.Strangers, 500},
		{&l.OfAddress, 16}, {&l.OfDomain, 20}, {&l.Streams, 10_000}, {&l.Verifies, 64},
	} {
		if *d.limit <= 0 {
			*d.limit = d.value
		}
	}
	for _, d := range []struct {
		limit *time.Duration
		value time.Duration
	}{
		{&l.Build, 30 * time.Second}, {&l.Pause, time.Second}, {&l.UnprovedTime, 20 * time.Second}, {&l.Idle, 10 * time.Minute},
		{&l.Keepalive, 3 * time.Minute}, {&l.Answer, 30 * time.Second}, {&l.Goodbye, 5 * time.Second},
	} {
		if *d.limit <= 0 {
			*d.limit = d.value
		}
	}
	if l.Rate <= 0 {
		l.Rate = 1000
	}
	if l.Arrivals <= 0 {
		l.Arrivals = 50
	}
	if l.Burst <= 0 {
		l.Burst = 2 * l.Rate
	}
	l.Stanza = max(l.Stanza, minStanza)
	return l
}

// minStanza is what every server must take (RFC 6120 §13.12).
const minStanza = 10000

// check returns what is wrong with a configuration, all at once.
func (c *Config) check() error {
	var errs []error
	if len(c.Domains) == 0 {
		errs = append(errs, errors.New("no domain of ours"))
	}
	for _, d := range c.Domains {
		if _, ok := Normal(d); !ok {
			errs = append(errs, fmt.Errorf("domain %q: not a domain", d))
		}
	}
	if c.Keypair == nil {
		errs = append(errs, errors.New("no certificate"))
	}
	if c.Finder == nil {
		errs = append(errs, errors.New("nobody to find servers"))
	}
	if c.Handle == nil {
		errs = append(errs, errors.New("nobody to take stanzas"))
	}
	return errors.Join(errs...)
}

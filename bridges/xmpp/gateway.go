// Package xmpp is the bridge to the XMPP network. The edge is a server of its
// federation for our domains: what comes by s2s becomes SIP, and the other way
// round (RFC 7247, RFC 7572, RFC 8048).
//
// Group chat, files and calls do not cross; what asks for them is told so.
package xmpp

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A userAgent is what the gateway needs of the SIP side; *bridges.Endpoint is it.
type userAgent interface {
	Do(r *bridges.Request, answer func(resp *bridges.Response, dialog *bridges.Dialog))
}

// A caller also invites.
type caller interface {
	userAgent
	// Cancel takes back an INVITE that was sent with r.
	Cancel(r *bridges.Request)
}

// A network is what the gateway needs of the XMPP side: the servers' streams, and
// the accounts of users who have one.
type network interface {
	// Send queues a stanza, whose from and to say between whom, and calls done
	// exactly once, or not at all if it is nil. It never waits. up says whether a
	// stream is there already.
	Send(e *stanza.Element, done func(s2s.Outcome)) (up bool)
}

// settings are what a gateway is told by its configuration.
type settings struct {
	served        map[string]bool // the domains whose XMPP server we are, as in JIDs
	hold          time.Duration   // how long a sender waits for an acknowledgement
	chat          bool            // messages outside of conversations have type chat
	hideResources bool            // our users are not told which device wrote
	maxMessage    int             // octets of the body of a MESSAGE towards our side
	contacts      int             // new pairs an hour and foreign domain
	// microsoft reports whether the home server of one of our domains speaks the
	// Microsoft dialect, whose clients want sessions.
	microsoft func(domain string) bool
	software  string // what version queries are told
	host      string // our name in session descriptions and warnings
}

// ownWord is what proves a domain that the bridge speaks for by itself: when it ends a
// session, or tells that a message was lost.
const ownWord = bridges.ProofBridge

// A gateway is one bridge at work.
type gateway struct {
	log     *slog.Logger
	journal *journal
	sip     caller
	xmpp    network
	addr    *address.Table
	set     settings
	clock   *clock
	ids     *idMaker
	watch   *presence // nil: presence is not carried
	// hasAccount reports whether one of our users, a bare JID, has an account of his own,
	// by which he speaks for himself. Nil: none has.
	hasAccount func(user string) bool
	suspects   *Suspects // whose stanzas made this bridge panic, or those before it

	sendings *sendings
	sessions *sessions
	typing   *typing
	receipts *receipts
	threads  *threads
	traits   *traits
	contacts *strangers
	repeats  *repeats
	queries  *queries
	caps     *capsCache

	later  *bridges.Later
	broken chan error // a panic of a callback; room for one
}

func newGateway(set settings, addr *address.Table, e caller, n network, log *slog.Logger) *gateway {
	g := &gateway{
		log: log, journal: newJournal(log), sip: e, xmpp: n, addr: addr, set: set, clock: newClock(),
		ids: newIDMaker(), later: bridges.NewLater(), broken: make(chan error, 1),
	}
	g.sendings = newSendings(g)
	g.sessions = newSessions(g)
	g.typing = newTyping(g)
	g.receipts = newReceipts()
	g.threads = newThreads(g.ids)
	g.traits = newTraits(set.microsoft)
	g.contacts = newStrangers(set.contacts)
	g.repeats = newRepeats()
	g.queries = newQueries(g)
	g.caps = newCapsCache(g)
	return g
}

// run turns the clock until ctx is done, and returns the panic that ended the
// gateway before.
func (g *gateway) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, f := range []func(context.Context){g.clock.run, g.later.Run} {
		running.Go(func() {
			defer g.guard()
			f(ctx)
		})
	}
	select {
	case err := <-g.broken:
		return err
	case <-ctx.Done():
		return nil
	}
}

// guard, deferred, turns a panic into the end of the gateway: the Keeper starts
// another one, and whoever called us lives.
func (g *gateway) guard() {
	if p := recover(); p != nil {
		g.breaks(panicked(p))
	}
}

// panicked makes an error of a panic.
func panicked(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }

// breaks ends the gateway with an error; the first one counts.
func (g *gateway) breaks(err error) {
	select {
	case g.broken <- err:
	default:
	}
}

// Request takes what our side sends (bridges.Handler). Other methods than these are
// refused by the Endpoint.
func (g *gateway) Request(in *bridges.Incoming) {
	switch in.Method {
	case "MESSAGE":
		g.messageToXMPP(in)
	case "INVITE":
		g.invited(in)
	case "BYE":
		g.hungUp(in)
	case "INFO":
		g.info(in)
	case "SUBSCRIBE", "NOTIFY", "BENOTIFY":
		g.watched(in)
	case "UPDATE":
		g.updated(in)
	default:
		in.Answer(bridges.Response{Status: 405, Fields: bridges.Fields{{Name: "Allow", Value: bridges.Allow}}}, "")
	}
}

// Canceled is told of an INVITE that is wanted no more, or whose session was never
// confirmed.
func (g *gateway) Canceled(in *bridges.Incoming) {
	if s, ok := in.Data.(*session); ok {
		g.sessions.drop(s)
	}
}

// watched gives presence what is its.
func (g *gateway) watched(in *bridges.Incoming) {
	if g.watch == nil {
		in.Answer(bridges.Response{Status: 489, Fields: bridges.Fields{{Name: "Allow-Events", Value: ""}}}, "")
		return
	}
	if in.Method == "SUBSCRIBE" {
		if w, fault := g.outward(in); in.Dialog == nil && fault == nil {
			g.contacts.met(w.pair)
		}
		g.watch.subscribe(in)
	} else {
		g.watch.notify(in)
	}
}

// stanza takes what the XMPP side sends. It does not wait.
func (g *gateway) stanza(s *s2s.Stanza) {
	defer g.guardOf(s.From, s.Proof)
	if !isSender(s) {
		g.journal.drop("its domain can be read in two ways", "from", s.Attr("from"), "domain", s.From)
		return
	}
	g.dispatch(s)
}

// dispatch hands a stanza to who takes its kind.
func (g *gateway) dispatch(s *s2s.Stanza) {
	switch s.Local {
	case "message":
		g.messageToSIP(s)
	case "presence":
		g.seen(s)
	case "iq":
		g.iq(s)
	}
}

// isSender reports whether the domain in from is, as we read it, the one that was
// proved. What is no address at all is for those who take it.
func isSender(s *s2s.Stanza) bool {
	j, err := address.Parse(s.Attr("from"))
	return err != nil || j.Domainpart() == s.From
}

// seen looks at a presence for what it says of features, and gives it to its part.
func (g *gateway) seen(s *s2s.Stanza) {
	g.caps.see(s)
	if g.watch == nil {
		g.journal.drop("presence is not carried", "from", s.Attr("from"), "to", s.Attr("to"))
		return
	}
	g.watch.stanza(s.Element, s.Proof)
}

// send sends a stanza that nobody waits for. If it is lost, the journal says so.
func (g *gateway) send(e *stanza.Element) {
	g.xmpp.Send(e, func(o s2s.Outcome) {
		if o.Err != nil {
			g.journal.fail("stanza lost", "kind", e.Local, "from", e.Attr("from"), "to", e.Attr("to"), "err", o.Err)
		}
	})
}

// bounce answers a stanza with an error, unless it is one itself.
func (g *gateway) bounce(s *s2s.Stanza, err *stanza.Error) {
	if b := stanza.Bounce(s.Element, err); b != nil {
		g.send(b)
		return
	}
	g.journal.drop("answer to an answer", "kind", s.Local, "from", s.Attr("from"), "to", s.Attr("to"))
}

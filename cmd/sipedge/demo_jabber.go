package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// A jabberServer is an XMPP server with one account: as much of one as the scenes need,
// on the streams that the edge has, and not for real users. Dialback is not for it: who
// has no certificate is refused.
type jabberServer struct {
	ports demoPorts
	at    netip.AddrPort

	finder *locate.Locator
	server *s2s.Server
	stopIt context.CancelFunc
	done   chan struct{}
	kim    *jabberAccount
}

// newJabberServer finds a place for one.
func newJabberServer() (xmppCompany, error) {
	j := &jabberServer{}
	j.at = j.ports.pick("127.0.3.1", 5269)
	return j, j.ports.err
}

func (j *jabberServer) place() netip.AddrPort { return j.at }

func (j *jabberServer) start(ctx context.Context, w xmppWorld) (xmppClient, error) {
	keypair, err := certs.NewKeypair(w.cert, w.key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.roots)
	j.finder, err = locate.New(locate.Config{Servers: []string{w.dns.String()}, AllowedRanges: []string{"127.0.0.0/8"}}, nil, nil)
	if err != nil {
		return nil, err
	}
	j.kim = newJabberAccount(w.user+"@"+w.domain, j.send)
	j.server, err = s2s.New(s2s.Config{
		Domains: []string{w.domain}, Keypair: keypair, Finder: j.finder,
		Verifier: &certs.Verifier{Roots: func() *x509.CertPool { return roots }},
		Allow:    func(domain string) bool { return domain == w.partner },
		Handle:   func(s *s2s.Stanza) { j.handle(s.Element) },
	})
	if err != nil {
		return nil, err
	}
	j.ports.release(j.at)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", j.at.String())
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.Background())
	j.stopIt, j.done = stop, make(chan struct{})
	go func() {
		defer close(j.done)
		_ = j.server.Serve(serving, []net.Listener{l}, nil) // it fails never
	}()
	return j.kim, nil
}

func (j *jabberServer) stop() error {
	j.ports.releaseAll()
	if j.done != nil {
		j.stopIt()
		<-j.done
	}
	if j.finder != nil {
		j.finder.Close()
	}
	return nil
}

// send sends a stanza to another server. One that is lost is not a scene's.
func (j *jabberServer) send(e *stanza.Element) { j.server.Send(e, nil) }

// handle takes a stanza from another server (RFC 6121 §8.5). What is for somebody that
// there is not is refused, and questions to the server are answered.
func (j *jabberServer) handle(e *stanza.Element) {
	to := bareJID(e.Attr("to"))
	switch {
	case e.Local == "iq":
		j.asked(e)
	case to == j.kim.jid && e.Local == "message":
		j.kim.message(e)
	case to == j.kim.jid:
		j.kim.presence(e)
	case e.Local == "message":
		j.refuse(e, "service-unavailable")
	}
}

// jabberFeatures are what kim's client and server say that they know (XEP-0030).
var jabberFeatures = []string{
	"http://jabber.org/protocol/disco#info", "urn:xmpp:ping", nsReceipts,
}

const (
	nsInfo     = "http://jabber.org/protocol/disco#info" // XEP-0030
	nsPing     = "urn:xmpp:ping"                         // XEP-0199
	nsReceipts = "urn:xmpp:receipts"                     // XEP-0184
)

// asked answers a question, for the server as for kim's client.
func (j *jabberServer) asked(e *stanza.Element) {
	if t := e.Attr("type"); t != "get" && t != "set" {
		return // nothing was asked here that this could answer
	}
	result := stanza.New(stanza.NS, "iq", stanza.Attr{Local: "type", Value: "result"})
	result.SetAttr("id", e.Attr("id"))
	result.SetAttr("from", e.Attr("to"))
	result.SetAttr("to", e.Attr("from"))
	switch {
	case e.Child(nsPing, "ping") != nil:
	case e.Child(nsInfo, "query") != nil:
		query := result.Add(stanza.New(nsInfo, "query"))
		query.SetAttr("node", e.Child(nsInfo, "query").Attr("node"))
		category, kind := "client", "pc"
		if e.Attr("to") != "" && bareJID(e.Attr("to")) != j.kim.jid {
			category, kind = "server", "im"
		}
		query.Add(stanza.New(nsInfo, "identity", stanza.Attr{Local: "category", Value: category}, stanza.Attr{Local: "type", Value: kind}))
		for _, feature := range jabberFeatures {
			query.Add(stanza.New(nsInfo, "feature", stanza.Attr{Local: "var", Value: feature}))
		}
	default:
		j.refuse(e, "service-unavailable")
		return
	}
	j.send(result)
}

// refuse answers with an error, unless the stanza is one.
func (j *jabberServer) refuse(e *stanza.Element, condition string) {
	if b := stanza.Bounce(e, &stanza.Error{Condition: condition}); b != nil {
		j.send(b)
	}
}

// A jabberAccount is an account and the one client that is signed in to it.
type jabberAccount struct {
	jid, full string
	out       func(*stanza.Element)
	inbox     chan xmppStanza

	mu       sync.Mutex
	watchers map[string]bool // bare JIDs of those who may see her presence
	asking   map[string]bool // of those who asked for it
}

// jabberInbox is how much may wait for the client; more is lost.
const jabberInbox = 256

func newJabberAccount(jid string, out func(*stanza.Element)) *jabberAccount {
	return &jabberAccount{
		jid: jid, full: jid + "/phone", out: out, inbox: make(chan xmppStanza, jabberInbox),
		watchers: map[string]bool{}, asking: map[string]bool{},
	}
}

func (a *jabberAccount) next(ctx context.Context) (xmppStanza, error) {
	select {
	case s := <-a.inbox:
		return s, nil
	case <-ctx.Done():
		return xmppStanza{}, ctx.Err()
	}
}

// deliver puts what came before the client.
func (a *jabberAccount) deliver(e *stanza.Element) {
	s := xmppStanza{kind: e.Local, from: e.Attr("from"), to: e.Attr("to"), typ: e.Attr("type"), id: e.Attr("id")}
	for _, f := range []struct {
		name string
		into *string
	}{{"body", &s.body}, {"thread", &s.thread}, {"status", &s.status}} {
		if c := e.Child(stanza.NS, f.name); c != nil {
			*f.into = c.Text
		}
	}
	if fault := stanza.ErrorOf(e); fault != nil {
		s.condition = fault.Condition
	}
	select {
	case a.inbox <- s:
	default:
	}
}

// message takes one, and says that it has come if somebody wants to know
// (XEP-0184 §5.4).
func (a *jabberAccount) message(e *stanza.Element) {
	a.deliver(e)
	if e.Child(nsReceipts, "request") == nil || e.Attr("id") == "" || e.Attr("type") == "error" {
		return
	}
	receipt := a.stanza("message", a.full, e.Attr("from"), e.Attr("type"))
	receipt.Add(stanza.New(nsReceipts, "received", stanza.Attr{Local: "id", Value: e.Attr("id")}))
	a.out(receipt)
}

// presence takes what servers say to each other about presence: probes are answered
// here (RFC 6121 §4.3.2), and the client hears the rest.
func (a *jabberAccount) presence(e *stanza.Element) {
	from := bareJID(e.Attr("from"))
	switch e.Attr("type") {
	case "probe":
		if a.sees(from) {
			a.out(a.available(from))
		} else {
			a.out(a.stanza("presence", a.jid, from, "unsubscribed"))
		}
		return
	case "subscribe":
		a.ask(from)
	case "unsubscribe":
		a.mu.Lock()
		delete(a.watchers, from)
		a.mu.Unlock()
	}
	a.deliver(e)
}

// ask remembers that somebody wants to see her presence.
func (a *jabberAccount) ask(jid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.asking) < jabberInbox {
		a.asking[jid] = true
	}
}

// let lets somebody see her presence who has asked; it reports whether he has.
func (a *jabberAccount) let(jid string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.asking[jid] {
		return false
	}
	delete(a.asking, jid)
	a.watchers[jid] = true
	return true
}

func (a *jabberAccount) sees(jid string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.watchers[jid]
}

// send sends what the client says. Who is let in is told at once how she is
// (RFC 6121 §3.1.5).
func (a *jabberAccount) send(s xmppStanza) error {
	from, subscribed := a.full, s.kind == "presence" && s.typ == "subscribed"
	if s.kind == "presence" && s.typ != "" {
		from = a.jid
	}
	e := a.stanza(s.kind, from, s.to, s.typ)
	e.SetAttr("id", s.id)
	for _, f := range []struct{ name, text string }{{"body", s.body}, {"thread", s.thread}, {"status", s.status}} {
		if f.text != "" {
			e.AddText(stanza.NS, f.name, f.text)
		}
	}
	if subscribed && !a.let(s.to) {
		return fmt.Errorf("%s has not asked", s.to)
	}
	a.out(e)
	if subscribed {
		a.out(a.available(s.to))
	}
	return nil
}

func (a *jabberAccount) available(to string) *stanza.Element {
	e := a.stanza("presence", a.full, to, "")
	e.AddText(stanza.NS, "status", "at the sea")
	return e
}

func (a *jabberAccount) stanza(kind, from, to, typ string) *stanza.Element {
	e := stanza.New(stanza.NS, kind)
	e.SetAttr("type", typ)
	e.SetAttr("from", from)
	e.SetAttr("to", to)
	return e
}

// bareJID is an address without the device.
func bareJID(jid string) string {
	bare, _, _ := strings.Cut(jid, "/")
	return bare
}

package xmpp

import (
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// inward is who outside says something to whom of our users. It keeps what an error
// has to echo, and not the message.
type inward struct {
	echo     *stanza.Element // name and attributes of the stanza
	from, to address.JID
	pair     ends
	fromURI  string // with the device, if our users may know it
	bareURI  string // without
	toURI    string // where the request goes: the user, or one device of his
	userURI  string // the user
	thread   string
	chat     bool
	proof    bridges.Proof
	hops     int
	arrived  time.Time
	domain   string // of whoever sent it, as it was proved
	repeat   uint64 // what it is known by if it comes again
}

// inward returns between whom a message is that came from outside.
func (g *gateway) inward(s *s2s.Stanza) (*inward, *address.Error) {
	from, err := address.Parse(s.Attr("from"))
	if err != nil {
		return nil, faultOf(err)
	}
	to, err := address.Parse(s.Attr("to"))
	if err != nil {
		return nil, faultOf(err)
	}
	if g.set.served[from.Domainpart()] {
		return nil, address.ErrLoop
	}
	w := &inward{
		echo: echoOf(s.Element),
		from: from, to: to, pair: ends{bareOf(to), bareOf(from)},
		chat: s.Attr("type") == "chat", proof: s.Proof, hops: hopsOf(s.Element), arrived: time.Now(), domain: s.From,
	}
	if to.Localpart() == "" {
		return w, nil
	}
	if w.userURI, err = g.addr.URI(to.Bare()); err != nil {
		return nil, faultOf(err)
	}
	if w.bareURI, err = g.addr.URI(from.Bare()); err != nil {
		return nil, faultOf(err)
	}
	w.fromURI, w.toURI = w.bareURI, w.userURI
	if from.Resourcepart() != "" && !g.set.hideResources && !g.speaksMicrosoft(w) {
		if w.fromURI, err = g.addr.URI(from); err != nil {
			return nil, faultOf(err)
		}
	}
	// RFC 6121 §8.5.3.2.1: a device that is not there is no reason to refuse. Those of
	// presence are none that a home server could find.
	if to.Resourcepart() != "" {
		if _, ok := g.traits.resources.get(to.String()); ok {
			if uri, err := g.addr.URI(to); err == nil {
				w.toURI = uri
			}
		}
	}
	return w, nil
}

// maxID is how many octets of an id are kept. Nobody's are longer, but for those who
// want us to hold them.
const maxID = 1024

// echoOf returns what an error to a stanza has to echo. It is kept for as long as our
// side takes to answer, so it has nothing else.
func echoOf(e *stanza.Element) *stanza.Element {
	echo := &stanza.Element{Space: e.Space, Local: e.Local, Attrs: make([]stanza.Attr, 0, 4)}
	for _, name := range []string{"from", "to", "type", "id"} {
		if v := e.Attr(name); name != "id" || len(v) <= maxID {
			echo.SetAttr(name, v)
		}
	}
	return echo
}

// speaksMicrosoft reports whether the user's home server speaks that dialect. Its
// clients take a URI with another device for another person.
func (g *gateway) speaksMicrosoft(w *inward) bool {
	return g.set.microsoft != nil && g.set.microsoft(hostPart(w.userURI))
}

// hostPart returns the host of a URI that we have made.
func hostPart(uri string) string {
	host := uri[strings.LastIndexByte(uri, '@')+1:]
	if i := strings.IndexByte(host, ';'); i >= 0 {
		host = host[:i]
	}
	return strings.TrimPrefix(host, "sip:")
}

// request makes a request from the one to the other.
func (w *inward) request(method string) *bridges.Request {
	return &bridges.Request{
		Method: method, URI: w.toURI, From: bridges.Party{URI: w.fromURI}, To: bridges.Party{URI: w.userURI},
		Proof: w.proof, Hops: w.hops,
	}
}

// messageToSIP takes a message from outside.
func (g *gateway) messageToSIP(s *s2s.Stanza) {
	kind := s.Attr("type")
	if kind == "error" {
		g.errorFromXMPP(s)
		return
	}
	w, fault := g.inward(s)
	switch {
	case fault == address.ErrLoop:
		g.journal.drop("its sender is one of us", "from", s.Attr("from"), "to", s.Attr("to"))
		return
	case fault != nil:
		g.refuse(s, errorOfAddress(fault))
		return
	case w.hops >= bridges.MaxHops:
		g.refuse(s, &stanza.Error{Condition: "not-acceptable", Text: "the message has come through too many bridges"})
		return
	case w.to.Localpart() == "":
		g.refuse(s, &stanza.Error{Condition: "service-unavailable", Text: "nobody reads messages to this address"})
		return
	}
	switch kind {
	case "groupchat":
		g.refuse(s, noGroups)
	case "headline":
		// RFC 6121 §5.2.2: no answer is expected. They are not for people to read.
		g.journal.drop("headline", "from", w.pair.theirs, "to", w.pair.ours)
	default:
		g.chatToSIP(s, w) // also of a type that nobody knows (RFC 6121 §5.2.2)
	}
}

// noGroups refuses what belongs to a group chat.
var noGroups = &stanza.Error{Condition: "service-unavailable", Text: "group chat cannot pass this gateway"}

// chatToSIP takes a message of one person to another.
func (g *gateway) chatToSIP(s *s2s.Stanza, w *inward) {
	c := contentOf(s.Element)
	switch refuse, why := crosses(s.Element, c); {
	case refuse != nil:
		g.refuse(s, refuse)
		return
	case why != "":
		g.journal.drop(why, "from", w.pair.theirs, "to", w.pair.ours)
		return
	}
	if len(c.Thread) <= maxThread {
		w.thread = c.Thread
	}
	g.traits.seen(w.pair.theirs, c)
	told := g.reportsFromXMPP(w, c)
	switch l := letterOf(c, g.traits.language(w.pair.ours)); {
	case l != nil && g.repeats.again(s, w, l):
		g.journal.drop("came before on another stream", "from", w.pair.theirs, "to", w.pair.ours, "id", clip(c.ID, 256))
	case l != nil:
		g.typing.came(w.pair) // whatever state comes with it
		g.letterToSIP(w, l)
	case c.State == "gone":
		g.gone(w)
	case c.State != "":
		g.typing.fromXMPP(w, c.State)
	case !told:
		g.journal.drop("nothing in it that SIP knows", "from", w.pair.theirs, "to", w.pair.ours, "id", c.ID)
	}
}

// refuse answers a message from outside with an error.
func (g *gateway) refuse(s *s2s.Stanza, err *stanza.Error) {
	g.journal.failed.Add(1)
	g.bounce(s, err)
}

// letterToSIP sends what somebody outside has written, in a session or as a MESSAGE
// of its own (RFC 7572 §4).
func (g *gateway) letterToSIP(w *inward, l *letter) {
	if len(l.text) > g.set.maxMessage {
		g.fail(w, &stanza.Error{Condition: "policy-violation", Text: "the message is too large"})
		return
	}
	if !g.contacts.may(w.pair, w.domain) {
		g.journal.drop("too many first contacts", "from", w.pair.theirs, "to", w.pair.ours, "domain", w.domain)
		g.fail(w, &stanza.Error{Condition: "resource-constraint", Type: "wait", Text: "too many new contacts; try again later"})
		return
	}
	if g.sessions.take(w, l) {
		return
	}
	g.page(w, l)
}

// page sends a MESSAGE outside of sessions.
func (g *gateway) page(w *inward, l *letter) {
	r := w.request("MESSAGE")
	r.CallID = g.threads.toSIP(w.pair, w.thread)
	r.Fields = l.fields()
	wrap, ask := false, false
	if l.wantsReport() && !w.pair.areLong() {
		wrap, ask = g.traits.takesWrapper(w.pair.ours)
	}
	if wrap {
		r.ContentType, r.Body = body.TypeCPIM, g.wrap(w, l)
	} else {
		r.ContentType, r.Body = body.TypePlain, []byte(l.text)
	}
	g.sip.Do(r, func(resp *bridges.Response, _ *bridges.Dialog) {
		if wrap && refusesType(resp.Status) {
			g.traits.wrapper(w.pair.ours, false)
			g.page(w, l)
			return
		}
		if g.taken(w, resp) && ask {
			g.askWhat(w)
		}
	})
}

// refusesType reports whether a status says that the type of a body, or what it is
// for, is not understood.
func refusesType(status int) bool { return status == 405 || status == 415 || status == 488 }

// taken is told how a message was answered, and reports whether our user has it. A
// 2xx says nothing to XMPP: what he has read is for him to say.
func (g *gateway) taken(w *inward, resp *bridges.Response) bool {
	if resp.Status < 300 {
		g.contacts.met(w.pair)
		return true
	}
	err := conditionOf(resp, g.addr)
	if !g.contacts.haveMet(w.pair) {
		// What our servers say about it may name them, and differs where nobody
		// should see whether somebody exists.
		err.Text = ""
	}
	g.fail(w, err)
	return false
}

// fail answers a message with an error. To somebody who is a stranger to our user, it
// comes at a moment that does not tell who exists.
func (g *gateway) fail(w *inward, err *stanza.Error) {
	g.journal.failed.Add(1)
	g.repeats.forget(w)
	b := stanza.Bounce(w.echo, err)
	if b == nil {
		return
	}
	if g.contacts.haveMet(w.pair) {
		g.send(b)
		return
	}
	if !g.later.Do(w.arrived, func() { g.send(b) }) {
		g.journal.drop("too many refusals wait", "from", w.pair.theirs, "to", w.pair.ours)
	}
}

// errorFromXMPP takes an error that is the answer to something of ours.
func (g *gateway) errorFromXMPP(s *s2s.Stanza) {
	why := stanza.ErrorOf(s.Element)
	id := s.Attr("id")
	from, err := address.Parse(s.Attr("from"))
	if err != nil {
		g.journal.drop("error of a malformed address", "from", s.Attr("from"), "condition", why.Condition)
		return
	}
	to, err := address.Parse(s.Attr("to"))
	if err != nil {
		g.journal.drop("error to a malformed address", "to", s.Attr("to"), "condition", why.Condition)
		return
	}
	who := ends{bareOf(to), bareOf(from)}
	if g.sendings.failed(id, who, why) || g.receiptFailed(who, id, why) {
		return
	}
	g.journal.drop("error that nobody waits for", "from", who.theirs, "to", who.ours, "id", id, "condition", why.Condition, "text", why.Text)
}

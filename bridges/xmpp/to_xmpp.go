package xmpp

import (
	"strconv"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// outward is who of our users says something to whom outside.
type outward struct {
	from, to address.JID
	pair     ends
	fromURI  string   // his address as a user, without a device
	toURI    string   // what the other one is called here
	callID   string   // of the request, or of the session
	session  *session // within which it is said; nil: none
	sole     bool     // nobody else could answer for the address
	hops     int
}

// outward returns between whom a request is that is to leave by XMPP.
func (g *gateway) outward(in *bridges.Incoming) (*outward, *address.Error) {
	from, err := g.addr.JID(in.From.URI)
	if err != nil {
		return nil, faultOf(err)
	}
	if !g.set.served[from.Domainpart()] && (g.hasAccount == nil || !g.hasAccount(bareOf(from))) {
		return nil, address.ErrPlain
	}
	to, err := g.addr.JID(in.URI)
	if err != nil {
		return nil, faultOf(err)
	}
	if g.set.served[to.Domainpart()] {
		return nil, address.ErrLoop
	}
	g.addr.Learn(in.From.URI)
	w := &outward{
		from: from, to: to, pair: ends{bareOf(from), bareOf(to)},
		fromURI: g.addr.Plain(from.Bare(), in.From.URI), toURI: g.addr.Plain(to, in.URI), callID: in.CallID, hops: in.Hops,
		// A request that somebody has forwarded has other ends, too (RFC 3261 §16.7).
		sole: in.To.URI == in.URI,
	}
	if from.Resourcepart() != "" {
		g.traits.resources.put(from.String(), true)
	}
	return w, nil
}

// bareOf returns the bare JID of j.
func bareOf(j address.JID) string { return j.Bare().String() }

// faultOf returns the fault of an address as such.
func faultOf(err error) *address.Error {
	if fault, ok := err.(*address.Error); ok {
		return fault
	}
	return address.ErrJID
}

// messageToXMPP takes a MESSAGE of one of our users.
func (g *gateway) messageToXMPP(in *bridges.Incoming) {
	var w *outward
	if in.Dialog != nil {
		s, ok := dialogSession(in.Dialog)
		if !ok {
			in.Answer(bridges.Response{Status: 405, Fields: allowField}, "") // within a subscription
			return
		}
		w = s.outward(in)
	} else {
		var fault *address.Error
		if w, fault = g.outward(in); fault != nil {
			in.Answer(refusalOfAddress(fault), "")
			return
		}
	}
	c, refusal := g.readWriting(&in.Request, w)
	if refusal.Status != 0 {
		in.Answer(refusal, "")
		return
	}
	switch {
	case c.composing != nil:
		g.typing.fromSIP(w, c.composing)
		in.Answer(delivered, "")
	case c.report != nil:
		g.reportFromSIP(w, c.report)
		in.Answer(delivered, "")
	default:
		g.textToXMPP(in, w, c)
	}
}

var allowField = bridges.Fields{{Name: "Allow", Value: bridges.Allow}}

// textToXMPP sends what one of our users has written (RFC 7572 §5).
func (g *gateway) textToXMPP(in *bridges.Incoming, w *outward, written *writing) {
	g.contacts.met(w.pair)
	if accept := in.Fields.Get("Accept-Language"); accept != "" {
		g.traits.reads(w.pair.ours, accept)
	}
	g.traits.wroteBySession(w.pair.ours, w.session != nil)
	c := content{ID: g.ids.next(), Bodies: written.texts, Subjects: written.subjects, Thread: g.threads.toXMPP(w.pair, w.callID)}
	if w.session != nil || g.set.chat {
		c.Type = "chat"
	}
	if len(c.Bodies) == 1 {
		// A single language is that of the whole message (RFC 7572 §8).
		c.Lang, c.Bodies[0].Lang = c.Bodies[0].Lang, ""
	}
	if isLate(written.date) {
		c.Sent = written.date
	}
	if g.typing.wrote(w.pair) || g.traits.takesStates(w.pair.theirs) {
		c.State = "active"
	}
	g.askForReceipt(&c, w, written)
	m := g.newMessage(w)
	c.appendTo(m)
	if isHuge(&c) && len(stanza.Append(nil, m)) > maxStanzaOut {
		in.Answer(refusalOf(body.ErrTooLarge), "")
		return
	}
	p := g.sendings.begin(in, c.ID, w)
	g.xmpp.Send(m, p.done)
}

// maxStanzaOut is how many octets a stanza of ours may have, whatever the other server
// says of itself or does not: one that is too large for it costs all others the
// stream.
const maxStanzaOut = 100_000

// isHuge reports whether it is worth looking at the size.
func isHuge(c *content) bool {
	n := 0
	for _, texts := range [][]body.Text{c.Bodies, c.Subjects} {
		for _, t := range texts {
			n += len(t.Text)
		}
	}
	return n > maxStanzaOut/8 // each octet may be six of XML
}

// isLate reports whether a message was written some time ago. Many devices say of
// every message when it was written, and XMPP wants to hear it of late ones alone.
func isLate(written time.Time) bool {
	return !written.IsZero() && time.Since(written) > 10*time.Second
}

// newMessage makes an empty message. The mark says through how many bridges it has
// come, for those that it may meet on the other side.
func (g *gateway) newMessage(w *outward) *stanza.Element {
	m := &stanza.Element{Space: stanza.NS, Local: "message", Attrs: make([]stanza.Attr, 2, 5), Children: make([]*stanza.Element, 1, 4)}
	m.Attrs[0], m.Attrs[1] = stanza.Attr{Local: "from", Value: w.from.String()}, stanza.Attr{Local: "to", Value: w.to.String()}
	m.Children[0] = markOf(w.hops)
	return m
}

// sendAlone sends a chat state without anything else (XEP-0085 §5.6).
func (g *gateway) sendAlone(w *outward, state string) {
	m := g.newMessage(w)
	c := content{ID: g.ids.next(), Type: "chat", State: state, Thread: g.threads.toXMPP(w.pair, w.callID)}
	c.appendTo(m)
	g.send(m)
}

// nsBridge is the namespace of our mark.
const nsBridge = "urn:sipedge:bridge:0"

// marks are those that may leave. Nobody changes a mark.
var marks = func() (list [bridges.MaxHops + 1]*stanza.Element) {
	for hops := range list {
		list[hops] = newMark(hops)
	}
	return list
}()

// markOf returns the mark of a stanza that leaves after so many bridges before us.
func markOf(hops int) *stanza.Element {
	if hops < len(marks) {
		return marks[hops]
	}
	return newMark(hops)
}

func newMark(hops int) *stanza.Element {
	return stanza.New(nsBridge, "bridged", stanza.Attr{Local: "hops", Value: strconv.Itoa(hops + 1)})
}

// hopsOf reads the mark of a stanza that came. One that nobody can read counts as the
// last allowed: a loop that garbles marks must end.
func hopsOf(e *stanza.Element) int {
	mark := e.Child(nsBridge, "bridged")
	if mark == nil {
		return 0
	}
	n, err := strconv.ParseUint(mark.Attr("hops"), 10, 8)
	if err != nil {
		return bridges.MaxHops
	}
	return int(n)
}

// notDelivered is told of an error that came after the answer. Who asked for it is
// notified, and in any case the log knows.
func (g *gateway) notDelivered(p *sending, why *stanza.Error) {
	g.journal.fail("after it was accepted", "from", p.pair.ours, "to", p.pair.theirs, "id", p.id, "condition", why.Condition, "text", why.Text)
	g.receiptFailed(p.pair, p.id, why)
}

package xmpp

import (
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const (
	keepReceipts = 7 * 24 * time.Hour
	maxReceipts  = 32_768 // each way
)

// receipts are the messages whose senders want to hear what became of them
// (RFC 5438, XEP-0184, XEP-0333). An answer of a server is no receipt: only the
// other end's word is.
type receipts struct {
	ours   *memory[receiptKey, *asked] // by the stanza's id
	theirs *memory[receiptKey, *due]   // by the Message-ID of the IMDN
}

// A receiptKey is a message between two: ids of others mean nothing, so that nobody
// can report on what he never got.
type receiptKey struct {
	pair ends
	id   string
}

// An asked is a message of one of our users.
type asked struct {
	ours, theirs string // URIs
	messageID    string // of IMDN
	routes       []string
	wants        body.Fates
	date         time.Time
	hops         int
	told         body.Fates // memory's lock guards it
}

// A due is a message from outside.
type due struct {
	id       string      // of the stanza
	to, from address.JID // whoever wants to know, and whom he wrote to
	wants    body.Fates
	told     body.Fates // memory's lock guards it
}

func newReceipts() *receipts {
	return &receipts{
		ours:   newMemory[receiptKey, *asked](maxReceipts, keepReceipts),
		theirs: newMemory[receiptKey, *due](maxReceipts, keepReceipts),
	}
}

// askForReceipt asks for what one of our users wants to know of his message.
func (g *gateway) askForReceipt(c *content, w *outward, written *writing) {
	wrapper := written.cpim
	if wrapper == nil || wrapper.MessageID == "" || wrapper.Notify == 0 {
		return
	}
	a := &asked{
		ours: w.fromURI, theirs: w.toURI, messageID: wrapper.MessageID, routes: wrapper.RecordRoute,
		wants: wrapper.Notify, date: written.date, hops: w.hops,
	}
	if a.date.IsZero() {
		a.date = time.Now()
	}
	g.receipts.ours.put(receiptKey{w.pair, c.ID}, a)
	c.WantsReceipt = a.wants&body.Delivered != 0
	c.Markable = a.wants&body.Displayed != 0
}

// once notes that something is told of a message, and reports whether it may be: if
// it was asked for, and not told before (RFC 5438 §7.2.1).
func once[T any](m *memory[receiptKey, T], key receiptKey, state func(T) (wants body.Fates, told *body.Fates), what body.Fates) (value T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if value, ok = m.find(key); !ok {
		return value, false
	}
	wants, told := state(value)
	// "delivered" and "failed" are the two ends of the same thing.
	both := what
	if what == body.Failed {
		both |= body.Delivered
	}
	if *told&both != 0 || what == body.Delivered && *told&body.Failed != 0 {
		return value, false
	}
	*told |= what
	return value, wants&what != 0
}

func (a *asked) state() (body.Fates, *body.Fates) { return a.wants, &a.told }
func (d *due) state() (body.Fates, *body.Fates)   { return d.wants, &d.told }

// reportsFromXMPP passes on what somebody outside says of messages of our user. It
// reports whether there was anything, ours or not.
func (g *gateway) reportsFromXMPP(w *inward, c *content) (found bool) {
	if c.Received != "" {
		g.reportToSIP(w, c.Received, body.Delivered)
	}
	if c.Displayed != "" {
		g.reportToSIP(w, c.Displayed, body.Displayed)
	}
	return c.Received != "" || c.Displayed != ""
}

// reportToSIP sends an IMDN, if our user wanted it and has not had it.
func (g *gateway) reportToSIP(w *inward, id string, what body.Fates) {
	a, ok := once(g.receipts.ours, receiptKey{w.pair, id}, (*asked).state, what)
	if !ok {
		return
	}
	n := body.IMDN{Kind: "delivery", Status: "delivered"}
	if what == body.Displayed {
		n = body.IMDN{Kind: "display", Status: "displayed"}
	}
	g.sendIMDN(a, n, w.proof, w.hops)
}

// receiptFailed tells our user that his message was not delivered, if he wanted to
// know. It reports whether the message is one of those about which somebody did.
func (g *gateway) receiptFailed(who ends, id string, why *stanza.Error) bool {
	key := receiptKey{who, id}
	if _, ok := g.receipts.ours.get(key); !ok {
		return false
	}
	if a, ok := once(g.receipts.ours, key, (*asked).state, body.Failed); ok {
		g.sendIMDN(a, body.IMDN{Kind: "delivery", Status: failureStatus(why)}, ownWord, a.hops)
	}
	return true
}

// sendIMDN tells one of our users what became of his message (RFC 5438 §7.2.1). No
// answer to it leads to anything.
func (g *gateway) sendIMDN(a *asked, n body.IMDN, proof bridges.Proof, hops int) {
	n.MessageID, n.DateTime, n.Recipient, n.Original = a.messageID, a.date, a.theirs, a.theirs
	wrapped := body.CPIM{
		From: body.Party{URI: a.theirs}, To: []body.Party{{URI: a.ours}}, DateTime: time.Now(),
		MessageID: g.ids.next(), Route: a.routes,
		ContentType: body.TypeIMDN, Disposition: "notification", Body: n.Append(nil),
	}
	r := &bridges.Request{
		Method: "MESSAGE", URI: a.ours, From: bridges.Party{URI: a.theirs}, To: bridges.Party{URI: a.ours},
		ContentType: body.TypeCPIM, Body: wrapped.Append(nil), Proof: proof, Hops: hops,
	}
	if len(a.routes) > 0 {
		r.URI = a.routes[0] // RFC 5438 §7.2.1; the edge lets it go to our own domains alone
	}
	g.sip.Do(r, func(resp *bridges.Response, _ *bridges.Dialog) {
		if resp.Status >= 300 {
			g.journal.fail("notification refused", "from", a.theirs, "to", a.ours, "status", resp.Status)
		}
	})
}

// wrap wraps a letter so that our user's device reports on it.
func (g *gateway) wrap(w *inward, l *letter) []byte {
	m := body.CPIM{
		From: body.Party{URI: w.bareURI}, To: []body.Party{{URI: w.userURI}}, DateTime: l.date, MessageID: g.ids.next(),
		ContentType: body.TypePlain, Body: []byte(l.text),
	}
	if m.DateTime.IsZero() {
		m.DateTime = w.arrived
	}
	if l.receipt {
		m.Notify |= body.Delivered | body.Failed
	}
	if l.marker {
		m.Notify |= body.Displayed
	}
	g.receipts.theirs.put(receiptKey{w.pair, m.MessageID}, &due{id: l.id, to: w.from, from: w.to.Bare(), wants: m.Notify})
	return m.Append(nil)
}

// reportFromSIP passes on what one of our users says of a message from outside.
func (g *gateway) reportFromSIP(w *outward, n *body.IMDN) {
	key := receiptKey{w.pair, n.MessageID}
	what := n.Means()
	if what == 0 {
		return // that a server has it is for archives
	}
	if _, ok := g.receipts.theirs.get(key); !ok {
		g.journal.drop("report on an unknown message", "from", w.pair.ours, "to", w.pair.theirs)
		return
	}
	if d, ok := once(g.receipts.theirs, key, (*due).state, what); ok {
		g.send(d.stanza(g, w, what, n))
	}
}

// stanza makes what the other one is told.
func (d *due) stanza(g *gateway, w *outward, what body.Fates, n *body.IMDN) *stanza.Element {
	m := stanza.New(stanza.NS, "message")
	m.SetAttr("from", d.from.String())
	m.SetAttr("to", d.to.String())
	if what == body.Failed {
		m.SetAttr("id", d.id)
		m.SetAttr("type", "error")
		m.Add(failureOf(n).Element())
		return m
	}
	c := content{ID: g.ids.next()}
	if what == body.Delivered {
		c.Received = d.id
	} else {
		c.Type, c.Displayed = "chat", d.id
	}
	c.appendTo(m)
	m.Add(markOf(w.hops))
	return m
}

// askWhat asks what a user's device understands (RFC 3261 §11), once a day. A message
// with a wrapper around it would be shown as it stands by devices that look at no
// Content-Type, so nobody gets one who has not said that he knows it.
func (g *gateway) askWhat(w *inward) {
	g.traits.asked(w.pair.ours)
	r := w.request("OPTIONS")
	r.Fields = bridges.Fields{{Name: "Accept", Value: "application/sdp"}}
	g.sip.Do(r, func(resp *bridges.Response, _ *bridges.Dialog) {
		if resp.Status < 300 && accepts(resp.Fields.Get("Accept"), body.TypeCPIM) {
			g.traits.wrapper(w.pair.ours, true)
		}
	})
}

package xmpp

import (
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// stanza takes a presence stanza of the network. from and to are those of a stream:
// the domain of from is proved by proof, that of to is ours.
func (p *presence) stanza(e *stanza.Element, proof bridges.Proof) {
	arrived := time.Now()
	from, err := address.Parse(e.Attr("from"))
	if err != nil {
		p.journal.drop("presence of a malformed address", "from", clip(e.Attr("from"), 256), "err", err)
		return
	}
	to, err := address.Parse(e.Attr("to"))
	if err != nil {
		p.loop.offer(func() { p.bounce(e, rosterKey{}, arrived, err.(*address.Error).Condition) })
		return
	}
	if !p.loop.offer(func() { p.taken(e, from, to, proof, arrived) }) {
		p.journal.drop("too much presence waits", "from", e.Attr("from"), "to", e.Attr("to"), "type", e.Attr("type"))
	}
}

// A taking is whose stanza is being handled, in case that it makes us panic.
type taking struct {
	domain string
	proof  bridges.Proof
}

// taken is stanza on the loop.
func (p *presence) taken(e *stanza.Element, from, to address.JID, proof bridges.Proof, arrived time.Time) {
	p.taking = taking{from.Domainpart(), proof}
	p.take(e, from, to, proof, arrived)
	p.taking = taking{}
}

// take takes a stanza.
func (p *presence) take(e *stanza.Element, from, to address.JID, proof bridges.Proof, arrived time.Time) {
	kind := e.Attr("type")
	if theirs := from.Bare().String(); p.theirs[theirs] > 0 {
		p.sawVisitor(visitorKey{theirs, to.Domainpart()}, kind)
	}
	if to.Localpart() == "" {
		// The domain itself has no presence: what comes answers our probes.
		if kind == "subscribe" {
			p.send(presenceStanza("unsubscribed", to.String(), from.Bare().String()))
		}
		return
	}
	key := rosterKey{to.Bare().String(), from.Bare().String()}
	if c := p.contactOf(p.relations[key]); c != nil {
		c.proof = proof
	}
	switch kind {
	case "subscribe":
		p.wantsToWatch(e, key, proof, arrived)
	case "unsubscribe":
		p.stopsWatching(key, proof)
	case "probe":
		p.probed(key, from, to, e.Attr("id"), proof)
	case "subscribed":
		p.granted(key)
	case "unsubscribed":
		p.denied(key)
	case "", "unavailable":
		p.heard(key, from, pidf.FromStanza(e, from.Resourcepart()), proof)
	case "error":
		p.errored(key, stanza.ErrorOf(e))
	default:
		p.bounce(e, key, arrived, "bad-request")
	}
}

// bounce answers a stanza with an error. Only those that ask for something have
// one: an error to a probe or to presence would tell strangers who exists.
func (p *presence) bounce(e *stanza.Element, key rosterKey, arrived time.Time, condition string) {
	switch e.Attr("type") {
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed":
	default:
		p.journal.drop("presence of no use", "from", clip(e.Attr("from"), 256), "to", clip(e.Attr("to"), 256), "type", clip(e.Attr("type"), 64), "condition", condition)
		return
	}
	p.stat.Refused++
	b := stanza.Bounce(e, &stanza.Error{Condition: condition})
	switch {
	case b == nil:
	case key == rosterKey{}: // no address: that says nothing of who exists
		p.send(b)
	default:
		p.refuse(key, arrived, b)
	}
}

// refuse answers somebody who asked to watch our user and may not. He is a stranger,
// so the answer comes at a moment that does not tell whether the user exists: our home
// servers take a while to say so, and what we know ourselves takes none.
func (p *presence) refuse(key rosterKey, arrived time.Time, answers ...*stanza.Element) {
	p.after(func() {
		if !p.later(arrived, func() { p.loop.post(func() { p.refused(key, answers) }) }) {
			p.journal.drop("too many refusals wait", "from", key.theirs, "to", key.ours)
		}
	})
}

// refused says so, unless he has asked again meanwhile and that is not answered, or was
// by yes.
func (p *presence) refused(key rosterKey, answers []*stanza.Element) {
	if r := p.relations[key]; r != nil && r.watch != nil {
		return
	}
	for _, e := range answers {
		p.send(e)
	}
}

// presenceStanza makes a presence stanza; kind is its type.
func presenceStanza(kind, from, to string) *stanza.Element {
	e := stanza.New(stanza.NS, "presence",
		stanza.Attr{Local: "from", Value: from}, stanza.Attr{Local: "to", Value: to})
	e.SetAttr("type", kind)
	return e
}

// presenceError makes a presence error from our user to somebody who asked; id is
// that of his request.
func presenceError(key rosterKey, id string, err *stanza.Error) *stanza.Element {
	e := presenceStanza("error", key.ours, key.theirs)
	e.SetAttr("id", id)
	e.Add(err.Element())
	return e
}

// newProbe makes a probe (RFC 6121 §4.3.1).
func (p *presence) newProbe(from, to string) *stanza.Element {
	e := presenceStanza("probe", from, to)
	e.SetAttr("id", p.newID("p"))
	return e
}

// newID makes an id of a stanza.
func (p *presence) newID(kind string) string {
	p.probes++
	return kind + strconv.FormatUint(p.probes, 36) + "-" + strings.ToLower(randomText(8))
}

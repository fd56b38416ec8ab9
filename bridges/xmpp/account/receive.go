package account

import (
	"io"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/bridges/xmpp/address"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const (
	nsPing   = "urn:xmpp:ping"
	nsInfo   = "http://jabber.org/protocol/disco#info"
	nsRoster = "jabber:iq:roster"
	nsDelay  = "urn:xmpp:delay"
	rosterID = "roster"
)

// notAsked are the namespaces of what a server sends only to who has asked for it,
// as we never do: copies of other sessions' messages and archives. Whoever else
// sends it forges (CVE-2017-5589).
var notAsked = []string{"urn:xmpp:carbons:2", "urn:xmpp:mam:2", "urn:xmpp:forward:0", "urn:xmpp:sid:0"}

// A receiver reads one stream of a session.
type receiver struct {
	session *Session
	stream  *stream
	bare    address.JID
	full    string
}

// read reads until the stream ends.
func (r *receiver) read() error {
	for {
		e, err := r.stream.next()
		silent := err != nil && late(err)
		if err != nil && !silent {
			r.stream.complain(err)
			if err == io.EOF {
				return &Refusal{What: "stream", Condition: "closed"}
			}
			return err
		}
		ping, ok := r.session.alive(silent)
		if !ok {
			return &Refusal{What: "stream", Condition: "connection-timeout"}
		}
		if ping != nil {
			if err := r.stream.write(ping); err != nil {
				return err
			}
		}
		if e == nil || e.Space != stanza.NS {
			continue // what is no stanza is about things that we have not begun
		}
		if err := r.take(e); err != nil {
			return err
		}
	}
}

// take takes a stanza.
func (r *receiver) take(e *stanza.Element) error {
	if e.Attr("from") == "" {
		e.SetAttr("from", r.bare.String()) // RFC 6120 §8.1.2.1
	}
	if e.Attr("to") == "" {
		e.SetAttr("to", r.full)
	}
	switch e.Local {
	case "message", "presence":
		r.clean(e)
		r.session.handler.Stanza(e)
	case "iq":
		answer := r.iq(e)
		if answer == nil {
			return nil
		}
		answer.SetAttr("from", "") // the server knows better
		return r.stream.write(answer)
	}
	return nil
}

// clean takes away what must not come from just anybody.
func (r *receiver) clean(e *stanza.Element) {
	e.Children = slices.DeleteFunc(e.Children, func(c *stanza.Element) bool {
		if c.Space == nsDelay {
			from := c.Attr("from")
			return from != r.bare.Domainpart() && from != r.bare.String()
		}
		return slices.Contains(notAsked, c.Space)
	})
}

// iq takes a question or an answer, and returns what to say to it.
func (r *receiver) iq(e *stanza.Element) *stanza.Element {
	switch t := e.Attr("type"); t {
	case "result", "error":
		if !r.session.pong(e.Attr("id")) && t == "result" && e.Attr("id") == rosterID && r.ours(e) {
			r.session.handler.Stanza(e)
		}
		return nil
	case "set":
		if e.Child(nsRoster, "query") != nil && r.ours(e) {
			r.session.handler.Stanza(e)
			return result(e)
		}
	case "get":
		if e.Child(nsPing, "ping") != nil {
			return result(e)
		}
		if q := e.Child(nsInfo, "query"); q != nil && q.Attr("node") == "" {
			answer := result(e)
			info := answer.Add(stanza.New(nsInfo, "query"))
			info.Add(stanza.New(nsInfo, "identity", attr("category", "client"), attr("type", "bot"), attr("name", "sipedge")))
			for _, f := range append([]string{nsInfo, nsPing}, r.session.conf.Features...) {
				info.Add(stanza.New(nsInfo, "feature", attr("var", f)))
			}
			return answer
		}
	}
	return stanza.Bounce(e, &stanza.Error{Condition: "service-unavailable"})
}

// ours reports whether our own server speaks for our own account (RFC 6121 §2.1.6).
func (r *receiver) ours(e *stanza.Element) bool {
	from, err := address.Parse(e.Attr("from"))
	return err == nil && (from == r.bare || strings.EqualFold(from.String(), r.full))
}

// result is the answer to an iq.
func result(e *stanza.Element) *stanza.Element {
	return stanza.New(stanza.NS, "iq", attr("type", "result"), attr("to", e.Attr("from")), attr("id", e.Attr("id")))
}

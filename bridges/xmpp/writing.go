package xmpp

import (
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A writing is what a MESSAGE of one of our users says.
type writing struct {
	texts     []body.Text
	subjects  []body.Text
	date      time.Time
	cpim      *body.CPIM      // its wrapper, nil if it has none
	composing *body.Composing // he types, or does not any more
	report    *body.IMDN      // what became of a message of the other one
}

// readWriting reads the body and the fields of a MESSAGE; refusal, if it has a
// Status, is the answer to one that cannot cross.
func (g *gateway) readWriting(r *bridges.Request, w *outward) (c *writing, refusal bridges.Response) {
	if coding := r.Fields.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, bridges.Response{Status: 415, Fields: bridges.Fields{{Name: "Accept-Encoding", Value: "identity"}}}
	}
	p, err := body.Read(r.ContentType, r.Fields.Get("Content-Language"), r.Body)
	if err != nil {
		return nil, refusalOf(err)
	}
	c = &writing{texts: p.Texts, composing: p.Composing, report: p.IMDN, cpim: p.CPIM}
	if p.CPIM != nil {
		g.traits.wrapper(w.pair.ours, true)
		if !g.wrapperFits(p.CPIM, w) {
			return nil, bridges.Response{Status: 403, Fields: bridges.Fields{reason("403", "the wrapper names somebody else")}}
		}
		c.subjects, c.date = p.CPIM.Subjects, p.CPIM.DateTime
	}
	if s := r.Fields.Get("Subject"); s != "" && len(c.subjects) == 0 {
		c.subjects = []body.Text{{Text: stanza.Clean(oneLine(s))}}
	}
	if s := r.Fields.Get("Date"); s != "" && c.date.IsZero() {
		c.date, _ = parseDate(s)
	}
	if c.composing == nil && c.report == nil && !c.readable() {
		return nil, bridges.Response{Status: 400, Phrase: "Nothing to read"}
	}
	return c, refusal
}

// refusalOf returns the answer to a request with a body that cannot cross.
func refusalOf(err error) bridges.Response {
	fault, ok := err.(*body.Error)
	if !ok {
		fault = body.ErrBroken
	}
	if fault.Status == 415 {
		return bridges.Response{Status: fault.Status, Fields: bridges.Fields{{Name: "Accept", Value: body.Accept}}}
	}
	return bridges.Response{Status: fault.Status, Phrase: phrase(fault.Text)}
}

// readable reports whether there is a text.
func (c *writing) readable() bool {
	for _, t := range c.texts {
		if t.Text != "" {
			return true
		}
	}
	return false
}

// wrapperFits reports whether a wrapper names whom the request names, so that nobody
// is shown as somebody else.
//
// COMPAT(RCS): sip:anonymous@anonymous.invalid names nobody.
func (g *gateway) wrapperFits(c *body.CPIM, w *outward) bool {
	if c.From.URI != "" && !isAnonymous(c.From.URI) {
		if j, err := g.addr.JID(c.From.URI); err != nil || bareOf(j) != w.pair.ours {
			return false
		}
	}
	if len(c.To) == 0 {
		return true
	}
	for _, to := range c.To {
		if isAnonymous(to.URI) {
			return true
		}
		if j, err := g.addr.JID(to.URI); err == nil && bareOf(j) == w.pair.theirs {
			return true
		}
	}
	return false
}

func isAnonymous(uri string) bool {
	return strings.HasSuffix(strings.ToLower(uri), ":anonymous@anonymous.invalid")
}

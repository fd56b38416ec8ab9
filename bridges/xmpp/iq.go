package xmpp

import (
	"sync"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// iq takes a question, or the answer to one of ours. Whatever is asked of a user of
// ours, the gateway answers in his place: his device knows no XMPP.
func (g *gateway) iq(s *s2s.Stanza) {
	switch kind := s.Attr("type"); kind {
	case "result", "error":
		if !g.queries.answered(s) {
			g.journal.drop("answer that nobody waits for", "from", s.Attr("from"), "to", s.Attr("to"), "id", s.Attr("id"))
		}
	case "get", "set":
		g.asked(s, kind)
	default:
		// RFC 6120 §8.2.3: it must have one of the four types.
		g.bounce(s, &stanza.Error{Condition: "bad-request"})
	}
}

// asked answers a question.
func (g *gateway) asked(s *s2s.Stanza, kind string) {
	from, err := address.Parse(s.Attr("from"))
	if err != nil || s.Attr("id") == "" || len(s.Children) != 1 {
		g.bounce(s, &stanza.Error{Condition: "bad-request"})
		return
	}
	to, err := address.Parse(s.Attr("to"))
	if err != nil {
		g.bounce(s, errorOfAddress(faultOf(err)))
		return
	}
	q := question{s: s, set: kind == "set", body: s.Children[0], from: from, to: to}
	if reply, fault := g.answerTo(&q); fault != nil {
		g.bounce(s, fault)
	} else {
		g.send(resultOf(s, reply))
	}
}

// A question is an iq of type get or set.
type question struct {
	s        *s2s.Stanza
	set      bool
	body     *stanza.Element
	from, to address.JID
}

// notAvailable is the answer to all that we do not know, and to what somebody may not
// know (RFC 6120 §8.2.3, RFC 6121 §8.5.1).
var notAvailable = &stanza.Error{Condition: "service-unavailable"}

// answerTo returns what the result of a question carries, nil for one that carries
// nothing.
func (g *gateway) answerTo(q *question) (reply *stanza.Element, fault *stanza.Error) {
	switch b := q.body; {
	case b.Is(nsGateway, "query"):
		return g.promptFor(q)
	case q.set:
		return nil, notAvailable
	case b.Is(nsPing, "ping"):
		return nil, nil // XEP-0199 §4.1
	case b.Is(nsInfo, "query"):
		return g.infoFor(q)
	case b.Is(nsItems, "query"):
		return g.itemsFor(q)
	case b.Is(nsVersion, "query"):
		v := stanza.New(nsVersion, "query")
		v.AddText(nsVersion, "name", "sipedge")
		v.AddText(nsVersion, "version", g.set.software)
		return v, nil
	case b.Is(nsTime, "time"):
		t := stanza.New(nsTime, "time") // of the gateway; where its users are is their business
		t.AddText(nsTime, "tzo", "Z")
		t.AddText(nsTime, "utc", stanza.Stamp(time.Now()))
		return t, nil
	}
	return nil, notAvailable
}

// resultOf makes the result of a question.
func resultOf(s *s2s.Stanza, reply *stanza.Element) *stanza.Element {
	e := stanza.New(stanza.NS, "iq", stanza.Attr{Local: "type", Value: "result"})
	e.SetAttr("id", s.Attr("id"))
	e.SetAttr("from", s.Attr("to"))
	e.SetAttr("to", s.Attr("from"))
	if reply != nil {
		e.Add(reply)
	}
	return e
}

// promptFor tells people how to write to users of ours: they type the SIP address, and
// get the JID (XEP-0100 §5.2).
func (g *gateway) promptFor(q *question) (*stanza.Element, *stanza.Error) {
	if q.to.Localpart() != "" || !g.set.served[q.to.Domainpart()] {
		return nil, notAvailable
	}
	reply := stanza.New(nsGateway, "query")
	if !q.set {
		reply.AddText(nsGateway, "desc", "The SIP address of the person that you want to write to, such as alice@"+g.set.host)
		reply.AddText(nsGateway, "prompt", "SIP address")
		return reply, nil
	}
	prompt := q.body.Child(nsGateway, "prompt")
	if prompt == nil {
		return nil, &stanza.Error{Condition: "bad-request"}
	}
	j, err := g.addr.JID(asURI(prompt.Text))
	if err != nil {
		return nil, errorOfAddress(faultOf(err))
	}
	if !g.set.served[j.Domainpart()] {
		return nil, &stanza.Error{Condition: "item-not-found", Text: "this gateway knows no such domain"}
	}
	reply.AddText(nsGateway, "jid", j.Bare().String())
	return reply, nil
}

// Bounds of our own questions.
const (
	maxQueries = 1024
	maxOfOne   = maxQueries / 8 // to one foreign domain, which may answer none
	queryTime  = 20 * time.Second
)

// queries are our own questions that were not answered.
type queries struct {
	g       *gateway
	mu      sync.Mutex // guards what follows
	by      map[string]*query
	domains map[string]int // how many to each domain
}

// A query is one of them.
type query struct {
	all   *queries
	timer timer
	id    string
	to    string
	done  func(answer *stanza.Element) // nil: there was none
}

func newQueries(g *gateway) *queries {
	return &queries{g: g, by: make(map[string]*query), domains: make(map[string]int)}
}

// ask asks somebody outside. done is called once: with the result or error, or with nil if
// none came. false: too much is open already, and done is never called.
func (l *queries) ask(from, to string, body *stanza.Element, done func(answer *stanza.Element)) bool {
	q := &query{all: l, id: l.g.ids.next(), to: to, done: done}
	domain := stanza.Domain(to)
	l.mu.Lock()
	if len(l.by) >= maxQueries || l.domains[domain] >= maxOfOne {
		l.mu.Unlock()
		return false
	}
	l.by[q.id] = q
	l.domains[domain]++
	l.mu.Unlock()
	l.g.clock.start(&q.timer, queryTime, q)
	e := stanza.New(stanza.NS, "iq", stanza.Attr{Local: "type", Value: "get"})
	e.SetAttr("id", q.id)
	e.SetAttr("from", from)
	e.SetAttr("to", to)
	e.Add(body)
	l.g.xmpp.Send(e, func(o s2s.Outcome) {
		if o.Err != nil {
			q.end(nil)
		}
	})
	return true
}

// answered takes an answer; false: nobody waits for it. It counts only if it comes from
// whom was asked.
func (l *queries) answered(s *s2s.Stanza) bool {
	l.mu.Lock()
	q := l.by[s.Attr("id")]
	l.mu.Unlock()
	if q == nil {
		return false
	}
	from, err := address.Parse(s.Attr("from"))
	if err != nil || from.String() != q.to {
		return false
	}
	q.end(s.Element)
	return true
}

func (q *query) expired() { q.end(nil) }

// end ends the question; the first end counts.
func (q *query) end(answer *stanza.Element) {
	l := q.all
	l.mu.Lock()
	open := l.by[q.id] == q
	if delete(l.by, q.id); open {
		less(l.domains, stanza.Domain(q.to))
	}
	l.mu.Unlock()
	if open {
		l.g.clock.stop(&q.timer)
		q.done(answer)
	}
}

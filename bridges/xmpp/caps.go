package xmpp

import (
	"slices"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const (
	maxCaps  = 8192
	keepCaps = 30 * 24 * time.Hour
	// maxCapsFeatures bounds what is looked at of an answer.
	maxCapsFeatures = 512
)

// capsCache knows what the clients of people outside understand (XEP-0115): a presence
// names a hash, and one question answers for all who have the same client.
type capsCache struct {
	g     *gateway
	known *memory[string, capsEntry] // by the hash
}

// A capsEntry is what a hash stands for; not valid while that is asked.
type capsEntry struct {
	valid bool
	peer  peer
}

func newCapsCache(g *gateway) *capsCache {
	return &capsCache{g: g, known: newMemory[string, capsEntry](maxCaps, keepCaps)}
}

// see looks at a presence. Nobody is asked but who has said something to us, and one
// hash is asked about once at a time.
func (l *capsCache) see(s *s2s.Stanza) {
	c := s.Child(nsCaps, "c")
	if c == nil || s.Attr("type") != "" || c.Attr("hash") != "sha-1" {
		return
	}
	ver, node := c.Attr("ver"), c.Attr("node")
	from, err := address.Parse(s.Attr("from"))
	if err != nil || ver == "" || len(ver) > 64 || len(node) > 512 {
		return
	}
	to, err := address.Parse(s.Attr("to"))
	if err != nil {
		return
	}
	theirs := bareOf(from)
	if !l.g.contacts.haveMet(ends{bareOf(to), theirs}) {
		return // who asks strangers at their word asks whatever they make up
	}
	if e, ok := l.known.get(ver); ok {
		l.g.traits.offers(theirs, e.peer)
		return
	}
	if !l.known.add(ver, capsEntry{}) {
		return
	}
	body := stanza.New(nsInfo, "query", stanza.Attr{Local: "node", Value: node + "#" + ver})
	ok := l.g.queries.ask(to.Bare().String(), from.String(), body, func(answer *stanza.Element) { l.learn(theirs, ver, answer) })
	if !ok {
		l.known.forget(ver)
	}
}

// learn takes the answer, if it has the hash that was said: else somebody could say
// for all others what their client understands (XEP-0115 §5.4).
func (l *capsCache) learn(theirs, ver string, answer *stanza.Element) {
	if answer == nil || answer.Attr("type") != "result" {
		l.known.forget(ver)
		return
	}
	query := answer.Child(nsInfo, "query")
	if query == nil {
		l.known.forget(ver)
		return
	}
	p, hash, ok := readInfo(query)
	if !ok || hash != ver {
		l.known.forget(ver)
		l.g.traits.offers(theirs, p) // it is true of himself all the same
		return
	}
	l.known.put(ver, capsEntry{true, p})
	l.g.traits.offers(theirs, p)
}

// readInfo reads an answer and makes its verification string. ok is false for one that
// has none (XEP-0115 §5.4).
func readInfo(query *stanza.Element) (p peer, hash string, ok bool) {
	var identities, features, forms []string
	ok = len(query.Children) <= maxCapsFeatures
	for _, c := range query.Children {
		switch {
		case !ok:
		case c.Is(nsInfo, "identity"):
			identities = append(identities, c.Attr("category")+"/"+c.Attr("type")+"/"+c.Lang()+"/"+c.Attr("name"))
		case c.Is(nsInfo, "feature"):
			f := c.Attr("var")
			features = append(features, f)
			p = p.with(peer{f == nsChatStates, f == nsReceipts, f == nsMarkers})
		case c.Is(nsForm, "x"):
			if form := formString(c); form != "" {
				forms = append(forms, form)
			}
		}
	}
	for _, list := range [][]string{identities, features, forms} {
		slices.Sort(list)
		ok = ok && len(slices.Compact(slices.Clone(list))) == len(list)
	}
	return p, capsHash(identities, features, forms), ok
}

// nsForm is the namespace of forms (XEP-0004).
const nsForm = "jabber:x:data"

// formString makes that part of a verification string which is a form: its type,
// then its fields and their values, sorted (XEP-0115 §5.1). The last "<" is the
// caller's.
func formString(form *stanza.Element) string {
	kind := ""
	var fields []string
	for _, f := range form.Children {
		if !f.Is(nsForm, "field") {
			continue
		}
		var values []string
		for _, v := range f.Children {
			if v.Is(nsForm, "value") {
				values = append(values, v.Text)
			}
		}
		if f.Attr("var") == "FORM_TYPE" {
			if len(values) > 0 {
				kind = values[0]
			}
			continue
		}
		slices.Sort(values)
		s := f.Attr("var")
		for _, v := range values {
			s += "<" + v
		}
		fields = append(fields, s)
	}
	if kind == "" {
		return "" // XEP-0115 §5.4: without a type it does not count
	}
	slices.Sort(fields)
	for _, f := range fields {
		kind += "<" + f
	}
	return kind
}

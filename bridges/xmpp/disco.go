package xmpp

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// An entity is what service discovery says of somebody (XEP-0030).
type entity struct {
	category, kind, name string
	features             []string
}

// ourUsers are what clients are told of our users: much offers itself only to who
// says that he knows it.
var ourUsers = entity{"client", "pc", "sipedge", sorted(
	nsInfo, nsCaps, nsChatStates, nsReceipts, nsMarkers, nsPing, nsVersion, nsTime, nsOOB, nsDelay,
)}

// ourGateway is what they are told of a domain of ours.
var ourGateway = entity{"gateway", "sip", "sipedge", sorted(
	nsInfo, nsItems, nsPing, nsVersion, nsTime, nsGateway,
)}

// ourServer is a second identity of a domain that is no mere gateway: that of the server of
// our users.
var ourServer = entity{category: "server", kind: "im", name: "sipedge"}

func sorted(list ...string) []string {
	slices.Sort(list)
	return list
}

// infoFor tells what somebody of ours understands. Whether a user exists is not told
// by it.
func (g *gateway) infoFor(q *question) (*stanza.Element, *stanza.Error) {
	node := q.body.Attr("node")
	reply := stanza.New(nsInfo, "query")
	reply.SetAttr("node", node)
	if q.to.Localpart() == "" {
		if node != "" {
			return nil, &stanza.Error{Condition: "item-not-found"}
		}
		if q.to.Domainpart() != g.addr.Gateway() {
			ourServer.addIdentity(reply)
		}
		ourGateway.addTo(reply)
		return reply, nil
	}
	if node != "" && node != capsNode+"#"+ourUsers.hash() {
		return nil, &stanza.Error{Condition: "item-not-found"} // XEP-0115 §6.2
	}
	ourUsers.addTo(reply)
	return reply, nil
}

// itemsFor lists nothing: who is here is nobody's business.
func (g *gateway) itemsFor(q *question) (*stanza.Element, *stanza.Error) {
	reply := stanza.New(nsItems, "query")
	reply.SetAttr("node", q.body.Attr("node"))
	return reply, nil
}

func (e *entity) addIdentity(query *stanza.Element) {
	id := query.Add(stanza.New(nsInfo, "identity"))
	id.SetAttr("category", e.category)
	id.SetAttr("type", e.kind)
	id.SetAttr("name", e.name)
}

func (e *entity) addTo(query *stanza.Element) {
	e.addIdentity(query)
	for _, f := range e.features {
		query.Add(stanza.New(nsInfo, "feature", stanza.Attr{Local: "var", Value: f}))
	}
}

// hash returns the verification string (XEP-0115 §5.1).
func (e *entity) hash() string {
	return capsHash([]string{e.category + "/" + e.kind + "//" + e.name}, e.features, nil)
}

// capsHash makes a verification string of sorted identities, features and forms.
func capsHash(identities, features, forms []string) string {
	var b strings.Builder
	for _, list := range [][]string{identities, features, forms} {
		for _, s := range list {
			b.WriteString(s)
			b.WriteByte('<')
		}
	}
	sum := sha1.Sum([]byte(b.String())) // what XEP-0115 §5.1 asks for; it protects a cache, no more
	return base64.StdEncoding.EncodeToString(sum[:])
}

// capsNode names our software.
const capsNode = "https://github.com/sipedge/sipedge"

// ourCaps makes the element that goes into the presence of our users (XEP-0115 §4).
func ourCaps() *stanza.Element {
	c := stanza.New(nsCaps, "c")
	c.SetAttr("hash", "sha-1")
	c.SetAttr("node", capsNode)
	c.SetAttr("ver", ourUsers.hash())
	return c
}

// asURI makes a SIP URI of an address as people type it.
func asURI(s string) string {
	s = strings.TrimSpace(s)
	for _, scheme := range []string{"sip:", "sips:", "tel:", "im:", "pres:"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			return s
		}
	}
	return "sip:" + s
}

package xmpp

import (
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// An account's own server keeps its list of contacts and says who is there; between
// servers that is our work. So some of what presence says and wants to hear does not pass:
// what the server knows already is answered here, as the other side would.

const (
	maxContacts  = 5000 // of one account
	maxResources = 32   // of one contact
	nsRoster     = "jabber:iq:roster"
)

// noRule stands in for the place of an account in its file, which may move.
var noRule allowlists.Rule

// A roster is what a connector knows of contacts. Its lock is the connector's.
type roster struct {
	subs map[string]string                     // subscription of a bare JID: "to", "from", "both"
	seen map[string]map[string]*stanza.Element // who is there, by bare JID and resource
	told map[string]map[string]*stanza.Element // what contacts were told of our user, by their bare JID and his device
}

// put enters a stanza into one of the tables, within its bounds.
func put(table *map[string]map[string]*stanza.Element, who, resource string, e *stanza.Element) {
	if *table == nil {
		*table = make(map[string]map[string]*stanza.Element)
	}
	list := (*table)[who]
	if e == nil {
		if delete(list, resource); len(list) == 0 {
			delete(*table, who)
		}
		return
	}
	if list == nil {
		if len(*table) >= maxContacts {
			return
		}
		list = make(map[string]*stanza.Element)
		(*table)[who] = list
	}
	if _, ok := list[resource]; ok || len(list) < maxResources {
		list[resource] = e
	}
}

// listed takes the list of contacts, or a change of it. Who may see our user there, asks
// to see him here; who may not any more, takes that back.
func (c *connector) listed(e *stanza.Element) {
	query := e.Child(nsRoster, "query")
	if query == nil {
		return
	}
	for _, item := range query.Children {
		if !item.Is(nsRoster, "item") {
			continue
		}
		who, err := address.Parse(item.Attr("jid"))
		if err != nil || who.Localpart() == "" {
			continue
		}
		was, is := c.subscribed(bareOf(who), item.Attr("subscription"))
		switch {
		case sees(is) && !sees(was):
			c.says("subscribe", who)
		case sees(was) && !sees(is):
			c.says("unsubscribe", who)
		}
	}
}

// subscribed notes a subscription.
func (c *connector) subscribed(who, sub string) (was, is string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.roster.subs == nil {
		c.roster.subs = make(map[string]string)
	}
	was = c.roster.subs[who]
	switch sub {
	case "to", "from", "both":
		if was != "" || len(c.roster.subs) < maxContacts {
			c.roster.subs[who] = sub
			return was, sub
		}
	default:
		delete(c.roster.subs, who)
	}
	return was, ""
}

// sees reports whether a contact with this subscription may see our user, and seen
// whether our user may see him.
func sees(sub string) bool { return sub == "from" || sub == "both" }
func seen(sub string) bool { return sub == "to" || sub == "both" }

// says lets a contact say something that his server has said by other means.
func (c *connector) says(kind string, who address.JID) {
	p := stanza.New(stanza.NS, "presence", stanza.Attr{Local: "type", Value: kind})
	p.SetAttr("from", who.Bare().String())
	p.SetAttr("to", c.user)
	c.deliver(p)
}

// saw notes who is there.
func (c *connector) saw(from address.JID, e *stanza.Element) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Attr("type") {
	case "":
		put(&c.roster.seen, bareOf(from), from.Resourcepart(), e)
	case "unavailable":
		put(&c.roster.seen, bareOf(from), from.Resourcepart(), nil)
	}
}

// forget forgets who is there and who was told, since the session is over, and returns
// who was there.
func (r *roster) forget() (gone map[string]map[string]*stanza.Element) {
	gone, r.seen, r.told = r.seen, nil, nil
	return gone
}

// lost says of all who were there that nobody knows any more.
func (c *connector) lost(gone map[string]map[string]*stanza.Element) {
	defer c.g.guard()
	for _, list := range gone {
		for _, e := range list {
			p := stanza.New(stanza.NS, "presence", stanza.Attr{Local: "type", Value: "unavailable"})
			p.SetAttr("from", e.Attr("from"))
			p.SetAttr("to", c.user)
			c.deliver(p)
		}
	}
}

// passes reports whether a presence of our user's goes on to the account's server. What
// the server has settled already is answered in the contact's place.
func (c *connector) passes(e *stanza.Element, device string) bool {
	who, err := address.Parse(e.Attr("to"))
	if err != nil {
		return false
	}
	bare := bareOf(who)
	c.mu.Lock()
	sub := c.roster.subs[bare]
	c.mu.Unlock()
	switch e.Attr("type") {
	case "subscribe":
		if seen(sub) {
			c.says("subscribed", who)
			return false
		}
	case "subscribed":
		return !sees(sub)
	case "probe": // a client sends none (RFC 6121 §4.3)
		c.mu.Lock()
		var list []*stanza.Element
		for _, p := range c.roster.seen[bare] {
			list = append(list, p)
		}
		c.mu.Unlock()
		for _, p := range list {
			c.deliver(p)
		}
		return false
	case "", "unavailable":
		return c.tells(bare, device, e)
	}
	return true
}

// stanzaDevice returns the device that a stanza of ours is from.
func stanzaDevice(e *stanza.Element) string {
	_, device, _ := strings.Cut(e.Attr("from"), "/")
	return device
}

// tells makes one presence of those of all our user's devices, since the session is a
// single one to his contacts: the most willing of them. false: it says nothing new.
func (c *connector) tells(who, device string, e *stanza.Element) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := best(c.roster.told[who])
	if e.Attr("type") == "" {
		put(&c.roster.told, who, device, &stanza.Element{Children: e.Children, Attrs: e.Attrs})
	} else {
		put(&c.roster.told, who, device, nil)
	}
	now := best(c.roster.told[who])
	if now == nil {
		e.SetAttr("type", "unavailable")
		return before != nil
	}
	e.SetAttr("type", "")
	e.Children = now.Children
	return before == nil || !same(before, now)
}

// best returns the presence of the device that is most willing to talk.
func best(list map[string]*stanza.Element) (found *stanza.Element) {
	rank := func(e *stanza.Element) int {
		switch childText(e, stanza.NS, "show") {
		case "chat":
			return 5
		case "":
			return 4
		case "away":
			return 3
		case "dnd":
			return 2
		}
		return 1
	}
	device := ""
	for d, e := range list {
		if found == nil || rank(e) > rank(found) || rank(e) == rank(found) && d < device {
			found, device = e, d
		}
	}
	return found
}

// same reports whether two presences say the same to people.
func same(a, b *stanza.Element) bool {
	for _, name := range []string{"show", "status", "priority"} {
		if childText(a, stanza.NS, name) != childText(b, stanza.NS, name) {
			return false
		}
	}
	return true
}

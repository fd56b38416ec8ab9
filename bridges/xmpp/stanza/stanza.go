// Package stanza is XML as XMPP knows it (RFC 6120 §11): a strict reader of one
// stream's elements, the few kinds of stanzas, and a writer.
//
// What is read becomes Elements, and what is written is built from Elements: raw
// octets never pass from one side to the other.
package stanza

import "strings"

// Namespaces of streams and stanzas.
const (
	// NS is the namespace of stanzas in this model, whichever of jabber:server and
	// jabber:client the stream has.
	NS       = "jabber:server"
	NSClient = "jabber:client"
	NSErrors = "urn:ietf:params:xml:ns:xmpp-stanzas"

	NSStreams  = "http://etherx.jabber.org/streams"
	NSDialback = "jabber:server:dialback"
)

// An Attr is an attribute. Space is its namespace: "" for most, "xml" for xml:lang.
type Attr struct{ Space, Local, Value string }

// An Element is one XML element with resolved namespaces. Text is its character
// data, all together; what stands between children is of no importance to XMPP.
type Element struct {
	Space, Local string
	Attrs        []Attr
	Text         string
	Children     []*Element
}

// New makes an element.
func New(space, local string, attrs ...Attr) *Element {
	return &Element{Space: space, Local: local, Attrs: attrs}
}

// Attr returns an attribute without namespace, "" if there is none.
func (e *Element) Attr(local string) string { return e.attr("", local) }

// Lang returns xml:lang, "" if there is none.
func (e *Element) Lang() string { return e.attr("xml", "lang") }

func (e *Element) attr(space, local string) string {
	for _, a := range e.Attrs {
		if a.Space == space && a.Local == local {
			return a.Value
		}
	}
	return ""
}

// SetAttr sets an attribute without namespace; "" takes it away.
func (e *Element) SetAttr(local, value string) { e.set("", local, value) }

// SetLang sets xml:lang; "" takes it away.
func (e *Element) SetLang(value string) { e.set("xml", "lang", value) }

func (e *Element) set(space, local, value string) {
	for i, a := range e.Attrs {
		if a.Space != space || a.Local != local {
			continue
		}
		if value == "" {
			e.Attrs = append(e.Attrs[:i:i], e.Attrs[i+1:]...)
		} else {
			e.Attrs[i].Value = value
		}
		return
	}
	if value != "" {
		e.Attrs = append(e.Attrs, Attr{space, local, value})
	}
}

// Child returns the first child of a name, nil if there is none.
func (e *Element) Child(space, local string) *Element {
	for _, c := range e.Children {
		if c.Space == space && c.Local == local {
			return c
		}
	}
	return nil
}

// Add appends a child and returns it.
func (e *Element) Add(c *Element) *Element {
	e.Children = append(e.Children, c)
	return c
}

// AddText appends a child with text and returns it.
func (e *Element) AddText(space, local, text string) *Element {
	return e.Add(&Element{Space: space, Local: local, Text: text})
}

// Is reports whether the element has this name.
func (e *Element) Is(space, local string) bool { return e.Space == space && e.Local == local }

// IsStanza reports whether the element is a message, presence or iq.
func (e *Element) IsStanza() bool {
	return e.Space == NS && (e.Local == "message" || e.Local == "presence" || e.Local == "iq")
}

// Domain returns the domain of a JID as it is written, without checking it.
func Domain(jid string) string {
	if i := strings.IndexByte(jid, '/'); i >= 0 {
		jid = jid[:i]
	}
	if i := strings.LastIndexByte(jid, '@'); i >= 0 {
		jid = jid[i+1:]
	}
	return jid
}

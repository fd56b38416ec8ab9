package xmpp

import (
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
)

// Namespaces of what messages carry.
const (
	nsDelay      = "urn:xmpp:delay"                        // XEP-0203
	nsReceipts   = "urn:xmpp:receipts"                     // XEP-0184
	nsMarkers    = "urn:xmpp:chat-markers:0"               // XEP-0333
	nsChatStates = "http://jabber.org/protocol/chatstates" // XEP-0085
	nsCorrect    = "urn:xmpp:message-correct:0"            // XEP-0308
	nsRetract    = "urn:xmpp:message-retract:1"            // XEP-0424
	nsRetractOld = "urn:xmpp:message-retract:0"
	nsFasten     = "urn:xmpp:fasten:0"                   // XEP-0422, around nsRetractOld
	nsReactions  = "urn:xmpp:reactions:0"                // XEP-0444
	nsOOB        = "jabber:x:oob"                        // XEP-0066
	nsSharing    = "urn:xmpp:sfs:0"                      // XEP-0447
	nsURLData    = "http://jabber.org/protocol/url-data" // XEP-0103
	nsHints      = "urn:xmpp:hints"                      // XEP-0334
	nsEncryption = "urn:xmpp:eme:0"                      // XEP-0380
)

// maxLinks bounds the addresses of files that are taken out of one message.
const maxLinks = 8

// A content is what a message says, apart from who says it to whom. What is not in it does
// not cross.
type content struct {
	ID   string
	Type string // "chat", "headline", "groupchat", "error"; "" is normal
	Lang string // of the message as a whole

	Bodies   []body.Text // one for each language, "" is that of the message
	Subjects []body.Text
	Thread   string
	Parent   string // thread that Thread grew out of

	Sent    time.Time // when it was sent, if it was held up on the way; else zero
	Delayer string    // who held it up, as a JID

	Encrypted string // name of what only the recipient's own client can read; "" is none
	Replaces  string // id of the message that this corrects
	Retracts  string // id of the message that is withdrawn
	Reaction  bool   // a reaction to a message
	Links     []link // files to fetch

	WantsReceipt bool   // XEP-0184: tell when it has arrived
	Markable     bool   // XEP-0333: tell when it was read
	Received     string // id of a message that has arrived
	Displayed    string // id of a message that was read
	State        string // XEP-0085: "active", "composing", "paused", "inactive", "gone"
	Hints        hints
}

// A link is the address of a file.
type link struct{ URL, Description string }

// hints say how a message may be kept (XEP-0334).
type hints uint8

const (
	hintNoPermanentStore hints = 1 << iota
	hintNoStore
	hintNoCopy
	hintStore
)

var hintNames = []struct {
	bit  hints
	name string
}{{hintNoPermanentStore, "no-permanent-store"}, {hintNoStore, "no-store"}, {hintNoCopy, "no-copy"}, {hintStore, "store"}}

// contentOf reads a message.
func contentOf(e *stanza.Element) *content {
	c := &content{ID: e.Attr("id"), Type: e.Attr("type"), Lang: body.Language(e.Lang())}
	if len(c.ID) > maxID {
		c.ID = ""
	}
	if c.Type == "normal" {
		c.Type = ""
	}
	for _, child := range e.Children {
		switch child.Space {
		case stanza.NS:
			c.own(child)
		case nsDelay:
			c.delay(child, stanza.Domain(e.Attr("from")))
		case nsReceipts, nsMarkers:
			c.receipt(child)
		case nsChatStates:
			if isChatState(child.Local) && c.State == "" {
				c.State = child.Local
			}
		case nsHints:
			for _, h := range hintNames {
				if child.Local == h.name {
					c.Hints |= h.bit
				}
			}
		default:
			c.extension(child)
		}
	}
	if c.Encrypted == "" && len(c.Bodies) > 0 && strings.HasPrefix(c.Bodies[0].Text, "?OTR") {
		c.Encrypted = "OTR"
	}
	return c
}

// own reads what RFC 6121 §5.2 defines.
func (c *content) own(e *stanza.Element) {
	switch e.Local {
	case "body":
		c.Bodies = addText(c.Bodies, e, c.Lang)
	case "subject":
		c.Subjects = addText(c.Subjects, e, c.Lang)
	case "thread":
		if c.Thread == "" {
			c.Thread, c.Parent = strings.TrimSpace(e.Text), e.Attr("parent")
		}
	}
}

// addText adds a text, if there is none of its language yet (RFC 6121 §5.2.3). It is
// clean from here on: a reference can make a carriage return even in XML.
func addText(texts []body.Text, e *stanza.Element, own string) []body.Text {
	lang := body.Language(e.Lang())
	if strings.EqualFold(lang, own) {
		lang = ""
	}
	for _, t := range texts {
		if strings.EqualFold(t.Lang, lang) {
			return texts
		}
	}
	if len(texts) == body.MaxTexts {
		return texts
	}
	return append(texts, body.Text{Lang: lang, Text: stanza.Clean(e.Text)})
}

func (c *content) receipt(e *stanza.Element) {
	switch e.Local {
	case "request":
		c.WantsReceipt = true
	case "markable":
		c.Markable = true
	case "received":
		c.Received = e.Attr("id")
	case "displayed", "acknowledged":
		c.Displayed = e.Attr("id")
	}
}

// delay reads when a message was sent. Only the sender's own side can know: what claims to
// be of somebody else, us for one, was made up.
func (c *content) delay(e *stanza.Element, domain string) {
	by := stanza.Domain(e.Attr("from"))
	if e.Local != "delay" || !c.Sent.IsZero() || by != "" && !strings.EqualFold(by, domain) {
		return
	}
	if sent, ok := stanza.ParseStamp(e.Attr("stamp")); ok {
		c.Sent, c.Delayer = sent, e.Attr("from")
	}
}

func isChatState(s string) bool {
	switch s {
	case "active", "composing", "paused", "inactive", "gone":
		return true
	}
	return false
}

// extension reads what else is known.
func (c *content) extension(e *stanza.Element) {
	if name := encryption(e); name != "" {
		if c.Encrypted == "" || e.Space != nsEncryption {
			c.Encrypted = name
		}
		return
	}
	switch {
	case e.Is(nsCorrect, "replace"):
		c.Replaces = e.Attr("id")
	case e.Is(nsRetract, "retract"):
		c.Retracts = e.Attr("id")
	case e.Is(nsFasten, "apply-to"):
		if e.Child(nsRetractOld, "retract") != nil {
			c.Retracts = e.Attr("id")
		}
	case e.Is(nsReactions, "reactions"):
		c.Reaction = true
	case e.Is(nsOOB, "x"):
		c.link(childText(e, nsOOB, "url"), childText(e, nsOOB, "desc"))
	case e.Is(nsSharing, "file-sharing"):
		if sources := e.Child(nsSharing, "sources"); sources != nil {
			for _, s := range sources.Children {
				if s.Is(nsURLData, "url-data") {
					c.link(s.Attr("target"), "")
				}
			}
		}
	}
}

// link adds the address of a file. None but https is shown: others are for programs, or
// show everybody on the way who fetches what.
func (c *content) link(url, description string) {
	url = strings.TrimSpace(url)
	const scheme = "https://"
	if len(url) <= len(scheme) || !strings.EqualFold(url[:len(scheme)], scheme) || len(url) > 2048 || !sip.IsText(url) || strings.ContainsAny(url, " <>\"\\^`{|}") || len(c.Links) == maxLinks {
		return
	}
	for _, l := range c.Links {
		if l.URL == url {
			return
		}
	}
	c.Links = append(c.Links, link{url, strings.Join(strings.Fields(description), " ")})
}

func childText(e *stanza.Element, space, local string) string {
	if c := e.Child(space, local); c != nil {
		return c.Text
	}
	return ""
}

// encryption returns the name of the encryption that an element belongs to, "" if it is
// none. A message for another device's keys without content is none: nobody waits
// for it to be read.
func encryption(e *stanza.Element) string {
	switch {
	case e.Space == "eu.siacs.conversations.axolotl" && e.Local == "encrypted",
		strings.HasPrefix(e.Space, "urn:xmpp:omemo:") && e.Local == "encrypted":
		if e.Child(e.Space, "payload") == nil {
			return ""
		}
		return "OMEMO"
	case e.Is("urn:xmpp:openpgp:0", "openpgp"):
		return "OpenPGP"
	case e.Is("jabber:x:encrypted", "x"):
		return "legacy OpenPGP"
	case e.Is(nsEncryption, "encryption"):
		space := e.Attr("namespace")
		switch {
		case space == "eu.siacs.conversations.axolotl" || strings.HasPrefix(space, "urn:xmpp:omemo:"):
			return "OMEMO"
		case space == "urn:xmpp:openpgp:0":
			return "OpenPGP"
		case space == "jabber:x:encrypted":
			return "legacy OpenPGP"
		case space == "urn:xmpp:otr:0":
			return "OTR"
		}
		return "unknown"
	}
	return ""
}

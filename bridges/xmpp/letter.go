package xmpp

import (
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A letter is what somebody outside has written.
type letter struct {
	text    string
	lang    string
	subject string
	date    time.Time
	id      string
	receipt bool // he wants to know that it was delivered
	marker  bool // and read
}

// readLetter reads the text of a message, nil if it has none. Of the bodies the one
// without a language of its own counts: nobody told us which one our user would
// rather read.
func readLetter(m *stanza.Element) *letter {
	body, subject := unlabelled(m, "body"), unlabelled(m, "subject")
	if body == nil || body.Text == "" {
		return nil
	}
	l := &letter{text: body.Text, id: m.Attr("id"), date: delayOf(m)}
	if l.lang = body.Lang(); l.lang == "" {
		l.lang = m.Lang()
	}
	if subject != nil {
		l.subject = oneLine(subject.Text)
	}
	if m.Child(nsCorrect, "replace") != nil {
		l.text = "[edited] " + l.text
	}
	l.text += links(m, l.text)
	if l.id != "" {
		// XEP-0184 §5.3, XEP-0333 §4: what has no id cannot be reported on.
		l.receipt = m.Child(nsReceipts, "request") != nil
		l.marker = m.Child(nsMarkers, "markable") != nil
	}
	return l
}

// unlabelled returns the child without a language of its own, else the first one.
func unlabelled(m *stanza.Element, local string) (found *stanza.Element) {
	for _, c := range m.Children {
		if !c.Is(stanza.NS, local) {
			continue
		}
		if c.Lang() == "" || c.Lang() == m.Lang() {
			return c
		}
		if found == nil {
			found = c
		}
	}
	return found
}

// links returns the addresses that go along with a text, each on a line of its own, if
// the text does not have them (XEP-0066). Only those that a person may follow.
func links(m *stanza.Element, text string) string {
	var out strings.Builder
	n := 0
	for _, c := range m.Children {
		if !c.Is(nsOOB, "x") {
			continue
		}
		url := c.Child(nsOOB, "url")
		if url == nil || n == maxLinks {
			continue
		}
		u := oneLine(url.Text)
		if strings.HasPrefix(u, "https://") && len(u) <= maxLink && !strings.Contains(text, u) {
			out.WriteString("\n" + u)
			n++
		}
	}
	return out.String()
}

const (
	maxLinks = 8
	maxLink  = 2048
)

// oneLine returns a text for people on one line, without what could end it.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// delayOf returns when a message was written that is late (XEP-0203), the zero Time if
// it does not say. A time to come is none.
func delayOf(m *stanza.Element) time.Time {
	d := m.Child(nsDelay, "delay")
	if d == nil {
		return time.Time{}
	}
	// Only whoever sent the message, or his server, knows when it was written.
	if by := d.Attr("from"); by != "" && stanza.Domain(by) != stanza.Domain(m.Attr("from")) {
		return time.Time{}
	}
	t, ok := parseStamp(d.Attr("stamp"))
	if !ok || t.After(time.Now()) || t.Year() < 1990 {
		return time.Time{}
	}
	return t
}

// maxSubject is how many octets of a subject are kept.
const maxSubject = 512

// fields are the header fields of a letter (RFC 7572 §4).
func (l *letter) fields() (f bridges.Fields) {
	if l.subject != "" {
		f = append(f, bridges.Field{Name: "Subject", Value: clip(l.subject, maxSubject)})
	}
	if isLanguage(l.lang) {
		f = append(f, bridges.Field{Name: "Content-Language", Value: l.lang})
	}
	if !l.date.IsZero() {
		f = append(f, bridges.Field{Name: "Date", Value: date(l.date)})
	}
	return f
}

// wantsReport reports whether the writer wants to hear what becomes of it.
func (l *letter) wantsReport() bool { return l.receipt || l.marker }

// encrypted are the elements of messages that only the other end could read.
var encrypted = []struct{ space, local string }{
	{"eu.siacs.conversations.axolotl", "encrypted"}, // OMEMO (XEP-0384), as it is used
	{"urn:xmpp:omemo:1", "encrypted"},
	{"urn:xmpp:omemo:2", "encrypted"},
	{"urn:xmpp:openpgp:0", "openpgp"},  // XEP-0373
	{"jabber:x:encrypted", "x"},        // XEP-0027
	{"urn:ietf:params:xml:ns:xmpp-e2e", "e2e"}, // RFC 3923
	{nsEME, "encryption"},
}

var errEncrypted = &stanza.Error{Condition: "not-acceptable", Text: "end-to-end encrypted messages cannot pass this gateway"}

// crosses reports whether a message may cross at all: refuse is the error for its
// sender, why the reason for which it ends here without a word.
func crosses(m *stanza.Element) (refuse *stanza.Error, why string) {
	for _, c := range m.Children {
		switch {
		case c.Space == nsCarbons, c.Is(nsForward, "forwarded"), c.Local == "result" && strings.HasPrefix(c.Space, "urn:xmpp:mam:"):
			// Only one's own server tells such things; from anybody else they are
			// forged (CVE-2017-5589).
			return nil, "a copy of somebody else's message"
		case c.Is(nsInvite, "x"), c.Is(nsMUCUser, "x") && c.Child(nsMUCUser, "invite") != nil:
			return noGroups, ""
		}
		for _, e := range encrypted {
			if c.Is(e.space, e.local) {
				return errEncrypted, ""
			}
		}
	}
	if b := unlabelled(m, "body"); b != nil && (strings.HasPrefix(b.Text, "?OTR:") || strings.HasPrefix(b.Text, "?OTRv") || strings.HasPrefix(b.Text, "?OTR?")) {
		return errEncrypted, ""
	}
	return nil, ""
}

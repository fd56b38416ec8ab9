package xmpp

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
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
	retried bool // its session was gone
}

// letterOf reads what is to be read of a message, nil if there is nothing. Of several
// bodies it takes the one in a language that our user has said he reads, else the one
// without a language of its own.
func letterOf(c *content, accept string) *letter {
	l := &letter{id: c.ID, subject: clip(oneLine(c.subject(accept)), maxSubject)}
	if l.text, l.lang = c.said(accept, false); l.text == "" {
		return nil
	}
	if c.Sent.Before(time.Now()) && c.Sent.Year() >= 1990 {
		l.date = c.Sent
	}
	if l.id != "" { // XEP-0184 §5.3, XEP-0333 §4: what has no id cannot be reported on
		l.receipt, l.marker = c.WantsReceipt, c.Markable
	}
	return l
}

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

// clip cuts s off after n octets, between two characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// maxSubject is how many octets of a subject are kept.
const maxSubject = 512

// fields are the header fields of a letter (RFC 7572 §4).
func (l *letter) fields() (f bridges.Fields) {
	if l.subject != "" {
		f = append(f, bridges.Field{Name: "Subject", Value: l.subject})
	}
	if lang := body.Language(l.lang); lang != "" {
		f = append(f, bridges.Field{Name: "Content-Language", Value: lang})
	}
	if !l.date.IsZero() {
		f = append(f, bridges.Field{Name: "Date", Value: date(l.date)})
	}
	return f
}

// parseDate reads the value of a Date field, which is always GMT (RFC 3261 §20.17).
func parseDate(s string) (time.Time, bool) {
	t, err := time.Parse(http.TimeFormat, strings.TrimSpace(s))
	return t.UTC(), err == nil && t.Year() > 0 // XML knows no year 0000
}

// date writes the value of a Date field.
func date(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// wantsReport reports whether the writer wants to hear what becomes of it.
func (l *letter) wantsReport() bool { return l.receipt || l.marker }

// crosses reports whether a message may cross at all: refuse is the error for its
// sender, why the reason for which it ends here without a word.
func crosses(m *stanza.Element, c *content) (refuse *stanza.Error, why string) {
	for _, e := range m.Children {
		switch {
		case e.Space == nsCarbons, e.Is(nsForward, "forwarded"), e.Local == "result" && strings.HasPrefix(e.Space, "urn:xmpp:mam:"):
			// Only one's own server tells such things; from anybody else they are
			// forged (CVE-2017-5589).
			return nil, "a copy of somebody else's message"
		case e.Is(nsInvite, "x"), e.Is(nsMUCUser, "x") && e.Child(nsMUCUser, "invite") != nil:
			return noGroups, ""
		}
	}
	if c.Encrypted != "" {
		return errEncrypted, ""
	}
	return nil, ""
}

package xmpp

import (
	"strings"
	"unicode"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/sip"
)

// maxPhrase is the most characters that a text of the other side has as a phrase.
const maxPhrase = 80

// phrase makes a phrase of a text: one line, without what has a meaning in SIP or
// changes how a line of the log is read (RFC 3261 §25.1, Reason-Phrase). "" means
// the standard one.
func phrase(text string) string {
	var b strings.Builder
	n, blank := 0, false
text:
	for _, r := range text {
		if n == maxPhrase {
			break
		}
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			blank = n > 0
			continue
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			continue // marks of direction, halves of characters
		case strings.ContainsRune("\"<>\\%^`{|}", r):
			r = '\''
		}
		if blank {
			if n == maxPhrase-1 {
				break text
			}
			b.WriteByte(' ')
			n++
		}
		blank = false
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// reason is the Reason field with the status and a text (RFC 3326 §2): an answer's
// phrase may be lost on the way, and clients show this one.
func reason(status, text string) bridges.Field {
	return bridges.Field{Name: "Reason", Value: "SIP ;cause=" + status + " ;text=\"" + phrase(text) + "\""}
}

// contactOf returns the Contact for the new address of gone and redirect, "" if there is
// none that SIP can have. It is a URI of XMPP (RFC 6120 §8.3.3.5), or a JID as
// older servers send it.
func contactOf(to string, a *address.Table) string {
	j, err := address.ParseXMPPURI(to)
	if err != nil {
		return ""
	}
	uri, err := a.URI(j)
	if err != nil {
		return ""
	}
	return "<" + uri + ">"
}

// movedTo returns the first Contact of a redirection as a URI of XMPP
// (RFC 5122 §2.2), "" if none can be one. What has an address for a host is a machine
// and no name for a person.
func movedTo(fields bridges.Fields, a *address.Table) string {
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "Contact") {
			continue
		}
		for _, uri := range contacts(f.Value) {
			j, err := a.JID(uri)
			u, parseErr := sip.ParseURI([]byte(uri))
			if err != nil || parseErr != nil || u.IsIP() {
				continue
			}
			return address.XMPPURI(j)
		}
	}
	return ""
}

// contacts returns the URIs of a Contact field.
func contacts(value string) (uris []string) {
	for len(uris) < 16 {
		end, quoted, angled := len(value), false, false
	scan:
		for i := 0; i < len(value); i++ {
			switch c := value[i]; {
			case c == '\\' && quoted:
				i++
			case c == '"' && !angled:
				quoted = !quoted
			case quoted:
			case c == '<' || c == '>':
				angled = c == '<'
			case c == ',' && !angled:
				end = i
				break scan
			}
		}
		if n, err := sip.ParseNameAddr([]byte(value[:end])); err == nil {
			uris = append(uris, string(n.URI))
		}
		if end == len(value) {
			break
		}
		value = value[end+1:]
	}
	return uris
}

package body

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/sip"
)

// Bounds of the headers of a wrapper.
const (
	maxCPIMHeaders = 64
	maxCPIMLine    = 8 << 10
)

// Namespaces of headers.
const (
	nsCPIM    = "urn:ietf:params:cpim-headers:"
	nsIMDNURN = "urn:ietf:params:imdn"
)

// Fates is a set of what may become of a message, as its sender wants to hear of it
// (RFC 5438 §6.2), or as he is told.
type Fates uint8

const (
	Delivered Fates = 1 << iota // to his device
	Failed                      // it will not be delivered
	Displayed                   // to him
)

// fateWords are the words for them (RFC 5438 §10), in the order in which they are written.
// "processing" is for servers on the way, and no word of ours.
var fateWords = []struct {
	bit  Fates
	word string
}{{Delivered, "positive-delivery"}, {Failed, "negative-delivery"}, {Displayed, "display"}}

// A Party is one who sends or gets a message, as its wrapper says.
// URI is "" for nobody, else a URI that can be read.
type Party struct{ Name, URI string }

// A CPIM is a message/cpim wrapper (RFC 3862) with the headers of IMDN (RFC 5438 §6).
// Headers that are not named here are not kept: a gateway makes a new message.
type CPIM struct {
	From       Party     // nobody: none
	To         []Party   // more than one where it was sent to several
	DateTime   time.Time // zero: none
	Subjects   []Text
	MessageID  string
	Notify     Fates // of what its sender wants to hear
	OriginalTo string
	// RecordRoute are the URIs that an IMDN has to pass, nearest first; in an IMDN
	// they are its Route (RFC 5438 §7.2.1).
	RecordRoute []string
	Route       []string

	ContentType     string // of Body
	ContentLanguage string
	Coding          string // Content-Transfer-Encoding
	Disposition     string // Content-Disposition: "notification" for IMDNs
	Body            []byte
}

// readCPIM reads a wrapper. The error is a *Error; it is errRequired if
// something must be understood that is not (RFC 3862 §3.5).
func readCPIM(b []byte) (*CPIM, error) {
	c := new(CPIM)
	r := cpimReader{c: c, prefixes: map[string]string{"": nsCPIM}}
	rest, err := headerLines(b, r.header)
	if err != nil {
		return nil, err
	}
	if r.required() {
		return nil, errRequired
	}
	c.Body, err = headerLines(rest, c.contentHeader)
	if err != nil {
		return nil, err
	}
	if c.ContentType == "" { // RFC 3862 §2.4
		return nil, ErrBroken
	}
	return c, nil
}

// headerLines calls each for the lines before the first empty one, and returns what
// follows. Lines should end in CRLF; a bare LF is taken, too, for nothing is passed on
// as it came.
func headerLines(b []byte, each func(line string) error) (rest []byte, err error) {
	for n := 0; ; n++ {
		end := bytes.IndexByte(b, '\n')
		if end < 0 || end > maxCPIMLine || n == maxCPIMHeaders {
			return nil, ErrBroken
		}
		line := bytes.TrimSuffix(b[:end], []byte("\r"))
		b = b[end+1:]
		if len(bytes.TrimSpace(line)) == 0 {
			return b, nil
		}
		if !utf8.Valid(line) || bytes.ContainsAny(line, "\r\x00") {
			return nil, ErrBroken
		}
		if err := each(string(line)); err != nil {
			return nil, err
		}
	}
}

// A cpimReader knows the prefixes that were declared.
type cpimReader struct {
	c        *CPIM
	prefixes map[string]string // to namespaces
	require  []string          // what must be understood, as "namespace name"
}

// header reads one header (RFC 3862 §3.6).
func (r *cpimReader) header(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" {
		return ErrBroken
	}
	lang := ""
	if strings.HasPrefix(value, ";") {
		var params string
		params, value, _ = strings.Cut(value, " ")
		lang = Language(media{params: []byte(params[1:])}.param("lang"))
	}
	space, local := r.qualified(name)
	switch value = strings.TrimSpace(value); space {
	case nsCPIM:
		return r.core(local, lang, value)
	case nsIMDNURN:
		r.imdn(local, value)
	}
	return nil
}

// qualified returns namespace and name of a header. A prefix that nobody declared
// has none, but that which all use.
func (r *cpimReader) qualified(name string) (space, local string) {
	prefix, local, ok := strings.Cut(name, ".")
	if !ok {
		return r.prefixes[""], name
	}
	if space, ok := r.prefixes[prefix]; ok && prefix != "" {
		return space, local
	}
	if prefix == "imdn" {
		return nsIMDNURN, local
	}
	return "", local
}

// core reads a header of RFC 3862 §4. Names are compared letter by letter.
func (r *cpimReader) core(name, lang, value string) error {
	c := r.c
	switch name {
	case "From":
		if c.From.URI != "" {
			return ErrBroken // two senders
		}
		c.From = party(value)
	case "To":
		c.To = append(c.To, party(value))
	case "DateTime":
		c.DateTime, _ = stanza.ParseStamp(value)
	case "Subject":
		if len(c.Subjects) < MaxTexts {
			c.Subjects = append(c.Subjects, Text{lang, stanza.Clean(unescapeCPIM(value))})
		}
	case "NS":
		prefix, uri, ok := strings.Cut(value, "<")
		if !ok || !strings.HasSuffix(uri, ">") {
			return ErrBroken
		}
		r.prefixes[strings.TrimSpace(prefix)] = strings.TrimSuffix(uri, ">")
	case "Require":
		for name := range strings.SplitSeq(value, ",") {
			space, local := r.qualified(strings.TrimSpace(name))
			r.require = append(r.require, space+" "+local)
		}
	}
	return nil
}

// required reports whether something must be understood that is not.
func (r *cpimReader) required() bool {
	for _, name := range r.require {
		switch name {
		case nsCPIM + " From", nsCPIM + " To", nsCPIM + " DateTime", nsCPIM + " Subject", nsCPIM + " NS", nsCPIM + " Require",
			nsIMDNURN + " Message-ID", nsIMDNURN + " Disposition-Notification", nsIMDNURN + " Original-To",
			nsIMDNURN + " IMDN-Record-Route", nsIMDNURN + " IMDN-Route":
		default:
			return true
		}
	}
	return false
}

// imdn reads a header of RFC 5438 §10.
func (r *cpimReader) imdn(name, value string) {
	c := r.c
	switch name {
	case "Message-ID":
		c.MessageID = value
	case "Disposition-Notification":
		for word := range strings.SplitSeq(value, ",") {
			word, _, _ = strings.Cut(word, ";")
			for _, n := range fateWords {
				if strings.TrimSpace(word) == n.word {
					c.Notify |= n.bit
				}
			}
		}
	case "Original-To":
		c.OriginalTo = party(value).URI
	case "IMDN-Record-Route":
		c.RecordRoute = append(c.RecordRoute, party(value).URI)
	case "IMDN-Route":
		c.Route = append(c.Route, party(value).URI)
	}
}

// contentHeader reads a MIME header of the content.
func (c *CPIM) contentHeader(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return ErrBroken
	}
	field := map[string]*string{
		"content-type": &c.ContentType, "content-language": &c.ContentLanguage,
		"content-transfer-encoding": &c.Coding, "content-disposition": &c.Disposition,
	}[strings.ToLower(strings.TrimSpace(name))]
	if field == nil {
		return nil
	}
	if *field != "" {
		return ErrBroken // it would have two meanings
	}
	*field = strings.TrimSpace(value)
	return nil
}

// party reads a name and a URI in brackets. Without a URI that can be read it is nobody,
// whatever it is called.
func party(value string) Party {
	open := strings.LastIndexByte(value, '<')
	if open < 0 || !strings.HasSuffix(value, ">") {
		return Party{}
	}
	name := strings.TrimSpace(value[:open])
	if n := len(name); n >= 2 && name[0] == '"' && name[n-1] == '"' {
		name = name[1 : n-1]
	}
	uri := value[open+1 : len(value)-1]
	if _, err := sip.ParseURI([]byte(uri)); err != nil {
		return Party{}
	}
	return Party{stanza.Clean(strings.ReplaceAll(unescapeCPIM(name), `"`, "'")), uri}
}

// Package body is what the bodies of SIP messages say to people and between their
// clients, read and written: text in parts, languages and character sets; wrappers
// (RFC 3862), reports (RFC 5438) and typing notices (RFC 3994); and the offers of
// sessions of messages.
//
// [Read] looks through a whole body; what it returns is plain text and values, and
// nothing of it is passed on as it came: what leaves is written anew with Append. All
// that a stranger may send is bounded.
//
// It knows no gateway: who may say something to whom, and what a report means to XMPP,
// is not asked here. It has no state, and its functions may be called from anywhere at
// once; so may methods of a value that nobody writes.
package body

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"slices"
	"strings"
)

// Bounds of what is looked into. Real bodies have two or three parts, one within
// the other at most.
const (
	maxParts    = 16
	maxNested   = 4
	maxBoundary = 70 // RFC 2046 §5.1.1
)

// MaxTexts is in how many languages one message is read. Others are left out.
const MaxTexts = 8

// A Text is what somebody wrote: UTF-8 that XML can carry, with LF for line ends. Lang is
// a tag (RFC 5646 §2.1), "" if no language was said.
type Text struct{ Lang, Text string }

// A Content is what the body of a MESSAGE carries.
type Content struct {
	Texts     []Text     // one for each language; without any there is nothing to read
	CPIM      *CPIM      // the wrapper, nil if there was none
	Composing *Composing // nil: none
	IMDN      *IMDN      // nil: none
}

// A part is a body, or a part of one.
type part struct {
	media    media
	lang     string
	coding   string // Content-Transfer-Encoding
	optional bool   // may be left out if it is not understood (RFC 3261 §20.11)
	body     []byte
}

// Read reads the body of a MESSAGE. contentType and contentLanguage are the fields'
// values, "" for those that are not there. HTML becomes plain text. The error is an
// *Error; without one everything was understood that must be.
func Read(contentType, contentLanguage string, body []byte) (*Content, error) {
	if len(body) > maxBody {
		return nil, ErrTooLarge
	}
	r := reader{content: new(Content)}
	p := part{media: parseMedia(contentType), lang: Language(contentLanguage), body: body}
	if err := r.read(&p, 0); err != nil {
		return nil, err
	}
	return r.content, nil
}

type reader struct {
	content *Content
	parts   int
}

// read reads a part and what it is composed of.
func (r *reader) read(p *part, depth int) (err error) {
	if r.parts++; r.parts > maxParts || depth > maxNested {
		return ErrBroken
	}
	if !p.media.isMultipart() {
		if p.body, err = decodeCoding(p.coding, p.body); err != nil {
			return err
		}
	}
	switch p.media.kind {
	case "text/plain", "text/html":
		s, err := p.text()
		if err == nil {
			r.add(p.lang, s)
		}
		return err
	case "multipart/mixed":
		return r.mixed(p, depth)
	case "multipart/alternative":
		return r.alternative(p, depth)
	case "message/cpim":
		return r.cpim(p, depth)
	case "application/im-iscomposing+xml":
		r.content.Composing, err = readComposing(p.body)
		return err
	case "message/imdn+xml":
		r.content.IMDN, err = readIMDN(p.body)
		return err
	}
	return errMediaType
}

func (m media) isMultipart() bool { return strings.HasPrefix(m.kind, "multipart/") }

// text returns what people read of a part that is text.
func (p *part) text() (string, error) {
	s, err := decodeText(p.media.param("charset"), p.body)
	if err == nil && p.media.kind == "text/html" {
		s = htmlText(s)
	}
	return s, err
}

// add adds text. What comes in several parts in one language is one text.
func (r *reader) add(lang, s string) {
	for i := range r.content.Texts {
		if t := &r.content.Texts[i]; strings.EqualFold(t.Lang, lang) {
			if t.Text != "" && s != "" {
				t.Text += "\n"
			}
			t.Text += s
			return
		}
	}
	if len(r.content.Texts) < MaxTexts {
		r.content.Texts = append(r.content.Texts, Text{lang, s})
	}
}

// mixed reads one part after the other. One that is not understood is a reason to refuse
// the whole, unless its sender can do without: nobody should believe that it was
// read.
func (r *reader) mixed(p *part, depth int) error {
	parts, err := p.split()
	if err != nil {
		return err
	}
	for i := range parts {
		if err := r.attempt(&parts[i], depth+1); err != nil && (err != error(errMediaType) || !parts[i].optional) {
			return err
		}
	}
	return nil
}

// attempt reads a part that may turn out to be one that is left out. Nothing of that
// stays: a wrapper, for one, would say who has written the others.
func (r *reader) attempt(p *part, depth int) error {
	before := *r.content
	before.Texts = slices.Clone(before.Texts)
	err := r.read(p, depth)
	if err != nil {
		*r.content = before
	}
	return err
}

// alternative takes plain text if there is any, else HTML, else what else can be
// read. RFC 2046 §5.1.4 would have the last one that is understood; but all become
// plain text, and the one that is already loses nothing. Several languages are
// all taken.
func (r *reader) alternative(p *part, depth int) error {
	parts, err := p.split()
	if err != nil {
		return err
	}
	found := false
	for _, kind := range []string{"text/plain", "text/html"} {
		for i := range parts {
			if parts[i].media.kind != kind || found && !r.lacks(parts[i].lang) {
				continue
			}
			if err := r.read(&parts[i], depth+1); err != nil {
				return err
			}
			found = true
		}
	}
	if found {
		return nil
	}
	for i := len(parts) - 1; i >= 0; i-- {
		if err = r.attempt(&parts[i], depth+1); err == nil || err != error(errMediaType) {
			return err
		}
	}
	return errMediaType
}

// lacks reports whether there is no text in a language yet.
func (r *reader) lacks(lang string) bool {
	for _, t := range r.content.Texts {
		if strings.EqualFold(t.Lang, lang) {
			return false
		}
	}
	return true
}

// cpim reads a wrapper and what is in it. There is one at most.
func (r *reader) cpim(p *part, depth int) error {
	if r.content.CPIM != nil {
		return ErrBroken
	}
	c, err := readCPIM(p.body)
	if err != nil {
		return err
	}
	r.content.CPIM = c
	inner := part{media: parseMedia(c.ContentType), lang: Language(c.ContentLanguage), coding: c.Coding, body: c.Body}
	return r.read(&inner, depth+1)
}

// split returns the parts of a multipart body (RFC 2046 §5.1.1).
func (p *part) split() (parts []part, err error) {
	boundary := p.media.param("boundary")
	if boundary == "" || len(boundary) > maxBoundary {
		return nil, ErrBroken
	}
	m := multipart.NewReader(bytes.NewReader(p.body), boundary)
	for {
		raw, err := m.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil || len(parts) == maxParts {
			return nil, ErrBroken
		}
		body, err := io.ReadAll(raw) // p.body bounds it
		if err != nil {
			return nil, ErrBroken
		}
		parts = append(parts, newPart(raw.Header, body, p.lang))
	}
	if len(parts) == 0 {
		return nil, ErrBroken
	}
	return parts, nil
}

func newPart(h textproto.MIMEHeader, body []byte, lang string) part {
	p := part{media: parseMedia(h.Get("Content-Type")), lang: lang, coding: h.Get("Content-Transfer-Encoding"), body: body}
	if own := Language(h.Get("Content-Language")); own != "" {
		p.lang = own
	}
	_, params, _ := strings.Cut(h.Get("Content-Disposition"), ";")
	p.optional = strings.EqualFold(media{params: []byte(params)}.param("handling"), "optional")
	return p
}

// decodeCoding undoes a transfer encoding (RFC 2045 §6.1).
func decodeCoding(coding string, b []byte) ([]byte, error) {
	var out []byte
	var err error
	switch strings.ToLower(strings.TrimSpace(coding)) {
	case "", "7bit", "8bit", "binary":
		return b, nil
	case "base64":
		out, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(b)))
	case "quoted-printable":
		out, err = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(b)))
	default:
		return nil, errCoding
	}
	if err != nil {
		return nil, ErrBroken
	}
	return out, nil
}

package xmpp

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
	maxTexts    = 8  // languages of one message
)

// A text is what somebody wrote, in a language or none.
type text struct{ Lang, Text string }

// A payload is what the body of a MESSAGE carries.
type payload struct {
	Texts     []text     // one for each language; without any there is nothing to read
	CPIM      *cpim      // the wrapper, nil if there was none
	Composing *composing // nil: none
	IMDN      *imdn      // nil: none
}

// A part is a body, or a part of one.
type part struct {
	media    media
	lang     string
	coding   string // Content-Transfer-Encoding
	optional bool   // may be left out if it is not understood (RFC 3261 §20.11)
	body     []byte
}

// readPayload reads the body of a MESSAGE. contentType and contentLanguage are the
// fields' values. The error is a *bodyError.
func readPayload(contentType, contentLanguage string, body []byte) (*payload, error) {
	if len(body) > maxBody {
		return nil, errTooLarge
	}
	r := payloadReader{payload: new(payload)}
	p := part{media: parseMedia(contentType), lang: languageOf(contentLanguage), body: body}
	if err := r.read(&p, 0); err != nil {
		return nil, err
	}
	return r.payload, nil
}

type payloadReader struct {
	payload *payload
	parts   int
}

// read reads a part and what it is composed of.
func (r *payloadReader) read(p *part, depth int) (err error) {
	if r.parts++; r.parts > maxParts || depth > maxNested {
		return errBody
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
		r.payload.Composing, err = readComposing(p.body)
		return err
	case "message/imdn+xml":
		r.payload.IMDN, err = readIMDN(p.body)
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
func (r *payloadReader) add(lang, s string) {
	for i := range r.payload.Texts {
		if t := &r.payload.Texts[i]; strings.EqualFold(t.Lang, lang) {
			if t.Text != "" && s != "" {
				t.Text += "\n"
			}
			t.Text += s
			return
		}
	}
	if len(r.payload.Texts) < maxTexts {
		r.payload.Texts = append(r.payload.Texts, text{lang, s})
	}
}

// mixed reads one part after the other. One that is not understood is a reason to refuse
// the whole, unless its sender can do without: nobody should believe that it was
// read.
func (r *payloadReader) mixed(p *part, depth int) error {
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
func (r *payloadReader) attempt(p *part, depth int) error {
	before := *r.payload
	before.Texts = slices.Clone(before.Texts)
	err := r.read(p, depth)
	if err != nil {
		*r.payload = before
	}
	return err
}

// alternative takes plain text if there is any, else HTML, else what else can be
// read. RFC 2046 §5.1.4 would have the last one that is understood; but all become
// plain text, and the one that is already loses nothing. Several languages are
// all taken.
func (r *payloadReader) alternative(p *part, depth int) error {
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
func (r *payloadReader) lacks(lang string) bool {
	for _, t := range r.payload.Texts {
		if strings.EqualFold(t.Lang, lang) {
			return false
		}
	}
	return true
}

// cpim reads a wrapper and what is in it. There is one at most.
func (r *payloadReader) cpim(p *part, depth int) error {
	if r.payload.CPIM != nil {
		return errBody
	}
	c, err := readCPIM(p.body)
	if err != nil {
		return err
	}
	r.payload.CPIM = c
	inner := part{media: parseMedia(c.ContentType), lang: languageOf(c.ContentLanguage), coding: c.Coding, body: c.Body}
	return r.read(&inner, depth+1)
}

// split returns the parts of a multipart body (RFC 2046 §5.1.1).
func (p *part) split() (parts []part, err error) {
	boundary := p.media.param("boundary")
	if boundary == "" || len(boundary) > maxBoundary {
		return nil, errBody
	}
	m := multipart.NewReader(bytes.NewReader(p.body), boundary)
	for {
		raw, err := m.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil || len(parts) == maxParts {
			return nil, errBody
		}
		body, err := io.ReadAll(raw) // p.body bounds it
		if err != nil {
			return nil, errBody
		}
		parts = append(parts, newPart(raw.Header, body, p.lang))
	}
	if len(parts) == 0 {
		return nil, errBody
	}
	return parts, nil
}

func newPart(h textproto.MIMEHeader, body []byte, lang string) part {
	p := part{media: parseMedia(h.Get("Content-Type")), lang: lang, coding: h.Get("Content-Transfer-Encoding"), body: body}
	if own := languageOf(h.Get("Content-Language")); own != "" {
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
		return nil, errBody
	}
	return out, nil
}

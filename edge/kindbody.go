package edge

import (
	"bytes"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// Bounds of what is looked into. Real bodies have two or three parts, one
// within the other at most, and descriptions of a few thousand octets.
const (
	maxParts    = 16
	maxDepth    = 4
	maxDescribe = 64 << 10
	maxBoundary = 70 // RFC 2046 §5.1.1
)

// mimeBlanks may stand around each element of a header field's value.
const mimeBlanks = " \t\r\n"

// A part is a body, or a part of one, as its header describes it.
type part struct {
	ctype  []byte // value of Content-Type
	coded  bool   // packed, or written in a transfer encoding that hides it
	broken bool   // its header has no one meaning
	body   []byte
}

// A survey walks through a body.
type survey struct {
	session   bool // of a request that makes or changes a session, not of a MESSAGE
	described bool // a session description was found
	parts     int
}

// bodyKinds returns the kinds of the session that a request describes;
// described says that it describes one.
func bodyKinds(m *sip.Message) (k allowlists.Kinds, described bool) {
	s := survey{session: true}
	p, ok := wholeBody(m)
	if !ok {
		return 0, false
	}
	return s.kinds(&p, 0), s.described
}

// messageKinds judges a MESSAGE: an instant message, unless what it brings is
// the invitation to a file. Typing notices and receipts (RFC 3994, RFC 5438)
// are part of messages.
func messageKinds(m *sip.Message) allowlists.Kinds {
	var s survey
	p, ok := wholeBody(m)
	if !ok {
		return allowlists.KindIM
	}
	return s.kinds(&p, 0)
}

// wholeBody describes the body of a message; false if there is none.
func wholeBody(m *sip.Message) (p part, ok bool) {
	p.body = m.Body()
	if len(p.body) == 0 {
		return p, false
	}
	p.ctype = m.Value(sip.ContentType)
	p.broken = m.Count(sip.ContentType) != 1 // RFC 3261 §20.15: what has a body says what it is
	p.coded = encoded(m)
	for i := range m.Fields() {
		if f := m.Field(i); f.ID == sip.HeaderOther && bytes.EqualFold(f.Name, []byte("Content-Transfer-Encoding")) {
			p.coded = p.coded || hides(f.Value)
		}
	}
	return p, true
}

// hides reports whether a transfer encoding changes what the octets mean
// (RFC 2045 §6.2).
func hides(encoding []byte) bool {
	encoding = bytes.Trim(encoding, mimeBlanks)
	for _, plain := range [...]string{"7bit", "8bit", "binary"} {
		if bytes.EqualFold(encoding, []byte(plain)) {
			return false
		}
	}
	return true
}

// kinds judges a part and what it is composed of.
func (s *survey) kinds(p *part, depth int) allowlists.Kinds {
	s.parts++
	kind, _, params, ok := mediaType(p.ctype)
	if p.broken || !ok || depth > maxDepth || s.parts > maxParts {
		return allowlists.KindOther
	}
	if !bytes.EqualFold(kind, []byte("multipart")) {
		return s.leaf(p)
	}
	boundary, ok := boundaryOf(params)
	if !ok || p.coded {
		return allowlists.KindOther
	}
	// Mixed, alternative, related, signed: whatever may be taken counts.
	return s.composed(p.body, boundary, depth)
}

// leaf judges what is not composed of parts.
func (s *survey) leaf(p *part) allowlists.Kinds {
	if s.session {
		return s.sessionPart(p)
	}
	return s.messagePart(p)
}

// composed judges the parts between boundaries (RFC 2046 §5.1.1). A boundary
// that some readers see and others do not makes it all unreadable: what stands
// in one part for us may be in another one for the endpoint.
func (s *survey) composed(b, boundary []byte, depth int) (k allowlists.Kinds) {
	var room [2 + maxBoundary]byte
	mark := append(append(room[:0], "--"...), boundary...)
	at := -1 // where the part begins
	for i := 0; ; {
		n := bytes.Index(b[i:], mark)
		if n < 0 {
			return k | allowlists.KindOther // never closed
		}
		i += n
		end, last, ok := delimiter(b, i, len(mark))
		if !ok {
			return k | allowlists.KindOther
		}
		if at >= 0 {
			p := readPart(b[at:max(at, i-2)])
			k |= s.kinds(&p, depth+1)
		}
		switch {
		case k&allowlists.KindOther != 0:
			return k // it will be refused: no need to go on
		case last && bytes.Contains(b[end:], mark):
			return k | allowlists.KindOther
		case last:
			return k
		}
		at, i = end, end
	}
}

// delimiter reads the line of the mark at b[i:], which is n octets long: it
// begins the body or stands behind CRLF; CRLF ends it, or two hyphens more if no
// part follows.
func delimiter(b []byte, i, n int) (end int, last, ok bool) {
	if i > 0 && !bytes.HasSuffix(b[:i], []byte("\r\n")) {
		return 0, false, false
	}
	end = i + n
	if last = bytes.HasPrefix(b[end:], []byte("--")); last {
		end += 2
		if end == len(b) {
			return end, true, true
		}
	}
	if !bytes.HasPrefix(b[end:], []byte("\r\n")) {
		return 0, false, false
	}
	return end + 2, last, true
}

// readPart reads the header of a part. A field that says twice what the part
// is, or a line end that is none for others, leaves it broken.
func readPart(b []byte) (p part) {
	for len(b) > 0 {
		line, rest, ok := cutField(b)
		if !ok {
			return part{broken: true}
		}
		b = rest
		if len(line) == 0 {
			break // what follows is the body
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			return part{broken: true}
		}
		switch name = bytes.Trim(name, mimeBlanks); {
		case bytes.EqualFold(name, []byte("Content-Type")), bytes.EqualFold(name, []byte("c")):
			p.broken = p.broken || p.ctype != nil
			p.ctype = value
		case bytes.EqualFold(name, []byte("Content-Encoding")), bytes.EqualFold(name, []byte("e")):
			p.coded = p.coded || !bytes.EqualFold(bytes.Trim(value, mimeBlanks), []byte("identity"))
		case bytes.EqualFold(name, []byte("Content-Transfer-Encoding")):
			p.coded = p.coded || hides(value)
		}
	}
	if p.ctype == nil {
		p.ctype = []byte("text/plain") // RFC 2045 §5.2
	}
	p.body = b
	return p
}

// cutField cuts the first field off a header, with the lines that continue it;
// an empty one is the header's end. ok is false where a line does not end in
// CRLF: other readers may see other lines.
func cutField(b []byte) (field, rest []byte, ok bool) {
	end := 0
	for {
		n := bytes.IndexByte(b[end:], '\n')
		line := b[end:]
		if n >= 0 {
			line = b[end : end+n]
		}
		text := bytes.TrimSuffix(line, []byte("\r"))
		if n >= 0 && len(text) == len(line) || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
			return nil, nil, false
		}
		if end > 0 && len(bytes.Trim(text, mimeBlanks)) == 0 {
			return nil, nil, false // it continues, or ends the header
		}
		if n < 0 {
			return b, nil, true
		}
		first := end == 0
		end += n + 1
		if first && len(text) == 0 || end == len(b) || b[end] != ' ' && b[end] != '\t' {
			return bytes.TrimSuffix(b[:end], []byte("\r\n")), b[end:], true
		}
	}
}

// mediaType cuts the value of a Content-Type (RFC 3261 §20.15): white space may
// stand around the slash.
func mediaType(b []byte) (kind, sub, params []byte, ok bool) {
	b, params, _ = bytes.Cut(b, []byte(";"))
	kind, sub, ok = bytes.Cut(b, []byte("/"))
	kind, sub = bytes.Trim(kind, mimeBlanks), bytes.Trim(sub, mimeBlanks)
	return kind, sub, params, ok && isName(kind) && isName(sub)
}

// isName reports whether b can be half of a media type (RFC 6838 §4.2).
func isName(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte(`()<>@,;:\"/[]?=`), c) >= 0 {
			return false
		}
	}
	return len(b) > 0
}

// boundaryOf returns the boundary parameter, which must be there once and mean
// the same to all readers. Spellings of RFC 2231 are for longer values.
func boundaryOf(params []byte) (boundary []byte, ok bool) {
	for len(params) > 0 {
		var p []byte
		p, params = cutParam(params)
		name, v, _ := bytes.Cut(p, []byte("="))
		name, v = bytes.Trim(name, mimeBlanks), bytes.Trim(v, mimeBlanks)
		if len(name) < len("boundary") || !bytes.EqualFold(name[:len("boundary")], []byte("boundary")) {
			continue
		}
		if n := len(v); n >= 2 && v[0] == '"' && v[n-1] == '"' {
			v = v[1 : n-1]
		}
		if boundary != nil || len(name) > len("boundary") || len(v) == 0 || len(v) > maxBoundary || bytes.ContainsAny(v, "\\\"\r\n\x00") {
			return nil, false
		}
		boundary = v
	}
	return boundary, boundary != nil
}

// cutParam cuts the first parameter off a list: at a semicolon that is not
// quoted.
func cutParam(b []byte) (p, rest []byte) {
	quoted := false
	for i, c := range b {
		switch {
		case c == '"' && (i == 0 || b[i-1] != '\\'):
			quoted = !quoted
		case c == ';' && !quoted:
			return b[:i], b[i+1:]
		}
	}
	return b, nil
}

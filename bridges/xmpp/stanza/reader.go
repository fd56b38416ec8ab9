package stanza

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits bound what one element may cost. A zero is the default.
type Limits struct {
	Stanza   int // octets of a top-level element, or of the start of a stream: 256 KiB
	Depth    int // elements within each other, the top-level one included: 64
	Attrs    int // attributes and namespace declarations of one element: 64
	Prefixes int // namespaces that are declared at one place, those of the stream included: 64
	Tokens   int // start tags, end tags and pieces of text of a top-level element: 8192
}

func (l Limits) orDefaults() Limits {
	for _, d := range []struct {
		limit *int
		value int
	}{{&l.Stanza, 256 << 10}, {&l.Depth, 64}, {&l.Attrs, 64}, {&l.Prefixes, 64}, {&l.Tokens, 8192}} {
		if *d.limit <= 0 {
			*d.limit = d.value
		}
	}
	return l
}

// Stream error conditions of a SyntaxError (RFC 6120 §4.9.3).
const (
	notWellFormed       = "not-well-formed"
	restrictedXML       = "restricted-xml"
	policyViolation     = "policy-violation"
	unsupportedEncoding = "unsupported-encoding"
	badNamespacePrefix  = "bad-namespace-prefix"
	invalidNamespace    = "invalid-namespace"
	badFormat           = "bad-format"
)

// A SyntaxError says why a stream must end. It may quote what was received.
type SyntaxError struct {
	Condition string // of the stream error to send (RFC 6120 §4.9.3)
	Text      string
}

// Error describes the error.
func (e *SyntaxError) Error() string { return "stanza: " + e.Condition + ": " + e.Text }

// A Reader reads the elements of one stream after the other. It takes from its
// source what is there and never waits for more than the next element needs. What
// XMPP forbids (RFC 6120 §11.1), what is not namespace-well-formed and what
// encoding/xml only tolerates ends the stream with a SyntaxError.
//
// White space between elements is skipped: whoever wants to know that the
// other side lives looks at the source being read. A Reader is for one
// goroutine.
type Reader struct {
	limits   Limits
	document bool // not a stream
	octets   octets
	dec      *xml.Decoder
	scope    scope
	stream   int      // bindings of the stream's start tag
	name     xml.Name // its name there, with the prefix
	content  string   // the content namespace on the wire
	frames   []frame  // kept for their memory
	err      error    // why nothing more can be read
}

// NewReader makes a Reader of a stream that has not begun.
func NewReader(src io.Reader, l Limits) *Reader {
	r := new(Reader)
	r.SetLimits(l)
	r.Reset(src)
	return r
}

// SetLimits sets limits for what is read from now on.
func (r *Reader) SetLimits(l Limits) {
	r.limits = l.orDefaults()
	r.octets.attrs = r.limits.Attrs
}

// Reset makes the Reader one of a new stream from src, as TLS and SASL need it
// (RFC 6120 §5.4.3.3, §6.4.6). What was read of the old one and not returned is
// thrown away, whoever sent it.
func (r *Reader) Reset(src io.Reader) {
	r.octets.reset(src)
	r.dec = r.decoder()
	r.scope = scope{bound: r.scope.bound[:0]}
	r.stream, r.content, r.err = 0, NS, nil
}

// Buffered returns how many octets were taken from the source beyond what was
// returned. There must be none when TLS begins.
func (r *Reader) Buffered() int { return r.octets.w - r.octets.r }

// Content returns the stream's content namespace: NS or NSClient.
func (r *Reader) Content() string { return r.content }

func (r *Reader) decoder() *xml.Decoder {
	d := xml.NewDecoder(&r.octets)
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errEncoding }
	return d
}

var errEncoding = errors.New("only UTF-8")

// Open reads the start tag of the stream and an XML declaration before it.
func (r *Reader) Open() (*Element, error) {
	if r.err != nil {
		return nil, r.err
	}
	e, err := r.open()
	if err != nil {
		return nil, r.end(err)
	}
	if r.octets.slash {
		r.err = io.EOF
	}
	return e, nil
}

func (r *Reader) open() (*Element, error) {
	start, err := r.root()
	if err != nil {
		return nil, err
	}
	e, err := r.begin(start)
	if err != nil {
		return nil, err
	}
	if !e.Is(NSStreams, "stream") {
		return nil, &SyntaxError{invalidNamespace, "not a stream"} // RFC 6120 §4.8.1
	}
	// The default namespace is that of the content, or the content is without
	// (RFC 6120 §4.8.2).
	switch space, _ := r.scope.lookup(""); space {
	case NSClient:
		r.content = NSClient
		r.scope.swap()
	case NS, NSStreams, "":
	default:
		return nil, &SyntaxError{invalidNamespace, "unknown content"}
	}
	r.stream, r.name = len(r.scope.bound), start.Name
	return e, nil
}

// root reads the start tag of a root element and what may be before it.
func (r *Reader) root() (xml.StartElement, error) {
	var none xml.StartElement
	r.octets.left = r.limits.Stanza
	c, err := r.octets.peek()
	if err != nil {
		r.octets.err = err // of the source, and no fault in what was received
		return none, err
	}
	if c == 0 || c >= 0x80 {
		return none, &SyntaxError{unsupportedEncoding, "not UTF-8"}
	}
	r.octets.head = c == '<'
	for {
		if err := r.skipSpace(); err != nil {
			return none, err
		}
		t, err := r.dec.RawToken()
		if err != nil {
			return none, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			return t, nil
		case xml.ProcInst:
			if err := r.declaration(t); err != nil {
				return none, err
			}
		default:
			return none, &SyntaxError{notWellFormed, "no start tag"}
		}
	}
}

// declaration looks at an XML declaration (RFC 6120 §11.5). Documents may say that they
// rest on declarations elsewhere, as some do for no reason: a reference to one is still
// refused.
func (r *Reader) declaration(p xml.ProcInst) error {
	if p.Target != "xml" {
		return &SyntaxError{restrictedXML, "a processing instruction"}
	}
	rest := string(p.Inst)
	for i, name := range []string{"version", "encoding", "standalone"} {
		value, after, ok := pseudoAttr(rest, name)
		switch {
		case i == 0 && value != "1.0":
			return &SyntaxError{notWellFormed, "a broken XML declaration"}
		case i == 1 && ok && !strings.EqualFold(value, "utf-8"):
			return errEncoding
		case i == 2 && ok && value != "yes" && (value != "no" || !r.document):
			return &SyntaxError{restrictedXML, "not standalone"}
		}
		rest = after
	}
	if strings.Trim(rest, " \t\r\n") != "" {
		return &SyntaxError{notWellFormed, "a broken XML declaration"}
	}
	return nil
}

// pseudoAttr cuts a part off an XML declaration (XML 1.0 §2.8).
func pseudoAttr(s, name string) (value, rest string, ok bool) {
	const space = " \t\r\n"
	after, ok := strings.CutPrefix(strings.TrimLeft(s, space), name)
	if !ok {
		return "", s, false
	}
	after, ok = strings.CutPrefix(strings.TrimLeft(after, space), "=")
	after = strings.TrimLeft(after, space)
	if !ok || after == "" || after[0] != '"' && after[0] != '\'' {
		return "", s, false
	}
	value, rest, ok = strings.Cut(after[1:], after[:1])
	return value, rest, ok
}

// skipSpace takes white space, and waits for what follows it.
func (r *Reader) skipSpace() error {
	for {
		c, err := r.octets.peek()
		switch {
		case err != nil:
			return err
		case c == '<':
			return nil
		case !isSpace(c):
			return &SyntaxError{badFormat, "text between elements"}
		}
		r.octets.r++
	}
}

// Next reads the next element of the stream. io.EOF means that the other side has
// ended the stream, and io.ErrUnexpectedEOF that it went without a word. An error of
// the source is returned as it is, and is not the Reader's end, as long as it comes
// between two elements: a deadline may be set, and be over, many times. Within an
// element it is wrapped, and is returned ever after.
func (r *Reader) Next() (*Element, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.octets.err = nil
	switch err := r.skipSpace(); {
	case err == nil:
	case err == r.octets.err:
		return nil, err // the source's, and it may have more later
	default:
		return nil, r.end(err)
	}
	r.scope.bound = r.scope.bound[:r.stream]
	r.octets.left = r.limits.Stanza
	e, err := r.next()
	if err != nil {
		return nil, r.end(err)
	}
	if r.limits.Stanza-r.octets.left > maxKept {
		r.dec = r.decoder() // it keeps as much memory as it ever needed
	}
	return e, nil
}

func (r *Reader) next() (*Element, error) {
	t, err := r.dec.RawToken()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case xml.StartElement:
		e, err := r.begin(t)
		if err != nil {
			return nil, err
		}
		if err := topLevel(e); err != nil {
			return nil, err
		}
		return e, r.finish(e, t.Name)
	case xml.EndElement:
		if t.Name != r.name {
			return nil, &SyntaxError{notWellFormed, "an end tag without its start"}
		}
		return nil, io.EOF
	}
	return nil, &SyntaxError{badFormat, "text between elements"}
}

// topLevel refuses what must not be between elements of a stream. Which
// others may come there is for who reads them.
func topLevel(e *Element) error {
	switch {
	case e.Space == "" || e.Space == NSClient: // RFC 6120 §4.8.3
		return &SyntaxError{invalidNamespace, "not of this stream"}
	case e.Is(NSStreams, "stream"):
		return &SyntaxError{badFormat, "a stream within a stream"}
	}
	return nil
}

// end makes a SyntaxError of a fault in what was received, and keeps it.
func (r *Reader) end(err error) error {
	var ours *SyntaxError
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF, errors.As(err, &ours):
	case r.octets.err != nil && errors.Is(err, r.octets.err):
		err = fmt.Errorf("stanza: within an element: %w", err)
	case errors.Is(err, errEncoding):
		err = &SyntaxError{unsupportedEncoding, err.Error()}
	default:
		err = &SyntaxError{notWellFormed, err.Error()}
	}
	r.err = err
	return err
}

package stanza

import (
	"errors"
	"io"
)

// octets is where the decoder gets its octets from, one at a time, so that it
// never asks for more than it needs. On their way they are watched for what
// encoding/xml lets through or undoes before anybody could see it, and counted, so
// that a limit holds before the element is complete.
type octets struct {
	src  io.Reader
	buf  []byte // those at [r:w] are not taken yet
	r, w int

	left  int   // how many the element may still take
	attrs int   // how many attributes one tag may have
	err   error // of src, or ours; the decoder ends with it

	state     lexeme
	after     lexeme // where a reference returns to
	quote     byte
	seen      int  // of what: attributes of the tag, octets of a word, "]" in a row
	ref, base rune // value of a character reference
	returned  bool // a carriage return was the last octet of an attribute's value
	slash     bool // the last octet of a tag was "/"
	head      bool // nothing was taken yet: an XML declaration may come
}

// A lexeme is within what the next octet lies.
type lexeme uint8

const (
	inText       lexeme = iota
	inOpening           // after "<"
	inBang              // after "<!"
	inCDATA             // a CDATA section
	inTag               // a start tag, outside of values
	inValue             // an attribute's value
	inAfterValue        // behind it
	inEndTag            // an end tag, or an XML declaration
	inAmpersand         // after "&"
	inHash              // after "&#"
	inReference         // the digits after that
)

const (
	startBuffer   = 4 << 10
	maxEmptyReads = 100 // in a row
)

// reset begins anew with another source. What was buffered is gone.
func (o *octets) reset(src io.Reader) {
	*o = octets{src: src, buf: o.buf, attrs: o.attrs}
	if o.buf == nil {
		o.buf = make([]byte, startBuffer)
	}
}

// Read is there because the decoder wants an io.Reader, and calls ReadByte.
func (o *octets) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// fill gets more from the source. It is called when nothing is left.
func (o *octets) fill() error {
	for range maxEmptyReads {
		n, err := o.src.Read(o.buf)
		if n > 0 {
			o.r, o.w = 0, n
			return nil
		}
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// peek returns the next octet without taking it.
func (o *octets) peek() (byte, error) {
	if o.r == o.w {
		if o.err = o.fill(); o.err != nil {
			return 0, o.err
		}
	}
	return o.buf[o.r], nil
}

// ReadByte takes the next octet.
func (o *octets) ReadByte() (byte, error) {
	if o.r == o.w {
		if o.err == nil {
			o.err = o.fill()
		}
		if o.err != nil {
			return 0, o.err
		}
	}
	c := o.buf[o.r]
	o.r++
	if o.left--; o.left < 0 {
		return 0, o.fail(policyViolation, "too large")
	}
	if o.state == inText && c != '<' && c != '&' {
		return c, nil
	}
	return o.watch(c)
}

// fail ends the reading.
func (o *octets) fail(condition, text string) error {
	if o.err == nil {
		o.err = &SyntaxError{condition, text}
	}
	return o.err
}

// watch looks at one octet. What is not judged here is left to the decoder, which
// judges it before anything else is read.
func (o *octets) watch(c byte) (byte, error) {
	switch o.state {
	case inText:
		o.after = inText
		o.state = inAmpersand
		if c == '<' {
			o.state = inOpening
		}
	case inOpening:
		return o.opening(c)
	case inBang:
		// Comments and document types are forbidden (RFC 6120 §11.1), and
		// refused before they are read.
		if c != "[CDATA["[o.seen] {
			return 0, o.fail(restrictedXML, "a comment or a document type")
		}
		if o.seen++; o.seen == len("[CDATA[") {
			o.state, o.seen = inCDATA, 0
		}
	case inCDATA:
		switch {
		case c == ']':
			o.seen++
		case c == '>' && o.seen >= 2:
			o.state = inText
		default:
			o.seen = 0
		}
	case inTag, inAfterValue:
		return o.tag(c)
	case inValue:
		return o.value(c)
	case inEndTag:
		if c == '>' {
			o.state = inText
		}
	default:
		return o.reference(c)
	}
	return c, nil
}

// opening looks at what follows "<".
func (o *octets) opening(c byte) (byte, error) {
	head := o.head
	o.head = false
	o.seen = 0
	switch c {
	case '!':
		o.state = inBang
	case '?':
		if !head {
			return 0, o.fail(restrictedXML, "a processing instruction")
		}
		o.state = inEndTag
	case '/':
		o.state = inEndTag
	default:
		o.state, o.slash = inTag, false
	}
	return c, nil
}

// tag looks at a start tag, outside of values. Attributes are counted here: the
// decoder has them all before it returns any.
func (o *octets) tag(c byte) (byte, error) {
	if o.state == inAfterValue {
		// XML 1.0 §3.1 wants white space between attributes; the decoder does not.
		if !isSpace(c) && c != '/' && c != '>' {
			return 0, o.fail(notWellFormed, "no space between attributes")
		}
		o.state = inTag
	}
	switch c {
	case '>':
		o.state = inText
		return c, nil
	case '"', '\'':
		if o.seen++; o.seen > o.attrs {
			return 0, o.fail(policyViolation, "too many attributes")
		}
		o.state, o.quote, o.returned = inValue, c, false
	}
	o.slash = c == '/'
	return c, nil
}

// value looks at an attribute's value. White space in it counts as a space, and a
// line's end as one (XML 1.0 §2.11, §3.3.3): the decoder leaves it as it is, and
// whoever reads what we write would not.
func (o *octets) value(c byte) (byte, error) {
	returned := o.returned
	o.returned = false
	switch c {
	case o.quote:
		o.state = inAfterValue
	case '&':
		o.after, o.state = inValue, inAmpersand
	case '\n':
		if returned {
			return o.ReadByte()
		}
		return ' ', nil
	case '\t':
		return ' ', nil
	case '\r':
		o.returned = true
		return ' ', nil
	}
	return c, nil
}

// reference looks at what follows "&". The decoder makes U+FFFD of a reference
// to half a surrogate pair, which is no character (XML 1.0 §4.1).
func (o *octets) reference(c byte) (byte, error) {
	switch o.state {
	case inAmpersand:
		if o.state = o.after; c == '#' {
			o.state, o.ref, o.base = inHash, 0, 10
		}
		return c, nil
	case inHash:
		if o.state = inReference; c == 'x' {
			o.base = 16
			return c, nil
		}
	}
	if digit := digitOf(c); digit >= 0 {
		o.ref = min(o.ref*o.base+digit, 0x110000)
		return c, nil
	}
	if o.ref >= 0xD800 && o.ref <= 0xDFFF {
		return 0, o.fail(notWellFormed, "a reference to no character")
	}
	o.state = o.after
	return c, nil
}

func digitOf(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c - 'a' + 10)
	case 'A' <= c && c <= 'F':
		return rune(c - 'A' + 10)
	}
	return -1
}

// isSpace is white space as XML has it (XML 1.0 §2.3).
func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

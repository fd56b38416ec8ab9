package stanza

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
)

// Parse reads one element that stands alone: a document, or a test's. It is read as
// if it were in a stream of NS: without a namespace it has that one. If it is itself
// in NSClient, it is read as if it were in a stream of NSClient.
func Parse(b []byte, l Limits) (*Element, error) {
	// A byte order mark is none in XMPP (RFC 6120 §11.6), but is in documents.
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	r := &Reader{document: true, octets: octets{buf: b}}
	r.SetLimits(l)
	r.Reset(strings.NewReader("")) // all that there is is in the buffer
	r.octets.w = len(b)
	e, err := r.alone()
	if err != nil {
		return nil, r.end(err)
	}
	return e, nil
}

func (r *Reader) alone() (*Element, error) {
	start, err := r.root()
	if err != nil {
		return nil, err
	}
	e, err := r.within(start)
	if err != nil {
		return nil, err
	}
	if e.Space == NSClient {
		r.scope = scope{swapped: true}
		if e, err = r.within(start); err != nil {
			return nil, err
		}
	}
	if err := r.finish(e, start.Name); err != nil {
		return nil, err
	}
	if err := r.skipSpace(); err != io.ErrUnexpectedEOF {
		return nil, &SyntaxError{notWellFormed, "something after the end"}
	}
	return e, nil
}

// within begins an element as a child of a stream.
func (r *Reader) within(start xml.StartElement) (*Element, error) {
	r.scope.bound = append(r.scope.bound[:0], binding{"", NS})
	return r.begin(start)
}

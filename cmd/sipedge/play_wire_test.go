package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A heard is one SIP message as a peer of a play read it: the octets, and just
// enough of their meaning to answer. It shares no code with package sip, so
// that a play is a second opinion.
type heard struct {
	raw    []byte
	start  string
	fields []heardField
}

// A heardField is a header field with its name in long form and lower case,
// and the whole line or lines as they came.
type heardField struct{ name, value, line string }

// compact are the short names that SIP gives to header fields (RFC 3261 §20).
var compact = map[string]string{
	"v": "via", "f": "from", "t": "to", "i": "call-id", "l": "content-length", "m": "contact", "s": "subject",
}

// hear reads one message from a stream. It returns nil and no error for the
// blank line of a keepalive (RFC 5626 §3.5.1).
func hear(r *bufio.Reader) (*heard, error) {
	head, err := hearHead(r)
	if err != nil || head == nil {
		return nil, err
	}
	m := parseHeard(head)
	n := 0
	if v := m.value("content-length"); v != "" {
		if n, err = strconv.Atoi(v); err != nil {
			return nil, fmt.Errorf("Content-Length %q: %w", v, err)
		}
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	m.raw = append(m.raw, body...)
	return m, nil
}

// hearHead reads up to the blank line that ends the header fields.
func hearHead(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			if len(head)+len(line) > 0 && err == io.EOF {
				err = fmt.Errorf("closed inside a message: %q", append(head, line...))
			}
			return nil, err
		}
		if string(line) == "\r\n" && head == nil {
			return nil, nil
		}
		head = append(head, line...)
		if string(line) == "\r\n" {
			return head, nil
		}
	}
}

// parseHeard reads the start line and the fields of a message head.
func parseHeard(head []byte) *heard {
	m := &heard{raw: head}
	unfolded := bytes.ReplaceAll(head, []byte("\r\n "), []byte("\x00 "))
	unfolded = bytes.ReplaceAll(unfolded, []byte("\r\n\t"), []byte("\x00\t"))
	lines := strings.Split(strings.TrimRight(string(unfolded), "\r\n"), "\r\n")
	m.start = lines[0]
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if long := compact[name]; long != "" {
			name = long
		}
		value = strings.TrimSpace(strings.ReplaceAll(value, "\x00", ""))
		m.fields = append(m.fields, heardField{name, value, strings.ReplaceAll(line, "\x00", "\r\n") + "\r\n"})
	}
	return m
}

// value is the first value of a field.
func (m *heard) value(name string) string {
	for _, f := range m.fields {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

// lines are all lines of a field, as they came.
func (m *heard) lines(name string) string {
	var b strings.Builder
	for _, f := range m.fields {
		if f.name == name {
			b.WriteString(f.line)
		}
	}
	return b.String()
}

// what is the method of a request or the status of a response.
func (m *heard) what() string {
	words := strings.Fields(m.start)
	switch {
	case len(words) > 1 && strings.HasPrefix(m.start, "SIP/2.0 "):
		return words[1]
	case len(words) > 0:
		return words[0]
	}
	return ""
}

// isRequest tells a request from a response.
func (m *heard) isRequest() bool { return !strings.HasPrefix(m.start, "SIP/2.0 ") }

// isCheck tells an OPTIONS that the edge itself asks from one that it passes
// on: nobody stands in Via before it.
func (m *heard) isCheck() bool {
	vias := 0
	for _, f := range m.fields {
		if f.name == "via" {
			vias += 1 + strings.Count(f.value, ",")
		}
	}
	return m.isRequest() && m.what() == "OPTIONS" && vias == 1
}

// answer makes a response as RFC 3261 §8.2.6 says. More are fields, and after
// a blank line a body, with CRLF as line end.
func (m *heard) answer(status int, tag, more string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d Said in a play\r\n", status)
	b.WriteString(m.lines("via") + m.lines("from"))
	to := strings.TrimRight(m.lines("to"), "\r\n")
	if status > 100 && !strings.Contains(to, "tag=") {
		to += ";tag=" + tag
	}
	b.WriteString(to + "\r\n" + m.lines("call-id") + m.lines("cseq"))
	if status > 100 && status < 300 {
		b.WriteString(m.lines("record-route"))
	}
	fields, body, _ := strings.Cut(more, "\r\n\r\n")
	if fields != "" {
		b.WriteString(strings.TrimRight(fields, "\r\n") + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return []byte(b.String())
}

// toWire makes a text file a SIP message: CRLF at the line ends, a blank line
// at the end of the fields if there is none, and {length} counted.
func toWire(text string) []byte {
	wire := strings.ReplaceAll(text, "\n", "\r\n")
	if !strings.Contains(wire, "\r\n\r\n") {
		wire += "\r\n"
	}
	_, body, _ := strings.Cut(wire, "\r\n\r\n")
	return []byte(strings.Replace(wire, "{length}", strconv.Itoa(len(body)), 1))
}

package main

import (
	"fmt"
	"strings"
)

// forwards sends the message received last on, as a proxy does: an answer back to
// whom its request came from, a request on the connection that the peer opened:
// forwards [uri=REQUEST-URI] [route=LINES] [recording]. A home server that is recording
// stays in the path of the dialog, under its address.
func (p *peer) forwards(s *stage, args []string) error {
	m := p.last.msg
	switch {
	case m == nil || p.listen == nil:
		return fmt.Errorf("%s has nothing to forward, or no address", p.name)
	case !m.isRequest():
		return p.forwardsAnswer(m)
	case p.out == nil:
		return fmt.Errorf("%s has no connection", p.name)
	}
	o := options(args)
	p.count++
	branch := fmt.Sprintf("z9hG4bK%s-on-%d", p.name, p.count)
	if p.passed == nil {
		p.passed = make(map[string]event)
	}
	p.passed[branch] = p.last
	start := m.start
	if o["uri"] != "" {
		start = m.what() + " " + o["uri"] + " SIP/2.0"
	}
	me := "<sip:" + p.listen.Addr().String() + ";transport=tls;lr>"
	head := []string{start, "Via: SIP/2.0/TLS " + p.name + ".play;branch=" + branch}
	if o["route"] != "" {
		head = append(head, o["route"])
	}
	if o["recording"] != "" {
		head = append(head, "Record-Route: "+me)
	}
	_, err := p.out.Write([]byte(strings.Join(head, "\r\n") + "\r\n" + m.rest(func(f heardField) bool {
		return f.name == "route" && f.value == me
	}, "max-forwards", "60")))
	return err
}

// forwardsAnswer takes the peer's own Via off.
func (p *peer) forwardsAnswer(m *heard) error {
	_, branch, _ := strings.Cut(m.value("via"), ";branch=")
	branch, _, _ = strings.Cut(branch, ";")
	asked, ok := p.passed[branch]
	if !ok {
		return fmt.Errorf("%s did not forward what this answers:\n%s", p.name, visible(m.raw))
	}
	first := true
	_, err := asked.conn.Write([]byte(m.start + "\r\n" + m.rest(func(f heardField) bool {
		own := first && f.name == "via"
		first = first && !own
		return own
	}, "", "")))
	return err
}

// rest is the message behind its start line, without the fields that off takes off, and
// with another value of one.
func (m *heard) rest(off func(heardField) bool, name, value string) string {
	var b strings.Builder
	for _, f := range m.fields {
		switch {
		case off(f):
		case f.name == name:
			b.WriteString(name + ": " + value + "\r\n")
		default:
			b.WriteString(f.line)
		}
	}
	_, body, _ := strings.Cut(string(m.raw), "\r\n\r\n")
	return b.String() + "\r\n" + body
}

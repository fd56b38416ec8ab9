package main

import (
	"fmt"
	"strings"
)

// A request is one that has nothing special, so that a play need not spell it.
type request struct {
	method, uri, from, fromTag, to, toTag, id, cseq, branch, route, more string
}

// wire writes the request. More are fields, and after a blank line a body.
func (r request) wire(name string) []byte {
	fields, body, _ := strings.Cut(r.more, "\n\n")
	lines := []string{
		r.method + " " + r.uri + " SIP/2.0",
		"Via: SIP/2.0/TLS " + name + ".play;branch=" + r.branch,
		"Max-Forwards: 70",
		r.route,
		"From: <" + r.from + ">;tag=" + r.fromTag,
		"To: <" + r.to + ">",
		"Call-ID: " + r.id,
		"CSeq: " + r.cseq + " " + r.method,
		strings.TrimRight(fields, "\n"),
		"Content-Length: {length}",
	}
	if r.toTag != "" {
		lines[5] += ";tag=" + r.toTag
	}
	var b strings.Builder
	for _, line := range lines {
		if line != "" {
			b.WriteString(line + "\n")
		}
	}
	return toWire(b.String() + "\n" + body)
}

// asks sends a request: asks METHOD TO [uri=REQUEST-URI] [from=URI]
// [from-tag=T] [to-tag=T] [id=CALL-ID] [cseq=N] [branch=B] [route=LINES]
// [with=FILE], a file with more fields and a body.
func (p *peer) asks(s *stage, args []string) error {
	if len(args) < 2 || p.out == nil {
		return fmt.Errorf("usage: %s asks METHOD TO ..., on a connection", p.name)
	}
	o := options(args[2:])
	p.count++
	id := fmt.Sprintf("%s%d", p.name, p.count)
	r := request{
		method: args[0], to: args[1], uri: args[1], from: "sip:" + p.name + "@" + p.domain,
		fromTag: id, id: id, cseq: "1", branch: "z9hG4bK" + id,
	}
	if p.user != "" {
		r.from = "sip:" + p.user
	}
	for name, field := range map[string]*string{
		"uri": &r.uri, "from": &r.from, "from-tag": &r.fromTag, "to-tag": &r.toTag, "id": &r.id,
		"cseq": &r.cseq, "branch": &r.branch, "route": &r.route,
	} {
		if v, ok := o[name]; ok {
			*field = v
		}
	}
	if o["with"] != "" {
		var err error
		if r.more, err = s.fillFile(o["with"]); err != nil {
			return err
		}
	}
	if r.method == "INVITE" {
		p.invite = r
	}
	_, err := p.out.Write(r.wire(p.name))
	return err
}

// cancels takes the last INVITE back, its own or another peer's: cancels [PEER].
func (p *peer) cancels(s *stage, args []string) error {
	r, name := p.invite, p.name
	if len(args) > 0 {
		r, name = s.peers[args[0]].invite, args[0]
	}
	r.method, r.more = "CANCEL", ""
	_, err := p.out.Write(r.wire(name))
	return err
}

// acks confirms a final response to the last INVITE that was no 2xx, which is
// a matter between two neighbours (RFC 3261 §17.1.1.3).
func (p *peer) acks(*stage, []string) error {
	r := p.invite
	r.method, r.more = "ACK", ""
	if _, tag, ok := strings.Cut(p.last.msg.value("to"), ";tag="); ok {
		r.toTag = tag
	}
	_, err := p.out.Write(r.wire(p.name))
	return err
}

// notesRoute keeps the way of a dialog in the variable NAME_route, as the
// lines of a Route field: from a request as it was recorded, from a response
// the other way round (RFC 3261 §12.1).
func (p *peer) notesRoute(s *stage, args []string) error {
	var lines []string
	for _, f := range p.last.msg.fields {
		if f.name != "record-route" {
			continue
		}
		for value := range strings.SplitSeq(f.value, ",") {
			line := "Route: " + strings.TrimSpace(value)
			if p.last.msg.isRequest() {
				lines = append(lines, line)
			} else {
				lines = append([]string{line}, lines...)
			}
		}
	}
	if lines == nil {
		return fmt.Errorf("%s received no Record-Route:\n%s", p.name, visible(p.last.msg.raw))
	}
	s.set(p.name+"_route", strings.Join(lines, "\n"))
	return nil
}

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
)

// A bouncer is a home server whose user has all forwarded to somebody else: a
// proxy that changes the target, and the sender to a user of its own, as one
// that bills the forwarder does. It is told by what a play says, and counts what
// passes it.
type bouncer struct {
	p        *peer
	to, from string
	changing bool
	count    atomic.Int64
	back     map[string]*peerConn // by our branch: where the answer goes
}

// bounces makes the peer forward whatever comes, from now on: bounces TO
// from=URI [changing], where each target differs from the one before.
func (p *peer) bounces(s *stage, args []string) error {
	if len(args) < 2 || p.out == nil {
		return fmt.Errorf("usage: %s bounces TO from=URI, on a connection", p.name)
	}
	o := options(args[1:])
	if p.bounce != nil {
		p.bounce.halt <- struct{}{}
	}
	b := &bouncer{p: p, to: args[0], from: o["from"], changing: o["changing"] != "", back: make(map[string]*peerConn)}
	p.bounce = &bouncing{b, make(chan struct{})}
	go b.run(p.bounce.halt)
	return nil
}

// bouncing is a bouncer that runs.
type bouncing struct {
	*bouncer
	halt chan struct{}
}

// bounced fails unless so many requests passed, and no more: bounced LEAST MOST.
func (p *peer) bounced(_ *stage, args []string) error {
	least, err1 := strconv.ParseInt(args[0], 10, 64)
	most, err2 := strconv.ParseInt(args[len(args)-1], 10, 64)
	if err1 != nil || err2 != nil || p.bounce == nil {
		return fmt.Errorf("usage: %s bounced LEAST MOST", p.name)
	}
	if n := p.bounce.count.Load(); n < least || n > most {
		return fmt.Errorf("%s forwarded %d requests, want %d to %d", p.name, n, least, most)
	}
	return nil
}

func (b *bouncer) run(halt chan struct{}) {
	for {
		select {
		case <-halt:
			return
		case e := <-b.p.inbox:
			switch {
			case e.err != nil:
				return
			case e.msg != nil && e.msg.what() == "ACK":
				// To a refusal: it ends here (RFC 3261 §17.1.1.3).
			case e.msg != nil && e.msg.isRequest():
				b.request(e)
			case e.msg != nil:
				b.answer(e.msg)
			}
		}
	}
}

var (
	maxForwardsLine = regexp.MustCompile(`(?im)^Max-Forwards:\s*(\d+)`)
	fromLine        = regexp.MustCompile(`(?im)^From:\s*<[^>]*>`)
	branchParam     = regexp.MustCompile(`branch=(z9hG4bK-bounce-\d+)`)
)

// request sends a request on, as RFC 3261 §16.6 says.
func (b *bouncer) request(e event) {
	n := b.count.Add(1)
	left, err := strconv.Atoi(maxForwardsLine.FindStringSubmatch(string(e.msg.raw))[1])
	if err != nil || left == 0 {
		e.conn.Write(e.msg.answer(483, b.p.name, ""))
		return
	}
	branch := fmt.Sprintf("z9hG4bK-bounce-%d", n)
	b.back[branch] = e.conn
	target := b.to
	if b.changing {
		target += fmt.Sprintf(";hop=%d", n)
	}
	start, rest, _ := strings.Cut(string(e.msg.raw), "\r\n")
	rest = maxForwardsLine.ReplaceAllString(rest, fmt.Sprintf("Max-Forwards: %d", left-1))
	rest = fromLine.ReplaceAllString(rest, "From: <"+b.from+">")
	method, _, _ := strings.Cut(start, " ")
	fmt.Fprintf(b.p.out, "%s %s SIP/2.0\r\nVia: SIP/2.0/TLS %s.play;branch=%s\r\n%s", method, target, b.p.name, branch, rest)
}

// answer sends an answer back to where its request came from. The sender is
// whom the answer shall find, so From is left.
func (b *bouncer) answer(m *heard) {
	found := branchParam.FindStringSubmatch(m.value("via"))
	if found == nil || m.what() == "100" {
		return
	}
	conn := b.back[found[1]]
	if conn == nil {
		return
	}
	delete(b.back, found[1])
	text := string(m.raw)
	at := strings.Index(strings.ToLower(text), "\r\nvia:") + 2
	end := at + strings.Index(text[at:], "\r\n") + 2
	conn.Write([]byte(text[:at] + text[end:]))
}

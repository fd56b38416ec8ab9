package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// act does what a line of a play says of a peer: "home receives MESSAGE".
func (p *peer) act(s *stage, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: %s VERB ...", p.name)
	}
	v, ok := map[string]func(*stage, []string) error{
		"listens":      p.listens,
		"connects":     p.connects,
		"is-refused":   p.isRefused,
		"sends":        p.sends,
		"asks":         p.asks,
		"keeps-asking": p.keepsAsking,
		"registers":    p.registers,
		"signs-in":     p.signsIn,
		"tries":        p.tries,
		"forwards":     p.forwards,
		"acks":         p.acks,
		"cancels":      p.cancels,
		"notes-route":  p.notesRoute,
		"receives":     p.receives,
		"awaits":       p.awaits,
		"gathers":      p.gathers,
		"floods":       p.floods,
		"settles":      p.settles,
		"takes":        p.takes,
		"has":          p.has,
		"answers":      p.answers,
		"checks":       p.checks,
		"crowds":       p.crowds,
		"bounces":      p.bounces,
		"bounced":      p.bounced,
		"pings":        func(*stage, []string) error { return p.writes("\r\n\r\n") },
		"sends-blank":  func(*stage, []string) error { return p.writes("\r\n") },
		"sends-octets": p.sendsOctets,
		"sees-close":   p.seesClose,
		"hangs":        func(*stage, []string) error { p.hang(); return nil },
		"resumes":      func(*stage, []string) error { p.wake(); return nil },
		"dies":         func(*stage, []string) error { p.die(); return nil },
		"hangs-up":     func(*stage, []string) error { p.hangUp(); return nil },
		"disconnects":  p.disconnects,
	}[args[0]]
	if !ok {
		return fmt.Errorf("%s cannot %q", p.name, args[0])
	}
	return v(s, args[1:])
}

// domainOf is the domain that a peer speaks for if the play does not say:
// home2 for example.com, fabrikam for fabrikam.example.
func domainOf(name string) string {
	name = strings.TrimRight(name, "0123456789")
	if name == "home" {
		return "example.com"
	}
	return name + ".example"
}

// listens waits for connections: listens ADDRESS [cert=NAME] [ca=NAME] [tls=1.1]
// [unasked] [in=NETNS] or tcp.
func (p *peer) listens(s *stage, args []string) error {
	o := options(args[1:])
	if err := p.openRecord(s.path(p.name + ".raw")); err != nil {
		return err
	}
	var l net.Listener
	err := inside(o["in"], func() (err error) {
		l, err = net.Listen("tcp", args[0])
		return err
	})
	if err != nil {
		return err
	}
	if o["tcp"] == "" {
		c, err := s.tlsConfig(p, o)
		if err != nil {
			return err
		}
		l = tls.NewListener(l, c)
	}
	if o["domain"] != "" {
		p.domain = o["domain"]
	}
	p.listen = l
	go p.accept(l)
	return nil
}

// connects opens a connection: connects ADDRESS [cert=NAME] [ca=NAME] [to=HOST]
// [from=IP] [in=NETNS] [alpn=NAME] [resume], tcp, or wss [origin=URL|none]
// [protocol=NAME|none] [path=/].
func (p *peer) connects(s *stage, args []string) error {
	if err := p.openRecord(s.path(p.name + ".raw")); err != nil {
		return err
	}
	o := options(args[1:])
	var conn net.Conn
	err := inside(o["in"], func() (err error) {
		conn, err = p.dial(s, args[0], o)
		return err
	})
	if err != nil {
		return err
	}
	p.out = &peerConn{Conn: conn, dialled: true, ended: make(chan struct{})}
	s.set(strings.ToUpper(p.name)+"_CONN", conn.LocalAddr().String())
	go p.serve(p.out)
	return nil
}

// dial opens the connection of connects and is-refused.
func (p *peer) dial(s *stage, address string, o map[string]string) (net.Conn, error) {
	d := &net.Dialer{Timeout: patience}
	if o["from"] != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(o["from"])}
	}
	if o["domain"] != "" {
		p.domain = o["domain"]
	}
	if o["tcp"] != "" {
		return d.Dial("tcp", address)
	}
	c, err := s.tlsConfig(p, o)
	if err != nil {
		return nil, err
	}
	if o["resume"] != "" && p.resume != nil {
		c.ClientSessionCache = p.resume.ClientSessionCache
	}
	p.resume = c
	if o["alpn"] != "" {
		c.NextProtos = []string{o["alpn"]}
	}
	conn, err := tls.DialWithDialer(d, "tcp", address, c)
	if err != nil || o["wss"] == "" {
		return conn, err
	}
	return upgrade(conn, c.ServerName, o)
}

// isRefused opens a connection that must end without a word of SIP. In TLS 1.3
// the refusal of a client certificate comes after the client's handshake. With
// wss and status=CODE the upgrade must be answered so.
func (p *peer) isRefused(s *stage, args []string) error {
	o := options(args[1:])
	conn, err := p.dial(s, args[0], o)
	if o["status"] != "" {
		return p.upgradeRefused(err, o["status"])
	}
	if err != nil {
		return nil
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(patience))
	octets := make([]byte, 1)
	n, err := conn.Read(octets)
	if n > 0 || os.IsTimeout(err) {
		return fmt.Errorf("%s was not refused: read %d octets, %v", p.name, n, err)
	}
	return nil
}

// seesClose waits for the end of a connection: sees-close [code=CODE], by
// WebSocket with this code.
func (p *peer) seesClose(_ *stage, args []string) error {
	err := p.nextEnd()
	if code := options(args)["code"]; err == nil && code != "" {
		return p.closedWith(p.ended, code)
	}
	return err
}

// disconnects closes the connection that the peer opened, and forgets what came
// on it that nobody looked at.
func (p *peer) disconnects(*stage, []string) error {
	p.out.Close() // the edge may have been first
	<-p.out.ended
	for len(p.inbox) > 0 {
		<-p.inbox
	}
	p.out = nil
	return nil
}

// sends writes a message: sends FILE [unfinished] [split] [back]. An unfinished
// one has no blank line at its end; split ones leave octet by octet; back means
// on the connection that the last request came on.
func (p *peer) sends(s *stage, args []string) error {
	o := options(args[1:])
	text, err := s.fillFile(args[0])
	if err != nil {
		return err
	}
	wire := toWire(text)
	if o["unfinished"] != "" {
		wire = []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	}
	c := p.out
	if o["back"] != "" || c == nil {
		c = p.asked[""].conn
	}
	if c == nil {
		return fmt.Errorf("%s has no connection", p.name)
	}
	if o["split"] == "" {
		return dribble(c, wire, false)
	}
	to, wire := dribbleTo(c, wire)
	return dribble(to, wire, true)
}

// dribble writes in one piece, or octet by octet.
func dribble(w io.Writer, octets []byte, slowly bool) error {
	if !slowly {
		_, err := w.Write(octets)
		return err
	}
	for i := range octets {
		if _, err := w.Write(octets[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// statusClass is the beginning of a status: 4 stands for 400 to 499.
var statusClass = regexp.MustCompile(`^[1-6][0-9]?$`)

// receives takes the next message, which must be what the play says: a status
// or its beginning, a method, a file with a pattern, "pong", or "nothing [PEER]".
func (p *peer) receives(s *stage, args []string) error {
	want := args[0]
	switch {
	case want == "pong":
		return p.receivesPong()
	case want == "nothing":
		return s.fence(p, args[1:])
	}
	_, notFile := os.Stat(s.path(want))
	m, err := p.nextMessage(want)
	switch {
	case err != nil:
		return err
	case notFile == nil:
		return p.matches(s, want, m)
	case m.what() != want && !(statusClass.MatchString(want) && strings.HasPrefix(m.what(), want)):
		return fmt.Errorf("%s wanted %s, got:\n%s", p.name, want, visible(m.raw))
	}
	for _, re := range args[1:] {
		if err := p.has(s, []string{re}); err != nil {
			return err
		}
	}
	return nil
}

// awaits passes over what comes until a message has all the expressions.
func (p *peer) awaits(s *stage, args []string) error {
	for {
		if _, err := p.nextMessage("a message with " + strings.Join(args, " and ")); err != nil {
			return err
		}
		if p.has(s, args) == nil {
			return nil
		}
	}
}

// matches compares a message with a pattern in a file, and remembers what the
// holes held.
func (p *peer) matches(s *stage, file string, m *heard) error {
	text, err := s.fillFile(file)
	if err != nil {
		return err
	}
	pat, err := compilePattern(text)
	if err != nil {
		return err
	}
	held, err := pat.match(m.raw)
	if err != nil {
		return fmt.Errorf("%s wanted %s, %w", p.name, file, err)
	}
	for name, value := range held {
		s.set(name, value)
	}
	return nil
}

// receivesPong takes the answer of a keepalive.
func (p *peer) receivesPong() error {
	e, err := p.next("a keepalive's answer")
	switch {
	case err != nil:
		return err
	case e.msg != nil:
		return fmt.Errorf("%s wanted a keepalive's answer, got:\n%s", p.name, visible(e.msg.raw))
	}
	return e.err
}

// has looks for an expression in the message received last; lines end in \n
// there. Named groups are remembered.
func (p *peer) has(s *stage, args []string) error {
	if p.last.msg == nil {
		return fmt.Errorf("%s has received nothing", p.name)
	}
	text := strings.ReplaceAll(string(p.last.msg.raw), "\r\n", "\n")
	for _, expr := range args {
		re, err := regexp.Compile("(?mi)" + expr)
		if err != nil {
			return err
		}
		m := re.FindStringSubmatch(text)
		if m == nil {
			return fmt.Errorf("%s received no %s:\n%s", p.name, expr, visible(p.last.msg.raw))
		}
		for i, name := range re.SubexpNames() {
			if name != "" {
				s.set(name, m[i])
			}
		}
	}
	return nil
}

// answers responds to the request received last: answers STATUS [FILE] with
// more fields and a body, [to=METHOD] to the last one with that method, [tag=T]
// as another callee.
func (p *peer) answers(s *stage, args []string) error {
	status, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	asked, more, tag := p.asked[""], "", p.name
	for _, arg := range args[1:] {
		if method, ok := strings.CutPrefix(arg, "to="); ok {
			asked = p.asked[method]
			continue
		}
		if t, ok := strings.CutPrefix(arg, "tag="); ok {
			tag = t
			continue
		}
		if more, err = s.fillFile(arg); err != nil {
			return err
		}
	}
	if asked.msg == nil {
		return fmt.Errorf("%s was not asked that", p.name)
	}
	_, err = asked.conn.Write(asked.msg.answer(status, tag, strings.ReplaceAll(more, "\n", "\r\n")))
	return err
}

// crowds opens many connections and says nothing on them.
func (p *peer) crowds(s *stage, args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for range n {
		c, err := net.DialTimeout("tcp", args[0], patience)
		if err != nil {
			return err
		}
		go p.serve(&peerConn{Conn: c, ended: make(chan struct{})})
	}
	return nil
}

// checks sets the status for the edge's own OPTIONS.
func (p *peer) checks(s *stage, args []string) error {
	status, err := strconv.Atoi(args[0])
	p.mu.Lock()
	p.busy = status
	p.mu.Unlock()
	return err
}

// writes sends octets that are no message: a keepalive (RFC 5626 §3.5.1), or
// half of one.
func (p *peer) writes(octets string) error {
	_, err := io.WriteString(p.out, octets)
	return err
}

// fence proves that nothing reached p: a message that another peer sends the
// same way arrives next. "home receives nothing fabrikam" lets fabrikam send.
func (s *stage) fence(p *peer, by []string) error {
	if len(by) != 1 || s.peers[by[0]] == nil {
		return fmt.Errorf("usage: %s receives nothing PEER, which can reach it", p.name)
	}
	q := s.peers[by[0]]
	s.fences++
	id := fmt.Sprintf("fence-%d@%s", s.fences, q.domain)
	from, to, route := "fence@"+q.domain, "fence@"+p.domain, ""
	if q.user != "" {
		from = q.user // a user of ours outside speaks as himself only
	}
	if p.path != "" {
		to, route = p.user, p.path+"\n"
	}
	text := fmt.Sprintf("MESSAGE sip:%s SIP/2.0\nVia: SIP/2.0/TLS play.%s;branch=z9hG4bKfence%d\nMax-Forwards: 70\n"+
		"%sFrom: <sip:%s>;tag=fence\nTo: <sip:%[1]s>\nCall-ID: %[6]s\nCSeq: 1 MESSAGE\nContent-Length: 0\n",
		to, q.domain, s.fences, route, from, id)
	if _, err := q.out.Write(toWire(text)); err != nil {
		return err
	}
	for _, step := range []struct {
		who  *peer
		what string
	}{{p, "MESSAGE"}, {q, "200"}} {
		m, err := step.who.nextMessage("nothing but the fence")
		if err != nil {
			return err
		}
		if m.what() != step.what || m.value("call-id") != id {
			return fmt.Errorf("%s wanted nothing, got:\n%s", step.who.name, visible(m.raw))
		}
		if step.who == p {
			if err := p.answers(s, []string{"200"}); err != nil {
				return err
			}
		}
	}
	return nil
}

package home_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"

	"github.com/sipedge/sipedge/home"
)

// A phone is a user agent by hand, for what a whole one would not do.
type phone struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, addr netip.AddrPort) *phone {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return &phone{t, conn, bufio.NewReader(conn)}
}

func (p *phone) send(lines ...string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		p.t.Fatal(err)
	}
}

// read returns the head of the next message, without its body.
func (p *phone) read() string {
	p.t.Helper()
	var head strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("read %q: %v", head.String(), err)
		}
		if line == "\r\n" {
			break
		}
		head.WriteString(line)
	}
	var n int
	fmt.Sscanf(value(head.String(), "Content-Length"), "%d", &n)
	io.CopyN(io.Discard, p.r, int64(n))
	return head.String()
}

func (p *phone) want(status string) string {
	p.t.Helper()
	head := p.read()
	if !strings.HasPrefix(head, "SIP/2.0 "+status) {
		p.t.Fatalf("got %q, want %s", head, status)
	}
	return head
}

func value(head, name string) string {
	for line := range strings.Lines(head) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// request is a request from a user to a URI, without its last lines.
func request(method, uri, from, branch string, more ...string) []string {
	lines := []string{
		method + " " + uri + " SIP/2.0",
		"Via: SIP/2.0/TCP 192.0.2.7:5060;branch=z9hG4bK" + branch,
		"From: <sip:" + from + ">;tag=f", "To: <" + uri + ">", "Call-ID: " + branch, "CSeq: 1 " + method,
	}
	return append(append(lines, more...), "Content-Length: 0")
}

// signIn registers by hand.
func (p *phone) signIn(user, password string) {
	p.t.Helper()
	p.send(request("REGISTER", "sip:example.com", user+"@example.com", "r"+user)...)
	c, err := digest.ParseChallenge(value(p.want("401"), "WWW-Authenticate"))
	if err != nil {
		p.t.Fatal(err)
	}
	cred, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:example.com", Username: user, Password: password})
	if err != nil {
		p.t.Fatal(err)
	}
	// The To of request is the domain; a sign-in is for the user.
	lines := request("REGISTER", "sip:example.com", user+"@example.com", "r2"+user,
		"Contact: <sip:"+user+"@192.0.2.7:5060;transport=tcp>", "Authorization: "+cred.String())
	lines[3] = "To: <sip:" + user + "@example.com>"
	p.send(lines...)
	p.want("200")
}

func TestWhoIsNotSignedInMayOnlySignIn(t *testing.T) {
	s := start(t, home.Config{})
	p := dial(t, s.UserAddr())
	p.send(request("MESSAGE", "sip:bob@example.com", "alice@example.com", "1")...)
	p.want("403")
	p.signIn("alice", "wonderland")
	p.send(request("MESSAGE", "sip:bob@example.com", "alice@example.com", "2")...)
	p.want("480") // bob is not there, but alice may ask
	p.send(request("MESSAGE", "sip:bob@example.com", "bob@example.com", "3")...)
	p.want("403") // nor may she speak for bob
	p.send(request("MESSAGE", "sip:bob@example.com", "alice@fabrikam.example", "4")...)
	p.want("403")
}

func TestFaultsAreAnswered(t *testing.T) {
	s := start(t, home.Config{})
	p := dial(t, s.UserAddr())
	p.signIn("alice", "wonderland")
	p.signIn("bob", "builder")
	p.send(request("MESSAGE", "sip:bob@example.com", "alice@example.com", "1", "Max-Forwards: 0")...)
	p.want("483")
	p.send(request("PUBLISH", "sip:alice@example.com", "alice@example.com", "2", "Event: presence", "SIP-If-Match: never")...)
	p.want("412")
	p.send(request("PUBLISH", "sip:alice@example.com", "alice@example.com", "3", "Event: dialog")...)
	p.want("489")
	p.send(request("PUBLISH", "sip:carol@example.com", "alice@example.com", "4", "Event: presence")...)
	p.want("403")
	p.send(request("REFER", "sip:example.com", "alice@example.com", "5")...)
	p.want("405")
	p.send(request("OPTIONS", "sip:example.com", "alice@example.com", "6")...)
	if allow := value(p.want("200"), "Allow"); !strings.Contains(allow, "MESSAGE") {
		t.Errorf("Allow: %s", allow)
	}
}

func TestWrongPasswordsEndTheConnection(t *testing.T) {
	s := start(t, home.Config{})
	p := dial(t, s.UserAddr())
	p.send(request("REGISTER", "sip:example.com", "alice@example.com", "1")...)
	c, err := digest.ParseChallenge(value(p.want("401"), "WWW-Authenticate"))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		cred, _ := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:example.com", Username: "alice", Password: "guess"})
		p.send(request("REGISTER", "sip:example.com", "alice@example.com", "2", "Authorization: "+cred.String())...)
		p.want("403")
	}
	if _, err := p.r.ReadByte(); err != io.EOF {
		t.Errorf("after five guesses: %v, want the end", err)
	}
}

func TestNonceOfAnotherConnectionProvesNothing(t *testing.T) {
	s := start(t, home.Config{})
	one, two := dial(t, s.UserAddr()), dial(t, s.UserAddr())
	one.send(request("REGISTER", "sip:example.com", "alice@example.com", "1")...)
	c, err := digest.ParseChallenge(value(one.want("401"), "WWW-Authenticate"))
	if err != nil {
		t.Fatal(err)
	}
	cred, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:example.com", Username: "alice", Password: "wonderland"})
	if err != nil {
		t.Fatal(err)
	}
	two.send(request("REGISTER", "sip:example.com", "alice@example.com", "2", "Authorization: "+cred.String())...)
	two.want("401")
}

func TestPingsAreAnsweredAndMessagesMayComeInPieces(t *testing.T) {
	s := start(t, home.Config{})
	p := dial(t, s.Addr())
	whole := strings.Join(request("OPTIONS", "sip:example.com", "edge@example.com", "1", "Subject: two", "  lines"), "\r\n") + "\r\n\r\n"
	for _, c := range []byte("\r\n\r\n" + whole + "\r\n\r\n" + whole) {
		if _, err := p.conn.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		pong := make([]byte, 2)
		if _, err := io.ReadFull(p.r, pong); err != nil || string(pong) != "\r\n" {
			t.Fatalf("pong = %q, %v", pong, err)
		}
		p.want("200")
	}
}

func TestTwoLengthsEndTheConnection(t *testing.T) {
	s := start(t, home.Config{})
	p := dial(t, s.Addr())
	p.send(request("OPTIONS", "sip:example.com", "edge@example.com", "1", "l: 0")...)
	if _, err := p.r.ReadByte(); err == nil {
		t.Error("the message was taken, want the end")
	}
}

func TestLoneLineFeedEndsTheConnection(t *testing.T) {
	s := start(t, home.Config{})
	for _, line := range []string{"Subject: a\nb: c", "Subject: a\rb", "Subject: a\x00b"} {
		p := dial(t, s.Addr())
		p.send(request("OPTIONS", "sip:example.com", "edge@example.com", "1", line)...)
		if _, err := p.r.ReadByte(); err == nil {
			t.Errorf("%q was taken, want the end", line)
		}
	}
}

// A caller who takes his call back at the moment in which it is answered must
// learn that it was answered (RFC 3261 §16.7: every 2xx is forwarded).
func TestAnswerThatCrossesACancelArrives(t *testing.T) {
	s := start(t, home.Config{})
	alice, bob := dial(t, s.UserAddr()), dial(t, s.UserAddr())
	alice.signIn("alice", "wonderland")
	bob.signIn("bob", "builder")
	alice.send(request("INVITE", "sip:bob@example.com", "alice@example.com", "call", "Contact: <sip:alice@192.0.2.7:5060>")...)
	invite := bob.read()
	cancel := request("CANCEL", "sip:bob@example.com", "alice@example.com", "call")
	alice.send(cancel...)
	if c := bob.read(); value(c, "Via") != value(invite, "Via") {
		t.Errorf("Via of the CANCEL %q, of the INVITE %q, want the same", value(c, "Via"), value(invite, "Via"))
	}
	answer := []string{"SIP/2.0 200 OK"}
	for line := range strings.Lines(invite) {
		if n, _, _ := strings.Cut(line, ":"); n == "Via" || n == "From" || n == "To" || n == "Call-ID" || n == "CSeq" {
			answer = append(answer, strings.TrimSpace(line))
		}
	}
	bob.send(append(answer, "Content-Length: 0")...)
	if got := value(alice.want("200"), "CSeq"); got != "1 INVITE" {
		t.Errorf("200 for %s, want 1 INVITE", got)
	}
}

func TestForgedAnswerGoesNowhere(t *testing.T) {
	s := start(t, home.Config{})
	alice, bob := dial(t, s.UserAddr()), dial(t, s.UserAddr())
	alice.signIn("alice", "wonderland")
	bob.signIn("bob", "builder")
	mallory := dial(t, s.UserAddr())
	alice.send(request("MESSAGE", "sip:bob@example.com", "alice@example.com", "m")...)
	head := bob.read()
	answer := func(status string) []string {
		lines := []string{"SIP/2.0 " + status}
		for line := range strings.Lines(head) {
			if n, _, _ := strings.Cut(line, ":"); n == "Via" || n == "From" || n == "To" || n == "Call-ID" || n == "CSeq" {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return append(lines, "Content-Length: 0")
	}
	mallory.send(answer("603 Forged")...)
	// What mallory sent has been handled when she has her own answer.
	mallory.send(request("OPTIONS", "sip:example.com", "mallory@example.com", "o")...)
	mallory.want("200")
	bob.send(answer("200 OK")...)
	alice.want("200")
}

package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowdSize is how many come at once: few in every run of the tests, and as many as
// SIPEDGE_CROWD says where somebody wants to know.
func crowdSize(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("SIPEDGE_CROWD"))
	if err != nil {
		return 300
	}
	t.Logf("a crowd of %d", n)
	return n
}

// crowdStage is an edge with a listener for users, and a home server that says yes to
// everything at once.
func crowdStage(t *testing.T, limits string) *stage {
	s := openTestStage(t)
	s.write(t, "limits.toml", "[limits]\n"+limits)
	s.write(t, "listener.toml", `[listener.remote]
role        = "remote"
address     = "$REMOTE"
certificate = "edge"

[listener.internal]
role        = "internal"
address     = "$EDGE_INT"
certificate = "edge"
peer_ca     = "ca.pem"
`)
	s.write(t, "partners.toml", "")
	s.write(t, "remote.toml", "[default]\nallow = true\n")
	s.play(t, "ports REMOTE", "company")
	yes, err := s.yesMan(s.env("HOME1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { yes.Close() })
	s.play(t, "edge starts")
	return s
}

// yesMan is a home server that answers everything with 200, and a REGISTER with its
// Contact.
func (s *stage) yesMan(address string) (net.Listener, error) {
	conf, err := s.tlsConfig(nil, map[string]string{"cert": "home"})
	if err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", address, conf)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(c)
		}
	}()
	return l, nil
}

func answerAll(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		m, err := hear(r)
		switch {
		case err != nil:
			return
		case m == nil || !m.isRequest() || m.what() == "ACK":
			continue
		}
		if _, err := c.Write(m.answer(200, "yes", m.lines("contact"))); err != nil {
			return
		}
	}
}

// A crowdUser is a user outside with a connection of his own.
type crowdUser struct {
	name string
	conn net.Conn
	r    *bufio.Reader
	n    int
}

// crowdDial opens a connection from one of many addresses.
func crowdDial(s *stage, i int, sessions tls.ClientSessionCache) (net.Conn, error) {
	conf, err := s.tlsConfig(nil, nil)
	if err != nil {
		return nil, err
	}
	conf.ClientSessionCache = sessions
	d := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 7, byte(i>>8), byte(i))}}
	return tls.DialWithDialer(d, "tcp", s.env("REMOTE"), conf)
}

func newCrowdUser(s *stage, i int, sessions tls.ClientSessionCache) (*crowdUser, error) {
	c, err := crowdDial(s, i, sessions)
	if err != nil {
		return nil, err
	}
	return &crowdUser{name: fmt.Sprint("user", i), conn: c, r: bufio.NewReader(c)}, nil
}

// asks sends one request and waits for its final answer.
func (u *crowdUser) asks(method, to string) (status string, err error) {
	u.n++
	id := fmt.Sprintf("%s-%d", u.name, u.n)
	r := request{method: method, uri: to, to: to, from: "sip:" + u.name + "@example.com", fromTag: id, id: id, cseq: "1", branch: "z9hG4bK" + id}
	if method == "REGISTER" {
		r.uri, r.to = "sip:example.com", r.from
	}
	r.more = "Contact: <sip:" + u.name + "@192.0.2.1:5061;transport=tls>;+sip.instance=\"<urn:uuid:" + u.name + ">\";reg-id=1\nExpires: 600\n"
	u.conn.SetDeadline(time.Now().Add(patience))
	if _, err := u.conn.Write(r.wire(u.name)); err != nil {
		return "", err
	}
	for {
		m, err := hear(u.r)
		if err != nil {
			return "", err
		}
		if m != nil && m.what() != "100" {
			return m.what(), nil
		}
	}
}

// inParallel does something n times, so many at once, and returns the errors.
func inParallel(n, width int, do func(i int) error) error {
	var group sync.WaitGroup
	var next atomic.Int64
	errs := make(chan error, n)
	for range width {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					errs <- fmt.Errorf("%d: %w", i, err)
				}
			}
		})
	}
	group.Wait()
	close(errs)
	var list []error
	for err := range errs {
		list = append(list, err)
	}
	return errors.Join(list[:min(len(list), 5)]...)
}

// peak is the most memory that the edge has had, in MiB.
func peak(t *testing.T, s *stage) int {
	text, err := os.ReadFile("/proc/" + s.env("EDGE_PID") + "/status")
	if err != nil {
		t.Skip("there is no /proc to see the edge's memory in")
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	n, _ := strconv.Atoi(string(m[1]))
	return n >> 10
}

// TestACrowdOfHalfConnectionsDisturbsNobody: connections on which nothing comes, or half a
// ClientHello, or a handshake and half a REGISTER. Who is signed in does not notice, who
// comes from a known address gets in, all of the crowd is cut at its deadline, and the
// memory stays bounded.
func TestACrowdOfHalfConnectionsDisturbsNobody(t *testing.T) {
	n := crowdSize(t)
	s := crowdStage(t, "overload = false\nmessage_timeout = \"10s\"\nhandshake_timeout = \"5s\"\n")
	var good []*crowdUser
	for i := range 20 {
		u, err := newCrowdUser(s, 60000+i, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer u.conn.Close()
		if status, err := u.asks("REGISTER", ""); status != "200" {
			t.Fatalf("a good user signs in: %s, %v", status, err)
		}
		good = append(good, u)
	}
	stop, ended := make(chan struct{}), make(chan []time.Duration)
	go func() { ended <- talk(t, good, stop) }()

	var cut atomic.Int64
	var left sync.WaitGroup
	half := []byte("REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS x.invalid;branch=z9hG4bKhalf\r\nFrom: <sip:u")
	err := inParallel(n, 64, func(i int) error {
		var c net.Conn
		var err error
		switch d := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 8, byte(i>>5), byte(i%250+1))}}); i % 3 {
		case 0, 1:
			if c, err = d.Dial("tcp", s.env("REMOTE")); err == nil && i%3 == 1 {
				_, err = c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00"))
			}
		default:
			if c, err = crowdDial(s, i%50000, nil); err == nil {
				_, err = c.Write(half)
			}
		}
		if err != nil {
			cut.Add(1) // turned away at once: that is fair
			return nil
		}
		left.Go(func() {
			defer c.Close()
			c.SetReadDeadline(time.Now().Add(4 * patience))
			if _, err := io.Copy(io.Discard, c); !errors.Is(err, os.ErrDeadlineExceeded) {
				cut.Add(1)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	back, err := newCrowdUser(s, 60000, nil)
	if err != nil {
		t.Fatalf("who comes from a known address does not get in: %v", err)
	}
	defer back.conn.Close()
	back.name = "back"
	if status, err := back.asks("REGISTER", ""); status != "200" {
		t.Errorf("who comes from a known address does not get in: %s, %v", status, err)
	}
	left.Wait()
	close(stop)
	took := <-ended
	if int(cut.Load()) != n {
		t.Errorf("%d of %d were cut", cut.Load(), n)
	}
	slices.Sort(took)
	t.Logf("%d messages of good users, p50 %v, p99 %v; the edge had %d MiB at most",
		len(took), took[len(took)/2], took[len(took)*99/100], peak(t, s))
	if got := peak(t, s); got > 300*racedMemory {
		t.Errorf("the edge had %d MiB", got)
	}
}

// talk lets users write to each other until stop, and returns how long it took.
func talk(t *testing.T, users []*crowdUser, stop <-chan struct{}) (took []time.Duration) {
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return took
		case <-pace.C:
		}
		began := time.Now()
		if status, err := users[i%len(users)].asks("MESSAGE", "sip:user1@example.com"); status != "200" {
			t.Errorf("a good user's message: %s, %v", status, err)
			return took
		}
		took = append(took, time.Since(began))
	}
}

// TestACrowdComesBackAfterARestart: all users connect again at once. Those who are turned
// away try again, as RFC 5626 §4.5 has clients do, and nobody is lost. Their sessions go on
// from before the restart, which saves most of what a handshake costs.
func TestACrowdComesBackAfterARestart(t *testing.T) {
	n := crowdSize(t)
	s := crowdStage(t, "overload = false\n")
	users := make([]*crowdUser, n)
	defer func() {
		for _, u := range users {
			if u != nil {
				u.conn.Close()
			}
		}
	}()
	sessions := tls.NewLRUClientSessionCache(1)
	var resumed atomic.Int64
	come := func(i int) error {
		deadline := time.Now().Add(4 * patience)
		for {
			u, err := newCrowdUser(s, i%50000, sessions)
			status := ""
			if err == nil {
				status, err = u.asks("REGISTER", "")
			}
			if status == "200" {
				users[i] = u
				if u.conn.(*tls.Conn).ConnectionState().DidResume {
					resumed.Add(1)
				}
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s, %w", status, err)
			}
		}
	}
	for _, when := range []string{"at first", "after a restart"} {
		began := time.Now()
		if err := inParallel(n, min(n, 512), come); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		t.Logf("%s: %d users in %v, %.0f a second", when, n, time.Since(began), float64(n)/time.Since(began).Seconds())
		if err := inParallel(n, 64, func(i int) error {
			if status, err := users[i].asks("MESSAGE", "sip:user1@example.com"); status != "200" {
				return fmt.Errorf("%s, %w", status, err)
			}
			return nil
		}); err != nil {
			t.Errorf("%s: who is signed in cannot write: %v", when, err)
		}
		if when == "at first" {
			s.play(t, "edge dies", "edge starts")
			resumed.Store(0)
		}
	}
	if got := int(resumed.Load()); got < n/2 {
		t.Errorf("%d of %d went on with their session after the restart", got, n)
	}
}

// TestACrowdInTurnLeavesNothingBehind: sign in, write, sign out or just hang up, again and
// again. Afterwards no connection is left, and no more memory than what is remembered of
// addresses, which is bounded.
func TestACrowdInTurnLeavesNothingBehind(t *testing.T) {
	n := crowdSize(t)
	s := crowdStage(t, "overload = false\n")
	sessions := tls.NewLRUClientSessionCache(1)
	turn := func(i int) error {
		u, err := newCrowdUser(s, i%50000, sessions)
		if err != nil {
			return err
		}
		defer u.conn.Close()
		if i%5 == 4 {
			return nil // as scanners do
		}
		if status, err := u.asks("REGISTER", ""); status != "200" {
			return fmt.Errorf("%s, %w", status, err)
		}
		return nil
	}
	warm := min(n, 2000)
	if err := inParallel(warm, 32, turn); err != nil {
		t.Fatal(err)
	}
	before := peak(t, s)
	if err := inParallel(n, 32, turn); err != nil {
		t.Fatal(err)
	}
	s.awaitNobody(t)
	after := peak(t, s)
	t.Logf("%d in turn: %d MiB before, %d MiB after", n, before, after)
	if after > before+100*racedMemory {
		t.Errorf("%d MiB before, %d MiB after %d more", before, after, n)
	}
}

// awaitNobody waits until the edge has closed the last of the crowd's connections.
func (s *stage) awaitNobody(t *testing.T) {
	t.Helper()
	port := s.env("REMOTE_PORT")
	n, _ := strconv.Atoi(port)
	want := fmt.Sprintf(":%04X ", n)
	for deadline := time.Now().Add(patience); ; {
		text, err := os.ReadFile("/proc/" + s.env("EDGE_PID") + "/net/tcp")
		if err != nil {
			t.Skip("there is no /proc to see connections in")
		}
		open := 0
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 3 && strings.HasSuffix(fields[1]+" ", want) && (fields[3] == "01" || fields[3] == "08") {
				open++
			}
		}
		if open == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are still open", open)
		}
	}
}

package home_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/home"
)

// An outskirt stands in for an edge: users come to one of its sockets, home
// servers to the other, and it adds Path, Via and Record-Route as RFC 3327 and
// RFC 5626 §5 say. It is for well-behaved peers: it judges nothing.
type outskirt struct {
	t             *testing.T
	ca            *certs.Authority
	users, inside net.Listener
	pings         chan int // the number of who pinged
	path          string   // parameters of the Path; "": adds none
	extra         string   // lines to be added to answers for users

	mu    sync.Mutex
	next  int
	links map[int]*link
	homes map[string]*link // by domain and by address
	seen  []string         // heads of requests that home servers sent
}

// A link is one connection; user: somebody outside.
type link struct {
	n    int
	user bool
	conn net.Conn
	mu   sync.Mutex
}

func (l *link) write(message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.conn, message)
}

const edgeName = "edge1.example.com"

func newOutskirt(t *testing.T) *outskirt {
	t.Helper()
	ca, err := certs.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	o := &outskirt{t: t, ca: ca, pings: make(chan int, 64), path: ";transport=tls;lr;ob", links: map[int]*link{}, homes: map[string]*link{}}
	pair := o.pair(edgeName)
	o.users = o.listen(certs.ServerConfig(certs.ServerOptions{Keypair: pair, Peer: certs.NotAsked}), true)
	o.inside = o.listen(certs.ServerConfig(certs.ServerOptions{Keypair: pair, Verifier: o.verifier()}), false)
	return o
}

func (o *outskirt) pair(name string) *certs.Keypair {
	kp, err := o.ca.Keypair(certs.Leaf{Names: []string{name}})
	if err != nil {
		o.t.Fatal(err)
	}
	return kp
}

func (o *outskirt) verifier() *certs.Verifier {
	return &certs.Verifier{Roots: func() *x509.CertPool { return o.ca.Pool() }}
}

func (o *outskirt) listen(cfg *tls.Config, user bool) net.Listener {
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, ok := o.add(conn, user); !ok {
				conn.Close()
			}
		}
	}()
	return l
}

func (o *outskirt) add(conn net.Conn, user bool) (*link, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.t.Context().Err() != nil {
		return nil, false
	}
	o.t.Cleanup(func() { conn.Close() })
	o.next++
	l := &link{n: o.next, user: user, conn: conn}
	o.links[l.n] = l
	go o.serve(l)
	return l, true
}

// home starts a home server behind the edge and connects to it.
func (o *outskirt) home(domain string) *home.Server {
	o.t.Helper()
	s := start(o.t, home.Config{
		Domain: domain, Edge: o.inside.Addr().String(),
		TLS: &home.TLS{Keypair: o.pair("sip." + domain), Roots: o.ca.Pool(), Edge: edgeName},
	})
	o.connect(domain, s)
	return s
}

// connect makes the edge's connection to a home server, also once more.
func (o *outskirt) connect(domain string, s *home.Server) {
	o.t.Helper()
	conn, err := tls.Dial("tcp", s.Addr().String(), certs.ClientConfig(certs.ClientOptions{
		Keypair: o.pair(edgeName), Verifier: o.verifier(), ServerName: "sip." + domain,
	}))
	if err != nil {
		o.t.Fatal(err)
	}
	l, _ := o.add(conn, false)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.homes[domain], o.homes[s.Addr().String()] = l, l
}

// cut ends the connection of a user.
func (o *outskirt) cut(n int) {
	o.mu.Lock()
	l := o.links[n]
	delete(o.links, n)
	o.mu.Unlock()
	l.conn.Close()
}

func (o *outskirt) serve(l *link) {
	r := bufio.NewReader(l.conn)
	for {
		if b, err := r.Peek(2); err != nil {
			o.mu.Lock()
			delete(o.links, l.n)
			o.mu.Unlock()
			return
		} else if string(b) == "\r\n" {
			if ping, _ := r.Peek(4); string(ping) == "\r\n\r\n" {
				r.Discard(2)
				select {
				case o.pings <- l.n:
				default:
				}
				l.write("\r\n")
			}
			r.Discard(2)
			continue
		}
		var head []string
		for {
			line, err := r.ReadString('\n')
			if line = strings.TrimSpace(line); err != nil || line == "" {
				break
			}
			head = append(head, line)
		}
		n, _ := strconv.Atoi(value(strings.Join(head, "\n"), "Content-Length"))
		body := make([]byte, n)
		io.ReadFull(r, body)
		if strings.HasPrefix(head[0], "SIP/2.0") {
			o.response(head, string(body))
		} else {
			o.request(l, head, string(body))
		}
	}
}

// response takes our Via off, and goes back to the link that it names.
func (o *outskirt) response(head []string, body string) {
	i := slices.IndexFunc(head, func(line string) bool { return strings.HasPrefix(line, "Via:") })
	var n int
	_, branch, _ := strings.Cut(head[i], "branch=z9hG4bKedge.")
	fmt.Sscanf(branch, "%d.", &n)
	head = slices.Delete(head, i, i+1)
	o.mu.Lock()
	l := o.links[n]
	o.mu.Unlock()
	if l == nil {
		return
	}
	if l.user && o.extra != "" {
		head = slices.Insert(head, 1, o.extra)
	}
	l.write(strings.Join(head, "\r\n") + "\r\n\r\n" + body)
}

// request is RFC 3261 §16 for those who are trusted.
func (o *outskirt) request(from *link, head []string, body string) {
	method, _, _ := strings.Cut(head[0], " ")
	if !from.user {
		o.mu.Lock()
		o.seen = append(o.seen, strings.Join(head, "\n"))
		o.mu.Unlock()
	}
	to, head, failed := o.way(from, head)
	_, branch, _ := strings.Cut(value(strings.Join(head, "\n"), "Via"), "branch=z9hG4bK")
	branch, _, _ = strings.Cut(branch, ";")
	switch {
	case to == nil && method == "ACK":
		return
	case to == nil:
		status := "404 Nowhere"
		if failed {
			status = "430 Flow Failed"
		}
		lines := []string{"SIP/2.0 " + status}
		for _, line := range head {
			if n, _, _ := strings.Cut(line, ":"); slices.Contains([]string{"Via", "From", "To", "Call-ID", "CSeq"}, n) {
				lines = append(lines, line)
			}
		}
		from.write(strings.Join(append(lines, "Content-Length: 0"), "\r\n") + "\r\n\r\n")
		return
	}
	add := []string{fmt.Sprintf("Via: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bKedge.%d.%s", from.n, branch)}
	me := 0 // whose token it is
	if to.user {
		me = to.n
	} else if from.user {
		me = from.n
	}
	switch {
	case method == "REGISTER" && o.path != "":
		add = append(add, "Path: <"+o.token(me)+o.path+">")
	case slices.Contains([]string{"INVITE", "SUBSCRIBE", "NOTIFY"}, method):
		add = append(add, "Record-Route: <"+o.token(me)+";transport=tls;lr>")
	}
	to.write(strings.Join(slices.Insert(head, 1, add...), "\r\n") + "\r\n\r\n" + body)
}

func (o *outskirt) token(n int) string { return fmt.Sprintf("sip:e.%d@%s:5061", n, edgeName) }

// way takes our Routes off, and says where they, the next Route or the
// Request-URI lead.
func (o *outskirt) way(from *link, head []string) (to *link, rest []string, failed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	token, next := 0, ""
	for _, line := range head {
		if !strings.HasPrefix(line, "Route:") || next != "" {
			rest = append(rest, line)
			continue
		}
		if !strings.Contains(line, "@"+edgeName) {
			_, next, _ = strings.Cut(line, "<sip:")
			next, _, _ = strings.Cut(next, ";")
			rest = append(rest, line)
			continue
		}
		n := 0
		fmt.Sscanf(line, "Route: <sip:e.%d@", &n)
		if n != 0 && n != from.n {
			token = n
		}
	}
	_, uri, _ := strings.Cut(head[0], " ")
	switch {
	case token != 0:
		return o.links[token], rest, o.links[token] == nil
	case next != "":
		return o.homes[next], rest, false
	case from.user:
		return o.homes["example.com"], rest, false
	}
	uri, _, _ = strings.Cut(strings.TrimPrefix(uri, "sip:"), " ")
	if _, host, ok := strings.Cut(uri, "@"); ok {
		uri = host
	}
	uri, _, _ = strings.Cut(uri, ";")
	return o.homes[uri], rest, false
}

// sent are the requests of a method that home servers sent here.
func (o *outskirt) sent(method string) (heads []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, head := range o.seen {
		if strings.HasPrefix(head, method+" ") {
			heads = append(heads, head)
		}
	}
	return heads
}

// signIn signs a user in from outside, and tells the number of his link.
func (o *outskirt) signIn(cfg home.UserConfig) (*home.User, int) {
	o.t.Helper()
	cfg.Servers = []string{o.users.Addr().String()}
	cfg.TLS = &home.UserTLS{Roots: o.ca.Pool(), ServerName: edgeName}
	u := signIn(o.t, cfg)
	o.mu.Lock()
	defer o.mu.Unlock()
	newest := 0
	for n, l := range o.links {
		if l.user {
			newest = max(newest, n)
		}
	}
	return u, newest
}

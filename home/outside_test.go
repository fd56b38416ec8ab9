package home_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"

	"github.com/sipedge/sipedge/home"
)

func received(t *testing.T, u *home.User, text string) home.Message {
	t.Helper()
	select {
	case m := <-u.Inbox():
		if m.Text != text {
			t.Fatalf("%s got %q, want %q", u.URI(), m.Text, text)
		}
		return m
	case <-soon(t).Done():
		t.Fatalf("%s got nothing, want %q", u.URI(), text)
	}
	return home.Message{}
}

func writes(t *testing.T, from, to *home.User, text string) {
	t.Helper()
	a, err := from.Message(soon(t), to.URI(), text)
	wantStatus(t, "MESSAGE", a, err, 200)
	received(t, to, text)
}

func TestUserOutsideIsReachedByThePathOfHisSignIn(t *testing.T) {
	o := newOutskirt(t)
	s := o.home("example.com")
	bob := signIn(t, home.UserConfig{Name: "bob"}, s)
	for _, alg := range []string{"MD5", "SHA-256"} {
		t.Run(alg, func(t *testing.T) {
			alice, n := o.signIn(home.UserConfig{Name: "alice", Algorithm: alg})
			writes(t, bob, alice, "out with "+alg)
			sent := o.sent("MESSAGE")
			head := sent[len(sent)-1]
			if route, want := value(head, "Route"), fmt.Sprintf("<sip:e.%d@edge1.example.com:5061;transport=tls;lr;ob>", n); route != want {
				t.Errorf("Route: %s, want %s", route, want)
			}
			if uri := strings.Fields(head)[1]; !strings.HasPrefix(uri, "sip:alice@") || !strings.Contains(uri, ".invalid") {
				t.Errorf("Request-URI %s, want alice's contact", uri)
			}
			writes(t, alice, bob, "in with "+alg)
		})
	}
}

func TestUserOutsideCallsAndIsCalled(t *testing.T) {
	o := newOutskirt(t)
	ours, theirs := o.home("example.com"), o.home("fabrikam.example")
	came := make(chan *home.Call, 2)
	alice, _ := o.signIn(home.UserConfig{Name: "alice", OnCall: answering(came)})
	carol, _ := o.signIn(home.UserConfig{Name: "carol", Password: "singer", OnCall: answering(came)})
	bob := signIn(t, home.UserConfig{Name: "bob", OnCall: answering(came)}, ours)
	dan := signIn(t, home.UserConfig{Name: "bob", Domain: "fabrikam.example", OnCall: answering(came)}, theirs)
	for _, tt := range []struct {
		name     string
		from, to *home.User
	}{
		{"a user inside", alice, bob},
		{"by a user inside", bob, alice},
		{"a user of another company", alice, dan},
		{"by a user of another company", dan, alice},
		{"another user outside", alice, carol},
	} {
		for end, hangUp := range map[string]bool{"and hangs up": false, "and is hung up on": true} {
			t.Run(tt.name+" "+end, func(t *testing.T) {
				writes(t, tt.from, tt.to, "may I call?")
				call(t, tt.from, tt.to.URI(), came, hangUp)
			})
		}
	}
}

func TestPresenceGoesBothWaysForUsersOutside(t *testing.T) {
	o := newOutskirt(t)
	ours, theirs := o.home("example.com"), o.home("fabrikam.example")
	alice, _ := o.signIn(home.UserConfig{Name: "alice"})
	bob := signIn(t, home.UserConfig{Name: "bob"}, ours)
	dan := signIn(t, home.UserConfig{Name: "bob", Domain: "fabrikam.example"}, theirs)
	for _, tt := range []struct {
		name         string
		seen, viewer *home.User
	}{
		{"inside is seen outside", bob, alice},
		{"outside is seen inside", alice, bob},
		{"outside is seen by another company", alice, dan},
		{"another company is seen outside", dan, alice},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := tt.seen.Publish(soon(t), true, tt.name)
			wantStatus(t, "PUBLISH", a, err, 200)
			w, a, err := tt.viewer.Watch(soon(t), tt.seen.URI())
			wantStatus(t, "SUBSCRIBE", a, err, 200)
			for note := tt.name; note != ""; {
				n, err := w.Next(soon(t))
				if err != nil {
					t.Fatalf("NOTIFY: %v, want %q", err, note)
				}
				switch {
				case n.Presence.Note != note: // what was said before
				case note == "changed":
					note = ""
				default:
					note = "changed"
					a, err = tt.seen.Publish(soon(t), true, note)
					wantStatus(t, "PUBLISH", a, err, 200)
				}
			}
			a, err = w.End(soon(t))
			wantStatus(t, "SUBSCRIBE in the dialog", a, err, 200)
		})
	}
}

func TestUserOutsideWhoseConnectionIsGone(t *testing.T) {
	o := newOutskirt(t)
	s := o.home("example.com")
	bob := signIn(t, home.UserConfig{Name: "bob"}, s)
	laptop, _ := o.signIn(home.UserConfig{Name: "alice"})
	phone, n := o.signIn(home.UserConfig{Name: "alice"})
	writes(t, bob, phone, "to the newest")
	o.cut(n)
	a, err := bob.Message(soon(t), phone.URI(), "to the other one")
	wantStatus(t, "MESSAGE", a, err, 200)
	received(t, laptop, "to the other one")
	o.cut(n - 1)
	a, err = bob.Message(soon(t), phone.URI(), "to nobody")
	wantStatus(t, "MESSAGE", a, err, 480)
	c, err := bob.Dial(soon(t), phone.URI())
	if err != nil {
		t.Fatal(err)
	}
	a, err = c.Wait(soon(t))
	wantStatus(t, "INVITE", a, err, 480)
}

func TestUserOutsideWhoLostHisConnectionSignsInBeforeHeSpeaks(t *testing.T) {
	o := newOutskirt(t)
	s := o.home("example.com")
	bob := signIn(t, home.UserConfig{Name: "bob"}, s)
	alice, n := o.signIn(home.UserConfig{Name: "alice"})
	o.cut(n)
	for until := soon(t); ; { // sipgo has seen the end
		if a, err := alice.Message(until, bob.URI(), "here I am"); err == nil && a.Status == 200 {
			break
		}
		if until.Err() != nil {
			t.Fatal("alice did not get through")
		}
	}
	writes(t, bob, alice, "there you are")
}

func TestCallGoesToTheNextDevice(t *testing.T) {
	o := newOutskirt(t)
	s := o.home("example.com")
	came := make(chan *home.Call, 1)
	bob := signIn(t, home.UserConfig{Name: "bob"}, s)
	o.signIn(home.UserConfig{Name: "alice", OnCall: answering(came)})
	_, n := o.signIn(home.UserConfig{Name: "alice"})
	o.cut(n)
	call(t, bob, "sip:alice@example.com", came, false)
	invites, acks := o.sent("INVITE"), o.sent("ACK")
	if len(invites) != 2 || len(acks) != 2 {
		t.Fatalf("%d INVITE and %d ACK, want two each", len(invites), len(acks))
	}
	first, second := value(invites[0], "Via"), value(invites[1], "Via")
	if got := value(acks[0], "Via"); got != first {
		t.Errorf("Via of the first ACK is %s, want that of the INVITE that was refused, %s", got, first)
	}
	if first == second {
		t.Errorf("both INVITEs have the Via %s, want two transactions", first)
	}
}

func TestUserOutsideIsRefused(t *testing.T) {
	o := newOutskirt(t)
	s := o.home("example.com")
	guess := func(password string) home.UserConfig {
		return home.UserConfig{
			Name: "alice", Domain: "example.com", Password: password, Servers: []string{o.users.Addr().String()},
			TLS: &home.UserTLS{Roots: o.ca.Pool(), ServerName: edgeName}, From: netip.MustParseAddr("127.0.0.1"),
		}
	}
	for range 7 { // more than one connection may inside
		a, err := home.Guess(soon(t), guess("builder"))
		wantStatus(t, "guess", a, err, 403)
	}
	a, err := home.Guess(soon(t), guess("wonderland"))
	wantStatus(t, "guess", a, err, 200)
	bob := signIn(t, home.UserConfig{Name: "bob"}, s)
	a, err = bob.Message(soon(t), "sip:alice@example.com", "are you there?")
	wantStatus(t, "MESSAGE to who was guessed", a, err, 480)

	_, err = home.SignIn(soon(t), guess("builder"))
	var refused *home.Refused
	if !errors.As(err, &refused) || refused.Answer.Status != 403 || refused.Answer.CallID == "" {
		t.Errorf("sign-in ended with %v, want 403", err)
	}
	wrong := guess("wonderland")
	wrong.TLS.ServerName = "edge2.example.com"
	if _, err = home.SignIn(soon(t), wrong); err == nil || errors.As(err, &refused) {
		t.Errorf("sign-in at who is not the edge ended with %v, want no answer", err)
	}
}

func TestSignInOutsideIsRefreshedKeptAliveAndEnded(t *testing.T) {
	o := newOutskirt(t)
	o.extra = "Flow-Timer: 1"
	s := o.home("example.com")
	bob := signIn(t, home.UserConfig{Name: "bob"}, s)
	alice, n := o.signIn(home.UserConfig{Name: "alice", Expires: 2 * time.Second})
	began := time.Now()
	for range 3 {
		select {
		case got := <-o.pings:
			if got != n {
				t.Fatalf("connection %d pinged, want %d", got, n)
			}
		case <-soon(t).Done():
			t.Fatal("no ping")
		}
	}
	if time.Since(began) < 2*time.Second {
		t.Fatal("three pings in less than 2 s")
	}
	writes(t, bob, alice, "past two seconds")
	o.cut(n)
	for { // the next ping finds no connection
		if a, err := bob.Message(soon(t), alice.URI(), "again"); err == nil && a.Status == 200 {
			break
		}
		<-o.pings // another one, or that of the new connection
	}
	received(t, alice, "again")
	if err := alice.SignOut(soon(t)); err != nil {
		t.Fatal(err)
	}
	a, err := bob.Message(soon(t), alice.URI(), "gone")
	wantStatus(t, "MESSAGE", a, err, 480)
}

// fromEdge is a phone that the home server takes for its edge: it plays what
// the edge relays for alice.
func fromEdge(t *testing.T) (*home.Server, *phone) {
	s := start(t, home.Config{})
	return s, dial(t, s.Addr())
}

// register sends a REGISTER of alice with her password, and wants a status.
func (p *phone) register(status string, more ...string) string {
	p.t.Helper()
	lines := func(more ...string) []string {
		l := request("REGISTER", "sip:example.com", "alice@example.com", "r", more...)
		l[3] = "To: <sip:alice@example.com>"
		return l
	}
	p.send(lines()...)
	c, err := digest.ParseChallenge(value(p.want("401"), "WWW-Authenticate"))
	if err != nil {
		p.t.Fatal(err)
	}
	cred, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:example.com", Username: "alice", Password: "wonderland"})
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(lines(append(more, "Authorization: "+cred.String())...)...)
	return p.want(status)
}

const (
	pathLine     = "Path: <sip:e.T1@edge1.example.com:5061;transport=tls;lr;ob>"
	pathWithout  = "Path: <sip:e.T1@edge1.example.com:5061;transport=tls;lr>"
	phoneOne     = `Contact: <sip:alice@192.0.2.7:5060>;+sip.instance="<urn:uuid:1>";reg-id=1`
	phoneMoved   = `Contact: <sip:alice@198.51.100.9:7000>;+sip.instance="<urn:uuid:1>";reg-id=1`
	phoneTwo     = `Contact: <sip:alice@192.0.2.7:5060>;+sip.instance="<urn:uuid:2>";reg-id=1`
	plainContact = "Contact: <sip:alice@192.0.2.7:5060>;expires=90"
)

func TestRegistrationThroughTheEdge(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lines  []string
		status string
		want   []string // parts of the answer
		not    []string
	}{
		{"path and outbound", []string{pathLine, phoneOne, "Supported: path, outbound"}, "200",
			[]string{pathLine, "Require: outbound", `+sip.instance="<urn:uuid:1>";reg-id=1;expires=3600`}, nil},
		{"a path is told to who knows it", []string{pathLine, plainContact, "Supported: path"}, "200",
			[]string{pathLine, "expires=90"}, []string{"Require"}},
		{"and to nobody else", []string{pathLine, plainContact}, "200", nil, []string{"\nPath", "Require"}},
		{"two paths in one line", []string{"Path: <sip:e.T1@edge1.example.com;lr;ob>, <sip:b@h;lr>", plainContact, "k: path"}, "200",
			[]string{"Path: <sip:e.T1@edge1.example.com;lr;ob>\r\nPath: <sip:b@h;lr>"}, nil},
		{"the user agent does not support outbound", []string{pathLine, phoneOne, "Supported: path"}, "200", nil, []string{"Require"}},
		{"the first hop does not support outbound", []string{pathWithout, phoneOne, "Supported: path, outbound"}, "439", nil, nil},
		{"nor is it asked to", []string{pathWithout, phoneOne, "Supported: path"}, "200", nil, []string{"Require"}},
		{"a reg-id without instance is none", []string{pathWithout, "Contact: <sip:alice@192.0.2.7>;reg-id=1", "Supported: outbound"}, "200",
			nil, []string{"Require"}},
		{"no path, no way back", []string{plainContact}, "421", []string{"Require: path"}, nil},
		{"whoever goes needs none", []string{plainContact, "Contact: <sip:alice@192.0.2.7:5060>;expires=0"}, "421", nil, nil},
		{"a question needs none", nil, "200", nil, []string{"Contact"}},
		{"a strict router", []string{"Path: <sip:edge1.example.com>", plainContact}, "400", nil, nil},
		{"a path that is none", []string{"Path: edge, <", plainContact}, "400", nil, nil},
		{"a path of another scheme", []string{"Path: <tel:+1;lr>", plainContact}, "400", nil, nil},
		{"a path too long", []string{"Path: <sip:" + strings.Repeat("x", 3000) + "@h;lr>", plainContact}, "400", nil, nil},
		{"two contacts of one flow", []string{pathLine, phoneOne, plainContact}, "400", nil, nil},
		{"all and one more", []string{pathLine, "Contact: *", plainContact, "Expires: 0"}, "400", nil, nil},
		{"a gruu", []string{pathLine, phoneOne, "Supported: path, outbound, gruu"}, "200",
			[]string{`pub-gruu="sip:alice@example.com;gr=urn:uuid:1"`}, nil},
		{"an extension that nobody has", []string{pathLine, phoneOne, "Require: path, telepathy"}, "420", []string{"Unsupported: telepathy"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, p := fromEdge(t)
			if tt.status == "420" {
				p.send(request("REGISTER", "sip:example.com", "alice@example.com", "r", tt.lines...)...)
				answered(t, p.want(tt.status), tt.want, tt.not)
				return
			}
			answered(t, p.register(tt.status, tt.lines...), tt.want, tt.not)
		})
	}
}

func answered(t *testing.T, head string, want, not []string) {
	t.Helper()
	for _, part := range want {
		if !strings.Contains(head, part) {
			t.Errorf("answer without %q:\n%s", part, head)
		}
	}
	for _, part := range not {
		if strings.Contains(head, part) {
			t.Errorf("answer with %q:\n%s", part, head)
		}
	}
}

func TestBindingIsThatOfTheInstance(t *testing.T) {
	_, p := fromEdge(t)
	contacts := func(head string) int { return strings.Count(head, "\nContact:") }
	p.register("200", pathLine, phoneOne, "Supported: path, outbound")
	if n := contacts(p.register("200", pathLine, phoneMoved, "Supported: path, outbound")); n != 1 {
		t.Errorf("moved: %d contacts, want 1", n)
	}
	if n := contacts(p.register("200", pathLine, phoneTwo, "Supported: path, outbound")); n != 2 {
		t.Errorf("a second phone: %d contacts, want 2", n)
	}
	head := p.register("200", pathLine, phoneMoved, "Expires: 0")
	if contacts(head) != 1 || !strings.Contains(head, "urn:uuid:2") {
		t.Errorf("the first has gone: %s\nwant the second only", head)
	}
	if n := contacts(p.register("200", "Contact: *", "Expires: 0")); n != 0 {
		t.Errorf("all have gone: %d contacts are left", n)
	}
	for i := range 15 {
		head = p.register("200", pathLine, fmt.Sprintf("Contact: <sip:alice@192.0.2.7:%d>", 1000+i))
	}
	if contacts(head) != 10 || !strings.Contains(head, "192.0.2.7:1014>") || strings.Contains(head, "192.0.2.7:1004>") {
		t.Errorf("fifteen places: %s\nwant the last ten", head)
	}
}

func TestNonceIsGoodOnAnotherConnectionOfTheEdge(t *testing.T) {
	s, one := fromEdge(t)
	two := dial(t, s.Addr())
	one.send(request("REGISTER", "sip:example.com", "alice@example.com", "1")...)
	c, err := digest.ParseChallenge(value(one.want("401"), "WWW-Authenticate"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ nonce, password, status string }{
		{c.Nonce, "wonderland", "200"},
		{"of.another", "wonderland", "401"}, // stale
		{"of.another", "builder", "403"},
	} {
		c.Nonce = tt.nonce
		cred, _ := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:example.com", Username: "alice", Password: tt.password})
		lines := request("REGISTER", "sip:example.com", "alice@example.com", "2", "Authorization: "+cred.String())
		lines[3] = "To: <sip:alice@example.com>"
		two.send(lines...)
		if head := two.want(tt.status); tt.status == "401" && !strings.Contains(head, "stale=true") {
			t.Errorf("not stale: %s", head)
		}
	}
}

func TestContactOfSomebodyElseIsNoWayToHim(t *testing.T) {
	s := start(t, home.Config{})
	alice, bob := dial(t, s.UserAddr()), dial(t, s.UserAddr())
	alice.signIn("alice", "wonderland")
	bob.signIn("bob", "builder")
	for _, contact := range []string{"sip:bob@example.com", "sip:bob@192.0.2.7:5060"} {
		alice.register("200", "Contact: <"+contact+">")
		for i := range 10 { // by luck, one may go right
			lines := request("MESSAGE", contact, "alice@example.com", fmt.Sprint("m", i))
			lines[3] = "To: <sip:bob@example.com>"
			alice.send(lines...)
			if head := bob.read(); !strings.HasPrefix(head, "MESSAGE ") {
				t.Fatalf("bob got %s", head)
			}
		}
	}
}

func TestGRUUNamesOneDevice(t *testing.T) {
	s := start(t, home.Config{})
	alice, bob := dial(t, s.UserAddr()), dial(t, s.UserAddr())
	bob.signIn("bob", "builder")
	alice.register("200", phoneOne)
	alice.register("200", phoneTwo)
	for i, tt := range []struct{ gr, want string }{
		{"urn:uuid:1", "MESSAGE sip:alice@192.0.2.7:5060 SIP/2.0"},
		{"urn:uuid:3", ""},
	} {
		bob.send(request("MESSAGE", "sip:alice@example.com;gr="+tt.gr, "bob@example.com", fmt.Sprint("g", i))...)
		if tt.want == "" {
			bob.want("480")
			continue
		}
		if head := alice.read(); !strings.HasPrefix(head, tt.want) {
			t.Errorf("to %s: %s, want %s", tt.gr, head, tt.want)
		}
	}
}

func TestPartnerIsNotRelayed(t *testing.T) {
	s, p := fromEdge(t)
	s.SetEdge("127.0.0.1:1") // nobody is there
	for _, tt := range []struct{ name, uri, from, to, route, status string }{
		{"to a stranger", "sip:carol@contoso.example", "bob@fabrikam.example", "", "", "403"},
		{"along a route", "sip:carol@contoso.example", "bob@fabrikam.example", "", "sip:edge1.example.com;lr", "403"},
		{"in a dialog of others", "sip:carol@contoso.example", "bob@fabrikam.example", "<sip:carol@contoso.example>;tag=1", "sip:edge1.example.com;lr", "403"},
		{"in a dialog of ours", "sip:alice@192.0.2.7", "bob@fabrikam.example", "<sip:alice@example.com>;tag=1", "sip:edge1.example.com;lr", "503"},
		{"in a dialog of ours that has ended", "sip:alice@192.0.2.7", "bob@fabrikam.example", "<sip:alice@example.com>;tag=1", "", "481"},
		{"from a user of ours", "sip:carol@contoso.example", "alice@example.com", "", "", "503"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var more []string
			if tt.route != "" {
				more = append(more, "Route: <"+tt.route+">")
			}
			lines := request("MESSAGE", tt.uri, tt.from, "m", more...)
			if tt.to != "" {
				lines[3] = "To: " + tt.to
			}
			p.t = t
			p.send(lines...)
			p.want(tt.status)
		})
	}
	p.t = t
	p.send(request("PUBLISH", "sip:alice@example.com", "bob@fabrikam.example", "p", "Event: presence")...)
	p.want("403")
}

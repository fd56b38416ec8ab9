package xmpp

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/store"
)

const (
	romeo     = "romeo@example.net"       // ours
	juliet    = "juliet@fabrikam.example" // of the network
	sipRomeo  = "sip:romeo@example.net"
	sipJuliet = "sip:juliet@fabrikam.example"
)

var pair = rosterKey{romeo, juliet}

// A wire is the network's side of presence: what was sent stands in a list until
// the test takes it.
type wire struct {
	mu   sync.Mutex
	sent []string
	fail error // why stanzas cannot be delivered; nil: they can
}

func (w *wire) Send(e *stanza.Element, done func(s2s.Outcome)) bool {
	w.mu.Lock()
	id := e.Attr("id")
	if strings.Contains(id, "-") {
		e.SetAttr("id", "") // ours, and another one each time
	}
	w.sent = append(w.sent, string(stanza.Append(nil, e)))
	err := w.fail
	w.mu.Unlock()
	if done != nil {
		done(s2s.Outcome{Acked: err == nil, Err: err})
	}
	return true
}

// cut lets nothing be delivered any more.
func (w *wire) cut(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

// take returns what was sent since it was asked last.
func (w *wire) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.sent
	w.sent = nil
	return list
}

// A stage is presence at work between a wire and a home server, in a bubble of
// virtual time.
type stage struct {
	t     *testing.T
	p     *presence
	home  *bridgestest.Home
	wire  *wire
	store *store.Store
	dir   string
	may   func(user, foreign string, inbound bool) allowlists.Verdict
	fail  chan error
	sip   userAgent                               // nil: a home server
	later func(arrived time.Time, do func()) bool // nil: at once

	receive func(octets []byte) bool                  // by the bridge
	see     func(message string, proof bridges.Proof) // what the bridge sends
}

// dispatch hands requests to presence as the gateway does.
func (s *stage) Request(in *bridges.Incoming) {
	switch in.Method {
	case "SUBSCRIBE":
		s.p.subscribe(in)
	case "NOTIFY", "BENOTIFY":
		s.p.notify(in)
	default:
		in.Answer(bridges.Response{Status: 405}, "")
	}
}

func (s *stage) Canceled(*bridges.Incoming) {}

// onStage runs a test in virtual time.
func onStage(t *testing.T, f func(s *stage)) {
	t.Helper()
	onStageWith(t, presenceLimits{}, f)
}

func onStageWith(t *testing.T, lim presenceLimits, f func(s *stage)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, dir, lim)
		f(s)
		synctest.Wait()
		for _, e := range s.wire.take() {
			t.Errorf("sent besides: %s", e)
		}
		s.home.None(t)
	})
}

func newStage(t *testing.T, dir string, lim presenceLimits) *stage {
	return newStageAt(t, dir, lim, nil)
}

// newStageAt begins at another SIP side than a home server.
func newStageAt(t *testing.T, dir string, lim presenceLimits, sip userAgent) *stage {
	db, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, wire: &wire{}, store: db, dir: dir, fail: make(chan error, 1)}
	s.may = func(string, string, bool) allowlists.Verdict { return allowlists.Verdict{Action: allowlists.Allow} }
	s.sip = sip
	s.begin(lim)
	t.Cleanup(func() {
		s.end()
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// begin starts presence with what is in the store.
func (s *stage) begin(lim presenceLimits) {
	if s.later == nil {
		s.later = func(_ time.Time, do func()) bool { do(); return true }
	}
	endpoint := s.sip
	if endpoint == nil {
		endpoint = s.endpoint()
	}
	s.p = newPresence(presenceConfig{
		log: slog.New(slog.DiscardHandler), sip: endpoint, xmpp: s.wire, store: s.store, lim: lim,
		addresses: address.New(address.Domains{Native: []string{"example.net"}}),
		may:       func(user, foreign string, inbound bool) allowlists.Verdict { return s.may(user, foreign, inbound) },
		later:     s.later,
		caps:      func() *stanza.Element { return stanza.New("http://jabber.org/protocol/caps", "c") },
	})
	if err := s.p.start(func(err error) { s.fail <- err }); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

// endpoint makes the Endpoint of the bridge, which runs until the test ends, and the home
// server behind it.
func (s *stage) endpoint() *bridges.Endpoint {
	e := bridges.NewEndpoint(slog.New(slog.DiscardHandler))
	s.home = bridgestest.NewHome(s.t, e.Receive)
	s.receive = e.Receive
	link := &bridgestest.Link{Host: "bridge.example.com:5061", To: s.home.Receive, See: func(octets []byte, proof bridges.Proof) bool {
		if proof == bridges.ProofNone && !bytes.HasPrefix(octets, []byte("SIP/2.0 ")) {
			s.t.Errorf("nothing proves who sends\n%s", octets) // no edge would let it in
		}
		if s.see != nil {
			s.see(string(octets), proof)
		}
		return true
	}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx, link, s); err != nil {
			s.t.Errorf("endpoint: %v", err)
		}
	})
	s.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	<-e.Started()
	return e
}

// end ends presence; its goodbyes are left on the wire.
func (s *stage) end() {
	s.p.stop(context.Background())
	select {
	case err := <-s.fail:
		s.t.Error(err)
	default:
	}
}

// x lets the network send stanzas, which presence takes together: what it says after the
// first of them could else be said before the second is there.
func (s *stage) x(stanzas ...string) {
	s.t.Helper()
	hold, held := make(chan bool), make(chan bool)
	s.p.loop.post(func() { close(held); <-hold })
	<-held
	for _, xml := range stanzas {
		s.p.stanza(parsed(s.t, xml), bridges.ProofCertificate)
	}
	close(hold)
	synctest.Wait()
}

// want fails the test unless exactly these stanzas were sent.
func (s *stage) want(stanzas ...string) {
	s.t.Helper()
	synctest.Wait()
	got := s.wire.take()
	if len(stanzas) != len(got) || strings.Join(got, "\n") != strings.Join(stanzas, "\n") {
		s.t.Fatalf("sent\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(stanzas, "\n  "))
	}
}

// presenceOf is a stanza from our user to the other.
func (s *stage) to(kind string) string {
	return fmt.Sprintf("<presence from='%s' to='%s' type='%s'/>", romeo, juliet, kind)
}

// from is a stanza from the other to our user.
func (s *stage) from(kind string) string {
	return fmt.Sprintf("<presence from='%s' to='%s' type='%s'/>", juliet, romeo, kind)
}

// available is presence of our user as the other sees it.
func available(resource, more string) string {
	return fmt.Sprintf("<presence from='%s/%s' to='%s'>%s<c xmlns='http://jabber.org/protocol/caps'/></presence>", romeo, resource, juliet, more)
}

func unavailable(resource string) string {
	return fmt.Sprintf("<presence from='%s/%s' to='%s' type='unavailable'/>", romeo, resource, juliet)
}

// subscribed takes a SUBSCRIBE with this Expires from the bridge.
func (s *stage) subscribed(expires string) *bridges.Incoming {
	s.t.Helper()
	synctest.Wait()
	in := s.home.Next(s.t)
	if in.Method != "SUBSCRIBE" || in.Fields.Get("Expires") != expires || in.From.URI != sipJuliet || in.To.URI != sipRomeo ||
		in.Fields.Get("Event") != "presence" || in.Fields.Get("Accept") != pidf.Type {
		s.t.Fatalf("%s %s came: %+v", in.Method, in.Fields.Get("Expires"), in.Request)
	}
	return in
}

// accept answers a SUBSCRIBE with a 200.
func (s *stage) accept(in *bridges.Incoming) *bridges.Dialog {
	s.t.Helper()
	d := in.Answer(bridges.Response{Status: 200, Fields: bridges.Fields{{Name: "Expires", Value: in.Fields.Get("Expires")}}}, "romeo")
	synctest.Wait()
	if in.Dialog != nil {
		return in.Dialog
	}
	return d
}

// refuse answers a SUBSCRIBE with something else.
func (s *stage) refuse(in *bridges.Incoming, status int, fields ...bridges.Field) {
	in.Answer(bridges.Response{Status: status, Fields: fields}, "")
	synctest.Wait()
}

// document is one of our user: of each tuple its id, and " closed" or a show.
func document(tuples ...string) string {
	var b strings.Builder
	b.WriteString("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:romeo@example.net'>")
	for _, t := range tuples {
		id, what, _ := strings.Cut(t, " ")
		basic, show := "open", ""
		if what == "closed" {
			basic = "closed"
		} else if what != "" {
			show = "<show xmlns='jabber:client'>" + what + "</show>"
		}
		fmt.Fprintf(&b, "<tuple id='ID-%s'><status><basic>%s</basic>%s</status></tuple>", id, basic, show)
	}
	return b.String() + "</presence>"
}

// notify sends a NOTIFY to the bridge, and returns the status of its answer.
func (s *stage) notify(d *bridges.Dialog, state, body string) int {
	s.t.Helper()
	r := &bridges.Request{Method: "NOTIFY", Fields: bridges.Fields{{Name: "Event", Value: "presence"}, {Name: "Subscription-State", Value: state}}}
	if body != "" {
		r.ContentType, r.Body = pidf.Type, []byte(body)
	}
	resp := s.home.SendWithin(s.t, d, r)
	synctest.Wait()
	return resp.Status
}

// notifies sends one that must be taken.
func (s *stage) notifies(d *bridges.Dialog, state, body string) {
	s.t.Helper()
	if status := s.notify(d, state, body); status != 200 {
		s.t.Fatalf("NOTIFY %s: %d", state, status)
	}
}

// watching brings juliet to watch romeo, who has one device.
func (s *stage) watching() *bridges.Dialog {
	s.t.Helper()
	s.x(s.from("subscribe"))
	d := s.accept(s.subscribed("3600"))
	s.notifies(d, "active;expires=3600", document("orchard"))
	s.want(s.to("subscribed"), available("orchard", ""))
	s.is("active")
	return d
}

// is fails the test unless the watch is in this state.
func (s *stage) is(want string) {
	s.t.Helper()
	if got := s.watchState(); got != want {
		s.t.Fatalf("the watch is %s, want %s", got, want)
	}
}

func (s *stage) watchState() string {
	return onLoop(s, func() string {
		if r := s.p.relations[pair]; r != nil && r.watch != nil {
			return r.watch.state.String()
		}
		return "none"
	})
}

// item returns the roster item of the pair, and checks that it is on the disk.
func (s *stage) item() rosterItem {
	s.t.Helper()
	item := onLoop(s, func() (i rosterItem) {
		if r := s.p.relations[pair]; r != nil {
			i = r.item
		}
		return i
	})
	return item
}

// onLoop calls f on the loop of presence.
func onLoop[T any](s *stage, f func() T) T {
	done := make(chan T, 1)
	s.p.loop.post(func() { done <- f() })
	return <-done
}

// listening sends a SUBSCRIBE of romeo to juliet.
func (s *stage) listening(expires int) *bridges.Dialog {
	s.t.Helper()
	resp, d := s.home.Send(s.t, s.subscribeRequest(expires))
	if resp.Status != 200 || resp.Fields.Get("Expires") != strconv.Itoa(expires) {
		s.t.Fatalf("SUBSCRIBE: %+v", resp)
	}
	return d
}

func (s *stage) subscribeRequest(expires int) *bridges.Request {
	return &bridges.Request{Method: "SUBSCRIBE", URI: sipJuliet, From: bridges.Party{URI: sipRomeo}, To: bridges.Party{URI: sipJuliet}, Contact: "romeo",
		Fields: bridges.Fields{{Name: "Event", Value: "presence"}, {Name: "Accept", Value: "application/pidf+xml"}, {Name: "Expires", Value: strconv.Itoa(expires)}}}
}

// told takes a NOTIFY with this state that romeo gets, answers it with status, and
// returns its body.
func (s *stage) told(state string, status int) string {
	s.t.Helper()
	synctest.Wait()
	in := s.home.Next(s.t)
	if in.Method != "NOTIFY" || in.Fields.Get("Event") != "presence" || in.Fields.Get("Subscription-State") != state {
		s.t.Fatalf("%s with %q came, want a NOTIFY with %s", in.Method, in.Fields.Get("Subscription-State"), state)
	}
	in.Answer(bridges.Response{Status: status}, "")
	synctest.Wait()
	return string(in.Body)
}

// tells fails the test unless a body has these tuples: ids with "+" for open and "-"
// for closed; "" is no body.
func (s *stage) tells(body, want string) {
	s.t.Helper()
	if got := tuplesIn(s.t, body); got != want {
		s.t.Fatalf("the document has %q, want %q: %s", got, want, body)
	}
}

func tuplesIn(t testing.TB, body string) string {
	if body == "" {
		return ""
	}
	tuples, err := pidf.Read(pidf.Type, "", []byte(body), func(id, _ string) string { return strings.TrimPrefix(id, "ID-") })
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, tu := range tuples {
		sign := "-"
		if tu.Open {
			sign = "+"
		}
		list = append(list, sign+tu.Resource+tu.Show)
	}
	return strings.Join(list, " ")
}

// granted brings romeo to watch juliet, who is on the balcony.
func (s *stage) grantedWith() *bridges.Dialog {
	s.t.Helper()
	d := s.listening(3600)
	s.tells(s.told("pending;expires=3600", 200), "")
	s.want(s.to("subscribe"))
	s.x(s.from("subscribed"))
	s.tells(s.told("active;expires=3600", 200), "")
	s.want(s.to("probe"))
	time.Sleep(notifyPause)
	s.x(juliets("balcony", ""))
	s.tells(s.told("active;expires=3595", 200), "+balcony")
	return d
}

// juliets is available presence of a resource of juliet.
func juliets(resource, more string) string {
	return fmt.Sprintf("<presence from='%s/%s' to='%s'>%s</presence>", juliet, resource, romeo, more)
}

// parsed reads XML as it stands in a stream of servers.
func parsed(t testing.TB, xml string) *stanza.Element {
	t.Helper()
	e, err := stanza.Parse([]byte(xml), stanza.Limits{})
	if err != nil {
		t.Fatalf("%v in %s", err, xml)
	}
	return e
}

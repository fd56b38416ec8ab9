package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"net/netip"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/home"
)

// A scene is one thing that the demo shows.
type scene struct {
	title    string
	from, to string // addresses
	methods  string
	want     outcome
	play     func(ctx context.Context) (outcome, error)
}

// scenePatience bounds one scene; those that go well take milliseconds.
const scenePatience = 8 * time.Second

// scenes are the demo: two companies that allow each other, four strangers, one of
// the people of acme on her way, and somebody who would like to be her; and the XMPP
// network.
func (d *demo) scenes() []scene { return slices.Concat(d.sipScenes(), d.xmppScenes()) }

func (d *demo) sipScenes() []scene {
	alice, bob, rita := "alice@acme.example", "bob@globex.example", "rita@acme.example"
	acme := d.acme
	return []scene{
		{"an allowed partner's message is delivered", alice, bob, "MESSAGE",
			outcome{Answers: []int{200}, Reason: "partner.allowed"}, d.message(d.acme, "alice", d.globex, "bob")},
		{"and the other way round", bob, alice, "MESSAGE",
			outcome{Answers: []int{200}, Reason: "partner.allowed"}, d.message(d.globex, "bob", d.acme, "alice")},
		{"a partner's presence is seen", alice, bob, "SUBSCRIBE",
			outcome{Answers: []int{200, 200}, Reason: "partner.allowed", Note: "NOTIFY: open"}, d.presenceOf("alice")},
		{"a call rings, is answered and ends", alice, bob, "INVITE BYE",
			outcome{Answers: []int{180, 200, 200}, Reason: "partner.allowed", Note: "ACK arrived"}, d.call},
		{"a domain on nobody's list is refused", "ann@initech.example", alice, "MESSAGE",
			outcome{Answers: []int{403}, Reason: "partner.not_allowed"}, d.stranger("initech.example", "ann@initech.example", acme, alice)},
		{"a forged From is refused", "eve@globex.example", alice, "MESSAGE",
			outcome{Answers: []int{403}, Reason: "identity.domain_mismatch"}, d.stranger("initech.example", "eve@globex.example", acme, alice)},
		{"a blocked domain is refused", "joe@spam.example", alice, "MESSAGE",
			outcome{Answers: []int{403}, Reason: "partner.blocked"}, d.stranger("spam.example", "joe@spam.example", acme, alice)},
		{"the administrator allows the domain, and it is served", "ann@initech.example", alice, "MESSAGE",
			outcome{Answers: []int{200}, Reason: "partner.allowed", Note: "partner allow"}, d.allowed("initech.example", "ann@initech.example", acme, "alice")},
		{"a discovered partner floods, and is cut back", "max@flood.example", bob, fmt.Sprintf("MESSAGE x%d", flood),
			outcome{Answers: []int{200, 503}, Reason: "partner.discovered_limit"}, d.flood("flood.example", "max@flood.example", d.globex, "bob")},
		{"a user outside signs in, without a VPN", rita, "edge@acme.example", "REGISTER",
			outcome{Answers: []int{200}, Reason: "access.signing_in"}, d.outside},
		{"she writes to a partner", rita, bob, "MESSAGE",
			outcome{Answers: []int{200}, Reason: "partner.allowed"}, d.message(d.acme, "rita", d.globex, "bob")},
		{"and is written to", bob, rita, "MESSAGE",
			outcome{Answers: []int{200}, Reason: "access.allowed"}, d.message(d.globex, "bob", d.acme, "rita")},
		{"she sees who is there", rita, bob, "SUBSCRIBE",
			outcome{Answers: []int{200, 200}, Reason: "partner.allowed", Note: "NOTIFY: open"}, d.presenceOf("rita")},
		{"somebody guesses her password, and is locked out; she is not", "guess@acme.example", rita, "REGISTER x6",
			outcome{Answers: []int{403}, Reason: "access.locked_out", Note: "rita is in"}, d.guesser},
		{"a home server dies, the next one takes over", alice, bob, "MESSAGE x10",
			outcome{Answers: []int{200}, Reason: "partner.allowed", Note: "5 by each"}, d.failover},
	}
}

// message is one text from a user of one company to one of the other.
func (d *demo) message(here *demoCompany, from string, there *demoCompany, to string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		text := "Hello, here is " + from + ". ¿Qué tal?"
		a, err := here.users[from].Message(ctx, there.users[to].URI(), text)
		if err != nil {
			return outcome{}, err
		}
		o := outcome{Answers: []int{a.Status}, Millis: millis(a.Took)}
		if a.Status == 200 {
			m, err := receive(ctx, there.users[to])
			if err != nil {
				return o, err
			}
			if m.CallID != a.CallID || m.Text != text {
				return o, fmt.Errorf("%s received %q, want %q", to, m.Text, text)
			}
			o.Hops = m.Hops
		}
		return d.explained(ctx, o, there, a.CallID, "MESSAGE")
	}
}

func receive(ctx context.Context, u *home.User) (home.Message, error) {
	select {
	case m := <-u.Inbox():
		return m, nil
	case <-ctx.Done():
		return home.Message{}, fmt.Errorf("%s received nothing: %w", u.URI(), ctx.Err())
	}
}

// explained adds why: the line that the edge of a company wrote.
func (d *demo) explained(ctx context.Context, o outcome, at *demoCompany, callID, method string) (outcome, error) {
	line, err := d.audit.find(ctx, at.Domain, callID, method)
	if err != nil {
		return o, fmt.Errorf("no line in the log of %s about the %s: %w", at.edgeName(), method, err)
	}
	o.Reason = line.Reason
	o.Audit, _ = d.audit.of(callID)
	if o.Hops == 0 {
		o.Hops = len(o.Audit) // it went no further than to those who wrote of it
	}
	return o, nil
}

// presenceOf: bob publishes, one of acme subscribes, and sees the very document.
func (d *demo) presenceOf(name string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) { return d.presence(ctx, d.acme.users[name]) }
}

func (d *demo) presence(ctx context.Context, alice *home.User) (outcome, error) {
	bob := d.globex.users["bob"]
	if a, err := bob.Publish(ctx, true, "at lunch, back at two"); err != nil || a.Status != 200 {
		return outcome{}, fmt.Errorf("PUBLISH: %d, %v", a.Status, err)
	}
	start := time.Now()
	w, a, err := alice.Watch(ctx, bob.URI())
	if err != nil {
		return outcome{}, err
	}
	o := outcome{Answers: []int{a.Status}}
	if w == nil {
		return d.explained(ctx, o, d.globex, a.CallID, "SUBSCRIBE")
	}
	n, err := w.Next(ctx)
	if err != nil {
		return o, err
	}
	o.Millis, o.Hops = millis(time.Since(start)), n.Hops
	sent := home.Presence{Entity: "pres:" + d.globex.address("bob"), Open: true, Note: "at lunch, back at two"}
	if n.Body != string(sent.Document()) {
		return o, fmt.Errorf("the presence document changed on its way: %q", n.Body)
	}
	o.Note = "NOTIFY: open"
	line, err := d.audit.find(ctx, d.globex.Domain, a.CallID, "NOTIFY")
	if err != nil {
		return o, err
	}
	o.Answers = append(o.Answers, line.Status)
	if o, err = d.explained(ctx, o, d.globex, a.CallID, "SUBSCRIBE"); err != nil {
		return o, err
	}
	_, err = w.End(ctx)
	return o, err
}

// call: alice calls, bob's phone rings, he answers, she hangs up.
func (d *demo) call(ctx context.Context) (outcome, error) {
	out, err := d.acme.users["alice"].Dial(ctx, d.globex.users["bob"].URI())
	if err != nil {
		return outcome{}, err
	}
	a, err := out.Wait(ctx)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{Answers: append(a.Provisional, a.Status), Millis: millis(a.Took)}
	if a.Status == 200 {
		if err := d.hangUp(ctx, out, &o); err != nil {
			return o, err
		}
	}
	return d.explained(ctx, o, d.globex, out.CallID(), "INVITE")
}

func (d *demo) hangUp(ctx context.Context, out *home.Call, o *outcome) error {
	in := <-d.calls
	o.Hops = in.Hops()
	if err := happened(ctx, "ACK", in.Acked()); err != nil {
		return err
	}
	o.Note = "ACK arrived"
	a, err := out.HangUp(ctx)
	if err != nil {
		return err
	}
	o.Answers = append(o.Answers, a.Status)
	return happened(ctx, "BYE", in.Ended())
}

func happened(ctx context.Context, what string, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s did not arrive: %w", what, ctx.Err())
	}
}

// stranger: somebody with a certificate of domain claims to be from.
func (d *demo) stranger(domain, from string, at *demoCompany, to string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		a, err := d.strangers[domain].message(ctx, at.outside, at.edgeName(), from, to, "Buy now")
		if err != nil {
			return outcome{}, err
		}
		return d.explained(ctx, outcome{Answers: []int{a.Status}, Millis: millis(a.Took)}, at, a.CallID, "MESSAGE")
	}
}

// allowed: what an administrator does with "partner allow", and then the
// stranger is none.
func (d *demo) allowed(domain, from string, at *demoCompany, to string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		known, err := at.control().Discovered(ctx)
		if err != nil {
			return outcome{}, err
		}
		if !slices.ContainsFunc(known.Discovered, func(r admin.Discovered) bool { return r.Domain == domain }) {
			return outcome{}, fmt.Errorf("%s is not among those that came without being listed", domain)
		}
		if _, err := at.control().Decide(ctx, domain, admin.Wish{Action: federation.ActionAllow}); err != nil {
			return outcome{}, err
		}
		a, err := d.strangers[domain].message(ctx, at.outside, at.edgeName(), from, at.address(to), "Now we may talk")
		if err != nil {
			return outcome{}, err
		}
		o := outcome{Answers: []int{a.Status}, Millis: millis(a.Took), Note: "partner allow"}
		if a.Status == 200 {
			m, err := receive(ctx, at.users[to])
			if err != nil {
				return o, err
			}
			o.Hops = m.Hops
		}
		return d.explained(ctx, o, at, a.CallID, "MESSAGE")
	}
}

// flood is how many messages a discovered partner sends at once: three times
// what one may in a second.
const flood = 60

// flood: all of them arrive, and about twenty pass.
func (d *demo) flood(domain, from string, at *demoCompany, to string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		began := time.Now()
		answers, err := d.strangers[domain].flood(ctx, flood, at.outside, at.edgeName(), from, at.address(to), "Buy now")
		if err != nil {
			return outcome{}, err
		}
		o := outcome{Millis: millis(time.Since(began))}
		passed, refused := 0, ""
		for _, a := range answers {
			switch a.Status {
			case 200:
				passed++
				if _, err := receive(ctx, at.users[to]); err != nil {
					return o, err
				}
			case 503:
				refused = a.CallID
			default:
				return o, fmt.Errorf("answered %d", a.Status)
			}
		}
		// In the time that it takes, a few more become free.
		if most := 20 + int(20*time.Since(began).Seconds()) + 1; passed < 20 || passed > most {
			return o, fmt.Errorf("%d of %d passed, want 20 to %d", passed, flood, most)
		}
		o.Answers, o.Note = []int{200, 503}, fmt.Sprintf("%d ok", passed)
		return d.explained(ctx, o, at, refused, "MESSAGE")
	}
}

// failover: ten messages, one after the other. After the fifth, the home server
// that took them dies as by a power cut.
func (d *demo) failover(ctx context.Context) (outcome, error) {
	one, two := d.globex.homes[0], d.globex.homes[1]
	before := []int{len(one.Ledger()), len(two.Ledger())}
	send := d.message(d.acme, "alice", d.globex, "bob")
	var last outcome
	slowest := 0.0
	for i := range 10 {
		if i == 5 {
			one.Die()
		}
		o, err := send(ctx)
		if err != nil || !slices.Equal(o.Answers, []int{200}) {
			return o, err
		}
		last, slowest = o, max(slowest, o.Millis)
	}
	last.Millis = slowest
	last.Note = fmt.Sprintf("%d and %d", len(one.Ledger())-before[0], len(two.Ledger())-before[1])
	if last.Note == "5 and 5" {
		last.Note = "5 by each"
	}
	return last, nil
}

// ritas is how rita signs in, who is outside: at the edge, by TLS, and with her password
// for the home server behind it.
func (d *demo) ritas(password string) home.UserConfig {
	return home.UserConfig{
		Name: "rita", Domain: d.acme.Domain, Password: password, Servers: []string{d.acme.remote.String()},
		TLS: &home.UserTLS{Roots: d.acme.authority.Pool(), ServerName: d.acme.edgeName()},
	}
}

// outside: rita signs in from outside.
func (d *demo) outside(ctx context.Context) (outcome, error) {
	began := time.Now()
	u, err := home.SignIn(ctx, d.ritas(d.acme.passwords["rita"]))
	if err != nil {
		return outcome{}, err
	}
	d.acme.users["rita"] = u
	o := outcome{Answers: []int{200}, Millis: millis(time.Since(began))}
	line, err := d.audit.signedIn(ctx, d.acme.Domain)
	if err != nil {
		return o, err
	}
	o.Reason, o.Hops = line.Reason, 2
	o.Audit, _ = d.audit.of(line.callID)
	return o, nil
}

// guesser: somebody at another address tries passwords until the edge has had enough. Rita,
// who is signed in, does not notice.
func (d *demo) guesser(ctx context.Context) (outcome, error) {
	began := time.Now()
	var last home.Answer
	for i := range 6 {
		c := d.ritas(fmt.Sprint("letmein", i))
		c.From = netip.MustParseAddr("127.0.0.66")
		a, err := home.Guess(ctx, c)
		if err != nil {
			return outcome{}, err
		}
		if a.Status != 403 {
			return outcome{Answers: []int{a.Status}}, fmt.Errorf("guess %d was answered %d", i+1, a.Status)
		}
		last = a
	}
	o := outcome{Answers: []int{last.Status}, Millis: millis(time.Since(began)), Hops: 1}
	line, err := d.audit.answered(ctx, d.acme.Domain, last.CallID, last.Status)
	if err != nil {
		return o, err
	}
	o.Reason = line.Reason
	o.Audit, _ = d.audit.of(line.callID)
	if a, err := d.acme.users["rita"].Message(ctx, d.globex.users["bob"].URI(), "Still here"); err != nil || a.Status != 200 {
		return o, fmt.Errorf("rita is out: %d, %v", a.Status, err)
	}
	if _, err := receive(ctx, d.globex.users["bob"]); err != nil {
		return o, err
	}
	o.Note = "rita is in"
	return o, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

package xmpp

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
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

// A crowd is presence with many watchers, in real time.
type crowd struct {
	*presence
	home *bridgestest.Home
	out  chan *stanza.Element
}

func (c *crowd) Send(e *stanza.Element, done func(s2s.Outcome)) bool {
	if done != nil {
		done(s2s.Outcome{Acked: true})
	}
	c.out <- e
	return true
}

func (c *crowd) Request(in *bridges.Incoming) {
	if in.Method == "SUBSCRIBE" {
		c.subscribe(in)
		return
	}
	c.notify(in)
}

func (c *crowd) Canceled(*bridges.Incoming) {}

func newCrowd(t testing.TB) *crowd {
	db, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{out: make(chan *stanza.Element, 1<<16)}
	endpoint, home := bridgestest.New(t, c)
	c.home = home
	c.presence = newPresence(presenceConfig{
		later: func(_ time.Time, do func()) bool { do(); return true },
		log:   slog.New(slog.DiscardHandler), sip: endpoint, xmpp: c, store: db, addresses: new(address.Table),
		may: func(string, string, bool) allowlists.Verdict { return allowlists.Verdict{Action: allowlists.Allow} },
		lim: presenceLimits{burst: 1e6, concurrent: 1000},
	})
	if err := c.start(func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stop(context.Background())
		db.Close()
	})
	return c
}

// next takes n stanzas from the wire.
func (c *crowd) next(n int) {
	for range n {
		<-c.out
	}
}

// onLoop calls f on the loop and waits for it.
func (c *crowd) onLoop(f func()) {
	done := make(chan bool)
	c.loop.post(func() { f(); close(done) })
	<-done
}

// networkWatches lets n people of the network watch romeo, and returns the dialogs in
// which he notifies them.
func (c *crowd) networkWatches(t testing.TB, n int) (dialogs []*bridges.Dialog) {
	for i := range n {
		c.stanza(presenceStanza("subscribe", fmt.Sprintf("u%d@fabrikam.example", i), romeo), bridges.ProofCertificate)
	}
	for range n {
		dialogs = append(dialogs, c.home.Next(t).Answer(bridges.Response{Status: 200}, "romeo"))
	}
	c.change(dialogs, document("orchard"))
	c.next(2 * n) // subscribed, and presence
	return dialogs
}

// change lets romeo's home server notify all of a document.
func (c *crowd) change(dialogs []*bridges.Dialog, document string) {
	for _, d := range dialogs {
		d.Do(&bridges.Request{Method: "NOTIFY", ContentType: pidf.Type, Body: []byte(document), Fields: bridges.Fields{
			{Name: "Event", Value: "presence"}, {Name: "Subscription-State", Value: "active;expires=3600"}}}, func(*bridges.Response) {})
	}
}

// usersWatch lets n devices subscribe to juliet: of one user, or each of a user of its
// own.
func (c *crowd) usersWatch(t testing.TB, n int, alone bool) {
	for i := range n {
		user := sipRomeo
		if !alone {
			user = fmt.Sprintf("sip:u%d@example.net", i)
		}
		c.home.Send(t, &bridges.Request{Method: "SUBSCRIBE", URI: sipJuliet, From: bridges.Party{URI: user}, To: bridges.Party{URI: sipJuliet}, Contact: "u",
			Fields: bridges.Fields{{Name: "Event", Value: "presence"}}})
	}
	c.notified(t, n)
	users := n
	if alone {
		users = 1
	}
	for range users {
		e := <-c.out
		c.stanza(presenceStanza("subscribed", e.Attr("to"), e.Attr("from")), bridges.ProofCertificate)
	}
	c.notified(t, n)
	c.next(users) // probes
}

// notified takes n NOTIFYs.
func (c *crowd) notified(t testing.TB, n int) {
	for range n {
		c.home.Next(t).Answer(bridges.Response{Status: 200}, "")
	}
}

// rested makes the last NOTIFY of each device so old that the next one need not wait.
func (c *crowd) rested() {
	c.onLoop(func() {
		for _, r := range c.relations {
			for _, l := range r.contact.listeners {
				l.last = time.Time{}
			}
		}
	})
}

// shows are what presence changes to and fro.
var shows = [2]string{"away", "dnd"}

// julietChanges lets juliet's server tell everybody of her presence.
func (c *crowd) julietChanges(users []string, show string) {
	for _, user := range users {
		e := presenceStanza("", juliet+"/balcony", user)
		e.AddText(stanza.NS, "show", show)
		c.stanza(e, bridges.ProofCertificate)
	}
}

func usersOf(n int) (users []string) {
	for i := range n {
		users = append(users, fmt.Sprintf("u%d@example.net", i))
	}
	return users
}

// A thousand watchers of one person are told of a change within a second, whatever
// side they are on.
func TestAThousandWatchersAreToldWithinASecond(t *testing.T) {
	const n = 1000
	within := func(t *testing.T, change func(round int), told func()) {
		var best time.Duration
		for round := range 3 { // other tests run beside it
			began := time.Now()
			change(round)
			told()
			if took := time.Since(began); best == 0 || took < best {
				best = took
			}
		}
		t.Logf("%d watchers were told within %s", n, best)
		if best > time.Second && !raced {
			t.Errorf("%d watchers were told within %s", n, best)
		}
	}
	t.Run("people of the network watch one of our users", func(t *testing.T) {
		c := newCrowd(t)
		dialogs := c.networkWatches(t, n)
		within(t, func(round int) { c.change(dialogs, document("orchard "+shows[round%2])) }, func() { c.next(n) })
	})
	t.Run("our users watch one of the network", func(t *testing.T) {
		c := newCrowd(t)
		c.usersWatch(t, n, false)
		users := usersOf(n)
		within(t, func(round int) {
			c.rested()
			c.julietChanges(users, shows[round%2])
		}, func() { c.notified(t, n) })
	})
	t.Run("devices of one user watch one of the network", func(t *testing.T) {
		c := newCrowd(t)
		c.usersWatch(t, n, true)
		within(t, func(round int) {
			c.rested()
			c.julietChanges([]string{romeo}, shows[round%2])
		}, func() { c.notified(t, n) })
	})
}

// All devices of a user are notified of one document, which is made once.
func TestDevicesShareADocument(t *testing.T) {
	c := newCrowd(t)
	c.usersWatch(t, 3, true)
	c.julietChanges([]string{romeo}, "away")
	c.onLoop(func() {
		r := c.relations[pair]
		one, _ := c.document(r.contact)
		other, _ := c.document(r.contact)
		if &one[0] != &other[0] {
			t.Error("the document is made twice")
		}
	})
}

func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{100, 1000, 2000} {
		b.Run(fmt.Sprintf("network/%d", n), func(b *testing.B) {
			c := newCrowd(b)
			dialogs := c.networkWatches(b, n)
			for i := 0; b.Loop(); i++ {
				c.change(dialogs, document("orchard "+shows[i%2]))
				c.next(n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/watcher")
		})
		b.Run(fmt.Sprintf("users/%d", n), func(b *testing.B) {
			c := newCrowd(b)
			c.usersWatch(b, n, false)
			users := usersOf(n)
			for i := 0; b.Loop(); i++ {
				c.rested()
				c.julietChanges(users, shows[i%2])
				c.notified(b, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/watcher")
		})
		b.Run(fmt.Sprintf("devices/%d", n), func(b *testing.B) {
			c := newCrowd(b)
			c.usersWatch(b, n, true)
			for i := 0; b.Loop(); i++ {
				c.rested()
				c.julietChanges([]string{romeo}, shows[i%2])
				c.notified(b, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/watcher")
		})
	}
}

package xmpp

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
)

// Each row of the table of our user who watches somebody of the network. Each begins
// where nobody watches anybody.
func TestOurUserWatchesSomebodyOfTheNetwork(t *testing.T) {
	julietsError := func(kind, condition string) string {
		return "<presence from='juliet@fabrikam.example' to='romeo@example.net' type='error'><error type='" + kind + "'><" +
			condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
	}
	for _, tt := range []struct {
		name string
		play func(s *stage)
	}{
		{"SUBSCRIBE becomes subscribe", func(s *stage) {
			s.listening(3600)
			s.tells(s.told("pending;expires=3600", 200), "")
			s.want(s.to("subscribe"))
			if i := s.item(); i.subscription() != "none+out" {
				s.t.Errorf("roster says %s", i.subscription())
			}
		}},
		{"asked, refresh and new dialog", func(s *stage) {
			d := s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.refresh(d, 1800)
			s.told("pending;expires=1800", 200)
			s.listening(600)
			s.told("pending;expires=600", 200)
			s.want()
		}},
		{"asked, a day later", func(s *stage) {
			d := s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.age(func(i *rosterItem) { i.Asked -= 23 * 3600 })
			s.refresh(d, 3600)
			s.told("pending;expires=3600", 200)
			s.want()
			s.age(func(i *rosterItem) { i.Asked -= 3600 })
			s.refresh(d, 3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
		}},
		{"subscribed, and presence", func(s *stage) {
			s.grantedWith()
			if i := s.item(); i.subscription() != "to" {
				s.t.Errorf("roster says %s", i.subscription())
			}
		}},
		{"presence before subscribed waits for it", func(s *stage) {
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.x(juliets("balcony", ""))
			s.home.None(s.t)
			s.x(s.from("subscribed"))
			s.tells(s.told("active;expires=3600", 200), "+balcony")
			s.want(s.to("probe"))
		}},
		{"subscribed reaches every dialog", func(s *stage) {
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.listening(600)
			s.told("pending;expires=600", 200)
			s.want(s.to("subscribe"))
			s.x(s.from("subscribed"), s.from("subscribed"))
			s.toldAll("active;expires=3600", "active;expires=600")
			s.want(s.to("probe"))
		}},
		{"subscribed of somebody who was not asked", func(s *stage) {
			s.x(s.from("subscribed"), juliets("balcony", ""), s.from("unsubscribed"))
			s.want()
			if n := onLoop(s, func() int { return len(s.p.relations) }); n != 0 {
				s.t.Errorf("%d relations", n)
			}
		}},
		{"asked, unsubscribed", func(s *stage) {
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.x(s.from("unsubscribed"), s.from("unsubscribed"))
			s.tells(s.told("terminated;reason=rejected", 200), "")
			// A device that tries again at once does not ask again today.
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want()
		}},
		{"granted, unsubscribed", func(s *stage) {
			s.grantedWith()
			s.x(s.from("unsubscribed"))
			s.tells(s.told("terminated;reason=rejected", 200), "")
			if i := s.item(); i != (rosterItem{}) {
				s.t.Errorf("roster says %+v", i)
			}
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
		}},
		{"granted, another device", func(s *stage) {
			s.grantedWith()
			s.listening(600)
			s.tells(s.told("active;expires=600", 200), "+balcony")
			s.want()
		}},
		{"granted, another device, and what is known is old", func(s *stage) {
			s.grantedWith()
			time.Sleep(fresh)
			s.listening(600)
			s.tells(s.told("active;expires=600", 200), "+balcony")
			s.want(s.to("probe"))
		}},
		{"granted, refresh", func(s *stage) {
			d := s.grantedWith()
			s.refresh(d, 3600)
			s.tells(s.told("active;expires=3600", 200), "+balcony")
			s.want()
		}},
		{"granted, presence of several resources", func(s *stage) {
			s.grantedWith()
			time.Sleep(notifyPause)
			s.x(juliets("chamber", "<show>dnd</show>"))
			s.tells(s.told("active;expires=3590", 200), "+balcony +chamberdnd")
			time.Sleep(notifyPause)
			s.x("<presence from='juliet@fabrikam.example/balcony' to='romeo@example.net' type='unavailable'/>")
			s.tells(s.told("active;expires=3585", 200), "-balcony +chamberdnd")
			time.Sleep(goneFor)
			s.x(juliets("chamber", ""))
			s.tells(s.told("active;expires=3525", 200), "+chamber")
			time.Sleep(notifyPause)
			s.x("<presence from='juliet@fabrikam.example' to='romeo@example.net' type='unavailable'/>")
			s.tells(s.told("active;expires=3520", 200), "-chamber")
		}},
		{"what is seen first does not wait", func(s *stage) {
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.x(s.from("subscribed"))
			s.tells(s.told("active;expires=3600", 200), "")
			s.want(s.to("probe"))
			s.x(juliets("balcony", ""), juliets("chamber", ""))
			time.Sleep(fetchCollect)
			s.tells(s.told("active;expires=3600", 200), "+balcony +chamber")
			s.x(juliets("balcony", "<show>away</show>"))
			time.Sleep(notifyPause - time.Second)
			s.home.None(s.t)
			time.Sleep(time.Second)
			s.tells(s.told("active;expires=3595", 200), "+balconyaway +chamber")
		}},
		{"not more than a NOTIFY in five seconds", func(s *stage) {
			s.grantedWith()
			s.x(juliets("balcony", "<show>away</show>"))
			s.home.None(s.t)
			time.Sleep(notifyPause - time.Second)
			s.x(juliets("balcony", "<show>dnd</show>"), juliets("chamber", ""))
			s.home.None(s.t)
			time.Sleep(time.Second)
			s.tells(s.told("active;expires=3590", 200), "+balconydnd +chamber")
			time.Sleep(time.Minute)
			s.home.None(s.t)
		}},
		{"what comes before the roster is written is one NOTIFY", func(s *stage) {
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			time.Sleep(notifyPause)
			s.x(s.from("subscribed"), juliets("balcony", ""), juliets("chamber", ""))
			s.tells(s.told("active;expires=3595", 200), "+balcony +chamber")
			s.want(s.to("probe"))
			s.home.None(s.t)
		}},
		{"also to a device that has just come", func(s *stage) {
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			time.Sleep(notifyPause)
			hold := make(chan bool)
			s.p.loop.post(func() { <-hold })
			synctest.Wait() // what comes now is of the next turn
			s.home.Do(s.subscribeRequest(600), func(*bridges.Response, *bridges.Dialog) {})
			synctest.Wait()
			for _, xml := range []string{s.from("subscribed"), juliets("balcony", "")} {
				s.p.stanza(parsed(s.t, xml), bridges.ProofCertificate)
			}
			close(hold)
			s.toldAll("active;expires=3595", "active;expires=600")
			s.want(s.to("probe"))
			s.home.None(s.t)
		}},
		{"presence that says nothing new", func(s *stage) {
			s.grantedWith()
			time.Sleep(time.Minute)
			s.x(juliets("balcony", ""), juliets("balcony", ""))
			s.home.None(s.t)
		}},
		{"granted, error gone", func(s *stage) {
			s.grantedWith()
			s.x(julietsError("cancel", "gone"))
			s.told("terminated;reason=noresource", 200)
			if i := s.item(); i != (rosterItem{}) {
				s.t.Errorf("roster says %+v", i)
			}
		}},
		{"asked, error item-not-found", func(s *stage) {
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.x(julietsError("cancel", "item-not-found"))
			s.told("terminated;reason=noresource", 200)
		}},
		{"granted, error forbidden", func(s *stage) {
			s.grantedWith()
			s.x(julietsError("auth", "forbidden"))
			s.told("terminated;reason=rejected", 200)
		}},
		{"granted, error remote-server-timeout", func(s *stage) {
			s.grantedWith()
			time.Sleep(notifyPause)
			s.x(julietsError("wait", "remote-server-timeout"))
			s.tells(s.told("active;expires=3590", 200), "-balcony")
			if i := s.item(); i.subscription() != "to" {
				s.t.Errorf("roster says %s", i.subscription())
			}
		}},
		{"asked, error remote-server-not-found", func(s *stage) {
			d := s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.x(julietsError("cancel", "remote-server-not-found"))
			s.home.None(s.t)
			s.refresh(d, 3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
		}},
		{"SUBSCRIBE with Expires 0", func(s *stage) {
			d := s.grantedWith()
			s.refresh(d, 0)
			s.tells(s.told("terminated;reason=timeout", 200), "-")
			s.want(s.to("unavailable"))
			if i := s.item(); i.subscription() != "to" {
				s.t.Errorf("roster says %s", i.subscription())
			}
			if resp := s.home.SendWithin(s.t, d, &bridges.Request{Method: "SUBSCRIBE", Fields: s.subscribeRequest(60).Fields}); resp.Status != 481 {
				s.t.Errorf("SUBSCRIBE after the end: %d", resp.Status)
			}
			s.listening(600)
			s.tells(s.told("active;expires=600", 200), "+balcony")
		}},
		{"one of two devices goes", func(s *stage) {
			d := s.grantedWith()
			s.listening(600)
			s.told("active;expires=600", 200)
			s.refresh(d, 0)
			s.told("terminated;reason=timeout", 200)
			s.want()
		}},
		{"the last device goes, and the other watches our user", func(s *stage) {
			d := s.grantedWith()
			s.watching()
			s.refresh(d, 0)
			s.told("terminated;reason=timeout", 200)
			s.want() // she would take it for his
		}},
		{"nobody refreshes", func(s *stage) {
			s.grantedWith()
			time.Sleep(time.Hour)
			s.tells(s.told("terminated;reason=timeout", 200), "-")
			s.want(s.to("unavailable"))
		}},
		{"fetch of a stranger", func(s *stage) {
			s.listening(0)
			s.want(s.to("probe"))
			s.home.None(s.t)
			s.x(s.from("unsubscribed"))
			time.Sleep(fetchWait)
			s.tells(s.told("terminated;reason=timeout", 200), "")
			if n := onLoop(s, func() int { return len(s.p.relations) }); n != 0 {
				s.t.Errorf("%d relations", n)
			}
		}},
		{"fetch of somebody whose server lets our user see him", func(s *stage) {
			s.listening(0)
			s.want(s.to("probe"))
			s.x(juliets("balcony", ""), juliets("chamber", ""))
			time.Sleep(fetchCollect)
			s.tells(s.told("terminated;reason=timeout", 200), "+balcony +chamber")
			s.x(juliets("balcony", "<show>away</show>"))
			s.home.None(s.t)
		}},
		{"fetch when it is granted", func(s *stage) {
			s.grantedWith()
			s.listening(0)
			s.tells(s.told("terminated;reason=timeout", 200), "+balcony")
			s.want()
		}},
		{"fetch when it is granted and old", func(s *stage) {
			s.grantedWith()
			time.Sleep(fresh)
			s.listening(0)
			s.want(s.to("probe"))
			s.x("<presence from='juliet@fabrikam.example' to='romeo@example.net' type='unavailable'/>")
			s.told("active;expires=3295", 200)
			s.home.None(s.t)
			time.Sleep(fetchCollect)
			s.tells(s.told("terminated;reason=timeout", 200), "-balcony")
		}},
		{"fetch when it was asked", func(s *stage) {
			s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.x(juliets("balcony", "")) // nobody has given leave
			s.listening(0)
			s.tells(s.told("terminated;reason=timeout", 200), "")
			s.want()
		}},
		{"our user is taken off the list", func(s *stage) {
			s.grantedWith()
			s.watching()
			s.may = func(string, string, bool) allowlists.Verdict { return allowlists.Verdict{} }
			var proof bridges.Proof
			s.see = func(message string, p bridges.Proof) {
				if strings.HasPrefix(message, "NOTIFY ") {
					proof = p
				}
			}
			s.p.reconsider()
			synctest.Wait()
			if proof != bridges.ProofBridge {
				s.t.Errorf("the end is proved by %v; only the bridge's own word passes the doors now", proof)
			}
			for range 2 { // in any order
				in := s.home.Next(s.t)
				if state := in.Fields.Get("Subscription-State"); in.Method == "NOTIFY" && state != "terminated;reason=rejected" {
					s.t.Errorf("NOTIFY %s", state)
				}
				in.Answer(bridges.Response{Status: 200}, "")
			}
			s.want(s.to("unsubscribe"), unavailable("orchard"), s.to("unsubscribed"))
		}},
		{"our user may not be watched any more", func(s *stage) {
			s.watching()
			s.may = func(_, _ string, inbound bool) (v allowlists.Verdict) { return }
			s.p.reconsider()
			s.accept(s.subscribed("0"))
			s.want(unavailable("orchard"), s.to("unsubscribed"))
			if i := s.item(); i != (rosterItem{}) {
				s.t.Errorf("roster says %+v", i)
			}
		}},
		{"subscribe cannot be delivered", func(s *stage) {
			s.wire.cut(s2s.ErrUnreachable)
			d := s.listening(3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
			s.refresh(d, 3600)
			s.told("pending;expires=3600", 200)
			s.want(s.to("subscribe"))
		}},
		{"probe cannot be delivered", func(s *stage) {
			s.grantedWith()
			s.wire.cut(s2s.ErrUnreachable)
			time.Sleep(fresh)
			s.listening(600)
			s.want(s.to("probe"))
			s.toldAll("active;expires=600", "active;expires=3295")
			time.Sleep(notifyPause)
			s.tells(s.told("active;expires=595", 200), "-balcony")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { onStage(t, tt.play) })
	}
}

// age makes times in the roster older.
func (s *stage) age(f func(i *rosterItem)) {
	onLoop(s, func() bool {
		s.p.change(s.p.relations[pair], f)
		return true
	})
}

// refresh sends a SUBSCRIBE within a dialog, which must be taken.
func (s *stage) refresh(d *bridges.Dialog, expires int) {
	s.t.Helper()
	r := s.subscribeRequest(expires)
	resp := s.home.SendWithin(s.t, d, &bridges.Request{Method: "SUBSCRIBE", Fields: r.Fields})
	if resp.Status != 200 || resp.Fields.Get("Expires") != strconv.Itoa(expires) {
		s.t.Fatalf("SUBSCRIBE: %+v", resp)
	}
}

// What a device answers to a NOTIFY decides whether it is notified again.
func TestADeviceThatCannotBeNotifiedIsDropped(t *testing.T) {
	for status, stays := range map[int]bool{
		404: false, 405: false, 408: false, 410: false, 416: false, 480: false, 481: false, 485: false, 489: false, 501: false, 604: false,
		403: true, 486: true, 500: true, 503: true,
	} {
		onStage(t, func(s *stage) {
			s.grantedWith()
			time.Sleep(notifyPause)
			s.x(juliets("balcony", "<show>away</show>"))
			s.told("active;expires=3590", status)
			time.Sleep(notifyPause)
			s.x(juliets("balcony", ""))
			if stays {
				s.told("active;expires=3585", 200)
			}
			if n := onLoop(s, func() int { return s.p.listeners }); (n == 1) != stays {
				s.t.Errorf("after %d: %d devices listen", status, n)
			}
		})
	}
}

// toldAll takes NOTIFYs with these states, in any order: they are in different
// dialogs.
func (s *stage) toldAll(states ...string) {
	s.t.Helper()
	synctest.Wait()
	var got []string
	for range states {
		in := s.home.Next(s.t)
		got = append(got, in.Fields.Get("Subscription-State"))
		in.Answer(bridges.Response{Status: 200}, "")
	}
	slices.Sort(got)
	slices.Sort(states)
	if !slices.Equal(got, states) {
		s.t.Fatalf("told %q, want %q", got, states)
	}
	synctest.Wait()
}

func TestSubscribesThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(r *bridges.Request)
		status int
		field  bridges.Field
	}{
		{"another event", func(r *bridges.Request) { r.Fields[0].Value = "presence.winfo" }, 489, bridges.Field{Name: "Allow-Events", Value: "presence"}},
		{"no event", func(r *bridges.Request) { r.Fields = r.Fields[1:] }, 489, bridges.Field{Name: "Allow-Events", Value: "presence"}},
		{"no PIDF", func(r *bridges.Request) { r.Fields[1].Value = "application/xpidf+xml" }, 406, bridges.Field{Name: "Accept", Value: pidf.Type}},
		{"too short", func(r *bridges.Request) { r.Fields[2].Value = "59" }, 423, bridges.Field{Name: "Min-Expires", Value: "60"}},
		{"no time", func(r *bridges.Request) { r.Fields[2].Value = "soon" }, 400, bridges.Field{}},
		{"an address that XMPP does not have", func(r *bridges.Request) { r.URI = "sip:%20x@fabrikam.example" }, 404, bridges.Field{}},
		{"a user without a name", func(r *bridges.Request) { r.From.URI = "sip:example.net" }, 400, bridges.Field{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				r := s.subscribeRequest(600)
				tt.change(r)
				resp, _ := s.home.Send(t, r)
				if resp.Status != tt.status || resp.Fields.Get(tt.field.Name) != tt.field.Value {
					t.Errorf("got %+v, want %d", resp, tt.status)
				}
			})
		})
	}
}

func TestSubscribesThatAreTaken(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(r *bridges.Request)
		expires string
	}{
		{"no Accept", func(r *bridges.Request) { r.Fields[1].Name = "Supported" }, "600"},
		{"one of many types", func(r *bridges.Request) { r.Fields[1].Value = "text/xml+msrtc.pidf, Application/PIDF+xml;q=1" }, "600"},
		{"all types", func(r *bridges.Request) { r.Fields[1].Value = "*/*" }, "600"},
		{"no Expires", func(r *bridges.Request) { r.Fields = r.Fields[:2] }, "3600"},
		{"a long time", func(r *bridges.Request) { r.Fields[2].Value = "86400" }, "3600"},
		{"an event with an id", func(r *bridges.Request) { r.Fields[0].Value = "presence;id=7" }, "600"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				r := s.subscribeRequest(600)
				tt.change(r)
				resp, _ := s.home.Send(t, r)
				if resp.Status != 200 || resp.Fields.Get("Expires") != tt.expires {
					t.Errorf("got %+v", resp)
				}
				in := s.home.Next(t)
				if event := in.Fields.Get("Event"); event != r.Fields.Get("Event") {
					t.Errorf("NOTIFY with Event %q", event)
				}
				in.Answer(bridges.Response{Status: 200}, "")
				s.want(s.to("subscribe"))
			})
		})
	}
}

func TestTheLanguageOfPresenceIsContentLanguage(t *testing.T) {
	onStage(t, func(s *stage) {
		s.grantedWith()
		time.Sleep(notifyPause)
		s.x("<presence from='juliet@fabrikam.example/balcony' to='romeo@example.net' xml:lang='it'><status>Ahimè</status></presence>")
		in := s.home.Next(t)
		in.Answer(bridges.Response{Status: 200}, "")
		if in.Fields.Get("Content-Language") != "it" || in.ContentType != pidf.Type || !strings.Contains(string(in.Body), "<note xml:lang='it'>Ahimè</note>") ||
			!strings.Contains(string(in.Body), "entity='pres:juliet@fabrikam.example'") || !strings.Contains(string(in.Body), "sip:juliet@fabrikam.example;gr=balcony</contact>") {
			t.Errorf("got %+v\n%s", in.Request, in.Body)
		}
		synctest.Wait()
	})
}

// Who has given leave to one of our users has not given it to others, and what he
// tells one is not for another (RFC 8048 §8.2).
func TestPresenceGoesToNobodyElse(t *testing.T) {
	onStage(t, func(s *stage) {
		s.grantedWith()
		r := s.subscribeRequest(600)
		r.From.URI = "sip:tybalt@example.net"
		s.home.Send(t, r)
		s.tells(s.told("pending;expires=600", 200), "")
		s.want("<presence from='tybalt@example.net' to='juliet@fabrikam.example' type='subscribe'/>")
		time.Sleep(notifyPause)
		s.x(juliets("balcony", "<show>away</show>"))
		s.told("active;expires=3590", 200)
		s.home.None(t)
		s.x("<presence from='juliet@fabrikam.example' to='tybalt@example.net' type='subscribed'/>")
		s.tells(s.told("active;expires=595", 200), "")
		s.want("<presence from='tybalt@example.net' to='juliet@fabrikam.example' type='probe'/>")
		time.Sleep(notifyPause)
		s.x("<presence from='juliet@fabrikam.example/balcony' to='tybalt@example.net'><show>dnd</show></presence>")
		s.tells(s.told("active;expires=590", 200), "+balconydnd")
		s.home.None(t)
	})
}

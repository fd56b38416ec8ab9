package xmpp

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
)

// Each row of the table of somebody of the network who watches our user. Each begins
// where nobody watches anybody.
func TestSomebodyOfTheNetworkWatchesOurUser(t *testing.T) {
	for _, tt := range []struct {
		name string
		play func(s *stage)
	}{
		{"subscribe becomes SUBSCRIBE", func(s *stage) {
			s.x(s.from("subscribe"))
			in := s.subscribed("3600")
			s.is("pending")
			if i := s.item(); i.subscription() != "none+in" {
				s.t.Errorf("roster says %s", i.subscription())
			}
			s.accept(in)
			s.want()
			s.is("pending")
		}},
		{"pending says nothing", func(s *stage) {
			s.x(s.from("subscribe"))
			d := s.accept(s.subscribed("3600"))
			s.notifies(d, "pending;expires=3600", "")
			s.notifies(d, "pending;expires=3600", document("orchard"))
			s.want()
			s.is("pending")
		}},
		{"active without a body is subscribed", func(s *stage) {
			s.x(s.from("subscribe"))
			d := s.accept(s.subscribed("3600"))
			s.notifies(d, "active;expires=3600", "")
			s.want(s.to("subscribed"))
			s.is("active")
			if i := s.item(); i.subscription() != "from" {
				s.t.Errorf("roster says %s", i.subscription())
			}
		}},
		{"active with a body is subscribed and presence of each device", func(s *stage) {
			s.x(s.from("subscribe"))
			d := s.accept(s.subscribed("3600"))
			s.notifies(d, "active;expires=3600", document("orchard", "cell away"))
			s.want(s.to("subscribed"), available("orchard", ""), available("cell", "<show>away</show>"))
		}},
		{"a NOTIFY may come before the answer", func(s *stage) {
			s.x(s.from("subscribe"))
			in := s.subscribed("3600")
			d := in.Answer(bridges.Response{Status: 200}, "romeo") // the wire is in order, so the answer is lost instead
			s.notifies(d, "active;expires=3600", document("orchard"))
			s.want(s.to("subscribed"), available("orchard", ""))
		}},
		{"terminated;rejected is unsubscribed", func(s *stage) {
			s.x(s.from("subscribe"))
			d := s.accept(s.subscribed("3600"))
			s.notifies(d, "terminated;reason=rejected", "")
			s.want(s.to("unsubscribed"))
			s.is("none")
		}},
		{"pending, 404", func(s *stage) {
			s.x("<presence from='juliet@fabrikam.example' to='romeo@example.net' type='subscribe' id='r1'/>")
			s.refuse(s.subscribed("3600"), 404)
			s.want(s.to("unsubscribed"), "<presence from='romeo@example.net' to='juliet@fabrikam.example' type='error' id='r1'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
			s.is("none")
		}},
		{"pending, 604", func(s *stage) {
			s.x(s.from("subscribe"))
			s.refuse(s.subscribed("3600"), 604)
			s.want(s.to("unsubscribed"), "<presence from='romeo@example.net' to='juliet@fabrikam.example' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
		}},
		{"pending, 410", func(s *stage) {
			s.x(s.from("subscribe"))
			s.refuse(s.subscribed("3600"), 410)
			s.want(s.to("unsubscribed"), "<presence from='romeo@example.net' to='juliet@fabrikam.example' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
		}},
		{"pending, 405: presence is not known there", func(s *stage) {
			s.x(s.from("subscribe"))
			s.refuse(s.subscribed("3600"), 405)
			s.want(s.to("unsubscribed"), "<presence from='romeo@example.net' to='juliet@fabrikam.example' type='error'><error type='cancel'><feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
			s.is("none")
		}},
		{"active and changes", func(s *stage) {
			d := s.watching()
			s.notifies(d, "active;expires=3600", document("orchard dnd", "cell"))
			s.want(available("orchard", "<show>dnd</show>"), available("cell", ""))
			s.notifies(d, "active;expires=3600", document("orchard dnd", "cell"))
			s.want()
			s.notifies(d, "active;expires=3600", "")
			s.want()
			s.notifies(d, "active;expires=3600", document("cell closed"))
			s.want(unavailable("orchard"), unavailable("cell"))
			s.notifies(d, "active;expires=3600", document("cell closed"))
			s.notifies(d, "active;expires=3600", document())
			s.want()
			s.notifies(d, "active;expires=3600", document("cell"))
			s.want(available("cell", ""))
		}},
		{"active, terminated;deactivated", func(s *stage) {
			d := s.watching()
			s.notifies(d, "terminated;reason=deactivated", "")
			s.want(unavailable("orchard"))
			s.is("suspended")
			d = s.accept(s.subscribed("3600"))
			s.notifies(d, "active;expires=3600", document("orchard"))
			s.want(available("orchard", ""))
			s.is("active")
		}},
		{"active, terminated;timeout", func(s *stage) {
			d := s.watching()
			s.notifies(d, "terminated;reason=timeout", "")
			s.want(unavailable("orchard"))
			// Whoever does so each time is not asked without pause.
			d = s.accept(s.subscribed("3600"))
			s.notifies(d, "active;expires=3600", "")
			s.notifies(d, "terminated;reason=timeout", "")
			s.home.None(s.t)
			time.Sleep(retries[0] * 11 / 10)
			s.accept(s.subscribed("3600"))
		}},
		{"active, terminated;probation", func(s *stage) {
			d := s.watching()
			s.notifies(d, "terminated;reason=probation;retry-after=100", "")
			s.want(unavailable("orchard"))
			s.is("suspended")
			time.Sleep(100*time.Second - time.Nanosecond)
			s.home.None(s.t)
			time.Sleep(11 * time.Second)
			s.accept(s.subscribed("3600"))
			s.is("active")
		}},
		{"active, terminated;giveup", func(s *stage) {
			d := s.watching()
			s.notifies(d, "terminated;reason=giveup", "")
			s.want(unavailable("orchard"))
			s.is("suspended")
			time.Sleep(retries[0] * 11 / 10)
			s.accept(s.subscribed("3600"))
		}},
		{"active, terminated;noresource", func(s *stage) {
			d := s.watching()
			s.notifies(d, "terminated;reason=noresource", "")
			s.want(unavailable("orchard"), s.to("unsubscribed"))
			s.is("none")
		}},
		{"active, terminated;rejected", func(s *stage) {
			d := s.watching()
			s.notifies(d, "terminated;reason=rejected", "")
			s.want(unavailable("orchard"), s.to("unsubscribed"))
			s.is("none")
			if i := s.item(); i != (rosterItem{}) {
				s.t.Errorf("roster says %+v", i)
			}
		}},
		{"active, terminated;invariant", func(s *stage) {
			d := s.watching()
			s.notifies(d, "terminated;reason=invariant;retry-after=1", "")
			s.want(unavailable("orchard"))
			time.Sleep(10 * time.Minute)
			s.home.None(s.t)
		}},
		{"probe, and what is known is fresh", func(s *stage) {
			s.watching()
			s.x("<presence from='juliet@fabrikam.example' to='romeo@example.net' type='probe' id='p1'/>")
			s.want(available("orchard", ""))
		}},
		{"probe of a device", func(s *stage) {
			s.watching()
			s.x("<presence from='juliet@fabrikam.example/balcony' to='romeo@example.net/orchard' type='probe'/>",
				"<presence from='juliet@fabrikam.example/balcony' to='romeo@example.net/other' type='probe'/>")
			s.want("<presence from='romeo@example.net/orchard' to='juliet@fabrikam.example/balcony'/>",
				"<presence from='romeo@example.net/other' to='juliet@fabrikam.example/balcony' type='unavailable'/>")
		}},
		{"probe, and what is known is old", func(s *stage) {
			d := s.watching()
			time.Sleep(fresh)
			s.x(s.from("probe"), s.from("probe"))
			s.want()
			in := s.subscribed("0")
			if in.CallID == d.CallID() {
				s.t.Error("asked within the dialog")
			}
			once := s.accept(in)
			s.notifies(once, "terminated;reason=timeout", document("cell"))
			s.want(available("cell", ""), unavailable("orchard"))
			s.is("active")
		}},
		{"probe, and nobody answers the question", func(s *stage) {
			s.watching()
			time.Sleep(fresh)
			s.x(s.from("probe"))
			s.refuse(s.subscribed("0"), 500)
			s.want(available("orchard", ""))
		}},
		{"probe of somebody who does not watch", func(s *stage) {
			s.x("<presence from='juliet@fabrikam.example/balcony' to='romeo@example.net/x' type='probe' id='p1'/>")
			s.want("<presence from='romeo@example.net' to='juliet@fabrikam.example' type='unsubscribed' id='p1'/>")
		}},
		{"probe while our user has not answered", func(s *stage) {
			s.x(s.from("subscribe"))
			s.accept(s.subscribed("3600"))
			s.x(s.from("probe"))
			s.want()
		}},
		{"unsubscribe", func(s *stage) {
			d := s.watching()
			s.x(s.from("unsubscribe"))
			s.want()
			in := s.subscribed("0")
			if in.Dialog != d {
				s.t.Error("asked outside the dialog")
			}
			s.is("none")
			s.accept(in)
			s.want(unavailable("orchard"), s.to("unsubscribed"))
			s.notifies(d, "terminated;reason=timeout", document("orchard"))
			s.want()
			if n := onLoop(s, func() int { return len(s.p.usages) + len(s.p.relations) }); n != 0 {
				s.t.Errorf("%d usages and relations are left", n)
			}
			s.x(s.from("unsubscribe"))
			s.want()
		}},
		{"unsubscribe, and the last notification comes right behind the answer", func(s *stage) {
			d := s.watching()
			s.x(s.from("unsubscribe"))
			in := s.subscribed("0")
			hold := make(chan bool)
			s.p.loop.post(func() { <-hold })
			s.accept(in)
			go func() {
				synctest.Wait() // the dialog is over, and presence has heard of neither
				close(hold)
			}()
			s.notifies(d, "terminated;reason=timeout", "")
			s.want(unavailable("orchard"), s.to("unsubscribed"))
		}},
		{"unsubscribe before the answer", func(s *stage) {
			s.x(s.from("subscribe"))
			in := s.subscribed("3600")
			s.x(s.from("unsubscribe"))
			s.want(s.to("unsubscribed"))
			d := s.accept(in)
			s.accept(s.subscribed("0"))
			s.notifies(d, "active;expires=3600", document("orchard")) // was on its way
			s.notifies(d, "terminated;reason=timeout", "")
			s.want()
		}},
		{"unsubscribe where nobody watches", func(s *stage) {
			s.x(s.from("unsubscribe"))
			s.want()
		}},
		{"unsubscribe, and the home server refuses", func(s *stage) {
			s.watching()
			s.x(s.from("unsubscribe"))
			s.refuse(s.subscribed("0"), 500)
			s.want(unavailable("orchard"), s.to("unsubscribed"))
			s.is("none")
		}},
		{"subscribe again right after unsubscribe", func(s *stage) {
			s.watching()
			s.x(s.from("unsubscribe"))
			bye := s.subscribed("0")
			s.x(s.from("subscribe"))
			in := s.subscribed("3600")
			s.accept(bye)
			s.want() // an unsubscribed would answer the new question
			d := s.accept(in)
			s.notifies(d, "active;expires=3600", document("orchard"))
			s.want(s.to("subscribed"), available("orchard", ""))
		}},
		{"subscribe again while it is pending", func(s *stage) {
			s.x(s.from("subscribe"), s.from("subscribe"))
			s.accept(s.subscribed("3600"))
			s.x(s.from("subscribe"))
			s.want()
		}},
		{"subscribe again when it is active", func(s *stage) {
			s.watching()
			s.x(s.from("subscribe"))
			s.want(s.to("subscribed"), available("orchard", ""))
		}},
		{"subscribe again when our user has said no today", func(s *stage) {
			s.x(s.from("subscribe"))
			s.refuse(s.subscribed("3600"), 603)
			s.want(s.to("unsubscribed"))
			s.x(s.from("subscribe"))
			s.want(s.to("unsubscribed"))
			s.home.None(s.t)
			s.age(func(i *rosterItem) { i.Refused -= 24 * 3600 })
			s.x(s.from("subscribe"))
			s.accept(s.subscribed("3600"))
		}},
		{"all resources of the other are offline, and one comes back", func(s *stage) {
			s.grantedWith()
			s.watching()
			time.Sleep(probeLasts - notifyPause) // then it is sure that there is no other
			s.x("<presence from='juliet@fabrikam.example/balcony' to='romeo@example.net' type='unavailable'/>")
			s.told("active;expires=3570", 200)
			s.is("suspended")
			time.Sleep(50 * time.Minute)
			s.home.None(s.t) // no refresh
			s.x(juliets("balcony", ""))
			two := s.both()
			two["NOTIFY"].Answer(bridges.Response{Status: 200}, "")
			d := s.accept(two["SUBSCRIBE"])
			s.is("active")
			s.notifies(d, "active;expires=3600", document("orchard"))
			s.want(available("orchard", ""))
		}},
		{"a resource goes, and there may be others", func(s *stage) {
			s.grantedWith()
			s.watching()
			s.x("<presence from='juliet@fabrikam.example/balcony' to='romeo@example.net' type='unavailable'/>")
			time.Sleep(notifyPause)
			s.told("active;expires=3590", 200)
			s.is("active")
			time.Sleep(probeLasts)
			s.is("suspended")
		}},
		{"presence could not be delivered", func(s *stage) {
			s.x(s.from("subscribe"))
			d := s.accept(s.subscribed("3600"))
			s.wire.cut(s2s.ErrUnreachable)
			s.notifies(d, "active;expires=3600", document("orchard"))
			s.want(s.to("subscribed"), available("orchard", ""))
			s.wire.cut(nil)
			s.notifies(d, "active;expires=3600", document("orchard"))
			s.want(s.to("subscribed"), available("orchard", ""))
			s.notifies(d, "active;expires=3600", document("orchard"))
			s.want()
		}},
		{"the other is no more", func(s *stage) {
			s.watching()
			s.x("<presence from='juliet@fabrikam.example' to='romeo@example.net' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
			s.is("suspended")
			s.want()
		}},
		{"a probe ends the suspension", func(s *stage) {
			s.grantedWith()
			s.watching()
			s.x("<presence from='juliet@fabrikam.example' to='romeo@example.net' type='unavailable'/>")
			time.Sleep(notifyPause)
			s.told("active;expires=3590", 200)
			s.is("suspended")
			s.x(s.from("probe"))
			d := s.accept(s.subscribed("3600"))
			s.is("active")
			s.notifies(d, "active;expires=3600", "") // nothing new since
			s.want(available("orchard", ""))
		}},
		{"BENOTIFY and another event", func(s *stage) {
			d := s.watching()
			resp := s.home.SendWithin(s.t, d, &bridges.Request{Method: "NOTIFY", Fields: bridges.Fields{{Name: "Event", Value: "presence.winfo"}, {Name: "Subscription-State", Value: "active"}}})
			if resp.Status != 489 {
				s.t.Errorf("presence.winfo: %d", resp.Status)
			}
			if status := s.notify(d, "", ""); status != 400 {
				s.t.Errorf("no Subscription-State: %d", status)
			}
			if status := s.notify(d, "active", "<presence/>"); status != 400 {
				s.t.Errorf("no PIDF: %d", status)
			}
			resp = s.home.SendWithin(s.t, d, &bridges.Request{Method: "NOTIFY", ContentType: "text/plain", Body: []byte("open"),
				Fields: bridges.Fields{{Name: "Event", Value: "presence"}, {Name: "Subscription-State", Value: "active"}}})
			if resp.Status != 415 || resp.Fields.Get("Accept") != pidf.Type {
				s.t.Errorf("text: %+v", resp)
			}
			s.want()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { onStage(t, tt.play) })
	}
}

// both takes two requests of different methods: those of different dialogs come in any
// order.
func (s *stage) both() map[string]*bridges.Incoming {
	s.t.Helper()
	list := map[string]*bridges.Incoming{}
	for range 2 {
		in := s.home.Next(s.t)
		list[in.Method] = in
	}
	return list
}

func TestAFinalRefusalEndsAPendingWatch(t *testing.T) {
	for _, status := range []int{403, 489, 603} {
		onStage(t, func(s *stage) {
			s.x(s.from("subscribe"))
			s.refuse(s.subscribed("3600"), status)
			s.want(s.to("unsubscribed"))
			s.is("none")
		})
	}
}

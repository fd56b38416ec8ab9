package xmpp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
)

const gatewayProbe = "<presence from='example.net' to='juliet@fabrikam.example' type='probe'/>"

// What may pass is tried again after 1, 5, 15 and 60 minutes, and given up after a
// day.
func TestARequestThatNobodyCanDecideIsTriedAgain(t *testing.T) {
	for name, status := range map[string]int{"timeout": 408, "nobody there": 480, "broken": 500, "gateway": 504, "busy": 486} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				s.x("<presence from='juliet@fabrikam.example' to='romeo@example.net' type='subscribe' id='r1'/>")
				s.refuse(s.subscribed("3600"), status)
				for i, wait := range append(retries, time.Hour) {
					time.Sleep(wait - time.Nanosecond)
					s.home.None(t)
					if i < 2 {
						time.Sleep(wait/10 + time.Nanosecond)
					} else {
						// Nothing has come from her for ten minutes.
						for range 100 {
							if len(s.peek()) > 0 {
								break
							}
							time.Sleep(wait / 900)
						}
						s.pass()
					}
					s.refuse(s.subscribed("3600"), status)
				}
				s.is("pending")
				s.want()
			})
		})
	}
}

// A deadHome is a SIP side where nobody answers.
type deadHome struct{ asked int }

func (d *deadHome) Do(_ *bridges.Request, answer func(*bridges.Response, *bridges.Dialog)) {
	d.asked++
	go answer(&bridges.Response{Status: 408, Local: true}, nil)
}

func TestARequestThatNobodyCanDecideIsGivenUpAfterADay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		dead := &deadHome{}
		s := newStageAt(t, dir, presenceLimits{}, dead)
		s.x("<presence from='juliet@fabrikam.example' to='romeo@example.net' type='subscribe' id='r1'/>")
		time.Sleep(giveUp)
		s.is("pending")
		time.Sleep(2 * time.Hour)
		s.is("none")
		sent := s.wire.take()
		want := "<presence from='romeo@example.net' to='juliet@fabrikam.example' type='error' id='r1'><error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
		if last := sent[len(sent)-1]; last != want {
			t.Errorf("sent %s last", last)
		}
		if dead.asked < 20 || dead.asked > 28 {
			t.Errorf("asked %d times", dead.asked)
		}
		time.Sleep(2 * time.Hour)
		s.want()
	})
}

// A refresh goes out in good time, within the dialog, and is asked for by a probe of
// the gateway's own when nothing has come from the other for long.
func TestRefresh(t *testing.T) {
	for _, tt := range []struct {
		name string
		play func(s *stage, d *bridges.Dialog)
	}{
		{"answered by her server", func(s *stage, d *bridges.Dialog) {
			s.want(gatewayProbe)
			s.x("<presence from='juliet@fabrikam.example' to='example.net' type='unsubscribed'/>")
			in := s.subscribed("3600")
			if in.Dialog != d {
				s.t.Error("a refresh outside the dialog")
			}
			s.accept(in)
			s.notifies(d, "active;expires=3600", document("orchard dnd"))
			s.want(available("orchard", "<show>dnd</show>"))
		}},
		{"her server says nothing", func(s *stage, d *bridges.Dialog) {
			s.want(gatewayProbe)
			s.home.None(s.t)
			time.Sleep(probeAnswer)
			s.accept(s.subscribed("3600"))
			s.notifies(d, "active", "")
		}},
		{"her server says that there is no such user", func(s *stage, d *bridges.Dialog) {
			s.want(gatewayProbe)
			s.x("<presence from='juliet@fabrikam.example' to='example.net' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
			s.is("suspended")
			time.Sleep(2 * time.Hour)
			s.home.None(s.t)
			s.want()
			s.x(s.from("probe"))
			s.accept(s.subscribed("3600"))
			s.is("active")
		}},
		{"403", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.refuse(s.subscribed("3600"), 403)
			s.want(unavailable("orchard"), s.to("unsubscribed"))
			s.accept(s.subscribed("0")) // by RFC 6665 it is still valid
			s.is("none")
		}},
		{"489", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.refuse(s.subscribed("3600"), 489)
			s.want(unavailable("orchard"), s.to("unsubscribed"))
			s.is("none")
		}},
		{"603", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.refuse(s.subscribed("3600"), 603)
			s.want(unavailable("orchard"), s.to("unsubscribed"))
			s.accept(s.subscribed("0"))
			s.is("none")
		}},
		{"423", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.refuse(s.subscribed("3600"), 423, bridges.Field{Name: "Min-Expires", Value: "7200"})
			in := s.subscribed("7200")
			if in.Dialog != d {
				s.t.Error("outside the dialog")
			}
			s.accept(in)
			s.notifies(d, "active;expires=7200", "")
			s.want()
			s.is("active")
		}},
		{"423 without an end", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.refuse(s.subscribed("3600"), 423, bridges.Field{Name: "Min-Expires", Value: "7200"})
			s.refuse(s.subscribed("7200"), 423, bridges.Field{Name: "Min-Expires", Value: "7200"})
			s.want()
			s.is("active") // until it expires
		}},
		{"481", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.refuse(s.subscribed("3600"), 481)
			in := s.subscribed("3600")
			if in.Dialog != nil || in.CallID == d.CallID() {
				s.t.Error("not a new dialog")
			}
			s.want()
			s.is("active")
			d = s.accept(in)
			s.notifies(d, "active;expires=3600", document("orchard"))
			s.want()
		}},
		{"500", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.refuse(s.subscribed("3600"), 500)
			s.want()
			s.is("active")
			s.notifies(d, "active", document("orchard away")) // it is still valid
			s.want(available("orchard", "<show>away</show>"))
			time.Sleep(retries[0] * 11 / 10)
			in := s.subscribed("3600")
			if in.Dialog != d {
				s.t.Error("outside the dialog")
			}
			s.accept(in)
			s.notifies(d, "active", "")
		}},
		{"480 ends the subscription", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.refuse(s.subscribed("3600"), 480)
			s.want(unavailable("orchard"))
			s.is("suspended")
			time.Sleep(retries[0] * 11 / 10)
			in := s.subscribed("3600")
			if in.Dialog != nil {
				s.t.Error("within the dialog")
			}
			s.notifies(s.accept(in), "active;expires=3600", document("orchard"))
			s.want(available("orchard", ""))
		}},
		{"no NOTIFY follows", func(s *stage, d *bridges.Dialog) {
			s.pass()
			s.accept(s.subscribed("3600"))
			time.Sleep(timerN)
			s.want(unavailable("orchard"))
			s.is("suspended")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				d := s.watching()
				began := time.Now()
				for len(s.peek()) == 0 {
					time.Sleep(10 * time.Second)
				}
				if after := time.Since(began); after < 45*time.Minute || after > 56*time.Minute {
					t.Errorf("refreshed after %s", after)
				}
				tt.play(s, d)
			})
		})
	}
}

// pass lets a probe of the gateway pass.
func (s *stage) pass() {
	s.want(gatewayProbe)
	s.x("<presence from='juliet@fabrikam.example' to='example.net' type='unsubscribed'/>")
}

// peek returns what was sent and leaves it there.
func (s *stage) peek() []string {
	synctest.Wait()
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	return s.wire.sent
}

func TestAProbeThatCannotBeDeliveredSkipsTheRefresh(t *testing.T) {
	onStage(t, func(s *stage) {
		s.watching()
		s.wire.cut(s2s.ErrUnreachable)
		time.Sleep(2 * time.Hour)
		s.home.None(t)
		s.want(gatewayProbe)
		s.is("suspended")
	})
}

func TestASubscribeWithoutNotifyIsTriedAgain(t *testing.T) {
	onStage(t, func(s *stage) {
		s.x(s.from("subscribe"))
		s.accept(s.subscribed("3600"))
		time.Sleep(timerN + retries[0]*11/10)
		s.accept(s.subscribed("3600"))
		s.want()
		s.is("pending")
	})
}

// Of a SUBSCRIBE that went to several devices, one dialog counts (RFC 3856 §6.9).
func TestASecondDialogOfOneSubscribeIsRefused(t *testing.T) {
	onStage(t, func(s *stage) {
		s.x(s.from("subscribe"))
		in := s.subscribed("3600")
		d := s.accept(in)
		s.notifies(d, "active;expires=3600", document("orchard"))
		s.want(s.to("subscribed"), available("orchard", ""))
		var answer string
		s.see = func(message string, _ bridges.Proof) { answer, _, _ = strings.Cut(message, "\r\n") }
		fork := fmt.Sprintf("NOTIFY sip:juliet@bridge.example.com:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS home.example.com:5061;branch=z9hG4bKfork\r\n"+
			"From: <%s>;tag=fork\r\nTo: <%s>;tag=%s\r\nCall-ID: %s\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\nContact: <%s>\r\nEvent: presence\r\n"+
			"Subscription-State: active;expires=3600\r\nContent-Length: 0\r\n\r\n", sipRomeo, sipJuliet, in.From.Tag, in.CallID, sipRomeo)
		if !s.receive([]byte(fork)) {
			t.Fatal("not taken")
		}
		synctest.Wait()
		if answer != "SIP/2.0 481 Call/Transaction Does Not Exist" {
			t.Errorf("a NOTIFY of another dialog: %s", answer)
		}
		s.want()
		s.notifies(d, "active", document("orchard dnd"))
		s.want(available("orchard", "<show>dnd</show>"))
	})
}

package xmpp

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// wrapped is a MESSAGE of alice's to juliet with a wrapper.
func wrapped(c body.CPIM) *bridges.Request {
	c.From, c.To = body.Party{URI: aliceURI}, []body.Party{{URI: julietURI}}
	if c.ContentType == "" {
		c.ContentType = "text/plain"
	}
	return &bridges.Request{
		Method: "MESSAGE", URI: julietURI, From: bridges.Party{URI: aliceURI}, To: bridges.Party{URI: julietURI},
		ContentType: body.TypeCPIM, Body: c.Append(nil),
	}
}

// ask lets alice write to juliet and want to know what becomes of it. It returns the id
// of the stanza.
func (w *world) ask(t testing.TB, n body.Fates) string {
	t.Helper()
	sent := time.Now().Add(-time.Second)
	if resp, _ := w.home.Send(t, wrapped(body.CPIM{MessageID: "34jk324j", Notify: n, DateTime: sent, Body: []byte("hello")})); resp.Status != 200 && resp.Status != 202 {
		t.Fatalf("answered with %d", resp.Status)
	}
	m := w.beyond.next(t)
	c := contentOf(m.Element)
	if c.WantsReceipt != (n&body.Delivered != 0) || c.Markable != (n&body.Displayed != 0) {
		t.Errorf("sent %s", stanza.Append(nil, m.Element))
	}
	return c.ID
}

// report returns the next IMDN that alice gets.
func (w *world) report(t testing.TB, status int) (*body.IMDN, *body.CPIM) {
	t.Helper()
	in := w.home.Take(t, "MESSAGE", status)
	p, err := body.Read(in.ContentType, "", in.Body)
	if err != nil || p.IMDN == nil || p.CPIM == nil {
		t.Fatalf("got %s %q, want a report", in.ContentType, in.Body)
	}
	if p.CPIM.Notify != 0 || p.CPIM.Disposition != "notification" || p.CPIM.MessageID == p.IMDN.MessageID {
		t.Errorf("wrapper %+v", p.CPIM)
	}
	return p.IMDN, p.CPIM
}

func TestAReceiptFromOutsideBecomesAReport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		wants  body.Fates
		stanza string
		want   string // "kind status"
	}{
		{"received", body.Delivered, "<received xmlns='urn:xmpp:receipts' id='%s'/>", "delivery delivered"},
		{"received, by a marker", body.Delivered, "<received xmlns='urn:xmpp:chat-markers:0' id='%s'/>", "delivery delivered"},
		{"displayed", body.Displayed | body.Delivered, "<displayed xmlns='urn:xmpp:chat-markers:0' id='%s'/>", "display displayed"},
		{"received, and nobody asked", body.Displayed, "<received xmlns='urn:xmpp:receipts' id='%s'/>", ""},
		{"displayed, and nobody asked", body.Delivered, "<displayed xmlns='urn:xmpp:chat-markers:0' id='%s'/>", ""},
		{"of another message", body.Delivered, "<received xmlns='urn:xmpp:receipts' id='x%s'/>", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				id := w.ask(t, tt.wants)
				w.arrives(messageXML("from='mallory@fabrikam.example'", fmt.Sprintf(tt.stanza, id)))
				synctest.Wait()
				w.home.None(t) // she never got it
				for range 2 {
					w.arrives(messageXML("", fmt.Sprintf(tt.stanza, id)))
				}
				if tt.want != "" {
					n, c := w.report(t, 200)
					get(t, n.Kind+" "+n.Status, tt.want)
					get(t, n.MessageID, "34jk324j")
					get(t, n.Recipient, julietURI)
					get(t, c.From.URI, julietURI)
					get(t, c.To[0].URI, aliceURI)
					if n.DateTime.IsZero() {
						t.Error("it does not say when the message was sent")
					}
				}
				synctest.Wait()
				w.home.None(t) // once, and no more
				w.beyond.none(t)
			})
		})
	}
}

func TestAnErrorThatComesLateBecomesAReport(t *testing.T) {
	for _, tt := range []struct {
		name, condition string
		wants           body.Fates
		want            string
	}{
		{"not there", "recipient-unavailable", body.Failed, "failed"},
		{"forbidden", "forbidden", body.Failed | body.Delivered, "forbidden"},
		{"not allowed", "not-allowed", body.Failed, "forbidden"},
		{"a bug", "internal-server-error", body.Failed, "error"},
		{"nobody asked", "recipient-unavailable", body.Delivered, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				fault := messageXML("type='error' from='juliet@fabrikam.example' id='"+w.ask(t, tt.wants)+"'",
					"<error type='wait'><"+tt.condition+" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
				time.Sleep(time.Hour) // nobody remembers the request
				w.arrives(fault)
				w.arrives(fault)
				if tt.want != "" {
					n, _ := w.report(t, 200)
					get(t, n.Kind+" "+n.Status, "delivery "+tt.want)
				}
				synctest.Wait()
				w.home.None(t)
			})
		})
	}
}

func TestAStreamThatFailsLateBecomesAReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.beyond.set(func(*stanza.Element) (s2s.Outcome, bool) { return s2s.Outcome{}, false })
		got := make(chan int, 1)
		w.home.Do(wrapped(body.CPIM{MessageID: "m", Notify: body.Failed, Body: []byte("x")}), func(r *bridges.Response, _ *bridges.Dialog) { got <- r.Status })
		m := w.beyond.next(t)
		if status := <-got; status != 202 {
			t.Fatalf("answered with %d", status)
		}
		m.done(s2s.Outcome{Err: s2s.ErrTimeout})
		n, _ := w.report(t, 415)
		get(t, n.Status, "failed")
		synctest.Wait()
		if log := w.log.String(); !strings.Contains(log, "after it was accepted") || !strings.Contains(log, "notification refused") {
			t.Errorf("log: %s", log)
		}
		w.home.None(t) // no answer to it leads to anything
	})
}

func TestAReportGoesWhereTheMessageSaysItShould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		r := wrapped(body.CPIM{MessageID: "m", Notify: body.Delivered, Body: []byte("x")})
		r.Body = []byte(strings.Replace(string(r.Body), "imdn.Message-ID",
			"imdn.IMDN-Record-Route: <sip:lists@example.com>\r\nimdn.IMDN-Record-Route: <sip:second@example.com>\r\nimdn.Message-ID", 1))
		w.home.Send(t, r)
		id := w.beyond.next(t).Attr("id")
		w.arrives(messageXML("", "<received xmlns='urn:xmpp:receipts' id='"+id+"'/>"))
		in := w.home.Take(t, "MESSAGE", 200)
		get(t, in.URI, "sip:lists@example.com")
		get(t, in.To.URI, aliceURI)
		c, err := wrapperOf(in.Body)
		if err != nil || fmt.Sprint(c.Route) != "[sip:lists@example.com sip:second@example.com]" || len(c.RecordRoute) != 0 {
			t.Errorf("routes %v, %v, %v", c.Route, c.RecordRoute, err)
		}
	})
}

// tellsSheKnows lets alice's device say that it understands wrappers.
func (w *world) tellsSheKnows(t testing.TB) {
	t.Helper()
	w.home.Send(t, wrapped(body.CPIM{Body: []byte("x")}))
	w.beyond.next(t)
}

// wants lets juliet write something and want to know what becomes of it. It returns the
// wrapper that alice gets.
func (w *world) wants(t testing.TB, id, asks string) *body.CPIM {
	t.Helper()
	w.arrives(messageXML("type='chat' id='"+id+"'", "<body>hello</body>"+asks))
	in := w.home.Take(t, "MESSAGE", 200)
	c, err := wrapperOf(in.Body)
	if in.ContentType != body.TypeCPIM || err != nil {
		t.Fatalf("got %s %q, want a wrapper", in.ContentType, in.Body)
	}
	get(t, string(c.Body), "hello")
	return c
}

const (
	wantsReceipt = "<request xmlns='urn:xmpp:receipts'/>"
	wantsMarker  = "<markable xmlns='urn:xmpp:chat-markers:0'/>"
)

// reports lets alice report on a message.
func (w *world) reports(t testing.TB, n body.IMDN) {
	t.Helper()
	resp, _ := w.home.Send(t, wrapped(body.CPIM{MessageID: "other", ContentType: body.TypeIMDN, Disposition: "notification", Body: n.Append(nil)}))
	if resp.Status != 200 {
		t.Errorf("answered with %d", resp.Status)
	}
}

func TestAReportBecomesAReceipt(t *testing.T) {
	for _, tt := range []struct {
		name, asks   string
		wants        body.Fates
		kind, status string
		want         string // of what comes: "received", "displayed" or the condition of an error
	}{
		{"delivered", wantsReceipt, body.Delivered | body.Failed, "delivery", "delivered", "received"},
		{"displayed", wantsReceipt + wantsMarker, body.Delivered | body.Failed | body.Displayed, "display", "displayed", "displayed"},
		{"displayed, and nobody asked", wantsReceipt, body.Delivered | body.Failed, "display", "displayed", ""},
		{"failed", wantsReceipt, body.Delivered | body.Failed, "delivery", "failed", "recipient-unavailable"},
		{"forbidden", wantsReceipt, body.Delivered | body.Failed, "delivery", "forbidden", "forbidden"},
		{"error", wantsReceipt, body.Delivered | body.Failed, "delivery", "error", "undefined-condition"},
		{"stored", wantsReceipt, body.Delivered | body.Failed, "processing", "stored", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.tellsSheKnows(t)
				c := w.wants(t, "richard2", tt.asks)
				if c.Notify != tt.wants {
					t.Errorf("asks for %b, want %b", c.Notify, tt.wants)
				}
				w.beyond.none(t) // a 200 is no receipt
				for range 2 {
					w.reports(t, body.IMDN{MessageID: c.MessageID, Kind: tt.kind, Status: tt.status})
				}
				if tt.want != "" {
					m := w.beyond.next(t)
					get(t, m.Attr("to"), "juliet@fabrikam.example/balcony")
					get(t, m.Attr("from"), "alice@example.com")
					got := contentOf(m.Element)
					if e := stanza.ErrorOf(m.Element); e != nil {
						get(t, e.Condition, tt.want)
						get(t, m.Attr("id"), "richard2")
					} else {
						get(t, got.Received+got.Displayed, "richard2")
						if (got.Received != "") != (tt.want == "received") || got.WantsReceipt || got.ID == "" {
							t.Errorf("sent %s", stanza.Append(nil, m.Element))
						}
					}
				}
				synctest.Wait()
				w.beyond.none(t)
				w.home.None(t)
			})
		})
	}
}

func TestAReportOfSomebodyElseIsNone(t *testing.T) {
	w := newWorld(t, nil)
	w.tellsSheKnows(t)
	c := w.wants(t, "1", wantsReceipt)
	n := body.IMDN{MessageID: c.MessageID, Kind: "delivery", Status: "delivered"}
	r := wrapped(body.CPIM{MessageID: "other", ContentType: body.TypeIMDN, Body: n.Append(nil)})
	r.From.URI = "sip:bob@example.com"
	r.Body = []byte(strings.ReplaceAll(string(r.Body), aliceURI, r.From.URI))
	if resp, _ := w.home.Send(t, r); resp.Status != 200 {
		t.Errorf("answered with %d", resp.Status)
	}
	w.beyond.none(t)
}

// A telling answers OPTIONS in place of a device.
type telling struct {
	caller
	accept string
	asked  int
}

func (c *telling) Do(r *bridges.Request, answer func(*bridges.Response, *bridges.Dialog)) {
	if r.Method != "OPTIONS" {
		c.caller.Do(r, answer)
		return
	}
	c.asked++
	go answer(&bridges.Response{Status: 200, Fields: bridges.Fields{{Name: "Accept", Value: c.accept}}}, nil)
}

func TestAWrapperGoesOnlyToWhoKnowsIt(t *testing.T) {
	for _, tt := range []struct{ accept, then string }{
		{"text/plain, Message/CPIM;x=y", body.TypeCPIM}, {"*/*", body.TypePlain}, {"text/plain", body.TypePlain}, {"", body.TypePlain},
	} {
		t.Run(tt.accept, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				device := &telling{caller: w.gateway.sip, accept: tt.accept}
				w.gateway.sip = device
				for i, want := range []string{body.TypePlain, tt.then, tt.then} {
					w.arrives(messageXML("id='1'", "<body>hello</body>"+wantsReceipt))
					get(t, w.home.Take(t, "MESSAGE", 200).ContentType, want)
					synctest.Wait()
					if device.asked != 1 {
						t.Errorf("asked %d times after message %d, want once", device.asked, i+1)
					}
				}
			})
		})
	}
}

func TestWhoRefusesAWrapperGetsTheTextAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.tellsSheKnows(t)
		w.arrives(messageXML("id='1'", "<body>hello</body>"+wantsReceipt))
		get(t, w.home.Take(t, "MESSAGE", 415).ContentType, body.TypeCPIM)
		in := w.home.Take(t, "MESSAGE", 200)
		get(t, in.ContentType, body.TypePlain)
		get(t, string(in.Body), "hello")
		w.arrives(messageXML("id='2'", "<body>hello</body>"+wantsReceipt))
		get(t, w.home.Take(t, "MESSAGE", 200).ContentType, body.TypePlain)
		synctest.Wait()
		w.home.None(t)
		w.beyond.none(t)
	})
}

func TestReceiptsAreForgottenAfterAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceipts()
		key := receiptKey{ends{"a", "b"}, "1"}
		r.ours.put(key, &asked{wants: body.Delivered})
		time.Sleep(keepReceipts - time.Second)
		if _, ok := r.ours.get(key); !ok {
			t.Error("it is forgotten too early")
		}
		time.Sleep(2 * time.Second)
		if _, ok := r.ours.get(key); ok {
			t.Error("it is never forgotten")
		}
		for i := range maxReceipts + 10 {
			r.theirs.put(receiptKey{ends{"a", "b"}, fmt.Sprint(i)}, &due{})
		}
		if n := r.theirs.size(); n != maxReceipts {
			t.Errorf("%d are kept, want %d", n, maxReceipts)
		}
	})
}

// wrapperOf reads what must be a wrapper.
func wrapperOf(b []byte) (*body.CPIM, error) {
	p, err := body.Read(body.TypeCPIM, "", b)
	if err != nil {
		return nil, err
	}
	return p.CPIM, nil
}

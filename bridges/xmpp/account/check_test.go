package account

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

func TestACheckSaysWhetherServersReachEachOther(t *testing.T) {
	const error = "<error type='cancel'%s><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>In words</text></error>"
	answer := func(kind, from, more string) string {
		return "<iq type='" + kind + "' id='ID' from='" + from + "'>" + more + "</iq>"
	}
	refused := func(condition, by string) string {
		return answer("error", "example.com", strings.NewReplacer("%s><%s", by+"><"+condition).Replace(error))
	}
	info := answer("result", "example.com", "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='gateway' type='sip' name='sipedge'/></query>")
	for _, tt := range []struct {
		name, says string
		ok         bool
		words      string
	}{
		{"both answers", info, true, `gateway/sip "sipedge", in `},
		{"an answer without an identity", answer("result", "example.com", "<query xmlns='http://jabber.org/protocol/disco#info'/>"), true, "in "},
		{"an answer behind one of somebody else", answer("result", "example.org", "") + "<message from='example.com' id='ID'/><iq type='result' from='example.com' id='x'/>" + info, true, "sipedge"},
		{"the domain does not know the question", refused("feature-not-implemented", ""), true, "it does not know that"},
		{"no other server is found", refused("remote-server-not-found", ""), false, "does not find example.com, or gets no stream to it (remote-server-not-found: In words)"},
		{"the other server is silent", refused("remote-server-timeout", " by='example.net'"), false, "in time (remote-server-timeout: In words)"},
		{"it is forbidden", refused("not-allowed", " by='example.net'"), false, "example.net says not-allowed: In words"},
		{"the service is not there", refused("service-unavailable", ""), false, "it, or the account's server, says service-unavailable: In words"},
		{"the stream ends", "</stream:stream>", false, "ended the stream"},
		{"the stream is broken", "<!-- -->", false, "restricted-xml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t).serve()
			a := s.account()
			got := make(chan []string, 1)
			go func() {
				var lines []string
				for _, step := range a.Check(t.Context(), "Example.com") {
					line := step.Name + ": " + step.Detail
					if !step.OK {
						line = "FAIL " + line
					}
					lines = append(lines, line)
				}
				got <- lines
			}()
			p := s.peer()
			for {
				e, err := p.next()
				if err != nil {
					break
				}
				if e.Local != "iq" || e.Attr("to") != "example.com" {
					t.Errorf("it sends %s", stanza.Append(nil, e))
				}
				p.octets([]byte(strings.ReplaceAll(tt.says, "'ID'", "'"+e.Attr("id")+"'")))
			}
			p.Close()
			lines := within(t, got)
			text := strings.Join(lines, "\n")
			want := 4
			if tt.ok {
				want = 5
			}
			if len(lines) != want || strings.Contains(text, "FAIL") == tt.ok || !strings.Contains(text, tt.words) {
				t.Errorf("%d steps:\n%s\nwant %q", len(lines), text, tt.words)
			}
			if !strings.Contains(text, "connect 127.0.0.1:") || !strings.Contains(text, "TLS: TLS 1.3, certificate of example.net") || !strings.Contains(text, "login: as "+full+" with SCRAM-SHA-256") {
				t.Errorf("on the way:\n%s", text)
			}
		})
	}
}

func TestACheckThatFailsEarlySaysWhere(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*server, *Account)
		want   string
	}{
		{"nobody there", func(s *server, a *Account) { s.l.Close() }, "connect 127.0.0.1:"},
		{"a wrong password", func(s *server, a *Account) { a.Password = "x" }, "login"},
		{"a wrong certificate", func(s *server, a *Account) { a.TLS = nil }, "TLS"},
		{"a wrong address", func(s *server, a *Account) { a.JID = "example.net" }, "account"},
		{"no server", func(s *server, a *Account) {
			a.Server, a.Resolver = "", zone(t, "_xmpp-client._tcp.example.net. IN SRV 0 0 1 .\n")
		}, "DNS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(t)
			a := s.account()
			tt.change(s, &a)
			s.serve()
			steps := a.Check(t.Context(), "example.com")
			if len(steps) == 0 {
				t.Fatal("no steps")
			}
			for i, step := range steps {
				if last := i == len(steps)-1; step.OK == last || last && (!strings.HasPrefix(step.Name, tt.want) || step.Detail == "") {
					t.Errorf("%+v", steps)
				}
			}
		})
	}
}

func TestACheckEndsWithItsContext(t *testing.T) {
	s := newServer(t).serve()
	a := s.account()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan int, 1)
	began := time.Now()
	go func() { over <- len(a.Check(ctx, "example.com")) }()
	p := s.peer()
	expect(t, p, "iq")
	cancel()
	if n := within(t, over); n != 4 || time.Since(began) > askTime/2 {
		t.Errorf("%d steps in %s", n, time.Since(began))
	}
}

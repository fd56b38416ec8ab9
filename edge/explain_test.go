package edge

import (
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/locate/locatetest"
	"github.com/sipedge/sipedge/sip"
)

// strictBench is a bench with lists that restrict much, and DNS that knows
// nothing.
func strictBench(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, 1)
	dns, err := locatetest.Serve("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	if b.e.locator, err = locate.New(locate.Config{Servers: []string{dns.Addr()}}, nil, b.e.log); err != nil {
		t.Fatal(err)
	}
	lists, errs := federation.Compile(federation.File{Partners: map[string]federation.PartnerConfig{
		"fabrikam.example": {Servers: []string{"edge.fabrikam.example:5061"}, Kinds: []string{"im", "presence"},
			Users: []string{"bob"}, MaxBody: 100},
		"contoso.example": {Servers: []string{"edge.contoso.example:5061"}, Direction: "out", Methods: []string{"INVITE"}},
	}, Blocked: map[string]federation.BlockedConfig{"spam.example": {}}}, []string{"example.com"}, federation.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	b.e.partners.Store(lists)
	return b
}

// TestExplainDecidesAsTheDoorsDo asks both about the same requests. Explain walks
// on behind a refusal, and must not mistake what it finds there for the answer.
func TestExplainDecidesAsTheDoorsDo(t *testing.T) {
	b := strictBench(t)
	peers := []*certs.Identity{nil, b.partner.Peer}
	for _, name := range []string{"contoso.example", "spam.example", "stranger.example"} {
		id := identity(t, name)
		peers = append(peers, &id)
	}
	addresses := []string{"bob@example.com", "carol@example.com", "alice@fabrikam.example", "dan@contoso.example",
		"x@spam.example", "y@stranger.example"}
	seen := make(map[allowlists.Reason]bool)
	for i := range peers {
		for _, from := range addresses {
			for _, to := range addresses {
				for _, method := range []string{"MESSAGE", "INVITE", "SUBSCRIBE", "OPTIONS"} {
					for _, inside := range []bool{false, true} {
						q := Query{From: from, To: to, Method: method, Peer: peers[i], Inside: inside}
						if method == "MESSAGE" {
							q.ContentType, q.Body = "text/plain", []byte(strings.Repeat("x", 90+20*i))
						}
						seen[b.compare(q)] = true
					}
				}
			}
		}
	}
	if len(seen) < 12 {
		t.Errorf("only %d reasons came up: %v", len(seen), seen)
	}
}

// compare holds explain against judge, and returns the reason.
func (b *bench) compare(q Query) allowlists.Reason {
	b.t.Helper()
	x, err := b.e.Explain(q)
	if err != nil {
		b.t.Fatal(err)
	}
	m := new(sip.Message)
	if err := m.Parse(q.write(b.e.name), sip.Limits{}); err != nil {
		b.t.Fatal(err)
	}
	r := &request{f: b.e.explainFlow(q), m: m, began: time.Now()}
	r.read(b.e)
	want := b.e.judge(r)
	if x.Verdict.Action != want.Action || x.Verdict.Reason != want.Reason || x.Verdict.Rule != want.Rule ||
		!want.Allowed() && x.Verdict.Code() != want.Code() {
		b.t.Errorf("%s %s -> %s, inside %v: explain says %+v, the doors %+v", q.Method, q.From, q.To, q.Inside, x.Verdict, want)
	}
	for i, s := range x.Steps {
		if s.Late != (i > 0 && (x.Steps[i-1].Late || !x.Steps[i-1].Passed)) {
			b.t.Errorf("%s %s -> %s: step %d %+v", q.Method, q.From, q.To, i, s)
		}
	}
	return want.Reason
}

func TestExplainSaysWhatComesBehindARefusal(t *testing.T) {
	b := strictBench(t)
	x, err := b.e.Explain(Query{From: "alice@fabrikam.example", To: "carol@example.com", Method: "INVITE", Peer: b.partner.Peer})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range x.Steps {
		word := map[bool]string{true: "pass", false: "DENY"}[s.Passed]
		if s.Late {
			word = "(" + word + ")"
		}
		got = append(got, s.Name+" "+word)
	}
	want := "syntax pass, partner pass, identity pass, direction pass, method pass, kinds DENY, users (DENY), size (pass), route (pass)"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("steps are %s, want %s", s, want)
	}
	if x.Verdict.Reason != allowlists.PartnerKind || x.Verdict.Code() != 488 || x.Target != "pool main, sip1.example.com:5061" {
		t.Errorf("explain says %+v and %q", x.Verdict, x.Target)
	}
	if len(x.Answer) == 0 || x.Answer[0] != "488 Not Acceptable Here" {
		t.Errorf("the peer sees %q", x.Answer)
	}
}

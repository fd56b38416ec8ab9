package federation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

// TestExamineSaysWhatTheDoorsSay holds the findings against Admit and Permit: the
// first refusal among them is the answer of the door, and with none it lets pass.
func TestExamineSaysWhatTheDoorsSay(t *testing.T) {
	i := newIssuer(t)
	f := file()
	f.Partners["tight.example"] = PartnerConfig{
		Methods: []string{"MESSAGE", "INVITE"}, Kinds: []string{"im"}, Direction: "in", Users: []string{"alice"},
		TheirUsers: []string{"bob@tight.example"}, MaxBody: 100, Line: 28,
	}
	f.Partners["old.example"] = PartnerConfig{Until: Date{2020, 1, 31}, Line: 30}
	f.Partners["pinned.example"] = PartnerConfig{Pins: []string{"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}, Line: 32}
	discovering := f
	discovering.Federation.Unlisted = "discover"
	peers := []*certs.Identity{nil, {}, i.names("fabrikam.example"), i.names("tight.example"), i.names("old.example", "pinned.example"),
		i.names("edge.contoso.example"), i.names("strict.example"), i.names("stranger.example"), i.names("*.wild.example")}
	domains := []string{"fabrikam.example", "tight.example", "old.example", "pinned.example", "contoso.example", "hosts.example",
		"strict.example", "im.wild.example", "spam.example", "stranger.example", "example.com", "192.0.2.7"}
	compared := 0
	for _, file := range []File{f, discovering} {
		p, errs := Compile(file, []string{"example.com"}, With{Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
		if errs != nil {
			t.Fatal(errs)
		}
		for _, domain := range domains {
			for _, q := range []Request{
				{Method: []byte("MESSAGE"), Kinds: allowlists.KindIM},
				{Method: []byte("PUBLISH"), Kinds: allowlists.KindPresence, Body: 101, Size: 500},
				{Method: []byte("INVITE"), Kinds: allowlists.KindCalls, Number: true},
				{Method: []byte("BYE"), Dialog: true},
				{Method: []byte("MESSAGE"), Kinds: allowlists.KindIM, Target: "edge." + domain, Searched: true},
			} {
				for _, user := range []string{"alice", "carol"} {
					q.Remote = []byte(domain)
					q.Them, q.Us = Address{User: []byte("bob"), Domain: q.Remote}, Address{User: []byte(user), Domain: []byte("example.com")}
					compareFindings(t, p.Examine(allowlists.Out, nil, q), p.Permit(q).Verdict, "out", domain, q)
					for _, id := range peers {
						compareFindings(t, p.Examine(allowlists.In, id, q), p.Admit(id, q).Verdict, "in", domain, q)
						compared++
					}
				}
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d questions were asked", compared)
	}
}

func compareFindings(t *testing.T, list []Finding, want allowlists.Verdict, way, domain string, q Request) {
	t.Helper()
	var text strings.Builder
	for _, f := range list {
		fmt.Fprintf(&text, "%s: %s: %v\n", f.Name, f.Detail, f.Verdict)
		if !f.Verdict.Allowed() {
			if f.Verdict != want {
				t.Errorf("%s %s %s: first refusal is %v, the door says %v:\n%s", way, domain, q.Method, f.Verdict, want, &text)
			}
			return
		}
	}
	if !want.Allowed() {
		t.Errorf("%s %s %s: no finding refuses, the door says %v:\n%s", way, domain, q.Method, want, &text)
	}
}

func TestExamineGoesOnBehindARefusal(t *testing.T) {
	i, f := newIssuer(t), file()
	f.Partners["tight.example"] = PartnerConfig{Methods: []string{"INVITE"}, Kinds: []string{"calls"}, MaxBody: 10, Line: 28}
	list := compiled(t, f).Examine(allowlists.In, i.names("fabrikam.example"), Request{
		Method: []byte("MESSAGE"), Remote: []byte("tight.example"), Kinds: allowlists.KindIM, Size: 400, Body: 11,
	})
	var got []string
	for _, f := range list {
		if !f.Verdict.Allowed() {
			got = append(got, f.Name+" "+string(f.Verdict.Reason)+": "+f.Detail)
		}
	}
	want := []string{
		"identity identity.domain_mismatch: the certificate proves fabrikam.example, not tight.example",
		"method partner.method: MESSAGE; methods = INVITE",
		"kinds partner.kind: im; kinds = calls",
		"size partner.size: 400 octets, 11 of body; max_body = 10",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("refused:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

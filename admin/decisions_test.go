package admin

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
)

func code(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func TestADecisionIsInForceWhenItIsAnswered(t *testing.T) {
	d := open(t)
	a, err := d.client.Decide(t.Context(), "northwind.example", Wish{Action: federation.ActionAllow, Note: "why"})
	if err != nil || a.Previous != nil || a.Decision.By != userName(os.Geteuid()) || a.Decision.Note != "why" {
		t.Fatalf("Decide = %+v, %v", a, err)
	}
	p, err := d.client.Partner(t.Context(), "northwind.example")
	if err != nil || p.State != "allowed" || p.Source != SourceDecision || p.Decision == nil {
		t.Errorf("Partner = %+v, %v", p, err)
	}
	a, err = d.client.Decide(t.Context(), "northwind.example", Wish{Action: federation.ActionBlock})
	if err != nil || a.Previous == nil || a.Previous.Action != federation.ActionAllow {
		t.Errorf("the second Decide = %+v, %v", a, err)
	}
	if a, err = d.client.Revoke(t.Context(), "northwind.example"); err != nil || a.Previous.Action != federation.ActionBlock {
		t.Errorf("Revoke = %+v, %v", a, err)
	}
	if _, err = d.client.Partner(t.Context(), "northwind.example"); code(err) != CodeNotFound {
		t.Errorf("Partner after Revoke: %v", err)
	}
	for _, want := range []string{`msg="decision made" partner=northwind.example action=allow by=`, "note=why", `msg="decision taken back" partner=northwind.example action=block`} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, d.log)
		}
	}
}

func TestWhatCannotBeDecided(t *testing.T) {
	d := open(t)
	allow := Wish{Action: federation.ActionAllow}
	with := func(p federation.PartnerConfig) Wish { return Wish{Action: federation.ActionAllow, Partner: &p} }
	for _, tt := range []struct {
		name, domain string
		wish         Wish
		want         string
	}{
		{"a listed partner", "fabrikam.example", allow, CodeInFile},
		{"one that the file blocks", "spam.example", allow, CodeInFile},
		{"to ignore what is listed", "fabrikam.example", Wish{Action: federation.ActionIgnore}, CodeInFile},
		{"a domain of ours", "example.com", allow, CodeOwnDomain},
		{"what is no domain", "a b", allow, CodeMalformed},
		{"nothing", "northwind.example", Wish{}, CodeMalformed},
		{"something else", "northwind.example", Wish{Action: "sell"}, CodeMalformed},
		{"a long note", "northwind.example", Wish{Action: federation.ActionAllow, Note: strings.Repeat("x", maxNote+1)}, CodeMalformed},
		{"terms of a blocked one", "northwind.example", Wish{Action: federation.ActionBlock, Partner: &federation.PartnerConfig{}}, CodeMalformed},
		{"terms that are at fault", "northwind.example", with(federation.PartnerConfig{Servers: []string{"a:b:c"}}), CodeUnsound},
		{"pins that are none", "northwind.example", with(federation.PartnerConfig{Pins: []string{"sha256/x"}}), CodeUnsound},
	} {
		_, err := d.client.Decide(t.Context(), tt.domain, tt.wish)
		if code(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if n := len(d.server.Discovery.Decisions()); n != 0 {
		t.Errorf("%d decisions are kept", n)
	}
	if _, err := d.client.Revoke(t.Context(), "northwind.example"); code(err) != CodeNotFound {
		t.Errorf("Revoke of nothing: %v", err)
	}
}

func TestWhatIsKeptIsWhatIsInForce(t *testing.T) {
	d := open(t)
	if _, err := d.client.Decide(t.Context(), "northwind.example", Wish{Action: federation.ActionBlock}); err != nil {
		t.Fatal(err)
	}
	d.lists.fault = errors.New("the disk is on fire")
	for _, domain := range []string{"northwind.example", "tailspin.example"} {
		if _, err := d.client.Decide(t.Context(), domain, Wish{Action: federation.ActionAllow}); code(err) != CodeFailed {
			t.Errorf("%s: %v", domain, err)
		}
	}
	if _, err := d.client.Revoke(t.Context(), "northwind.example"); code(err) != CodeFailed {
		t.Errorf("Revoke: %v", err)
	}
	have := d.server.Discovery.Decisions()
	if len(have) != 1 || have[0].Domain != "northwind.example" || have[0].Action != federation.ActionBlock {
		t.Errorf("decisions %+v, want the one that is in force", have)
	}
}

func TestAllowingALookalikeIsWarnedOfAndDone(t *testing.T) {
	d := open(t)
	b, err := d.client.Decide(t.Context(), "fabrıkam.example", Wish{Action: federation.ActionAllow})
	if err != nil || !strings.Contains(strings.Join(b.Warnings, "\n"), "looks like partner fabrikam.example (partners.toml:3)") {
		t.Errorf("Decide = %+v, %v; want a warning", b, err)
	}
}

// knocks makes a domain one that has been here, at a time.
func (d *desk) knocks(domain string, at time.Time) {
	d.Helper()
	ca, err := certs.NewAuthority("ca")
	if err != nil {
		d.Fatal(err)
	}
	pair, err := ca.Keypair(certs.Leaf{Names: []string{domain}})
	if err != nil {
		d.Fatal(err)
	}
	id, err := certs.ReadIdentity(pair.Leaf())
	if err != nil {
		d.Fatal(err)
	}
	d.server.Discovery.Knock([]byte(domain), &id, at)
}

func TestThoseThatWaitComeFirst(t *testing.T) {
	d := open(t)
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for i, domain := range []string{"old.example", "decided.example", "xn--bcher-kva.example", "fabrikam.example"} {
		d.knocks(domain, at.Add(time.Duration(i)*time.Minute))
	}
	if _, err := d.client.Decide(t.Context(), "decided.example", Wish{Action: federation.ActionIgnore}); err != nil {
		t.Fatal(err)
	}
	a, err := d.client.Discovered(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range a.Discovered {
		got = append(got, strings.TrimSpace(r.Domain+" "+r.Unicode+" "+r.Listed+map[bool]string{true: " waits"}[r.Waiting]))
	}
	want := "xn--bcher-kva.example bücher.example  waits|old.example   waits|fabrikam.example  partner fabrikam.example (partners.toml:3)|decided.example"
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
	s, err := d.client.Status(t.Context())
	if err != nil || s.Waiting != 2 || s.Discovered != 4 || s.Decisions != 1 || s.Partners != 1 || s.Blocked != 1 {
		t.Errorf("Status = %+v, %v", s, err)
	}
}

func TestTheListHasEverybody(t *testing.T) {
	d := open(t)
	d.knocks("knocking.example", time.Now())
	for domain, w := range map[string]Wish{
		"allowed.example": {Action: federation.ActionAllow}, "ignored.example": {Action: federation.ActionIgnore},
		"later.example": {Action: federation.ActionAllow},
	} {
		if _, err := d.client.Decide(t.Context(), domain, w); err != nil {
			t.Fatal(err)
		}
	}
	d.lists.file.Blocked["later.example"] = federation.BlockedConfig{Line: 7}
	if err := d.lists.Refresh(); err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]string{
		"": "allowed.example allowed decision|fabrikam.example allowed file|ignored.example ignored decision|" +
			"knocking.example knocking discovered|later.example blocked file conflict|spam.example blocked file",
		"conflict": "later.example blocked file conflict",
		"BLOCKED":  "later.example blocked file conflict|spam.example blocked file",
		"nothing":  "",
	} {
		a, err := d.client.Partners(t.Context(), word)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range a.Partners {
			text := p.Domain + " " + p.State + " " + p.Source
			if p.Overruled != nil {
				text += " conflict"
			}
			got = append(got, text)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q: got\n%s, want\n%s", word, strings.Join(got, "|"), want)
		}
	}
}

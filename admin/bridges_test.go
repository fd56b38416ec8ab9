package admin

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
)

// bridging stands behind a desk: who may use bridges.
type bridging struct {
	decisions *bridges.Decisions
	now       *bridges.Policy
	fault     error
}

func (b *bridging) Bridges() *bridges.Policy { return b.now }
func (b *bridging) BridgesFaults() []error   { return []error{errors.New("bridges.toml:1: faulty")} }

func (b *bridging) RefreshBridges() error {
	if b.fault != nil {
		return b.fault
	}
	file := bridges.File{Users: map[string]bridges.UserConfig{
		"alice@example.com": {Rules: bridges.Rules{Inbound: []string{"xmpp"}, Outbound: []string{}, Line: 3}},
		"mallory":           {Rules: bridges.Rules{Inbound: []string{}, Line: 6}},
	}, Accounts: map[string]bridges.AccountConfig{"carol@example.com": {Network: "xmpp", JID: "carol@j.example", PasswordFile: "secret.file", Line: 9}}}
	p, errs := bridges.Compile(file, []string{"example.com"}, b.decisions.With())
	b.now = p
	return errors.Join(errs...)
}

// bridged is a desk with a bridge to XMPP that runs.
func bridged(t *testing.T) (*desk, *bridging, *bridges.Keeper) {
	t.Helper()
	b := &bridging{decisions: bridges.OpenDecisions(nil, quiet())}
	if err := b.RefreshBridges(); err != nil {
		t.Fatal(err)
	}
	k := bridges.NewKeeper("xmpp", func() (bridges.Bridge, error) { return &bridgestest.Echo{Proof: bridges.ProofDialback}, nil }, quiet())
	d := openWith(t, func(s *Server) {
		s.Bridging, s.BridgeDecisions, s.Pauses = b, b.decisions, bridges.OpenPauses(nil, quiet())
		s.Crossings = []Crossing{{Keeper: k, Addresses: []string{"127.0.0.1:5269"}}}
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx, &bridgestest.Link{To: func([]byte) bool { return true }})
	}()
	t.Cleanup(func() { stop(); <-done })
	for k.State().Phase != bridges.Running {
		runtime.Gosched()
	}
	return d, b, k
}

func TestABridgeIsShown(t *testing.T) {
	d, _, _ := bridged(t)
	list, err := d.client.Bridges(t.Context())
	if err != nil || len(list.Bridges) != 1 || list.Bridges[0].Network != "xmpp" || list.Bridges[0].State != "running" || list.Bridges[0].Streams.Up != 1 {
		t.Errorf("Bridges = %+v, %v", list, err)
	}
	b, err := d.client.Bridge(t.Context(), "xmpp", "")
	if err != nil || len(b.Links) != 1 || b.Links[0].Proof != "dialback" || b.Addresses[0] != "127.0.0.1:5269" || len(b.Faults) != 1 {
		t.Errorf("Bridge = %+v, %v", b, err)
	}
	var rules []string
	for _, r := range b.Rules {
		rules = append(rules, strings.Join([]string{r.Kind, r.Name, r.Inbound, r.Outbound, r.Account}, " "))
	}
	want := "user alice@example.com yes no ,user mallory no  ,default default no no ,account carol@example.com   carol@j.example"
	if got := strings.Join(rules, ","); got != want {
		t.Errorf("rules %s\nwant  %s", got, want)
	}
	if b, err = d.client.Bridge(t.Context(), "xmpp", "MALLORY"); err != nil || len(b.Links) != 0 || len(b.Rules) != 1 {
		t.Errorf("with a word: %+v, %v", b, err)
	}
	if _, err := d.client.Bridge(t.Context(), "icq", ""); code(err) != CodeNotFound {
		t.Errorf("another network: %v", err)
	}
	s, err := d.client.Status(t.Context())
	if err != nil || s.Bridges["xmpp"] != "running" {
		t.Errorf("Status = %+v, %v", s, err)
	}
	if got := d.raw("GET /v1/bridges/xmpp HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n"); strings.Contains(got, "secret.file") {
		t.Error("the answer names the file of a password")
	}
}

func TestABridgeIsTested(t *testing.T) {
	d, _, _ := bridged(t)
	if a, err := d.client.TestBridge(t.Context(), "xmpp", "juliet@echo.example"); err != nil || !a.OK || len(a.Steps) != 1 {
		t.Errorf("TestBridge = %+v, %v", a, err)
	}
	if a, err := d.client.TestBridge(t.Context(), "xmpp", "nobody@echo.example"); err != nil || a.OK {
		t.Errorf("TestBridge = %+v, %v", a, err)
	}
	for _, bad := range []string{"", strings.Repeat("x", maxTested+1)} {
		if _, err := d.client.TestBridge(t.Context(), "xmpp", bad); code(err) != CodeMalformed {
			t.Errorf("TestBridge of %d octets: %v", len(bad), err)
		}
	}
}

func TestAPauseIsKept(t *testing.T) {
	d, _, k := bridged(t)
	b, err := d.client.PauseBridge(t.Context(), "xmpp", PauseWish{Note: "spam"})
	if a, err := d.client.TestBridge(t.Context(), "xmpp", "juliet@echo.example"); err != nil || a.OK || a.Steps[0].Name != "pause" || !strings.Contains(a.Steps[0].Detail, "paused by ") || !strings.Contains(a.Steps[0].Detail, ": spam; ") {
		t.Errorf("TestBridge of a paused one = %+v, %v", a, err)
	}
	if err != nil || b.State != "paused" || b.Pause == nil || b.Pause.Note != "spam" || b.Pause.By == "" || !k.Paused() {
		t.Errorf("PauseBridge = %+v, %v", b, err)
	}
	if _, ok := d.server.Pauses.Of("xmpp"); !ok {
		t.Error("the pause is not kept")
	}
	if _, err := d.client.PauseBridge(t.Context(), "xmpp", PauseWish{Note: strings.Repeat("x", maxNote+1)}); code(err) != CodeMalformed {
		t.Errorf("a long note: %v", err)
	}
	if b, err = d.client.ResumeBridge(t.Context(), "xmpp"); err != nil || b.State != "running" || b.Pause != nil || k.Paused() {
		t.Errorf("ResumeBridge = %+v, %v", b, err)
	}
	if _, err = d.client.ResumeBridge(t.Context(), "xmpp"); code(err) != CodeNotFound {
		t.Errorf("ResumeBridge again: %v", err)
	}
	for _, want := range []string{`msg="bridge paused" bridge=xmpp by=`, "note=spam", `msg="bridge resumed" bridge=xmpp`} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, d.log)
		}
	}
}

func TestADecisionAboutABridgeIsInForceWhenItIsAnswered(t *testing.T) {
	d, b, _ := bridged(t)
	yes, no := true, false
	const bob = "bob@example.com"
	a, err := d.client.DecideBridge(t.Context(), "xmpp", "BOB@example.com", BridgeWish{Outbound: &yes, Note: "why"})
	if err != nil || a.Previous != nil || a.User.Inbound.May || !a.User.Outbound.May || len(a.Warnings) != 0 || !b.now.May(bob, "xmpp", false).Allowed() {
		t.Fatalf("DecideBridge = %+v, %v", a, err)
	}
	a, err = d.client.DecideBridge(t.Context(), "xmpp", bob, BridgeWish{Inbound: &yes})
	if err != nil || a.Previous == nil || !a.User.Inbound.May || !a.User.Outbound.May {
		t.Errorf("what is left out should stay: %+v, %v", a, err)
	}
	if a, err = d.client.DecideBridge(t.Context(), "xmpp", bob, BridgeWish{Outbound: &no}); err != nil || a.User.Outbound.May || !a.User.Inbound.May {
		t.Errorf("denied one way: %+v, %v", a, err)
	}
	u, err := d.client.BridgeUser(t.Context(), "xmpp", bob)
	if err != nil || u.Decision == nil || u.Overruled || !strings.HasPrefix(u.Inbound.Rule.File, "decided by ") {
		t.Errorf("BridgeUser = %+v, %v", u, err)
	}
	if a, err = d.client.RevokeBridge(t.Context(), "xmpp", bob); err != nil || a.Previous == nil || a.User.Inbound.May {
		t.Errorf("RevokeBridge = %+v, %v", a, err)
	}
	if _, err = d.client.RevokeBridge(t.Context(), "xmpp", bob); code(err) != CodeNotFound {
		t.Errorf("RevokeBridge of nothing: %v", err)
	}
	for _, want := range []string{`msg="bridge decided" user=bob@example.com bridge=xmpp inbound="" outbound=yes by=`, "note=why", `msg="bridge forgotten" user=bob@example.com bridge=xmpp`} {
		if !strings.Contains(d.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, d.log)
		}
	}
	if u, err = d.client.BridgeUser(t.Context(), "xmpp", "carol@example.com"); err != nil || u.Account == nil || *u.Account != "carol@j.example" {
		t.Errorf("carol: %+v, %v", u, err)
	}
}

func TestWhatCannotBeDecidedAboutBridges(t *testing.T) {
	d, b, _ := bridged(t)
	yes := true
	both := BridgeWish{Inbound: &yes, Outbound: &yes}
	for _, tt := range []struct {
		name, network, user string
		wish                BridgeWish
		want                string
	}{
		{"whom the file names", "xmpp", "alice@example.com", both, CodeInFile},
		{"whom it names in any domain", "xmpp", "mallory@example.com", BridgeWish{Inbound: &yes}, CodeInFile},
		{"another network", "icq", "bob@example.com", both, CodeNotFound},
		{"a stranger", "xmpp", "bob@fabrikam.example", both, CodeNotFound},
		{"everybody", "xmpp", "*@example.com", both, CodeMalformed},
		{"nothing", "xmpp", "bob@example.com", BridgeWish{}, CodeMalformed},
		{"a long note", "xmpp", "bob@example.com", BridgeWish{Inbound: &yes, Note: strings.Repeat("x", maxNote+1)}, CodeMalformed},
	} {
		if _, err := d.client.DecideBridge(t.Context(), tt.network, tt.user, tt.wish); code(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if n := len(b.decisions.List()); n != 0 {
		t.Errorf("%d decisions are kept", n)
	}
	// What the file leaves open is open to a decision.
	if a, err := d.client.DecideBridge(t.Context(), "xmpp", "mallory@example.com", BridgeWish{Outbound: &yes}); err != nil || !a.User.Outbound.May || a.User.Inbound.May {
		t.Errorf("mallory: %+v, %v", a, err)
	}
	// And what cannot be put in force is not kept.
	b.fault = errors.New("the disk is on fire")
	if _, err := d.client.DecideBridge(t.Context(), "xmpp", "bob@example.com", both); code(err) != CodeFailed {
		t.Errorf("bob: %v", err)
	}
	if _, err := d.client.RevokeBridge(t.Context(), "xmpp", "mallory@example.com"); code(err) != CodeFailed {
		t.Errorf("RevokeBridge: %v", err)
	}
	if list := b.decisions.List(); len(list) != 1 || list[0].User != "mallory@example.com" {
		t.Errorf("decisions %+v, want the one that is in force", list)
	}
}

func TestADecisionWithoutABridgeIsWarnedOf(t *testing.T) {
	d, _, k := bridged(t)
	yes := true
	k.Pause(true)
	a, err := d.client.DecideBridge(t.Context(), "xmpp", "bob@example.com", BridgeWish{Inbound: &yes})
	if err != nil || len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "is paused") {
		t.Errorf("while it is paused: %+v, %v", a, err)
	}
	d.server.Crossings = nil
	a, err = d.client.DecideBridge(t.Context(), "xmpp", "bob@example.com", BridgeWish{Inbound: &yes})
	if err != nil || len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "no bridge to xmpp") {
		t.Errorf("without one: %+v, %v", a, err)
	}
	if list, err := d.client.Bridges(t.Context()); err != nil || list.Bridges == nil || len(list.Bridges) != 0 {
		t.Errorf("Bridges = %+v, %v", list, err)
	}
}

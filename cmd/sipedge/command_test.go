package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
)

// A site is a folder with the configuration of an edge and the certificates
// that tests show it.
type site struct {
	t   *testing.T
	dir string
}

const siteConfig = `name      = "edge1.example.com"
domains   = ["example.com"]
state_dir = "state"

[certificate.edge]
cert = "edge.pem"
key  = "edge.key"

[listener.federation]
role        = "federation"
address     = "127.0.0.1:0"
certificate = "edge"
peer_ca     = "ca.pem"

[listener.internal]
role        = "internal"
address     = "127.0.0.1:0"
certificate = "edge"
peer_ca     = "ca.pem"

[pool.main]
domains   = ["example.com"]
servers   = ["127.0.0.1:5061"]
peer_name = "sip.example.com"
`

const sitePartners = `[federation]
unlisted = "refuse"

[partner."fabrikam.example"]
methods = ["MESSAGE"]

[partner."contoso.example"]
servers   = ["edge.contoso.example:5061"]
direction = "out"

[blocked."spam.example"]
because = "2026-02-11, unsolicited invites"
`

func newSite(t *testing.T) site {
	s := site{t, t.TempDir()}
	ca, err := certs.NewAuthority("test root")
	if err != nil {
		t.Fatal(err)
	}
	other, err := certs.NewAuthority("another root")
	if err != nil {
		t.Fatal(err)
	}
	s.write("ca.pem", string(ca.PEM()))
	s.issue(ca, "edge", "edge1.example.com")
	s.issue(ca, "fabrikam", "fabrikam.example")
	s.issue(other, "forged", "fabrikam.example")
	s.write("sipedge.toml", siteConfig)
	s.write("partners.toml", sitePartners)
	s.write("invitation", "Application-GUID: {5D3E02AB-6190-11d3-BBBB-00C04F795683}\r\n")
	s.write("large", strings.Repeat("x", 1<<20+1))
	return s
}

func (s site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s site) issue(ca *certs.Authority, file string, names ...string) {
	s.t.Helper()
	cert, key, err := ca.Issue(certs.Leaf{Names: names})
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(file+".pem", string(cert))
	s.write(file+".key", string(key))
}

// run runs the command with $DIR for the folder, and returns what it printed
// with the folder's name taken out again.
func (s site) run(line string) (code int, out, errs string) {
	args := strings.Fields(strings.ReplaceAll(line, "$DIR", s.dir))
	var o, e bytes.Buffer
	code = run(args, streams{&o, &e})
	clean := func(b bytes.Buffer) string { return strings.ReplaceAll(b.String(), s.dir, "$DIR") }
	return code, clean(o), clean(e)
}

func TestUsageIsExitCode2(t *testing.T) {
	s := newSite(t)
	for _, line := range []string{
		"", "frobnicate", "serve --frobnicate", "serve --log-format xml", "explain -c $DIR/sipedge.toml",
		"explain -c $DIR/sipedge.toml --from nobody --to bob@example.com",
		"explain -c $DIR/sipedge.toml --from a@b@c.example --to bob@example.com",
		"explain -c $DIR/sipedge.toml --from a@fabrikam.example --to bob@not_a_domain",
		"explain -c $DIR/sipedge.toml --from a@fabrikam.example --to bob@example.com --cert $DIR/absent.pem",
		"explain -c $DIR/sipedge.toml --from a@fabrikam.example --to bob@example.com --cert $DIR/edge.key",
	} {
		if code, out, errs := s.run(line); code != exitUsage || out != "" || errs == "" {
			t.Errorf("sipedge %s: exit %d, says %q and %q; want 2 and a reason", line, code, out, errs)
		}
	}
	for line, want := range map[string]string{
		"frobnicate":                      `Try "sipedge --help"`,
		"bridge":                          `Try "sipedge bridge --help"`,
		"bridge show":                     `Try "sipedge bridge show --help"`,
		"probe xmpp jabber.example":       `Try "sipedge probe xmpp --help"`,
		"check --frobnicate":              `Try "sipedge check --help"`,
		"explain --kind chat":             `--kind must be one of "im",`,
		"bridge user xmpp b*@example.com": "patterns stand in bridges.toml",
		"user show b*@example.com":        "patterns stand in remote.toml",
	} {
		if code, _, errs := s.run(line); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("sipedge %s: exit %d, says %q, want %q in it", line, code, errs, want)
		}
	}
	for _, line := range []string{"--help", "help"} {
		if code, out, errs := s.run(line); code != exitDone || !strings.Contains(out, "explain") || errs != "" {
			t.Errorf("sipedge %s: exit %d, says %q", line, code, out)
		}
	}
	if code, out, _ := s.run("help user list"); code != exitDone || !strings.Contains(out, "Usage: sipedge user list") {
		t.Errorf("sipedge help user list: exit %d, says %q", code, out)
	}
	if code, out, _ := s.run("--version"); code != exitDone || !strings.HasPrefix(out, "sipedge ") {
		t.Errorf("sipedge --version: exit %d, says %q", code, out)
	}
}

func TestVersionNamesItself(t *testing.T) {
	if code, out, _ := newSite(t).run("version"); code != exitDone || !strings.HasPrefix(out, "sipedge ") {
		t.Errorf("sipedge version: exit %d, says %q", code, out)
	}
}

func TestCheckSumsUp(t *testing.T) {
	code, out, errs := newSite(t).run("check -c $DIR/sipedge.toml")
	want := `ok                   2 listeners, 1 pool, 2 partners, 1 blocked
listener federation  federation 127.0.0.1:0
listener internal    internal 127.0.0.1:0
pool main            example.com at 127.0.0.1:5061
`
	if code != exitDone || out != want || errs != "" {
		t.Errorf("check: exit %d, says %q, (-want +got):\n%s", code, errs, cmp.Diff(want, out))
	}
}

func TestCheckListsAllFaultsOfBothFiles(t *testing.T) {
	s := newSite(t)
	config := strings.Replace(siteConfig, "address     = \"127.0.0.1:0\"", "listen      = \"127.0.0.1:0\"", 1)
	s.write("sipedge.toml", strings.Replace(config, "cert = \"edge.pem\"", "cert = \"absent.pem\"", 1))
	s.write("partners.toml", sitePartners+"[partner.\"example.com\"]\n")
	code, out, errs := s.run("check -c $DIR/sipedge.toml")
	want := []string{
		"sipedge.toml:5: [certificate.edge]:",
		"sipedge.toml:9: [listener.federation]: address",
		`sipedge.toml:11: unknown key "listen" in [listener.federation]; did you mean "address"?`,
		`partners.toml:13: partner "example.com" is a domain of our own`,
		"faults in the configuration",
	}
	if code != exitConfiguration || out != "" {
		t.Fatalf("check: exit %d, says %q", code, out)
	}
	rest := errs
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("%q is not in what is left of\n%s", w, errs)
		}
		rest = after
	}
}

func TestAnAbsentConfigurationIsExitCode3(t *testing.T) {
	for _, line := range []string{"serve -c $DIR/absent.toml", "check -c $DIR/absent.toml"} {
		if code, _, errs := newSite(t).run(line); code != exitConfiguration || !strings.Contains(errs, "absent.toml") {
			t.Errorf("sipedge %s: exit %d, says %q", line, code, errs)
		}
	}
}

func TestServeSaysWhereItListensAndStopsInOrder(t *testing.T) {
	s := newSite(t)
	var log, faults bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	err := serve(ctx, filepath.Join(s.dir, "sipedge.toml"), slog.New(slog.NewTextHandler(&log, nil)), nil, &faults,
		func(e *edge.Edge) {
			for _, a := range e.Addresses() {
				if a.Addr.Port() == 0 {
					t.Errorf("listener %s has no port", a.Listener)
				}
			}
			stop()
		})
	if err != nil || faults.Len() > 0 {
		t.Errorf("serve: %v, %s", err, faults.String())
	}
	for _, want := range []string{
		"msg=listening listener=federation role=federation address=127.0.0.1:",
		"msg=listening listener=internal role=internal address=127.0.0.1:",
		`msg="partners loaded" partners=2 blocked=1`, "msg=stopped",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	}
}

func TestExplain(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct {
		name, args string
		code       int
		want       []string // in this order
	}{
		{"a listed partner may", "--from bob@fabrikam.example --to alice@example.com", exitDone, []string{
			"ALLOW  partner.allowed\n", "by     partner fabrikam.example (partners.toml:4)\n",
			"2  pass   tls", "assumed: a certificate that speaks for fabrikam.example", "11  pass   route ",
			"Peer sees:   what pool main answers", "Goes to:     pool main, 127.0.0.1:5061",
		}},
		{"but not with each method", "--from bob@fabrikam.example --to alice@example.com --method INVITE", exitNo, []string{
			"DENY   partner.method\n", "by     partner fabrikam.example (partners.toml:4)\n",
			"7  DENY   method     INVITE; methods = MESSAGE  <- partners.toml:4\n", "8 (pass)  kinds",
			"Peer sees:   403 Forbidden\n             Warning: 399 edge1.example.com",
			"To allow:    change methods of [partner.\"fabrikam.example\"], partners.toml:4\n",
			"Would then stop at: nothing (goes to pool main, 127.0.0.1:5061)\n",
		}},
		{"a stranger may not", "--from carol@stranger.example --to alice@example.com", exitNo, []string{
			"DENY   partner.not_allowed\n", "by     [federation] unlisted (partners.toml:2)\n", "Peer sees:   403 Forbidden",
			"To allow:    sipedge partner allow stranger.example", "To block:    sipedge partner block stranger.example",
			"Would then stop at: nothing (goes to pool main",
		}},
		{"nor who is blocked", "--from x@SPAM.example --to alice@example.com", exitNo, []string{
			"DENY   partner.blocked\n", "by     blocked spam.example (partners.toml:11)\n",
		}},
		{"a partner's certificate is judged", "--from bob@fabrikam.example --to alice@example.com --cert $DIR/fabrikam.pem", exitDone, []string{
			"ALLOW  partner.allowed", "2  pass   tls", "proves fabrikam.example",
		}},
		{"it speaks for nobody else", "--from carol@contoso.example --to alice@example.com --cert $DIR/fabrikam.pem", exitNo, []string{
			"DENY   identity.domain_mismatch\n", "by     partner contoso.example (partners.toml:7)\n",
			"To find out: sipedge probe contoso.example", "Would then stop at: direction (partner.direction)\n",
		}},
		{"not even for us", "--from alice@example.com --to bob@example.com --cert $DIR/fabrikam.pem", exitNo, []string{
			"DENY   identity.own_domain",
		}},
		{"a certificate of an authority that we do not know does not come that far", "--from bob@fabrikam.example --to alice@example.com --cert $DIR/forged.pem", exitNo, []string{
			"DENY   identity.none", "2  DENY   tls", "unknown issuer", "6 (pass)  direction", "Peer sees:   a TLS alert: the connection is refused",
			"Would then stop at: nothing",
		}},
		{"from inside to a partner", "--from sip:alice@example.com --to carol@contoso.example", exitDone, []string{
			"ALLOW  partner.allowed\n", "by     partner contoso.example (partners.toml:7)\n", "pass   next hop     edge.contoso.example:5061\n",
			"Goes to:     partner contoso.example",
		}},
		{"from inside to a stranger", "--from alice@example.com --to x@stranger.example", exitNo, []string{
			"DENY   partner.not_allowed",
		}},
		{"a kind is asked for", "--from bob@fabrikam.example --to alice@example.com --kind calls", exitNo, []string{
			"DENY   partner.method", "INVITE; methods = MESSAGE", "8 (pass)  kinds      calls; all may pass",
		}},
		{"a body is shown", "--from bob@fabrikam.example --to alice@example.com --content-type text/x-msmsgsinvite --body $DIR/invitation", exitDone, []string{
			"ALLOW  partner.allowed", "kinds      files; all may pass",
		}},
		{"a body that is too large", "--from bob@fabrikam.example --to alice@example.com --content-type text/plain --body $DIR/large", exitNo, []string{
			"DENY   sip.too_large", "by     [limits] body", "Peer sees:   513 Message Too Large", "Would then stop at: nothing",
		}},
		{"the edge is no relay", "--from bob@fabrikam.example --to carol@contoso.example", exitNo, []string{"DENY   route.not_relayed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := s.run("explain -c $DIR/sipedge.toml " + tt.args)
			if code != tt.code || errs != "" {
				t.Errorf("exit %d, says %q; want %d", code, errs, tt.code)
			}
			rest := out
			for _, want := range tt.want {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("%q is not in what is left of\n%s", want, out)
				}
				rest = after
			}
		})
	}
}

func TestExplainSpeaksJSON(t *testing.T) {
	code, out, _ := newSite(t).run("explain -c $DIR/sipedge.toml --json --from bob@fabrikam.example --to alice@example.com --method INVITE")
	var got report
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitNo {
		t.Fatalf("exit %d, %v:\n%s", code, err, out)
	}
	if got.Allowed || got.Reason != "partner.method" || got.File != "partners.toml" || got.Line != 4 ||
		got.Direction != "in" || len(got.Steps) < 2 || got.PeerSees[0] != "403 Forbidden" {
		t.Errorf("explain says %+v", got)
	}
}

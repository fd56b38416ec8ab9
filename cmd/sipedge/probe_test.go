package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/locate"
)

// probeZone is the zone of a partner who does it right.
const probeZone = `_sipfederationtls._tcp.fabrikam.example. 60 IN SRV 10 5 $FABRIKAM_PORT edge.fabrikam.example.
edge.fabrikam.example. 60 IN A 127.0.0.1
`

const probeDNS = "[dns]\nservers = [\"$DNS\"]\nallowed_ranges = [\"127.0.0.0/8\"]\n"

// probeStage is a stage with our edge's files and a name server, as far as
// probe wants them.
func probeStage(t *testing.T, zone, dns, partners string) *stage {
	s := openTestStage(t)
	s.write(t, "zone", zone)
	s.write(t, "dns.toml", dns)
	s.write(t, "partners.toml", partners)
	s.play(t, "company", "peers fabrikam second", "dns serves zone", "fill sipedge.toml partners.toml")
	if err := os.Mkdir(s.path("state"), 0o700); err != nil { // where probes are noted
		t.Fatal(err)
	}
	return s
}

// command runs the command with the files of the stage.
func (s *stage) command(line string) (code int, out, errs string) {
	var o, e bytes.Buffer
	args := strings.Fields(strings.ReplaceAll(line, "CONFIG", "-c "+s.path("sipedge.toml")))
	code = run(args, streams{&o, &e})
	return code, o.String(), e.String()
}

func TestProbeNamesTheStepThatFails(t *testing.T) {
	const good = "fabrikam listens $FABRIKAM cert=fabrikam"
	for _, tt := range []struct {
		name     string
		zone     string // "": probeZone
		dns      string // "": probeDNS
		partners string // "": fabrikam is allowed
		lines    string // what is played before, one a line; "": good
		code     int
		want     []string // patterns of lines, in this order
	}{
		{name: "all is well", want: []string{"ok +OPTIONS +200", "^YES: fabrikam.example answers at 1 of 1 address"}},
		{name: "no SRV", zone: "x.fabrikam.example. IN A 127.0.0.1", code: exitNo, want: []string{
			"FAIL +SRV +neither _sipfederationtls._tcp.fabrikam.example nor _sips._tcp.fabrikam.example", "→ .*servers = ",
			"- +target in domain +not checked: there is no target", "- +A, AAAA +not checked", "^server", "- +TCP … clock +not checked: there is no address",
			"^NO: fabrikam.example cannot be found; it stops at SRV",
		}},
		{name: "only _sips", zone: "_sips._tcp.fabrikam.example. IN SRV 1 1 $FABRIKAM_PORT edge.fabrikam.example.\nedge.fabrikam.example. IN A 127.0.0.1", want: []string{
			"note +SRV +_sipfederationtls._tcp.fabrikam.example: no records", "Microsoft", "ok +SRV +_sips", "^YES",
		}},
		{name: "decidedly no service", zone: "_sips._tcp.fabrikam.example. IN SRV 0 0 0 .", code: exitNo, want: []string{"FAIL +target in domain +the records say that there is no such service"}},
		{name: "the name servers fail", lines: "dns breaks _sips._tcp.fabrikam.example servfail\ndns breaks _sipfederationtls._tcp.fabrikam.example servfail", code: exitNo, want: []string{
			"FAIL +SRV +_sipfed.*SERVFAIL", "FAIL +SRV +_sips.*SERVFAIL", "- +target in domain +not checked",
		}},
		{name: "one name server fails", lines: good + "\ndns breaks _sips._tcp.fabrikam.example servfail", want: []string{"warn +SRV +_sips.*SERVFAIL", "^YES"}},
		{name: "the target is elsewhere, and its certificate names only the host",
			zone:  "_sips._tcp.fabrikam.example. IN SRV 1 1 $FABRIKAM_PORT edge.hosting.example.\nedge.hosting.example. IN A 127.0.0.1",
			lines: "certificate host dns=edge.hosting.example\nfabrikam listens $FABRIKAM cert=host", code: exitNo, want: []string{
				"warn +target in domain +edge.hosting.example does not lie in fabrikam.example",
				"FAIL +names +names the server edge.hosting.example, which does not lie in fabrikam.example", "→ .*sip:fabrikam.example",
				"- +OPTIONS +not checked: who does not prove",
				`it stops at names \(edge.hosting.example  127.0.0.1:`,
			}},
		{name: "the target is elsewhere, and speaks for the domain",
			zone: "_sips._tcp.fabrikam.example. IN SRV 1 1 $FABRIKAM_PORT edge.hosting.example.\nedge.hosting.example. IN A 127.0.0.1",
			want: []string{"warn +target in domain", "ok +names +speaks for fabrikam.example", "^YES"}},
		{name: "no address", zone: "_sips._tcp.fabrikam.example. IN SRV 1 1 5061 edge.fabrikam.example.", code: exitNo, want: []string{"FAIL +A, AAAA +edge.fabrikam.example: no records", "- +TCP … clock"}},
		{name: "an alias", zone: "_sips._tcp.fabrikam.example. IN SRV 1 1 $FABRIKAM_PORT edge.fabrikam.example.\nedge.fabrikam.example. IN CNAME host.example.\nhost.example. IN A 127.0.0.1", want: []string{
			"warn +A, AAAA +edge.fabrikam.example is an alias of host.example", "^YES",
		}},
		{name: "a private address", dns: "[dns]\nservers = [\"$DNS\"]\n", code: exitNo, want: []string{"FAIL +A, AAAA +edge.fabrikam.example: 127.0.0.1: not a public address", "→ .*allowed_ranges", "- +TCP … clock"}},
		{name: "an address of ours", zone: "_sips._tcp.fabrikam.example. IN SRV 1 1 $EDGE_EXT_PORT edge.fabrikam.example.\nedge.fabrikam.example. IN A 127.0.0.1", code: exitNo, want: []string{
			"FAIL +A, AAAA +edge.fabrikam.example: 127.0.0.1: we listen there",
		}},
		{name: "a closed port", lines: "peers x", code: exitNo, want: []string{"FAIL +TCP +nobody listens there", "- +TLS … clock +not checked: there is no connection", "answers at 0 of 1 address; it stops at TCP"}},
		{name: "one of two is closed", zone: probeZone + "_sipfederationtls._tcp.fabrikam.example. IN SRV 20 5 $GONE_PORT edge2.fabrikam.example.\nedge2.fabrikam.example. IN A 127.0.0.1", code: exitNo, want: []string{
			"ok +OPTIONS +200", "^edge2.fabrikam.example", "FAIL +TCP", "^NO: fabrikam.example answers at 1 of 2 addresses; it stops at TCP",
		}},
		{name: "TLS 1.1", lines: good + " tls=1.1", code: exitNo, want: []string{"FAIL +TLS +it speaks TLS 1.1 with TLS_\\w+ at best", "→ .*TLS 1.2", "- +chain … clock +not checked: there is no TLS"}},
		{name: "TLS 1.2", lines: good + " tls=1.2", want: []string{"ok +TLS +TLS 1.2, TLS_ECDHE", "ok +our certificate +asked for, and taken", "^YES"}},
		{name: "an unknown issuer", lines: "certificate fabrikam ca=stranger dns=fabrikam.example uri=sip:fabrikam.example\n" + good, code: exitNo, want: []string{
			"FAIL +chain +1 sent; the issuer Authority stranger is none that we trust", "→ .*peer_ca", "ok +names +claims to speak for fabrikam.example",
			"- +our certificate +not checked: they ask for one", "- +OPTIONS +not checked: who does not prove", "it stops at chain",
		}},
		{name: "another key than the one that is pinned", partners: "[partner.\"fabrikam.example\"]\npins = [\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]\n", code: exitNo, want: []string{
			"FAIL +key +ECDSA P-256, pin sha256/[A-Za-z0-9+/=]{44}: none of those that our list pins", "→ .*write it into pins", "ok +names", "- +OPTIONS",
		}},
		{name: "a clearing house", partners: "[federation]\nunlisted = \"upstream\"\nupstream = [\"$FABRIKAM\"]\nupstream_name = \"edge.clearing.example\"\n",
			lines: "certificate clearing dns=edge.clearing.example\nfabrikam listens $FABRIKAM cert=clearing", want: []string{
				"ok +our lists +upstream", "note +SRV +not asked: what goes to the domain goes to our clearing house", "ok +names +proves edge.clearing.example", "^YES",
			}},
		{name: "a direct partner by another name", partners: "[partner.\"fabrikam.example\"]\nservers = [\"$FABRIKAM\"]\npeer_name = \"sip.fabrikam.example\"\n", code: exitNo, want: []string{
			"note +SRV +not asked: our list names", "FAIL +names +our list asks for another name: sip:fabrikam.example", "→ .*peer_name",
		}},
		{name: "a direct partner that is not in DNS", partners: "[partner.\"fabrikam.example\"]\nservers = [\"gone.fabrikam.example\"]\n", code: exitNo, want: []string{"FAIL +A, AAAA +locate gone.fabrikam.example", "- +TCP … clock"}},
		{name: "another name", lines: "certificate fabrikam dns=contoso.example\n" + good, code: exitNo, want: []string{"FAIL +names +none is fabrikam.example: contoso.example", "- +OPTIONS"}},
		{name: "only the server's name", lines: "certificate fabrikam dns=edge.fabrikam.example\n" + good, want: []string{"note +names +names the server edge.fabrikam.example and not fabrikam.example", "^YES"}},
		{name: "a wildcard", lines: "certificate fabrikam dns=*.fabrikam.example\n" + good, code: exitNo, want: []string{`FAIL +names +only a wildcard covers fabrikam.example or its server: \*.fabrikam.example`, "→ RFC 5922 §7.2 forbids that.*allow_wildcard = true"}},
		{name: "a wildcard that our list allows", partners: "[partner.\"fabrikam.example\"]\nallow_wildcard = true\n", lines: "certificate fabrikam dns=*.fabrikam.example\n" + good, want: []string{"note +names +.*by a wildcard or common name", "^YES"}},
		{name: "a common name", lines: "certificate fabrikam cn=fabrikam.example\n" + good, code: exitNo, want: []string{"FAIL +names +only the common name is fabrikam.example", "→ .*allow_cn = true"}},
		{name: "a common name that draws on the terminal", lines: "certificate fabrikam cn=\u202e\x1b[2Jx\n" + good, code: exitNo, want: []string{`FAIL +names +none is fabrikam.example: no SAN at all, only the common name \\u202e\\x1b\[2Jx`}},
		{name: "a name that draws on the terminal", lines: "certificate fabrikam dns=fabrikam.example,\x1b[2J.example\n" + good, code: exitNo, want: []string{`FAIL +chain +certificate refused: malformed: .*\\x1b\[2J`, "- +key … usage"}},
		{name: "a server-only certificate", lines: "certificate fabrikam usage=server dns=fabrikam.example\n" + good, want: []string{"note +usage +server only, as public authorities issue them", "^YES"}},
		{name: "a server-only certificate for a strict entry", partners: "[partner.\"fabrikam.example\"]\npeer_usage = \"strict\"\n", lines: "certificate fabrikam usage=server dns=fabrikam.example\n" + good, want: []string{"warn +usage +server: when they connect to us with it", "^YES"}},
		{name: "a client-only certificate", lines: "certificate fabrikam usage=client dns=fabrikam.example\n" + good, want: []string{"note +usage +client, and it is shown by a server"}},
		{name: "a certificate for code", lines: "certificate fabrikam usage=code dns=fabrikam.example\n" + good, code: exitNo, want: []string{"FAIL +usage +none: neither for servers nor for clients"}},
		{name: "expired", lines: "certificate fabrikam expired dns=fabrikam.example\n" + good, code: exitNo, want: []string{
			"ok +chain", "ok +names", "FAIL +validity +ended .*, and it is ", "→ .*renew", "- +OPTIONS", "note +clock +by ours their certificate is out of its time",
		}},
		{name: "not yet valid", lines: "certificate fabrikam early dns=fabrikam.example\n" + good, code: exitNo, want: []string{"FAIL +validity +begins .*, and it is .* here"}},
		{name: "no certificate is asked for", lines: good + " unasked", want: []string{"warn +our certificate +they ask for none", "ok +OPTIONS", "^YES"}},
		{name: "ours is refused", lines: good + " ca=stranger", code: exitNo, want: []string{
			"FAIL +our certificate +they refuse it: unknown certificate authority; they name Authority stranger", "→ .*which their list does not have", "- +OPTIONS +not checked: they ended",
		}},
		{name: "ours is refused in TLS 1.2", lines: good + " ca=stranger tls=1.2", code: exitNo, want: []string{"ok +TLS +TLS 1.2", "FAIL +our certificate +they refuse it: unknown certificate authority", "- +OPTIONS +not checked: they ended"}},
		{name: "no answer to OPTIONS", lines: good + "\nfabrikam hangs", code: exitNo, want: []string{"FAIL +OPTIONS +no answer within", "it stops at OPTIONS"}},
		{name: "403", lines: good + "\nfabrikam checks 403", want: []string{"warn +OPTIONS +403 Said in a play", "→ They answer, and do not let us in: ask them to allow example.com", "^YES"}},
		{name: "503", lines: good + "\nfabrikam checks 503", want: []string{"warn +OPTIONS +503"}},
		{name: "405", lines: good + "\nfabrikam checks 405", want: []string{"ok +OPTIONS +405"}},
		{name: "an unlisted domain", partners: "[federation]\n", want: []string{"note +our lists +would not let a MESSAGE go there: partner.not_allowed", "^YES"}},
		{name: "a blocked domain", partners: "[blocked.\"fabrikam.example\"]\n", want: []string{`note +our lists +.*partner.blocked by blocked fabrikam.example \(partners.toml:1\)`, "^YES"}},
		{name: "from another family", lines: good, code: exitNo, want: []string{"FAIL +TCP +not tried: --from is of the other family"}},
		{name: "from nowhere", lines: good, code: exitNo, want: []string{"FAIL +TCP +not from 192.0.2.1: "}},
		{name: "from here", lines: good, want: []string{"^YES"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := probeStage(t, or(tt.zone, probeZone), or(tt.dns, probeDNS), or(tt.partners, "[partner.\"fabrikam.example\"]\n"))
			s.play(t, strings.Split(or(tt.lines, good), "\n")...)
			from := map[string]string{"from another family": " --from ::1", "from nowhere": " --from 192.0.2.1", "from here": " --from 127.0.0.1"}[tt.name]
			code, out, errs := s.command("probe CONFIG fabrikam.example" + from)
			if code != tt.code || errs != "" {
				t.Errorf("exit %d, says %q; want %d", code, errs, tt.code)
			}
			inLines(t, out, tt.want)
			if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && (r < ' ' || r == 0x7f || r == '\u202e') }) {
				t.Errorf("%q has characters that are not for terminals", out)
			}
			if (code == exitDone) == strings.Contains(out, "\n  FAIL ") {
				t.Errorf("exit %d, and\n%s", code, out)
			}
		})
	}
}

func TestProbeWorksWithoutAConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name, lines, answer string
		want                []string
	}{
		{"they want to know who we are", "fabrikam listens $FABRIKAM cert=fabrikam", "unknown", []string{
			"certificate +we have none to show", "- +our certificate +not checked: they ask for one, and we have none to show; they name Authority ca",
			"- +OPTIONS +not checked", "^NOT KNOWN: as far as one can see without our certificate",
		}},
		{"they want to know, in TLS 1.2", "fabrikam listens $FABRIKAM cert=fabrikam tls=1.2", "unknown", []string{
			"ok +TLS +TLS 1.2", "- +our certificate +not checked", "- +OPTIONS +not checked: without a certificate of ours", "^NOT KNOWN",
		}},
		{"they do not want to know", "fabrikam listens $FABRIKAM cert=fabrikam unasked", "yes", []string{"warn +our certificate +they ask for none", "ok +OPTIONS +200", "^YES"}},
		{"an unknown issuer", "certificate fabrikam ca=stranger dns=fabrikam.example\nfabrikam listens $FABRIKAM cert=fabrikam", "no", []string{"FAIL +chain", "^NO"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := probeStage(t, probeZone, probeDNS, "")
			s.play(t, strings.Split(tt.lines, "\n")...)
			p := &probe{domain: "fabrikam.example", now: time.Now()}
			we := group{Name: "we"}
			if err := p.withoutConfig(&we); err != nil {
				t.Fatal(err)
			}
			p.locator.Close()
			// Those of this machine are for the Internet; these are for the test.
			var err error
			p.locator, err = locate.New(locate.Config{Servers: []string{s.env("DNS")}, AllowedRanges: []string{"127.0.0.0/8"}}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.locator.Close()
			if p.roots, err = certs.LoadRoots(s.path("ca.pem"), ""); err != nil {
				t.Fatal(err)
			}
			r := p.examine(t.Context(), we)
			var out strings.Builder
			if err := r.print(streams{out: &out}, false); err != nil {
				t.Fatal(err)
			}
			if r.Answer != tt.answer {
				t.Errorf("the answer is %q, want %q", r.Answer, tt.answer)
			}
			inLines(t, out.String(), tt.want)
		})
	}
}

func TestProbesAreNotedWhereOneMayWrite(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	state := edge.Config{Dir: dir, StateDir: "state"}
	want := func(c edge.Config, file string) {
		t.Helper()
		got, err := probeStamps(c)
		if err != nil || got != filepath.Join(dir, file) {
			t.Errorf("%s, %v, want %s", got, err, file)
		}
	}
	want(edge.Config{}, "cache/sipedge/probes")
	want(state, "cache/sipedge/probes") // serve makes the folder, as who it is for
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	want(state, "state/probes")
	info, err := os.Stat(filepath.Join(dir, "state", "probes"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(filepath.Join(dir, "state"), 4242, 4242); err != nil {
		t.Fatal(err)
	}
	want(state, "state/probes")
	info, err = os.Stat(filepath.Join(dir, "state", "probes"))
	if err != nil {
		t.Fatal(err)
	}
	if uid, _ := ownerOf(info); uid != 4242 {
		t.Errorf("the file belongs to %d: whose folder it is cannot write it", uid)
	}
}

// Whose folder it is may have put there what root is to give him, or to wait for.
func TestProbesAreNotNotedInWhatIsNoFileOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stampFile)
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func() error{
		"a link":       func() error { return os.Symlink(precious, path) },
		"another name": func() error { return os.Link(precious, path) },
		"a pipe":       func() error { return syscall.Mkfifo(path, 0o600) },
		"a folder":     func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := takeProbe(path, "fabrikam.example", time.Now()); err == nil {
			t.Errorf("%s: a probe is noted in it", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(precious); err != nil || string(data) != "secret" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestOnlySoManyAddressesAreCalled(t *testing.T) {
	zone := "_sips._tcp.fabrikam.example. IN SRV 1 1 $GONE_PORT edge.fabrikam.example.\n"
	for i := range 20 {
		zone += fmt.Sprintf("edge.fabrikam.example. IN A 127.0.0.%d\n", i+1)
	}
	s := probeStage(t, zone, probeDNS, "")
	code, out, _ := s.command("probe CONFIG fabrikam.example")
	if n := strings.Count(out, "nobody listens there"); code != exitNo || n != probeCalls {
		t.Errorf("exit %d, %d calls", code, n)
	}
	inLines(t, out, []string{"- +more addresses +not checked: 12 beyond the first 8"})
}

// saying is a server that answers each request in its own words: $ID is the
// Call-ID of the request, $VIA its Via. After "again" it never ends.
func (s *stage) saying(t *testing.T, address, cert, words string) {
	t.Helper()
	conf, err := s.tlsConfig(nil, options([]string{"cert=" + cert}))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", address, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m, err := hear(bufio.NewReader(c))
			if err == nil && m != nil {
				text := strings.NewReplacer("$ID", m.value("call-id"), "$VIA", m.value("via"), "\n", "\r\n").Replace(words)
				for range 2000 {
					if _, err := c.Write([]byte(text)); err != nil || !strings.HasPrefix(words, "again") {
						break
					}
				}
			}
			c.Close()
		}
	}()
}

func TestProbeReadsAnAnswerAsHostile(t *testing.T) {
	const head, tail = "SIP/2.0 200 OK\nVia: $VIA\n", "Call-ID: $ID\nCSeq: 1 OPTIONS\nFrom: <sip:a>;tag=1\nTo: <sip:b>;tag=2\nContent-Length: 0\n\n"
	now := time.Now().UTC()
	date := func(d time.Duration) string {
		return head + "Date: " + now.Add(d).Format(http.TimeFormat) + "\n" + tail
	}
	for _, tt := range []struct {
		name, words string
		code        int
		want        []string
	}{
		{"a clock that is right", date(0), exitDone, []string{"ok +OPTIONS +200 OK", "ok +clock +theirs agrees with ours"}},
		{"a clock that is wrong", date(-time.Hour), exitDone, []string{"warn +clock +theirs is -(1h0m|59m)[0-9]+s from ours", "^YES"}},
		{"a clock that is nonsense", head + "Date: yesterday\n" + tail, exitDone, []string{"ok +clock +they send no Date"}},
		{"a server that draws on the terminal", "SIP/2.0 200 \u202eOK\u009b2J\nServer: \u202e<b>evil\nVia: $VIA\n" + tail, exitDone, []string{`ok +OPTIONS +200 \\u202eOK\\u009b2J, in .*, from \\u202e<b>evil`}},
		{"a long phrase", "SIP/2.0 200 " + strings.Repeat("x", 4000) + "\nVia: $VIA\n" + tail, exitDone, []string{`200 x{160}\.\.\., in`}},
		{"something before the answer", "\n\nOPTIONS sip:us SIP/2.0\nVia: SIP/2.0/TLS them;branch=z9hG4bK1\n" + tail + "SIP/2.0 100 Trying\nVia: $VIA\n" + tail + head + tail, exitDone, []string{"ok +OPTIONS +200"}},
		{"an answer to somebody else", head + "Call-ID: other\nCSeq: 1 OPTIONS\nFrom: <sip:a>;tag=1\nTo: <sip:b>;tag=2\nContent-Length: 0\n\n", exitNo, []string{"FAIL +OPTIONS +the connection was closed without an answer"}},
		{"no SIP", "HTTP/1.1 400 Bad Request\n\n", exitNo, []string{"FAIL +OPTIONS +what came is no SIP"}},
		{"talk without end", "again" + strings.Repeat("x", 100), exitNo, []string{"FAIL +OPTIONS +(what came is no SIP|too many octets)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := probeStage(t, probeZone, probeDNS, "[partner.\"fabrikam.example\"]\n")
			s.saying(t, s.env("FABRIKAM"), "fabrikam", tt.words)
			code, out, errs := s.command("probe CONFIG fabrikam.example")
			if code != tt.code || errs != "" {
				t.Errorf("exit %d, says %q; want %d", code, errs, tt.code)
			}
			inLines(t, out, tt.want)
			if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && (r < ' ' || r >= 0x7f && r != '→') }) {
				t.Errorf("%q has characters that are not for terminals", out)
			}
			code, _, _ = s.command("probe CONFIG --json fabrikam.example")
			if code != exitNotPermitted {
				t.Errorf("once more at once: exit %d", code)
			}
		})
	}
}

func TestProbesAreFew(t *testing.T) {
	now := time.Unix(1800000000, 0)
	file := filepath.Join(t.TempDir(), "probes")
	take := func(domain string, at time.Duration) error { return takeProbe(file, domain, now.Add(at)) }
	for i := range probeTotal {
		if err := take(fmt.Sprintf("d%d.example", i), time.Duration(i)*time.Minute/2); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		domain string
		at     time.Duration
		want   string // "": allowed
	}{
		{"new.example", 30 * time.Minute, "60 probes were sent within 1h0m0s; more than that is scanning: the next one is allowed at "},
		{"new.example", time.Hour - time.Second, "(in 2s)"},
		{"new.example", time.Hour, ""},
		{"new.example", time.Hour + time.Second, "60 probes"},
		{"other.example", time.Hour + 29*time.Second, "60 probes"},
		{"new.example", time.Hour + 30*time.Second, ""},
		{"new.example", -time.Minute, ""}, // the clock was set back
	} {
		err := take(tt.domain, tt.at)
		var e exit
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s at %v: %v", tt.domain, tt.at, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &e) || e.code != exitNotPermitted):
			t.Errorf("%s at %v: %v, want %q", tt.domain, tt.at, err, tt.want)
		}
	}
	if err := os.WriteFile(file, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := take("x.example", 0); err == nil || !strings.Contains(err.Error(), "remove it to begin anew") {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestTwoProbesAtOnceAreNotBothLetThrough(t *testing.T) {
	file, now := filepath.Join(t.TempDir(), "probes"), time.Now()
	var all sync.WaitGroup
	var let atomic.Int32
	for range 8 {
		all.Go(func() {
			if takeProbe(file, "fabrikam.example", now) == nil {
				let.Add(1)
			}
		})
	}
	all.Wait()
	if let.Load() != 1 {
		t.Errorf("%d probes were let through", let.Load())
	}
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// inLines looks for lines that match, one after the other.
func inLines(t *testing.T, out string, want []string) {
	t.Helper()
	rest := out
	for _, w := range want {
		at := regexp.MustCompile("(?m)" + w).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("%q is not in what is left of\n%s", w, out)
		}
		rest = rest[at[1]:]
	}
}

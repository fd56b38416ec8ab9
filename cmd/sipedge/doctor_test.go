package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/certs"
)

// openFolder is a folder that everybody may enter, unlike those of other tests.
func openFolder(t *testing.T) string {
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if folder := others.locked(filepath.Join(dir, "x")); folder != "" {
		t.Skipf("not everybody may enter %s", folder)
	}
	return dir
}

func TestFilesAreJudgedForWhoRunsTheEdge(t *testing.T) {
	dir := openFolder(t)
	group := uint32(os.Getgid())
	stranger := account{name: "sipedge", uid: 4242}
	member := account{name: "sipedge", uid: 4242, gids: []uint32{group}}
	if uint32(os.Getuid()) == stranger.uid {
		t.Skip("the user of this test is the one that it is about")
	}
	for _, tt := range []struct {
		name   string
		who    account
		mode   os.FileMode
		folder os.FileMode
		secret bool
		level  level
		want   string
	}{
		{"everybody reads a certificate", stranger, 0o644, 0o755, false, fine, "readable"},
		{"nobody but its owner does", stranger, 0o600, 0o755, false, failed, "sipedge cannot read it"},
		{"its group does", member, 0o640, 0o755, false, fine, "readable"},
		{"the folder has a line of its own", member, 0o644, 0o700, false, fine, ""},
		{"everybody changes it", stranger, 0o646, 0o755, false, failed, "everybody on this machine can change it"},
		{"everybody puts another in its place", stranger, 0o644, 0o777, false, failed, "everybody can put another file in its place, in " + dir + "/sub"},
		{"but not in a folder like /tmp", stranger, 0o644, 0o777 | os.ModeSticky, false, fine, ""},
		{"everybody reads a key", stranger, 0o644, 0o755, true, failed, "everybody on this machine can read it"},
		{"everybody could, were the folder not closed", member, 0o644, 0o710, true, warned, "only " + dir + "/sub keeps everybody from reading it"},
		{"a key that only its owner reads", stranger, 0o600, 0o755, true, failed, "sipedge cannot read it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sub := filepath.Join(dir, "sub")
			if err := os.MkdirAll(sub, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(sub, "file")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for p, m := range map[string]os.FileMode{path: tt.mode, sub: tt.folder} {
				if err := os.Chmod(p, m); err != nil {
					t.Fatal(err)
				}
			}
			defer os.Chmod(sub, 0o755)
			got := file{path: path, what: "it", secret: tt.secret}.check(tt.who)
			if got.Level != tt.level || !strings.Contains(got.Evidence, tt.want) || (got.Level > fine) != (got.Remedy != "") {
				t.Errorf("%+v, want %v with %q and a remedy unless it is fine", got, tt.level, tt.want)
			}
		})
	}
}

func TestAKeyOfSomebodyElseAndOneBehindALink(t *testing.T) {
	dir := openFolder(t)
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	archive := filepath.Join(dir, "archive")
	if err := os.Mkdir(archive, 0o700); err != nil {
		t.Fatal(err)
	}
	key, link := filepath.Join(archive, "edge.key"), filepath.Join(dir, "edge.key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(key, link); err != nil {
		t.Fatal(err)
	}
	sipedge := account{name: "sipedge", uid: 4242, gids: []uint32{4242}}
	want := func(l level, text string) {
		t.Helper()
		got := file{path: link, what: "key", secret: true}.check(sipedge)
		if got.Level != l || !strings.Contains(got.Evidence, text) {
			t.Errorf("%+v, want %v with %q", got, l, text)
		}
	}
	// As certbot leaves it.
	if got := closed([]file{{path: link}, {path: key}}, sipedge); len(got) != 1 || got[0].Subject != archive ||
		got[0].Evidence != "0700 root:root: sipedge cannot enter it, and 2 files that the edge reads behind it" || got[0].Remedy == "" {
		t.Errorf("%+v", got)
	}
	want(failed, "sipedge cannot read it")
	chown := func(path string, uid, gid int, mode os.FileMode) {
		t.Helper()
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	chown(archive, 0, 0, 0o755)
	if got := closed([]file{{path: link}}, sipedge); got != nil {
		t.Errorf("%+v", got)
	}
	chown(key, 4242, 4242, 0o600)
	want(fine, "0600 4242:4242, readable")
	chown(key, 4343, 4242, 0o640)
	want(warned, "owns it and can read it")
	chown(key, 0, 4242, 0o640)
	want(noted, "its group can read it")
}

func TestStateIsTheServingUsersAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := openFolder(t)
	state := filepath.Join(dir, "state")
	sipedge := account{name: "sipedge", uid: 4242, gids: []uint32{4242}}
	want := func(texts ...string) {
		t.Helper()
		got := checkState(state, sipedge)
		if len(got) != len(texts) {
			t.Fatalf("%+v, want %q", got, texts)
		}
		for i, f := range got {
			word, rest, _ := strings.Cut(texts[i], " ")
			if f.Level.word() != word || !strings.Contains(f.Evidence, rest) {
				t.Errorf("%+v, want %s with %q", f, word, rest)
			}
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want("FAIL sipedge cannot make it in " + dir)
	do(os.Chown(dir, 4242, 4242))
	want("note serve makes it")
	do(os.Mkdir(state, 0o700))
	want("FAIL sipedge cannot write there")
	do(os.Chown(state, 4242, 4242))
	want("ok writable")
	token := filepath.Join(state, "token.keys")
	do(os.WriteFile(token, nil, 0o600))
	want("ok writable", "FAIL 0600 root:root: sipedge cannot read and write it")
	do(os.Chown(token, 4242, 4242))
	want("ok writable", "ok 1 file in it")
	aside := filepath.Join(state, "decisions.damaged-1")
	do(os.WriteFile(aside, nil, 0o600))
	want("ok writable", "FAIL a disk has damaged this journal")
	do(os.Remove(aside))
	do(os.Chmod(state, 0o755))
	want("warn others can look into it", "ok 1 file in it")
	do(os.Chmod(token, 0o644))
	want("warn others can look into it", "FAIL 0644 4242:4242: others can get at it")
}

func TestANameInARemedyIsOneWord(t *testing.T) {
	for path, want := range map[string]string{
		"state/store/a-1.journal": "state/store/a-1.journal", "state/x;rm -rf ~": "'state/x;rm -rf ~'", "it's": `'it'\''s'`, "$(id)": "'$(id)'",
	} {
		if got := quoted(path); got != want {
			t.Errorf("quoted(%s) = %s, want %s", path, got, want)
		}
	}
}

func TestDoctorNamesWhatIsWrong(t *testing.T) {
	const home = "home listens $HOME1 cert=home"
	const goodZone = `_sipfederationtls._tcp.example.com. 60 IN SRV 10 10 $EDGE_EXT_PORT edge1.example.com.
_sips._tcp.example.com. 60 IN SRV 10 10 $EDGE_EXT_PORT edge1.example.com.
edge1.example.com. 60 IN A 127.0.0.1
`
	const goodEdge = "certificate edge dns=edge1.example.com,example.com\n"
	sub := func(old, with string) string { return strings.ReplaceAll(goodZone, old, with) }
	for _, tt := range []struct {
		name  string
		zone  string // "": goodZone
		lines string
		dns   string
		code  int
		want  []string
	}{
		{name: "all is well", lines: goodEdge + home, want: []string{"ok +key +fits", "ok +edge1.example.com +127.0.0.1:", "ok +127.0.0.1:[0-9]+ +TCP"}},
		{name: "no client usage", lines: "certificate edge usage=server dns=edge1.example.com,example.com\n" + home + " unasked", want: []string{"warn +usage +server: when we connect, partners that insist", `→ .*peer_usage = "federation"`}},
		{name: "no server usage", lines: "certificate edge usage=client dns=edge1.example.com,example.com\n" + home, code: exitNo, want: []string{"FAIL +usage +client: whoever connects to us"}},
		{name: "expired", lines: "certificate edge expired dns=edge1.example.com,example.com\n" + home, code: exitNo, want: []string{"FAIL +validity +ended", "FAIL +127.0.0.1"}},
		{name: "not yet valid", lines: "certificate edge early dns=edge1.example.com,example.com\n" + home, code: exitNo, want: []string{"FAIL +validity +begins .* here", "→ .*set the clock"}},
		{name: "not our name", lines: "certificate edge dns=example.com\n" + home, code: exitNo, want: []string{"FAIL +names +edge1.example.com, our name, is not among example.com", "→ .*dNSName edge1.example.com"}},
		{name: "not our domain", lines: "certificate edge dns=edge1.example.com\n" + home, want: []string{"warn +names +does not speak for example.com", "→ .*sip:example.com"}},
		{name: "a private authority that we do not know", lines: "certificate edge ca=stranger dns=edge1.example.com,example.com\n" + home, code: exitNo, want: []string{"warn +chain +the issuer Authority stranger is neither", "FAIL +127.0.0.1:[0-9]+ .*OPTIONS: remote error: tls: unknown certificate authority", "→ It refuses our certificate"}},
		{name: "no SRV", zone: "edge1.example.com. IN A 127.0.0.1", lines: goodEdge + home, want: []string{"warn +SRV +neither _sipfederationtls._tcp.example.com nor", "→ .*Publish: _sipfederationtls._tcp.example.com. IN SRV 10 10 [0-9]+ edge1.example.com."}},
		{name: "the name servers fail", lines: goodEdge + home + "\ndns breaks _sips._tcp.example.com servfail", code: exitNo, want: []string{"FAIL +_sips._tcp +.*SERVFAIL"}},
		{name: "no resolver answers", lines: goodEdge + home + "\ndns breaks edge1.example.com servfail", code: exitNo, want: []string{"FAIL +resolvers", "- +edge1.example.com +not checked"}},
		{name: "our name is nowhere", zone: "_sips._tcp.example.com. 60 IN SRV 10 10 $EDGE_EXT_PORT edge.example.com.\nedge.example.com. IN A 127.0.0.1", lines: "certificate edge dns=edge1.example.com,edge.example.com,example.com\n" + home, want: []string{"warn +edge1.example.com +has neither A nor AAAA", "ok +edge.example.com +127.0.0.1:[0-9]+ is our listener"}},
		{name: "a target elsewhere", zone: sub(" edge1.example.com.", " edge.hosting.example.") + "\nedge.hosting.example. IN A 127.0.0.1", lines: goodEdge + home, want: []string{"warn +edge.hosting.example +does not lie in example.com"}},
		{name: "a target that our certificate does not name", zone: sub(" edge1.example.com.", " edge2.example.com.") + "\nedge2.example.com. IN A 127.0.0.1", lines: "certificate edge dns=edge1.example.com\n" + home, code: exitNo, want: []string{"FAIL +edge2.example.com +certificate edge speaks neither for example.com nor"}},
		{name: "a target that is an alias", zone: sub("edge1.example.com. 60 IN A 127.0.0.1", "edge1.example.com. IN CNAME host.example.com.\nhost.example.com. IN A 127.0.0.1"), lines: goodEdge + home, want: []string{"note +edge1.example.com +an alias of host.example.com", "warn +edge1.example.com +is an alias of host.example.com"}},
		{name: "a target without address", zone: sub(" edge1.example.com.", " gone.example.com."), lines: goodEdge + home, code: exitNo, want: []string{"FAIL +gone.example.com +no address"}},
		{name: "a private address", dns: "[dns]\nservers = [\"$DNS\"]\n", lines: goodEdge + home, code: exitNo, want: []string{"FAIL +edge1.example.com +127.0.0.1:[0-9]+ is not a public address"}},
		{name: "an address behind NAT", zone: sub("127.0.0.1", "192.0.2.7"), lines: goodEdge + home, want: []string{"note +edge1.example.com +192.0.2.7:[0-9]+ is not on this machine; our listener is at 127.0.0.1", "→ .*advertise"}},
		{name: "another port", zone: sub("$EDGE_EXT_PORT", "5099"), lines: goodEdge + home, code: exitNo, want: []string{"FAIL +edge1.example.com +127.0.0.1:5099 is on this machine, and our listener is at"}},
		{name: "somebody else has the port", lines: goodEdge + home + "\npeers other\nother listens $EDGE_EXT cert=fabrikam", code: exitNo, want: []string{"FAIL +listener federation +.*taken by somebody else, who shows a certificate for sip:fabrikam.example", "→ .*ss -ltnp"}},
		{name: "an edge with an older certificate has the port", lines: goodEdge + "certificate old dns=edge1.example.com,example.com\npeers other\nother listens $EDGE_EXT cert=old\n" + home, want: []string{"warn +listener federation +.*shows another certificate with the same names", "→ .*SIGHUP"}},
		{name: "the home server is another", lines: goodEdge + "home listens $HOME1 cert=fabrikam", code: exitNo, want: []string{"FAIL +127.0.0.1:[0-9]+ +TCP .*, then no TLS: certificate refused: name not covered", "→ .*peer_name"}},
		{name: "the home server's authority is another", lines: goodEdge + "certificate home ca=stranger dns=sip.example.com\n" + home, code: exitNo, want: []string{"FAIL +127.0.0.1:[0-9]+ .*unknown issuer", "→ .*ca of the pool"}},
		{name: "the home server is busy", lines: goodEdge + home + "\nhome checks 503", want: []string{"warn +127.0.0.1:[0-9]+ .*OPTIONS 503"}},
		{name: "the home server answers nothing", lines: goodEdge + home + "\nhome hangs", code: exitNo, want: []string{"FAIL +127.0.0.1:[0-9]+ .*then OPTIONS: no answer within"}},
		{name: "no home server", lines: goodEdge + "peers x", code: exitNo, want: []string{"FAIL +127.0.0.1:[0-9]+ +no connection: nobody listens there"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := openTestStage(t)
			s.write(t, "zone", or(tt.zone, goodZone))
			s.write(t, "dns.toml", or(tt.dns, probeDNS))
			s.play(t, "company", "peers home", "dns serves zone", "fill sipedge.toml partners.toml")
			s.play(t, strings.Split(tt.lines, "\n")...)
			code, out, errs := s.command("doctor CONFIG")
			if code != tt.code || errs != "" {
				t.Errorf("exit %d, says %q; want %d", code, errs, tt.code)
			}
			inLines(t, out, tt.want)
			if (code == exitDone) == strings.Contains(out, "\n  FAIL ") {
				t.Errorf("exit %d, and\n%s", code, out)
			}
			hasRemedies(t, out)
		})
	}
}

// hasRemedies looks whether what is not fine is followed by what to do.
func hasRemedies(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		word := strings.Fields(line + " x")[0]
		if (word == "FAIL" || word == "warn" || word == "note") && !strings.HasPrefix(strings.TrimSpace(lines[i+1]), "→") {
			t.Errorf("no remedy after %q", line)
		}
	}
}

func TestDoctorKnowsWhatHomeServersPlainAndGoneSay(t *testing.T) {
	s := openTestStage(t)
	s.write(t, "pool.toml", "[pool.main]\ndomains = [\"example.com\"]\nservers = [\"$HOME1\", \"gone.example.com:5061\"]\ntransport = \"tcp\"\npeers = [\"127.0.0.1\"]\n")
	s.write(t, "dns.toml", probeDNS)
	s.write(t, "zone", "x.example. IN A 127.0.0.1")
	s.play(t, "company", "peers home", "dns serves zone", "fill sipedge.toml partners.toml", "home listens $HOME1 tcp")
	code, out, errs := s.command("doctor CONFIG")
	if code != exitNo || errs != "" {
		t.Errorf("exit %d, says %q", code, errs)
	}
	inLines(t, out, []string{"ok +127.0.0.1:[0-9]+ +TCP [0-9.]+ ms, OPTIONS 200 in", "FAIL +gone.example.com:5061 +locate gone.example.com: .*no records"})
}

func TestDoctorComparesTheClocksOfHomeServers(t *testing.T) {
	s := openTestStage(t)
	s.write(t, "dns.toml", probeDNS)
	s.write(t, "zone", "x.example. IN A 127.0.0.1")
	s.play(t, "company", "dns serves zone", "fill sipedge.toml partners.toml")
	date := time.Now().UTC().Add(time.Hour).Format(http.TimeFormat)
	s.saying(t, s.env("HOME1"), "home", "SIP/2.0 200 OK\nVia: $VIA\nServer: PBX \u202e1\nDate: "+date+
		"\nCall-ID: $ID\nCSeq: 1 OPTIONS\nFrom: <sip:a>;tag=1\nTo: <sip:b>;tag=2\nContent-Length: 0\n\n")
	_, out, _ := s.command("doctor CONFIG")
	inLines(t, out, []string{`warn +127.0.0.1:[0-9]+ +TCP .*OPTIONS 200 in [0-9.]+ ms from PBX \\u202e1; its clock is (59m|1h0m)[0-9]+s from ours`, "→ .*NTP"})
}

func TestDoctorTakesTheUserThatItIsGiven(t *testing.T) {
	s := openTestStage(t)
	s.play(t, "company", "fill sipedge.toml partners.toml")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	_, out, _ := s.command("doctor CONFIG --json --user " + me.Username)
	var r doctorReport
	if err := json.Unmarshal([]byte(strings.ReplaceAll(out, `"level": `, `"x": `)), &r); err != nil || r.User != me.Username {
		t.Errorf("user %q, %v", r.User, err)
	}
	if code, _, errs := s.command("doctor CONFIG --user nobody-of-that-name"); code != exitUsage || !strings.Contains(errs, "there is no user") {
		t.Errorf("exit %d, says %q", code, errs)
	}
	if a, err := accountNamed(me.Uid); err != nil || strconv.Itoa(int(a.uid)) != me.Uid {
		t.Errorf("accountNamed(%s) = %+v, %v", me.Uid, a, err)
	}
}

func TestAChainIsJudgedWhole(t *testing.T) {
	root, err := certs.NewAuthority("Root")
	if err != nil {
		t.Fatal(err)
	}
	between, err := root.Intermediate("Between")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(l certs.Leaf) (string, string) {
		t.Helper()
		l.Names = []string{"edge1.example.com", "example.com"}
		cert, key, err := between.Issue(l)
		if err != nil {
			t.Fatal(err)
		}
		return string(cert), string(key)
	}
	good, key := issue(certs.Leaf{})
	blocks := strings.SplitAfter(good, "-----END CERTIFICATE-----\n")
	soon, soonKey := issue(certs.Leaf{NotBefore: time.Now().AddDate(0, -3, 0), NotAfter: time.Now().Add(72 * time.Hour)})
	ed, edKey := issue(certs.Leaf{KeyType: certs.Ed25519})
	for _, tt := range []struct {
		name, cert, key, want string
	}{
		{"whole", good, key, "ok +chain +2 in the file, up to the authority Root"},
		{"with the root", good + string(root.PEM()), key, "note +chain +3 certificates, up to the root Root itself"},
		{"without what is between", blocks[0], key, "warn +chain +the issuer Between is neither in the file"},
		{"with something else between", blocks[0] + string(root.PEM()), key, "FAIL +chain +certificate 1 of the file, edge1.example.com, is not signed by the next one, Root"},
		{"near its end", soon, soonKey, "warn +validity +ends .*, in [23] days"},
		{"Ed25519", ed, edKey, "note +strength +Ed25519 key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := openTestStage(t)
			s.write(t, "dns.toml", probeDNS)
			s.write(t, "zone", "x.example. IN A 127.0.0.1")
			s.play(t, "company", "dns serves zone", "fill sipedge.toml partners.toml")
			s.write(t, "edge.pem", tt.cert)
			s.write(t, "edge.key", tt.key)
			s.write(t, "ca.pem", string(root.PEM()))
			_, out, _ := s.command("doctor CONFIG")
			inLines(t, out, []string{tt.want})
		})
	}
}

func TestTheWordsOfAlertsAreKnown(t *testing.T) {
	for _, text := range []string{"bad certificate", "unknown certificate authority", "certificate required", "expired certificate"} {
		err := &net.OpError{Op: "remote error", Err: errorText("tls: " + text)}
		if !refusedOurs(err) {
			t.Errorf("%v is no refusal", err)
		}
	}
	if refusedOurs(&net.OpError{Op: "remote error", Err: errorText("tls: handshake failure")}) || refusedOurs(&net.OpError{Op: "read", Err: errorText("tls: bad certificate")}) {
		t.Error("taken for a refusal of our certificate")
	}
}

type errorText string

func (e errorText) Error() string { return string(e) }

func TestTextIsSetToTheWidthOfTheTerminal(t *testing.T) {
	var b strings.Builder
	p := &page{out: &b, width: 40}
	p.groups(findings{{"dns", []finding{
		{fine, "SRV", "one two three four five six seven eight nine", ""},
		{failed, "a subject that is much too long for it", strings.Repeat("x", 30), "Do something about it, and soon."},
		{unchecked, "A", "", ""},
	}}})
	want := `
dns
  ok    SRV  one two three four five six
             seven eight nine
  FAIL  a subject that is much too long for it
             xxxxxxxxxxxxxxxxxxxxxxxxxxx
             xxx
             → Do something about it,
               and soon.
  -     A
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if n := len([]rune(line)); n > 40 && !strings.Contains(line, "much too long") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

package main

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// chats is the server of somebody's account, romeo@fabrikam.example, who has the
// password "Montague". It answers what it is asked with words, in which $ID is the
// question's id, and tells what came.
func (s *stage) chats(t *testing.T, words string) (address string, came func() string) {
	t.Helper()
	conf, err := s.tlsConfig(nil, options([]string{"cert=fabrikam"}))
	if err != nil {
		t.Fatal(err)
	}
	conf.ClientAuth, conf.NextProtos = tls.NoClientCert, []string{"xmpp-client"}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 1)
	go func() {
		var all []byte
		defer func() { heard <- string(all) }()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		const begin = "<?xml version='1.0'?><stream:stream from='fabrikam.example' id='1' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><stream:features>"
		r := stanza.NewReader(c, stanza.Limits{})
		for _, offer := range []string{"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>", "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"} {
			if _, err := r.Open(); err != nil {
				return
			}
			c.Write([]byte(begin + offer + "</stream:features>"))
			e, err := r.Next()
			if err != nil {
				return
			}
			switch {
			case e.Local == "auth" && e.Text == "AHJvbWVvAE1vbnRhZ3Vl":
				c.Write([]byte("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"))
				r.Reset(c)
			case e.Local == "auth":
				c.Write([]byte("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>\u009b2J\u202e</text></failure>"))
				return
			default:
				c.Write([]byte("<iq type='result' id='" + e.Attr("id") + "'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>romeo@fabrikam.example/x</jid></bind></iq>"))
			}
		}
		for {
			e, err := r.Next()
			if err != nil {
				return
			}
			all = stanza.Append(all, e)
			c.Write([]byte(strings.ReplaceAll(words, "$ID", e.Attr("id"))))
		}
	}()
	return l.Addr().String(), func() string {
		l.Close()
		return <-heard
	}
}

func TestProbeLooksAtXMPPFromOutside(t *testing.T) {
	const result = "<iq type='result' from='example.com' id='$ID'><query xmlns='http://jabber.org/protocol/disco#info'><identity category='gateway' type='sip' name='\u202eevil'/></query></iq>"
	const notFound = "<iq type='error' from='example.com' id='$ID'><error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>No SRV &#x202e;</text></error></iq>"
	for _, tt := range []struct {
		name, words, password, flags string
		code                         int
		want                         []string
	}{
		{name: "it is reached", words: result, want: []string{
			`^sipedge probe xmpp example.com`, `asked by romeo@fabrikam.example`, `^the account's server`, `ok +connect 127.0.0.1:`, `ok +TLS +TLS 1.3, certificate of fabrikam.example`,
			`ok +login +as romeo@fabrikam.example/x with PLAIN`, `^example.com`, `ok +what it is +gateway/sip "\\+u202eevil", in`, `ok +ping`, `^YES: example.com is reached by XMPP, and answers. 5 ok.`,
		}},
		{name: "it is not found", words: notFound, code: exitNo, want: []string{
			`FAIL +what it is +the account's server does not find example.com, or gets no stream to it \(remote-server-not-found: No SRV \\u202e\)`, `→ .*_xmpp-server._tcp.example.com`,
			`- +ping +not checked`, `^NO: it stops at what it is \(example.com\)`,
		}},
		{name: "a wrong password", password: "Capulet", code: exitNo, want: []string{`ok +TLS`, `FAIL +login .*not-authorized: \\u009b2J\\u202e`, `→ .*password`, `- +what it is +not checked`, `^NO: it stops at login`}},
		{name: "an authority that nobody trusts", flags: "nobody", code: exitNo, want: []string{`FAIL +TLS .*unknown authority`, `→ .*--ca FILE`, `^NO: it stops at TLS`}},
		{name: "a mechanism that is not there", flags: "--mechanism SCRAM-SHA-1", code: exitNo, want: []string{`FAIL +login .*it offers \["PLAIN"\], and we want SCRAM-SHA-1`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			s := openTestStage(t)
			s.play(t, "company", "peers fabrikam second", "certificate fabrikam dns=fabrikam.example")
			address, came := s.chats(t, tt.words)
			s.write(t, "password", or(tt.password, "Montague")+"\n")
			line := "probe xmpp example.com --account romeo@fabrikam.example --password-file " + s.path("password") + " --direct-tls --server " + address
			if tt.flags != "nobody" {
				line += " --ca " + s.path("ca.pem") + " " + or(tt.flags, "--mechanism PLAIN")
			}
			code, out, errs := s.command(line)
			if code != tt.code || errs != "" {
				t.Errorf("exit %d, says %q; want %d", code, errs, tt.code)
			}
			inLines(t, out, tt.want)
			if strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && (r < ' ' || r == 0x7f || r == '\u202e') }) {
				t.Errorf("%q has characters that are not for terminals", out)
			}
			if heard := came(); strings.Contains(heard, "<presence") || strings.Contains(heard, "<message") {
				t.Errorf("it has sent %s", heard)
			}
			// Passwords are not guessed with it.
			if code, _, errs := s.command(line); code != exitNotPermitted || !strings.Contains(errs, "was probed") {
				t.Errorf("once more at once: exit %d, %s", code, errs)
			}
		})
	}
}

func TestProbeXMPPPrintsJSON(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	s := openTestStage(t)
	s.play(t, "company", "peers fabrikam second", "certificate fabrikam dns=fabrikam.example")
	address, came := s.chats(t, "<iq type='result' from='example.com' id='$ID'/>")
	s.write(t, "password", "Montague")
	code, out, errs := s.command("probe xmpp --json example.com --account romeo@fabrikam.example --password-file " + s.path("password") + " --direct-tls --server " + address + " --mechanism PLAIN --ca " + s.path("ca.pem"))
	came()
	var r probeXMPPReport
	if err := json.Unmarshal([]byte(strings.NewReplacer(`"ok"`, "1", `"fail"`, "4").Replace(out[:strings.Index(out, `"counts"`)]+`"x":1}`)), &r); err != nil || code != exitDone || errs != "" {
		t.Fatalf("exit %d, %s, %s: %v", code, out, errs, err)
	}
	if r.Answer != "yes" || r.Domain != "example.com" || r.Account != "romeo@fabrikam.example" || !strings.Contains(out, `"subject": "ping"`) {
		t.Errorf("it prints %s", out)
	}
}

func TestProbeXMPPRefusesWhatItCannotDo(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	password, empty := write("password", "secret\n"), write("empty", "\n")
	for _, tt := range []struct{ line, want string }{
		{"probe xmpp example.com", "--account"},
		{"probe xmpp --account a@fabrikam.example", `expected "<domain>"`},
		{"probe xmpp -- -x --account a@fabrikam.example", "--account"},
		{"probe xmpp exa_mple..com --account a@fabrikam.example", "exa_mple..com"},
		{"probe xmpp example.com --account fabrikam.example", "no address of an account"},
		{"probe xmpp example.com --account a@example.com", "the domain of the account"},
		{"probe xmpp example.com --account a@fabrikam.example --password-file " + empty, "there is no password"},
		{"probe xmpp example.com --account a@fabrikam.example --password-file " + dir, "directory"},
		{"probe xmpp example.com --account a@fabrikam.example --password-file " + filepath.Join(dir, "none"), "no such file"},
		{"probe xmpp example.com --account a@fabrikam.example --ca " + password + " --password-file " + password, "no certificate in it"},
		{"probe xmpp example.com --account a@fabrikam.example --password secret", "unknown flag --password"},
	} {
		var o, e strings.Builder
		if code := run(strings.Fields(tt.line), streams{&o, &e}); code != exitUsage || !strings.Contains(e.String(), tt.want) || o.Len() > 0 {
			t.Errorf("%s: exit %d, %s%s, want %q", tt.line, code, o.String(), e.String(), tt.want)
		}
	}
}

func TestPasswordsAreTheFirstLine(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"secret\n", "secret"}, {"secret", "secret"}, {"secret\r\nmore\n", "secret"}, {" with blanks \n", " with blanks "}, {"", ""}, {"\nsecret", ""},
	} {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := password(path, "", nil); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: %q, %v", tt.text, got, err)
		}
	}
}

package remoteaccess

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sipedge/sipedge/sip"
)

// parse reads a message whose lines end in "\n".
func parse(t testing.TB, text string) *sip.Message {
	t.Helper()
	m := new(sip.Message)
	if err := m.Parse([]byte(strings.ReplaceAll(text, "\n", "\r\n")), sip.Limits{}); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return m
}

// request is a request of alice with more lines.
func request(t testing.TB, method string, lines ...string) *sip.Message {
	t.Helper()
	return parse(t, method+` sip:example.com SIP/2.0
Via: SIP/2.0/TLS 203.0.113.7:5061;branch=z9hG4bK1
From: <sip:alice@Example.COM.>;tag=1;epid=01010101
To: <sip:alice@example.com>
Call-ID: 1
CSeq: 1 `+method+`
Max-Forwards: 70
`+strings.Join(append(lines, ""), "\n")+"Content-Length: 0\n\n")
}

func credentialAnswer(t testing.TB, status int, lines ...string) *sip.Message {
	t.Helper()
	return parse(t, fmt.Sprintf(`SIP/2.0 %d Whatever
Via: SIP/2.0/TLS 203.0.113.7:5061;branch=z9hG4bK1
From: <sip:alice@example.com>;tag=1
To: <sip:alice@example.com>;tag=2
Call-ID: 1
CSeq: 1 REGISTER
`, status)+strings.Join(append(lines, ""), "\n")+"Content-Length: 0\n\n")
}

// ntlm3 is the last message of NTLM, as far as its names go.
func ntlm3(domain, user string, flags uint32) string {
	text := func(s string) []byte {
		if flags&ntlmUnicode == 0 {
			return []byte(s)
		}
		var b []byte
		for _, unit := range utf16.Encode([]rune(s)) {
			b = binary.LittleEndian.AppendUint16(b, unit)
		}
		return b
	}
	b := make([]byte, 64)
	copy(b, ntlmSignature)
	b[8] = ntlmAuthenticate
	binary.LittleEndian.PutUint32(b[60:], flags)
	for at, s := range map[int]string{28: domain, 36: user} {
		octets := text(s)
		binary.LittleEndian.PutUint16(b[at:], uint16(len(octets)))
		binary.LittleEndian.PutUint16(b[at+2:], uint16(len(octets)))
		binary.LittleEndian.PutUint32(b[at+4:], uint32(len(b)))
		b = append(b, octets...)
	}
	return base64.StdEncoding.EncodeToString(b)
}

var ntlm1 = base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00\x01\x00\x00\x00\x07\x82\x08\xa2"))

const gssapi = ` qop="auth", realm="SIP Communications Service", targetname="pool.example.com", `

func TestReadCredentials(t *testing.T) {
	authorization := func(values ...string) (lines []string) {
		for _, v := range values {
			lines = append(lines, "Authorization: "+v)
		}
		return lines
	}
	for _, tt := range []struct {
		name   string
		lines  []string
		scheme Scheme
		names  string
		guess  bool
		broken bool
	}{
		{"none", nil, SchemeNone, "", false, false},
		{"digest", authorization(`Digest username="alice", realm="example.com", nonce="1", uri="sip:example.com", response="0123", algorithm=SHA-256`), SchemeDigest, alice, true, false},
		{"a user with a domain", authorization(`Digest username="Alice@Example.ORG", response="1"`), SchemeDigest, "alice@example.org", true, false},
		{"a user of a domain of Windows", authorization(`digest username="CONTOSO\\Alice", response="1"`), SchemeDigest, `contoso\alice`, true, false},
		{"a domain of DNS before a user", authorization(`Digest username="example.org\\Alice"`), SchemeDigest, "alice@example.org", true, false},
		{"a URI as user", authorization(`Digest username="sip:alice@example.com"`), SchemeDigest, alice, true, false},
		{"escapes and folds", authorization("Digest\n username = \"\\al\\i\\ce\" ,\n\trealm=\"a, Digest username=\\\"x\\\"\""), SchemeDigest, alice, true, false},
		{"a name in RFC 5987", authorization(`Digest username*=UTF-8''J%C3%A4son, response="1"`), SchemeDigest, "jäson@example.com", true, false},
		{"two names", authorization(`Digest username="alice", username*=UTF-8''bob`), SchemeDigest, "", true, true},
		{"a name twice", authorization(`Digest username="alice", username="bob"`), SchemeDigest, "", true, true},
		{"a star, which no address has", authorization(`Digest username="*97"`), SchemeDigest, "%2a97@example.com", true, false},
		{"what cannot be printed", authorization("Digest username=\"a l\xffi\""), SchemeDigest, "a%20l%ef%bf%bdi@example.com", true, false},
		{"no name", authorization(`Digest response="1"`), SchemeDigest, "", true, false},
		{"several realms", authorization(`Digest username="alice", realm="a"`, `Digest username="bob", realm="b"`, `Digest username="alice", realm="c"`), SchemeDigest, alice + " " + bob, true, false},
		{"several joined by a comma", authorization(`Digest username="alice", realm="a", Digest username="bob", realm="b"`), SchemeDigest, alice + " " + bob, true, false},
		{"for a proxy", []string{`Proxy-Authorization: Digest username="alice"`}, SchemeDigest, alice, true, false},
		{"more names than anybody has", authorization(`Digest username="a"`, `Digest username="b"`, `Digest username="c"`, `Digest username="d"`), SchemeDigest, "", true, true},
		{"more fields than anybody has", authorization(slices.Repeat([]string{`Digest username="a"`}, maxAuthFields+1)...), SchemeDigest, "", true, true},
		{"more parameters than anybody has", authorization(`Digest username="a"` + strings.Repeat(", a=b", maxAuthParams)), SchemeDigest, "", true, true},
		{"a quote without an end", authorization(`Digest username="alice`), SchemeDigest, "", true, true},
		{"two values", authorization(`Digest username="alice" "bob"`), SchemeDigest, "", true, true},
		{"a semicolon", authorization(`Digest username="alice"; realm="a"`), SchemeDigest, "", true, true},
		{"nothing", authorization(``), SchemeOther, "", true, true},
		{"a parameter of nothing", authorization(`username="alice"`), SchemeOther, "", true, true},
		{"Basic", authorization(`Basic YWxpY2U6c2VjcmV0==`), SchemeOther, "", true, false},
		{"Bearer", authorization(`Bearer abc.def.ghi`), SchemeOther, "", true, false},
		{"another scheme first", authorization(`Foo a=b`, `Digest username="alice"`), SchemeDigest, alice, true, false},
		{"the beginning of NTLM", authorization(`NTLM` + gssapi + `gssapi-data="", version=4`), SchemeNTLM, "", false, false},
		{"the first message of NTLM", authorization(`NTLM` + gssapi + `gssapi-data="` + ntlm1 + `", version=4`), SchemeNTLM, "", false, false},
		{"the last message of NTLM", authorization(`NTLM` + gssapi + `opaque="1A", gssapi-data="` + ntlm3("CONTOSO", "Alice", ntlmUnicode) + `", version=4`), SchemeNTLM, `contoso\alice`, true, false},
		{"of a client without Unicode", authorization(`NTLM` + gssapi + `gssapi-data="` + ntlm3("", "ALICE", 0) + `"`), SchemeNTLM, alice, true, false},
		{"of one with a principal name", authorization(`NTLM` + gssapi + `gssapi-data="` + ntlm3("CONTOSO", "Alice@example.com", ntlmUnicode) + `"`), SchemeNTLM, alice, true, false},
		{"anonymous", authorization(`NTLM` + gssapi + `gssapi-data="` + ntlm3("", "", ntlmUnicode) + `"`), SchemeNTLM, "", true, false},
		{"no message of NTLM", authorization(`NTLM` + gssapi + `gssapi-data="AAAA"`), SchemeNTLM, "", true, false},
		{"signed by NTLM", authorization(`NTLM` + gssapi + `opaque="1A", crand="12345678", cnum="1", response="0100000000000000c0ffee0064000000"`), SchemeNTLM, "", false, false},
		{"Kerberos", authorization(`Kerberos` + gssapi + `gssapi-data="YIIB"`), SchemeKerberos, "", true, false},
		{"signed by Kerberos", authorization(`Kerberos` + gssapi + `response="602306"`), SchemeKerberos, "", false, false},
		{"TLS-DSK", authorization(`TLS-DSK` + gssapi + `gssapi-data="FgMB"`), SchemeTLSDSK, "", true, false},
		{"a guess behind the beginning of NTLM", authorization(`NTLM`+gssapi+`gssapi-data=""`, `Digest username="alice"`), SchemeNTLM, alice, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ReadCredentials(request(t, "REGISTER", tt.lines...))
			if c.Scheme != tt.scheme || c.Guess() != tt.guess || c.Broken != tt.broken || c.Present() != (tt.scheme != SchemeNone) {
				t.Errorf("got %+v", c)
			}
			if got := strings.Join(c.Names(), " "); !tt.broken && got != tt.names {
				t.Errorf("names %q, want %q", got, tt.names)
			}
		})
	}
}

func TestANameIsOneOfTheDomainThatSignsIn(t *testing.T) {
	m := parse(t, `REGISTER sip:example.com SIP/2.0
From: <sip:admin@fabrikam.example>;tag=1
To: <sip:alice@example.com>
Authorization: Digest username="alice"
Content-Length: 0

`)
	if got := ReadCredentials(m).Name(); got != alice {
		t.Errorf("REGISTER: %q", got)
	}
	m = parse(t, `MESSAGE sip:bob@fabrikam.example SIP/2.0
From: <sip:alice@Example.com>;tag=1
To: <sip:bob@fabrikam.example>
Proxy-Authorization: Digest username="alice"
Content-Length: 0

`)
	if got := ReadCredentials(m).Name(); got != alice {
		t.Errorf("MESSAGE: %q", got)
	}
	if c := ReadCredentials(credentialAnswer(t, 200, `Authorization: Digest username="alice"`)); c.Present() {
		t.Errorf("an answer brings %+v", c)
	}
}

func TestReadOutcome(t *testing.T) {
	const www, proxy = "WWW-Authenticate: ", "Proxy-Authenticate: "
	with := func(value string) []string { return []string{"Authorization: " + value} }
	plain := with(`Digest username="alice", realm="example.com", nonce="1", response="2"`)
	empty := with(`NTLM` + gssapi + `gssapi-data="", version=4`)
	first := with(`NTLM` + gssapi + `gssapi-data="` + ntlm1 + `", version=4`)
	last := with(`NTLM` + gssapi + `opaque="1A", gssapi-data="` + ntlm3("CONTOSO", "alice", ntlmUnicode) + `", version=4`)
	signed := with(`NTLM` + gssapi + `opaque="1A", crand="1", cnum="1", response="01"`)
	kerberos := with(`Kerberos` + gssapi + `gssapi-data="YIIB"`)
	dsk := with(`TLS-DSK` + gssapi + `gssapi-data="FgMB"`)
	offer := www + `NTLM realm="SIP Communications Service", targetname="pool.example.com", version=4`
	goes := www + `NTLM opaque="1A", gssapi-data="TlRM", targetname="pool.example.com", realm="SIP Communications Service", version=4`
	for _, tt := range []struct {
		name   string
		method string
		req    []string
		status int
		resp   []string
		want   Outcome
	}{
		{"a challenge to a request without credentials", "REGISTER", nil, 401, []string{www + `Digest realm="example.com", nonce="1"`}, OutcomeNone},
		{"a refusal of one without", "REGISTER", nil, 403, nil, OutcomeNone},
		{"a registration without", "REGISTER", nil, 200, nil, OutcomeAccepted},
		{"a registration", "REGISTER", plain, 200, nil, OutcomeAccepted},
		{"a message without", "MESSAGE", nil, 200, nil, OutcomeNone},
		{"a message with", "MESSAGE", plain, 202, nil, OutcomePassed},
		{"on its way", "REGISTER", plain, 100, nil, OutcomeNone},
		{"wrong", "REGISTER", plain, 401, []string{www + `Digest realm="example.com", nonce="2"`}, OutcomeFailed},
		{"wrong, as is said", "REGISTER", plain, 401, []string{www + `Digest realm="example.com", nonce="2", stale=FALSE`}, OutcomeFailed},
		{"old", "REGISTER", plain, 401, []string{www + `Digest realm="example.com", nonce="2", stale=TRUE`}, OutcomeProgress},
		{"old, in quotes", "REGISTER", plain, 401, []string{www + `Digest realm="example.com", Stale="true"`}, OutcomeProgress},
		{"old, of several algorithms", "REGISTER", plain, 401, []string{www + `Digest realm="a", algorithm=SHA-256`, www + `Digest realm="a", stale=true, algorithm=MD5`}, OutcomeProgress},
		{"old for another scheme", "REGISTER", plain, 401, []string{www + `NTLM realm="a", stale=true`}, OutcomeFailed},
		{"old for a proxy", "REGISTER", plain, 401, []string{proxy + `Digest realm="a", stale=true`}, OutcomeFailed},
		{"data for a digest", "REGISTER", plain, 401, []string{goes}, OutcomeFailed},
		{"a proxy's", "INVITE", plain, 407, []string{proxy + `Digest realm="a"`}, OutcomeFailed},
		{"a proxy's, old", "INVITE", plain, 407, []string{proxy + `Digest realm="a", stale=true`}, OutcomeProgress},
		{"forbidden", "REGISTER", plain, 403, nil, OutcomeFailed},
		{"unknown", "REGISTER", plain, 404, nil, OutcomeFailed},
		{"a message forbidden", "MESSAGE", plain, 403, nil, OutcomeNone},
		{"a message to nobody", "MESSAGE", plain, 404, nil, OutcomeNone},
		{"busy", "REGISTER", plain, 503, nil, OutcomeNone},
		{"late", "REGISTER", plain, 408, nil, OutcomeNone},
		{"too brief", "REGISTER", plain, 423, nil, OutcomeNone},
		{"away", "MESSAGE", plain, 480, nil, OutcomeNone},
		{"NTLM begins", "REGISTER", empty, 401, []string{offer, goes}, OutcomeProgress},
		{"NTLM is offered again", "REGISTER", empty, 401, []string{offer}, OutcomeProgress},
		{"NTLM goes on", "REGISTER", first, 401, []string{goes}, OutcomeProgress},
		{"NTLM ends", "REGISTER", last, 200, nil, OutcomeAccepted},
		{"NTLM fails", "REGISTER", last, 401, []string{offer}, OutcomeFailed},
		{"NTLM fails and begins anew", "REGISTER", last, 401, []string{goes}, OutcomeFailed},
		{"NTLM fails with a number", "REGISTER", empty, 401, []string{offer, `ms-diagnostics: 1000;reason="Final handshake failed";source="pool.example.com"`}, OutcomeFailed},
		{"NTLM needs another number", "REGISTER", first, 401, []string{goes, `ms-diagnostics: 1013;reason="Significant time skew"`}, OutcomeProgress},
		{"NTLM of no message", "REGISTER", with(`NTLM` + gssapi + `gssapi-data="AAAA"`), 401, []string{goes}, OutcomeFailed},
		{"a signature of a key that is forgotten", "SUBSCRIBE", signed, 401, []string{offer}, OutcomeProgress},
		{"a signed registration is refused", "REGISTER", signed, 403, nil, OutcomeFailed},
		{"Kerberos goes on", "REGISTER", kerberos, 401, []string{www + `Kerberos realm="a", gssapi-data="YII"`}, OutcomeProgress},
		{"Kerberos fails", "REGISTER", kerberos, 401, []string{www + `Kerberos realm="a"`, goes}, OutcomeFailed},
		{"TLS-DSK goes on", "REGISTER", dsk, 401, []string{www + `TLS-DSK realm="a", gssapi-data="FgMB"`}, OutcomeProgress},
		{"TLS-DSK fails", "REGISTER", dsk, 401, []string{www + `TLS-DSK realm="a"`}, OutcomeFailed},
		{"a guess behind the beginning of NTLM", "REGISTER", append(empty, plain...), 401, []string{goes}, OutcomeFailed},
		{"broken", "REGISTER", with(`Digest username="alice`), 401, []string{www + `Digest stale=true`}, OutcomeFailed},
		{"another scheme", "REGISTER", with(`Basic YWxpY2U6c2VjcmV0`), 401, []string{www + `Digest stale=true`}, OutcomeFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ReadOutcome(request(t, tt.method, tt.req...), credentialAnswer(t, tt.status, tt.resp...)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// Ten thousand people sign in as clients do: without credentials, with a nonce
// that has got old, with a good one.
func TestHonestSignInsCountNoFailure(t *testing.T) {
	s := newSentry(t, GuardConfig{})
	bare := request(t, "REGISTER")
	with := request(t, "REGISTER", `Authorization: Digest username="alice", realm="example.com", nonce="1", response="2"`)
	challenge := credentialAnswer(t, 401, `WWW-Authenticate: Digest realm="example.com", nonce="1"`)
	stale := credentialAnswer(t, 401, `WWW-Authenticate: Digest realm="example.com", nonce="2", stale=true`)
	ok := credentialAnswer(t, 200)
	source := SourceOf(digest(alice, "203.0.113.7").Source.Addr())
	for i := range 10_000 {
		a := Attempt{User: alice, Source: source}
		for _, round := range []struct{ req, resp *sip.Message }{{bare, challenge}, {with, stale}, {with, ok}} {
			a.Credentials = ReadCredentials(round.req)
			if i%2 == 1 { // others, all from one office
				a.User = user(i)
				a.Credentials.names = [maxNames]string{user(i)}
				if a.Credentials.Scheme == SchemeNone {
					a.Credentials = Credentials{}
				}
			}
			j := s.Judge(a)
			if j.Action != Pass {
				t.Fatalf("sign-in %d: %+v", i, j)
			}
			j.Ticket.Settle(a.Credentials.Outcome([]byte("REGISTER"), round.resp))
		}
	}
	if s.pairs.Len()+s.users.Len()+s.sources.Len()+s.endless.Len() != 0 || len(s.List()) != 0 || s.View().Users != 0 {
		t.Errorf("counted: %d pairs, %d users, %d sources, %+v", s.pairs.Len(), s.users.Len(), s.sources.Len(), s.View())
	}
}

func seedCredentials(f *testing.F) {
	for _, value := range []string{
		`Digest username="alice", realm="a", nonce="b", response="c"`, `Digest username*=UTF-8''%41`, `Basic YWxp==`,
		`NTLM` + gssapi + `gssapi-data="` + ntlm3("CONTOSO", "alice", ntlmUnicode) + `"`, `NTLM gssapi-data="` + ntlm1 + `", response=1`,
		`Digest a="\"", Kerberos gssapi-data=x, TLS-DSK`, `,,=`, "Digest stale=true",
	} {
		f.Add(value, value, uint16(401))
	}
}

// FuzzCredentials: whatever is claimed, it is read in bounded room; a name has one
// form; and only an answer that says so makes of a guess no failure.
func FuzzCredentials(f *testing.F) {
	seedCredentials(f)
	f.Fuzz(func(t *testing.T, sent, got string, status uint16) {
		req, resp := new(sip.Message), new(sip.Message)
		line := func(s string) string { return strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ").Replace(s) }
		if req.Parse([]byte("REGISTER sip:example.com SIP/2.0\r\nTo: <sip:a@example.com>\r\nAuthorization: "+line(sent)+"\r\nContent-Length: 0\r\n\r\n"), sip.Limits{}) != nil ||
			resp.Parse([]byte(fmt.Sprintf("SIP/2.0 %d x\r\nWWW-Authenticate: %s\r\nContent-Length: 0\r\n\r\n", 200+status%500, line(got))), sip.Limits{}) != nil {
			return
		}
		c := ReadCredentials(req)
		if !c.Present() {
			t.Error("there are credentials, and none are read")
		}
		for _, name := range c.Names() {
			if len(name) > maxName || !utf8.ValidString(name) || name != strings.TrimSpace(name) || strings.ContainsAny(name, " \t\r\n\x00") {
				t.Errorf("the name %q", name)
			}
			if again := normalName(name, "example.com"); again != name && !strings.ContainsAny(name, `\~`) { // of a long one the domain may be cut off
				t.Errorf("the name %q has another form, %q", name, again)
			}
		}
		switch o := ReadOutcome(req, resp); {
		case o == OutcomeProgress && c.Guess() && !strings.Contains(strings.ToLower(got), "stale") && !strings.Contains(strings.ToLower(got), "gssapi-data"):
			t.Errorf("a guess goes on with %q", got)
		case c.Broken && o == OutcomeProgress:
			t.Errorf("what cannot be read goes on")
		case resp.Status() == 401 && o != OutcomeProgress && o != OutcomeFailed:
			t.Errorf("a challenge is %v", o)
		}
	})
}

// FuzzNTLM: no message makes the reader look where there is nothing.
func FuzzNTLM(f *testing.F) {
	for _, data := range []string{ntlm1, ntlm3("CONTOSO", "alice", ntlmUnicode), ntlm3("C", "b", 0), "", "TlRMTVNTUAADAAAA"} {
		raw, _ := base64.StdEncoding.DecodeString(data)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, ok := readNTLM([]byte(base64.StdEncoding.EncodeToString(raw)))
		if !ok {
			return
		}
		if m.kind != ntlmNegotiate && m.kind != ntlmAuthenticate {
			t.Errorf("kind %d", m.kind)
		}
		if len(m.user) > 2*maxNTLMName || len(m.domain) > 2*maxNTLMName || len(m.name("example.com")) > maxName {
			t.Errorf("names of %d and %d octets", len(m.user), len(m.domain))
		}
		readNTLM(raw)
	})
}

func TestReadNTLM(t *testing.T) {
	whole, _ := base64.StdEncoding.DecodeString(ntlm3("CONTOSO", "alice", ntlmUnicode))
	change := func(at int, octets ...byte) string {
		b := slices.Clone(whole)
		copy(b[at:], octets)
		return base64.StdEncoding.EncodeToString(b)
	}
	for _, tt := range []struct {
		name string
		data string
		ok   bool
		user string
	}{
		{"whole", ntlm3("CONTOSO", "alice", ntlmUnicode), true, "alice"},
		{"UTF-16 where the flags say otherwise", change(60, 0), true, "alice"},
		{"the server's message", change(8, 2), false, ""},
		{"an offset behind the end", change(40, 0xff, 0xff), false, ""},
		{"an offset that wraps around", change(40, 0xff, 0xff, 0xff, 0xff), false, ""},
		{"a length behind the end", change(36, 0xff), false, ""},
		{"a length beyond all names", change(36, 0xff, 0xff), false, ""},
		{"cut off", base64.StdEncoding.EncodeToString(whole[:59]), false, ""},
		{"another signature", change(0, 'X'), false, ""},
		{"no base64", "****", false, ""},
		{"too long", strings.Repeat("A", maxNTLM+4), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, ok := readNTLM([]byte(tt.data))
			if ok != tt.ok || ok && m.user != tt.user {
				t.Errorf("got %+v, %v", m, ok)
			}
		})
	}
}

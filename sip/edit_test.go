package sip

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden holds got against testdata/NAME, in which each line stands for one that
// ends in CRLF.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	head, _, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	if n := bytes.Count(head, []byte("\n")); n != bytes.Count(head, []byte("\r\n")) || n != bytes.Count(head, []byte("\r")) {
		t.Errorf("bare CR or LF in %q", head)
	}
	text := bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n"))
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(text)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// odd is a valid request in which nothing is written the usual way.
const odd = "INVITE sip:bob@example.com;x=y SIP/2.0\n" +
	"TO :\n  sip:bob@example.com ;   tag    = 19\n" +
	"v:  SIP  / 2.0  / TCP     a.example   ;\n  branch  =   z9hG4bK9ikj8 ; rport ,\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\n z9hG4bK30239\n" +
	"from   : \"J \\\"R\\\\\"       <sip:alice@fabrikam.example>\n  ;\n  tag = 98\n" +
	"p-aSSERTED-identity\t:\n <sip:ceo@example.com>\n" +
	"MaX-fOrWaRdS: 0068\n" +
	"Call-ID: odd.1\n" +
	"Route:\n <sip:a,b@edge.example.com;lr>, \"x, y\" <sip:two.example.com;lr>  ,\n  <sip:three.example.com;lr>\n" +
	"Via  : SIP/2.0/TLS b.example;x=\"a,b\"\n" +
	"ms-edge-Future: 1\n" +
	"Content-Length   :\n  005\n" +
	"cseq: 0009\n  INVITE\n" +
	"P-Asserted-Identity: \"a\" <sip:b@c.example>, <tel:+1>\n" +
	"P_Asserted-Identity: stays\n" +
	"ROUTE: <sip:four.example.com;lr>\n" +
	"Record-route : <sip:old.example;t=OLDTOKEN>,<sip:x.example>\n" +
	"Remote-Party-id:\n" +
	"Unknown: ;;,,;  ,;\n\nbo\ndy"

func crlf(s string) []byte {
	head, body, _ := strings.Cut(s, "\n\n")
	return []byte(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body)
}

func parsed(t testing.TB, raw []byte) *Message {
	t.Helper()
	m := new(Message)
	if err := m.Parse(raw, Limits{}); err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	return m
}

const bare = "OPTIONS sip:bob@example.com SIP/2.0\nFrom: <sip:alice@fabrikam.example>;tag=1\n\n"

const plain = "SIP/2.0 200 OK\nVia: SIP/2.0/TLS edge1.example.com;branch=z9hG4bK1\n" +
	"Via: SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bK2;received=203.0.113.1\n" +
	"Record-Route: <sip:edge1.example.com;lr;t=OLDTOKEN>\nRecord-Route: <sip:edge1.example.com;lr;t=OLDTOKEN;i>\n" +
	"From: <sip:alice@fabrikam.example>;tag=1\nTo: <sip:bob@example.com>;tag=2\nCall-ID: 1\nCSeq: 1 INVITE\nContent-Length: 0\n\n"

var editCases = []struct {
	name string
	in   string
	edit Edit
}{
	{"nothing", odd, Edit{MaxForwards: -1}},
	{"forward", odd, Edit{
		URI: []byte("sip:bob@pool.example.com"), PushVia: []byte("SIP/2.0/TLS edge1.example.com;branch=z9hG4bKnew"),
		Received: []byte("203.0.113.1"), RPort: 5061, PopRoutes: 1, MaxForwards: 67,
		PushRecordRoute: [][]byte{[]byte("<sip:in.example.com;lr>"), []byte("<sip:out.example.com;lr>")},
		Drop:            NewSet(PAssertedIdentity, RemotePartyID),
		DropOther:       func(name []byte) bool { return len(name) > 8 && bytes.EqualFold(name[:8], []byte("ms-edge-")) },
		Add:             []byte("ms-edge-proxy-message-trust: x\r\n"),
	}},
	{"pop-via-of-list", odd, Edit{PopVia: true, MaxForwards: -1}},
	{"pop-via-of-fields", plain, Edit{PopVia: true, Replace: [2][]byte{[]byte("OLDTOKEN"), []byte("NEWTOKEN")}}},
	{"replace-in-list", odd, Edit{Replace: [2][]byte{[]byte("OLDTOKEN"), []byte("NEWTOKEN")}, MaxForwards: -1}},
	{"pop-two-routes", odd, Edit{PopRoutes: 2, MaxForwards: -1}},
	{"pop-one-field-of-routes", odd, Edit{PopRoutes: 3, PushRoute: []byte("<sip:new.example.com;lr>"), MaxForwards: -1}},
	{"pop-more-routes-than-there-are", odd, Edit{PopRoutes: 9, MaxForwards: -1}},
	{"drop-routes", odd, Edit{PopRoutes: 1, PushRoute: []byte("<sip:new.example.com;lr>"), Drop: NewSet(Route, RecordRoute, MaxForwards, Via, ContentLength), PushRecordRoute: [][]byte{[]byte("<sip:r.example>")}, MaxForwards: 5}},
	{"no-via", bare, Edit{PushVia: []byte("SIP/2.0/TLS edge1.example.com;branch=z9hG4bKnew"), MaxForwards: 70, PushRecordRoute: [][]byte{[]byte("<sip:r.example;lr>")}, PushRoute: []byte("<sip:s.example;lr>"), Add: []byte("X: y\r\n")}},
	{"push-path", "REGISTER sip:example.com SIP/2.0\nVia: SIP/2.0/TLS a.invalid;branch=z9hG4bK1\nPath: <sip:first.example.com;lr>, <sip:second.example.com;lr>\nCall-ID: 1\n\n", Edit{MaxForwards: -1, PushPath: []byte("<sip:t@edge1.example.com;lr;ob>")}},
	{"push-first-path", bare, Edit{MaxForwards: -1, PushPath: []byte("<sip:t@edge1.example.com;lr;ob>")}},
	{"response-keeps-no-max-forwards", plain, Edit{URI: []byte("sip:x"), Add: []byte("X: y\r\n")}},
}

func TestEdits(t *testing.T) {
	for _, tt := range editCases {
		t.Run(tt.name, func(t *testing.T) {
			golden(t, "edit/"+tt.name+".txt", parsed(t, crlf(tt.in)).Append([]byte(nil), &tt.edit))
		})
	}
}

func TestReceivedIsWhereTheRequestCameFrom(t *testing.T) {
	for _, tt := range []struct {
		name     string
		via      string
		received string
		rport    int
		want     string
	}{
		{"added", "SIP/2.0/TLS a.example;branch=x", "192.0.2.1", 0, "SIP/2.0/TLS a.example;branch=x;received=192.0.2.1"},
		{"without parameters", "SIP/2.0/TLS a.example", "192.0.2.1", 5, "SIP/2.0/TLS a.example;received=192.0.2.1"},
		{"a lie is replaced", "SIP/2.0/TLS a.example;received=10.0.0.1;branch=x", "192.0.2.1", 0, "SIP/2.0/TLS a.example;received=192.0.2.1;branch=x"},
		{"a quoted lie", `SIP/2.0/TLS a.example;received = "1,2" ;branch=x`, "192.0.2.1", 0, "SIP/2.0/TLS a.example;received=192.0.2.1 ;branch=x"},
		{"a lie without value", "SIP/2.0/TLS a.example;received;branch=x", "192.0.2.1", 0, "SIP/2.0/TLS a.example;received=192.0.2.1;branch=x"},
		{"rport filled", "SIP/2.0/TLS a.example;rport;branch=x", "192.0.2.1", 49152, "SIP/2.0/TLS a.example;rport=49152;branch=x;received=192.0.2.1"},
		{"rport with an empty value", "SIP/2.0/TLS a.example;rport=;branch=x", "192.0.2.1", 49152, "SIP/2.0/TLS a.example;rport=49152;branch=x;received=192.0.2.1"},
		{"rport behind received", "SIP/2.0/TLS a.example;received=1.1.1.1;rport", "192.0.2.1", 49152, "SIP/2.0/TLS a.example;received=192.0.2.1;rport=49152"},
		{"rport before received", "SIP/2.0/TLS a.example;rport;received=1.1.1.1", "192.0.2.1", 49152, "SIP/2.0/TLS a.example;rport=49152;received=192.0.2.1"},
		{"rport with a value stays", "SIP/2.0/TLS a.example;rport=1", "192.0.2.1", 49152, "SIP/2.0/TLS a.example;rport=1;received=192.0.2.1"},
		{"rport nobody asked for", "SIP/2.0/TLS a.example", "", 49152, "SIP/2.0/TLS a.example"},
		{"only the first of a list", "SIP/2.0/TLS a.example ,\r\n SIP/2.0/TLS b.example;rport", "192.0.2.1", 5, "SIP/2.0/TLS a.example;received=192.0.2.1 ,\r\n SIP/2.0/TLS b.example;rport"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := parsed(t, []byte(strings.Replace(request(length0, ""), "SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bK1", tt.via, 1)))
			e := Edit{RPort: tt.rport, MaxForwards: -1}
			if tt.received != "" {
				e.Received = []byte(tt.received)
			}
			out := parsed(t, m.Append(nil, &e))
			if got := string(out.Value(Via)); got != tt.want {
				t.Errorf("Via: %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestParametersOfTheTopViaThatStays(t *testing.T) {
	for _, tt := range []struct {
		name string
		vias string
		pop  bool
		recv string
		want string
	}{
		{"of a request", "a;branch=x", false, "", "a;branch=x;m=1;n"},
		{"behind received", "a;branch=x", false, "192.0.2.1", "a;branch=x;received=192.0.2.1;m=1;n"},
		{"what its sender wrote goes", "a;m=9;branch=x;M = \"a;b\" ;k;n", false, "192.0.2.1", "a;branch=x;k;received=192.0.2.1;m=1;n"},
		{"beside a lie", "a;n;received=10.0.0.1;m", false, "192.0.2.1", "a;received=192.0.2.1;m=1;n"},
		{"not of the next", "a, SIP/2.0/TLS b;m=2", false, "", "a;m=1;n, SIP/2.0/TLS b;m=2"},
		{"of an answer", "us;branch=o\r\nVia: SIP/2.0/TLS a;m=7;branch=x;n\r\nv: SIP/2.0/TLS b;m=7", true, "", "a;branch=x;m=1;n"},
		{"of an answer in one field", "us;branch=o, SIP/2.0/TLS a;m=7;branch=x, SIP/2.0/TLS b;m=7", true, "", "a;branch=x;m=1;n, SIP/2.0/TLS b;m=7"},
		{"of an answer in a list below", "us;branch=o\r\nvia:SIP/2.0/TLS a;m, SIP/2.0/TLS b;m=7", true, "", "a;m=1;n, SIP/2.0/TLS b;m=7"},
		{"the address of who answers is nobody's", "us\r\nVia: SIP/2.0/TLS a;rport;m", true, "192.0.2.1", "a;rport;m=1;n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vias := strings.ReplaceAll("SIP/2.0/TLS "+tt.vias, "us", "us.example")
			m := parsed(t, []byte(strings.Replace(request(length0, ""), "SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bK1", vias, 1)))
			e := Edit{MaxForwards: -1, PopVia: tt.pop, DropViaParams: []string{"m", "n"}, AddViaParams: []byte(";m=1;n"), RPort: 5061}
			if tt.recv != "" {
				e.Received = []byte(tt.recv)
			}
			out := parsed(t, m.Append(nil, &e))
			if got := string(out.Value(Via)); got != "SIP/2.0/TLS "+tt.want {
				t.Errorf("Via: %s\nwant SIP/2.0/TLS %s", got, tt.want)
			}
		})
	}
}

func TestBorderHeadersAreRemovedInEverySpelling(t *testing.T) {
	border := []Header{
		PAssertedIdentity, PPreferredIdentity, RemotePartyID, MSEdgeProxyMessageTrust, MSUserLogonData,
		MSSplitDomainInfo, MSInternalInfo, MSAssertedVerificationLevel, MSDiagnostics, MSDiagnosticsPublic,
	}
	for _, h := range border {
		name := h.String()
		mixed := []byte(name)
		for i := range mixed {
			if i%2 == 0 {
				mixed[i] = upper(mixed[i])
			}
		}
		for _, field := range []string{
			name + ": evil", strings.ToUpper(name) + ":evil", strings.ToLower(name) + " : evil", string(mixed) + "\t:evil",
			name + ":\r\n evil", name + " \t :\r\n\tevil,\r\n evil", name + ": <sip:evil>, \"e\" <sip:evil>", name + ": evil\r\nX: y\r\n" + name + ": evil",
		} {
			for _, start := range []string{"", "SIP/2.0 200 OK\r\n"} {
				raw := request(field+"\r\n"+length0, "")
				if start != "" {
					raw = start + strings.SplitN(raw, "\r\n", 2)[1]
				}
				out := parsed(t, []byte(raw)).Append(nil, &Edit{Drop: NewSet(border...), MaxForwards: -1})
				if bytes.Contains(out, []byte("evil")) || bytes.Contains(bytes.ToLower(out), []byte(strings.ToLower(name))) {
					t.Errorf("%q left as %q", field, out)
				}
			}
		}
	}
}

func TestZeroEditLetsNothingLoop(t *testing.T) {
	out := parsed(t, []byte(request("Max-Forwards: 70\r\n"+length0, ""))).Append(nil, &Edit{})
	if got := string(parsed(t, out).Value(MaxForwards)); got != "0" {
		t.Errorf("Max-Forwards: %s, want 0", got)
	}
}

func TestAppendKeepsWhatIsBefore(t *testing.T) {
	m := parsed(t, []byte(request(length0, "")))
	out := m.Append([]byte("before"), &Edit{MaxForwards: -1})
	if string(out) != "before"+request(length0, "") {
		t.Errorf("got %q", out)
	}
}

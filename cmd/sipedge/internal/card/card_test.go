package card

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sipedge/sipedge/certs"
)

// A desk is where cards are written: an authority and an edge's certificate.
type desk struct {
	t    testing.TB
	ca   *certs.Authority
	pair *tls.Certificate
}

func newDesk(t testing.TB, l certs.Leaf) desk {
	ca, err := certs.NewAuthority("Contoso Root")
	if err != nil {
		t.Fatal(err)
	}
	d := desk{t: t, ca: ca}
	d.pair = d.issue(l)
	return d
}

func (d desk) issue(l certs.Leaf) *tls.Certificate {
	pair, err := d.ca.Keypair(l)
	if err != nil {
		d.t.Fatal(err)
	}
	return pair.Certificate()
}

var edgeNames = []string{"edge.contoso.example", "contoso.example"}

// card is one with nothing wrong in it.
func (d desk) card(change func(*Card)) Card {
	now := time.Now().Truncate(time.Second)
	c := Card{
		Version: version,
		Domains: []string{"contoso.example"}, Edge: "edge.contoso.example", Servers: []string{"edge.contoso.example:5061"},
		Pins: []string{Pin(d.pair.Leaf)}, Usage: "client,server", CA: d.ca.Certificate().Raw,
		Contact: "Carol <carol@contoso.example>", Issued: now, Expires: now.AddDate(0, 0, 30),
	}
	if change != nil {
		change(&c)
	}
	return c
}

// raw signs what Sign would refuse.
func (d desk) raw(c Card) []byte {
	payload, err := json.Marshal(c)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.payload(string(payload))
}

func (d desk) payload(text string) []byte {
	b, err := signPayload([]byte(text), d.pair)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// parts are header, payload and signature of a card.
func parts(t testing.TB, data []byte) []string {
	text, err := unfold(data)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), ".")
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestACardIsReadAsItWasWritten(t *testing.T) {
	for name, kind := range map[string]certs.KeyType{"ECDSA": certs.P256, "Ed25519": certs.Ed25519, "RSA": certs.RSA2048} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, certs.Leaf{Names: edgeNames, KeyType: kind})
			want := d.card(nil)
			file, err := Sign(want, d.pair)
			if err != nil {
				t.Fatal(err)
			}
			mail := "Dear Alice,\r\n" + strings.ReplaceAll(string(file), "\n", "  \r\n") + "-- \r\nCarol\r\n"
			for name, text := range map[string]string{"as it is": string(file), "in a mail": mail, "on one line": strings.Join(parts(t, file), ".")} {
				s, err := Read([]byte(text))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if got, _ := json.Marshal(s.Card); string(got) != string(must(json.Marshal(want))) {
					t.Errorf("%s: read %s", name, got)
				}
				if s.Authority == nil || !s.Authority.Equal(d.ca.Certificate()) || !s.Chain[0].Equal(d.pair.Leaf) {
					t.Errorf("%s: certificates are lost", name)
				}
				if s.PeerName() != "" || s.Hosted() != nil || s.Current(time.Now()) != nil {
					t.Errorf("%s: peer name %q, hosted %q, %v", name, s.PeerName(), s.Hosted(), s.Current(time.Now()))
				}
			}
		})
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestAKeyThatCardsAreNotSignedWith(t *testing.T) {
	d := newDesk(t, certs.Leaf{Names: edgeNames, KeyType: certs.P384})
	if _, err := Sign(d.card(nil), d.pair); err == nil || !strings.Contains(err.Error(), "P-256") {
		t.Errorf("Sign with P-384: %v", err)
	}
}

func TestHostileCardsAreRefused(t *testing.T) {
	d := newDesk(t, certs.Leaf{Names: edgeNames})
	other := d.issue(certs.Leaf{Names: []string{"edge.spam.example", "spam.example"}})
	good := parts(t, d.raw(d.card(nil)))
	head := func(alg string, chain ...*x509.Certificate) string {
		var x5c [][]byte
		for _, c := range chain {
			x5c = append(x5c, c.Raw)
		}
		return b64(string(must(json.Marshal(header{alg, mediaType, x5c}))))
	}
	with := func(change func(*Card)) []byte { return d.raw(d.card(change)) }
	many := func(n int, form string) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf(form, i))
		}
		return list
	}
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "no partner card"},
		{"oversize", make([]byte, MaxOctets+1), "larger than 64 KiB"},
		{"words", []byte("hello"), "no partner card"},
		{"without an end", []byte(begin + "\nabc"), "end is missing"},
		{"not base64", []byte("!!.a.b"), "no partner card"},
		{"a header with a key of its own", []byte(b64(`{"alg":"ES256","typ":"sipedge-card","jwk":{}}`) + "." + good[1] + "." + good[2]), "header cannot be read"},
		{"a header with a critical extension", []byte(b64(`{"alg":"ES256","typ":"sipedge-card","crit":["x"]}`) + "." + good[1] + "." + good[2]), "header cannot be read"},
		{"a header that goes on", []byte(b64(`{"alg":"ES256","typ":"sipedge-card"}}`) + "." + good[1] + "." + good[2]), "something follows"},
		{"another kind of JWS", []byte(b64(`{"alg":"ES256","typ":"JWT"}`) + "." + good[1] + "." + good[2]), "no partner card"},
		{"alg none", []byte(head("none", d.pair.Leaf) + "." + good[1] + "."), `"none"`},
		{"an HMAC with the public key", []byte(head("HS256", d.pair.Leaf) + "." + good[1] + "." + good[2]), `"HS256"`},
		{"the algorithm of another kind of key", []byte(head("RS256", d.pair.Leaf) + "." + good[1] + "." + good[2]), "which its key is not for"},
		{"no certificate", []byte(head("ES256") + "." + good[1] + "." + good[2]), "0 certificates"},
		{"eleven certificates", []byte(head("ES256", slices.Repeat([]*x509.Certificate{d.pair.Leaf}, 11)...) + "." + good[1] + "." + good[2]), "11 certificates"},
		{"a certificate that is none", []byte(b64(`{"alg":"ES256","typ":"sipedge-card","x5c":["AAAA"]}`) + "." + good[1] + "." + good[2]), "cannot be read"},
		{"another's certificate", []byte(head("ES256", other.Leaf) + "." + good[1] + "." + good[2]), "signature is wrong"},
		{"the header of another", []byte(head("ES256", d.pair.Leaf, other.Leaf) + "." + good[1] + "." + good[2]), "signature is wrong"},
		{"changed words", []byte(good[0] + "." + b64(`{"version":1}`) + "." + good[2]), "signature is wrong"},
		{"no signature", []byte(good[0] + "." + good[1] + "."), "signature"},
		{"a weak key", weakly(t, d, weak), "2048"},

		{"deep JSON", d.payload(strings.Repeat("[", 20000)), "nested too deep"},
		{"deep JSON in an unknown field", d.payload(`{"x":` + strings.Repeat(`{"x":`, 9) + "1" + strings.Repeat("}", 10)), "nested too deep"},
		{"not JSON", d.payload("hello"), "not the JSON"},
		{"two cards in one", d.payload("{}{}"), "something follows"},
		{"another version", with(func(c *Card) { c.Version = 2 }), "version 2"},
		{"no domain", with(func(c *Card) { c.Domains = nil }), "no domain"},
		{"many domains", with(func(c *Card) { c.Domains = many(65, "d%d.contoso.example") }), "65 domains"},
		{"a domain twice", with(func(c *Card) { c.Domains = []string{"contoso.example", "contoso.example"} }), "twice"},
		{"a domain that is not in normal form", with(func(c *Card) { c.Domains = []string{"Contoso.example"} }), "normal form"},
		{"a domain in Unicode", with(func(c *Card) { c.Domains = []string{"bücher.example"} }), "normal form"},
		{"a domain that moves the cursor", with(func(c *Card) { c.Domains = []string{"\x1b[2Jcontoso.example"} }), `"\x1b[2Jcontoso.example"`},
		{"a wildcard", with(func(c *Card) { c.Domains = []string{"*.contoso.example"} }), "normal form"},
		{"no server", with(func(c *Card) { c.Servers = nil }), "no server"},
		{"many servers", with(func(c *Card) { c.Servers = many(17, "s%d.contoso.example:5061") }), "17 servers"},
		{"a server without a port", with(func(c *Card) { c.Servers = []string{"edge.contoso.example"} }), "host with a port"},
		{"a server with a strange port", with(func(c *Card) { c.Servers = []string{"edge.contoso.example:05061"} }), "host with a port"},
		{"a server with a user", with(func(c *Card) { c.Servers = []string{"a@edge.contoso.example:5061"} }), "host with a port"},
		{"an edge that is no name", with(func(c *Card) { c.Edge = "a b" }), "not a host name"},
		{"a use that moves the cursor", with(func(c *Card) { c.Usage = "client,\x1b[2J" }), `"\x1b[2J" is not what`},
		{"many keys", with(func(c *Card) { c.Pins = slices.Repeat(c.Pins, 9) }), "9 keys"},
		{"a pin that is none", with(func(c *Card) { c.Pins = []string{"sha256/AAAA"} }), "not the pin"},
		{"without its own key", with(func(c *Card) { c.Pins = []string{Pin(other.Leaf)} }), "none of the keys that it names"},
		{"a long contact", with(func(c *Card) { c.Contact = strings.Repeat("x", MaxContact+1) }), "contact"},
		{"for longer than a year", with(func(c *Card) { c.Expires = c.Issued.AddDate(2, 0, 0) }), "more than 366 days"},
		{"that ends before it begins", with(func(c *Card) { c.Expires = c.Issued.Add(-1) }), "ends before"},
		{"another's domain and edge", with(func(c *Card) { c.Domains, c.Edge = []string{"fabrikam.example"}, "edge.fabrikam.example" }), "names neither fabrikam.example"},
		{"its domain, and another's server", with(func(c *Card) {
			c.Servers, c.Edge = []string{"192.0.2.1:5061"}, "edge.fabrikam.example"
		}), "not that of the edge"},
		{"an authority that is none", with(func(c *Card) { c.CA = other.Leaf.Raw }), "no authority"},
		{"an authority that is no certificate", with(func(c *Card) { c.CA = []byte("x") }), "no certificate"},
		{"another's authority", with(func(c *Card) { c.CA = newDesk(t, certs.Leaf{Names: edgeNames}).ca.Certificate().Raw }), "did not sign"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Read(tt.data)
			if err == nil {
				t.Fatalf("it is read: %+v", s.Card)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it is refused because %q, want %q", err, tt.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b\r\x00") {
				t.Errorf("the refusal can move a cursor: %q", err)
			}
		})
	}
}

// weakly signs a card with a key of 1024 bits.
func weakly(t *testing.T, d desk, key *rsa.PrivateKey) []byte {
	pair := d.issue(certs.Leaf{Names: edgeNames, Key: key})
	options := new(jose.SignerOptions).WithType(mediaType).WithHeader("x5c", [][]byte{pair.Leaf.Raw})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(must(json.Marshal(d.card(nil))))
	if err != nil {
		return []byte(b64(string(must(json.Marshal(header{"RS256", mediaType, [][]byte{pair.Leaf.Raw}})))) + ".e30.AAAA")
	}
	return []byte(must2(jws.CompactSerialize()))
}

func must2(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

func TestACardIsGoodForATime(t *testing.T) {
	d := newDesk(t, certs.Leaf{Names: edgeNames})
	c := d.card(nil)
	for at, want := range map[time.Time]string{
		c.Issued.Add(-time.Hour): "yet to come", c.Issued.Add(-time.Minute): "",
		c.Expires.Add(-time.Second): "", c.Expires.Add(time.Second): "ask for a new one",
	} {
		if err := c.Current(at); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("at %s: %v, want %q", at, err, want)
		}
	}
}

func TestOneEdgeMayAnswerForMany(t *testing.T) {
	d := newDesk(t, certs.Leaf{Names: edgeNames})
	s, err := Read(d.raw(d.card(func(c *Card) {
		c.Domains = []string{"contoso.example", "northwind.example"}
		c.Servers = []string{"192.0.2.7:5061", "[2001:db8::1]:5061"}
	})))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Hosted(); !slices.Equal(got, []string{"northwind.example"}) || s.PeerName() != "edge.contoso.example" {
		t.Errorf("hosted %q, peer name %q", got, s.PeerName())
	}
}

func TestThePrivateAuthorityIsFound(t *testing.T) {
	d := newDesk(t, certs.Leaf{Names: edgeNames})
	root := d.ca.Certificate()
	stranger := newDesk(t, certs.Leaf{Names: edgeNames}).ca.Certificate()
	for _, tt := range []struct {
		name       string
		system     *x509.CertPool
		candidates []*x509.Certificate
		want       *x509.Certificate
		known      bool
	}{
		{"everybody has it", d.ca.Pool(), nil, nil, true},
		{"it is among ours", nil, []*x509.Certificate{stranger, root}, root, true},
		{"nobody knows it", x509.NewCertPool(), []*x509.Certificate{stranger}, nil, false},
	} {
		if ca, known := PrivateAuthority(d.pair, tt.system, tt.candidates); ca != tt.want || known != tt.known {
			t.Errorf("%s: %v, %v", tt.name, ca, known)
		}
	}
}

func TestTheFingerprintIsForTheTelephone(t *testing.T) {
	d := newDesk(t, certs.Leaf{Names: edgeNames})
	got := Fingerprint(d.pair.Leaf)
	if groups := strings.Fields(got); len(groups) != 8 || len(got) != 8*4+7 || strings.ToUpper(got) != got {
		t.Errorf("Fingerprint = %q", got)
	}
}

// FuzzRead holds what must be so for any file: no panic, and a card that is read
// keeps its bounds and names only what is a name.
func FuzzRead(f *testing.F) {
	d := newDesk(f, certs.Leaf{Names: edgeNames})
	for _, c := range []Card{d.card(nil), d.card(func(c *Card) { c.Contact = "\x1b[2J" }), d.card(func(c *Card) { c.Domains = nil })} {
		file := d.raw(c)
		f.Add(file)
		f.Add([]byte(strings.Join(parts(f, file), ".")))
	}
	f.Add([]byte("..."))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Read(data)
		if err != nil {
			return
		}
		if len(s.Domains) == 0 || len(s.Domains) > MaxDomains || len(s.Servers) > MaxServers || s.Valid() != nil || len(s.Chain) == 0 {
			t.Errorf("read a card that is none: %+v", s.Card)
		}
	})
}

// FuzzPayload holds the same for what is signed: whoever has a certificate can
// sign anything.
func FuzzPayload(f *testing.F) {
	d := newDesk(f, certs.Leaf{Names: edgeNames})
	f.Add(must(json.Marshal(d.card(nil))))
	f.Add([]byte(`{"version":1,"domains":["contoso.example"],"issued":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var c Card
		if decode(payload, &c, true) != nil || c.Valid() != nil {
			return
		}
		for _, name := range slices.Concat(c.Domains, c.Servers, []string{c.Edge}) {
			if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("a card may name %q", name)
			}
		}
	})
}

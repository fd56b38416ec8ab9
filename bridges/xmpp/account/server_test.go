package account

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const (
	user     = "romeo@example.net"
	password = "Montague"
	full     = user + "/orchard"
)

// A server is one of XMPP for one user, as far as a test needs it.
type server struct {
	t      *testing.T
	l      net.Listener
	tls    *tls.Config
	roots  *x509.CertPool
	direct bool

	mechanisms []string
	before     string                           // goes out before TLS, behind <proceed/>
	proof      string                           // instead of the one that shows that the password is known
	rounds     string                           // of SCRAM
	refuse     string                           // the condition with which a login fails
	bound      string                           // the address that is given
	offer      func(features *stanza.Element)   // changes what is offered
	binding    func(iq, answer *stanza.Element) // changes the answer to a binding
	plain      func(c *stream)                  // instead of everything
	peers      chan *stream                     // those who have logged in
	failed     chan error                       // logins that came to nothing
}

// newServer begins one with a certificate for some names.
func newServer(t *testing.T, names ...string) *server {
	t.Helper()
	if len(names) == 0 {
		names = []string{"example.net"}
	}
	cert, roots, _ := certificate(t, names...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &server{
		t: t, l: l, roots: roots, mechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"}, bound: full,
		tls:   &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"xmpp-client"}},
		peers: make(chan *stream, 16), failed: make(chan error, 16),
	}
	return s
}

// serve takes connections. Whatever of s is to be otherwise is set before.
func (s *server) serve() *server {
	go func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			go func() {
				peer, err := s.login(newStream(c))
				if err != nil {
					c.Close()
					s.failed <- err
					return
				}
				s.peers <- peer
			}()
		}
	}()
	return s
}

// account is the user's, with all that leads to this server.
func (s *server) account() Account {
	return Account{JID: user, Password: password, Server: s.l.Addr().String(), Direct: s.direct, TLS: &tls.Config{RootCAs: s.roots}}
}

// peer waits for somebody who logs in.
func (s *server) peer() *stream {
	s.t.Helper()
	select {
	case p := <-s.peers:
		s.t.Cleanup(func() { p.Close() })
		return p
	case err := <-s.failed:
		s.t.Fatalf("the server saw a login fail: %v", err)
	case <-time.After(time.Minute):
		s.t.Fatal("nobody has logged in")
	}
	return nil
}

func (s *server) login(c *stream) (*stream, error) {
	if s.plain != nil {
		s.plain(c)
		return nil, fmt.Errorf("that was all")
	}
	var secure *tls.Conn
	if s.direct {
		secure = tls.Server(c.Conn, s.tls)
	} else {
		if err := s.open(c, stanza.New(nsTLS, "starttls")); err != nil {
			return nil, err
		}
		if e, err := c.next(); err != nil || !e.Is(nsTLS, "starttls") {
			return nil, fmt.Errorf("%v, %w", e, err)
		}
		if err := c.octets(append(stanza.AppendFor(nil, stanza.New(nsTLS, "proceed"), stanza.NSClient), s.before...)); err != nil {
			return nil, err
		}
		secure = tls.Server(c.Conn, s.tls)
	}
	if err := secure.Handshake(); err != nil {
		return nil, err
	}
	c = newStream(secure)
	list := stanza.New(nsSASL, "mechanisms")
	for _, m := range s.mechanisms {
		list.AddText(nsSASL, "mechanism", m)
	}
	if err := s.open(c, list); err != nil {
		return nil, err
	}
	if err := s.authenticate(c); err != nil {
		return nil, err
	}
	c.reader.Reset(c)
	if err := s.open(c, stanza.New(nsBind, "bind")); err != nil {
		return nil, err
	}
	return c, s.bind(c)
}

// open begins a stream of both sides.
func (s *server) open(c *stream, features ...*stanza.Element) error {
	if _, err := c.reader.Open(); err != nil {
		return err
	}
	if err := c.begin(attr("from", "example.net"), attr("id", "s1"), attr("version", "1.0")); err != nil {
		return err
	}
	e := stanza.New(stanza.NSStreams, "features")
	e.Children = features
	if s.offer != nil {
		s.offer(e)
	}
	return c.write(e)
}

func (s *server) authenticate(c *stream) error {
	e, err := c.next()
	if err != nil {
		return err
	}
	first, _ := base64.StdEncoding.DecodeString(e.Text)
	success := stanza.New(nsSASL, "success")
	ok := false
	switch e.Attr("mechanism") {
	case "PLAIN":
		ok = string(first) == "\x00romeo\x00"+password
	case "SCRAM-SHA-256":
		var proof string
		if ok, proof, err = s.scram(c, string(first)); err != nil {
			return err
		}
		if s.proof != "" {
			proof = s.proof
		}
		success.Text = base64.StdEncoding.EncodeToString([]byte("v=" + proof))
	}
	if !ok || s.refuse != "" {
		failure := stanza.New(nsSASL, "failure")
		condition := s.refuse
		if condition == "" {
			condition = "not-authorized"
		}
		failure.Add(stanza.New(nsSASL, condition))
		failure.AddText(nsSASL, "text", "Thou art banished")
		return fmt.Errorf("%s: %w", condition, c.write(failure))
	}
	return c.write(success)
}

// scram is the server's side of RFC 5802.
func (s *server) scram(c *stream, first string) (ok bool, proof string, err error) {
	bare, found := strings.CutPrefix(first, "n,,")
	if !found {
		return false, "", fmt.Errorf("%q", first)
	}
	nonce := bare[strings.Index(bare, ",r=")+3:] + "server"
	challenge := "r=" + nonce + ",s=" + base64.StdEncoding.EncodeToString([]byte("salt")) + ",i=" + cmp.Or(s.rounds, "4096")
	e := stanza.New(nsSASL, "challenge")
	e.Text = base64.StdEncoding.EncodeToString([]byte(challenge))
	if err := c.write(e); err != nil {
		return false, "", err
	}
	if e, err = c.next(); err != nil {
		return false, "", err
	}
	final, _ := base64.StdEncoding.DecodeString(e.Text)
	without, given, _ := strings.Cut(string(final), ",p=")
	salted, err := pbkdf2.Key(sha256.New, password, []byte("salt"), 4096, 32)
	if err != nil {
		return false, "", err
	}
	sign := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	key := sign(salted, "Client Key")
	stored := sha256.Sum256(key)
	all := bare + "," + challenge + "," + without
	want := sign(stored[:], all)
	for i := range want {
		want[i] ^= key[i]
	}
	proof = base64.StdEncoding.EncodeToString(sign(sign(salted, "Server Key"), all))
	return given == base64.StdEncoding.EncodeToString(want) && bare[:8] == "n=romeo,", proof, nil
}

func (s *server) bind(c *stream) error {
	e, err := c.next()
	if err != nil {
		return err
	}
	answer := result(e)
	answer.Add(stanza.New(nsBind, "bind")).AddText(nsBind, "jid", s.bound)
	if s.binding != nil {
		s.binding(e, answer)
	}
	return c.write(answer)
}

// certificate makes an authority, and a certificate of it for some names.
func certificate(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool, string) {
	t.Helper()
	dir := t.TempDir()
	make := func(template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	above, own := key(), key()
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	authority = make(authority, authority, above, above)
	leaf := make(&x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature}, authority, own, above)
	roots := x509.NewCertPool()
	roots.AddCert(authority)

	der, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	var both bytes.Buffer
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: leaf.Raw}, "key.pem": {Type: "PRIVATE KEY", Bytes: der}, "ca.pem": {Type: "CERTIFICATE", Bytes: authority.Raw},
	} {
		text := pem.EncodeToMemory(block)
		if name != "ca.pem" {
			both.Write(text)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "both.pem"), both.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: own}, roots, dir
}

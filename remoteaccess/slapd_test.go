package remoteaccess

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sipedge/sipedge/certs"
)

// A slapd is OpenLDAP's server, run by a test on a port of its own.
type slapd struct {
	t       *testing.T
	dir     string
	address string // of ldap://
	secured string // of ldaps://
	process *exec.Cmd
}

const (
	slapdPassword = "s3cret"
	slapdAdmin    = "cn=admin,dc=example,dc=com"
)

const slapdConfig = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile %[1]s/slapd.pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
database mdb
suffix "dc=example,dc=com"
rootdn "%[2]s"
rootpw %[3]s
directory %[1]s/data
access to * by anonymous auth by * read
overlay memberof
`

// newSlapd makes a directory with people in it. Tests that need one are left out
// where OpenLDAP is not installed, but not where CI or SIPEDGE_INTEROP is set.
func newSlapd(t *testing.T) *slapd {
	t.Helper()
	path, err := exec.LookPath("slapd")
	if err != nil {
		if path = "/usr/sbin/slapd"; !exists(path) {
			if os.Getenv("CI") != "" || os.Getenv("SIPEDGE_INTEROP") != "" {
				t.Fatal("slapd is not installed")
			}
			t.Skip("slapd is not installed")
		}
	}
	s := &slapd{t: t, dir: t.TempDir(), address: freePort(t), secured: freePort(t)}
	s.copy(path)
	s.write("slapd.conf", fmt.Appendf(nil, slapdConfig, s.dir, slapdAdmin, slapdPassword))
	s.write("password", []byte(slapdPassword+"\n"))
	authority, err := certs.NewAuthority("directory")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.Issue(certs.Leaf{IPs: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	s.write("ca.pem", authority.PEM())
	s.write("cert.pem", cert)
	s.write("key.pem", key)
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.fill()
	return s
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// copy takes a copy of the program: a confined one may not read the test's folder.
func (s *slapd) copy(path string) {
	s.t.Helper()
	from, err := os.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(s.dir, "slapd"), os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err = io.Copy(to, from); err == nil {
		err = to.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *slapd) write(name string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *slapd) path(name string) string { return filepath.Join(s.dir, name) }

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the server and waits until it answers.
func (s *slapd) start() {
	s.t.Helper()
	var said bytes.Buffer
	c := exec.Command(s.path("slapd"), "-d", "0", "-f", s.path("slapd.conf"), "-h", "ldap://"+s.address+"/ ldaps://"+s.secured+"/")
	c.Stderr = &said
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = c
	s.t.Cleanup(s.stop)
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := net.Dial("tcp", s.secured)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			s.stop()
			s.t.Fatalf("slapd does not answer: %v\n%s", err, said.String())
		}
	}
}

// stop ends the server, all at once.
func (s *slapd) stop() {
	if s.process != nil {
		s.process.Process.Kill()
		s.process.Wait()
		s.process = nil
	}
}

// admin changes what is in the directory.
func (s *slapd) admin(change func(*ldap.Conn) error) {
	s.t.Helper()
	conn, err := ldap.DialURL("ldap://" + s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if err = conn.Bind(slapdAdmin, slapdPassword); err == nil {
		err = change(conn)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *slapd) add(dn string, attributes map[string][]string) {
	s.t.Helper()
	s.admin(func(conn *ldap.Conn) error {
		r := ldap.NewAddRequest(dn, nil)
		for name, values := range attributes {
			r.Attribute(name, values)
		}
		return conn.Add(r)
	})
}

func (s *slapd) person(uid string, mail ...string) string {
	s.t.Helper()
	dn := "uid=" + uid + ",dc=example,dc=com"
	s.add(dn, map[string][]string{"objectClass": {"inetOrgPerson"}, "uid": {uid}, "cn": {uid}, "sn": {uid}, "mail": mail})
	return dn
}

func (s *slapd) fill() {
	s.t.Helper()
	s.add("dc=example,dc=com", map[string][]string{"objectClass": {"dcObject", "organization"}, "dc": {"example"}, "o": {"Example"}})
	alice, bob := s.person("alice", "Alice@Example.com"), s.person("bob", "bob@example.com")
	s.person("carol", "carol@example.com")
	s.person("twin1", "twin@example.com")
	s.person("twin2", "twin@example.com")
	s.add("cn=Inside \\2B Sales,dc=example,dc=com", map[string][]string{"objectClass": {"groupOfNames"}, "cn": {"Inside + Sales"}, "member": {alice, bob}})
	s.add("cn=others,dc=example,dc=com", map[string][]string{"objectClass": {"groupOfNames"}, "cn": {"others"}, "member": {alice}})
}

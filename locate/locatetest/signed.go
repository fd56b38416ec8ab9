package locatetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// A SignedZone is a zone below "example." for real servers to serve.
type SignedZone struct {
	Name string // "fabrikam.example"
	Text string // its records, but for SOA and NS; names without a final dot are in it
	// Unsigned is that the zone above says that this one is not signed (RFC 4035
	// §5.2).
	Unsigned bool
	// Expired is that all signatures have ended.
	Expired bool
	// Damaged are records whose signatures are wrong: "xmpp A".
	Damaged []string
}

// A SignedServer is a resolver that checks signatures, Unbound, and behind it a server
// of signed zones, NSD. Both run until Close.
type SignedServer struct {
	Addr   string // of the resolver, on loopback
	Anchor string // the DS record of "example.", with which it begins
	dir    string
	run    []program
}

// A program runs until done is closed.
type program struct {
	*exec.Cmd
	done chan struct{}
}

// ServeSigned signs zones with the tools of ldns, and serves them. The files lie in
// dir. The error is around exec.ErrNotFound if a program is not installed.
func ServeSigned(dir string, zones ...SignedZone) (*SignedServer, error) {
	for _, p := range []string{"nsd", "unbound", "ldns-keygen", "ldns-signzone"} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, err
		}
	}
	s := &SignedServer{dir: dir}
	if err := s.start(zones); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *SignedServer) start(zones []SignedZone) error {
	above, files := "", map[string]string{}
	for _, z := range zones {
		file, ds, err := s.write(z)
		if err != nil {
			return fmt.Errorf("zone %s: %w", z.Name, err)
		}
		files[z.Name] = file
		above += fmt.Sprintf("%[1]s. IN NS ns.%[1]s.\nns.%[1]s. IN A 127.0.0.1\n", z.Name)
		if !z.Unsigned {
			above += ds + "\n"
		}
	}
	file, ds, err := s.write(SignedZone{Name: "example", Text: above})
	if err != nil {
		return fmt.Errorf("zone example: %w", err)
	}
	files["example"], s.Anchor = file, ds
	// A port that is free now may not be in a moment.
	for try := 0; ; try++ {
		err := s.serve(files)
		if err == nil || try == 3 {
			return err
		}
		s.stop()
	}
}

// write makes the file of a zone, signed if it is to be, and returns it with the DS
// record for the zone above.
func (s *SignedServer) write(z SignedZone) (file, ds string, err error) {
	file = filepath.Join(s.dir, z.Name+".zone")
	text := fmt.Sprintf("$ORIGIN %[1]s.\n$TTL 300\n@ IN SOA ns.%[1]s. admin.%[1]s. 1 3600 600 86400 60\n@ IN NS ns.%[1]s.\nns IN A 127.0.0.1\n%[2]s", z.Name, z.Text)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil || z.Unsigned {
		return file, "", err
	}
	base, err := s.tool("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", z.Name+".")
	if err != nil {
		return "", "", err
	}
	args := []string{"-f", file + ".signed"}
	if z.Expired {
		args = append(args, "-i", "20200101000000", "-e", "20200201000000")
	}
	if _, err := s.tool("ldns-signzone", append(args, file, base)...); err != nil {
		return "", "", err
	}
	octets, err := os.ReadFile(filepath.Join(s.dir, base+".ds"))
	if err != nil {
		return "", "", err
	}
	return file + ".signed", strings.Join(strings.Fields(string(octets)), " "), s.damage(file+".signed", z)
}

// damage spoils signatures.
func (s *SignedServer) damage(file string, z SignedZone) error {
	octets, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := strings.Split(string(octets), "\n")
	for _, d := range z.Damaged {
		name, kind, _ := strings.Cut(d, " ")
		found := false
		for i, line := range lines {
			f := strings.Fields(line)
			if len(f) < 13 || !strings.EqualFold(f[0], name+"."+z.Name+".") || f[3] != "RRSIG" || f[4] != kind {
				continue
			}
			last := []byte(f[12])
			if last[0]++; last[0] == 'z'+1 || last[0] == 'Z'+1 || last[0] == '9'+1 {
				last[0] = 'A'
			}
			f[12], found = string(last), true
			lines[i] = strings.Join(f, "\t")
		}
		if !found {
			return fmt.Errorf("no signature of %s", d)
		}
	}
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600)
}

// tool runs a program to its end, and returns the first line that it printed.
func (s *SignedServer) tool(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	cmd.Dir, cmd.Stderr = s.dir, &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, said.Bytes())
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// serve runs both servers, and waits until the resolver answers.
func (s *SignedServer) serve(files map[string]string) error {
	port, err := freePorts(2)
	if err != nil {
		return err
	}
	nsd := fmt.Sprintf(`server:
  ip-address: 127.0.0.1@%s
  username: ""
  chroot: ""
  zonesdir: %q
  database: ""
  pidfile: %[3]q
  xfrdfile: %[4]q
  zonelistfile: %[5]q
  xfrdir: %[2]q
  server-count: 1
remote-control:
  control-enable: no
`, port[0], s.dir, s.dir+"/nsd.pid", s.dir+"/nsd.xfrd", s.dir+"/nsd.list")
	unbound := fmt.Sprintf(`server:
  interface: 127.0.0.1@%s
  username: ""
  chroot: ""
  directory: %q
  pidfile: %[3]q
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  do-not-query-localhost: no
  module-config: "validator iterator"
  trust-anchor: %[4]q
`, port[1], s.dir, s.dir+"/unbound.pid", s.Anchor)
	for name, file := range files {
		nsd += fmt.Sprintf("zone:\n  name: %q\n  zonefile: %q\n", name, file)
		unbound += fmt.Sprintf("stub-zone:\n  name: %q\n  stub-addr: 127.0.0.1@%s\n", name, port[0])
	}
	for name, text := range map[string]string{"nsd.conf": nsd, "unbound.conf": unbound} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := s.begin("nsd", "-d", "-c", s.dir+"/nsd.conf"); err != nil {
		return err
	}
	if err := s.answers("127.0.0.1:" + port[0]); err != nil {
		return err
	}
	if err := s.begin("unbound", "-d", "-p", "-c", s.dir+"/unbound.conf"); err != nil {
		return err
	}
	s.Addr = "127.0.0.1:" + port[1]
	return s.answers(s.Addr)
}

// freePorts finds ports that nobody uses.
func freePorts(n int) (ports []string, err error) {
	for range n {
		pc, ln, err := listen()
		if err != nil {
			return nil, err
		}
		defer pc.Close()
		defer ln.Close()
		_, port, _ := strings.Cut(ln.Addr().String(), ":")
		ports = append(ports, port)
	}
	return ports, nil
}

// begin starts a program that runs until stop.
func (s *SignedServer) begin(name string, args ...string) error {
	out, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	p := program{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	s.run = append(s.run, p)
	return nil
}

// answers waits until a server does.
func (s *SignedServer) answers(addr string) error {
	c := dns.Client{Timeout: 200 * time.Millisecond}
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		var m *dns.Msg
		m, _, err = c.Exchange(new(dns.Msg).SetQuestion("example.", dns.TypeSOA), addr)
		if err == nil && len(m.Answer) > 0 {
			return nil
		}
		if err == nil {
			err = errors.New(m.String())
		}
		select {
		case <-s.run[len(s.run)-1].done:
			return fmt.Errorf("it ended\n%s", s.Log())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("no answer at %s: %w\n%s", addr, err, s.Log())
}

// Log returns what both servers have said.
func (s *SignedServer) Log() string {
	var all strings.Builder
	for _, name := range []string{"nsd.log", "unbound.log"} {
		f, err := os.Open(filepath.Join(s.dir, name))
		if err != nil {
			continue
		}
		_, _ = io.Copy(&all, io.LimitReader(f, 64<<10))
		f.Close()
	}
	return all.String()
}

func (s *SignedServer) stop() {
	for _, p := range s.run {
		_ = p.Process.Signal(syscall.SIGTERM)
		t := time.AfterFunc(5*time.Second, func() { _ = p.Process.Kill() })
		<-p.done
		t.Stop()
	}
	s.run = nil
}

// Close ends both servers.
func (s *SignedServer) Close() { s.stop() }

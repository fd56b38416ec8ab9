package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

type explainCommand struct {
	configFlag
	From     string `required:"" placeholder:"USER@DOMAIN" help:"Who sends. If the domain is ours and there is no --cert, the request comes from inside."`
	To       string `required:"" placeholder:"USER@DOMAIN" help:"To whom."`
	Method   string `default:"MESSAGE" help:"Which method. Default: ${default}."`
	Cert     string `placeholder:"FILE" help:"The certificate that the peer shows, with its chain (PEM). Default: one that proves what it should."`
	Listener string `placeholder:"NAME" help:"The federation listener that the request comes to. Default: the first by name."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

// Run asks the doors about a request that nobody sent.
func (c explainCommand) Run(s streams) error {
	set, e, err := setup(c.Config, slog.New(slog.DiscardHandler), s.err)
	if err != nil {
		return err
	}
	defer e.Close()
	q, certificate, err := c.query(set.Edge)
	if err != nil {
		return exit{exitUsage, err}
	}
	report := newReport(q)
	if certificate.Name != "" {
		report.add(certificate)
	}
	if certificate.Name == "" || certificate.Passed {
		x, err := e.Explain(q)
		if err != nil {
			return err
		}
		report.conclude(x)
	} else {
		report.refusedAtHandshake(certificate)
	}
	if err := report.print(s.out, c.JSON); err != nil {
		return err
	}
	if !report.Allowed {
		return exit{code: exitNo}
	}
	return nil
}

// query makes the question, and the step that judges the peer's certificate; a
// request from inside has none.
func (c explainCommand) query(conf edge.Config) (edge.Query, edge.Step, error) {
	from, fromDomain, err := address(c.From)
	if err != nil {
		return edge.Query{}, edge.Step{}, fmt.Errorf("--from: %w", err)
	}
	to, _, err := address(c.To)
	if err != nil {
		return edge.Query{}, edge.Step{}, fmt.Errorf("--to: %w", err)
	}
	if strings.ContainsFunc(c.Method, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || c.Method == "" {
		return edge.Query{}, edge.Step{}, fmt.Errorf("--method: %q is not a SIP method", c.Method)
	}
	if _, err := c.listener(conf); c.Listener != "" && err != nil {
		return edge.Query{}, edge.Step{}, fmt.Errorf("--listener: %w", err)
	}
	q := edge.Query{From: from, To: to, Method: c.Method}
	if c.Cert == "" && ours(conf.Domains, fromDomain) {
		q.Inside = true
		return q, edge.Step{}, nil
	}
	step := edge.Step{Name: "certificate"}
	if c.Cert == "" {
		q.Peer, err = assumed(fromDomain)
		step.Detail, step.Passed = "assumed: one that speaks for "+fromDomain, true
		return q, step, err
	}
	q.Peer, err = c.identify(conf)
	var refused *certs.VerifyError
	switch {
	case errors.As(err, &refused):
		step.Detail, step.Reason = refused.Error(), allowlists.IdentityNone
		return q, step, nil
	case err != nil:
		return q, step, fmt.Errorf("--cert: %w", err)
	}
	step.Detail, step.Passed = proves(q.Peer), true
	return q, step, nil
}

// proves says what a certificate proved, and why one that passed proves nothing.
func proves(id *certs.Identity) string {
	if len(id.Domains()) > 0 || len(id.Hosts()) > 0 {
		return "proves " + id.String()
	}
	return "names no domain or host exactly: " + id.String()
}

// address reads USER@DOMAIN, with or without a scheme, and brings the domain
// into normal form.
func address(s string) (addr, domain string, err error) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "sips:"), "sip:")
	at := strings.LastIndexByte(s, '@')
	user, domain := s[:max(at, 0)], s[at+1:]
	if user == "" || strings.ContainsAny(user, " \t\r\n<>\"@") {
		return "", "", fmt.Errorf("%q is not USER@DOMAIN", s)
	}
	domain, err = federation.Normal(domain)
	if err != nil {
		return "", "", fmt.Errorf("%q: %w", s, err)
	}
	return user + "@" + domain, domain, nil
}

func ours(domains []string, domain string) bool {
	return slices.ContainsFunc(domains, func(d string) bool {
		n, err := federation.Normal(d)
		return err == nil && n == domain
	})
}

// assumed is an identity that proves a domain, for a question about the lists
// alone.
func assumed(domain string) (*certs.Identity, error) {
	authority, err := certs.NewAuthority("explain")
	if err != nil {
		return nil, err
	}
	pair, err := authority.Keypair(certs.Leaf{Names: []string{domain}})
	if err != nil {
		return nil, err
	}
	id, err := certs.ReadIdentity(pair.Leaf())
	return &id, err
}

// identify verifies the certificate as the handshake on the listener would.
func (c explainCommand) identify(conf edge.Config) (*certs.Identity, error) {
	listener, err := c.listener(conf)
	if err != nil {
		return nil, err
	}
	chain, err := readChain(c.Cert)
	if err != nil {
		return nil, err
	}
	ca := cmp.Or(listener.PeerCA, certs.SystemRoots)
	if ca != certs.SystemRoots {
		ca = beside(conf.Dir, ca)
	}
	crl := listener.PeerCRL
	if crl != "" {
		crl = beside(conf.Dir, crl)
	}
	roots, err := certs.LoadRoots(ca, crl)
	if err != nil {
		return nil, err
	}
	v := certs.Verifier{Roots: roots.Pool, Revoked: roots.Revoked}
	return v.Identify(tls.ConnectionState{PeerCertificates: chain})
}

// listener finds the listener that a partner comes to.
func (c explainCommand) listener(conf edge.Config) (edge.ListenerConfig, error) {
	for _, name := range sorted(conf.Listeners) {
		l := conf.Listeners[name]
		if l.Role == "federation" && (name == c.Listener || c.Listener == "") {
			return l, nil
		}
	}
	return edge.ListenerConfig{}, fmt.Errorf("there is no [listener.%s] with role = \"federation\"", cmp.Or(c.Listener, "NAME"))
}

func beside(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// readChain reads the certificates of a PEM file, the peer's own first.
func readChain(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("read %s: there is no certificate in it", file)
	}
	return chain, nil
}

// plain makes text from a certificate or a flag safe to print.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

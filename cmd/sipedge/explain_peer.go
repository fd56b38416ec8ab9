package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/edge"
)

// arrive says where a request from outside comes to and what the handshake makes
// of the peer's certificate: two steps, and what it proves. One that is refused
// there is read all the same, so that explain can say what else is in the way.
func (c explainCommand) arrive(conf edge.Config, from string) (listener, shown edge.Step, peer *certs.Identity, err error) {
	l, err := c.listener(conf)
	listener = edge.Step{Name: "listener", Detail: l.Role + ", " + l.Address, Passed: true}
	if err != nil {
		// Without one nobody comes; the lists can be asked all the same.
		listener.Detail, listener.Passed = "there is none for partners", true
	}
	shown = edge.Step{Name: "tls", Passed: true}
	if c.Cert == "" {
		_, domain, _ := address(from)
		peer, err = assumed(domain)
		shown.Detail = "assumed: a certificate that speaks for " + domain
		return listener, shown, peer, err
	}
	chain, err := readChain(c.Cert)
	if err != nil {
		return listener, shown, nil, fmt.Errorf("--cert: %w", err)
	}
	peer, err = c.identify(conf, chain)
	var refused *certs.VerifyError
	switch {
	case errors.As(err, &refused):
		shown.Detail, shown.Passed, shown.Reason = refused.Error(), false, allowlists.IdentityNone
		id, err := certs.ReadIdentity(chain[0])
		if err != nil {
			return listener, shown, nil, nil
		}
		return listener, shown, &id, nil
	case err != nil:
		return listener, shown, nil, fmt.Errorf("--cert: %w", err)
	}
	shown.Detail = proves(peer)
	return listener, shown, peer, nil
}

// proves says what a certificate proved, and why one that passed proves nothing.
func proves(id *certs.Identity) string {
	if len(id.Domains()) > 0 || len(id.Hosts()) > 0 {
		return "proves " + id.String()
	}
	return "names no domain or host exactly: " + id.String()
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
func (c explainCommand) identify(conf edge.Config, chain []*x509.Certificate) (*certs.Identity, error) {
	listener, err := c.listener(conf)
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
		if c.takes(l) && (name == c.Listener || c.Listener == "") {
			return l, nil
		}
	}
	role := "federation"
	if c.Remote {
		role = "remote"
	}
	return edge.ListenerConfig{}, fmt.Errorf("there is no [listener.%s] with role = %q or \"outside\"", cmp.Or(c.Listener, "NAME"), role)
}

// takes reports whether the request may come to a listener.
func (c explainCommand) takes(l edge.ListenerConfig) bool {
	if c.Remote {
		return forUsers(l)
	}
	return forPartners(l)
}

// forUsers reports whether users sign in at a listener.
func forUsers(l edge.ListenerConfig) bool { return l.Role == "remote" || l.Role == "outside" }

// forPartners reports whether partners come to a listener.
func forPartners(l edge.ListenerConfig) bool { return l.Role == "federation" || l.Role == "outside" }

// arriveRemote says where a user outside comes to.
func (c explainCommand) arriveRemote(conf edge.Config) edge.Step {
	step := edge.Step{Name: "listener", Passed: true}
	l, err := c.listener(conf)
	if err != nil {
		step.Detail = "there is none for users" // the rules can be asked all the same
		return step
	}
	step.Detail = fmt.Sprintf("%s, %s by %s", l.Role, l.Address, cmp.Or(l.Transport, "tls"))
	return step
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

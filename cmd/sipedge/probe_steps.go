package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// The steps with one server, in their order.
const (
	stepTCP        = "TCP"
	stepTLS        = "TLS"
	stepChain      = "chain"
	stepKey        = "key"
	stepNames      = "names"
	stepUsage      = "usage"
	stepValidity   = "validity"
	stepRevocation = "revocation"
	stepOurs       = "our certificate"
	stepOptions    = "OPTIONS"
	stepClock      = "clock"
)

var allSteps = []string{stepTCP, stepTLS, stepChain, stepKey, stepNames, stepUsage, stepValidity, stepRevocation, stepOurs, stepOptions, stepClock}

// notChecked notes steps that were not taken, and why.
func notChecked(g *group, steps []string, why string) {
	for _, s := range steps {
		g.add(unchecked, s, "not checked: "+why)
	}
}

// call calls one server. Who does not prove to be the partner's is asked
// nothing.
func (p *probe) call(ctx context.Context, hop locate.Hop) *call {
	conf := certs.ClientConfig(certs.ClientOptions{Keypair: p.keypair, ServerName: hop.Host})
	conf.VerifyConnection = nil // we judge it, and want to see all of it
	to := net.JoinHostPort(hop.Host, fmt.Sprint(hop.Addr.Port()))
	k := &call{hop: hop, control: p.locator.Control(hop), from: p.from, conf: conf, options: p.us.options(to, "tls")}
	k.proved = func(s *tls.ConnectionState) bool {
		id, err := p.roots.Verifier().Identify(*s)
		return err == nil && p.route.Accept(hop.Host)(*id) == nil
	}
	k.make(ctx)
	return k
}

// judge says what was seen on a call, step by step, and whether the server is
// the partner's and answers.
func (p *probe) judge(ctx context.Context, k *call) (g group, reached bool) {
	g.Name = escaped(k.hop.Host) + "  " + k.hop.Addr.String()
	if k.err != nil {
		g.Findings = append(g.Findings, p.unreached(k))
		notChecked(&g, allSteps[1:], "there is no connection")
		return g, false
	}
	g.add(fine, stepTCP, "connected in "+inMillis(k.connected))
	leaf := k.leaf()
	if leaf == nil {
		g.Findings = append(g.Findings, p.noTLS(ctx, k))
		notChecked(&g, allSteps[2:], "there is no TLS")
		return g, false
	}
	g.Findings = append(g.Findings, p.spokenTLS(k))
	p.certificate(&g, k, leaf)
	holds := g.stands()
	if holds && !k.proved(k.state) { // what no step has a word for
		g.add(failed, stepNames, "our edge would not take it", "Look at their entry in our list.")
		holds = false
	}
	g.Findings = append(g.Findings, p.ours(k), p.answered(k), p.clock(k, leaf))
	return g, holds && k.answer != nil
}

// unreached is why there is no connection. An IPv6 address is nobody's fault
// where there is no IPv6.
func (p *probe) unreached(k *call) finding {
	f := finding{failed, stepTCP, dialFault(k.err), "Ask them whether the server is up and lets us through; look at our own firewall, too: TCP, from here to " + k.hop.Addr.String() + "."}
	noWay := errors.Is(k.err, syscall.ENETUNREACH) || errors.Is(k.err, syscall.EADDRNOTAVAIL) || errors.Is(k.err, syscall.EAFNOSUPPORT)
	switch {
	case p.from.IsValid() && p.from.Is4() != k.hop.Addr.Addr().Is4():
		f.Level, f.Evidence, f.Remedy = noted, "not tried: --from is of the other family", "Ask once more without --from."
	case p.from.IsValid() && noWay:
		f.Evidence, f.Remedy = "not from "+p.from.String()+": "+f.Evidence, "Name an address of this machine with --from."
	case k.hop.Addr.Addr().Is6() && noWay:
		f.Level, f.Evidence, f.Remedy = noted, "this machine has no way to IPv6", "Ask from one that has. It does not matter as long as another address answers."
	case errors.Is(k.err, locate.ErrForbiddenAddress):
		f.Evidence, f.Remedy = "DNS must not send us there", "Ask them for a public address."
	}
	f.Evidence = escaped(f.Evidence)
	return f
}

// noTLS is why there is no handshake: who speaks only what is out of date is
// told from who speaks something else.
func (p *probe) noTLS(ctx context.Context, k *call) finding {
	f := finding{failed, stepTLS, escaped(k.tlsErr.Error()), "Ask them to look at their log for our connection."}
	var record tls.RecordHeaderError
	var late net.Error
	switch {
	case errors.As(k.tlsErr, &record):
		f.Evidence, f.Remedy = "what answers there does not speak TLS", "Ask them for the port where their edge speaks TLS; in SIP that is 5061 (RFC 3261 §19.1.2)."
		return f
	case errors.As(k.tlsErr, &late) && late.Timeout():
		f.Evidence, f.Remedy = fmt.Sprintf("no answer to the handshake within %v", callHandshake), "Ask them whether that port speaks TLS at all, and whether their server hangs."
		return f
	case errors.Is(k.tlsErr, io.EOF), errors.Is(k.tlsErr, syscall.ECONNRESET):
		f.Evidence, f.Remedy = "the connection was closed in the handshake", "Ask them whether that port speaks TLS, and whether they let our address in."
	}
	older := &call{hop: k.hop, control: k.control, from: p.from, conf: outdated(k.hop.Host), proved: func(*tls.ConnectionState) bool { return false }}
	older.make(ctx)
	if older.leaf() != nil {
		f.Evidence = fmt.Sprintf("it speaks %s with %s at best; we want TLS 1.2 or 1.3 with forward secrecy", tls.VersionName(older.state.Version), tls.CipherSuiteName(older.state.CipherSuite))
		f.Remedy = "Ask them to switch TLS 1.2 on, with ECDHE and AES-GCM or ChaCha20."
	}
	return f
}

// outdated takes whatever this program still can. It shows nothing and says
// nothing: it is only to see what the other side has.
func outdated(host string) *tls.Config {
	c := &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		c.CipherSuites = append(c.CipherSuites, s.ID)
	}
	return c
}

// spokenTLS is a handshake that came as far as their certificate. What ends it
// afterwards is about ours, if we have one.
func (p *probe) spokenTLS(k *call) finding {
	words := fmt.Sprintf("%s, %s, in %s", tls.VersionName(k.state.Version), tls.CipherSuiteName(k.state.CipherSuite), inMillis(k.shaken))
	if k.tlsErr != nil && !refusedOurs(k.tlsErr) && (p.keypair != nil || k.asked == nil) {
		return finding{failed, stepTLS, words + ", then " + escaped(k.tlsErr.Error()), "Ask them to look at their log for our connection."}
	}
	return finding{fine, stepTLS, words, ""}
}

// answered judges their answer to OPTIONS.
func (p *probe) answered(k *call) finding {
	switch {
	case k.quiet:
		return finding{unchecked, stepOptions, "not checked: who does not prove to be theirs is asked nothing", ""}
	case k.answer == nil && p.keypair == nil && k.asked != nil:
		return finding{unchecked, stepOptions, "not checked: without a certificate of ours they do not listen", ""}
	case k.tlsErr != nil || refusedOurs(k.sipErr):
		return finding{unchecked, stepOptions, "not checked: they ended the connection before", ""}
	case k.sipErr != nil:
		return finding{failed, stepOptions, escaped(k.sipErr.Error()), "Ask them whether SIP is behind that port, and whether they let " + p.us.name + " in."}
	}
	a := k.answer
	words := strings.TrimSpace(fmt.Sprintf("%d %s", a.status, a.phrase)) + ", in " + inMillis(a.took)
	if a.software != "" {
		words += ", from " + a.software
	}
	us := p.us.domain
	if us == "" {
		us = p.us.name
	}
	switch a.status {
	case 401, 403, 407:
		return finding{warned, stepOptions, words, "They answer, and do not let us in: ask them to allow " + us + "."}
	case 503:
		return finding{warned, stepOptions, words, "They take nothing now. Ask again later."}
	}
	return finding{fine, stepOptions, words, ""}
}

// clock compares their clock with ours, by what shows it.
func (p *probe) clock(k *call, leaf *x509.Certificate) finding {
	switch {
	case k.answer != nil && !k.answer.date.IsZero():
		off := k.answer.off().Round(time.Second)
		if off.Abs() > clockOff {
			return finding{warned, stepClock, fmt.Sprintf("theirs is %v from ours", off), "Look at both: certificates, tokens and logs need the right time."}
		}
		return finding{fine, stepClock, "theirs agrees with ours", ""}
	case p.now.Before(leaf.NotBefore) || p.now.After(leaf.NotAfter):
		return finding{noted, stepClock, "by ours their certificate is out of its time: " + p.now.UTC().Format(time.RFC3339), "Make sure that ours is right."}
	}
	return finding{fine, stepClock, "they send no Date; by ours their certificate is in its time", ""}
}

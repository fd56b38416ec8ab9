package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// The steps with one server, in their order.
const (
	stepTCP        = "TCP"
	stepTLS        = "TLS"
	stepChain      = "chain"
	stepNames      = "names"
	stepUsage      = "usage"
	stepValidity   = "validity"
	stepRevocation = "revocation"
	stepOurs       = "our certificate"
	stepOptions    = "OPTIONS"
	stepClock      = "clock"
)

var allSteps = []string{stepTCP, stepTLS, stepChain, stepNames, stepUsage, stepValidity, stepRevocation, stepOurs, stepOptions, stepClock}

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
	g.Findings = append(g.Findings, spokenTLS(k))
	p.certificate(&g, k, leaf)
	holds := g.stands()
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

func spokenTLS(k *call) finding {
	words := fmt.Sprintf("%s, %s, in %s", tls.VersionName(k.state.Version), tls.CipherSuiteName(k.state.CipherSuite), inMillis(k.shaken))
	if k.tlsErr != nil && !refusedOurs(k.tlsErr) {
		return finding{failed, stepTLS, words + ", then " + escaped(k.tlsErr.Error()), "Ask them to look at their log for our connection."}
	}
	return finding{fine, stepTLS, words, ""}
}

// certificate judges all about the certificate at once: who mends it wants to
// know everything.
func (p *probe) certificate(g *group, k *call, leaf *x509.Certificate) {
	age := validity(leaf, p.now, "Ask them to renew it.")
	// In its own time: that it is over has a line of its own.
	then := p.now
	switch {
	case then.After(leaf.NotAfter):
		then = leaf.NotAfter.Add(-time.Second)
	case then.Before(leaf.NotBefore):
		then = leaf.NotBefore.Add(time.Second)
	}
	v := p.roots.Verifier()
	v.Now = func() time.Time { return then }
	id, err := v.Identify(*k.state)
	problem := certs.ProblemOf(err)
	if problem == certs.Expired || problem == certs.NotYetValid { // one between us and the root
		age = finding{failed, stepValidity, escaped(err.Error()), "Ask them to renew their chain."}
	}
	unproven := err != nil
	if unproven {
		if read, err := certs.ReadIdentity(leaf); err == nil {
			id = &read
		}
	}
	g.Findings = append(g.Findings, p.chain(k, problem, err), p.names(k, leaf, id, problem, unproven), p.usage(k, id, problem), age)
	info := revocationInfo(leaf, k.state.OCSPResponse, "Ask them for one with a distribution point for revocation lists.")
	if problem == certs.Revoked {
		info = finding{failed, stepRevocation, escaped(err.Error()), "Speak with them: their key may be stolen. Our peer_crl says so."}
	}
	g.Findings = append(g.Findings, info)
}

func (p *probe) chain(k *call, problem certs.Problem, err error) finding {
	sent := k.state.PeerCertificates
	last := sent[len(sent)-1]
	issuer := escaped(nameOf(last.Issuer.CommonName, last.Issuer.String()))
	switch problem {
	case certs.UnknownIssuer:
		return finding{failed, stepChain, fmt.Sprintf("%d sent; the issuer %s is none that we trust", len(sent), issuer),
			"If it is a private authority: get its root from them by a way you trust, and add it to peer_ca of our listener. If it is one between: ask them to send the whole chain."}
	case certs.Malformed:
		return finding{failed, stepChain, escaped(err.Error()), "Ask them for a certificate that is well-formed."}
	case certs.Expired, certs.NotYetValid:
		return finding{unchecked, stepChain, "not checked: one of it is out of its time", ""}
	}
	if weak, text := weakness(sent[0]); weak > noted {
		return finding{noted, stepChain, fmt.Sprintf("%d sent, up to %s; %s", len(sent), issuer, text), "Ask them for a stronger one."}
	}
	return finding{fine, stepChain, fmt.Sprintf("%d sent, up to %s; %s", len(sent), issuer, keyOf(sent[0])), ""}
}

// names judges whom the certificate speaks for (RFC 5922 §7.1).
func (p *probe) names(k *call, leaf *x509.Certificate, id *certs.Identity, problem certs.Problem, unproven bool) finding {
	host, f := k.hop.Host, finding{Level: fine, Subject: stepNames}
	if problem == certs.Malformed {
		return finding{unchecked, stepNames, "not checked: the certificate is malformed", ""}
	}
	claim := "speaks for "
	if unproven {
		claim = "claims to speak for "
	}
	if certs.ProblemOf(p.route.Accept(host)(*id)) == certs.NameNotCovered {
		return p.uncovered(host, leaf, id)
	}
	switch want := p.route.PeerName; {
	case id.Covers(p.domain):
		f.Evidence = claim + p.domain + " by the SAN " + sanOf(leaf, p.domain)
	case p.route.Direct():
		if want == "" {
			want = host
		}
		f.Evidence = "is " + escaped(want) + ", as our list asks; SAN " + namesIn(leaf)
	case id.CoversHost(host):
		f.Level, f.Evidence = noted, "names the server "+escaped(host)+" and not "+p.domain+"; we take it, as the one lies in the other"
		f.Remedy = "Ask them for a SAN URI sip:" + p.domain + ": who insists on RFC 5922 wants it."
	default:
		f.Level, f.Evidence = noted, claim+p.domain+" by a wildcard or common name, which our list allows: "+namesIn(leaf)
		f.Remedy = "Ask them for a SAN URI sip:" + p.domain + "."
	}
	if v := p.speaks(id); !v.Allowed() && v.Reason == allowlists.IdentityDomainMismatch {
		f.Level = max(f.Level, warned)
		f.Evidence += "; when they connect to us with it, our door refuses them"
		f.Remedy = "Ask them for a SAN URI sip:" + p.domain + "."
	}
	return f
}

// speaks asks our door about somebody who comes with this certificate.
func (p *probe) speaks(id *certs.Identity) allowlists.Verdict {
	if p.partners == nil {
		return allowlists.Verdict{}
	}
	domain := []byte(p.domain)
	return p.partners.Speaks(id, domain, p.partners.TargetOf(id, domain, p.targets))
}

// sanOf is the name by which a certificate speaks for a domain.
func sanOf(leaf *x509.Certificate, domain string) string {
	for _, u := range leaf.URIs {
		if strings.EqualFold(u.String(), "sip:"+domain) {
			return "URI sip:" + domain
		}
	}
	return "dNSName " + domain
}

// uncovered says why the names do not do.
func (p *probe) uncovered(host string, leaf *x509.Certificate, id *certs.Identity) finding {
	entry := "[partner.\"" + p.domain + "\"]"
	ask := "Ask them for a SAN URI sip:" + p.domain + ", or the dNSName " + p.domain + "."
	f := finding{failed, stepNames, "none is " + p.domain + ": " + namesIn(leaf), ask}
	switch {
	case id.CoversWild(p.domain) || inDomain(host, p.domain) && id.CoversHostWild(host):
		f.Evidence = "only a wildcard covers " + p.domain + " or its server: " + namesIn(leaf)
		f.Remedy = "RFC 5922 §7.2 forbids that. " + ask + " To take it all the same: allow_wildcard = true in " + entry + "."
	case id.CommonName() != "" && (id.CommonName() == p.domain || inDomain(host, p.domain) && id.CommonName() == host):
		f.Evidence = "only the common name is " + escaped(id.CommonName()) + ", and there is no SAN"
		f.Remedy = ask + " To take it all the same: allow_cn = true in " + entry + "."
	case p.route.Direct():
		f.Evidence = "our list asks for another name: " + namesIn(leaf)
		f.Remedy = "If that is their server, write its name into peer_name of " + entry + "."
	case id.CoversHost(host):
		f.Evidence = "names the server " + escaped(host) + ", which does not lie in " + p.domain + ", and not the domain: who forges DNS could have one like it"
		f.Remedy = ask + " Or, if you know that this is their server, write it into servers of " + entry + "."
	}
	return f
}

func (p *probe) usage(k *call, id *certs.Identity, problem certs.Problem) finding {
	u := id.Usage()
	switch {
	case problem == certs.Malformed:
		return finding{unchecked, stepUsage, "not checked: the certificate is malformed", ""}
	case problem == certs.WrongUsage || !u.Client() && !u.Server():
		return finding{failed, stepUsage, u.String() + ": neither for servers nor for clients", "Ask them for a certificate for TLS servers and clients."}
	case certs.ProblemOf(p.route.Accept(k.hop.Host)(*id)) == certs.WrongUsage:
		return finding{failed, stepUsage, u.String() + ": not what peer_usage of their entry asks for", "Ask them for one with the server usage, or change peer_usage."}
	case p.speaks(id).Reason == allowlists.IdentityUsage:
		return finding{warned, stepUsage, u.String() + ": when they connect to us with it, peer_usage of their entry refuses them", "Ask them for one with the client usage, or take peer_usage = \"strict\" away."}
	case !u.Server():
		return finding{noted, stepUsage, u.String() + ", and it is shown by a server; we take it, others will not", "Ask them for one with the server usage."}
	case !u.Client():
		return finding{noted, stepUsage, u.String() + " only, as public authorities issue them; we take it also when they connect to us", "Nothing to do here. Partners that are strict will refuse them."}
	}
	return finding{fine, stepUsage, u.String(), ""}
}

// revocationInfo says how one could learn that a certificate is revoked.
func revocationInfo(c *x509.Certificate, stapled []byte, remedy string) finding {
	var ways []string
	if len(c.CRLDistributionPoints) > 0 {
		ways = append(ways, "list at "+few(c.CRLDistributionPoints))
	}
	if len(c.OCSPServer) > 0 {
		ways = append(ways, "OCSP at "+few(c.OCSPServer))
	}
	if len(stapled) > 0 {
		ways = append(ways, "OCSP answer stapled")
	}
	const short = 10 * 24 * time.Hour
	switch {
	case ways != nil:
		return finding{fine, stepRevocation, strings.Join(ways, "; "), ""}
	case c.NotAfter.Sub(c.NotBefore) <= short:
		return finding{fine, stepRevocation, "no information, and none is needed: it lives for " + plural(int(c.NotAfter.Sub(c.NotBefore).Hours()/24), "day"), ""}
	}
	return finding{noted, stepRevocation, "no information: neither a list nor OCSP", remedy}
}

// ours judges what they do about our certificate.
func (p *probe) ours(k *call) finding {
	refusal := errors.Join(k.tlsErr, k.sipErr)
	word := ""
	if refusedOurs(k.tlsErr) {
		word = k.tlsErr.Error()
	} else if refusedOurs(k.sipErr) {
		word = k.sipErr.Error()
	}
	switch {
	case k.asked == nil && refusal == nil:
		return finding{warned, stepOurs, "they ask for none, so they do not know who we are",
			"Ask them to demand certificates: without, anybody can say to them that he is us."}
	case k.asked == nil:
		return finding{unchecked, stepOurs, "not checked: it did not come to that", ""}
	case p.keypair == nil:
		return finding{unchecked, stepOurs, "not checked: they ask for one, and we have none to show; " + hints(k.asked), ""}
	case word != "":
		return finding{failed, stepOurs, "they refuse it: " + escaped(strings.TrimPrefix(word, "remote error: tls: ")) + "; " + hints(k.asked), p.mendOurs(k)}
	case k.quiet:
		return finding{unchecked, stepOurs, "not checked: they ask for one; " + hints(k.asked), ""}
	case k.answer == nil:
		return finding{noted, stepOurs, "shown, and no word of whether they take it; " + hints(k.asked), p.mendOurs(k)}
	}
	return finding{fine, stepOurs, "asked for, and taken; " + hints(k.asked), ""}
}

// mendOurs says what helps when they do not take our certificate.
func (p *probe) mendOurs(k *call) string {
	text := "Ask them to trust the authority of ours"
	if len(k.asked.AcceptableCAs) > 0 && k.asked.SupportsCertificate(p.keypair.Certificate()) != nil {
		text += ", which their list does not have"
	}
	if id, err := certs.ReadIdentity(p.keypair.Leaf()); err == nil && !id.Usage().Client() {
		return text + ", and to take one without the client usage, as ours is."
	}
	return text + "."
}

// hints lists the authorities that they name.
func hints(asked *tls.CertificateRequestInfo) string {
	if len(asked.AcceptableCAs) == 0 {
		return "they name no authorities"
	}
	const most = 3
	var names []string
	for _, raw := range asked.AcceptableCAs[:min(most, len(asked.AcceptableCAs))] {
		var rdn pkix.RDNSequence
		if rest, err := asn1.Unmarshal(raw, &rdn); err != nil || len(rest) > 0 {
			names = append(names, "one that cannot be read")
			continue
		}
		var name pkix.Name
		name.FillFromRDNSequence(&rdn)
		names = append(names, escaped(nameOf(name.CommonName, rdn.String())))
	}
	text := "they name " + strings.Join(names, ", ")
	if n := len(asked.AcceptableCAs) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// answered judges their answer to OPTIONS.
func (p *probe) answered(k *call) finding {
	switch {
	case k.quiet:
		return finding{unchecked, stepOptions, "not checked: who does not prove to be theirs is asked nothing", ""}
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

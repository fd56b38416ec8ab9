package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/certs"
)

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
	g.Findings = append(g.Findings, p.chain(k, problem, err), p.key(k, leaf, id, problem), p.names(k, leaf, id, problem, unproven), p.usage(k, id, problem), age)
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
	return finding{fine, stepChain, fmt.Sprintf("%d sent, up to %s", len(sent), issuer), ""}
}

// key judges the key of the certificate, and shows the pin that an entry in our
// list can hold it by (RFC 7469 §2.4).
func (p *probe) key(k *call, leaf *x509.Certificate, id *certs.Identity, problem certs.Problem) finding {
	if problem == certs.Malformed {
		return finding{unchecked, stepKey, "not checked: the certificate is malformed", ""}
	}
	key := id.Key()
	words := keyOf(leaf) + ", pin sha256/" + base64.StdEncoding.EncodeToString(key[:])
	if certs.ProblemOf(p.route.Accept(k.hop.Host)(*id)) == certs.KeyNotPinned {
		return finding{failed, stepKey, words + ": none of those that our list pins", "Compare it with them by phone. If it is theirs, write it into pins of [partner.\"" + p.domain + "\"]."}
	}
	if weak, text := weakness(leaf); weak > fine {
		return finding{noted, stepKey, words + ": " + text, "Ask them for another; ECDSA P-256, or RSA with 2048 to 4096 bits, suits everybody."}
	}
	return finding{fine, stepKey, words, ""}
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
	switch {
	case p.route.Direct():
		f.Evidence = "proves " + escaped(cmp.Or(p.route.PeerName, host)) + ", as our list asks: " + namesIn(leaf)
	case id.Covers(p.domain):
		f.Evidence = claim + p.domain + " by the SAN " + sanOf(leaf, p.domain)
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
	wild := id.CoversWild(p.domain) || inDomain(host, p.domain) && id.CoversHostWild(host)
	if p.route.Direct() {
		wild = id.CoversHostWild(cmp.Or(p.route.PeerName, host))
	}
	switch cn := id.CommonName(); {
	case wild:
		f.Evidence = "only a wildcard covers " + p.domain + " or its server: " + namesIn(leaf)
		f.Remedy = "RFC 5922 §7.2 forbids that. " + ask + " To take it all the same: allow_wildcard = true in " + entry + "."
	case cn != "" && (cn == p.domain || inDomain(host, p.domain) && cn == host):
		f.Evidence = "only the common name is " + escaped(cn) + ", and there is no SAN"
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

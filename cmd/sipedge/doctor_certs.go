package main

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
)

// ending is how long before its end a certificate is worth a warning, unless it
// lives so shortly that a fifth of its life is less.
const ending = 14 * 24 * time.Hour

// certificate judges one of our certificates, for what it is used for.
func (d *doctor) certificate(name string) group {
	g := group{Name: "certificate " + escaped(name)}
	c := d.conf.Certificates[name]
	pair, err := certs.Load(beside(d.conf.Dir, c.Cert), beside(d.conf.Dir, c.Key))
	if err != nil {
		g.add(failed, "key", escaped(err.Error()), "Put the certificate and the key that belong together into these files.")
		return g
	}
	outside, users, inside, pools := d.uses(name)
	bridged := d.bridge.XMPP != nil && d.bridge.XMPP.Certificate == name
	leaf := pair.Leaf()
	shown := slices.Concat(outside, users, inside, pools)
	if bridged {
		shown = append(shown, "to XMPP servers")
	}
	g.add(fine, "key", "fits; shown "+strings.Join(shown, ", "))
	if len(shown) == 0 {
		g.Findings[0] = finding{noted, "key", "fits; no listener, no pool and no bridge shows this certificate", "Name it in a listener, or take the section away."}
	}
	d.chain(&g, name, pair)
	g.Findings = append(g.Findings, validity(leaf, d.now, "Renew it; the edge takes the new files by itself."))
	d.between(&g, pair)
	id, err := certs.ReadIdentity(leaf)
	if err != nil {
		g.add(failed, "names", escaped(err.Error()), "Have a certificate issued without that name: nobody can rely on it.")
	} else {
		d.coverage(&g, &id, leaf, len(outside) > 0, len(inside)+len(users) > 0)
		if bridged {
			d.speaksXMPP(&g, &id)
		}
		usage(&g, id.Usage(), len(outside) > 0, len(inside) > 0, len(pools) > 0)
	}
	strength(&g, pair)
	if len(outside) > 0 {
		g.Findings = append(g.Findings, revocationInfo(leaf, nil, "Ask the authority for a certificate with a distribution point for revocation lists: Microsoft edges want one."))
	}
	return g
}

// uses are the places where a certificate is shown.
func (d *doctor) uses(name string) (outside, users, inside, pools []string) {
	for _, l := range sorted(d.conf.Listeners) {
		switch c := d.conf.Listeners[l]; {
		case c.Certificate != name:
		case forPartners(c):
			outside = append(outside, "on listener "+escaped(l)+" and to partners")
		case forUsers(c):
			users = append(users, "on listener "+escaped(l)+" to users")
		default:
			inside = append(inside, "on listener "+escaped(l))
		}
	}
	for _, p := range sorted(d.conf.Pools) {
		if d.certificateOf(p) == name {
			pools = append(pools, "to pool "+escaped(p))
		}
	}
	return outside, users, inside, pools
}

// certificateOf is the name of the certificate that a pool's servers see: its
// own, or that of the internal listener.
func (d *doctor) certificateOf(pool string) string {
	p := d.conf.Pools[pool]
	if p.Transport == "tcp" {
		return ""
	}
	return cmp.Or(p.Certificate, d.conf.Listeners[d.internal(p.Transport)].Certificate)
}

// internal is the internal listener that belongs to a pool with this transport.
func (d *doctor) internal(transport string) (found string) {
	for _, name := range sorted(d.conf.Listeners) {
		if c := d.conf.Listeners[name]; c.Role == "internal" && (found == "" || (c.Transport == "tcp") == (transport == "tcp")) {
			found = name
		}
	}
	return found
}

// chain looks whether the file holds all that a peer needs to come from our
// certificate to an authority that it has.
func (d *doctor) chain(g *group, name string, pair *certs.Keypair) {
	var chain []*x509.Certificate
	for _, der := range pair.Certificate().Certificate {
		if c, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, c)
		}
	}
	const subject = "chain"
	for i, c := range chain[:len(chain)-1] {
		if err := c.CheckSignatureFrom(chain[i+1]); err != nil {
			g.add(failed, subject, fmt.Sprintf("certificate %d of the file, %s, is not signed by the next one, %s", i+1, titleOf(c), titleOf(chain[i+1])),
				"Put our certificate first, and each issuer after what it signed.")
			return
		}
	}
	last := chain[len(chain)-1]
	own := bytes.Equal(last.RawIssuer, last.RawSubject)
	switch {
	case own && len(chain) == 1:
		g.add(warned, subject, "it is signed by itself: each partner must be given it by hand", "Use one of an authority that partners trust.")
	case own:
		g.add(noted, subject, fmt.Sprintf("%d certificates, up to the root %s itself", len(chain), titleOf(last)), "The root may be left out of the file: who trusts it has it.")
	case d.knows(last):
		g.add(fine, subject, fmt.Sprintf("%d in the file, up to the authority %s", len(chain), escaped(nameOf(last.Issuer.CommonName, last.Issuer.String()))))
	case len(chain) == 1 && len(last.IssuingCertificateURL) > 0:
		g.add(failed, subject, "the file ends before an authority: the issuer "+escaped(last.Issuer.CommonName)+" is missing",
			"Add it; it is to be had at "+escaped(last.IssuingCertificateURL[0])+". Most authorities call the whole file fullchain.pem.")
	default:
		g.add(warned, subject, "the issuer "+escaped(nameOf(last.Issuer.CommonName, last.Issuer.String()))+" is neither in the file nor an authority that this machine knows",
			"If it is a private authority, partners must be given its root. If not, the file is incomplete.")
	}
}

// between complains of certificates above ours that are out of their time or
// will be before ours is.
func (d *doctor) between(g *group, pair *certs.Keypair) {
	for _, der := range pair.Certificate().Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			continue // Load has read it
		}
		if f := validity(c, d.now, "Have ours issued anew: the file then has the new chain."); f.Level > fine {
			f.Evidence = titleOf(c) + ", above ours, " + f.Evidence
			g.Findings = append(g.Findings, f)
		}
	}
}

// knows reports whether the issuer of c is an authority of the system, or one
// that the configuration names.
func (d *doctor) knows(c *x509.Certificate) bool {
	files := []string{certs.SystemRoots}
	for _, name := range sorted(d.conf.Listeners) {
		files = append(files, d.conf.Listeners[name].PeerCA)
	}
	for _, file := range files {
		if file == "" {
			continue
		}
		if file != certs.SystemRoots {
			file = beside(d.conf.Dir, file)
		}
		roots, err := certs.LoadRoots(file, "")
		if err != nil {
			continue
		}
		// In the middle of its validity: its age has a line of its own.
		middle := c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
		_, err = c.Verify(x509.VerifyOptions{Roots: roots.Pool(), CurrentTime: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err == nil {
			return true
		}
	}
	return false
}

// validity judges when a certificate begins and ends.
func validity(c *x509.Certificate, now time.Time, remedy string) finding {
	const subject, day = "validity", "2006-01-02"
	left := c.NotAfter.Sub(now)
	days := plural(int(left.Hours()/24), "day")
	switch {
	case now.Before(c.NotBefore):
		return finding{failed, subject, "begins " + c.NotBefore.UTC().Format(time.RFC3339) + ", and it is " + now.UTC().Format(time.RFC3339) + " here",
			"If that is not the time, set the clock. Else wait, or use the certificate before."}
	case left <= 0:
		return finding{failed, subject, "ended " + c.NotAfter.UTC().Format(time.RFC3339) + ", and it is " + now.UTC().Format(time.RFC3339) + " here", remedy}
	case left < min(ending, c.NotAfter.Sub(c.NotBefore)/5):
		return finding{warned, subject, "ends " + c.NotAfter.UTC().Format(day) + ", in " + days, remedy}
	}
	return finding{fine, subject, "until " + c.NotAfter.UTC().Format(day) + ", " + days + " left", ""}
}

// coverage looks for the names that others will look for.
func (d *doctor) coverage(g *group, id *certs.Identity, leaf *x509.Certificate, outside, inside bool) {
	const subject = "names"
	names := namesIn(leaf)
	if (outside || inside) && !id.CoversHost(d.conf.Name) {
		l, remedy := warned, "Have it issued with the SAN dNSName "+d.conf.Name+"."
		if outside {
			l = failed
		}
		g.add(l, subject, escaped(d.conf.Name)+", our name, is not among "+names, escaped(remedy))
	}
	var missing []string
	for _, domain := range d.conf.Domains {
		if n, err := federation.Normal(domain); err == nil && !id.Covers(n) {
			missing = append(missing, n)
		}
	}
	if outside && len(missing) > 0 {
		// RFC 5922 §7.1: what speaks for a domain names the domain.
		g.add(warned, subject, "does not speak for "+strings.Join(missing, ", ")+"; only partners who know us by the name of our server will take it",
			"Have it issued with the SAN URI sip:"+missing[0]+" or the SAN dNSName "+missing[0]+".")
	}
	if len(g.Findings) == 0 || g.Findings[len(g.Findings)-1].Subject != subject {
		g.add(fine, subject, names)
	}
	if cn := leaf.Subject.CommonName; outside && cn != "" && !slices.Contains(leaf.DNSNames, cn) {
		g.add(noted, subject, "its common name "+escaped(cn)+" is not repeated as SAN dNSName", "Microsoft edges want the subject's name to be the first SAN.")
	}
}

// namesIn lists what a certificate calls itself.
func namesIn(c *x509.Certificate) string {
	var names []string
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if names == nil {
		return "no SAN at all, only the common name " + escaped(c.Subject.CommonName)
	}
	return few(names)
}

// few lists the first of many names, escaped.
func few(names []string) string {
	const most = 6
	list := make([]string, 0, most)
	for _, n := range names[:min(most, len(names))] {
		list = append(list, escaped(n))
	}
	text := strings.Join(list, ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// usage judges the extended key usages for the two sides that we are on.
func usage(g *group, u certs.Usage, outside, inside, pools bool) {
	const subject = "usage"
	const both = "Ask your authority for one with both usages; public ones issue no client usage any more, a private one can."
	switch {
	case (outside || inside) && !u.Server():
		g.add(failed, subject, u.String()+": whoever connects to us will refuse it", both)
	case outside && !u.Client():
		g.add(warned, subject, u.String()+": when we connect, partners that insist on the client usage refuse it",
			both+" Or ask partners to accept it: for a sipedge that is peer_usage = \"federation\", its default.")
	case pools && !u.Client():
		g.add(warned, subject, u.String()+": home servers that insist on the client usage refuse it when we connect", both)
	default:
		g.add(fine, subject, u.String())
	}
}

// strength judges the keys and signatures of our chain.
func strength(g *group, pair *certs.Keypair) {
	worst := finding{fine, "strength", "", ""}
	for i, der := range pair.Certificate().Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		l, text := weakness(c)
		if i == 0 {
			worst.Evidence = keyOf(c) + ", signed with " + c.SignatureAlgorithm.String()
		}
		if l > worst.Level {
			worst = finding{l, "strength", text + " (" + titleOf(c) + ")", "Have a new key certified: ECDSA P-256, or RSA with 2048 to 4096 bits, signed with SHA-256."}
		}
	}
	g.Findings = append(g.Findings, worst)
}

// weakness is what is too weak about a certificate, or too strong for some.
func weakness(c *x509.Certificate) (level, string) {
	self := bytes.Equal(c.RawIssuer, c.RawSubject) // the signature of a root means nothing
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1:
		if !self {
			return failed, "signed with " + c.SignatureAlgorithm.String() + ", which peers refuse"
		}
	}
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		switch n := k.N.BitLen(); {
		case n < 2048:
			return failed, fmt.Sprintf("RSA key of %d bits: peers refuse less than 2048", n)
		case n > 4096:
			return noted, fmt.Sprintf("RSA key of %d bits: older peers take at most 4096", n)
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return warned, "ECDSA key on P-224, which many TLS stacks do not have"
		}
	case ed25519.PublicKey:
		return noted, "Ed25519 key: older peers, Microsoft's among them, do not know it"
	}
	return fine, ""
}

// keyOf says what kind of key a certificate has.
func keyOf(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d bits", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	}
	return c.PublicKeyAlgorithm.String()
}

// titleOf is what a certificate is called, escaped.
func titleOf(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" && len(c.DNSNames) > 0 {
		name = c.DNSNames[0]
	}
	return escaped(nameOf(name, c.Subject.String()))
}

// nameOf is a common name, or all of a name that has none.
func nameOf(common, all string) string {
	return cmp.Or(common, all, "without a name")
}

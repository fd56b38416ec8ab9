package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/card"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

type partnerCardCommand struct {
	configFlag
	Contact string   `placeholder:"TEXT" help:"Whom to call about it: a name with a telephone number or an address."`
	Days    int      `default:"30" help:"For how many days partners may take it. Default: ${default}."`
	Domain  []string `placeholder:"DOMAIN" help:"A domain to put into it; may be repeated. Default: all of ours."`
	CA      string   `name:"ca" placeholder:"FILE" help:"The private authority of our certificate (PEM), if it is in no file of the configuration."`
}

// Run writes the card to stdout, and what to tell the partner to stderr.
func (c partnerCardCommand) Run(s streams) error {
	conf, err := c.edgeConfig()
	if err != nil {
		return err
	}
	if c.Days < 1 || c.Days > card.MaxDays {
		return exit{exitUsage, fmt.Errorf("--days is 1 to %d", card.MaxDays)}
	}
	now := time.Now().UTC().Truncate(time.Second)
	k := card.Card{Contact: c.Contact, Issued: now, Expires: now.AddDate(0, 0, c.Days)}
	if k.Domains, err = c.domains(conf); err != nil {
		return err
	}
	if k.Edge, err = federation.Normal(conf.Name); err != nil {
		return exit{exitConfiguration, fmt.Errorf("name %q in %s is not a host name", conf.Name, c.Config)}
	}
	pair, err := c.outside(conf, &k)
	if err != nil {
		return err
	}
	authority, err := c.authority(conf, pair, s.err)
	if err != nil {
		return err
	}
	if authority != nil {
		k.CA = authority.Raw
	}
	file, err := card.Sign(k, pair)
	if err != nil {
		return err
	}
	read, err := card.Read(file) // as the partner will
	if err != nil {
		return fmt.Errorf("a partner would refuse this card: %w", err)
	}
	if _, err := s.out.Write(file); err != nil {
		return err
	}
	tellAboutCard(s.err, read)
	return nil
}

// domains are those to put into the card.
func (c partnerCardCommand) domains(conf edge.Config) (list []string, err error) {
	from := conf.Domains
	if c.Domain != nil {
		from = c.Domain
	}
	for _, name := range from {
		d, err := federation.Normal(name)
		switch {
		case err != nil:
			return nil, exit{exitUsage, fmt.Errorf("%q is not a domain", name)}
		case !ours(conf.Domains, d):
			return nil, exit{exitUsage, fmt.Errorf("%s is no domain of ours", d)}
		}
		list = append(list, d)
	}
	if len(list) > card.MaxDomains {
		return nil, exit{exitUsage, fmt.Errorf("there are %d domains, and a card takes %d: choose some with --domain", len(list), card.MaxDomains)}
	}
	return list, nil
}

// outside fills in where partners find us and with which keys, and returns the
// certificate that we show when we connect to them: that of the first federation
// listener.
func (c partnerCardCommand) outside(conf edge.Config, k *card.Card) (*tls.Certificate, error) {
	var first *tls.Certificate
	for _, name := range sorted(conf.Listeners) {
		l := conf.Listeners[name]
		if l.Role != "federation" {
			continue
		}
		address, err := advertised(conf, l)
		if err != nil {
			return nil, exit{exitConfiguration, fmt.Errorf("[listener.%s]: %w", name, err)}
		}
		k.Servers = append(k.Servers, address)
		files, ok := conf.Certificates[l.Certificate]
		if !ok {
			return nil, exit{exitConfiguration, fmt.Errorf("[listener.%s]: there is no [certificate.%s]", name, l.Certificate)}
		}
		pair, err := certs.Load(beside(conf.Dir, files.Cert), beside(conf.Dir, files.Key))
		if err != nil {
			return nil, exit{exitConfiguration, err}
		}
		if first == nil {
			first, k.Usage = pair.Certificate(), usageOf(pair)
		}
		if pin := card.Pin(pair.Leaf()); !slices.Contains(k.Pins, pin) {
			k.Pins = append(k.Pins, pin)
		}
	}
	if first == nil {
		return nil, exit{exitConfiguration, errors.New("there is no [listener.NAME] with role = \"federation\", so no partner can come")}
	}
	return first, nil
}

func usageOf(pair *certs.Keypair) string {
	id, err := certs.ReadIdentity(pair.Leaf())
	if err != nil {
		return "none"
	}
	return id.Usage().String()
}

// advertised is the address of a listener as partners reach it.
func advertised(conf edge.Config, l edge.ListenerConfig) (string, error) {
	address := l.Advertise
	if address == "" {
		_, port, err := net.SplitHostPort(l.Address)
		if err != nil {
			return "", err
		}
		address = net.JoinHostPort(conf.Name, port)
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return "", err
	case port == "0":
		return "", errors.New("its port is chosen at each start; partners need one that stays (address or advertise)")
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(host, ".")), port), nil
}

// authority finds the private authority of our certificate; nil if everybody has
// it.
func (c partnerCardCommand) authority(conf edge.Config, pair *tls.Certificate, w io.Writer) (*x509.Certificate, error) {
	system, err := x509.SystemCertPool()
	if err != nil {
		system = nil
	}
	var candidates []*x509.Certificate
	if c.CA != "" {
		if candidates, err = readChain(c.CA); err != nil {
			return nil, exit{exitUsage, fmt.Errorf("--ca: %w", err)}
		}
	}
	for _, name := range sorted(conf.Listeners) {
		if file := conf.Listeners[name].PeerCA; file != "" && file != certs.SystemRoots {
			more, err := certificatesOf(beside(conf.Dir, file))
			if err != nil {
				return nil, err
			}
			candidates = append(candidates, more...)
		}
	}
	ca, known := card.PrivateAuthority(pair, system, candidates)
	if !known {
		warn(w, []string{"the authority that signed our certificate is none that everybody has, and in no file here; " +
			"partners who do not have it cannot take the card. Name its file with --ca FILE."})
	}
	return ca, nil
}

// certificatesOf reads the certificates of a file of authorities.
func certificatesOf(file string) (list []*x509.Certificate, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(b.Bytes); b.Type == "CERTIFICATE" && err == nil {
			list = append(list, c)
		}
	}
	return list, nil
}

// tellAboutCard says what goes with the file by another way: by telephone.
func tellAboutCard(w io.Writer, s *card.Signed) {
	p := newPage(w)
	p.title("Card of "+domainList(s.Domains), "good until "+day(s.Expires))
	var f facts
	f.add("fingerprint", card.Fingerprint(s.Chain[0]))
	if s.Authority != nil {
		f.add("authority", authorityName(s.Authority)+", private; it goes along")
		f.add("", card.Fingerprint(s.Authority))
	}
	f.print(p)
	for _, d := range s.Hosted() {
		p.text("note: ", "      ", "our certificate does not name "+named(d)+"; partners have to believe the edge's name alone.")
	}
	if end := s.Chain[0].NotAfter; end.Before(s.Expires) {
		p.text("note: ", "      ", "our certificate ends "+day(end)+", before the card does.")
	}
	p.text("", "", "Partners take it with \"sipedge partner add FILE\". Read the fingerprint to them by telephone.")
}

// domainList is a few domains in words.
func domainList(domains []string) string {
	const shown = 3
	if n := len(domains); n > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(domains[:shown], ", "), n-shown)
	}
	return strings.Join(domains, ", ")
}

// authorityName is how an authority calls itself.
func authorityName(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" {
		name = c.Subject.String()
	}
	return fmt.Sprintf("%q", clip(plain(name), 60))
}

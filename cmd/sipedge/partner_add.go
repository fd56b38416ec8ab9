package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/cmd/sipedge/internal/card"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

type partnerAddCommand struct {
	configFlag
	noteFlag
	Card   string `arg:"" placeholder:"CARD" help:"The file that the partner's \"sipedge partner card\" wrote; - for stdin."`
	Yes    bool   `help:"Do not ask. The fingerprint has been compared."`
	NoPins bool   `help:"Take any key that proves the names, not only those of the card: a partner whose keys change often."`
	SaveCA string `name:"save-ca" placeholder:"FILE" help:"Only write the card's private authority to a new file, to be added to peer_ca."`
}

// An adding is one run of the command: what was read, and what it amounts to.
type adding struct {
	partnerAddCommand
	streams
	conf  edge.Config
	card  *card.Signed
	known map[string]admin.Partner // what the edge knows of the card's domains
}

// Run checks a card, shows it, asks, and allows its domains.
func (c partnerAddCommand) Run(s streams) error {
	conf, err := c.edgeConfig()
	if err != nil {
		return err
	}
	a := adding{partnerAddCommand: c, streams: s, conf: conf, known: make(map[string]admin.Partner)}
	if a.card, err = c.read(); err != nil {
		return err
	}
	if c.SaveCA != "" {
		return a.saveAuthority()
	}
	if err := a.introduce(); err != nil {
		return err
	}
	return c.talkTo(conf, a.add)
}

// read reads the file and checks it as far as that needs nobody.
func (c partnerAddCommand) read() (*card.Signed, error) {
	data, err := c.file()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if d, bad := federation.Normal(c.Card); bad == nil && strings.Contains(d, ".") {
			return nil, exit{exitUsage, fmt.Errorf("there is no file %s. A card is a file that the partner sends; to allow a domain without one: %s",
				c.Card, c.command("partner", "allow", d))}
		}
		return nil, exit{exitUsage, err}
	case err != nil:
		return nil, exit{exitUsage, err}
	}
	s, err := card.Read(data)
	if err == nil {
		err = s.Current(time.Now())
	}
	if err != nil {
		return nil, exit{exitNo, fmt.Errorf("%s: %s", plain(c.Card), plain(err.Error()))}
	}
	return s, nil
}

// file reads no more than a card may have.
func (c partnerAddCommand) file() ([]byte, error) {
	if c.Card == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, card.MaxOctets+1))
	}
	info, err := os.Stat(c.Card)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", c.Card)
	}
	f, err := os.Open(c.Card)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, card.MaxOctets+1))
}

// introduce shows who the card is from and checks whether their certificate will
// be let in at all.
func (a *adding) introduce() error {
	fmt.Fprintf(a.out, "Partner card of %s, good until %s\n\n", domainList(a.card.Domains), day(a.card.Expires))
	t := newTable(a.out)
	t.row("  fingerprint", card.Fingerprint(a.card.Chain[0]))
	if a.card.Contact != "" {
		t.row("  contact", a.card.Contact)
	}
	t.row("  signed by", a.card.ID.String()+", until "+day(a.card.ID.NotAfter()))
	t.row("  usage", a.card.ID.Usage().String())
	id, ca, err := a.identify()
	if err == nil {
		t.row("  authority", "in "+ca)
	}
	t.flush()
	if err != nil {
		return a.refuse(ca, err)
	}
	if !certs.UsageFederation.Allows(id.Usage()) {
		return exit{exitNo, errors.New("their certificate is neither for clients nor for servers; it would be refused")}
	}
	return nil
}

// identify verifies the card's certificate as the handshake on our federation
// listener would.
func (a *adding) identify() (id *certs.Identity, ca string, err error) {
	listener, err := explainCommand{}.listener(a.conf)
	if err != nil {
		return nil, "", exit{exitConfiguration, err}
	}
	ca, crl := cmp.Or(listener.PeerCA, certs.SystemRoots), listener.PeerCRL
	file := ca
	if ca != certs.SystemRoots {
		file = beside(a.conf.Dir, ca)
	} else {
		ca = "the system's authorities"
	}
	if crl != "" {
		crl = beside(a.conf.Dir, crl)
	}
	roots, err := certs.LoadRoots(file, crl)
	if err != nil {
		return nil, "", exit{exitConfiguration, err}
	}
	id, err = roots.Verifier().Identify(tls.ConnectionState{PeerCertificates: a.card.Chain})
	return id, ca, err
}

// refuse says why their certificate would not be let in, and what to do about a
// private authority.
func (a *adding) refuse(ca string, err error) error {
	var e exit
	if errors.As(err, &e) {
		return err
	}
	no := exit{exitNo, fmt.Errorf("their certificate would be refused: %w", err)}
	if certs.ProblemOf(err) != certs.UnknownIssuer {
		return no
	}
	no.err = fmt.Errorf("their certificate would be refused: its authority is not in %s", ca)
	if a.card.Authority == nil {
		return no
	}
	file := a.card.Domains[0] + "-ca.pem"
	fmt.Fprintf(a.out, `
Their authority %s is private, and not in %s.
  its fingerprint  %s
Ask your contact by telephone whether that is theirs. If so, trust it:
  %s
  cat %s >> FILE       (FILE is peer_ca of the federation listener)
and add the card again. The edge reads FILE again within ten seconds.
Who holds that authority's key can then make certificates for any name: the
pins of cards and entries say for whom it does not count.
`, authorityName(a.card.Authority), ca, card.Fingerprint(a.card.Authority),
		a.command("partner", "add", a.Card, "--save-ca", file), file)
	return no
}

// saveAuthority writes the card's authority to a new file.
func (a *adding) saveAuthority() error {
	if a.card.Authority == nil {
		return exit{exitNotFound, errors.New("the card brings no private authority")}
	}
	f, err := os.OpenFile(a.SaveCA, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(pem.Encode(f, &pem.Block{Type: "CERTIFICATE", Bytes: a.card.Authority.Raw}), f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s, fingerprint %s, is in %s. Nothing trusts it yet.\n",
		authorityName(a.card.Authority), card.Fingerprint(a.card.Authority), a.SaveCA)
	return err
}

// add compares with what the edge knows, asks, and decides.
func (a *adding) add(ctx context.Context, edge *admin.Client) error {
	for _, d := range a.card.Domains {
		if err := a.look(ctx, edge, d); err != nil {
			return err
		}
	}
	a.proposal()
	switch ok, err := a.agreed(); {
	case err != nil:
		return err
	case !ok:
		fmt.Fprintln(a.out, "Nothing was changed.")
		return exit{code: exitNo}
	}
	for i, d := range a.card.Domains {
		w := admin.Wish{Action: federation.ActionAllow, Note: a.note(), Partner: a.terms()}
		done, err := edge.Decide(ctx, d, w)
		if err != nil {
			return fmt.Errorf("%s (%d of %d domains were allowed before): %w", d, i, len(a.card.Domains), err)
		}
		for _, warning := range done.Warnings {
			fmt.Fprintln(a.err, "warning:", plain(warning))
		}
		a.reportDecision(a.out, d, done)
	}
	return nil
}

// look refuses a domain that is not for a card to bring.
func (a *adding) look(ctx context.Context, edge *admin.Client, domain string) error {
	if ours(a.conf.Domains, domain) {
		return exit{exitConflict, fmt.Errorf("the card names %s, which is a domain of our own", domain)}
	}
	p, err := edge.Partner(ctx, domain)
	var problem *admin.Problem
	switch {
	case errors.As(err, &problem) && problem.Status == http.StatusNotFound:
		return nil // new
	case err != nil:
		return err
	case p.Source == admin.SourceFile:
		return exit{exitConflict, fmt.Errorf("%s stands in %s (%s); the file wins over a card", domain, place(p), p.State)}
	case p.Decision != nil && p.Decision.Action == federation.ActionBlock:
		return exit{exitConflict, fmt.Errorf("%s was %s; take that back first: %s", domain, decidedBy(p.Decision), a.command("partner", "forget", domain))}
	}
	a.known[domain] = p
	return nil
}

// terms are what is allowed: the servers of the card, with its keys.
func (a *adding) terms() *federation.PartnerConfig {
	p := &federation.PartnerConfig{Servers: a.card.Servers, PeerName: a.card.PeerName()}
	if !a.NoPins {
		p.Pins = a.card.Pins
	}
	return p
}

// note says where the decision comes from, unless somebody said better.
func (a *adding) note() string {
	if a.Note != "" {
		return a.Note
	}
	note := "from the card of " + day(a.card.Issued)
	if a.card.Contact != "" {
		note += ", contact " + plain(a.card.Contact)
	}
	return note
}

// agreed asks, unless --yes has answered already.
func (a *adding) agreed() (bool, error) {
	if a.Yes {
		return true, nil
	}
	if info, err := os.Stdin.Stat(); a.Card == "-" || err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return false, exit{exitUsage, errors.New("there is no terminal to ask on; --yes says that the fingerprint has been compared")}
	}
	fmt.Fprintf(a.out, "Compare the fingerprint with your contact by telephone. Allow? [y/N] ")
	answer, err := bufio.NewReader(io.LimitReader(os.Stdin, 100)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(a.out)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

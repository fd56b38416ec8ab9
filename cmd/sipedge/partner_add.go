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
	"strconv"
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
	page  *page // on out
	card  *card.Signed
	known map[string]admin.Partner // what the edge knows of the card's domains
}

// Run checks a card, shows it, asks, and allows its domains.
func (c partnerAddCommand) Run(s streams) error {
	conf, err := c.edgeConfig()
	if err != nil {
		return err
	}
	a := adding{partnerAddCommand: c, streams: s, page: newPage(s.out), conf: conf, known: make(map[string]admin.Partner)}
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
	a.page.title("Partner card of "+domainList(a.card.Domains), "good until "+day(a.card.Expires))
	var f facts
	f.add("fingerprint", card.Fingerprint(a.card.Chain[0]))
	f.add("contact", legible(a.card.Contact))
	f.add("signed by", a.card.ID.String())
	f.add("its end", day(a.card.ID.NotAfter()))
	f.add("its use", a.card.ID.Usage().String())
	ca, err := a.identify()
	if err == nil {
		f.add("authority", "in "+ca)
	}
	fmt.Fprintln(a.out)
	f.print(a.page)
	if err != nil {
		return a.refuse(ca, err)
	}
	return nil
}

// identify verifies the card's certificate as the handshake on our federation
// listener would.
func (a *adding) identify() (ca string, err error) {
	listener, err := explainCommand{}.listener(a.conf)
	if err != nil {
		return "", exit{exitConfiguration, err}
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
		return "", exit{exitConfiguration, err}
	}
	_, err = roots.Verifier().Identify(tls.ConnectionState{PeerCertificates: a.card.Chain})
	return ca, err
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
	a.howToTrust(ca)
	return no
}

// howToTrust says what to do about a private authority, and what that means.
func (a *adding) howToTrust(ca string) {
	file := a.card.Domains[0] + "-ca.pem"
	fmt.Fprintln(a.out)
	a.page.text("", "", fmt.Sprintf("Their authority %s is private, and not in %s. Its fingerprint:", authorityName(a.card.Authority), ca))
	a.page.text("  ", "  ", card.Fingerprint(a.card.Authority))
	a.page.text("", "", "Ask your contact by telephone whether that is theirs. If so, put it into the file that peer_ca of "+
		"[listener.NAME] with role = \"federation\" names, and add the card again:")
	a.page.text("  ", "    ", a.command("partner", "add", a.Card, "--save-ca", file))
	a.page.text("  ", "    ", "cat "+file+" >> FILE")
	a.page.text("", "", "The edge reads that file again within ten seconds. Who holds the authority's key can make certificates "+
		"for any name: only pins of keys keep it from speaking for your other partners.")
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
	a.page.text("", "", fmt.Sprintf("The authority %s is in %s. Nothing trusts it yet. Its fingerprint:", authorityName(a.card.Authority), a.SaveCA))
	a.page.text("  ", "  ", card.Fingerprint(a.card.Authority))
	return nil
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
		warn(a.err, done.Warnings)
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
		return exit{exitConflict, fmt.Errorf("%s stands in %s (%s); the file wins over a card. To take the card, take that entry out first", domain, place(p), p.State)}
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
		note += ", contact " + clip(legible(a.card.Contact), 200)
	}
	return note
}

// legible shows what a stranger wrote: letters of all scripts as they are, and what
// would move a cursor or turn the direction of reading as an escape.
func legible(text string) string {
	q := strconv.QuoteToGraphic(text)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
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

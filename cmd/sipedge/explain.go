package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/sipedge/sipedge/cmd/sipedge/internal/settings"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

type explainCommand struct {
	configFlag
	From        string `placeholder:"USER@DOMAIN" help:"Who sends. If the domain is ours and there is none of --cert, --remote and --bridge, the request comes from inside."`
	To          string `placeholder:"USER@DOMAIN" help:"To whom. A REGISTER with --remote needs none."`
	Method      string `placeholder:"METHOD" help:"Which method. Default: the usual one of --kind, else MESSAGE."`
	Kind        string `enum:",im,presence,calls,files" default:"" placeholder:"KIND" help:"What it carries: im, presence, calls or files."`
	Event       string `placeholder:"PACKAGE" help:"The event package of a SUBSCRIBE, NOTIFY or PUBLISH. Default: presence."`
	ContentType string `name:"content-type" placeholder:"TYPE" help:"The type of its body, like application/sdp."`
	Body        string `placeholder:"FILE" help:"Its body. Needs --content-type."`
	Remote      bool   `help:"The user in --from is outside and has signed in there; a REGISTER signs in."`
	Source      string `placeholder:"ADDRESS" help:"With --remote: the address that the user comes from, for the bans."`
	Bridge      string `placeholder:"NETWORK" help:"It comes by the bridge to this network: xmpp."`
	Proof       string `enum:",certificate,dane,dialback,account,none" default:"" placeholder:"PROOF" help:"With --bridge: what proves the domain in --from there: certificate, dane, dialback, account or none. Default: certificate."`
	Cert        string `placeholder:"FILE" help:"The certificate that the peer shows, with its chain (PEM). Default: one that proves what it should."`
	Listener    string `placeholder:"NAME" help:"The listener for partners, or with --remote for users, that the request comes to. Default: the first by name."`
	Ref         string `placeholder:"REF" help:"Instead of all that: the reference of a refusal, as the peer got it in Warning."`
	Log         string `placeholder:"FILE" help:"With --ref: a log in JSON to look in. Default: what the edge keeps in state_dir."`
	JSON        bool   `name:"json" help:"Print JSON."`
}

// Run asks the doors about a request that nobody sent, or about one that was
// refused.
func (c explainCommand) Run(s streams) error {
	if c.Remote && c.Method == "REGISTER" {
		c.To = cmp.Or(c.To, c.From)
	}
	if err := c.check(); err != nil {
		return exit{exitUsage, err}
	}
	if c.Ref != "" {
		return c.explainRef(s)
	}
	set, e, err := setup(c.Config, slog.New(slog.DiscardHandler), s.err)
	if err != nil {
		return err
	}
	defer e.Close()
	report, err := c.ask(set, e)
	if err != nil {
		return err
	}
	if err := report.write(s.out, c.JSON); err != nil {
		return err
	}
	if !report.Allowed {
		return exit{code: exitNo}
	}
	return nil
}

// check looks at the flags that go together.
func (c explainCommand) check() error {
	switch {
	case c.Ref == "" && (c.From == "" || c.To == ""):
		return errors.New("explain needs --from and --to, or --ref")
	case c.Ref != "" && (c.From != "" || c.To != "" || c.Method != "" || c.Kind != "" || c.Body != "" || c.ContentType != "" || c.Event != "" || c.Cert != "" || c.Remote || c.Source != "" || c.Bridge != ""):
		return errors.New("--ref stands alone: the log says who, what and to whom")
	case c.Remote && c.Cert != "":
		return errors.New("--remote and --cert exclude each other: users sign in, and need no certificate")
	case c.Bridge != "" && (c.Cert != "" || c.Remote || c.Listener != ""):
		return errors.New("--bridge excludes --cert, --remote and --listener: what comes by a bridge comes to no listener, and --proof says what proves it")
	case c.Proof != "" && c.Bridge == "":
		return errors.New("--proof is for --bridge")
	case c.Source != "" && !c.Remote:
		return errors.New("--source is for --remote: a partner is known by its certificate, wherever it comes from")
	case c.Log != "" && c.Ref == "":
		return errors.New("--log is for --ref")
	case c.Body != "" && c.ContentType == "":
		return errors.New("--body needs --content-type")
	case c.Kind != "" && (c.ContentType != "" || c.Event != ""):
		return errors.New("--kind says what it carries; --content-type and --event do, too")
	}
	return nil
}

// ask walks the request through the doors: first those of TLS, then the edge's.
func (c explainCommand) ask(set *settings.Settings, e *edge.Edge) (*report, error) {
	q, err := c.query(set.Edge)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	r := newReport(c.configFlag, q)
	var shown edge.Step
	switch {
	case q.Remote:
		r.add(c.arriveRemote(set.Edge))
	case q.Bridge != "":
	case !q.Inside:
		var listener edge.Step
		if listener, shown, q.Peer, err = c.arrive(set.Edge, q.From); err != nil {
			return nil, exit{exitUsage, err}
		}
		r.add(listener)
		r.add(shown)
	}
	if !q.Inside && !q.Remote && q.Bridge == "" && !shown.Passed {
		r.refusedAtHandshake(shown)
	}
	return r, r.walk(set, e, q)
}

// walk asks the doors about q and takes in what they say.
func (r *report) walk(set *settings.Settings, e *edge.Edge, q edge.Query) error {
	x, err := e.Explain(q)
	if err != nil {
		return err
	}
	r.conclude(x)
	r.advise(set.Partners)
	r.adviseBridge(q)
	if err := r.byBridge(e, q); err != nil {
		return err
	}
	if q.Remote {
		r.adviseAccess(set.Remote, q)
	}
	return nil
}

// query makes the question, but for who the peer is.
func (c explainCommand) query(conf edge.Config) (edge.Query, error) {
	q := edge.Query{Method: c.Method, Event: c.Event, ContentType: c.ContentType}
	var fromDomain string
	var err error
	if q.From, fromDomain, err = address(c.From); err != nil {
		return q, fmt.Errorf("--from: %w", err)
	}
	if q.To, _, err = address(c.To); err != nil {
		return q, fmt.Errorf("--to: %w", err)
	}
	if strings.ContainsFunc(c.Method, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return q, fmt.Errorf("--method: %q is not a SIP method", c.Method)
	}
	if _, err := c.listener(conf); c.Listener != "" && err != nil {
		return q, fmt.Errorf("--listener: %w", err)
	}
	for flag, value := range map[string]string{"--content-type": c.ContentType, "--event": c.Event} {
		if strings.ContainsFunc(value, unicode.IsControl) {
			return q, fmt.Errorf("%s: %q holds control characters", flag, value)
		}
	}
	if q.Remote = c.Remote; c.Remote && !ours(conf.Domains, fromDomain) {
		return q, fmt.Errorf("--from: with --remote it is one of our users, and %s is no domain of ours", fromDomain)
	}
	if c.Source != "" {
		if q.Source, err = netip.ParseAddr(c.Source); err != nil {
			return q, fmt.Errorf("--source: %.80q is not an IP address", c.Source)
		}
	}
	c.bridged(&q)
	q.Inside = c.Cert == "" && !c.Remote && c.Bridge == "" && ours(conf.Domains, fromDomain)
	return q, c.fill(&q)
}

// longestBody bounds what explain reads of a file: more than any edge takes.
const longestBody = 64 << 20

// fill puts in what the request carries.
func (c explainCommand) fill(q *edge.Query) error {
	switch {
	case c.Kind != "":
		kindQuery(q, c.Kind)
	case c.Body != "":
		info, err := os.Stat(c.Body)
		if err == nil && info.Size() > longestBody {
			err = fmt.Errorf("%s is larger than %d octets", c.Body, longestBody)
		}
		if err == nil {
			q.Body, err = os.ReadFile(c.Body)
		}
		if err != nil {
			return fmt.Errorf("--body: %w", err)
		}
	case c.ContentType != "":
		q.Body = []byte("\r\n")
	}
	q.Method = cmp.Or(q.Method, "MESSAGE")
	return nil
}

// kindQuery gives q the usual method and body of a kind. A method that was asked
// for stays.
func kindQuery(q *edge.Query, kind string) {
	const session = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
	method, media := "INVITE", ""
	switch kind {
	case "im":
		method, media = "MESSAGE", "m=message 7654 TCP/TLS/MSRP *\r\n"
	case "presence":
		method = "SUBSCRIBE"
	case "calls":
		media = "m=audio 49170 RTP/AVP 0\r\n"
	case "files":
		media = "m=message 7654 TCP/TLS/MSRP *\r\na=file-selector\r\n"
	}
	switch q.Method = cmp.Or(q.Method, method); {
	case q.Method == "MESSAGE" && kind == "files":
		q.ContentType, q.Body = "application/vnd.gsma.rcs-ft-http+xml", []byte("<file/>")
	case q.Method == "MESSAGE":
		q.ContentType, q.Body = "text/plain", []byte("hello")
	case media != "":
		q.ContentType, q.Body = "application/sdp", []byte(session+media)
	}
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

// plain makes text from a certificate or a flag safe to print.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

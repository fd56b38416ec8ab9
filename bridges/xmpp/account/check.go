package account

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/net/idna"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const askTime = 40 * time.Second // a server may need that to find another one

// Check logs in as an ordinary client does and asks, through the account's
// server, each domain what it is: the answer shows that both servers reach each
// other, in both directions. Nobody is told anything, and nothing that waits for the user
// is taken.
func (a *Account) Check(ctx context.Context, domains ...string) []bridges.Step {
	var steps []bridges.Step
	watch := func(step string, err error, detail string) {
		if err != nil {
			detail = err.Error()
		}
		steps = append(steps, bridges.Step{Name: step, OK: err == nil, Detail: detail})
	}
	s, _, err := a.connect(ctx, watch)
	if err != nil {
		if len(steps) == 0 || steps[len(steps)-1].OK {
			watch("account", err, "")
		}
		return steps
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	for _, domain := range domains {
		for _, question := range []struct{ what, space, local string }{{"what it is", nsInfo, "query"}, {"ping", nsPing, "ping"}} {
			began := time.Now()
			detail, err := s.ask(domain, stanza.New(question.space, question.local))
			watch(domain+": "+question.what, err, detail+fmt.Sprintf("in %d ms", time.Since(began).Milliseconds()))
			if err != nil {
				break
			}
		}
	}
	s.goodbye()
	return steps
}

// ask asks a domain something, and returns what is to be known of the answer. It
// is an error that no answer of the domain's own comes.
func (s *stream) ask(domain string, question *stanza.Element) (string, error) {
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", err
	}
	if unicode, err := idna.Lookup.ToUnicode(ascii); err == nil {
		domain = unicode // as JIDs have it (RFC 7622 §3.2)
	}
	id := "q" + rand.Text()
	iq := stanza.New(stanza.NS, "iq", attr("type", "get"), attr("to", domain), attr("id", id))
	iq.Add(question)
	if err := s.write(iq); err != nil {
		return "", err
	}
	s.quiet = time.Second // Read wakes up to look at the clock
	for until := time.Now().Add(askTime); time.Now().Before(until); {
		e, err := s.next()
		switch {
		case err == io.EOF:
			return "", errors.New("the account's server ended the stream")
		case err != nil && !late(err):
			return "", err
		case err != nil || !e.Is(stanza.NS, "iq") || e.Attr("id") != id:
		case e.Attr("type") == "error":
			return s.judge(domain, stanza.ErrorOf(e))
		case e.Attr("type") == "result" && e.Attr("from") == domain:
			return identity(e), nil
		}
	}
	return "", fmt.Errorf("no answer within %s", askTime)
}

// judge says what an error means. One that a domain makes itself has come from
// there and shows that it can be reached; servers make others in its name.
func (s *stream) judge(domain string, e *stanza.Error) (string, error) {
	words := e.Condition
	if e.Text != "" {
		words += ": " + e.Text
	}
	switch e.Condition {
	case "feature-not-implemented":
		return "it answers that it does not know that, ", nil
	case "remote-server-not-found":
		return "", fmt.Errorf("the account's server does not find %s, or gets no stream to it (%s)", domain, words)
	case "remote-server-timeout":
		return "", fmt.Errorf("the account's server does not reach %s in time (%s)", domain, words)
	}
	return "", fmt.Errorf("%s says %s", cmp.Or(e.By, "it, or the account's server,"), words)
}

// identity describes the answer to disco#info (XEP-0030 §3.1).
func identity(e *stanza.Element) string {
	q := e.Child(nsInfo, "query")
	if q == nil {
		return ""
	}
	i := q.Child(nsInfo, "identity")
	if i == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s %q, ", i.Attr("category"), i.Attr("type"), i.Attr("name"))
}

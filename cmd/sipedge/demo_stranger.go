package main

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"golang.org/x/sync/errgroup"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/home"
)

// A demoStranger speaks straight to a company's edge, as the edge of some other
// company would: over TLS, with a certificate that is good in itself.
type demoStranger struct {
	keypair  *certs.Keypair
	verifier *certs.Verifier
}

// message sends one MESSAGE to the edge of a company, from whomever it claims.
func (s *demoStranger) message(ctx context.Context, at netip.AddrPort, server, from, to, text string) (home.Answer, error) {
	client, end, err := s.connect(server)
	if err != nil {
		return home.Answer{}, err
	}
	defer end()
	return ask(ctx, client, at, from, to, text)
}

// flood sends many MESSAGEs at once, on one connection, and returns the answers
// in the order in which they came.
func (s *demoStranger) flood(ctx context.Context, n int, at netip.AddrPort, server, from, to, text string) ([]home.Answer, error) {
	client, end, err := s.connect(server)
	if err != nil {
		return nil, err
	}
	defer end()
	// The first one makes the connection for all.
	first, err := ask(ctx, client, at, from, to, text)
	if err != nil {
		return nil, err
	}
	answers := []home.Answer{first}
	var mu sync.Mutex
	var group errgroup.Group
	for range n - 1 {
		group.Go(func() error {
			a, err := ask(ctx, client, at, from, to, text)
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, a)
			return err
		})
	}
	return answers, group.Wait()
}

// connect makes a client that shows the stranger's certificate.
func (s *demoStranger) connect(server string) (client *sipgo.Client, end func() error, err error) {
	quiet := slog.New(slog.DiscardHandler)
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgenTLSConfig(certs.ClientConfig(certs.ClientOptions{
			Keypair: s.keypair, Verifier: s.verifier, ServerName: server,
		})),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet)),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(quiet), sip.WithTransactionLayerTerminateOnConnClose()),
	)
	if err != nil {
		return nil, nil, err
	}
	client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(quiet))
	if err != nil {
		ua.Close()
		return nil, nil, err
	}
	return client, ua.Close, nil
}

// ask sends one MESSAGE and waits for its answer.
func ask(ctx context.Context, client *sipgo.Client, at netip.AddrPort, from, to, text string) (home.Answer, error) {
	req, err := strangerRequest(from, to, text)
	if err != nil {
		return home.Answer{}, err
	}
	req.SetDestination(at.String())
	start := time.Now()
	res, err := client.Do(ctx, req)
	if err != nil {
		return home.Answer{}, err
	}
	a := home.Answer{Status: res.StatusCode, Reason: res.Reason, CallID: req.CallID().Value(), Took: time.Since(start)}
	if h := res.GetHeader("Warning"); h != nil {
		a.Warning = h.Value()
	}
	return a, nil
}

func strangerRequest(from, to, text string) (*sip.Request, error) {
	var target, author sip.Uri
	if err := sip.ParseUri("sip:"+to, &target); err != nil {
		return nil, err
	}
	if err := sip.ParseUri("sip:"+from, &author); err != nil {
		return nil, err
	}
	req := sip.NewRequest(sip.MESSAGE, target)
	h := &sip.FromHeader{Address: author}
	h.Params.Add("tag", sip.GenerateTagN(10))
	callID := sip.CallIDHeader(strings.ToLower(sip.GenerateTagN(20)))
	req.AppendHeader(h)
	req.AppendHeader(&callID)
	req.AppendHeader(sip.NewHeader("Content-Type", "text/plain;charset=UTF-8"))
	req.SetBody([]byte(text))
	req.SetTransport("TLS")
	return req, nil
}

package xmpp

import (
	"context"
	"strings"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// Test looks whether a foreign address or domain could be reached now: an XMPP address,
// a SIP URI, or a domain. Nothing is sent to a person: only his server is asked.
func (b *Bridge) Test(ctx context.Context, address string) (steps []bridges.Step) {
	step := func(name string, ok bool, detail string) bool {
		steps = append(steps, bridges.Step{Name: name, OK: ok, Detail: detail})
		return ok
	}
	b.mu.Lock()
	w := b.work
	b.mu.Unlock()
	if !step("bridge", w != nil, map[bool]string{true: "runs", false: "does not run"}[w != nil]) {
		return steps
	}
	j, err := b.foreign(address)
	if err != nil {
		step("address", false, err.Error())
		return steps
	}
	domain := j.Domainpart()
	if w.gateway.set.served[domain] {
		step("address", false, domain+" is ours: its users are reached by its home servers, and not by the bridge")
		return steps
	}
	step("address", true, j.String())
	if !step("lists", b.listed(domain), map[bool]string{true: "the domain may be spoken with", false: "the domain may not be spoken with by XMPP"}[b.listed(domain)]) {
		return steps
	}
	if b.deps.Suspects.out(domain) {
		step("panics", false, "the domain is shut out for a while: its stanzas made the bridge panic")
		return steps
	}
	steps = append(steps, w.server.Test(ctx, domain)...)
	if !steps[len(steps)-1].OK {
		return steps
	}
	ok, detail := w.ping(ctx, domain)
	step("ping (XEP-0199)", ok, detail)
	return steps
}

// foreign reads an address as an administrator writes it.
func (b *Bridge) foreign(name string) (address.JID, error) {
	if strings.Contains(name, ":") {
		return b.addr.JID(name)
	}
	return address.Parse(name)
}

// ping asks a server whether it is there.
func (w *work) ping(ctx context.Context, domain string) (ok bool, detail string) {
	got := make(chan *stanza.Element, 1)
	from := w.b.served()[0]
	if !w.gateway.queries.ask(from, domain, stanza.New(nsPing, "ping"), func(e *stanza.Element) { got <- e }) {
		return false, "too many questions are open"
	}
	select {
	case <-ctx.Done():
		return false, "no answer in time"
	case e := <-got:
		if e == nil {
			return false, "no answer"
		}
		if fault := stanza.ErrorOf(e); fault != nil {
			// It speaks with us, and knows no ping.
			return true, "answered with " + fault.Condition
		}
		return true, "answered"
	}
}

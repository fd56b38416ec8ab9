package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/edge"
)

// proofs are what can prove a foreign domain to a bridge, by the words of --proof.
var proofs = map[string]bridges.Proof{
	"certificate": bridges.ProofCertificate, "dane": bridges.ProofDANE, "dialback": bridges.ProofDialback, "account": bridges.ProofAccount,
	"none": bridges.ProofNone,
}

// bridged puts in by which bridge the request comes.
func (c explainCommand) bridged(q *edge.Query) {
	if q.Bridge = c.Bridge; c.Bridge != "" {
		q.Proof = proofs[cmp.Or(c.Proof, "certificate")]
	}
}

// adviseBridge says what an administrator can do about a verdict on what comes or goes
// by a bridge.
func (r *report) adviseBridge(q edge.Query) {
	network, user, way := q.Bridge, q.To, "--inbound"
	if network == "" {
		network, user, way = leaves(r.Target), q.From, "--outbound"
	}
	switch r.Reason {
	case allowlists.BridgeNotEnabled:
		if network == "" {
			return
		}
		r.ToAllow = []string{r.flag.command("bridge", "allow", network, shellWord(user), way)}
		if r.Line > 0 && strings.HasPrefix(r.Rule, "user ") {
			r.ToAllow = []string{fmt.Sprintf("change %s of [user.%q], %s", strings.TrimPrefix(way, "--"), strings.TrimPrefix(r.Rule, "user "), r.where())}
		}
		r.ToLook = []string{r.flag.command("bridge", "user", network, shellWord(user))}
	case allowlists.BridgeNetwork:
		r.ToLook = []string{r.flag.command("partner", "show", r.partner)}
	case allowlists.IdentityNone:
		if q.Bridge != "" && r.partner != "" {
			r.ToLook = []string{r.flag.command("bridge", "test", network, r.partner)}
		}
	case allowlists.BridgePaused:
		if network != "" {
			r.ToAllow = []string{r.flag.command("bridge", "resume", network)}
		}
	case allowlists.PartnerAllowed, allowlists.PartnerDiscovered:
		switch what := r.uncrossed(); {
		case network == "":
		case what != "" && q.Bridge != "":
			r.PeerSees = []string{"nothing like it comes by a bridge: " + what + " do not cross"}
		case what != "":
			r.PeerSees = []string{"a refusal of bridge " + network + ": " + what + " do not cross"}
		case q.Bridge == "":
			r.ToLook = []string{r.flag.command("bridge", "test", network, shellWord(q.To))}
		}
	}
}

// uncrossed is what a request carries that no bridge does, whatever the lists say, ""
// for the rest.
func (r *report) uncrossed() string {
	for _, s := range r.Steps {
		kinds, _, _ := strings.Cut(s.Detail, ";")
		if s.Name == "kinds" && (kinds == "calls" || kinds == "files") {
			return kinds
		}
	}
	return ""
}

// byBridge says so where a partner's domain is one that a bridge reaches: what comes from
// there comes by that, and this was the question about SIP.
func (r *report) byBridge(e *edge.Edge, q edge.Query) error {
	if q.Inside || q.Remote || q.Bridge != "" {
		return nil
	}
	back := edge.Query{From: q.To, To: q.From, Inside: true}
	kindQuery(&back, "im")
	back.Method = "MESSAGE"
	x, err := e.Explain(back)
	network := leaves(x.Target)
	if err != nil || network == "" {
		return err
	}
	r.Bridge = network
	for _, s := range x.Steps {
		if s.Name == "network" {
			r.whyBridge = strings.TrimPrefix(s.Detail, network+": ")
		}
	}
	words := []string{"explain", "--from", shellWord(q.From), "--to", shellWord(q.To)}
	if q.Method != "MESSAGE" {
		words = append(words, "--method", shellWord(q.Method))
	}
	r.ToLook = append(r.ToLook, r.flag.command(append(words, "--bridge", network)...))
	return nil
}

// leaves is the network by whose bridge a request leaves for a target, "" for none.
func leaves(target string) string {
	rest, ok := strings.CutPrefix(target, "bridge ")
	if !ok {
		return ""
	}
	network, _, _ := strings.Cut(rest, ",")
	return network
}

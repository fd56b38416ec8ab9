package main

import (
	"fmt"
	"strings"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
)

// tightKey is the key of an entry that refuses for a reason.
var tightKey = map[allowlists.Reason]string{
	allowlists.PartnerDirection: "direction",
	allowlists.PartnerMethod:    "methods",
	allowlists.PartnerKind:      "kinds",
	allowlists.PartnerUser:      "users or their_users",
	allowlists.PartnerNumber:    "phone_numbers",
	allowlists.PartnerSize:      "max_message or max_body",
	allowlists.PartnerExpired:   "until",
	allowlists.PartnerUnmarked:  "unmarked",
	allowlists.PartnerRate:      "rate",
	allowlists.IdentityUsage:    "peer_usage",
	allowlists.IdentityPin:      "pins",
}

// advise says what an administrator can do about the verdict. It is only said
// where it would help: what a standard refuses, no list can allow.
func (r *report) advise(lists *federation.Partners) {
	about, listed := lists.Describe(r.partner)
	decided := listed && about.Decision != nil
	switch r.Reason {
	case allowlists.PartnerNotAllowed, allowlists.PartnerWatched, allowlists.PartnerLimit:
		r.ToAllow = []string{r.flag.command("partner", "allow", r.partner)}
		r.ToBlock = []string{r.flag.command("partner", "block", r.partner)}
	case allowlists.PartnerDiscovered, allowlists.PartnerUpstream:
		r.ToBlock = []string{r.flag.command("partner", "block", r.partner)}
	case allowlists.PartnerBlocked:
		r.ToAllow = []string{fmt.Sprintf("take [blocked.%q] out of %s", r.partner, r.where())}
		if decided {
			r.ToAllow = []string{r.flag.command("partner", "allow", r.partner)}
		}
	case allowlists.IdentityDomainMismatch, allowlists.IdentityUnproven, allowlists.RouteNoRecords, allowlists.RouteDNSFailed,
		allowlists.RouteForbidden:
		r.ToLook = []string{r.flag.command("probe", r.partner)}
	default:
		key, ok := tightKey[r.Reason]
		switch {
		case ok && r.Line > 0:
			r.ToAllow = []string{fmt.Sprintf("change %s of [partner.%q], %s", key, r.partner, r.where())}
		case ok && listed:
			r.ToLook = []string{r.flag.command("partner", "show", r.partner)}
		}
	}
}

// accessKey is the key of remote.toml that refuses for a reason.
var accessKey = map[allowlists.Reason]string{
	allowlists.AccessKind:       "kinds",
	allowlists.AccessFederation: "federation",
	allowlists.AccessDevices:    "devices",
}

// adviseAccess says what an administrator can do about a verdict on a user outside.
func (r *report) adviseAccess(a *remoteaccess.Access, q edge.Query) {
	user, err := remoteaccess.NormalUser(q.From)
	if err != nil {
		return // nobody can decide about such a one
	}
	name := shellWord(user)
	inFile := r.Line > 0 && r.Rule == "user "+user
	switch key, ok := accessKey[r.Reason]; {
	case ok:
		r.ToAllow = []string{fmt.Sprintf("say %s for %s in remote.toml; now %s does", key, plain(user), saying(a, user, key))}
	case r.Reason == allowlists.AccessLockedOut:
		r.ToAllow = []string{r.flag.command("ban", "lift", banWords(strings.TrimPrefix(r.Rule, "ban ")))}
	case r.Reason == allowlists.AccessNotEnabled && inFile:
		r.ToAllow = []string{fmt.Sprintf("change allow of [user.%q], %s", user, r.where())}
	case r.Reason == allowlists.AccessNotEnabled:
		r.ToAllow = []string{r.flag.command("user", "allow", name)}
	case r.Reason == allowlists.AccessAllowed || r.Reason == allowlists.AccessSigningIn:
		r.ToLook = []string{r.flag.command("user", "show", name)}
	}
}

// saying is the rule that says something about a user.
func saying(a *remoteaccess.Access, user, key string) string {
	local, domain, _ := strings.Cut(user, "@")
	for _, s := range a.Explain([]byte(local), []byte(domain), nil) {
		if s.Key == key {
			return plain(s.Rule.String())
		}
	}
	return "nothing"
}

package main

import (
	"fmt"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
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

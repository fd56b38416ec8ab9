package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/locate"
	"github.com/sipedge/sipedge/remoteaccess"
)

// forUsers are the listeners that users outside come to.
func (d *doctor) forUsers() (list []edge.ListenerConfig) {
	for _, name := range sorted(d.conf.Listeners) {
		if l := d.conf.Listeners[name]; forUsers(l) {
			list = append(list, l)
		}
	}
	return list
}

// The records by which clients find where to sign in: most by the first, those that
// follow RFC 3263 §4.1 by the second, which partners look for as well.
const (
	forClients = "_sip._tls."
	forAll     = "_sips._tcp."
)

// users looks up what users of one of our domains need to find a listener of theirs.
func (d *doctor) users(ctx context.Context, written string) group {
	g := group{Name: "users outside: " + escaped(written)}
	domain, err := federation.Normal(written)
	if err != nil {
		g.add(failed, escaped(written), err.Error(), "Write a domain.")
		return g
	}
	seen := make(map[locate.Target]bool)
	for _, service := range []string{forClients, forAll} {
		r := d.locator.Service(ctx, service+domain)
		label := serviceOf(r.Name, domain)
		switch {
		case r.Err == nil:
			g.add(fine, label, records(r))
		case errors.Is(r.Err, locate.ErrNoRecords) && service == forClients:
			g.add(warned, label, "no records", "Clients that are not told a server do not find one."+d.wantedBy(service+domain))
		case errors.Is(r.Err, locate.ErrNoRecords):
			g.add(noted, label, "no records", "Clients that follow RFC 3263 to the letter look for this one, as partners do.")
		default:
			g.add(failed, label, escaped(r.Err.Error()), "Look after the name servers of "+domain+": clients that ask them get no answer either.")
		}
		for _, t := range r.Targets {
			t.Priority, t.Weight = 0, 0
			if !seen[t] {
				seen[t] = true
				d.userTarget(ctx, &g, domain, t, service)
			}
		}
	}
	return g
}

// userTarget judges one server that such records name. Where partners and users have
// ports of their own, _sips._tcp is the partners'.
func (d *doctor) userTarget(ctx context.Context, g *group, domain string, t locate.Target, service string) {
	one := group{}
	d.target(ctx, &one, domain, t, d.forUsers())
	if service == forAll && !one.stands() {
		partners := group{}
		if d.target(ctx, &partners, domain, t, d.outside()); partners.stands() {
			g.add(noted, escaped(t.Host), fmt.Sprintf("port %d is for partners; clients that follow this record do not get in", t.Port),
				`One port for both has role = "outside".`)
			return
		}
	}
	g.Findings = append(g.Findings, one.Findings...)
}

// wantedBy is the record to publish for users.
func (d *doctor) wantedBy(name string) string {
	port := "443"
	if l := d.forUsers(); len(l) > 0 {
		if _, p, err := net.SplitHostPort(cmp.Or(l[0].Advertise, l[0].Address)); err == nil && p != "0" {
			port = p
		}
	}
	return fmt.Sprintf(" Publish: %s. IN SRV 10 10 %s %s.", name, port, escaped(d.conf.Name))
}

// directory asks the directory as the edge does: connects, says who we are, and looks
// for the base.
func (d *doctor) directory(ctx context.Context, c remoteaccess.LDAPConfig) group {
	g := group{Name: "directory"}
	x, err := remoteaccess.Examine(ctx, c, func(path string) string { return beside(d.conf.Dir, path) })
	subject := escaped(cmp.Or(x.Server, c.URL))
	if !x.Connected {
		remedy := "Let this machine reach it, and mend url, ca, bind_dn or password_file of [ldap], whichever it says."
		g.add(failed, subject, escaped(err.Error()), remedy)
		g.add(unchecked, "base", "not checked: there is no connection")
		return g
	}
	who := "anonymously"
	if c.BindDN != "" {
		who = "as " + c.BindDN
	}
	way := "TLS"
	if c.Plain {
		way = "no TLS"
	}
	g.add(fine, subject, fmt.Sprintf("connected with %s and bound %s in %s", way, escaped(who), inMillis(x.Took)))
	if err != nil {
		g.add(failed, "base", escaped(err.Error()), "Mend base of [ldap], or let the account that binds read there.")
		return g
	}
	g.add(fine, "base", escaped(c.Base)+" is there")
	return g
}

package remoteaccess

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// What [ldap] means where it says nothing.
const (
	defaultFilter    = "(|(mail={address})(userPrincipalName={address}))"
	defaultAttribute = "memberOf"
	// inChain is Active Directory's rule that follows groups into groups.
	inChain        = "(member:1.2.840.113556.1.4.1941:={dn})"
	defaultCache   = 10 * time.Minute
	defaultTimeout = 3 * time.Second
)

// used reports whether there is a section [ldap].
func (l LDAPConfig) used() bool { return l != LDAPConfig{} }

// defaults fills in what is not said.
func (l LDAPConfig) defaults() LDAPConfig {
	l.CA = cmp.Or(l.CA, "system")
	l.Filter = cmp.Or(l.Filter, defaultFilter)
	if l.Nested {
		l.GroupFilter = inChain
	}
	l.Attribute = cmp.Or(l.Attribute, defaultAttribute)
	l.GroupBase = cmp.Or(l.GroupBase, l.Base)
	l.Cache = cmp.Or(l.Cache, defaultCache)
	l.Timeout = cmp.Or(l.Timeout, defaultTimeout)
	return l
}

// check returns what is wrong with the section, but for its files.
func (l LDAPConfig) check() (errs []error) {
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := l.server(); err != nil {
		errs = append(errs, err)
	}
	if l.BindDN != "" {
		if _, err := canonicalDN(l.BindDN); err != nil {
			fault("bind_dn %q: %w", l.BindDN, err)
		}
	}
	switch {
	case l.BindDN != "" && l.PasswordFile == "":
		fault("bind_dn needs password_file: without a password a directory takes everybody for nobody")
	case l.BindDN == "" && l.PasswordFile != "":
		fault("password_file needs bind_dn, whose password it has")
	}
	for _, base := range []struct{ key, dn string }{{"base", l.Base}, {"group_base", l.GroupBase}} {
		if base.dn == "" && base.key == "base" {
			fault("base is missing: where users are looked for, like \"dc=example,dc=com\"")
		} else if _, err := canonicalDN(base.dn); base.dn != "" && err != nil {
			fault("%s %q: %w", base.key, base.dn, err)
		}
	}
	errs = append(errs, l.checkFilters()...)
	if l.Attribute != "" && !attributeName(l.Attribute) {
		fault("attribute %q is no name of an attribute", l.Attribute)
	}
	if l.Cache < 0 || l.Cache > mostKnown {
		fault("cache must be more than 0 and at most %s", "720h")
	}
	if l.Timeout < 0 || l.Timeout > time.Minute {
		fault("timeout must be more than 0 and at most 1m")
	}
	return errs
}

// checkFilters fills the filters in with somebody, and sees whether they are
// filters then.
func (l LDAPConfig) checkFilters() (errs []error) {
	if l.Nested && l.GroupFilter != "" {
		errs = append(errs, errors.New("nested = true stands for a group_filter of its own; leave one of them out"))
	}
	for _, f := range []struct {
		key, text string
		dn        bool
	}{{"filter", l.Filter, false}, {"group_filter", l.GroupFilter, true}} {
		if f.text == "" {
			continue
		}
		if rest := placeholders("x", "example.com", "cn=x").Replace(f.text); strings.ContainsAny(rest, "{}") {
			errs = append(errs, fmt.Errorf("%s %q: what stands in braces is none of {address}, {user}, {domain}, {dn}", f.key, f.text))
		} else if _, err := ldap.CompileFilter(rest); err != nil {
			errs = append(errs, fmt.Errorf("%s %q is no LDAP filter (RFC 4515): %v", f.key, f.text, err))
		}
		switch names := strings.Contains(f.text, "{address}") || strings.Contains(f.text, "{user}"); {
		case !names && !(f.dn && strings.Contains(f.text, "{dn}")):
			errs = append(errs, fmt.Errorf("%s %q finds the same for every user: it needs {address} or {user}", f.key, f.text))
		case !f.dn && strings.Contains(f.text, "{dn}"):
			errs = append(errs, fmt.Errorf("%s %q: {dn} is not known before the user is found", f.key, f.text))
		}
	}
	return errs
}

// placeholders puts somebody into a filter. What a filter would take for its own is
// escaped (RFC 4515 §3).
func placeholders(user, domain, dn string) *strings.Replacer {
	return strings.NewReplacer(
		"{address}", ldap.EscapeFilter(user+"@"+domain), "{user}", ldap.EscapeFilter(user),
		"{domain}", ldap.EscapeFilter(domain), "{dn}", ldap.EscapeFilter(dn),
	)
}

// attributeName reports whether s is a descriptor or OID (RFC 4512 §1.4), so that it
// can be asked for.
func attributeName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.')
	})
}

// A server is where the directory is, and how it is reached.
type server struct {
	host, address string
	tls, startTLS bool
}

// server reads url and what belongs to it.
func (l LDAPConfig) server() (s server, err error) {
	if l.URL == "" {
		return s, errors.New(`url is missing, like "ldaps://dc.example.com"`)
	}
	u, err := url.Parse(l.URL)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return s, fmt.Errorf(`url %q is not "ldaps://HOST" or "ldap://HOST", with a port or without`, l.URL)
	}
	s.host = u.Hostname()
	port := u.Port()
	switch {
	case u.Scheme == "ldaps" && (l.StartTLS || l.Plain):
		return s, errors.New("url with ldaps:// is TLS from the start: starttls and plain are for ldap://")
	case u.Scheme == "ldaps":
		s.tls = true
		port = cmp.Or(port, "636")
	case u.Scheme != "ldap":
		return s, fmt.Errorf("url %q begins with neither ldaps:// nor ldap://", l.URL)
	case l.StartTLS && l.Plain:
		return s, errors.New("starttls and plain exclude each other")
	case !l.StartTLS && !l.Plain:
		return s, errors.New("url with ldap:// needs starttls = true; plain = true does without TLS, and everybody on the way can read and change what is said")
	default:
		s.startTLS = l.StartTLS
		port = cmp.Or(port, "389")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return s, fmt.Errorf("url %q: port is not a number from 1 to 65535", l.URL)
	}
	s.address = net.JoinHostPort(s.host, port)
	return s, nil
}

// longestDN is how long a DN may be, in octets.
const longestDN = 2048

// canonicalDN brings a DN into one form of all that mean the same entry: lower case,
// one way to escape, blanks that count for nothing left out. Directories send DNs as
// somebody once typed them.
func canonicalDN(s string) (string, error) {
	if len(s) > longestDN {
		return "", errors.New("too long to be a DN")
	}
	dn, err := ldap.ParseDN(s)
	if err != nil {
		return "", fmt.Errorf("not a DN, like \"cn=sales,dc=example,dc=com\": %w", err)
	}
	if len(dn.RDNs) == 0 {
		return "", errors.New("an empty DN")
	}
	for _, rdn := range dn.RDNs {
		for _, a := range rdn.Attributes {
			// Attributes that name entries ignore case and count blanks
			// once (RFC 4518 §2.6.1).
			a.Type = strings.ToLower(a.Type)
			a.Value = strings.Join(strings.Fields(strings.ToLower(a.Value)), " ")
		}
	}
	return dn.String(), nil
}

// LDAP returns the section [ldap], and whether there is one.
func (a *Access) LDAP() (LDAPConfig, bool) {
	if a == nil {
		return LDAPConfig{}, false
	}
	return a.ldap, a.ldap.used()
}

package address

import (
	"strings"
)

// URI returns the SIP URI of a JID (RFC 7247 §6.5). j is in canonical form, as
// Parse makes it. The error is an *Error.
//
// A resource becomes ;gr=. Resources of our own users are names that the bridge
// gave; whoever asks about them takes j.Bare().
func (a *Table) URI(j JID) (string, error) {
	domain, err := hostOf(j.Domainpart())
	if err != nil {
		return "", errNoSIP
	}
	local := j.Localpart()
	var room [128]byte
	b := append(room[:0], "sip:"...)
	switch {
	case domain == a.sipGateway && a.sipGateway != "":
		return "", ErrLoop
	case domain == a.gateway && a.gateway != "":
		b, err = a.unwrapJID(b, j, local)
	case a.tunnelled[domain]:
		return "", ErrPlain
	case a.sipGateway != "" && !a.native[domain]:
		b, err = a.wrapJID(b, local, domain)
	default:
		b, err = a.plainJID(b, j, local, domain)
	}
	if err != nil {
		return "", err
	}
	if resource := j.Resourcepart(); resource != "" {
		b = append(b, ";gr="...)
		b = appendPercent(b, resource, &gruuOctets)
	}
	return string(b), nil
}

// plainJID appends user and host of a JID whose domain is a SIP domain, too.
func (a *Table) plainJID(b []byte, j JID, local, domain string) ([]byte, error) {
	if local == "" {
		return append(b, domain...), nil
	}
	if user, ok := a.spelled.of(j); ok { // as the registrar spells it
		b = append(b, user...)
	} else {
		raw, err := unescapeLocal(local)
		if err != nil {
			return nil, err
		}
		b = appendPercent(b, raw, &userOctets)
	}
	return append(append(b, '@'), domain...), nil
}

// wrapURI makes a tunnelled JID: the SIP address is its local part.
func (a *Table) wrapURI(user, domain, resource string) (JID, error) {
	switch {
	case a.gateway == "":
		return JID{}, ErrPlain
	case user == "":
		return JID{}, errTunnel
	}
	local, err := escapeUser(user + "@" + domain)
	if err != nil {
		return JID{}, err
	}
	return mapped(local, a.gateway, resource)
}

// unwrapJID appends the SIP address that the local part of a tunnelled JID is. Only
// domains that are tunnelled have such: nobody gets a second name, or a way to
// somewhere else.
func (a *Table) unwrapJID(b []byte, j JID, local string) ([]byte, error) {
	raw, err := unescapeLocal(local)
	if err != nil {
		return nil, err
	}
	at := strings.LastIndexByte(raw, '@')
	if at <= 0 {
		return nil, errTunnel
	}
	host, err := hostOf(raw[at+1:])
	if err != nil || !a.tunnelled[host] {
		return nil, errTunnel
	}
	if user, ok := a.spelled.of(j); ok {
		b = append(b, user...)
	} else {
		b = appendPercent(b, raw[:at], &userOctets)
	}
	return append(append(b, '@'), host...), nil
}

// wrapJID appends user and host of a foreign JID that is written whole. Its own
// escapes stay. A mere domain needs a dot: "juliet" alone is rather a user whose domain
// was forgotten.
func (a *Table) wrapJID(b []byte, local, domain string) ([]byte, error) {
	switch {
	case local != "":
		local += "@"
	case strings.IndexByte(domain, '.') < 0:
		return nil, errTunnel
	}
	b = appendPercent(b, local+domain, &userOctets)
	return append(append(b, '@'), a.sipGateway...), nil
}

// unwrapURI returns the JID that the user part of an address in our SIP gateway
// is.
//
// COMPAT(Kamailio): juliet*example.com is taken for juliet@example.com.
// COMPAT(Live Communications Server): so is juliet(example.com).
func (a *Table) unwrapURI(user, resource string) (JID, error) {
	at := strings.LastIndexByte(user, '@')
	if at < 0 {
		at = strings.LastIndexByte(user, '*')
	}
	if open := strings.LastIndexByte(user, '('); at < 0 && open > 0 && strings.HasSuffix(user, ")") {
		at, user = open, user[:len(user)-1]
	}
	if at == 0 || at < 0 && !strings.Contains(user, ".") {
		return JID{}, errTunnel
	}
	local := ""
	if at > 0 {
		local = user[:at]
	}
	j, err := join(local, user[at+1:], resource)
	if err != nil {
		return JID{}, err
	}
	if host, err := hostOf(j.Domainpart()); err != nil || !a.isNative(host) || a.native[host] {
		return JID{}, ErrLoop
	}
	return j, nil
}

// Plain returns the plain address of somebody: uri without what only the way needed. j
// is its JID, or the bare one of it.
func (a *Table) Plain(j JID, uri string) string {
	if _, _, ok := plainURI(uri); ok {
		return uri
	}
	if plain, err := a.URI(j); err == nil {
		return plain
	}
	return uri
}

// Package address is how SIP and XMPP call the same people (RFC 7247 §6): SIP URIs
// there, JIDs here, and the way back from each.
//
// A [Table] maps addresses between the domains of one bridge; [Parse] reads a JID in its
// canonical form (RFC 7622), which all JIDs of a bridge have. What cannot be an address
// of the other side, or would be taken there for somebody else's, is an [Error].
//
// It looks nothing up and asks nobody: whether there is somebody of this name, the other
// side knows.
package address

import (
	"strings"

	"github.com/sipedge/sipedge/sip"
)

// A Table maps the addresses of one bridge. The zero Table maps natively and learns no
// spellings: sip:romeo@example.net is romeo@example.net.
//
// It may be used from anywhere at once, and is not changed but for the spellings that
// it learns.
type Table struct {
	native, tunnelled   map[string]bool // as Domains has them
	gateway, sipGateway string
	// phones is the XMPP domain that tel URIs belong to; "" refuses them.
	phones string

	spelled *spellings // nil: none
}

// Domains are those between which a Table maps, all in the form of sip.AppendDomain.
type Domains struct {
	// Native are those of ours whose XMPP server we are. Only for them spellings
	// count.
	Native []string
	// Tunnelled are those of ours that are not XMPP domains themselves. Their users are
	// JIDs of the gateway: romeo\40example.net@sipgw.example.com.
	Tunnelled []string
	// Gateway is the XMPP domain of tunnelled users, "" if there is none.
	Gateway string
	// SIPGateway is the SIP domain in which foreign JIDs are written whole, "" if
	// they are written natively: sip:juliet%40example.com@xmpp.example.net.
	SIPGateway string
}

// New makes the table for these domains. It knows no spellings yet, and learns.
func New(d Domains) *Table {
	a := &Table{
		native: make(map[string]bool), tunnelled: make(map[string]bool),
		gateway: d.Gateway, sipGateway: d.SIPGateway,
	}
	for _, domain := range d.Native {
		a.native[domain] = true
	}
	for _, domain := range d.Tunnelled {
		a.tunnelled[domain] = true
	}
	a.spelled, _ = newSpellings(a, nil) // fails for those that are named only
	return a
}

// Gateway is the XMPP domain of tunnelled users, "" if there is none.
func (a *Table) Gateway() string { return a.gateway }

// JID returns the JID of a SIP, im or pres URI, in canonical form (RFC 7247 §6.4). The error is
// an *Error.
func (a *Table) JID(uri string) (JID, error) {
	if user, host, ok := plainURI(uri); ok && a.isNative(host) {
		return asItStands(uri, user), nil
	}
	user, host, params, err := a.split(uri)
	if err != nil {
		return JID{}, err
	}
	resource, err := gruu(params)
	if err != nil {
		return JID{}, err
	}
	switch domain := string(sip.AppendDomain(nil, host)); {
	case domain == a.gateway && a.gateway != "":
		return JID{}, ErrLoop
	case domain == a.sipGateway && a.sipGateway != "":
		return a.unwrapURI(user, resource)
	case a.tunnelled[domain]:
		return a.wrapURI(user, domain, resource)
	default:
		local, err := escapeUser(user)
		if err != nil {
			return JID{}, err
		}
		return mapped(local, domain, resource)
	}
}

// isNative reports whether a host in normal form is the same domain in XMPP.
func (a *Table) isNative(host string) bool {
	return host != a.gateway && host != a.sipGateway && !a.tunnelled[host]
}

// mapped is join for a local part that was escaped. It refuses those that PRECIS
// would turn into the address of somebody else: "/" and a dot above are
// \2f and a dot above, and that is \2ḟ, which means no slash any more.
//
// Where a backslash was escaped and PRECIS has made a letter of what followed, the escape
// means nothing any more: the address is the one without, as on the way back.
func mapped(local, domain, resource string) (JID, error) {
	j, err := join(local, domain, resource)
	switch {
	case err != nil || j.Localpart() == local:
		return j, err
	case countEscapes(local) != countEscapes(j.Localpart()):
		return JID{}, errUser
	}
	raw, err := unescapeLocal(j.Localpart())
	if err != nil {
		return JID{}, errUser
	}
	least, err := escapeUser(raw)
	if err != nil {
		return JID{}, err
	}
	if j, err = join(least, domain, resource); err == nil && j.Localpart() != least {
		return JID{}, errUser
	}
	return j, err
}

// split takes a URI apart. user is decoded.
func (a *Table) split(uri string) (user string, host, params []byte, err error) {
	u, err := sip.ParseURI([]byte(uri))
	switch {
	case err != nil:
		return "", nil, nil, ErrURI
	case u.IsSecure():
		// RFC 7247 §8: that each hop is secure cannot be promised there.
		return "", nil, nil, errSecure
	case u.IsTel():
		user, err = a.phone(string(u.Opaque))
		return user, []byte(a.phones), nil, err
	case !u.IsSIP():
		return splitCommon(u)
	case u.Password != nil:
		return "", nil, nil, errPassword
	}
	if user, err = decodeUser(string(u.User)); err != nil {
		return "", nil, nil, err
	}
	if v, _ := u.Param("user"); string(v) == "phone" && strings.HasPrefix(user, "+") {
		user = stripSeparators(user)
	}
	return user, u.Host, u.Params, nil
}

// splitCommon takes an im or pres URI apart (RFC 3860, RFC 3859). It always names a
// person; what follows a "?" is for composing a message.
func splitCommon(u sip.URI) (user string, host, params []byte, err error) {
	if !strings.EqualFold(string(u.Scheme), "im") && !strings.EqualFold(string(u.Scheme), "pres") {
		return "", nil, nil, errScheme
	}
	rest, _, _ := strings.Cut(string(u.Opaque), "?")
	user, domain, ok := strings.Cut(rest, "@")
	if !ok || user == "" || !sip.ValidHost([]byte(domain)) {
		return "", nil, nil, ErrURI
	}
	if strings.IndexByte(user, ':') >= 0 {
		return "", nil, nil, errPassword
	}
	user, err = decodeUser(user)
	return user, []byte(domain), nil, err
}

// phone returns the user part of a tel URI: a global number in digits, without what
// makes it easier to read (RFC 3966 §5.1.1). Parameters would make another number of
// it: an extension is part of the address, and is kept.
func (a *Table) phone(opaque string) (string, error) {
	number, err := decodeUser(opaque)
	if err != nil {
		return "", err
	}
	number = stripSeparators(number)
	digits, _, _ := strings.Cut(number, ";")
	if a.phones == "" || len(digits) < 2 || digits[0] != '+' || strings.Trim(digits[1:], "0123456789") != "" {
		return "", errPhone
	}
	return number, nil
}

// stripSeparators takes the visual separators out of a number (RFC 3966 §3).
func stripSeparators(number string) string {
	digits, params, ok := strings.Cut(number, ";")
	digits = strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.()", r) {
			return -1
		}
		return r
	}, digits)
	if ok {
		return digits + ";" + params
	}
	return digits
}

// gruu returns the resource that the gr parameter names, "" if there is none. A
// temporary GRUU has the parameter without a value, and names no resource
// (RFC 7247 §6.3).
func gruu(params []byte) (string, error) {
	value, ok := sip.Param(params, "gr")
	if !ok || len(value) == 0 {
		return "", nil
	}
	resource, ok := unescapePercent(string(value))
	if !ok || !sip.IsText(resource) {
		return "", errGRUU
	}
	return resource, nil
}

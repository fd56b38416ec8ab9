package xmpp

import (
	"strings"

	"github.com/sipedge/sipedge/sip"
	"mellium.im/xmpp/jid"
)

// addresses is how the two sides call the same people (RFC 7247 §6). The zero
// value maps natively: sip:romeo@example.net is romeo@example.net.
//
// It may be used from anywhere at once, and is not changed but for the spellings that
// it learns.
type addresses struct {
	// native holds those of our domains whose XMPP server we are, in the form of
	// sip.AppendDomain. Only for them spellings count.
	native map[string]bool
	// tunnelled holds those of our domains that are not XMPP domains themselves.
	// Their users are JIDs of the gateway: romeo\40example.net@sipgw.example.com.
	tunnelled map[string]bool
	// gateway is the XMPP domain of tunnelled users, "" if there is none.
	gateway string
	// sipGateway is the SIP domain in which foreign JIDs are written whole, "" if
	// they are written natively: sip:juliet%40example.com@xmpp.example.net.
	sipGateway string
	// phones is the XMPP domain that tel URIs belong to; "" refuses them.
	phones string
	// unavailable is the status for service-unavailable: 403, or 480. 0 is 403.
	unavailable int

	spelled *spellings // nil: none
}

// An addressError says why there is no such address at the other side. It is an
// answer in both directions.
type addressError struct {
	Status    int    // for SIP
	Condition string // for XMPP
	Text      string // for people; never what a stranger wrote
}

// Error describes the fault.
func (e *addressError) Error() string { return "xmpp: " + e.Text }

// The faults of addresses.
var (
	errURI        = &addressError{400, "jid-malformed", "not a SIP address"}
	errScheme     = &addressError{416, "jid-malformed", "this kind of address does not exist in XMPP"}
	errSecure     = &addressError{403, "not-acceptable", "sips does not cross to XMPP"}
	errPassword   = &addressError{400, "jid-malformed", "an address with a password"}
	errUserOctets = &addressError{400, "jid-malformed", "user part is not UTF-8, or has control characters"}
	errGRUU       = &addressError{400, "jid-malformed", "bad gr parameter"}
	errPhone      = &addressError{404, "item-not-found", "telephone numbers do not cross to XMPP"}
	errLong       = &addressError{414, "jid-malformed", "a part of the address is longer than 1023 octets"}
	errUser       = &addressError{404, "jid-malformed", "no XMPP user can have this name"}
	errDomain     = &addressError{404, "jid-malformed", "no XMPP domain can have this name"}
	errResource   = &addressError{404, "jid-malformed", "no XMPP resource can have this name"}
	errJID        = &addressError{404, "jid-malformed", "not an XMPP address"}
	errNoSIP      = &addressError{404, "jid-malformed", "no SIP address can have this name"}
	errTunnel     = &addressError{404, "item-not-found", "the gateway knows no such address"}
	errLoop       = &addressError{404, "item-not-found", "an address that would come back to us"}
	errPlain      = &addressError{404, "item-not-found", "our domain is not reachable from XMPP"}
)

// jid returns the JID of a SIP URI, in canonical form (RFC 7247 §6.4). The error is
// an *addressError.
func (a *addresses) jid(uri string) (jid.JID, error) {
	if user, host, ok := plainURI(uri); ok && a.isNative(host) {
		return jid.NewUnsafe(user, host, "").JID, nil
	}
	user, host, params, err := a.split(uri)
	if err != nil {
		return jid.JID{}, err
	}
	resource, err := gruu(params)
	if err != nil {
		return jid.JID{}, err
	}
	switch domain := string(sip.AppendDomain(nil, host)); {
	case domain == a.gateway && a.gateway != "":
		return jid.JID{}, errLoop
	case domain == a.sipGateway && a.sipGateway != "":
		return a.unwrapURI(user, resource)
	case a.tunnelled[domain]:
		return a.wrapURI(user, domain, resource)
	default:
		local, err := escapeUser(user)
		if err != nil {
			return jid.JID{}, err
		}
		return mapped(local, domain, resource)
	}
}

// isNative reports whether a host in normal form is the same domain in XMPP.
func (a *addresses) isNative(host string) bool {
	return host != a.gateway && host != a.sipGateway && !a.tunnelled[host]
}

// mapped is newJID for a local part that was escaped. It refuses those that PRECIS
// would turn into the address of somebody else: "/" and a dot above are
// \2f and a dot above, and that is \2ḟ, which means no slash any more.
//
// Where a backslash was escaped and PRECIS has made a letter of what followed, the escape
// means nothing any more: the address is the one without, as on the way back.
func mapped(local, domain, resource string) (jid.JID, error) {
	j, err := newJID(local, domain, resource)
	switch {
	case err != nil || j.Localpart() == local:
		return j, err
	case countEscapes(local) != countEscapes(j.Localpart()):
		return jid.JID{}, errUser
	}
	raw, err := unescapeLocal(j.Localpart())
	if err != nil {
		return jid.JID{}, errUser
	}
	least, err := escapeUser(raw)
	if err != nil {
		return jid.JID{}, err
	}
	if j, err = newJID(least, domain, resource); err == nil && j.Localpart() != least {
		return jid.JID{}, errUser
	}
	return j, err
}

// split takes a URI apart. user is decoded.
func (a *addresses) split(uri string) (user string, host, params []byte, err error) {
	u, err := sip.ParseURI([]byte(uri))
	switch {
	case err != nil:
		return "", nil, nil, errURI
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
		return "", nil, nil, errURI
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
func (a *addresses) phone(opaque string) (string, error) {
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
	if !ok || !isText(resource) {
		return "", errGRUU
	}
	return resource, nil
}

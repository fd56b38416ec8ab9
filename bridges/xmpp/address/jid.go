package address

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/sipedge/sipedge/sip"
	"golang.org/x/net/idna"
	"mellium.im/xmpp/jid"
)

// A JID is an XMPP address in canonical form (RFC 7622 §3). Two are the same address if
// they are equal (==). The zero JID is nobody. Reading its parts costs nothing.
type JID struct {
	text   string // local@domain/resource
	local  int    // length of the local part; 0: none
	domain int    // where the domain ends
}

// jidOf makes a JID of parts in canonical form.
func jidOf(local, domain, resource string) JID {
	text, at := domain, 0
	switch {
	case local != "" && resource != "":
		text, at = local+"@"+domain+"/"+resource, len(local)+1
	case local != "":
		text, at = local+"@"+domain, len(local)+1
	case resource != "":
		text = domain + "/" + resource
	}
	return JID{text, len(local), at + len(domain)}
}

// String returns the whole address.
func (j JID) String() string { return j.text }

// Bare returns the address without its resource.
func (j JID) Bare() JID { return JID{j.text[:j.domain], j.local, j.domain} }

// Localpart returns what stands before the "@", with its escapes, "" if there is none.
func (j JID) Localpart() string { return j.text[:j.local] }

// Domainpart returns the domain: U-labels, or an IP address.
func (j JID) Domainpart() string {
	if j.local > 0 {
		return j.text[j.local+1 : j.domain]
	}
	return j.text[:j.domain]
}

// Resourcepart returns what stands behind the "/", "" if there is none.
func (j JID) Resourcepart() string {
	if j.domain < len(j.text) {
		return j.text[j.domain+1:]
	}
	return ""
}

// maxPart is the most octets that a part of a JID has (RFC 7622 §3.1).
const maxPart = 1023

// Parse reads a JID and returns its canonical form (RFC 7622 §3). Every JID of
// the bridge was read by it or by join. The error is an *Error.
func Parse(s string) (JID, error) {
	bare, resource, full := strings.Cut(s, "/")
	local, domain, at := strings.Cut(bare, "@")
	if !at {
		local, domain = "", bare
	}
	if at && local == "" || full && resource == "" {
		return JID{}, ErrJID
	}
	if isCanonical(local, domain, resource) {
		return JID{s, len(local), len(bare)}, nil
	}
	return join(local, domain, resource)
}

// join makes a JID of its parts, of which local and resource may be "". They are in
// their form of XMPP: local is escaped already.
func join(local, domain, resource string) (JID, error) {
	if len(local) > maxPart || len(domain) > maxPart || len(resource) > maxPart {
		return JID{}, errLong
	}
	local, domain = lowerASCII(local), lowerASCII(domain)
	if isCanonical(local, domain, resource) {
		return jidOf(local, domain, resource), nil
	}
	domain, err := canonicalDomain(domain)
	if err != nil {
		return JID{}, err
	}
	// Applying the rules of PRECIS twice may give something else than once; what
	// does not come to rest is no address (RFC 8264 §7, RFC 8266 §2.1).
	for range 4 {
		j, err := jid.New(local, domain, resource)
		if err != nil {
			return JID{}, whichPart(local, resource)
		}
		if j.Localpart() == local && j.Resourcepart() == resource {
			if j.Domainpart() != domain {
				return JID{}, errDomain
			}
			return jidOf(local, domain, resource), nil
		}
		local, resource = j.Localpart(), j.Resourcepart()
	}
	return JID{}, whichPart(local, "")
}

// isCanonical reports whether the parts of a JID are in canonical form, as most are, as
// far as it is seen at a glance.
func isCanonical(local, domain, resource string) bool {
	return len(local) <= maxPart && len(resource) <= maxPart &&
		isPlain(local, &plainLocal) && isPlain(resource, &plainResource) && isPlainDomain(domain)
}

// lowerASCII puts ASCII into lower case, which is all that PRECIS and IDNA do with it.
// Of other letters they know more.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return s
		}
	}
	return strings.ToLower(s)
}

// whichPart says which part of a JID is at fault, if its domain is not.
func whichPart(local, resource string) error {
	if local != "" {
		if _, err := jid.New(local, "example.com", ""); err != nil || resource == "" {
			return errUser
		}
	}
	return errResource
}

// Resource returns the canonical form of a resource (RFC 7622 §3.4). The error is an
// *Error.
func Resource(s string) (string, error) {
	j, err := join("", "example.com", s)
	return j.Resourcepart(), err
}

// Domain returns the canonical form of a domain in JIDs: U-labels in lower case, or
// an IP address. The error is an *Error.
func Domain(s string) (string, error) { return canonicalDomain(lowerASCII(s)) }

// canonicalDomain returns the form of a domain in JIDs: U-labels in lower case, or an
// IP address, without a dot at the end (RFC 7622 §3.2). It must be a name that DNS can
// have, so that it can be written as a SIP host.
func canonicalDomain(domain string) (string, error) {
	if !utf8.ValidString(domain) {
		return "", errDomain
	}
	if n := len(domain); n > 2 && domain[0] == '[' && domain[n-1] == ']' {
		ip, err := netip.ParseAddr(domain[1 : n-1])
		if err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" {
			return "", errDomain
		}
		return "[" + ip.String() + "]", nil
	}
	u, err := idna.Display.ToUnicode(strings.TrimSuffix(domain, "."))
	if err != nil {
		return "", errDomain
	}
	if _, err := hostOf(u); err != nil || strings.HasSuffix(u, ".") {
		return "", errDomain
	}
	return u, nil
}

// hostOf returns the host in a SIP URI of a JID's domain: A-labels.
func hostOf(domain string) (string, error) {
	if isPlainDomain(domain) {
		return domain, nil
	}
	host := domain
	if !strings.HasPrefix(domain, "[") {
		var err error
		if host, err = idna.Display.ToASCII(domain); err != nil {
			return "", errDomain
		}
	}
	if !sip.ValidHost([]byte(host)) || len(host) > 253 {
		return "", errDomain
	}
	return host, nil
}

// isPlainDomain reports whether s is a domain in canonical form, the same in SIP
// and XMPP, that is seen at a glance: lower-case LDH labels, none of them an A-label.
func isPlainDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if c := s[i]; c-'a' > 'z'-'a' && c-'0' > 9 && c != '-' {
				return false
			}
			continue
		}
		label := s[start:i]
		switch n := len(label); {
		case n == 0 || n > 63 || label[0] == '-' || label[n-1] == '-':
			return false
		case n > 3 && label[2] == '-' && label[3] == '-':
			return false
		case i == len(s):
			return label[0] >= 'a'
		}
		start = i + 1
	}
	return false
}

// plainURI takes a URI apart that is the same address in XMPP as it stands.
func plainURI(uri string) (user, host string, ok bool) {
	rest, ok := strings.CutPrefix(uri, "sip:")
	if !ok {
		return "", "", false
	}
	user, host, ok = strings.Cut(rest, "@")
	ok = ok && user != "" && len(user) <= maxPart && isPlain(user, &plainUser) && isPlainDomain(host)
	return user, host, ok
}

// asItStands returns the JID of a URI that plainURI has taken apart.
func asItStands(uri, user string) JID {
	text := uri[len("sip:"):]
	return JID{text, len(user), len(text)}
}

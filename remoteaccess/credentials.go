package remoteaccess

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sipedge/sipedge/sip"
)

// A Scheme is a way to sign in.
type Scheme int

// The schemes that are told apart. SchemeNone is a request without credentials.
const (
	SchemeNone Scheme = iota
	SchemeDigest
	SchemeNTLM
	SchemeKerberos
	SchemeTLSDSK
	SchemeOther
)

var schemeNames = [...]string{SchemeNone: "none", SchemeDigest: "Digest", SchemeNTLM: "NTLM", SchemeKerberos: "Kerberos", SchemeTLSDSK: "TLS-DSK", SchemeOther: "other"}

// String returns the scheme as it is on the wire.
func (s Scheme) String() string { return schemeNames[s] }

// schemeNamed returns the scheme of that name; case does not matter.
func schemeNamed(name []byte) Scheme {
	for s := SchemeDigest; s <= SchemeTLSDSK; s++ {
		if len(name) == len(schemeNames[s]) && strings.EqualFold(string(name), schemeNames[s]) {
			return s
		}
	}
	return SchemeOther
}

// The most that credentials may bring. Who has more has nothing honest in mind.
const (
	maxAuthFields = 8   // Authorization and Proxy-Authorization
	maxAuthParams = 64  // of one field
	maxNames      = 3   // different ones in a request
	maxName       = 256 // octets of one, in its normal form
)

// Credentials are what a request brings to prove who sent it, as far as one who
// knows no password can tell. The zero Credentials are none.
type Credentials struct {
	Scheme Scheme // of the first whose scheme is known, or SchemeOther
	// Broken: they cannot be read in one way only, or are more than anybody has,
	// so that the home server could take another name from them than we do. Such a
	// request must not go inside.
	Broken bool

	names   [maxNames]string // claimed, in normal form; "" from the first that is not used
	unnamed bool             // some claim no name that can be read
	guess   bool             // some could be right or wrong
	tried   schemes          // those under which a challenge is a refusal, unless it says otherwise
}

// schemes is a set of schemes.
type schemes uint8

func (s *schemes) add(one Scheme) { *s |= 1 << one }

// Present reports whether there are any.
func (c Credentials) Present() bool { return c.Scheme != SchemeNone }

// Name returns the first name that is claimed: "alice@example.com",
// `contoso\alice`, "" if none can be read.
func (c Credentials) Name() string { return c.names[0] }

// Names returns all names that are claimed, each once.
func (c Credentials) Names() []string {
	var list []string
	for _, name := range c.names {
		if name != "" {
			list = append(list, name)
		}
	}
	return list
}

// mixed reports whether they claim more than one name, so that nobody knows which of
// them the home server has looked at.
func (c Credentials) mixed() bool {
	return c.names[1] != "" || c.unnamed && c.names[0] != ""
}

// Guess reports whether they could be a guess at a password: not those that
// only begin an exchange, nor the signature of a message with a key that both
// sides have had since the sign-in.
func (c Credentials) Guess() bool { return c.guess }

// ReadCredentials reads what a request brings in Authorization and
// Proxy-Authorization: digest (RFC 3261 §22.4, RFC 8760), and NTLM, Kerberos and
// TLS-DSK as Microsoft clients write them. A server takes from several what is
// for its realm, and we do not know which that is, so that the names of all
// count. A name without a domain is one of the domain of the address that signs
// in.
func ReadCredentials(m *sip.Message) Credentials {
	var c Credentials
	if !m.IsRequest() || m.Count(sip.Authorization)+m.Count(sip.ProxyAuthorization) == 0 {
		return c
	}
	fields := 0
	var domain string
	for i := range m.Fields() {
		f := m.Field(i)
		if f.ID != sip.Authorization && f.ID != sip.ProxyAuthorization {
			continue
		}
		if fields++; fields == 1 {
			domain = domainOf(m)
		}
		if fields > maxAuthFields {
			c.Broken = true
			break
		}
		c.read(f.Value, domain)
	}
	return c
}

// domainOf returns the domain of who signs in: of To in a REGISTER, which names
// the address of record (RFC 3261 §10.2), else of From.
func domainOf(m *sip.Message) string {
	who := m.FromURI
	if string(m.Method()) == "REGISTER" {
		who = m.ToURI
	}
	u, err := who()
	if err != nil {
		return ""
	}
	return string(sip.AppendDomain(nil, u.Host))
}

// A claim is one set of credentials: a scheme and what is said under it.
type claim struct {
	scheme   Scheme
	username []byte // nil: none
	extended []byte // username* (RFC 7616 §3.4)
	data     []byte
	twice    bool // something that may be there once
}

// read adds the credentials of one field, which may hold several where somebody
// joined them with commas, against RFC 3261 §7.3.1.
func (c *Credentials) read(value []byte, domain string) {
	r := authReader{b: value}
	var one claim
	some := false
	for n := 0; r.next(); n++ {
		if n > maxAuthParams {
			r.bad = true
			break
		}
		if r.param != nil {
			one.add(r.param, r.value)
			continue
		}
		if some {
			c.add(one, domain)
		}
		one, some = claim{scheme: schemeNamed(r.scheme)}, true
	}
	if some {
		c.add(one, domain)
	}
	if r.bad || !some {
		c.Broken = true
		c.take(SchemeOther, SchemeOther)
	}
}

func (one *claim) add(name, value []byte) {
	once := func(to *[]byte) {
		one.twice = one.twice || *to != nil
		*to = append([]byte{}, value...)
	}
	switch strings.ToLower(string(name[:min(len(name), 16)])) {
	case "username":
		once(&one.username)
	case "username*":
		once(&one.extended)
	case "gssapi-data":
		once(&one.data)
	}
}

// add judges one set of credentials.
func (c *Credentials) add(one claim, domain string) {
	if one.twice || one.username != nil && one.extended != nil {
		c.Broken = true
	}
	switch one.scheme {
	case SchemeDigest:
		name := string(one.username)
		if one.extended != nil {
			name = c.extended(one.extended)
		}
		c.name(normalName(name, domain))
		c.take(SchemeDigest, SchemeDigest)
	case SchemeNTLM:
		c.ntlm(one.data, domain)
	case SchemeKerberos, SchemeTLSDSK:
		c.name("")
		if len(one.data) == 0 {
			c.take(one.scheme, SchemeNone)
		} else {
			c.take(one.scheme, one.scheme)
		}
	default:
		c.name("")
		c.take(SchemeOther, SchemeOther)
	}
}

// ntlm judges a message of NTLM. After the last one, or one that nobody can read,
// a server only says yes or no: a challenge that goes on with data is then the
// first of another try.
func (c *Credentials) ntlm(data []byte, domain string) {
	m, ok := readNTLM(data)
	switch {
	case len(data) == 0, ok && m.kind == ntlmNegotiate:
		c.name("")
		c.take(SchemeNTLM, SchemeNone)
		return
	case ok:
		c.name(m.name(domain))
	default:
		c.name("")
	}
	c.take(SchemeNTLM, SchemeOther)
}

// take notes a set of credentials, and what a challenge must go on with if it is
// to be no refusal: SchemeNone, if nothing was tried yet, SchemeOther, if nothing
// can make it one.
func (c *Credentials) take(scheme, tried Scheme) {
	if c.Scheme == SchemeNone || c.Scheme == SchemeOther {
		c.Scheme = scheme
	}
	if tried != SchemeNone {
		c.guess = true
		c.tried.add(tried)
	}
}

// extended reads the value of username*, of which only UTF-8 is known (RFC 7616
// §3.4).
func (c *Credentials) extended(value []byte) string {
	parts := strings.SplitN(string(value), "'", 3)
	if len(parts) == 3 && strings.EqualFold(parts[0], "utf-8") {
		if name, err := url.PathUnescape(parts[2]); err == nil {
			return name
		}
	}
	c.Broken = true
	return ""
}

// name notes a name that is claimed; "" if it cannot be read.
func (c *Credentials) name(name string) {
	c.unnamed = c.unnamed || name == ""
	if name == "" || slices.Contains(c.names[:], name) {
		return
	}
	for i := range c.names {
		if c.names[i] == "" {
			c.names[i] = name
			return
		}
	}
	c.Broken = true
}

// normalName returns the one form of a name in credentials: "user@domain", or
// `domain\user` if the domain is not one of DNS. Case, white space around it and
// a scheme before it make no other name, whatever scheme (no name has a colon in it,
// RFC 7616 §3.4.3), nor does what cannot be printed.
func normalName(user, domain string) string {
	user = strings.ToLower(strings.TrimSpace(user))
	user = user[strings.LastIndexByte(user, ':')+1:]
	if before, after, ok := strings.Cut(user, `\`); ok {
		if user = after; before != "" && before != "." {
			domain = before
		}
	}
	domain = strings.TrimSuffix(strings.ToLower(domain), ".")
	switch {
	case user == "":
		return ""
	case strings.Contains(user, "@"):
		user = strings.TrimSuffix(user, ".")
	case strings.Contains(domain, ".") || domain == "":
		user += "@" + domain
	default:
		user = domain + `\` + user
	}
	return clip(printable(user))
}

// printable escapes what would make a line of a list or a log unreadable. There
// is no space in it, so that it can stand among other words, and no star, since the
// address of such a user has none (allowlists.AppendShown).
func printable(name string) string {
	const hex = "0123456789abcdef"
	if !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '*' || r == 0x7f || r >= utf8.RuneSelf }) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if r > ' ' && r != '*' && r != 0x7f && (r < utf8.RuneSelf || r != utf8.RuneError && unicode.IsPrint(r)) {
			b.WriteString(name[i : i+n])
		} else {
			for _, octet := range []byte(name[i : i+n]) {
				b.Write([]byte{'%', hex[octet>>4], hex[octet&15]})
			}
		}
		i += n
	}
	return b.String()
}

// An authReader goes over the value of Authorization, WWW-Authenticate and
// their like (RFC 3261 §25.1, credentials and challenge): schemes, and
// parameters under them.
type authReader struct {
	b   []byte
	bad bool // it cannot be read

	scheme []byte // of a scheme, when param is nil
	param  []byte
	value  []byte // without its quotes and escapes
}

// next reads one scheme or parameter.
func (r *authReader) next() bool {
	r.b = bytes.TrimLeft(r.b, ", \t\r\n")
	if len(r.b) == 0 || r.bad {
		return false
	}
	n := 0
	for n < len(r.b) && !isAuthBreak(r.b[n]) {
		n++
	}
	if n == 0 {
		r.bad = true
		return false
	}
	name, rest := r.b[:n], bytes.TrimLeft(r.b[n:], " \t\r\n")
	if len(rest) == 0 || rest[0] != '=' {
		return r.newScheme(name, rest)
	}
	if r.scheme == nil { // a parameter of nothing
		r.bad = true
		return false
	}
	r.param = name
	r.b = bytes.TrimLeft(rest[1:], " \t\r\n")
	if len(r.b) > 0 && r.b[0] == '"' {
		return r.quoted()
	}
	n = 0
	for n < len(r.b) && r.b[n] != ',' && r.b[n] > ' ' && r.b[n] != '"' {
		n++
	}
	r.value, r.b = r.b[:n], r.b[n:]
	return r.separated()
}

// newScheme is a name that has no value: a scheme, or, behind one that we have
// no word for, the one value that some schemes have instead of parameters.
func (r *authReader) newScheme(name, rest []byte) bool {
	if r.scheme != nil && r.param == nil {
		r.bad = schemeNamed(r.scheme) != SchemeOther
	}
	r.scheme, r.param, r.value, r.b = name, nil, nil, rest
	return !r.bad
}

// quoted reads a value in quotes.
func (r *authReader) quoted() bool {
	escaped := false
	for i := 1; i < len(r.b); i++ {
		switch r.b[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			r.value, r.b = r.b[1:i], r.b[i+1:]
			if escaped {
				r.value = unescaped(r.value)
			}
			return r.separated()
		}
	}
	r.bad = true
	return false
}

// separated reports whether what has been read ends where the next may begin.
func (r *authReader) separated() bool {
	rest := bytes.TrimLeft(r.b, " \t\r\n")
	if len(rest) > 0 && rest[0] != ',' {
		r.bad = true
	}
	return !r.bad
}

func isAuthBreak(c byte) bool {
	return c <= ' ' || c == ',' || c == '=' || c == '"' || c == ';' || c == 0x7f
}

// unescaped takes the backslashes out of a quoted string.
func unescaped(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
		}
		out = append(out, b[i])
	}
	return out
}

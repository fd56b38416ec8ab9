package sip

import "bytes"

// A URI is a Request-URI or the URI of an address, as spans of what was read.
// Nothing is unescaped: "%40" in User is three characters and never an "@".
type URI struct {
	Scheme   []byte
	User     []byte
	Password []byte // nil if there is none, empty if it is empty
	Host     []byte // nil unless the scheme is sip or sips
	Port     int    // 0 if there is none
	Params   []byte // without the first ";"
	Headers  []byte // without the "?"
	Opaque   []byte // what follows any other scheme
}

// ParseURI reads all of b as a URI (RFC 3261 §19.1.1). It is strict for sip and
// sips, so that there is only one way to read the host; of other schemes it
// checks the characters only.
func ParseURI(b []byte) (URI, error) {
	var u URI
	if err := u.read(b); err != nil {
		return URI{}, err
	}
	return u, nil
}

// read reads all of b.
func (u *URI) read(b []byte) error {
	*u = URI{}
	colon := 0
	for colon < len(b) && (alnumChar.has(b[colon]) || b[colon] == '+' || b[colon] == '-' || b[colon] == '.') {
		colon++
	}
	if colon == 0 || colon == len(b) || b[colon] != ':' || !isAlpha(b[0]) {
		return errScheme
	}
	u.Scheme = b[:colon]
	rest := b[colon+1:]
	if !u.IsSIP() {
		if len(rest) == 0 || uricChar.escaped(rest, 0) != len(rest) {
			return errURIChar
		}
		u.Opaque = rest
		return nil
	}
	at := bytes.IndexByte(rest, '@')
	if at >= 0 {
		if err := u.userinfo(rest[:at]); err != nil {
			return err
		}
	}
	return u.hostport(rest[at+1:])
}

// userinfo reads what stands before the "@".
func (u *URI) userinfo(b []byte) error {
	end := userChar.escaped(b, 0)
	if end == 0 {
		return errUser
	}
	u.User = b[:end]
	if end == len(b) {
		return nil
	}
	if b[end] != ':' || passChar.escaped(b, end+1) != len(b) {
		return errUser
	}
	u.Password = b[end+1:]
	return nil
}

// hostport reads what stands behind the "@": host, port, parameters, headers.
func (u *URI) hostport(b []byte) error {
	end, err := scanHost(b, 0)
	if err != nil {
		return err
	}
	u.Host = b[:end]
	if end < len(b) && b[end] == ':' {
		if u.Port, end, err = scanPort(b, end+1); err != nil {
			return err
		}
	}
	start := end
	for end < len(b) && b[end] == ';' {
		next := paramChar.escaped(b, end+1)
		if next == end+1 || b[end+1] == '=' {
			return errURIParam
		}
		end = next
	}
	if end > start {
		u.Params = b[start+1 : end]
	}
	if end == len(b) {
		return nil
	}
	if b[end] != '?' {
		return errURIChar
	}
	if end++; end == len(b) || queryChar.escaped(b, end) != len(b) {
		return errURIHeader
	}
	u.Headers = b[end:]
	return nil
}

// IsSIP reports whether the scheme is sip or sips.
func (u URI) IsSIP() bool {
	return equalFold(u.Scheme, "sip") || equalFold(u.Scheme, "sips")
}

// IsSecure reports whether the scheme is sips.
func (u URI) IsSecure() bool { return equalFold(u.Scheme, "sips") }

// IsTel reports whether the scheme is tel.
func (u URI) IsTel() bool { return equalFold(u.Scheme, "tel") }

// IsIP reports whether the host is an address and not a name.
func (u URI) IsIP() bool { return isIP(u.Host) }

// Param returns the value of a URI parameter; name is in lower case.
func (u URI) Param(name string) (value []byte, ok bool) { return Param(u.Params, name) }

package sip

import "bytes"

// scanHost returns the end of the host that begins at b[i] (RFC 3261 §25.1, host).
// A name is made of LDH labels and its last label begins with a letter, so that
// "2130706433" and "0x7f.1", which some software reads as IPv4 addresses, are
// neither; the only IPv4 address is a dotted quad without leading zeros.
func scanHost(b []byte, i int) (end int, err error) {
	if i < len(b) && b[i] == '[' {
		n := bytes.IndexByte(b[i:], ']')
		if n < 0 || !validIPv6(b[i+1:i+n]) {
			return 0, errHost
		}
		return i + n + 1, nil
	}
	last := i // beginning of the last label that is not empty
	for label := i; ; {
		end = alnumChar.run(b, label)
		for end < len(b) && b[end] == '-' {
			end = alnumChar.run(b, end+1)
		}
		if end == label {
			if label == i {
				return 0, errHost
			}
			break // the trailing dot of a fully qualified name
		}
		if end-label > 63 || b[label] == '-' || b[end-1] == '-' {
			return 0, errHost
		}
		last = label
		if end == len(b) || b[end] != '.' {
			break
		}
		end++
		label = end
	}
	if end-i > 254 || !isAlpha(b[last]) && !validIPv4(b[i:end]) {
		return 0, errHost
	}
	return end, nil
}

// validIPv4 reports whether b is a dotted quad. A leading zero means octal to
// some readers and nothing to others, so it is refused.
func validIPv4(b []byte) bool {
	for part := range 4 {
		n := 0
		for n < len(b) && n < 3 && isDigit(b[n]) {
			n++
		}
		_, ok := number(b[:n], 255)
		if !ok || n > 1 && b[0] == '0' {
			return false
		}
		if b = b[n:]; part < 3 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
	}
	return len(b) == 0
}

// validIPv6 reports whether b is an IPv6 address without zone (RFC 4291 §2.2).
//
// COMPAT(RFC 3261): its grammar allows a third colon before an IPv4 part, and
// RFC 5118 §4.10 asks to tolerate it.
func validIPv6(b []byte) bool {
	groups, elided := 0, false
	if bytes.HasPrefix(b, []byte("::")) {
		elided, b = true, b[1:]
	} else if len(b) == 0 || b[0] == ':' {
		return false
	}
	for len(b) > 0 {
		if b[0] == ':' { // the second of two: the first ended a group or began the address
			if b = b[1:]; len(b) == 0 {
				break
			}
			if b[0] == ':' && validIPv4(b[1:]) {
				b = b[1:]
			}
		}
		n := 0
		for n < len(b) && isHex(b[n]) {
			n++
		}
		if n < len(b) && b[n] == '.' {
			if !validIPv4(b) {
				return false
			}
			groups += 2
			b = nil
			break
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		if b = b[n:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return false
		}
		if b = b[1:]; b[0] == ':' {
			if elided {
				return false
			}
			elided = true
		}
	}
	return groups == 8 && !elided || groups < 8 && elided
}

// isIP reports whether a valid host is an address and not a name.
func isIP(host []byte) bool {
	return len(host) > 0 && (host[0] == '[' || validIPv4(host))
}

// AppendDomain appends the one normal form of a host: lower case, without the
// trailing dot. What policy compares and what routing looks up is this string.
func AppendDomain(dst, host []byte) []byte {
	if n := len(host); n > 1 && host[n-1] == '.' {
		host = host[:n-1]
	}
	at := len(dst)
	dst = append(dst, host...)
	for i := at; i < len(dst); i++ {
		if c := dst[i]; c-'A' <= 'Z'-'A' {
			dst[i] = c | 0x20
		}
	}
	if len(host) > 0 && host[0] == '[' {
		if i := bytes.Index(dst[at:], []byte(":::")); i >= 0 {
			dst = append(dst[:at+i], dst[at+i+1:]...)
		}
	}
	return dst
}

// ValidHost reports whether all of b is a host: a name of LDH labels, an IPv4
// address or an IPv6 address in brackets.
func ValidHost(b []byte) bool {
	end, err := scanHost(b, 0)
	return err == nil && end == len(b)
}

// scanPort returns the port in the digits at b[i] and their end.
func scanPort(b []byte, i int) (port, end int, err error) {
	for end = i; end < len(b) && isDigit(b[end]); end++ {
	}
	n, ok := number(b[i:end], 65535)
	if !ok || n == 0 {
		return 0, 0, errPort
	}
	return int(n), end, nil
}

package certs

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// maxName and maxLabel are the lengths that DNS allows (RFC 1035 §2.3.4),
// written without the trailing dot.
const (
	maxName  = 253
	maxLabel = 63
)

// errIgnored marks a name that cannot be a domain but is no attack either: the
// name is passed over and the certificate's other names still count.
var errIgnored = errors.New("certs: name is not a domain")

// normalName returns name in the one form in which names are compared: lower
// case, without trailing dot. A name that is not made of LDH labels is an error;
// a certificate that holds one is refused whole, because it was made to be
// read differently by different readers (a NUL ends a C string).
func normalName(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxName {
		return "", fmt.Errorf("certs: name of %d octets", len(name))
	}
	underscore := false
	for label := range strings.SplitSeq(name, ".") {
		if err := checkLabel(label, &underscore); err != nil {
			return "", fmt.Errorf("certs: name %q: %w", name, err)
		}
	}
	if underscore || isNumeric(name) {
		return "", errIgnored
	}
	return lower(name), nil
}

func checkLabel(label string, underscore *bool) error {
	if label == "" || len(label) > maxLabel {
		return fmt.Errorf("label of %d octets", len(label))
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return errors.New("hyphen at the end of a label")
	}
	for i := range len(label) {
		switch c := label[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		case c == '_':
			// COMPAT(Windows): host names of old domains have underscores.
			*underscore = true
		default:
			return fmt.Errorf("octet %#02x", c)
		}
	}
	return nil
}

// isNumeric reports whether the last label is a number: such a name is an
// address to many resolvers (127.1, 0x7f.1 and 2130706433 are), never a domain.
func isNumeric(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.HasPrefix(last, "0x") || strings.HasPrefix(last, "0X") {
		return true
	}
	return strings.Trim(last, "0123456789") == ""
}

// lower folds A to Z only. strings.ToLower would fold the Kelvin sign to k.
func lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// sameName compares a name in normal form with one that may have capitals and
// a trailing dot. Only ASCII is folded (RFC 4343 §3), and nothing is allocated.
func sameName(normal, name string) bool {
	name = strings.TrimSuffix(name, ".")
	if len(normal) != len(name) || name == "" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != normal[i] {
			return false
		}
	}
	return true
}

// parseIP reads an address as it stands in a host: with or without brackets.
func parseIP(host string) (netip.Addr, bool) {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	if !strings.Contains(host, ":") && strings.TrimRight(host, "0123456789") == host {
		return netip.Addr{}, false // no address ends so; asking netip would allocate its error
	}
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil
}

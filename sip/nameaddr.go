package sip

import "bytes"

// A NameAddr is the value of From, To, Contact, Route and their like
// (RFC 3261 §20.10): with or without display name and brackets.
type NameAddr struct {
	Display []byte // as it came, with its quotes
	URI     []byte // without the brackets
	Params  []byte // without the first ";"
	tag     []byte
	angled  bool // the URI stands in brackets
}

// ParseNameAddr reads all of b as one address. A list of two is an error, and so
// is anything that could make another reader find another URI.
func ParseNameAddr(b []byte) (NameAddr, error) {
	b = trimLWS(b)
	n, end, err := scanNameAddr(b, 0)
	if err != nil {
		return NameAddr{}, err
	}
	if end != len(b) {
		return NameAddr{}, errTrailing
	}
	return n, nil
}

// scanNameAddr reads the address that begins at b[i] and returns its end, which
// is a comma or the end of b if all is well.
func scanNameAddr(b []byte, i int) (n NameAddr, end int, err error) {
	if i == len(b) {
		return n, 0, errEmpty
	}
	open, err := scanDisplay(b, i)
	if err != nil {
		return n, 0, err
	}
	if open >= 0 {
		n.angled = true
		n.Display = b[i:trimEnd(b, i, open)]
		size := bytes.IndexByte(b[open:], '>')
		if size < 0 {
			return n, 0, errUnclosed
		}
		if n.URI = b[open+1 : open+size]; !isVisible(n.URI) {
			return n, 0, errURIChar
		}
		end = skipLWS(b, open+size+1)
	} else if n.URI, end, err = scanAddrSpec(b, i); err != nil {
		return n, 0, err
	}
	return n, end, n.scanParams(b, &end)
}

// scanDisplay returns the offset of the "<" behind an optional display name, or
// -1 if the value has no brackets.
func scanDisplay(b []byte, i int) (open int, err error) {
	if b[i] == '<' {
		return i, nil
	}
	if b[i] == '"' {
		end, ok := skipQuoted(b, i)
		if !ok {
			return 0, errQuote
		}
		if end = skipLWS(b, end); end == len(b) || b[end] != '<' {
			return 0, errDisplay
		}
		return end, nil
	}
	at := i
	for at < len(b) {
		end := tokenChar.run(b, at)
		next := skipLWS(b, end)
		if next < len(b) && b[next] == '<' {
			return next, nil
		}
		if next == at || next == end {
			break
		}
		at = next
	}
	return -1, nil
}

// scanAddrSpec reads a URI without brackets. Its own parameters and headers would
// be taken for those of the header field, so "?" and "," need the brackets and ";"
// ends the URI (RFC 3261 §20).
func scanAddrSpec(b []byte, i int) (uri []byte, end int, err error) {
	for end = i; end < len(b) && b[end] > ' ' && b[end] != ';' && b[end] != ','; end++ {
		switch b[end] {
		case '?':
			return nil, 0, errBracket
		case '<', '>', '"':
			return nil, 0, errDisplay
		}
	}
	if !isVisible(b[i:end]) {
		return nil, 0, errURIChar
	}
	return b[i:end], skipLWS(b, end), nil
}

// scanParams reads the parameters at b[*end], moves *end behind them and keeps
// the tag.
func (n *NameAddr) scanParams(b []byte, end *int) error {
	start := *end
	for *end < len(b) && b[*end] == ';' {
		p, next, err := scanParam(b, *end+1)
		if err != nil {
			return err
		}
		if p.is(b, "tag") {
			if n.tag != nil {
				return errRepeated
			}
			if n.tag = p.bytes(b); tokenish(n.tag) != nil {
				return errParam
			}
		}
		*end = next
	}
	if *end > start {
		n.Params = b[start+1 : trimEnd(b, start+1, *end)]
	}
	if *end < len(b) && b[*end] != ',' {
		return errTrailing
	}
	return nil
}

// isVisible reports whether b is visible ASCII without the characters that bound
// a URI from outside. Which of them its scheme allows is ParseURI's to say.
func isVisible(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || c == '<' || c == '"' {
			return false
		}
	}
	return len(b) > 0
}

// tokenish refuses a value that is empty or quoted where a token must stand.
func tokenish(b []byte) error {
	if len(b) == 0 || b[0] == '"' {
		return errParam
	}
	return nil
}

// Tag returns the tag parameter, nil if there is none.
func (n NameAddr) Tag() []byte { return n.tag }

// Param returns the value of a parameter of the header field, not of the URI.
func (n NameAddr) Param(name string) (value []byte, ok bool) { return Param(n.Params, name) }

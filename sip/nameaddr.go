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
	var n NameAddr
	if err := n.read(b); err != nil {
		return NameAddr{}, err
	}
	return n, nil
}

// read reads all of b, which has no white space around it.
func (n *NameAddr) read(b []byte) error {
	end, err := n.scan(b, 0)
	if err == nil && end != len(b) {
		err = errTrailing
	}
	return err
}

// scan reads the address that begins at b[i] and returns its end, which is a
// comma or the end of b if all is well.
func (n *NameAddr) scan(b []byte, i int) (end int, err error) {
	*n = NameAddr{}
	if i == len(b) {
		return 0, errEmpty
	}
	open, err := scanDisplay(b, i)
	if err != nil {
		return 0, err
	}
	if open >= 0 {
		n.angled = true
		n.Display = b[i:trimEnd(b, i, open)]
		size := bytes.IndexByte(b[open:], '>')
		if size < 0 {
			return 0, errUnclosed
		}
		if n.URI = b[open+1 : open+size]; !isVisible(n.URI) {
			return 0, errURIChar
		}
		end = skipLWS(b, open+size+1)
	} else if n.URI, end, err = scanAddrSpec(b, i); err != nil {
		return 0, err
	}
	return n.scanParams(b, end)
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

// scanParams reads the parameters at b[i], keeps the tag and returns the end.
func (n *NameAddr) scanParams(b []byte, i int) (end int, err error) {
	for end = i; end < len(b) && b[end] == ';'; {
		p, next, err := scanParam(b, end+1)
		if err != nil {
			return 0, err
		}
		if p.is(b, "tag") {
			if n.tag != nil {
				return 0, errRepeated
			}
			if n.tag = p.bytes(b); tokenish(n.tag) != nil {
				return 0, errParam
			}
		}
		end = next
	}
	if end > i {
		n.Params = b[i+1 : trimEnd(b, i+1, end)]
	}
	if end < len(b) && b[end] != ',' {
		return 0, errTrailing
	}
	return end, nil
}

// isVisible reports whether b could be a URI by its characters. Which of them its
// scheme allows is ParseURI's to say.
func isVisible(b []byte) bool { return len(b) > 0 && visibleChar.run(b, 0) == len(b) }

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

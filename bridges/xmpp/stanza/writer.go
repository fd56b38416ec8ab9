package stanza

import (
	"strconv"
	"unicode/utf8"
)

// Append appends an element as a child of a stream whose default namespace is NS.
// What no XML can carry becomes U+FFFD in text and values, and "_" in names, so that
// the output is well-formed whatever the element is.
func Append(dst []byte, e *Element) []byte { return AppendFor(dst, e, NS) }

// AppendFor is Append for a stream whose default namespace is ns. If that is
// NSClient, NS and NSClient change places.
func AppendFor(dst []byte, e *Element, ns string) []byte {
	w := writer{scope{swapped: ns == NSClient}}
	// The prefix is what older servers look for (RFC 6120 §4.8.5, XEP-0220 §2);
	// it is declared here so that nothing depends on the start of the stream.
	prefix := ""
	switch e.Space {
	case NSStreams:
		prefix = "stream"
	case NSDialback:
		prefix = "db"
	}
	return w.element(dst, e, ns, prefix)
}

type writer struct{ scope scope }

// element writes an element; outer is the default namespace around it.
func (w *writer) element(dst []byte, e *Element, outer, prefix string) []byte {
	space := w.scope.meant(e.Space)
	dst = append(dst, '<')
	name := len(dst)
	if prefix != "" {
		dst = append(append(dst, prefix...), ':')
	}
	dst = appendName(dst, e.Local)
	end := len(dst)
	switch {
	case prefix != "":
		dst = append(append(append(dst, " xmlns:"...), prefix...), "='"...)
		dst = append(appendEscaped(dst, space, true), '\'')
	case space != outer:
		dst = append(dst, " xmlns='"...)
		dst = append(appendEscaped(dst, space, true), '\'')
		outer = space
	}
	for i := range e.Attrs {
		dst = w.attr(dst, e.Attrs, i)
	}
	if e.Text == "" && len(e.Children) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	dst = appendEscaped(dst, e.Text, false)
	for _, c := range e.Children {
		dst = w.element(dst, c, outer, "")
	}
	dst = append(dst, "</"...)
	dst = append(dst, dst[name:end]...)
	return append(dst, '>')
}

// attr writes one of the attributes of an element.
func (w *writer) attr(dst []byte, attrs []Attr, i int) []byte {
	a := attrs[i]
	if a.Space == "" && a.Local == "xmlns" {
		return dst // declares a namespace, which are ours to declare
	}
	shared := -1 // an attribute of the same namespace, which has declared it
	for j, earlier := range attrs[:i] {
		if earlier.Space != a.Space {
			continue
		}
		if earlier.Local == a.Local {
			return dst // the first one counts
		}
		if shared < 0 {
			shared = j
		}
	}
	dst = append(dst, ' ')
	switch {
	case a.Space == "":
	case a.Space == "xml":
		dst = append(dst, "xml:"...)
	default:
		if shared < 0 {
			shared = i
			dst = strconv.AppendInt(append(dst, "xmlns:a"...), int64(i), 10)
			dst = append(dst, "='"...)
			dst = append(appendEscaped(dst, w.scope.meant(a.Space), true), "' "...)
		}
		dst = append(strconv.AppendInt(append(dst, 'a'), int64(shared), 10), ':')
	}
	dst = append(appendName(dst, a.Local), "='"...)
	return append(appendEscaped(dst, a.Value, true), '\'')
}

// appendName writes a name. Names come from the program or from a Reader, and are
// well-formed; this is for the day when one does not.
func appendName(dst []byte, s string) []byte {
	if !beginsName(s) {
		dst = append(dst, '_')
	}
	for i, r := range s {
		switch c := s[i]; {
		case c < utf8.RuneSelf:
			if c|0x20 < 'a' || c|0x20 > 'z' {
				if (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
					c = '_'
				}
			}
			dst = append(dst, c)
		case nameRune(r, false):
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, '_')
		}
	}
	return dst
}

// appendEscaped writes text, or the value of an attribute, whose quotes are "'".
func appendEscaped(dst []byte, s string, value bool) []byte {
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 || r == 0xFFFE || r == 0xFFFF {
				dst = append(append(dst, s[done:i]...), "\ufffd"...)
				done = i + size
			}
			i += size
			continue
		}
		i++
		if !special[c] {
			continue
		}
		if out := escape(c, value); out != "" {
			dst = append(append(dst, s[done:i-1]...), out...)
			done = i
		}
	}
	return append(dst, s[done:]...)
}

// special are the octets that are not always written as they are.
var special = func() (t [utf8.RuneSelf]bool) {
	for c := range t {
		t[c] = c < ' ' || c == '<' || c == '>' || c == '&' || c == '\''
	}
	return t
}()

// escape returns how a special octet is written, "" for as it is.
func escape(c byte, value bool) string {
	switch c {
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	case '&':
		return "&amp;"
	case '\r':
		return "&#13;"
	case '\'':
		if value {
			return "&apos;"
		}
		return ""
	case '\t', '\n':
		if !value {
			return ""
		}
		if c == '\t' {
			return "&#9;"
		}
		return "&#10;"
	}
	return "\ufffd"
}

package stanza

import (
	"encoding/xml"
	"strings"
)

// Namespaces that have their prefixes for ever (Namespaces in XML 1.0 §3).
const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"
)

// A scope is the namespaces that are declared at one place, the innermost last.
type scope struct {
	bound   []binding
	swapped bool // NS and NSClient change places: NSClient is the content on the wire
}

type binding struct{ prefix, space string }

// declares reports whether an attribute declares a namespace, and its prefix.
func declares(name xml.Name) (prefix string, is bool) {
	if name.Space == "xmlns" {
		return name.Local, true
	}
	return "", name.Space == "" && name.Local == "xmlns"
}

// declare adds a declaration of the element whose first one has the index own.
func (s *scope) declare(prefix, space string, own int) error {
	for _, b := range s.bound[own:] {
		if b.prefix == prefix {
			return &SyntaxError{notWellFormed, "the same attribute twice"}
		}
	}
	switch {
	case prefix == "xml" && space == nsXML: // says nothing new
	case prefix == "xml" || prefix == "xmlns" || space == nsXML || space == nsXMLNS:
		return &SyntaxError{notWellFormed, "a prefix that is taken"}
	case prefix != "" && (space == "" || !validName(xml.Name{Space: "xmlns", Local: prefix})):
		return &SyntaxError{notWellFormed, "a declaration that is none"}
	case strings.ContainsFunc(space, notInURI):
		return &SyntaxError{notWellFormed, "a namespace that is no URI"}
	case space == "xml":
		// In an Attr that is how xml:lang is called.
		return &SyntaxError{badNamespacePrefix, "a namespace that is none"}
	}
	s.bound = append(s.bound, binding{prefix, s.meant(space)})
	return nil
}

// notInURI reports characters that are in no URI, nor in what passes for one
// (RFC 3986 §2, RFC 3987 §2.2). Namespaces are names and nobody looks there, but
// libxml2 refuses these.
func notInURI(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune("<>\"{}|\\^`", r)
}

// meant is what a namespace on the wire is in the model.
func (s *scope) meant(space string) string {
	if s.swapped {
		switch space {
		case NS:
			return NSClient
		case NSClient:
			return NS
		}
	}
	return space
}

// swap makes NSClient the content.
func (s *scope) swap() {
	s.swapped = true
	for i, b := range s.bound {
		s.bound[i].space = s.meant(b.space)
	}
}

// lookup returns the namespace of a prefix; "" is the default namespace's.
func (s *scope) lookup(prefix string) (string, bool) {
	for i := len(s.bound) - 1; i >= 0; i-- {
		if s.bound[i].prefix == prefix {
			return s.bound[i].space, true
		}
	}
	if prefix == "xml" {
		return nsXML, true
	}
	return "", prefix == ""
}

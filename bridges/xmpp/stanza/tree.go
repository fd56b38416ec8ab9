package stanza

import (
	"bytes"
	"encoding/xml"
)

// maxKept is how many octets of memory are kept for the next element.
const maxKept = 16 << 10

// A frame is an element that has begun and not ended.
type frame struct {
	e     *Element
	name  xml.Name // with the prefix, as its end tag must have it
	bound int      // bindings around it
	text  []byte
}

// begin makes an element of its start tag, without what is in it.
func (r *Reader) begin(t xml.StartElement) (*Element, error) {
	declared := len(r.scope.bound)
	for _, a := range t.Attr {
		prefix, is := declares(a.Name)
		if !is {
			continue
		}
		if len(r.scope.bound) >= r.limits.Prefixes {
			return nil, &SyntaxError{policyViolation, "too many namespaces"}
		}
		if err := r.scope.declare(prefix, a.Value, declared); err != nil {
			return nil, err
		}
	}
	declared = len(r.scope.bound) - declared
	space, err := r.space(t.Name)
	if err != nil {
		return nil, err
	}
	e := &Element{Space: space, Local: t.Name.Local}
	if len(t.Attr) > declared {
		e.Attrs = make([]Attr, 0, len(t.Attr)-declared)
	}
	for _, a := range t.Attr {
		if _, is := declares(a.Name); is {
			continue
		}
		if e.Attrs, err = r.attribute(e.Attrs, a); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// space returns the namespace of an element.
func (r *Reader) space(name xml.Name) (string, error) {
	if !validName(name) {
		return "", &SyntaxError{notWellFormed, "a name that is none"}
	}
	space, ok := r.scope.lookup(name.Space)
	switch {
	case !ok:
		return "", &SyntaxError{notWellFormed, "a prefix that is not declared"}
	case space == nsXML:
		return "", &SyntaxError{badNamespacePrefix, "an element in the namespace of XML"}
	case space == NS && name.Space != "" && !r.document: // RFC 6120 §4.8.5
		return "", &SyntaxError{badNamespacePrefix, "content with a prefix"}
	}
	return space, nil
}

// attribute appends an attribute that is no declaration.
func (r *Reader) attribute(attrs []Attr, a xml.Attr) ([]Attr, error) {
	if !validName(a.Name) {
		return nil, &SyntaxError{notWellFormed, "a name that is none"}
	}
	space := ""
	switch a.Name.Space {
	case "": // the default namespace is not for attributes
	case "xml":
		space = "xml"
	default:
		var ok bool
		if space, ok = r.scope.lookup(a.Name.Space); !ok {
			return nil, &SyntaxError{notWellFormed, "a prefix that is not declared"}
		}
	}
	for _, earlier := range attrs {
		if earlier.Local == a.Name.Local && earlier.Space == space {
			return nil, &SyntaxError{notWellFormed, "the same attribute twice"}
		}
	}
	return append(attrs, Attr{space, a.Name.Local, a.Value}), nil
}

// finish reads what is in an element, up to its end.
func (r *Reader) finish(e *Element, name xml.Name) error {
	top := 0
	r.push(top, e, name)
	for tokens := 2; ; tokens++ {
		if tokens > r.limits.Tokens {
			return &SyntaxError{policyViolation, "too many elements"}
		}
		t, err := r.dec.RawToken()
		if err != nil {
			return err
		}
		f := &r.frames[top]
		switch t := t.(type) {
		case xml.CharData:
			f.text = append(f.text, t...)
		case xml.StartElement:
			if top++; top >= r.limits.Depth {
				return &SyntaxError{policyViolation, "too deep"}
			}
			bound := len(r.scope.bound)
			child, err := r.begin(t)
			if err != nil {
				return err
			}
			f.e.Children = append(f.e.Children, child)
			r.push(top, child, t.Name)
			r.frames[top].bound = bound
		case xml.EndElement:
			if t.Name != f.name {
				return &SyntaxError{notWellFormed, "an end tag without its start"}
			}
			f.end()
			if top == 0 {
				return nil
			}
			r.scope.bound = r.scope.bound[:f.bound]
			top--
		default: // octets lets no other token pass
			return &SyntaxError{restrictedXML, "forbidden markup"}
		}
	}
}

func (r *Reader) push(top int, e *Element, name xml.Name) {
	if top == len(r.frames) {
		r.frames = append(r.frames, frame{})
	}
	f := &r.frames[top]
	f.e, f.name, f.text = e, name, f.text[:0]
}

// end gives an element its text. White space around children only is layout.
func (f *frame) end() {
	if len(f.e.Children) == 0 || len(bytes.Trim(f.text, " \t\r\n")) > 0 {
		f.e.Text = string(f.text)
	}
	if f.e = nil; cap(f.text) > maxKept {
		f.text = nil
	}
}

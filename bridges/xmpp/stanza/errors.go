package stanza

import "strings"

// An Error is a stanza error (RFC 6120 §8.3).
type Error struct {
	Type      string // "cancel", "modify", "auth", "wait", "continue"; "": the usual one of the condition
	Condition string // "item-not-found", …
	Text      string // for people
	By        string // who says so
	To        string // new address of gone and redirect
}

// Error describes the error.
func (e *Error) Error() string {
	if e.Text == "" {
		return "stanza: " + e.Condition
	}
	return "stanza: " + e.Condition + ": " + e.Text
}

// undefined stands for all conditions that one does not know (RFC 6120 §8.3.2).
const undefined = "undefined-condition"

// usualTypes are the conditions of RFC 6120 §8.3.3, each with the type that it
// recommends.
var usualTypes = map[string]string{
	"bad-request":             "modify",
	"conflict":                "cancel",
	"feature-not-implemented": "cancel",
	"forbidden":               "auth",
	"gone":                    "cancel",
	"internal-server-error":   "cancel",
	"item-not-found":          "cancel",
	"jid-malformed":           "modify",
	"not-acceptable":          "modify",
	"not-allowed":             "cancel",
	"not-authorized":          "auth",
	"policy-violation":        "modify",
	"recipient-unavailable":   "wait",
	"redirect":                "modify",
	"registration-required":   "auth",
	"remote-server-not-found": "cancel",
	"remote-server-timeout":   "wait",
	"resource-constraint":     "wait",
	"service-unavailable":     "cancel",
	"subscription-required":   "auth",
	undefined:                 "cancel",
	"unexpected-request":      "wait",
}

// knownType reports whether a type is one of RFC 6120 §8.3.2.
func knownType(s string) bool {
	switch s {
	case "auth", "cancel", "continue", "modify", "wait":
		return true
	}
	return false
}

// ErrorOf returns the error that an error stanza carries; nil if it is none. What
// is broken in it is read as undefined-condition, and never as no error.
func ErrorOf(e *Element) *Error {
	if e.Attr("type") != "error" {
		return nil
	}
	found := &Error{Condition: undefined}
	carried := e.Child(e.Space, "error")
	if carried != nil {
		found.By = carried.Attr("by")
		found.Type = carried.Attr("type")
		for _, c := range carried.Children {
			switch _, known := usualTypes[c.Local]; {
			case c.Space != NSErrors:
			case c.Local == "text":
				if found.Text == "" {
					found.Text = c.Text
				}
			case known && found.Condition == undefined:
				found.Condition = c.Local
				if c.Local == "gone" || c.Local == "redirect" {
					found.To = strings.TrimSpace(c.Text)
				}
			}
		}
	}
	if !knownType(found.Type) {
		found.Type = usualTypes[found.Condition]
	}
	return found
}

// Element makes the <error/>.
func (e *Error) Element() *Element {
	condition, t := e.Condition, e.Type
	usual, known := usualTypes[condition]
	if !known {
		condition, usual = undefined, usualTypes[undefined]
	}
	if !knownType(t) {
		t = usual
	}
	out := New(NS, "error", Attr{Local: "type", Value: t})
	out.SetAttr("by", e.By)
	c := out.Add(New(NSErrors, condition))
	if condition == "gone" || condition == "redirect" {
		c.Text = e.To
	}
	if e.Text != "" {
		// It is ours, and whoever reads it shows it if he knows the language.
		out.AddText(NSErrors, "text", e.Text).SetLang("en")
	}
	return out
}

// Bounce makes the error stanza that answers e: from and to swapped, the id kept,
// nothing of its content (RFC 6120 §8.3.1). It is nil where none may be sent: to
// errors, to results, and to what is no stanza.
func Bounce(e *Element, err *Error) *Element {
	t := e.Attr("type")
	if !e.IsStanza() || t == "error" || e.Local == "iq" && t == "result" {
		return nil
	}
	out := New(NS, e.Local, Attr{Local: "type", Value: "error"})
	out.SetAttr("from", e.Attr("to"))
	out.SetAttr("to", e.Attr("from"))
	out.SetAttr("id", e.Attr("id"))
	out.Add(err.Element())
	return out
}

package s2s

import (
	"strconv"
	"strings"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A header is the start of a stream, theirs or ours.
type header struct {
	from, to string // normal form; "" if there is none
	id       string
}

// append writes the header of a stream of ours. The prefixes are those that all
// servers use: some know no others (RFC 6120 §4.8.5, XEP-0220 §2.4.1).
func (h header) append(dst []byte) []byte {
	dst = append(dst, "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"+
		" xmlns:db='jabber:server:dialback' version='1.0' xml:lang='en'"...)
	for _, a := range []struct{ name, value string }{{"from", h.from}, {"to", h.to}, {"id", h.id}} {
		if a.value != "" {
			// Domains in normal form and ids of ours have nothing to escape.
			dst = append(append(append(append(append(dst, ' '), a.name...), "='"...), a.value...), '\'')
		}
	}
	return append(dst, '>')
}

const ending = "</stream:stream>"

// read takes the attributes of a header of the other side. Servers of old leave
// from and to out (RFC 6120 §4.7.1, §4.7.2); what is there must be a domain.
func (h *header) read(e *stanza.Element, content string) *fault {
	*h = header{id: e.Attr("id")}
	if content != stanza.NS {
		return &fault{condition: "invalid-namespace", text: "not jabber:server"} // RFC 6120 §4.8.3
	}
	// No version is 0.9 (RFC 6120 §4.7.5): a server without features, so without
	// STARTTLS.
	if major, _, _ := strings.Cut(e.Attr("version"), "."); !atLeastOne(major) {
		return &fault{condition: "unsupported-version"}
	}
	for _, a := range []struct {
		name string
		into *string
	}{{"from", &h.from}, {"to", &h.to}} {
		raw := e.Attr(a.name)
		if raw == "" {
			continue
		}
		d, ok := Normal(raw)
		if !ok {
			return &fault{condition: "improper-addressing", text: a.name + " is not a domain"}
		}
		*a.into = d
	}
	return nil
}

func atLeastOne(major string) bool {
	n, err := strconv.Atoi(major)
	return err == nil && n >= 1
}

// streamError makes a stream error (RFC 6120 §4.9.2).
func streamError(f *fault) *stanza.Element {
	e := stanza.New(stanza.NSStreams, "error")
	e.Add(stanza.New(nsErrors, f.condition))
	if f.text != "" {
		e.AddText(nsErrors, "text", f.text).SetLang("en")
	}
	if f.condition == "undefined-condition" && f.text == tooHigh {
		e.Add(stanza.New(nsManage, "handled-count-too-high")) // XEP-0198 §4
	}
	return e
}

const tooHigh = "more acknowledged than was sent"

// The offers of the other side that we know (RFC 6120 §4.3.2), in any order.
type offers struct {
	startTLS  bool
	mechanism bool // SASL EXTERNAL
	others    []string
	dialback  bool
	bidi      bool
	manage    bool
	maxOctets int // of one element (XEP-0478); 0: nothing said
	idle      int // seconds without an octet until it may close; 0: nothing said
}

func readOffers(e *stanza.Element) (o offers) {
	o.startTLS = e.Child(nsTLS, "starttls") != nil
	o.dialback = e.Child(nsCanCheck, "dialback") != nil
	o.bidi = e.Child(nsCanBidi, "bidi") != nil
	o.manage = e.Child(nsManage, "sm") != nil
	if m := e.Child(nsSASL, "mechanisms"); m != nil {
		for _, c := range m.Children {
			switch name := strings.TrimSpace(c.Text); {
			case !c.Is(nsSASL, "mechanism"):
			case name == "EXTERNAL":
				o.mechanism = true
			case len(o.others) < 8:
				o.others = append(o.others, words(name))
			}
		}
	}
	o.maxOctets, o.idle = readLimits(e)
	return o
}

// readLimits reads what the other side says about what it takes (XEP-0478 §3),
// in its features or in <bidi/>.
func readLimits(e *stanza.Element) (octets, idle int) {
	l := e.Child(nsLimits, "limits")
	if l == nil {
		return 0, 0
	}
	number := func(name string) int {
		c := l.Child(nsLimits, name)
		if c == nil {
			return 0
		}
		n, err := strconv.Atoi(strings.TrimSpace(c.Text))
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	if octets = number("max-bytes"); octets > 0 {
		octets = max(octets, minStanza)
	}
	return octets, number("idle-seconds")
}

// limits says what we take (XEP-0478 §3).
func (s *Server) limitsElement() *stanza.Element {
	e := stanza.New(nsLimits, "limits")
	e.AddText(nsLimits, "max-bytes", strconv.Itoa(s.limits.Stanza))
	e.AddText(nsLimits, "idle-seconds", strconv.Itoa(int(s.limits.Idle.Seconds())))
	return e
}

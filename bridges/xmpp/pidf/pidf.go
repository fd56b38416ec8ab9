// Package pidf is presence as both sides write it: documents of SIP (PIDF, RFC 3863, with
// RPID, RFC 4480) and presence stanzas of XMPP, and how the one becomes the other
// (RFC 8048 §6.2).
//
// It knows what presence says, and not whom it is for: subscriptions, probes and errors are
// the bridge's. What strangers write is bounded, and what is too much is left out. It has
// no state, and its functions may be called from anywhere at once.
package pidf

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// Namespaces of presence documents.
const (
	nsPIDF   = "urn:ietf:params:xml:ns:pidf"
	nsPerson = "urn:ietf:params:xml:ns:pidf:data-model" // RFC 4479
	nsRPID   = "urn:ietf:params:xml:ns:pidf:rpid"       // RFC 4480
	nsIdle   = "urn:xmpp:idle:1"                        // XEP-0319
)

// Type is the media type of presence documents (RFC 3863 §3.1).
const Type = "application/pidf+xml"

// What of a presence document is taken. The rest of a longer one is left out.
const (
	maxTuples = 64
	maxNotes  = 8
	maxNote   = 1024 // octets
)

// A Tuple is the presence of one resource: a tuple of PIDF (RFC 3863 §4.1.2), and
// a presence stanza without a type or with type unavailable.
type Tuple struct {
	Resource string
	Open     bool
	Show     string // "", "away", "chat", "dnd", "xa"
	Lang     string // of the stanza; of the notes that have none
	Contact  string // SIP URI of the resource

	notes    []note // at most one of each language
	ranked   bool   // priority was said
	priority int8
	idle     time.Time // of the last input; zero: not idle, or not known
}

// A note is a status text.
type note struct{ lang, text string }

// Same reports whether two tuples say the same.
func (t *Tuple) Same(o *Tuple) bool {
	return t.Resource == o.Resource && t.Open == o.Open && t.Show == o.Show && t.Lang == o.Lang &&
		t.ranked == o.ranked && t.priority == o.priority && t.idle.Equal(o.idle) &&
		t.Contact == o.Contact && slices.Equal(t.notes, o.notes)
}

// addNote adds a text. Of each language the first one counts, as RFC 6121 §4.7.2.2
// knows only one.
func (t *Tuple) addNote(lang, text string) {
	text, lang = cut(strings.TrimSpace(text)), tag(lang)
	if text == "" || len(t.notes) == maxNotes {
		return
	}
	if !slices.ContainsFunc(t.notes, func(n note) bool { return n.lang == lang }) {
		t.notes = append(t.notes, note{lang, text})
	}
}

// cut cuts a note off after maxNote octets, between two characters.
func cut(s string) string {
	if len(s) <= maxNote {
		return s
	}
	return strings.ToValidUTF8(s[:maxNote], "")
}

// tag returns a language tag, the first one of a list, "" if it is none. Those in use
// are shorter than 35.
func tag(s string) string {
	s, _, _ = strings.Cut(s, ",")
	s = strings.TrimSpace(s)
	if len(s) > 35 || strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-')
	}) {
		return ""
	}
	return s
}

// isShow reports whether s is one of the four values (RFC 6121 §4.7.2.1).
func isShow(s string) bool { return s == "away" || s == "chat" || s == "dnd" || s == "xa" }

// FromStanza reads a presence stanza that is a notification: without a type, or
// unavailable. resource is that of its from.
func FromStanza(e *stanza.Element, resource string) Tuple {
	t := Tuple{Resource: resource, Open: e.Attr("type") == "", Lang: tag(e.Lang())}
	for _, c := range e.Children {
		switch {
		case c.Is(stanza.NS, "show"):
			if show := strings.TrimSpace(c.Text); isShow(show) && t.Open {
				t.Show = show
			}
		case c.Is(stanza.NS, "status"):
			t.addNote(c.Lang(), c.Text)
		case c.Is(stanza.NS, "priority"):
			p, err := strconv.ParseInt(strings.TrimSpace(c.Text), 10, 8)
			if err == nil {
				t.ranked, t.priority = true, int8(p)
			}
		case c.Is(nsIdle, "idle"):
			t.idle, _ = stanza.ParseStamp(c.Attr("since"))
		}
	}
	return t
}

// Stanza returns the presence stanza of a tuple. from is the bare JID, to any.
func (t *Tuple) Stanza(from, to string) *stanza.Element {
	if t.Resource != "" {
		from += "/" + t.Resource
	}
	e := stanza.New(stanza.NS, "presence",
		stanza.Attr{Local: "from", Value: from}, stanza.Attr{Local: "to", Value: to})
	e.SetLang(t.Lang)
	if !t.Open {
		e.SetAttr("type", "unavailable")
	} else if t.Show != "" {
		e.AddText(stanza.NS, "show", t.Show)
	}
	for _, n := range t.notes {
		e.AddText(stanza.NS, "status", n.text).SetLang(n.lang)
	}
	if t.Open && t.priority != 0 {
		e.AddText(stanza.NS, "priority", strconv.Itoa(int(t.priority)))
	}
	if t.Open && !t.idle.IsZero() {
		e.Add(stanza.New(nsIdle, "idle", stanza.Attr{Local: "since", Value: t.idle.UTC().Format(time.RFC3339)}))
	}
	return e
}

// Append appends the document that says all these tuples of entity, a pres URI.
// Documents are whole states (RFC 3856 §6.8), so one for each resource would
// have each take the others away.
func Append(dst []byte, entity string, tuples []Tuple) []byte {
	root := stanza.New(nsPIDF, "presence", stanza.Attr{Local: "entity", Value: entity})
	ids := make(map[string]bool, len(tuples))
	for i := range tuples {
		id := tupleID(tuples[i].Resource, ids)
		ids[id] = true
		root.Add(tuples[i].element(id))
	}
	if activity := activityOf(tuples); activity != "" {
		// RFC 4480 §3.1 has activities in persons only.
		person := root.Add(stanza.New(nsPerson, "person", stanza.Attr{Local: "id", Value: "person"}))
		person.Add(stanza.New(nsRPID, "activities")).Add(stanza.New(nsRPID, activity))
	}
	dst = append(dst, "<?xml version='1.0' encoding='UTF-8'?>\n"...)
	return stanza.Append(dst, root)
}

// element is the tuple in PIDF. The order of children is the schema's
// (RFC 3863 §4.4).
func (t *Tuple) element(id string) *stanza.Element {
	e := stanza.New(nsPIDF, "tuple", stanza.Attr{Local: "id", Value: id})
	status := e.Add(stanza.New(nsPIDF, "status"))
	basic := "closed"
	if t.Open {
		basic = "open"
	}
	status.AddText(nsPIDF, "basic", basic)
	if t.Show != "" {
		// RFC 8048 §6.2, note 7.
		status.AddText(stanza.NSClient, "show", t.Show)
	}
	if !t.idle.IsZero() {
		idle := e.AddText(nsRPID, "user-input", "idle")
		idle.SetAttr("last-input", t.idle.UTC().Format(time.RFC3339))
	}
	if t.Contact != "" {
		contact := e.AddText(nsPIDF, "contact", t.Contact)
		if t.ranked && t.priority >= 0 {
			contact.SetAttr("priority", qvalue(t.priority))
		}
	}
	for _, n := range t.notes {
		lang := n.lang
		if lang == "" {
			lang = t.Lang
		}
		e.AddText(nsPIDF, "note", n.text).SetLang(lang)
	}
	return e
}

// qvalue is a priority of XMPP, which is not negative, in PIDF: of three decimals,
// and another one for each priority (RFC 8048 §6.2, note 6).
func qvalue(priority int8) string {
	n := 1000 * int(priority) / 127
	return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64)
}

// priorityOf is the way back.
func priorityOf(q string) (priority int8, ok bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, false
	}
	return int8(127*f + 0.5), true
}

// activityOf is what the person does according to who is most available, as user
// agents show several resources (RFC 8048 §6.2).
func activityOf(tuples []Tuple) string {
	best := ""
	for i := range tuples {
		if t := &tuples[i]; t.Open && (best == "" || reserve(t.Show) < reserve(best)) {
			best = t.Show
			if best == "" {
				best = "chat"
			}
		}
	}
	switch best {
	case "away", "xa":
		return "away"
	case "dnd":
		return "busy"
	}
	return ""
}

// reserve is how little available a show says that one is.
func reserve(show string) int {
	return slices.Index([]string{"away", "xa", "dnd"}, show)
}

// tupleID is the id of a resource's tuple: "ID-" and the resource if that is an
// xs:ID (RFC 8048 §6.2, note 2), else a hash. It is none of taken: who chooses
// resources so that two ids are the same gets a longer hash.
func tupleID(resource string, taken map[string]bool) string {
	id := "ID-" + resource
	sum := sha256.Sum256([]byte(resource))
	hash := hex.EncodeToString(sum[:])
	if !isNCName(id) || len(id) > 256 || taken[id] {
		id = "ID-" + hash[:16]
	}
	if taken[id] {
		id = "ID-" + hash
	}
	return id
}

// isNCName reports whether s, which begins with a letter, is an NCName and so an
// xs:ID.
func isNCName(s string) bool {
	for _, r := range s {
		switch {
		case r < utf8.RuneSelf:
			if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '.' || r == '_') {
				return false
			}
		// XML 1.0 (fifth edition) §2.3, NameChar.
		case r == 0xB7, 0xC0 <= r && r <= 0x2FF && r != 0xD7 && r != 0xF7, 0x300 <= r && r <= 0x37D,
			0x37F <= r && r <= 0x1FFF, r == 0x200C, r == 0x200D, r == 0x203F, r == 0x2040,
			0x2070 <= r && r <= 0x218F, 0x2C00 <= r && r <= 0x2FEF, 0x3001 <= r && r <= 0xD7FF,
			0xF900 <= r && r <= 0xFDCF, 0xFDF0 <= r && r <= 0xFFFD && r != utf8.RuneError,
			0x10000 <= r && r <= 0xEFFFF:
		default:
			return false
		}
	}
	return true
}

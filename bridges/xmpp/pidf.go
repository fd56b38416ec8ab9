package xmpp

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

// typePIDF is the media type of presence documents (RFC 3863 §3.1).
const typePIDF = "application/pidf+xml"

// What of a presence document is taken. The rest of a longer one is left out.
const (
	maxTuples = 64
	maxNotes  = 8
	maxNote   = 1024 // octets
)

// A tuple is the presence of one resource: a tuple of PIDF (RFC 3863 §4.1.2), and
// a presence stanza without a type or with type unavailable.
type tuple struct {
	resource string
	open     bool
	show     string // "", "away", "chat", "dnd", "xa"
	notes    []note // at most one of each language
	lang     string // of the stanza; of the notes that have none
	ranked   bool   // priority was said
	priority int8
	idle     time.Time // of the last input; zero: not idle, or not known
	contact  string    // SIP URI of the resource
}

// A note is a status text.
type note struct{ lang, text string }

// same reports whether two tuples say the same.
func (t *tuple) same(o *tuple) bool {
	return t.resource == o.resource && t.open == o.open && t.show == o.show && t.lang == o.lang &&
		t.ranked == o.ranked && t.priority == o.priority && t.idle.Equal(o.idle) &&
		t.contact == o.contact && slices.Equal(t.notes, o.notes)
}

// addNote adds a text. Of each language the first one counts, as RFC 6121 §4.7.2.2
// knows only one.
func (t *tuple) addNote(lang, text string) {
	text, lang = clip(strings.TrimSpace(text), maxNote), tag(lang)
	if text == "" || len(t.notes) == maxNotes {
		return
	}
	if !slices.ContainsFunc(t.notes, func(n note) bool { return n.lang == lang }) {
		t.notes = append(t.notes, note{lang, text})
	}
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

// clip cuts s off after n octets, between two characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// isShow reports whether s is one of the four values (RFC 6121 §4.7.2.1).
func isShow(s string) bool { return s == "away" || s == "chat" || s == "dnd" || s == "xa" }

// tupleOf reads a presence stanza that is a notification. resource is that of its
// from.
func tupleOf(e *stanza.Element, resource string) tuple {
	t := tuple{resource: resource, open: e.Attr("type") == "", lang: tag(e.Lang())}
	for _, c := range e.Children {
		switch {
		case c.Is(stanza.NS, "show"):
			if show := strings.TrimSpace(c.Text); isShow(show) && t.open {
				t.show = show
			}
		case c.Is(stanza.NS, "status"):
			t.addNote(c.Lang(), c.Text)
		case c.Is(stanza.NS, "priority"):
			p, err := strconv.ParseInt(strings.TrimSpace(c.Text), 10, 8)
			if err == nil {
				t.ranked, t.priority = true, int8(p)
			}
		case c.Is(nsIdle, "idle"):
			t.idle, _ = parseStamp(c.Attr("since"))
		}
	}
	return t
}

// stanza returns the presence stanza of a tuple. from is the bare JID.
func (t *tuple) stanza(from, to string) *stanza.Element {
	if t.resource != "" {
		from += "/" + t.resource
	}
	e := presenceStanza("", from, to)
	e.SetLang(t.lang)
	if !t.open {
		e.SetAttr("type", "unavailable")
	} else if t.show != "" {
		e.AddText(stanza.NS, "show", t.show)
	}
	for _, n := range t.notes {
		e.AddText(stanza.NS, "status", n.text).SetLang(n.lang)
	}
	if t.open && t.priority != 0 {
		e.AddText(stanza.NS, "priority", strconv.Itoa(int(t.priority)))
	}
	if t.open && !t.idle.IsZero() {
		e.Add(stanza.New(nsIdle, "idle", stanza.Attr{Local: "since", Value: t.idle.UTC().Format(time.RFC3339)}))
	}
	return e
}

// presenceStanza makes a presence stanza; kind is its type.
func presenceStanza(kind, from, to string) *stanza.Element {
	e := stanza.New(stanza.NS, "presence",
		stanza.Attr{Local: "from", Value: from}, stanza.Attr{Local: "to", Value: to})
	e.SetAttr("type", kind)
	return e
}

// appendPIDF appends the document that says all these tuples of entity, a pres URI.
// Documents are whole states (RFC 3856 §6.8), so one for each resource would
// have each take the others away.
func appendPIDF(dst []byte, entity string, tuples []tuple) []byte {
	root := stanza.New(nsPIDF, "presence", stanza.Attr{Local: "entity", Value: entity})
	ids := make(map[string]bool, len(tuples))
	for i := range tuples {
		id := tupleID(tuples[i].resource, ids)
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
func (t *tuple) element(id string) *stanza.Element {
	e := stanza.New(nsPIDF, "tuple", stanza.Attr{Local: "id", Value: id})
	status := e.Add(stanza.New(nsPIDF, "status"))
	basic := "closed"
	if t.open {
		basic = "open"
	}
	status.AddText(nsPIDF, "basic", basic)
	if t.show != "" {
		// RFC 8048 §6.2, note 7.
		status.AddText(stanza.NSClient, "show", t.show)
	}
	if !t.idle.IsZero() {
		idle := e.AddText(nsRPID, "user-input", "idle")
		idle.SetAttr("last-input", t.idle.UTC().Format(time.RFC3339))
	}
	if t.contact != "" {
		contact := e.AddText(nsPIDF, "contact", t.contact)
		if t.ranked && t.priority >= 0 {
			contact.SetAttr("priority", qvalue(t.priority))
		}
	}
	for _, n := range t.notes {
		lang := n.lang
		if lang == "" {
			lang = t.lang
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
func activityOf(tuples []tuple) string {
	best := ""
	for i := range tuples {
		if t := &tuples[i]; t.open && (best == "" || reserve(t.show) < reserve(best)) {
			best = t.show
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

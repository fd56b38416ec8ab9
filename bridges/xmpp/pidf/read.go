package pidf

import (
	"errors"
	"mime"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// pidfLimits bounds a presence document.
var pidfLimits = stanza.Limits{Stanza: 64 << 10, Depth: 16, Attrs: 32, Tokens: 4096}

// ErrType says that a body is of no type that is read here.
var ErrType = errors.New("pidf: not a type of presence documents")

var errNotPIDF = errors.New("pidf: not a presence document")

// Read reads a presence document of any type that is understood: one tuple for each
// resource, in the document's order. contentType and lang are the values of Content-Type and
// Content-Language; resourceOf names the resource of a tuple by its id and its contact, each
// of which may be "". The tuples are nil if the document says nothing of presence; one of
// PIDF always does. The error is ErrType, or says what is wrong with the document.
func Read(contentType, lang string, body []byte, resourceOf func(id, contact string) string) ([]Tuple, error) {
	mediaType, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && mediaType == Type:
		return parsePIDF(body, lang, resourceOf)
	case err == nil && isMicrosoft(mediaType):
		tuples, err := parseMicrosoft(body, lang)
		for i := range tuples {
			tuples[i].Resource = resourceOf("", "")
		}
		return tuples, err
	}
	return nil, ErrType
}

// parsePIDF reads a document of PIDF.
func parsePIDF(body []byte, lang string, resourceOf func(id, contact string) string) ([]Tuple, error) {
	root, err := stanza.Parse(body, pidfLimits)
	if err != nil {
		return nil, err
	}
	if !root.Is(nsPIDF, "presence") {
		return nil, errNotPIDF
	}
	if l := root.Lang(); l != "" {
		lang = l
	}
	lang = tag(lang)
	set := tupleSet{list: []Tuple{}}
	for _, c := range root.Children {
		if c.Is(nsPIDF, "tuple") {
			t := readTuple(c)
			t.Lang = lang
			t.Resource = resourceOf(c.Attr("id"), t.Contact)
			set.add(t)
		}
	}
	person := readPerson(root)
	for i := range set.list {
		person.apply(&set.list[i])
	}
	return set.list, nil
}

// A tupleSet is the tuples of a document, one for each resource.
type tupleSet struct{ list []Tuple }

// add adds a tuple. Of two of the same resource, as of a device with two services,
// the one that is open counts, and of two open ones the first.
func (s *tupleSet) add(t Tuple) {
	for i := range s.list {
		if old := &s.list[i]; old.Resource == t.Resource {
			if t.Open && !old.Open {
				*old = t
			}
			return
		}
	}
	if len(s.list) < maxTuples {
		s.list = append(s.list, t)
	}
}

// readTuple reads one tuple.
func readTuple(e *stanza.Element) (t Tuple) {
	activity := ""
	for _, c := range e.Children {
		switch {
		case c.Is(nsPIDF, "status"):
			for _, s := range c.Children {
				switch {
				case s.Is(nsPIDF, "basic"):
					t.Open = strings.TrimSpace(s.Text) == "open"
				default:
					t.extension(s, &activity)
				}
			}
		case c.Is(nsPIDF, "contact"):
			t.Contact = strings.TrimSpace(c.Text)
			if p, ok := priorityOf(c.Attr("priority")); ok {
				t.ranked, t.priority = true, p
			}
		case c.Is(nsPIDF, "note"):
			t.addNote(c.Lang(), c.Text)
		default:
			t.extension(c, &activity)
		}
	}
	if t.Show == "" {
		t.applyActivity(activity)
	}
	return t
}

// extension reads what stands beside the elements of PIDF: in the status or beside
// it, since implementations differ.
func (t *Tuple) extension(e *stanza.Element, activity *string) {
	switch {
	case (e.Space == stanza.NS || e.Space == stanza.NSClient) && e.Local == "show":
		if show := strings.TrimSpace(e.Text); isShow(show) && t.Show == "" {
			t.Show = show
		}
	case !isRPID(e.Space):
	case e.Local == "activities":
		*activity = stronger(*activity, readActivities(e))
	case e.Local == "user-input":
		t.idle = readIdle(e)
	}
}

// isRPID reports whether a namespace is RPID's.
//
// COMPAT(RPID drafts): before RFC 4480 it was urn:ietf:params:xml:ns:pidf:status:rpid
// and the like.
func isRPID(space string) bool {
	return strings.HasPrefix(space, nsPIDF+":") && strings.Contains(space, "rpid")
}

// readIdle returns when there was input last, if there is none now (RFC 4480
// §3.14).
//
// COMPAT(RPID drafts): the attribute was since.
func readIdle(e *stanza.Element) time.Time {
	if strings.TrimSpace(e.Text) == "active" {
		return time.Time{}
	}
	since := e.Attr("last-input")
	if since == "" {
		since = e.Attr("since")
	}
	t, _ := stanza.ParseStamp(since)
	return t
}

// activities is what RPID's activities say in XMPP (RFC 4480 §3.2). text stands in
// where nobody wrote a note.
var activities = map[string]struct{ show, text string }{
	"away":              {"away", ""},
	"permanent-absence": {"xa", ""},
	"vacation":          {"xa", ""},
	"sleeping":          {"xa", ""},
	"travel":            {"away", ""},
	"busy":              {"dnd", ""},
	"on-the-phone":      {"dnd", "On the phone"},
	"meeting":           {"dnd", "In a meeting"},
	"presentation":      {"dnd", "Giving a presentation"},
	"in-transit":        {"dnd", "In transit"},
	"performance":       {"dnd", "At a performance"},
}

// readActivities returns the activity that says most about whether to disturb.
//
// COMPAT(RPID drafts): <activity>busy</activity> was the form before RFC 4480.
func readActivities(e *stanza.Element) (activity string) {
	for _, c := range e.Children {
		name := c.Local
		if !isRPID(c.Space) {
			continue
		}
		if name == "activity" {
			name = strings.TrimSpace(c.Text)
		}
		activity = stronger(activity, name)
	}
	return activity
}

// stronger returns that of two activities which asks more to be left alone, the
// first one if they ask the same. "" asks nothing, and so does what is not known.
func stronger(a, b string) string {
	if reserve(activities[b].show) > reserve(activities[a].show) {
		return b
	}
	return a
}

func (t *Tuple) applyActivity(activity string) {
	if a := activities[activity]; t.Open && a.show != "" {
		t.Show = a.show
		if len(t.notes) == 0 {
			t.addNote("en", a.text)
		}
	}
}

// A person is what a document says of all tuples together: notes at its root, and
// the persons of RFC 4479.
type person struct {
	activity string
	notes    []note
	idle     time.Time
}

func readPerson(root *stanza.Element) person {
	var t Tuple
	var p person
	for _, c := range root.Children {
		switch {
		case c.Is(nsPIDF, "note"):
			t.addNote(c.Lang(), c.Text)
		case c.Is(nsPerson, "person"):
			for _, s := range c.Children {
				if s.Is(nsPerson, "note") {
					t.addNote(s.Lang(), s.Text)
				} else {
					t.extension(s, &p.activity)
				}
			}
		default:
			t.extension(c, &p.activity)
		}
	}
	p.notes, p.idle = t.notes, t.idle
	return p
}

// apply says of a tuple what it does not say itself.
func (p *person) apply(t *Tuple) {
	if len(t.notes) == 0 {
		t.notes = p.notes
	}
	if t.Show == "" {
		t.applyActivity(p.activity)
	}
	if t.idle.IsZero() && t.Open {
		t.idle = p.idle
	}
}

package pidf

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

var diffTuples = cmp.AllowUnexported(Tuple{}, note{})

// element reads XML as it stands in a stream of servers.
func element(t testing.TB, xml string) *stanza.Element {
	t.Helper()
	e, err := stanza.Parse([]byte(xml), stanza.Limits{})
	if err != nil {
		t.Fatalf("%v in %s", err, xml)
	}
	return e
}

// idResource is how a resource is called where contacts do not matter.
func idResource(id, _ string) string { return strings.TrimPrefix(id, "ID-") }

// Each row of what a presence stanza becomes in PIDF. The document is the whole of
// it but for what all have.
func TestPresenceBecomesPIDF(t *testing.T) {
	for _, tt := range []struct{ name, presence, want string }{
		{"available", `<presence from='juliet@example.com/balcony'/>`,
			`<tuple id='ID-balcony'><status><basic>open</basic></status><contact>sip:c</contact></tuple>`},
		{"unavailable", `<presence from='juliet@example.com/balcony' type='unavailable'><status>Good night</status></presence>`,
			`<tuple id='ID-balcony'><status><basic>closed</basic></status><contact>sip:c</contact><note>Good night</note></tuple>`},
		{"a resource that is no xs:ID", `<presence from='juliet@example.com/a b'/>`,
			`<tuple id='ID-c8687a08aa5d6ed2'><status><basic>open</basic></status><contact>sip:c</contact></tuple>`},
		{"a resource beyond ASCII", `<presence from='juliet@example.com/Ünï'/>`,
			`<tuple id='ID-Ünï'><status><basic>open</basic></status><contact>sip:c</contact></tuple>`},
		{"no resource", `<presence from='juliet@example.com'/>`,
			`<tuple id='ID-'><status><basic>open</basic></status><contact>sip:c</contact></tuple>`},
		{"chat", `<presence from='j@example.com/r'><show>chat</show></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic><show xmlns='jabber:client'>chat</show></status><contact>sip:c</contact></tuple>`},
		{"away", `<presence from='j@example.com/r'><show>away</show></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic><show xmlns='jabber:client'>away</show></status><contact>sip:c</contact></tuple>` +
				`<person xmlns='urn:ietf:params:xml:ns:pidf:data-model' id='person'><activities xmlns='urn:ietf:params:xml:ns:pidf:rpid'><away/></activities></person>`},
		{"extended away", `<presence from='j@example.com/r'><show>xa</show></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic><show xmlns='jabber:client'>xa</show></status><contact>sip:c</contact></tuple>` +
				`<person xmlns='urn:ietf:params:xml:ns:pidf:data-model' id='person'><activities xmlns='urn:ietf:params:xml:ns:pidf:rpid'><away/></activities></person>`},
		{"do not disturb", `<presence from='j@example.com/r'><show>dnd</show></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic><show xmlns='jabber:client'>dnd</show></status><contact>sip:c</contact></tuple>` +
				`<person xmlns='urn:ietf:params:xml:ns:pidf:data-model' id='person'><activities xmlns='urn:ietf:params:xml:ns:pidf:rpid'><busy/></activities></person>`},
		{"a show that there is not", `<presence from='j@example.com/r'><show>drunk</show></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic></status><contact>sip:c</contact></tuple>`},
		{"status in languages", `<presence from='j@example.com/r' xml:lang='en'><status>Wooing</status><status xml:lang='cs'>Dvořím se</status></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic></status><contact>sip:c</contact><note xml:lang='en'>Wooing</note><note xml:lang='cs'>Dvořím se</note></tuple>`},
		{"priority", `<presence from='j@example.com/r'><priority>5</priority></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic></status><contact priority='0.039'>sip:c</contact></tuple>`},
		{"negative priority", `<presence from='j@example.com/r'><priority>-1</priority></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic></status><contact>sip:c</contact></tuple>`},
		{"idle", `<presence from='j@example.com/r'><idle xmlns='urn:xmpp:idle:1' since='2026-05-01T12:00:00+02:00'/></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic></status><user-input xmlns='urn:ietf:params:xml:ns:pidf:rpid' last-input='2026-05-01T10:00:00Z'>idle</user-input><contact>sip:c</contact></tuple>`},
		{"id, caps and avatar have no place", `<presence from='j@example.com/r' id='x'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/><x xmlns='vcard-temp:x:update'><photo>00</photo></x></presence>`,
			`<tuple id='ID-r'><status><basic>open</basic></status><contact>sip:c</contact></tuple>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := element(t, tt.presence)
			_, resource, _ := strings.Cut(e.Attr("from"), "/")
			tu := FromStanza(e, resource)
			tu.Contact = "sip:c"
			got := string(Append(nil, "pres:j@example.com", []Tuple{tu}))
			want := "<?xml version='1.0' encoding='UTF-8'?>\n" +
				"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:j@example.com'>" + tt.want + "</presence>"
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// Each row of what a tuple becomes in XMPP.
func TestPIDFBecomesPresence(t *testing.T) {
	const rpid = ` xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model'`
	open := func(more string) string {
		return `<tuple id='ID-r'><status><basic>open</basic></status>` + more + `</tuple>`
	}
	person := func(activity string) string {
		return open("") + `<dm:person id='p1'><rpid:activities>` + activity + `</rpid:activities></dm:person>`
	}
	for _, tt := range []struct{ name, tuples, want string }{
		{"open", open(""), `<presence from='s@x/r' to='w@y'/>`},
		{"closed", `<tuple id='ID-r'><status><basic>closed</basic></status></tuple>`,
			`<presence from='s@x/r' to='w@y' type='unavailable'/>`},
		{"no basic is not open", `<tuple id='ID-r'><status/></tuple>`, `<presence from='s@x/r' to='w@y' type='unavailable'/>`},
		{"an id of others", `<tuple id='tu7'><status><basic>open</basic></status></tuple>`, `<presence from='s@x/tu7' to='w@y'/>`},
		{"show", `<tuple id='ID-r'><status><basic>open</basic><show xmlns='jabber:client'>xa</show></status></tuple>`,
			`<presence from='s@x/r' to='w@y'><show>xa</show></presence>`},
		{"show wins", `<tuple id='ID-r'><status><basic>open</basic><show xmlns='jabber:client'>chat</show></status></tuple><dm:person id='p'><rpid:activities><rpid:busy/></rpid:activities></dm:person>`,
			`<presence from='s@x/r' to='w@y'><show>chat</show></presence>`},
		{"away", person("<rpid:away/>"), `<presence from='s@x/r' to='w@y'><show>away</show></presence>`},
		{"travel", person("<rpid:travel/>"), `<presence from='s@x/r' to='w@y'><show>away</show></presence>`},
		{"permanent absence", person("<rpid:permanent-absence/>"), `<presence from='s@x/r' to='w@y'><show>xa</show></presence>`},
		{"vacation", person("<rpid:vacation/>"), `<presence from='s@x/r' to='w@y'><show>xa</show></presence>`},
		{"sleeping", person("<rpid:sleeping/>"), `<presence from='s@x/r' to='w@y'><show>xa</show></presence>`},
		{"busy", person("<rpid:busy/>"), `<presence from='s@x/r' to='w@y'><show>dnd</show></presence>`},
		{"on the phone", person("<rpid:on-the-phone/>"), `<presence from='s@x/r' to='w@y'><show>dnd</show><status xml:lang='en'>On the phone</status></presence>`},
		{"meeting", person("<rpid:meeting/>"), `<presence from='s@x/r' to='w@y'><show>dnd</show><status xml:lang='en'>In a meeting</status></presence>`},
		{"presentation", person("<rpid:presentation/>"), `<presence from='s@x/r' to='w@y'><show>dnd</show><status xml:lang='en'>Giving a presentation</status></presence>`},
		{"in transit", person("<rpid:in-transit/>"), `<presence from='s@x/r' to='w@y'><show>dnd</show><status xml:lang='en'>In transit</status></presence>`},
		{"performance", person("<rpid:performance/>"), `<presence from='s@x/r' to='w@y'><show>dnd</show><status xml:lang='en'>At a performance</status></presence>`},
		{"unknown", person("<rpid:unknown/>"), `<presence from='s@x/r' to='w@y'/>`},
		{"other", person("<rpid:other>reading</rpid:other>"), `<presence from='s@x/r' to='w@y'/>`},
		{"of several the one that asks most", person("<rpid:travel/><rpid:meal/><rpid:meeting/><rpid:vacation/>"),
			`<presence from='s@x/r' to='w@y'><show>dnd</show><status xml:lang='en'>In a meeting</status></presence>`},
		{"a note is better than our words", open("<note>Ask my assistant</note>") + `<dm:person id='p'><rpid:activities><rpid:meeting/></rpid:activities></dm:person>`,
			`<presence from='s@x/r' to='w@y'><show>dnd</show><status>Ask my assistant</status></presence>`},
		{"activities in the tuple", open("<rpid:activities><rpid:busy/></rpid:activities>"), `<presence from='s@x/r' to='w@y'><show>dnd</show></presence>`},
		{"activities of an old draft", open("<es:activities xmlns:es='urn:ietf:params:xml:ns:pidf:status:rpid-status'><es:activity>busy</es:activity></es:activities>"),
			`<presence from='s@x/r' to='w@y'><show>dnd</show></presence>`},
		{"notes in languages", open("<note xml:lang='en'>Here</note><note xml:lang='de'>Da</note><note xml:lang='de'>Dort</note><note> </note>"),
			`<presence from='s@x/r' to='w@y'><status xml:lang='en'>Here</status><status xml:lang='de'>Da</status></presence>`},
		{"the note of the tuple before the document's", open("<note>Mine</note>") + "<note>All</note>",
			`<presence from='s@x/r' to='w@y'><status>Mine</status></presence>`},
		{"the note of the document", open("") + "<note>All</note>", `<presence from='s@x/r' to='w@y'><status>All</status></presence>`},
		{"priority", open("<contact priority='0.5'>sip:s@x</contact>"), `<presence from='s@x/r' to='w@y'><priority>64</priority></presence>`},
		{"no priority", open("<contact>sip:s@x</contact>"), `<presence from='s@x/r' to='w@y'/>`},
		{"a priority that is none", open("<contact priority='NaN'>sip:s@x</contact>"), `<presence from='s@x/r' to='w@y'/>`},
		{"idle", open("<rpid:user-input last-input='2026-05-01T12:00:00+02:00'>idle</rpid:user-input>"),
			`<presence from='s@x/r' to='w@y'><idle xmlns='urn:xmpp:idle:1' since='2026-05-01T10:00:00Z'/></presence>`},
		{"idle of an old draft", open("<rpid:user-input since='2026-05-01T12:00:00Z'>idle</rpid:user-input>"),
			`<presence from='s@x/r' to='w@y'><idle xmlns='urn:xmpp:idle:1' since='2026-05-01T12:00:00Z'/></presence>`},
		{"active", open("<rpid:user-input last-input='2026-05-01T12:00:00Z'>active</rpid:user-input>"), `<presence from='s@x/r' to='w@y'/>`},
		{"two services of one device", `<tuple id='ID-r'><status><basic>closed</basic></status></tuple>` + open(""), `<presence from='s@x/r' to='w@y'/>`},
		{"no tuple", `<note>nobody there</note>`, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := `<?xml version="1.0" encoding="UTF-8"?><presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:s@x'` + rpid + `>` + tt.tuples + `</presence>`
			tuples, err := parsePIDF([]byte(body), "", idResource)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for i := range tuples {
				got = stanza.Append(got, tuples[i].Stanza("s@x", "w@y"))
			}
			if string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestContentLanguageIsTheLanguageOfThePresence(t *testing.T) {
	for _, tt := range []struct{ root, header, want string }{
		{"", "", ""}, {"", "de", "de"}, {" xml:lang='en'", "de", "en"},
	} {
		tuples, err := parsePIDF([]byte(`<presence xmlns='urn:ietf:params:xml:ns:pidf'`+tt.root+`><tuple id='a'/></presence>`), tt.header, idResource)
		if err != nil || len(tuples) != 1 || tuples[0].Stanza("s@x", "w@y").Lang() != tt.want {
			t.Errorf("document with %q and header %q: %+v, %v", tt.root, tt.header, tuples, err)
		}
	}
}

// The priorities of RFC 8048 §6.2 and some more; each one has a value of its own,
// which leads back.
func TestPriorities(t *testing.T) {
	for p, want := range map[int8]string{0: "0", 1: "0.007", 2: "0.015", 5: "0.039", 10: "0.078", 64: "0.503", 126: "0.992", 127: "1"} {
		if got := qvalue(p); got != want {
			t.Errorf("qvalue(%d) = %s, want %s", p, got, want)
		}
	}
	seen := map[string]bool{}
	for p := range 128 {
		q := qvalue(int8(p))
		back, ok := priorityOf(q)
		if seen[q] || !ok || int(back) != p {
			t.Errorf("priority %d is %s, and that is %d, %v", p, q, back, ok)
		}
		seen[q] = true
	}
	for _, q := range []string{"", "1.1", "-0.1", "NaN", "x"} {
		if p, ok := priorityOf(q); ok {
			t.Errorf("priorityOf(%q) = %d", q, p)
		}
	}
}

// All resources are in each document, and the activity is that of who is most
// available.
func TestResourcesAreTogetherInADocument(t *testing.T) {
	for _, tt := range []struct {
		shows    []string // "-" is closed
		activity string
	}{
		{[]string{"dnd", "away"}, "away"}, {[]string{"dnd", "away", ""}, ""}, {[]string{"dnd", "xa"}, "away"},
		{[]string{"dnd", "-"}, "busy"}, {[]string{"-"}, ""}, {[]string{"chat", "dnd"}, ""}, {nil, ""},
	} {
		var tuples []Tuple
		for i, show := range tt.shows {
			tu := Tuple{Resource: fmt.Sprint("r", i), Open: show != "-", Show: show, Lang: "en"}
			if !tu.Open {
				tu.Show = ""
			}
			tuples = append(tuples, tu)
		}
		doc := Append(nil, "pres:j@example.com", tuples)
		if got := activityOf(tuples); got != tt.activity {
			t.Errorf("%q: activity %q, want %q", tt.shows, got, tt.activity)
		}
		if n := strings.Count(string(doc), "<tuple "); n != len(tt.shows) {
			t.Errorf("%q: %d tuples in %s", tt.shows, n, doc)
		}
	}
}

// Who chooses resources so that ids would be the same gets others: a document with
// two of one id is no XML that validates.
func TestTupleIDsDiffer(t *testing.T) {
	hash := strings.TrimPrefix(tupleID("a b", nil), "ID-")
	doc := string(Append(nil, "pres:j@example.com", []Tuple{{Resource: hash}, {Resource: "a b"}}))
	if n := strings.Count(doc, "'ID-"+hash+"'"); n != 1 {
		t.Errorf("id %s is there %d times: %s", hash, n, doc)
	}
}

func TestMicrosoftPresence(t *testing.T) {
	categories := func(n string) string {
		return `<categories xmlns="http://schemas.microsoft.com/2006/09/sip/categories" uri="sip:bob@contoso.example">
<category name="state"><state xmlns="http://schemas.microsoft.com/2006/09/sip/state" type="deviceState"><availability>3500</availability></state></category>
<category name="state"><state xmlns="http://schemas.microsoft.com/2006/09/sip/state" type="aggregateState"><availability>` + n + `</availability></state></category>
<category name="note"><note xmlns="http://schemas.microsoft.com/2006/09/sip/note"><body type="personal">In Rome</body></note></category></categories>`
	}
	for n, want := range map[string]Tuple{
		"3000": {Open: true}, "4500": {Open: true, Show: "away"}, "6000": {Open: true, Show: "dnd"}, "9000": {Open: true, Show: "dnd"},
		"12000": {Open: true, Show: "away"}, "15000": {Open: true, Show: "away"}, "18000": {}, "0": {},
	} {
		want.notes = []note{{"", "In Rome"}}
		got, err := parseMicrosoft([]byte(categories(n)), "")
		if err != nil || !cmp.Equal(got, []Tuple{want}, diffTuples) {
			t.Errorf("%s: %+v, %v", n, got, err)
		}
	}
	old := `<presentity xmlns="http://schemas.microsoft.com/2002/09/sip/presence"><availability aggregate="300" description=""/><devicePresence><availability aggregate="0"/></devicePresence></presentity>`
	if got, err := parseMicrosoft([]byte(old), ""); err != nil || len(got) != 1 || !got[0].Open {
		t.Errorf("presentity: %+v, %v", got, err)
	}
	if got, err := parseMicrosoft([]byte("<categories/>"), ""); got != nil || err != nil {
		t.Errorf("without availability: %+v, %v", got, err)
	}
	if _, err := parseMicrosoft([]byte("<categories>"), ""); err == nil {
		t.Error("broken XML is read")
	}
	for mediaType, want := range map[string]bool{
		"application/vnd-microsoft-roaming-contacts+xml": true, "application/msrtc-event-categories+xml": true,
		"text/xml+msrtc.pidf": true, "application/pidf+xml": false, "text/xml": false,
	} {
		if isMicrosoft(mediaType) != want {
			t.Errorf("isMicrosoft(%s) = %v", mediaType, !want)
		}
	}
}

// The type says how a document is read, and who asks names the resources.
func TestADocumentIsReadByItsType(t *testing.T) {
	const (
		open   = `<presence xmlns='urn:ietf:params:xml:ns:pidf'><tuple id='a'><status><basic>open</basic></status></tuple></presence>`
		silent = `<presence xmlns='urn:ietf:params:xml:ns:pidf'/>`
		old    = `<presentity xmlns="http://schemas.microsoft.com/2002/09/sip/presence"><availability aggregate="300"/></presentity>`
	)
	for _, tt := range []struct {
		name, contentType, body string
		want                    []Tuple
		err                     error
	}{
		{"PIDF", Type + ";charset=UTF-8", open, []Tuple{{Resource: "of a", Open: true}}, nil},
		{"PIDF of nobody", Type, silent, []Tuple{}, nil},
		{"the Microsoft dialect", "text/xml+msrtc.pidf", old, []Tuple{{Resource: "of ", Open: true}}, nil},
		{"the Microsoft dialect without availability", "text/xml+msrtc.pidf", "<presentity/>", nil, nil},
		{"another type", "text/plain", open, nil, ErrType},
		{"no type", "", open, nil, ErrType},
	} {
		got, err := Read(tt.contentType, "", []byte(tt.body), func(id, _ string) string { return "of " + id })
		if err != tt.err || !cmp.Equal(got, tt.want, diffTuples) {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

// What is beyond the limits is left out, and a document beyond those of XML is
// none.
func TestLimitsOfPresenceDocuments(t *testing.T) {
	var b strings.Builder
	b.WriteString(`<presence xmlns='urn:ietf:params:xml:ns:pidf'>`)
	for i := range maxTuples + 10 {
		fmt.Fprintf(&b, `<tuple id='t%d'>`, i)
		if i == 0 {
			for j := range maxNotes + 3 {
				fmt.Fprintf(&b, `<note xml:lang='x-%d'>%s</note>`, j, strings.Repeat("é", maxNote))
			}
		}
		b.WriteString(`</tuple>`)
	}
	b.WriteString(`</presence>`)
	tuples, err := parsePIDF([]byte(b.String()), "", idResource)
	if err != nil || len(tuples) != maxTuples || len(tuples[0].notes) != maxNotes || tuples[0].notes[0].text != strings.Repeat("é", maxNote/2) {
		t.Errorf("%d tuples, %v", len(tuples), err)
	}
	for name, body := range map[string]string{
		"another document": `<presence xmlns='jabber:client'/>`,
		"a DTD":            `<!DOCTYPE presence [<!ENTITY a "b">]><presence xmlns='urn:ietf:params:xml:ns:pidf'/>`,
		"too deep":         `<presence xmlns='urn:ietf:params:xml:ns:pidf'>` + strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20) + `</presence>`,
		"too large":        `<presence xmlns='urn:ietf:params:xml:ns:pidf'><note>` + strings.Repeat("x", 70<<10) + `</note></presence>`,
		"nothing":          ``,
	} {
		if tuples, err := parsePIDF([]byte(body), "", idResource); err == nil {
			t.Errorf("%s is read: %+v", name, tuples)
		}
	}
}

// Whatever a document is, what is made of it is presence, and the document made of
// that says the same again.
func FuzzPIDF(f *testing.F) {
	f.Add([]byte(`<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:s@x'><tuple id='ID-r'><status><basic>open</basic><show xmlns='jabber:client'>away</show></status><contact priority='0.5'>sip:s@x</contact><note xml:lang='de'>Da</note></tuple></presence>`))
	f.Add([]byte(`<presence xmlns='urn:ietf:params:xml:ns:pidf'><tuple id='a b'><rpid:user-input xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' last-input='2026-05-01T12:00:00Z'>idle</rpid:user-input></tuple><person xmlns='urn:ietf:params:xml:ns:pidf:data-model'><activities xmlns='urn:ietf:params:xml:ns:pidf:rpid'><meeting/></activities></person></presence>`))
	f.Add([]byte(`<categories xmlns="http://schemas.microsoft.com/2006/09/sip/categories"><category name="state"><state type="aggregateState"><availability>6500</availability></state></category></categories>`))
	f.Add([]byte(`<presence xmlns='urn:ietf:params:xml:ns:pidf'><note>` + strings.Repeat("&lt;", maxNote) + `</note>` + strings.Repeat(`<tuple id='a'/><tuple id='b'/>`, 32) + `</presence>`))
	f.Add([]byte(`<presence xmlns='urn:ietf:params:xml:ns:pidf'><tuple id='` + strings.Repeat(">", pidfLimits.Stanza-200) + `'><status><basic>open</basic></status></tuple></presence>`))
	f.Add([]byte(`<presence xmlns='urn:ietf:params:xml:ns:pidf'><tuple><status><basic>open</basic></status><user-input xmlns='urn:ietf:params:xml:ns:pidf:rpid' since='9999-12-31T23:59:59-01:00'/></tuple></presence>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		parseMicrosoft(body, "en")
		tuples, err := parsePIDF(body, "", idResource)
		if err != nil {
			return
		}
		for i := range tuples {
			tu := &tuples[i]
			e := tu.Stanza("s@x", "w@y")
			again, err := stanza.Parse(stanza.Append(nil, e), stanza.Limits{Stanza: 8 * pidfLimits.Stanza})
			if err != nil {
				t.Fatalf("%v: %s", err, stanza.Append(nil, e))
			}
			back := FromStanza(again, tu.Resource)
			if back.Open != tu.Open || back.Open && (back.Show != tu.Show || back.priority != tu.priority || !back.idle.Equal(tu.idle.Truncate(time.Second))) || len(back.notes) != len(tu.notes) {
				t.Errorf("%+v became %+v", tu, back)
			}
		}
		doc := Append(nil, "pres:s@x", tuples)
		if len(doc) > pidfLimits.Stanza {
			return // the notes of a person are those of each tuple, and what was read may be escaped
		}
		if again, err := parsePIDF(doc, "", idResource); err != nil || len(again) > len(tuples) {
			t.Errorf("%v: %d tuples became %d: %s", err, len(tuples), len(again), doc)
		}
	})
}

func BenchmarkAppendPIDF(b *testing.B) {
	tuples := []Tuple{
		{Resource: "balcony", Open: true, Show: "away", ranked: true, priority: 5, notes: []note{{"en", "wooing"}}, Contact: "sip:juliet@example.com;gr=balcony"},
		{Resource: "chamber", Open: true, idle: time.Now(), Contact: "sip:juliet@example.com;gr=chamber"},
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = Append(dst[:0], "pres:juliet@example.com", tuples)
	}
}

func BenchmarkParsePIDF(b *testing.B) {
	doc := Append(nil, "pres:s@x", []Tuple{{Resource: "r", Open: true, Show: "away", notes: []note{{"en", "wooing"}}, Contact: "sip:s@x;gr=r"}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parsePIDF(doc, "", idResource); err != nil {
			b.Fatal(err)
		}
	}
}

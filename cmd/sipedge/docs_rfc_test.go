package main

import (
	"cmp"
	"fmt"
	"go/parser"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A citation is one section of an RFC; without a section it is the RFC as a
// whole.
type citation struct {
	rfc     int
	section string
}

var (
	rfcNumber = regexp.MustCompile(`\bRFC ([0-9]+)`)
	// nextSection is one section behind the number, or behind the section before:
	// "§16.4, §16.5".
	nextSection = regexp.MustCompile(`^(?:,|;| and| or| to)? §([0-9A-Z]+(?:\.[0-9]+)*)(?:-[0-9.]*[0-9])?`)
)

// citations finds what a text cites. Line ends within a citation do not matter.
func citations(text string) (list []citation) {
	text = strings.Join(strings.Fields(text), " ")
	for _, at := range rfcNumber.FindAllStringSubmatchIndex(text, -1) {
		rfc, _ := strconv.Atoi(text[at[2]:at[3]])
		rest, whole := text[at[1]:], true
		for {
			m := nextSection.FindStringSubmatch(rest)
			if m == nil {
				break
			}
			list = append(list, citation{rfc, m[1]})
			rest, whole = rest[len(m[0]):], false
		}
		if whole {
			list = append(list, citation{rfc, ""})
		}
	}
	return list
}

func TestCitationsAreFound(t *testing.T) {
	got := citations("As RFC 3261 §16.4, §16.5 and §17 say (RFC 5922\n§7.1; RFC 2782). RFC 3261 §16-17; RFC 1 §A.2.")
	want := []citation{{3261, "16.4"}, {3261, "16.5"}, {3261, "17"}, {5922, "7.1"}, {2782, ""}, {3261, "16"}, {1, "A.2"}}
	if !slices.Equal(got, want) {
		t.Errorf("citations = %v, want %v", got, want)
	}
}

// A citer says where a section is cited: in the code, and in what tests it.
type citer struct{ code, tests map[string]bool }

// rfcIndex finds who cites what: comments of Go files, and plays.
func rfcIndex(t *testing.T) map[citation]citer {
	index := make(map[citation]citer)
	add := func(path, text string, test bool) {
		for _, c := range citations(text) {
			who, ok := index[c]
			if !ok {
				who = citer{make(map[string]bool), make(map[string]bool)}
				index[c] = who
			}
			if test {
				who.tests[path] = true
			} else {
				who.code[path] = true
			}
		}
	}
	_, files := sources(t, parser.ParseComments|parser.SkipObjectResolution)
	for path, f := range files {
		for _, group := range f.Comments {
			add(path, group.Text(), strings.HasSuffix(path, "_test.go"))
		}
	}
	plays, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(plays) == 0 {
		t.Fatal("no plays: ", err)
	}
	for _, path := range plays {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		add("cmd/sipedge/"+filepath.ToSlash(path), playComments(string(text)), true)
	}
	return index
}

// playComments are the lines of a play that begin with #.
func playComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if comment, ok := strings.CutPrefix(line, "#"); ok {
			b.WriteString(comment)
		}
	}
	return b.String()
}

// rfcDocs writes the index of the RFCs by section.
func rfcDocs(t *testing.T) string {
	index := rfcIndex(t)
	order := slices.SortedFunc(maps.Keys(index), func(a, b citation) int {
		return cmp.Or(cmp.Compare(a.rfc, b.rfc), compareSections(a.section, b.section))
	})
	var b strings.Builder
	b.WriteString(`# RFCs

<!-- Made from the comments of the code by go generate ./cmd/sipedge. Do not edit. -->

Which file cites which section: where to look for a rule of a standard, and what to look at again when
one changes. A line that obeys a section, or disobeys it on purpose, cites it.
`)
	last := 0
	for _, c := range order {
		if c.rfc != last {
			fmt.Fprintf(&b, "\n## [RFC %d](https://www.rfc-editor.org/rfc/rfc%[1]d)%s\n\n| section | code | tests |\n|---|---|---|\n", c.rfc, rfcTitle(c.rfc))
			last = c.rfc
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", sectionLink(c), fileLinks(index[c].code), fileLinks(index[c].tests))
	}
	return b.String()
}

// compareSections orders sections as a book does, the whole RFC first.
func compareSections(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		n, err1 := strconv.Atoi(x)
		m, err2 := strconv.Atoi(y)
		if err1 == nil && err2 == nil {
			return cmp.Compare(n, m)
		}
		return strings.Compare(x, y)
	})
}

func sectionLink(c citation) string {
	switch {
	case c.section == "":
		return "as a whole"
	case c.section[0] >= 'A':
		return "§" + c.section
	}
	return fmt.Sprintf("[§%s](https://www.rfc-editor.org/rfc/rfc%d#section-%[1]s)", c.section, c.rfc)
}

// fileLinks lists files, seen from docs. Plays go by their name.
func fileLinks(paths map[string]bool) string {
	var links []string
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		name := path
		if strings.HasSuffix(path, ".txtar") {
			name = strings.TrimSuffix(filepath.Base(path), ".txtar")
		}
		links = append(links, "["+name+"](../"+path+")")
	}
	return strings.Join(links, ", ")
}

func rfcTitle(rfc int) string {
	if title := rfcTitles[rfc]; title != "" {
		return ": " + title
	}
	return ""
}

// rfcTitles are in short what the RFCs are about.
var rfcTitles = map[int]string{
	1035: "domain names",
	1123: "requirements for hosts",
	2308: "negative caching of DNS",
	2543: "SIP, the first edition",
	2782: "SRV records",
	3261: "SIP",
	3262: "PRACK",
	3263: "locating SIP servers",
	3311: "UPDATE",
	3325: "P-Asserted-Identity",
	3428: "MESSAGE",
	3581: "rport",
	3856: "presence",
	3863: "presence documents (PIDF)",
	3903: "PUBLISH",
	4291: "IPv6 addresses",
	4320: "requests other than INVITE",
	4343: "case in domain names",
	4475: "torture messages",
	5118: "torture messages for IPv6",
	5246: "TLS 1.2",
	5280: "X.509 certificates",
	5393: "loops and forking",
	5452: "forged DNS answers",
	5626: "outbound, keepalive",
	5658: "Record-Route",
	5891: "international domain names",
	5922: "domain certificates in SIP",
	5923: "connection reuse in SIP",
	5924: "extended key usage for SIP",
	6026: "INVITE transactions, corrected",
	6125: "names in certificates",
	6665: "SUBSCRIBE and NOTIFY",
	6761: "special domain names",
	6890: "special addresses",
	6891: "EDNS",
	7118: "SIP over WebSocket",
	7616: "digest",
	8305: "choosing among addresses",
	8446: "TLS 1.3",
	8760: "digest in SIP",
	8767: "stale DNS answers",
}

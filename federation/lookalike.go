package federation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/sipedge/sipedge/allowlists"
)

// lookalikes warns of partners whose names people take for another name: that of
// a partner, or one of ours. Names are compared by their skeletons (UTS 39 §4).
// Blocked names are left out: to block what looks like a partner is no mistake.
func (l *linter) lookalikes() {
	first := make(map[string]string, len(l.p.known)) // by skeleton: what has it
	for _, domain := range slices.Sorted(maps.Keys(l.p.own)) {
		first[skeleton(Unicode(domain))] = "our own domain " + both(domain)
	}
	scripts := make(map[rune]string)
	for i := range l.p.known {
		k := &l.p.known[i]
		_, v := l.p.lists.Listed([]byte(k.domain))
		if v.Reason == allowlists.PartnerBlocked {
			continue
		}
		name := Unicode(k.domain)
		if mixed := mixedLabel(name, scripts); mixed != "" {
			l.warn("names in mixed scripts", v.Rule, "partner %s mixes %s in one label", both(k.domain), mixed)
		}
		s := skeleton(name)
		if other, ok := first[s]; ok {
			l.warn("names that look alike", v.Rule, "partner %s looks like %s", both(k.domain), other)
			continue
		}
		first[s] = allowlists.Rule{Name: rulePrefix + both(k.domain), File: v.Rule.File, Line: v.Rule.Line}.String()
	}
}

// both shows a domain as people read it and as DNS has it, where these differ.
func both(domain string) string {
	if u := Unicode(domain); u != domain {
		return fmt.Sprintf("%s (%s)", u, domain)
	}
	return domain
}

// skeleton returns what is left of a name when each letter is one of those that
// look like it, and has no marks. It is the skeleton of UTS 39 §4, and takes more
// for alike: whoever reads exámple.com in a hurry reads example.com.
func skeleton(name string) string {
	if isASCII(name) {
		return plainSkeleton.Replace(name)
	}
	var b strings.Builder
	for _, r := range norm.NFD.String(name) {
		switch like, ok := confusables[r]; {
		case unicode.Is(unicode.Mn, r):
		case ok:
			b.WriteString(like)
		default:
			b.WriteRune(r)
		}
	}
	return plainSkeleton.Replace(b.String())
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// together are the scripts that one label may well have (UTS 39 §5.2, highly
// restrictive).
var together = [][]string{
	{"Latin", "Han", "Hiragana", "Katakana"}, {"Latin", "Han", "Bopomofo"}, {"Latin", "Han", "Hangul"},
}

// mixedLabel returns the scripts of the first label that has more than belong
// together, or "". What scripts are known of letters is kept in seen.
func mixedLabel(name string, seen map[rune]string) string {
	if isASCII(name) {
		return ""
	}
	for label := range strings.SplitSeq(name, ".") {
		var found []string
		for _, r := range label {
			if s := script(r, seen); s != "" && !slices.Contains(found, s) {
				found = append(found, s)
			}
		}
		if len(found) > 1 && !belong(found) {
			return strings.Join(found, " and ")
		}
	}
	return ""
}

func belong(scripts []string) bool {
	for _, set := range together {
		all := true
		for _, s := range scripts {
			all = all && slices.Contains(set, s)
		}
		if all {
			return true
		}
	}
	return false
}

// script returns the script of a letter, "" for what all have in common, as
// digits.
func script(r rune, seen map[rune]string) string {
	if r < 0x80 {
		if 'a' <= r && r <= 'z' {
			return "Latin"
		}
		return ""
	}
	if s, ok := seen[r]; ok {
		return s
	}
	found := ""
	for name, table := range unicode.Scripts {
		if name != "Common" && name != "Inherited" && unicode.Is(table, r) {
			found = name
		}
	}
	seen[r] = found
	return found
}

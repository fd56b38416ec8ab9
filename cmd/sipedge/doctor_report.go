package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A level says how a check went. The zero level is that it was not made: nothing
// is fine by accident.
type level int

const (
	unchecked level = iota
	fine
	noted  // works, and somebody should know
	warned // works, and will not for everybody or not for long
	failed
	levels // how many there are
)

// String is the word for machines.
func (l level) String() string {
	return [levels]string{"unchecked", "ok", "note", "warn", "fail"}[l]
}

// MarshalText lets JSON have the word.
func (l level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// word is the word for people: a failure is seen at once.
func (l level) word() string {
	return [levels]string{"-", "ok", "note", "warn", "FAIL"}[l]
}

// style is the colour of the word.
func (l level) style() string {
	return [levels]string{dim, green, cyan, yellow, red}[l]
}

// cyan is for what is neither good nor bad.
const cyan = "36"

// A finding is one check: what was looked at, what was seen, and what to do
// about it unless it is fine. Its texts are safe to print: what came from
// somebody else has been through escaped.
type finding struct {
	Level    level  `json:"level"`
	Subject  string `json:"subject"`
	Evidence string `json:"evidence"`
	Remedy   string `json:"remedy,omitempty"`
}

// A group is findings about one thing.
type group struct {
	Name     string    `json:"name"`
	Findings []finding `json:"checks"`
}

func (g *group) add(l level, subject, evidence string, remedy ...string) {
	g.Findings = append(g.Findings, finding{l, subject, evidence, strings.Join(remedy, " ")})
}

// stands reports whether nothing in the group failed or is left unchecked.
func (g *group) stands() bool {
	for _, f := range g.Findings {
		if f.Level == failed || f.Level == unchecked {
			return false
		}
	}
	return true
}

// findings are all groups of a report.
type findings []group

// count is how many findings there are of each level.
func (all findings) count() (n [levels]int) {
	for _, g := range all {
		for _, f := range g.Findings {
			n[f.Level]++
		}
	}
	return n
}

// ok reports whether nothing failed.
func (all findings) ok() bool { return all.count()[failed] == 0 }

// counts is count for machines.
func (all findings) counts() map[string]int {
	m := make(map[string]int, levels)
	for l, n := range all.count() {
		m[level(l).String()] = n
	}
	return m
}

// tally is count for people: "2 FAIL, 1 note, 12 ok".
func (all findings) tally() string {
	n := all.count()
	var parts []string
	for _, l := range []level{failed, warned, noted, fine, unchecked} {
		words := map[level]string{
			failed: fmt.Sprint(n[l], " FAIL"), warned: plural(n[l], "warning"), noted: plural(n[l], "note"),
			fine: fmt.Sprint(n[l], " ok"), unchecked: fmt.Sprint(n[l], " not checked"),
		}
		if n[l] > 0 {
			parts = append(parts, words[l])
		}
	}
	return strings.Join(parts, ", ")
}

// A page prints findings for people.
type page struct {
	out    io.Writer
	width  int // columns; 0: lines are not broken, for grep
	colour bool
}

// The widths that text is set to.
const (
	narrowest = 40
	widest    = 110
	longest   = 24 // of a subject, before its evidence gets a line of its own
)

func newPage(out io.Writer) *page {
	p := &page{out: out, colour: isTerminal(out)}
	if f, ok := out.(*os.File); ok {
		p.width = columns(f)
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); p.width == 0 && err == nil {
		p.width = n
	}
	if p.width > 0 {
		p.width = min(max(p.width, narrowest), widest)
	}
	return p
}

func (p *page) paint(style, text string) string {
	if !p.colour || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// title is the first line of a report, and what it is about.
func (p *page) title(name string, facts ...string) {
	fmt.Fprintln(p.out, p.paint(bold, name))
	for _, f := range facts {
		p.text("  ", "  ", f)
	}
}

// text prints a text with the first line behind one indent, and the others
// behind another.
func (p *page) text(first, others, text string) {
	width := 0
	if p.width > 0 {
		width = p.width - utf8.RuneCountInString(others)
	}
	for _, line := range wrap(text, width) {
		fmt.Fprintln(p.out, first+line)
		first = others
	}
}

// groups prints all findings.
func (p *page) groups(all findings) {
	for _, g := range all {
		g.Findings = joined(g.Findings)
		fmt.Fprintf(p.out, "\n%s\n", p.paint(bold, g.Name))
		column := 0
		for _, f := range g.Findings {
			if n := utf8.RuneCountInString(f.Subject); n <= longest {
				column = max(column, n)
			}
		}
		for _, f := range g.Findings {
			p.finding(f, column)
		}
	}
}

// joined makes one line of three and more checks in a row that were not made for
// the same reason: what failed before them should not leave the screen.
func joined(list []finding) (out []finding) {
	for len(list) > 0 {
		first, n := list[0], 1
		for n < len(list) && first.Level == unchecked && list[n].Level == unchecked && list[n].Evidence == first.Evidence {
			n++
		}
		if n >= 3 {
			first.Subject += " … " + list[n-1].Subject
			out = append(out, first)
		} else {
			out = append(out, list[:n]...)
		}
		list = list[n:]
	}
	return out
}

// finding prints one check.
func (p *page) finding(f finding, column int) {
	word := p.paint(f.Level.style(), f.Level.word()) + strings.Repeat(" ", 4-len(f.Level.word()))
	indent := strings.Repeat(" ", 8+column+2)
	head := "  " + word + "  " + pad(f.Subject, column) + "  "
	if p.width > 0 && utf8.RuneCountInString(f.Subject) > column {
		fmt.Fprintln(p.out, strings.TrimRight(head, " "))
		head = indent
	}
	if f.Evidence == "" {
		fmt.Fprintln(p.out, strings.TrimRight(head, " "))
	} else {
		p.text(head, indent, f.Evidence)
	}
	if f.Remedy != "" {
		p.text(indent+"→ ", indent+"  ", f.Remedy)
	}
}

// end is the last line, in the colour of the worst.
func (p *page) end(style, text string) {
	fmt.Fprintln(p.out)
	for _, line := range wrap(text, p.width) {
		fmt.Fprintln(p.out, p.paint(style, line))
	}
}

// wrap breaks text into lines of at most width characters, at blanks, and
// words that are longer than a line anywhere. A width of 0 breaks nothing.
func wrap(text string, width int) []string {
	if width <= 0 {
		return []string{text}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if line != "" && utf8.RuneCountInString(line)+1+n <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for n > width {
			r := []rune(word)
			lines = append(lines, string(r[:width]))
			word, n = string(r[width:]), n-width
		}
		line = word
	}
	return append(lines, line)
}

// escaped makes text that somebody else chose safe for a terminal, and short: no
// octet of it moves a cursor, turns the direction of reading or looks like
// another character.
func escaped(text string) string {
	const most = 160
	if len(text) > most {
		text = text[:most] + "..."
	}
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return text // or was escaped before: once is enough
	}
	q := strconv.QuoteToASCII(text)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// writeJSON is a report for machines.
func writeJSON(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(report)
}

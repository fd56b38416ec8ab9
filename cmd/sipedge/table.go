package main

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A table is columns for people. What comes from others is made safe here. Columns
// in which nothing stands are left out. On a terminal it keeps to the width: a
// long name has a line of its own, and what is last is cut off or stands below.
type table struct {
	page  *page
	head  []string
	rows  []tableRow
	name  int          // the column of names
	right map[int]bool // columns of numbers
	state int          // the column that has a colour

	longest int // how long a name may be on a terminal to stand in its column; 0: longestName
}

// A tableRow is one line, and what stands below it.
type tableRow struct {
	cells []string
	below []string
	style string // of the state
}

// longestName is how long most names may be.
const longestName = 30

// leastLast is how much of the last column is worth showing.
const leastLast = 10

func (t *table) row(style string, cells ...string) *tableRow {
	for i := range cells {
		cells[i] = plain(cells[i])
	}
	t.rows = append(t.rows, tableRow{cells: cells, style: style})
	return &t.rows[len(t.rows)-1]
}

// print prints the table.
func (t *table) print() {
	widths := t.widths()
	indent := strings.Repeat(" ", 2)
	for _, w := range widths[:t.name] {
		if w > 0 {
			indent += strings.Repeat(" ", w+2)
		}
	}
	t.line(widths, tableRow{cells: t.head}, bold)
	for _, r := range t.rows {
		if n := r.cells[t.name]; utf8.RuneCountInString(n) > widths[t.name] {
			alone := make([]string, len(r.cells))
			alone[t.name] = n
			t.line(widths, tableRow{cells: alone}, "")
			r.cells[t.name] = ""
		}
		t.line(widths, r, "")
		if last := len(r.cells) - 1; widths[last] == 0 && r.cells[last] != "" {
			r.below = append(r.below, strings.ToLower(t.head[last])+" "+r.cells[last])
		}
		for _, b := range r.below {
			t.page.text(indent, indent+"  ", plain(b))
		}
	}
}

// widths is how wide each column is; 0: it is left out.
func (t *table) widths() []int {
	widths := make([]int, len(t.head))
	for _, r := range t.rows {
		for i, c := range r.cells {
			n := utf8.RuneCountInString(c)
			if i == t.name && t.page.width > 0 && n > cmp.Or(t.longest, longestName) {
				n = 1 // it will have a line of its own
			}
			widths[i] = max(widths[i], n)
		}
	}
	total := 0
	for i, w := range widths {
		if w > 0 {
			widths[i] = max(w, utf8.RuneCountInString(t.head[i]))
			total += widths[i] + 2
		}
	}
	last := len(widths) - 1
	if over := total - 2 - t.page.width; t.page.width > 0 && over > 0 && !t.right[last] {
		if widths[last] -= over; widths[last] < leastLast {
			widths[last] = 0
		}
	}
	return widths
}

// line prints one line, without blanks at its end.
func (t *table) line(widths []int, r tableRow, style string) {
	var cells []string
	for i, c := range r.cells {
		if widths[i] == 0 {
			continue
		}
		if i == len(widths)-1 {
			c = clip(c, widths[i])
		}
		if c = pad(c, widths[i]); t.right[i] {
			text := strings.TrimRight(c, " ")
			c = strings.Repeat(" ", len(c)-len(text)) + text
		}
		if i == t.state && r.style != "" {
			c = t.page.paint(r.style, c)
		}
		cells = append(cells, c)
	}
	fmt.Fprintln(t.page.out, t.page.paint(style, strings.TrimRight(strings.Join(cells, "  "), " ")))
}

// clip shortens what has no bound.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// facts are names with what there is to say about each, one below the other.
type facts [][2]string

// add adds a fact; none if there is nothing to say. One without a name goes on
// with the one before it.
func (f *facts) add(name, text string) {
	if text != "" {
		*f = append(*f, [2]string{name, plain(text)})
	}
}

// print prints them behind an indent.
func (f facts) print(p *page) {
	column := 0
	for _, line := range f {
		column = max(column, utf8.RuneCountInString(line[0]))
	}
	indent := strings.Repeat(" ", column+4)
	for _, line := range f {
		p.text("  "+pad(line[0], column)+"  ", indent, line[1])
	}
}

// stateStyle is the colour of the state of a partner or user.
func stateStyle(state string) string {
	switch state {
	case "allowed", "direct", "upstream", "talking":
		return green
	case "blocked", "expired", "not in force", "watched", "denied":
		return red
	case "knocking", "suspicious", "by group":
		return yellow
	}
	return ""
}

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A table is columns for people. Cells come from others and are made safe here.
type table struct {
	w    *tabwriter.Writer
	text strings.Builder
	to   io.Writer
}

func newTable(w io.Writer, head ...string) *table {
	t := &table{to: w}
	t.w = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	if head != nil {
		t.row(head...)
	}
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = plain(c)
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// lines returns the table, without the blanks that pad its lines.
func (t *table) lines() []string {
	t.w.Flush() // into memory
	var lines []string
	for line := range strings.Lines(t.text.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return lines
}

// flush prints the table.
func (t *table) flush() error {
	for _, line := range t.lines() {
		if _, err := fmt.Fprintln(t.to, line); err != nil {
			return err
		}
	}
	return nil
}

// clip shortens what has no bound.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

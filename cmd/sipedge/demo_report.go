package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// A demoReport is the whole demo for machines.
type demoReport struct {
	Version string        `json:"version"`
	Scratch string        `json:"scratch"`
	Scenes  []sceneReport `json:"scenes"`
	OK      bool          `json:"ok"`
	Seconds float64       `json:"seconds"`
}

// A sceneReport is one scene in it.
type sceneReport struct {
	Number  int     `json:"number"`
	Title   string  `json:"title"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Methods string  `json:"methods"`
	OK      bool    `json:"ok"`
	Want    outcome `json:"want"`
	Got     outcome `json:"got"`
	Error   string  `json:"error,omitempty"`
}

// An outcome is what became of a scene. Reason and Audit are the edges' own
// words: they come out of their logs.
type outcome struct {
	Answers []int       `json:"answers"`
	Reason  string      `json:"reason"`
	Hops    int         `json:"hops,omitempty"`
	Millis  float64     `json:"ms,omitempty"`
	Note    string      `json:"note,omitempty"`
	Audit   []auditLine `json:"audit,omitempty"`
}

// matches reports whether got has what a scene wants: the answers, the reason
// and, where one is named, the note.
func (want outcome) matches(got outcome) bool {
	return slices.Equal(want.Answers, got.Answers) && want.Reason == got.Reason && (want.Note == "" || want.Note == got.Note)
}

// String is an outcome in a sentence about what went wrong.
func (want outcome) String() string {
	s := fmt.Sprintf("%s %s", statuses(want.Answers), want.Reason)
	if want.Note != "" {
		s += " (" + want.Note + ")"
	}
	return s
}

// writeJSON writes the report, indented for those who read it after all.
func (r demoReport) writeJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

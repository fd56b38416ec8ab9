package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/edge"
)

// A report is what explain prints. Its JSON is for machines and keeps its names.
type report struct {
	Allowed   bool              `json:"allowed"`
	Reason    allowlists.Reason `json:"reason"`
	Meaning   string            `json:"meaning,omitempty"`
	Rule      string            `json:"rule"`
	File      string            `json:"file,omitempty"`
	Line      int               `json:"line,omitempty"`
	Direction string            `json:"direction"`
	From      string            `json:"from"`
	To        string            `json:"to"`
	Method    string            `json:"method"`
	Steps     []reportStep      `json:"steps"`
	PeerSees  []string          `json:"peer_sees"`
	Target    string            `json:"target,omitempty"` // where it goes, or would
	Bridge    string            `json:"bridge,omitempty"` // the network that the other domain is reached by
	ToAllow   []string          `json:"to_allow,omitempty"`
	ToBlock   []string          `json:"to_block,omitempty"`
	ToLook    []string          `json:"to_find_out,omitempty"`
	// Then is the next refusal behind the first.
	Then *reportStep `json:"then,omitempty"`

	flag    configFlag
	partner string // the domain on the other side

	whyBridge string // why Bridge is what it is
}

type reportStep struct {
	Name   string            `json:"name"`
	Detail string            `json:"detail"`
	Passed bool              `json:"passed"`
	Late   bool              `json:"late,omitempty"` // behind the first refusal
	Reason allowlists.Reason `json:"reason,omitempty"`
	Rule   string            `json:"rule,omitempty"`

	where string // the rule in short: file and line, or its name if it has none
}

func newReport(flag configFlag, q edge.Query) *report {
	r := &report{Direction: "in", From: q.From, To: q.To, Method: q.Method, flag: flag}
	other := q.From
	switch {
	case q.Inside:
		r.Direction, other = "out", q.To
	case q.Remote:
		other = q.To // he is one of us
	}
	r.partner = other[strings.LastIndexByte(other, '@')+1:]
	return r
}

func (r *report) add(s edge.Step) {
	r.Steps = append(r.Steps, reportStep{
		s.Name, plain(s.Detail), s.Passed, s.Late, s.Reason, plain(s.Rule.String()), written(s.Rule),
	})
}

// where is the place of the rule that decided.
func (r *report) where() string {
	return written(allowlists.Rule{Name: r.Rule, File: r.File, Line: r.Line})
}

// written is where a rule is written, or its name if it is nowhere.
func written(rule allowlists.Rule) string {
	if rule.File != "" {
		rule.Name = ""
	}
	return plain(strings.Trim(rule.String(), " ()"))
}

// refusedAtHandshake says what happens to a certificate that does not come as
// far as the doors.
func (r *report) refusedAtHandshake(s edge.Step) {
	r.Reason, r.Rule = s.Reason, "the certificate of the peer"
	r.PeerSees = []string{"a TLS alert: the connection is refused"}
}

// conclude takes in what the doors said.
func (r *report) conclude(x edge.Explanation) {
	early := r.Reason == allowlists.ReasonNone // the handshake was no obstacle
	for _, s := range x.Steps {
		s.Late = s.Late || !early
		r.add(s)
	}
	if r.Target = x.Target; early {
		v := x.Verdict
		r.Allowed, r.Reason = v.Allowed(), v.Reason
		r.Rule, r.File, r.Line = plain(v.Rule.Name), v.Rule.File, v.Rule.Line
		r.PeerSees = x.Answer
	}
	if len(r.PeerSees) == 0 {
		name, _, _ := strings.Cut(x.Target, ",")
		r.PeerSees = []string{"what " + name + " answers"}
	}
	for i, s := range r.Steps {
		if s.Late && !s.Passed {
			r.Then = &r.Steps[i]
			break
		}
	}
	r.Meaning = meaning(r.Reason)
}

// meaning is what the documentation says about a reason.
func meaning(r allowlists.Reason) string {
	for _, m := range allowlists.Reasons() {
		if m.Reason == r {
			return m.Text
		}
	}
	return ""
}

// write prints the report for people or for machines.
func (r *report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return writeJSON(w, r)
	}
	p := newPage(w)
	r.printVerdict(p)
	fmt.Fprintln(w)
	r.printSteps(p)
	fmt.Fprintln(w)
	r.printRest(p)
	return nil
}

// printVerdict prints what decided.
func (r *report) printVerdict(p *page) {
	const margin = "       "
	style, word := red, "DENY"
	if r.Allowed {
		style, word = green, "ALLOW"
	}
	fmt.Fprintf(p.out, "%s%s%s\n", p.paint(style+";"+bold, word), margin[len(word):], p.paint(bold, string(r.Reason)))
	if r.Meaning != "" {
		p.text(margin, margin, r.Meaning)
	}
	if r.Rule != "" {
		p.text("by     ", margin, allowlists.Rule{Name: r.Rule, File: r.File, Line: r.Line}.String())
	}
}

// printSteps prints the walk through the doors. What stands behind the first
// refusal is in brackets: the request does not come so far.
func (r *report) printSteps(p *page) {
	names := 0
	for _, s := range r.Steps {
		names = max(names, len(s.Name))
	}
	for i, s := range r.Steps {
		style, word := dim, "pass"
		if !s.Passed {
			style, word = red+";"+bold, "DENY"
		}
		if s.Late {
			style, word = dim, "("+word+")"
		} else {
			word = " " + word + " "
		}
		first := fmt.Sprintf("  %2d %s  %s  ", i+1, p.paint(style, word), pad(s.Name, names))
		others := strings.Repeat(" ", 13+names+2)
		text := s.Detail
		// What is written where the verdict's rule is needs no saying twice.
		if s.where != "" && (!s.Passed && !s.Late || s.where != r.where() && s.named()) {
			rule := "<- " + s.where
			if p.width == 0 || utf8.RuneCountInString(others+text+"  "+rule) <= p.width {
				text += "  " + rule
			} else {
				p.text(first, others, text)
				first, text = others, rule
			}
		}
		p.text(first, others, text)
	}
}

// named reports whether people should know where the rule of a step is written:
// that of what refuses, and of who it is.
func (s reportStep) named() bool {
	return !s.Passed || s.Name == "partner" || s.Name == "home server" || s.Name == "opt-in"
}

// printRest says what the peer sees, what can be done, and what comes next.
func (r *report) printRest(p *page) {
	line := func(label string, texts []string) {
		for _, text := range texts {
			p.text(pad(label, max(labels, len(label)+1)), strings.Repeat(" ", labels), text)
			label = ""
		}
	}
	if r.Bridge != "" {
		line("But:", []string{fmt.Sprintf("%s is reached by the bridge %s (%s), and what comes from there comes by it: the question was about SIP", r.partner, r.Bridge, r.whyBridge)})
	}
	line("Peer sees:", r.PeerSees)
	line("To allow:", r.ToAllow)
	line("To block:", r.ToBlock)
	line("To find out:", r.ToLook)
	switch {
	case r.Allowed:
		line("Goes to:", []string{r.Target})
	case r.Then != nil:
		line("Would then stop at:", []string{fmt.Sprintf("%s (%s)", r.Then.Name, r.Then.Reason)})
	case r.Target != "":
		line("Would then stop at:", []string{fmt.Sprintf("nothing (goes to %s)", r.Target)})
	}
}

// labels is the width of the words before a colon at the end of a report.
const labels = len("To find out: ")

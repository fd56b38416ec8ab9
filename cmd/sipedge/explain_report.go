package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/edge"
)

// A report is what explain prints. Its JSON is for machines and keeps its names.
type report struct {
	Allowed   bool              `json:"allowed"`
	Reason    allowlists.Reason `json:"reason"`
	Rule      string            `json:"rule"`
	File      string            `json:"file,omitempty"`
	Line      int               `json:"line,omitempty"`
	Direction string            `json:"direction"`
	From      string            `json:"from"`
	To        string            `json:"to"`
	Method    string            `json:"method"`
	Steps     []reportStep      `json:"steps"`
	PeerSees  []string          `json:"peer_sees"`
	Target    string            `json:"target,omitempty"`
}

type reportStep struct {
	Name   string            `json:"name"`
	Detail string            `json:"detail"`
	Passed bool              `json:"passed"`
	Reason allowlists.Reason `json:"reason,omitempty"`
	Rule   string            `json:"rule,omitempty"`
}

func newReport(q edge.Query) *report {
	r := &report{Direction: "in", From: q.From, To: q.To, Method: q.Method}
	if q.Inside {
		r.Direction = "out"
	}
	return r
}

func (r *report) add(s edge.Step) {
	r.Steps = append(r.Steps, reportStep{s.Name, plain(s.Detail), s.Passed, s.Reason, s.Rule.String()})
}

// conclude takes in what the doors said.
func (r *report) conclude(x edge.Explanation) {
	for _, s := range x.Steps {
		r.add(s)
	}
	v := x.Verdict
	r.Allowed, r.Reason = v.Allowed(), v.Reason
	r.Rule, r.File, r.Line = v.Rule.Name, v.Rule.File, v.Rule.Line
	r.PeerSees, r.Target = x.Answer, x.Target
	if len(r.PeerSees) == 0 {
		r.PeerSees = []string{"what " + x.Target + " answers"}
	}
}

// refusedAtHandshake says what happens to a certificate that does not come as
// far as the doors.
func (r *report) refusedAtHandshake(s edge.Step) {
	r.Reason, r.Rule = s.Reason, "the certificate of the peer"
	r.PeerSees = []string{"a TLS alert: the connection is refused"}
}

func (r *report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	word := map[bool]string{true: "ALLOW", false: "DENY"}
	fmt.Fprintf(w, "%-5s  %s\n", word[r.Allowed], r.Reason)
	if text := meaning(r.Reason); text != "" {
		fmt.Fprintf(w, "       %s\n", text)
	}
	if r.Rule != "" {
		fmt.Fprintf(w, "by     %s\n", allowlists.Rule{Name: r.Rule, File: r.File, Line: r.Line})
	}
	if err := r.printSteps(w); err != nil {
		return err
	}
	label := "Peer sees:"
	for _, line := range r.PeerSees {
		fmt.Fprintf(w, "%-11s%s\n", label, line)
		label = ""
	}
	if r.Target != "" && r.Allowed {
		fmt.Fprintf(w, "%-11s%s\n", "Goes to:", r.Target)
	}
	return nil
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

// printSteps prints the table of the steps.
func (r *report) printSteps(w io.Writer) error {
	var b bytes.Buffer
	table := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for i, s := range r.Steps {
		result, rule := "pass", s.Rule
		if !s.Passed {
			result = "DENY"
		}
		if rule != "" {
			rule = "  <- " + rule
		}
		// The result before the detail: what is long stands last and is not
		// padded for.
		fmt.Fprintf(table, "  %d %s\t%s\t%s%s\n", i+1, result, s.Name, s.Detail, rule)
	}
	table.Flush() // into memory
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

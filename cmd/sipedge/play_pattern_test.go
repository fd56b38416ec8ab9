package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// hole is what varies in a pattern: {any}, {length}, or {name} to remember it.
var hole = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)

// A pattern is a whole message as it should come. It matches octet for octet
// but for its holes; a line "..." stands for any number of fields.
type pattern struct {
	text string
	re   *regexp.Regexp
}

// compilePattern reads a pattern from a text file, its variables filled in.
func compilePattern(text string) (*pattern, error) {
	wire := strings.ReplaceAll(text, "\n", "\r\n")
	if !strings.Contains(wire, "\r\n\r\n") {
		wire += "\r\n"
	}
	re, err := regexp.Compile(`\A` + patternRegexp(wire) + `\z`)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	return &pattern{wire, re}, nil
}

// patternRegexp writes a pattern, or the first lines of one, as an expression.
func patternRegexp(wire string) string {
	var b strings.Builder
	for line := range strings.SplitAfterSeq(wire, "\r\n") {
		if line == "...\r\n" {
			b.WriteString(`(?:[^\r\n]+\r\n)*?`)
			continue
		}
		at := 0
		for _, h := range hole.FindAllStringSubmatchIndex(line, -1) {
			b.WriteString(regexp.QuoteMeta(line[at:h[0]]) + holeRegexp(line[h[2]:h[3]]))
			at = h[1]
		}
		b.WriteString(regexp.QuoteMeta(line[at:]))
	}
	return b.String()
}

// holeRegexp is what a hole may hold.
func holeRegexp(name string) string {
	switch name {
	case "any":
		return `[^\r\n]*?`
	case "length":
		return `[0-9]+`
	}
	return `(?P<` + name + `>[^\r\n]*?)`
}

// match compares a message with the pattern, and gives what the holes held.
func (p *pattern) match(raw []byte) (map[string]string, error) {
	m := p.re.FindSubmatch(raw)
	if m == nil {
		return nil, fmt.Errorf("got:\n%s\nwant:\n%s\nfirst line that differs: %s", visible(raw), p.text, p.difference(raw))
	}
	held := make(map[string]string)
	for i, name := range p.re.SubexpNames() {
		if name != "" {
			held[name] = string(m[i])
		}
	}
	return held, nil
}

// difference finds the first line of the pattern that the message lacks.
func (p *pattern) difference(raw []byte) string {
	lines := strings.SplitAfter(p.text, "\r\n")
	for i := range lines {
		re, err := regexp.Compile(`\A` + patternRegexp(strings.Join(lines[:i+1], "")))
		if err != nil || !re.Match(raw) {
			return lines[i]
		}
	}
	return "(something after the end)"
}

// visible shows control octets other than line ends.
func visible(raw []byte) string {
	var b strings.Builder
	for _, c := range strings.ReplaceAll(string(raw), "\r\n", "\n") {
		if c < ' ' && c != '\n' && c != '\t' {
			fmt.Fprintf(&b, "\\x%02x", c)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

func TestPatternsMatchWholeMessages(t *testing.T) {
	message := "MESSAGE sip:a@example.com SIP/2.0\r\nVia: x;branch=z9hG4bK1\r\nX: 1\r\nY: 2\r\nContent-Length: 2\r\n\r\nhi"
	for _, tt := range []struct {
		name, pattern string
		want          map[string]string
	}{
		{"itself", strings.ReplaceAll(message, "\r\n", "\n"), map[string]string{}},
		{"holes are remembered", "MESSAGE {any} SIP/2.0\nVia: x;branch={b}\n...\nContent-Length: {length}\n\nhi", map[string]string{"b": "z9hG4bK1"}},
		{"a field too many is seen", "MESSAGE {any} SIP/2.0\nVia: {any}\nX: 1\nContent-Length: 2\n\nhi", nil},
		{"order is seen", "MESSAGE {any} SIP/2.0\nVia: {any}\nY: 2\nX: 1\nContent-Length: 2\n\nhi", nil},
		{"another body is seen", "MESSAGE {any} SIP/2.0\n...\n\nho", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := compilePattern(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.match([]byte(message))
			if (err == nil) != (tt.want != nil) || len(got) != len(tt.want) || got["b"] != tt.want["b"] {
				t.Errorf("match = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

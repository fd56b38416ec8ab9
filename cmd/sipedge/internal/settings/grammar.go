package settings

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A misread is where the grammar of TOML failed: the line, and what the parser did
// not expect on it. The parser names only an octet or one of its own words; what is
// mostly meant is said here, in the words of those who write such files.
type misread struct {
	text string // the line, without the blanks around it
	rest string // of the line, from the fault on
	said string // by the parser
}

// misreadAt finds the line of a fault at an offset.
func misreadAt(data []byte, at int, said string) misread {
	begin := bytes.LastIndexByte(data[:at], '\n') + 1
	end := len(data)
	if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
		end = at + n
	}
	return misread{strings.TrimSpace(string(data[begin:end])), strings.TrimSpace(string(data[at:end])), said}
}

var (
	assignment  = regexp.MustCompile(`^([A-Za-z0-9_.-]+|"[^"]*")[ \t]*=[ \t]*(.*)$`)
	otherSign   = regexp.MustCompile(`^[A-Za-z0-9_-]+[ \t]*:?[ \t]`)
	otherDate   = regexp.MustCompile(`^[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}$`)
	numberUnit  = regexp.MustCompile(`^[0-9][0-9.]*[ \t]?[a-zA-Z]+$`)
	switchWord  = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off)$`)
	plainWords  = regexp.MustCompile(`^[^"'\\\[\]{},=#\x00-\x1f\x7f]+$`)
	listOfWords = regexp.MustCompile(`^\[[^"'\\\[\]{}=#\x00-\x1f\x7f]*\]$`)
)

// String says what is wrong, and how it is written.
func (m misread) String() string {
	switch found := assignment.FindStringSubmatch(m.text); {
	case strings.HasSuffix(m.said, "after array value") && (found != nil || strings.HasPrefix(m.text, "[")), m.said == "array is incomplete":
		return m.whole() + ": the list before it has no ] at its end"
	case strings.HasPrefix(m.text, "["):
		return m.header()
	case found != nil:
		return m.assigned(shown(found[1]), withoutComment(found[2]))
	case strings.HasPrefix(m.said, "expected '='") || otherSign.MatchString(m.text) && !m.atValue():
		return m.whole() + ": a key and its value are written KEY = VALUE"
	case m.atValue() && m.rest != "":
		return m.whole() + ": text stands in quotes, like \"text\"" // a line of a list
	}
	return m.whole() + ": " + m.said
}

// assigned says what is wrong with KEY = VALUE.
func (m misread) assigned(key, v string) string {
	is := key + " = " + shown(v) + " cannot be read: "
	switch {
	case v == "":
		return key + " has no value"
	case switchWord.MatchString(v):
		return is + "a yes-or-no value is written true or false, in small letters"
	case otherDate.MatchString(v):
		return is + "a date is written like 2026-12-31"
	case numberUnit.MatchString(v):
		return is + "a number stands alone, and what has a unit in quotes, like " + strconv.Quote(strings.ReplaceAll(v, " ", ""))
	case strings.HasPrefix(v, "[") && listOfWords.MatchString(v):
		return is + "each text of a list stands in quotes, like " + quotedList(v)
	case strings.HasPrefix(v, "["):
		return is + "a list is written like [\"one\", \"two\"]"
	case v[0] == '"' || v[0] == '\'':
		return is + m.quoting(v[:1], v[1:])
	case plainWords.MatchString(v) && !strings.ContainsAny(v[:1], "0123456789+-") || m.atValue():
		return is + "text stands in quotes, like " + likeText(v)
	}
	return is + m.said
}

// quoting says what is wrong with a text in quotes.
func (m misread) quoting(quote, v string) string {
	switch {
	case !strings.Contains(v, quote):
		return "the text has no " + quote + " at its end"
	case strings.HasPrefix(m.said, "expected newline"):
		return "nothing may stand behind the text but a comment, which begins with #"
	}
	return m.said
}

// header says what is wrong with [SECTION].
func (m misread) header() string {
	name, _, closed := strings.Cut(strings.TrimLeft(withoutComment(m.text), "["), "]")
	switch kind, of, dotted := strings.Cut(name, "."); {
	case !closed:
		return m.whole() + ": the name of a section ends with ]"
	case dotted && !strings.ContainsAny(of, `"'\`) && plainWords.MatchString(name):
		return m.whole() + ": a name with dots, @ or * stands in quotes: [" + shown(kind) + "." + strconv.Quote(strings.TrimSpace(of)) + "]"
	case strings.HasPrefix(m.said, "expected newline"):
		return m.whole() + ": nothing may stand behind the name of a section but a comment, which begins with #"
	}
	return m.whole() + ": " + m.said
}

// atValue reports whether the fault is where a value should begin.
func (m misread) atValue() bool {
	return strings.HasSuffix(m.said, "at start of value") || strings.HasPrefix(m.said, "expected keyword")
}

// whole names the line.
func (m misread) whole() string {
	if m.text == "" {
		return "cannot be read"
	}
	return shown(m.text) + " cannot be read"
}

// shown is a piece of the file that is safe to print, and short.
func shown(text string) string {
	const most = 60
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }) {
		return strconv.QuoteToASCII(text)
	}
	return text
}

// likeText is a text as it should be written.
func likeText(v string) string {
	if plainWords.MatchString(v) && len(v) <= 40 {
		return `"` + shown(v) + `"`
	}
	return `"text"`
}

// quotedList is a list of bare words as it should be written.
func quotedList(v string) string {
	var words []string
	for _, w := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune("[], \t", r) }) {
		words = append(words, `"`+shown(w)+`"`)
	}
	if len(words) == 0 || len(words) > 6 {
		words = []string{`"one"`, `"two"`}
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// withoutComment cuts a comment off what has no quotes.
func withoutComment(v string) string {
	if !strings.ContainsAny(v, `"'`) {
		v, _, _ = strings.Cut(v, "#")
	}
	return strings.TrimSpace(v)
}

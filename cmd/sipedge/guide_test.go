package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/locate/locatetest"
)

// The documents whose examples are tried here, beside the README.
const (
	guide       = "docs/partners.md"
	remoteGuide = "docs/remote.md"
	bridgeGuide = "docs/bridges.md"
)

// A block is a fenced block of a document, or a heading of its second level.
type block struct{ language, text string }

func blocks(t *testing.T, path string) (list []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?sm)^(## )(.*?)$|^```([a-z]+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		list = append(list, block{m[1] + m[3], m[2] + m[4]})
	}
	return list
}

// TestGuideHoldsWhatItShows tries the guide's configuration with check, runs what
// needs no edge, and reads the other commands as the program would. Each chapter
// begins with the README's configuration.
func TestGuideHoldsWhatItShows(t *testing.T) {
	readme, all := fences(t, "README.md", "toml"), blocks(t, guide)
	s := site{t, readmeSite(t)}
	t.Chdir(s.dir)
	t.Setenv("COLUMNS", "100") // as the terminal that the guide was written in
	tried := 0
	for _, b := range all {
		switch b.language {
		case "## ":
			s.write("sipedge.toml", readme[0])
			s.write("partners.toml", readme[1])
		case "toml":
			if part, ok := strings.CutPrefix(b.text, "# sipedge.toml\n"); ok {
				s.write("sipedge.toml", withSections(readme[0], part))
			} else {
				s.write("partners.toml", b.text)
			}
			if code, _, errs := s.runs("check"); code != exitDone || errs != "" {
				t.Errorf("check of\n%s\nends with %d and says\n%s", b.text, code, errs)
			}
		case "console":
			for _, c := range commandsOf(b.text) {
				tried++
				guideCommand(t, s, c)
			}
		}
	}
	if tried < 10 {
		t.Errorf("%s shows %d commands; are they still found?", guide, tried)
	}
}

// TestRemoteGuideHoldsWhatItShows does so with the guide to remote users. What it writes
// stays, from chapter to chapter; the one to try it has files and a test of its own.
func TestRemoteGuideHoldsWhatItShows(t *testing.T) {
	readme, all := fences(t, "README.md", "toml"), blocks(t, remoteGuide)
	s := site{t, readmeSite(t)}
	t.Chdir(s.dir)
	t.Setenv("COLUMNS", "100")
	s.write("ldap.password", "secret")
	config, tried, chapter := readme[0], 0, ""
	for _, b := range all {
		switch {
		case b.language == "## ":
			chapter = b.text
		case chapter == trialChapter:
		case b.language == "toml":
			if part, ok := strings.CutPrefix(b.text, "# sipedge.toml\n"); ok {
				config = withSections(config, part)
				s.write("sipedge.toml", config)
				continue // what belongs to it comes next
			}
			s.write("remote.toml", b.text)
			if code, _, errs := s.runs("check"); code != exitDone || errs != "" {
				t.Errorf("check of\n%s\nends with %d and says\n%s", b.text, code, errs)
			}
		case b.language == "console":
			for _, c := range commandsOf(b.text) {
				tried++
				guideCommand(t, s, c)
			}
		}
	}
	if code, _, errs := s.runs("check"); code != exitDone || errs != "" || tried < 10 {
		t.Errorf("in the end check ends with %d and says\n%s\nafter %d commands", code, errs, tried)
	}
}

// TestBridgeGuideHoldsWhatItShows does so with the guide to bridges. A block begins with
// the name of its file, and is the whole of it but for sipedge.toml.
func TestBridgeGuideHoldsWhatItShows(t *testing.T) {
	readme, all := fences(t, "README.md", "toml"), blocks(t, bridgeGuide)
	s := site{t, readmeSite(t)}
	t.Chdir(s.dir)
	t.Setenv("COLUMNS", "100")
	dns, err := locatetest.Serve("") // nobody has a SIP edge
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	s.write("alice.password", "secret")
	config, tried := readme[0], 0
	for _, b := range all {
		switch b.language {
		case "toml":
			first, _, _ := strings.Cut(b.text, "\n")
			switch name, _, _ := strings.Cut(strings.TrimPrefix(first, "# "), ":"); name {
			case "sipedge.toml":
				config = withSections(config, b.text)
				s.write(name, config+"[dns]\nservers = [\""+dns.Addr()+"\"]\n")
				continue // who may comes next
			case "partners.toml", "bridges.toml":
				s.write(name, b.text)
			default:
				t.Errorf("a block begins with %q, and not with the name of a file", first)
			}
			if code, _, errs := s.runs("check"); code != exitDone || errs != "" {
				t.Errorf("check of\n%s\nends with %d and says\n%s", b.text, code, errs)
			}
		case "console":
			for _, c := range commandsOf(b.text) {
				tried++
				guideCommand(t, s, c)
			}
		}
	}
	if tried < 10 {
		t.Errorf("%s shows %d commands; are they still found?", bridgeGuide, tried)
	}
}

// guideCommand tries one command of the guide.
func guideCommand(t *testing.T, s site, c example) {
	words := shellWords(c.command)
	if len(words) < 2 || words[0] != "sipedge" {
		t.Errorf("%q is no command of ours", c.command)
		return
	}
	if _, err := commandLine(t).Parse(words[1:]); err != nil {
		t.Errorf("%q: %v", c.command, err)
	}
	if words[1] != "check" && words[1] != "explain" || slices.Contains(words, "--ref") {
		return // what it prints depends on what has happened
	}
	_, out, errs := s.runs(words[1:]...)
	if diff := cmp.Diff(c.output, out+errs); diff != "" {
		t.Errorf("%q (-document +real):\n%s", c.command, diff)
	}
}

// runs is the program without a process.
func (s site) runs(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(args, streams{&o, &e})
	return code, o.String(), e.String()
}

func commandLine(t *testing.T) *kong.Kong {
	t.Helper()
	k, err := kong.New(new(commands), kong.Name("sipedge"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// commandsOf are the commands of a console, with what they print.
func commandsOf(console string) (list []example) {
	for _, part := range strings.Split("\n"+console, "\n$ ")[1:] {
		command, output, _ := strings.Cut(part, "\n")
		if output != "" && !strings.HasSuffix(output, "\n") {
			output += "\n"
		}
		list = append(list, example{command, output})
	}
	return list
}

// withSections puts a part of sipedge.toml in the place of what the whole has
// under the same headings, or behind it.
func withSections(whole, part string) string {
	var kept strings.Builder
	replaced := false
	for line := range strings.Lines(whole) {
		if strings.HasPrefix(line, "[") {
			heading, _, _ := strings.Cut(line, "]")
			replaced = strings.Contains("\n"+part, "\n"+heading+"]")
		}
		if !replaced {
			kept.WriteString(line)
		}
	}
	return kept.String() + part
}

// shellWords splits a command as a shell would, up to where its output goes.
func shellWords(line string) (words []string) {
	for _, w := range regexp.MustCompile(`'[^']*'|[^ ]+`).FindAllString(line, -1) {
		if w == ">" {
			break
		}
		words = append(words, strings.Trim(w, "'"))
	}
	return words
}

// TestDocumentsNameCommandsThatExist looks at what documents have in backquotes.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	known := map[string]bool{"probe": true, "partner": true, "user": true, "flow": true, "ban": true, "bridge": true}
	for _, leaf := range commandLine(t).Model.Leaves(false) {
		known[strings.TrimPrefix(leaf.Path(), "sipedge ")] = true
	}
	span := regexp.MustCompile("`sipedge ((?:(?:partner|user|flow|ban|bridge|probe) )?)([a-z|]+)[^`]*`")
	found := 0
	for _, path := range repositoryFiles(t, ".md") {
		text, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range span.FindAllStringSubmatch(string(text), -1) {
			for name := range strings.SplitSeq(m[2], "|") {
				if found++; !known[m[1]+name] {
					t.Errorf("%s: %s: there is no %q", path, m[0], m[1]+name)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no command is named anywhere")
	}
}

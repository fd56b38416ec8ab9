package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/certs"
)

// fences returns the blocks of a document in one language, in their order.
func fences(t *testing.T, path, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```"+language+"\n")
	for found {
		block, after, closed := strings.Cut(rest, "```")
		if !closed {
			t.Fatalf("%s: a block does not end", path)
		}
		blocks = append(blocks, block)
		_, rest, found = strings.Cut(after, "```"+language+"\n")
	}
	return blocks
}

// An example is a command as a document shows it, behind "$ ", and what it
// prints there.
type example struct{ command, output string }

func examples(t *testing.T, path string) (list []example) {
	for _, text := range fences(t, path, "console") {
		list = append(list, commandsOf(text)...)
	}
	return list
}

// readmeSite writes the README's configuration, with the certificates that it
// names, and returns the folder.
func readmeSite(t *testing.T) string {
	t.Helper()
	s := site{t, t.TempDir()}
	blocks := fences(t, "README.md", "toml")
	if len(blocks) != 6 {
		t.Fatalf("README.md holds %d blocks of toml, want sipedge.toml and partners.toml, what users outside need, and what XMPP needs", len(blocks))
	}
	s.write("sipedge.toml", blocks[0])
	s.write("partners.toml", blocks[1])
	if err := os.Mkdir(filepath.Join(s.dir, "certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	ca, err := certs.NewAuthority("inside")
	if err != nil {
		t.Fatal(err)
	}
	s.write("certs/inside-ca.pem", string(ca.PEM()))
	s.issue(ca, "certs/outside", "edge1.example.com", "example.com")
	s.issue(ca, "certs/inside", "edge1.example.com")
	return s.dir
}

func TestReadmeLetsUsersIn(t *testing.T) {
	s, blocks := site{t, readmeSite(t)}, fences(t, "README.md", "toml")
	t.Chdir(s.dir)
	s.write("sipedge.toml", withSections(blocks[0], blocks[2]))
	s.write("remote.toml", blocks[3])
	if code, out, errs := s.runs("check"); code != exitDone || errs != "" || !strings.Contains(out, "remote access ") {
		t.Errorf("check ends with %d and says\n%s%s", code, out, errs)
	}
}

func TestReadmeLetsUsersOntoXMPP(t *testing.T) {
	s, blocks := site{t, readmeSite(t)}, fences(t, "README.md", "toml")
	t.Chdir(s.dir)
	s.write("sipedge.toml", withSections(blocks[0], blocks[4]))
	s.write("bridges.toml", blocks[5])
	if code, out, errs := s.runs("check"); code != exitDone || errs != "" || !strings.Contains(out, "203.0.113.10:5269: 1 user") {
		t.Errorf("check ends with %d and says\n%s%s", code, out, errs)
	}
}

func TestReadmeCommandsPrintWhatItShows(t *testing.T) {
	dir := readmeSite(t)
	var seen []string
	for _, c := range examples(t, "README.md") {
		name, args := readmeCommand(c.command)
		seen = append(seen, name)
		switch name {
		case "demo":
			if len(args) != 1 {
				t.Errorf("%s: want the demo as it is without flags", c.command)
			}
			screen, stop := upDemo(t, demoCommand{Dir: t.TempDir()})
			if err := stop(); err != nil {
				t.Errorf("the demo ended with %v", err)
			}
			containsLines(t, strings.Join(screen, "\n"), c.output)
		case "check", "explain":
			t.Chdir(dir)
			var out, errs bytes.Buffer
			run(args, streams{&out, &errs})
			if out.String() != c.output || errs.Len() > 0 {
				t.Errorf("%s says %q, and (-README +real):\n%s", c.command, &errs, cmp.Diff(c.output, out.String()))
			}
		case "serve": // the same as check up to the ports, which are not this machine's
		case "go test ./...": // this is it
			if diff := cmp.Diff(testedFolders(t), passed(c.output)); diff != "" {
				t.Errorf("README.md shows other tests than there are (-are +README):\n%s", diff)
			}
		default:
			t.Errorf("no test runs %q", c.command)
		}
	}
	for _, want := range []string{"demo", "go test ./...", "check", "explain"} {
		if !slices.Contains(seen, want) {
			t.Errorf("README.md does not show %s", want)
		}
	}
}

// passed are the folders of packages whose tests were ok.
func passed(output string) (folders []string) {
	for line := range strings.Lines(output) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "ok" {
			folders = append(folders, strings.TrimPrefix(words[1], module))
		}
	}
	return folders
}

func testedFolders(t *testing.T) (folders []string) {
	for _, path := range repositoryFiles(t, ".go") {
		if strings.HasSuffix(path, "_test.go") {
			folders = append(folders, folderOf(path))
		}
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}

// readmeCommand splits a command of ours; others are their own name.
func readmeCommand(line string) (name string, args []string) {
	for _, prefix := range []string{"go run ./cmd/sipedge ", "sipedge "} {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			args = strings.Fields(rest)
			return args[0], args
		}
	}
	return line, nil
}

var (
	demoAddress = regexp.MustCompile(`[0-9.]*\.[0-9]+:[0-9]+`)
	demoReason  = regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)
)

// steady is a line of the demo without what differs from one run or machine to
// the next: version, folder, addresses, milliseconds, how many of a flood passed,
// and blanks.
func steady(line string) string {
	words := strings.Fields(demoAddress.ReplaceAllString(line, "address"))
	for i, word := range words {
		switch {
		case i == 2 && words[0] == "sipedge", // demo VERSION
			strings.HasPrefix(word, "sipedge-demo-"), strings.Contains(word, "/sipedge-demo-"),
			i > 0 && words[i-1] == "in",            // N s
			i+1 < len(words) && words[i+1] == "ok", // N that passed
			i+1 < len(words) && demoReason.MatchString(words[i+1]):
			words[i] = "_"
		}
	}
	return strings.Join(words, " ")
}

// containsLines reports lines of want that are not in got, in their order;
// "..." leaves some out.
func containsLines(t *testing.T, got, want string) {
	t.Helper()
	lines := strings.Split(got, "\n")
	for line := range strings.Lines(want) {
		line = strings.TrimSuffix(line, "\n")
		if line == "..." || line == "" {
			continue
		}
		i := slices.IndexFunc(lines, func(l string) bool { return steady(l) == steady(line) })
		if i < 0 {
			t.Fatalf("README.md shows\n%s\nand what is left of the demo's output is\n%s", line, strings.Join(lines, "\n"))
		}
		lines = lines[i+1:]
	}
}

func TestLinksOfDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	for _, path := range repositoryFiles(t, ".md") {
		text, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := filepath.Join(top, path)
			if m[1] != "" {
				to = filepath.Join(top, filepath.Dir(path), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", path, m[1])
			} else if m[2] != "" && !slices.Contains(anchors(t, to), m[2]) {
				t.Errorf("%s: %s has no heading for %s", path, to, m[2])
			}
		}
	}
}

// anchors are what links to the headings of a document end with.
func anchors(t *testing.T, path string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		words := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, "#"+strings.ReplaceAll(words, " ", "-"))
	}
	return list
}

// TestArchitectureNamesThePackages compares the table of docs/architecture.md
// with the one that the imports are held against.
func TestArchitectureNamesThePackages(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)`( \\*\\(planned\\)\\*)? \\|.*\\| ([^|]+) \\|$")
	got := make(map[string][]string)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		name, planned, rests := m[1], m[2] != "", m[3]
		if _, err := os.Stat(filepath.Join(top, name)); (err != nil) != planned {
			t.Errorf("%s: planned is %v in the table, and its folder says %v", name, planned, err)
		}
		switch rests {
		case "everything":
			continue
		case "nothing of ours":
			got[name] = []string{}
		default:
			got[name] = strings.Split(rests, ", ")
		}
	}
	if diff := cmp.Diff(restsOn, got); diff != "" {
		t.Errorf("docs/architecture.md differs from restsOn (-code +document):\n%s", diff)
	}
}

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/allowlists"
)

const (
	module = "github.com/sipedge/sipedge/"
	top    = "../.."
)

// restsOn is the table of docs/architecture.md: what each package may import of
// ours. Imports go only down, and siblings never meet.
var restsOn = map[string][]string{
	"sip":          {},
	"locate":       {},
	"certs":        {},
	"allowlists":   {},
	"store":        {},
	"federation":   {"sip", "certs", "locate", "allowlists", "store"},
	"remoteaccess": {"sip", "certs", "allowlists", "store"},
	"bridges":      {"sip", "allowlists", "store"},
	"bridges/xmpp": {"bridges", "bridges/xmpp/account", "bridges/xmpp/address", "bridges/xmpp/body", "bridges/xmpp/pidf", "bridges/xmpp/s2s", "bridges/xmpp/stanza", "sip", "certs", "locate", "allowlists", "store"},

	"bridges/xmpp/account": {"bridges", "bridges/xmpp/address", "bridges/xmpp/stanza"},
	"bridges/xmpp/address": {"sip"},
	"bridges/xmpp/body":    {"bridges/xmpp/stanza", "sip"},
	"bridges/xmpp/pidf":    {"bridges/xmpp/stanza"},
	"bridges/xmpp/s2s":     {"bridges", "bridges/xmpp/stanza", "certs", "locate"},
	"bridges/xmpp/stanza":  {},

	"edge":  {"federation", "remoteaccess", "bridges", "sip", "certs", "locate", "allowlists", "store"},
	"admin": {"edge", "federation", "remoteaccess", "bridges", "sip", "certs", "locate", "allowlists", "store"},
	"home":  {"certs"},
}

// sources are the Go files of the module, parsed. Not asked of the go command:
// its test cache would hide a new import from a test.
func sources(t *testing.T, mode parser.Mode) (*token.FileSet, map[string]*ast.File) {
	t.Helper()
	set, files := token.NewFileSet(), make(map[string]*ast.File)
	for _, path := range repositoryFiles(t, ".go") {
		f, err := parser.ParseFile(set, filepath.Join(top, path), nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		files[path] = f
	}
	return set, files
}

// repositoryFiles lists the files with these endings, by their path from the
// top. Folders that hold a module of their own or data are left out.
func repositoryFiles(t *testing.T, endings ...string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, own := os.Stat(filepath.Join(path, "go.mod"))
			if path != top && (own == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if slices.Contains(endings, filepath.Ext(path)) {
			rel, err := filepath.Rel(top, path)
			paths = append(paths, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func folderOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}

func TestImportsGoOnlyDown(t *testing.T) {
	_, files := sources(t, parser.ImportsOnly)
	for path, f := range files {
		folder := folderOf(path)
		if strings.HasPrefix(folder, "cmd/") {
			continue // may import everything
		}
		may, ok := restsOn[folder]
		if parent := folderOf(folder); !ok && folder == parent+"/"+parent+"test" {
			may, ok = append(slices.Clone(restsOn[parent]), parent), true // what tests of others use
		}
		if !ok {
			t.Errorf("%s: package %s is not in the table of docs/architecture.md", path, folder)
			continue
		}
		for _, spec := range f.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			ours, ok := strings.CutPrefix(name, module)
			if !ok || slices.Contains(may, ours) {
				continue
			}
			if strings.HasSuffix(path, "_test.go") && (ours == folder || ours == folder+"/"+folder+"test" || slices.Contains(restsOn["edge"], folderOf(ours))) {
				continue
			}
			t.Errorf("%s: package %s must not import %s", path, folder, ours)
		}
	}
}

// badCitation finds what only looks like "RFC 3261 §16.6". Searching for a
// section finds all who obey it only if all write it alike.
var badCitation = regexp.MustCompile(`\bRFC-?[0-9]` + // RFC3261
	`|\bRFC [0-9]+,? *(?i:section|sect|sec\b|chapter|s\.)` +
	`|\bRFC [0-9]+(?:§|, §|  +§|:§)` +
	`|§ +[0-9]|§§|\b(?i:rfc) [0-9]{3,5}#` +
	`|(?i:\bsections?|\bsect?\.) [0-9]+(?:\.[0-9]+)* of RFC`)

func TestRFCsAreCitedInOneForm(t *testing.T) {
	notACitation := strings.NewReplacer("time.RFC3339Nano", "", "time.RFC3339", "", "sip.RFC3261BranchMagicCookie", "")
	for _, path := range repositoryFiles(t, ".go", ".md") {
		if path == "cmd/sipedge/layout_test.go" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(data), "\n") {
			if found := badCitation.FindString(notACitation.Replace(line)); found != "" {
				t.Errorf("%s:%d: %q: write RFC 3261 §16.6", path, i+1, found)
			}
		}
	}
}

func TestBadCitationsAreFound(t *testing.T) {
	for _, s := range []string{"RFC3261", "RFC 3261 section 16.6", "RFC 3261, Section 16", "RFC 3261 S.16", "RFC 3261 § 16", "RFC 3261§16", "section 16.6 of RFC 3261"} {
		if !badCitation.MatchString(s) {
			t.Errorf("%q passes", s)
		}
	}
	for _, s := range []string{"RFC 3261 §16.6", "(RFC 3261 §16.4, §16.5)", "RFC 3261 §16-17 with RFC 6026", "RFC 4475 and RFC 5118."} {
		if found := badCitation.FindString(s); found != "" {
			t.Errorf("%q: %q is said to be wrong", s, found)
		}
	}
}

func TestEachReasonIsUsed(t *testing.T) {
	_, files := sources(t, parser.SkipObjectResolution)
	used := make(map[string]bool)
	names := make(map[string]allowlists.Reason)
	for path, f := range files {
		if path == "allowlists/reason.go" {
			names = reasonConstants(f)
			continue
		}
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				used[id.Name] = true
			}
			return true
		})
	}
	meanings := make(map[allowlists.Reason]bool)
	for _, m := range allowlists.Reasons() {
		meanings[m.Reason] = true
	}
	for name, reason := range names {
		if reason == allowlists.ReasonNone {
			continue
		}
		if !used[name] {
			t.Errorf("%s (%s) is used nowhere", name, reason)
		}
		if !meanings[reason] {
			t.Errorf("%s (%s) has no meaning in Reasons", name, reason)
		}
		delete(meanings, reason)
	}
	for reason := range meanings {
		t.Errorf("%s has a meaning and no constant", reason)
	}
}

// reasonConstants reads the constants of type Reason.
func reasonConstants(f *ast.File) map[string]allowlists.Reason {
	names := make(map[string]allowlists.Reason)
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Reason" {
			text, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			names[spec.Names[0].Name] = allowlists.Reason(text)
		}
		return true
	})
	return names
}

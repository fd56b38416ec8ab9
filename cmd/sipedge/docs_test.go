package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/allowlists"
)

//go:generate env SIPEDGE_UPDATE_DOCS=1 go test -run TestGeneratedDocsAreCurrent .

// TestGeneratedDocsAreCurrent compares what docs holds with what the comments
// of the code say; with SIPEDGE_UPDATE_DOCS set it writes them.
func TestGeneratedDocsAreCurrent(t *testing.T) {
	for name, want := range map[string]string{"config.md": configDocs(t), "reasons.md": reasonDocs(), "rfc.md": rfcDocs(t)} {
		path := filepath.Join(top, "docs", name)
		if os.Getenv("SIPEDGE_UPDATE_DOCS") != "" {
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if string(got) != want {
			t.Errorf("docs/%s is stale; run go generate ./cmd/sipedge (-is +should be):\n%s", name, cmp.Diff(string(got), want))
		}
	}
}

const configHead = `# Configuration

<!-- Made from the comments of the code by go generate ./cmd/sipedge. Do not edit. -->

An edge reads four files in TOML: the one that is named by ` + "`-c`" + `, and ` + "`partners.toml`" + `,
` + "`remote.toml`" + ` and ` + "`bridges.toml`" + ` beside it. All are read strictly: a key that is not in these lists is a fault, as is
a value of another type or a section that stands twice. All faults are listed at once, with
their lines; ` + "`sipedge check -c sipedge.toml`" + ` lists them without starting anything.

The main file is read at the start. The others are read again when they change and on SIGHUP. A
bad one is refused whole, every fault goes to the log, and the last good one stays. So it does
when ` + "`partners.toml`" + ` vanishes; without ` + "`remote.toml`" + ` nobody may sign in from outside, and without
` + "`bridges.toml`" + ` nobody may use a bridge. Certificates are read again when they change and on SIGHUP.

What changed in a list is in force within a second, on open connections too. An editor that
writes in place is waited for: a file is taken when it has come to rest.

`

// configDocs writes the reference of the files.
func configDocs(t *testing.T) string {
	d := docs{t: t, types: make(map[string]*ast.GenDecl)}
	for _, folder := range []string{"edge", "certs", "locate", "federation", "remoteaccess", "bridges", "bridges/xmpp"} {
		d.read(folder)
	}
	d.out.WriteString(configHead)
	d.file("sipedge.toml", "edge.Config", "edge")
	d.chapter("bridge.xmpp", "bridges/xmpp.Config")
	d.file("partners.toml", "federation.File", "federation")
	d.file("remote.toml", "remoteaccess.File", "remoteaccess")
	d.file("bridges.toml", "bridges.File", "bridges")
	return strings.TrimRight(d.out.String(), "\n") + "\n"
}

// docs writes what struct types say about the sections that they stand for.
type docs struct {
	t     *testing.T
	types map[string]*ast.GenDecl // by package.Name
	out   strings.Builder
}

func (d *docs) read(folder string) {
	paths, err := filepath.Glob(filepath.Join(top, folder, "*.go"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, decl := range f.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				d.types[folder+"."+g.Specs[0].(*ast.TypeSpec).Name.Name] = g
			}
		}
	}
}

// fields returns the type's fields and its comment.
func (d *docs) fields(name string) ([]*ast.Field, string) {
	g := d.types[name]
	if g == nil {
		d.t.Fatalf("there is no type %s", name)
	}
	spec := g.Specs[0].(*ast.TypeSpec)
	text := prose(g.Doc.Text())
	for _, article := range []string{"", "A ", "An "} {
		text = strings.TrimPrefix(text, article+spec.Name.Name+" is ")
	}
	var fields []*ast.Field
	for _, f := range spec.Type.(*ast.StructType).Fields.List {
		if len(f.Names) > 0 {
			fields = append(fields, f)
			continue
		}
		pkg, _, _ := strings.Cut(name, ".")
		embedded, _ := d.fields(pkg + "." + f.Type.(*ast.Ident).Name)
		fields = append(fields, embedded...)
	}
	return fields, text
}

// prose joins the lines of each paragraph of a comment.
func prose(comment string) string {
	paragraphs := strings.Split(strings.TrimSpace(comment), "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(strings.Fields(p), " ")
	}
	return strings.Join(paragraphs, "\n\n")
}

// ownName is how a comment says which file or section a type is: the heading
// says it, too.
var ownName = regexp.MustCompile(`^(?:(?:a|the) section \[[^\]]*\]|[a-z]+\.toml)[.:] *`)

// file writes one file: its own keys, then a chapter for each section.
func (d *docs) file(name, typ, pkg string) {
	fields, text := d.fields(typ)
	fmt.Fprintf(&d.out, "## %s\n\n%s\n\n", name, sentence(ownName.ReplaceAllString(text, "")))
	d.keys(fields)
	for _, f := range fields {
		key := tomlKey(f)
		section, many := d.section(f.Type, pkg)
		if key == "" || section == "" {
			continue
		}
		head := key
		if many {
			head = key + ".NAME"
			switch {
			case pkg == "federation":
				head = key + ".\"DOMAIN\""
			case key == "user" || key == "account":
				head = key + ".\"ADDRESS\""
			}
		}
		fields, text := d.fields(section)
		fmt.Fprintf(&d.out, "### [%s]\n\n%s\n\n", head, prose(f.Doc.Text()))
		if text = ownName.ReplaceAllString(text, ""); text != "" {
			fmt.Fprintf(&d.out, "%s\n\n", sentence(text))
		}
		d.keys(fields)
	}
}

// chapter writes one section of a file that its struct does not name.
func (d *docs) chapter(head, typ string) {
	fields, text := d.fields(typ)
	fmt.Fprintf(&d.out, "### [%s]\n\n%s\n\n", head, sentence(ownName.ReplaceAllString(text, "")))
	d.keys(fields)
}

// section returns the struct that a section decodes into, "" for a plain key.
func (d *docs) section(typ ast.Expr, pkg string) (name string, many bool) {
	switch t := typ.(type) {
	case *ast.MapType:
		name, _ = d.section(t.Value, pkg)
		return name, true
	case *ast.SelectorExpr:
		name = t.X.(*ast.Ident).Name + "." + t.Sel.Name
	case *ast.Ident:
		name = pkg + "." + t.Name
	}
	if d.types[name] == nil {
		return "", false
	}
	return name, false
}

// keys writes the keys that hold values.
func (d *docs) keys(fields []*ast.Field) {
	for _, f := range fields {
		key, kind := tomlKey(f), kindOf(f.Type)
		if key == "" || kind == "" {
			continue
		}
		text := prose(f.Doc.Text())
		if text == "" {
			d.t.Errorf("the key %s has no comment", key)
		}
		for _, verb := range []string{" is ", " are "} {
			text = strings.TrimPrefix(text, f.Names[0].Name+verb)
		}
		fmt.Fprintf(&d.out, "- **`%s`** (%s): %s\n", key, kind, sentence(text))
	}
	if !strings.HasSuffix(d.out.String(), "\n\n") {
		d.out.WriteString("\n")
	}
}

func tomlKey(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, _ := strconv.Unquote(f.Tag.Value)
	key, option, _ := strings.Cut(reflect.StructTag(tag).Get("toml"), ",")
	if key == "-" || option == "line" {
		return ""
	}
	return key
}

// kindOf says in the admin's words what a field holds; "" for sections.
func kindOf(typ ast.Expr) string {
	switch t := typ.(type) {
	case *ast.StarExpr:
		return kindOf(t.X)
	case *ast.ArrayType:
		return "list of strings"
	case *ast.SelectorExpr:
		if t.Sel.Name == "Duration" {
			return `time, like "5s"`
		}
	case *ast.Ident:
		switch t.Name {
		case "string":
			return "string"
		case "bool":
			return "true or false"
		case "int":
			return "number"
		case "float64":
			return "number, also with a fraction"
		case "Date":
			return "date, like 2026-12-31"
		}
	}
	return ""
}

// sentence begins with a capital, unless it begins with a name.
func sentence(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if s == "" || strings.ContainsAny(word, "._[") || strings.HasPrefix(s, "true") || strings.HasPrefix(s, "false") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// reasonDocs writes the closed list of reasons.
func reasonDocs() string {
	var b strings.Builder
	b.WriteString(`# Reasons

<!-- Made from allowlists/reason.go by go generate ./cmd/sipedge. Do not edit. -->

Each request leaves one line in the log, with the reason of the verdict. ` + "`sipedge explain`" + ` gives
the same reasons. A peer never sees them: it gets the status, a standard phrase and a reference
number, by which ` + "`sipedge explain --ref`" + ` finds the line. The list is closed.

| reason | status | meaning |
|---|---|---|
`)
	for _, m := range allowlists.Reasons() {
		status := strconv.Itoa(m.Status)
		if m.Status == 0 {
			status = "passes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Reason, status, m.Text)
	}
	return b.String()
}

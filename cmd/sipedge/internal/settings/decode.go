package settings

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/sipedge/sipedge/allowlists"
)

// Decode reads the TOML of a file into the struct that dst points to. It is
// strict: a key that no field has is a fault. All faults are returned, by line.
//
// A field takes part by its tag: `toml:"KEY"` has the value of KEY,
// `toml:",line"` the line of the table's header, `toml:"KEY,line"` the line of
// KEY; of `toml:"KEY,positive"` zero is a fault, too, since nobody knows whether
// it would mean nothing or no limit. Sections with free names are maps. Durations
// are strings like "5s"; a type that reads text is a date. Fields of an embedded
// struct are fields.
func Decode(file string, data []byte, dst any) []allowlists.Problem {
	problems, _ := decode(file, data, dst)
	return problems
}

// decode is Decode that also tells whether the grammar held. If not, parts of
// the file are missing in dst, and what is missing must not be held against it.
func decode(file string, data []byte, dst any) (problems []allowlists.Problem, whole bool) {
	root, problems, whole := read(file, data)
	d := decoder{file: file, problems: problems, shapes: make(map[reflect.Type]*shape)}
	d.structure(root, reflect.ValueOf(dst).Elem())
	sortProblems(d.problems)
	return d.problems, whole
}

type decoder struct {
	file     string
	shapes   map[reflect.Type]*shape
	problems []allowlists.Problem
}

func (d *decoder) fault(line int, format string, args ...any) {
	d.problems = append(d.problems, allowlists.Problem{File: d.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// shape is what the tags of a struct say.
type shape struct {
	keys  map[string][]int // field by key
	lines map[string][]int // field for the line of a key; of "", of the header
	above map[string]bool  // keys whose numbers are more than zero
}

// shapeOf reads the tags of a type once: with 100,000 partners it is asked
// 100,000 times.
func (d *decoder) shapeOf(t reflect.Type) *shape {
	if s, ok := d.shapes[t]; ok {
		return s
	}
	s := &shape{keys: make(map[string][]int), lines: make(map[string][]int), above: make(map[string]bool)}
	for _, f := range reflect.VisibleFields(t) { // an embedded struct's are its owner's
		tag, ok := f.Tag.Lookup("toml")
		name, option, _ := strings.Cut(tag, ",")
		switch {
		case !ok || tag == "-":
		case option == "line":
			s.lines[name] = f.Index
		default:
			s.keys[name] = f.Index
			s.above[name] = option == "positive"
		}
	}
	d.shapes[t] = s
	return s
}

// structure decodes a table into a struct.
func (d *decoder) structure(t *table, dst reflect.Value) {
	s := d.shapeOf(dst.Type())
	if i, ok := s.lines[""]; ok {
		dst.FieldByIndex(i).SetInt(int64(t.line))
	}
	for i := range t.keys {
		k := &t.keys[i]
		field, ok := s.keys[k.name]
		if !ok {
			d.unknown(t, k, s)
			continue
		}
		if at, ok := s.lines[k.name]; ok {
			dst.FieldByIndex(at).SetInt(int64(k.line))
		}
		before := len(d.problems)
		d.value(t, k.name, &k.value, dst.FieldByIndex(field))
		if s.above[k.name] && len(d.problems) == before && !positive(dst.FieldByIndex(field)) {
			d.fault(k.line, "%s%s must be more than 0; leave it out for the default", k.name, t.in())
		}
	}
}

func positive(v reflect.Value) bool {
	if v.CanFloat() {
		return v.Float() > 0
	}
	return v.Int() > 0
}

// sectionOf is in which file the sections stand that are most often written into
// another one.
var sectionOf = map[string]string{
	"bridge": "sipedge.toml", "listener": "sipedge.toml", "certificate": "sipedge.toml", "pool": "sipedge.toml", "dns": "sipedge.toml",
	"federation": "partners.toml", "partner": "partners.toml", "blocked": "partners.toml", "group": "remote.toml",
	"user": "remote.toml or bridges.toml", "default": "remote.toml or bridges.toml", "account": "bridges.toml",
}

// unknown says that nothing has the name of a key, and what may be meant.
func (d *decoder) unknown(t *table, k *key, s *shape) {
	what := "unknown key"
	if k.kind == unstable.Table {
		what = "unknown section"
	}
	hint := ""
	if file := sectionOf[k.name]; file != "" && t.parent == nil && k.kind == unstable.Table {
		hint = "; it stands in " + file
	} else if meant := suggest(k.name, s.keys); meant != "" {
		hint = fmt.Sprintf("; did you mean %q?", meant)
	} else if k.kind == unstable.Table && t.parent != nil && len(s.keys) == 1 {
		for only := range s.keys {
			hint = fmt.Sprintf("; there is [%s]", dottedName([]string{t.name, only}))
		}
	} else if k.kind == unstable.Table && t.parent != nil && t.parent.parent != nil && t.parent.parent.parent == nil {
		hint = fmt.Sprintf("; a name with dots stands in quotes: [%s]", dottedName([]string{t.parent.name, t.name + "." + k.name}))
	}
	d.fault(k.line, "%s %q%s%s", what, k.name, t.in(), hint)
}

var durationType = reflect.TypeFor[time.Duration]()

// value decodes one value of the key name in t.
func (d *decoder) value(t *table, name string, v *value, dst reflect.Value) {
	if dst.Type() == durationType {
		d.duration(t, name, v, dst)
		return
	}
	if text, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.date(t, name, v, text)
		return
	}
	switch dst.Kind() {
	case reflect.Pointer:
		dst.Set(reflect.New(dst.Type().Elem()))
		d.value(t, name, v, dst.Elem())
	case reflect.Struct:
		if d.is(unstable.Table, t, name, v, "a section") {
			d.structure(v.table, dst)
		}
	case reflect.Map:
		if d.is(unstable.Table, t, name, v, "sections with names of their own, like ["+name+".NAME]") {
			d.sections(v.table, dst)
		}
	case reflect.Slice:
		if d.is(unstable.Array, t, name, v, "a list, like [\"...\"]") {
			d.list(t, name, v, dst)
		}
	case reflect.String:
		if d.is(unstable.String, t, name, v, "a string in quotes") {
			dst.SetString(v.text)
		}
	case reflect.Bool:
		if d.is(unstable.Bool, t, name, v, "true or false") {
			dst.SetBool(v.text == "true")
		}
	case reflect.Int, reflect.Int64:
		if d.is(unstable.Integer, t, name, v, "a number") {
			d.integer(t, name, v, dst)
		}
	case reflect.Float64:
		if v.kind == unstable.Integer || d.is(unstable.Float, t, name, v, "a number") {
			d.number(t, name, v, dst)
		}
	default:
		panic("settings: no way to decode into " + dst.Type().String())
	}
}

// is reports whether v is of the kind that the key wants, and else says so.
func (d *decoder) is(want unstable.Kind, t *table, name string, v *value, words string) bool {
	if v.kind == want {
		return true
	}
	d.fault(v.line, "%s%s must be %s, not %s", name, t.in(), words, kindWords(v.kind))
	return false
}

func kindWords(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a string"
	case unstable.Integer:
		return "a number"
	case unstable.Float:
		return "a number with a fraction"
	case unstable.Bool:
		return "true or false"
	case unstable.Array:
		return "a list"
	case unstable.Table:
		return "a section"
	default:
		return "a date or time"
	}
}

// sections decodes the tables of a section with free names, like [pool.NAME].
func (d *decoder) sections(t *table, dst reflect.Value) {
	m := reflect.MakeMapWithSize(dst.Type(), len(t.keys))
	for i := range t.keys {
		k := &t.keys[i]
		elem := reflect.New(dst.Type().Elem()).Elem()
		d.value(t, bareOrQuoted(k.name), &k.value, elem)
		m.SetMapIndex(reflect.ValueOf(k.name), elem)
	}
	dst.Set(m)
}

// list decodes an array. An empty one is not nil: whoever reads it can tell it
// from none.
func (d *decoder) list(t *table, name string, v *value, dst reflect.Value) {
	s := reflect.MakeSlice(dst.Type(), len(v.items), len(v.items))
	for i, item := range v.items {
		d.value(t, "an element of "+name, item, s.Index(i))
	}
	dst.Set(s)
}

func (d *decoder) integer(t *table, name string, v *value, dst reflect.Value) {
	n, err := strconv.ParseInt(v.text, 0, 64)
	if err != nil {
		d.fault(v.line, "%s%s: %s is too large", name, t.in(), v.text)
		return
	}
	dst.SetInt(n)
}

// number decodes what may have a fraction. That TOML knows nan and inf helps
// nobody here.
func (d *decoder) number(t *table, name string, v *value, dst reflect.Value) {
	n, err := strconv.ParseFloat(strings.ReplaceAll(v.text, "_", ""), 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		d.fault(v.line, "%s%s must be a number, not %s", name, t.in(), v.text)
		return
	}
	dst.SetFloat(n)
}

// date decodes a day of the calendar.
func (d *decoder) date(t *table, name string, v *value, dst encoding.TextUnmarshaler) {
	const words = "a date without quotes, like 2026-12-31"
	if !d.is(unstable.LocalDate, t, name, v, words) {
		return
	}
	if err := dst.UnmarshalText([]byte(v.text)); err != nil {
		d.fault(v.line, "%s%s must be %s: %v", name, t.in(), words, err)
	}
}

func (d *decoder) duration(t *table, name string, v *value, dst reflect.Value) {
	const words = `a time with its unit, like "5s" or "20m"`
	if !d.is(unstable.String, t, name, v, words) {
		return
	}
	n, err := time.ParseDuration(v.text)
	if err != nil {
		d.fault(v.line, "%s%s must be %s, not %q", name, t.in(), words, v.text)
		return
	}
	dst.SetInt(int64(n))
}

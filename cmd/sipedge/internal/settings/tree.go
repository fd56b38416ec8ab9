package settings

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A value is one TOML value with the line it stands on.
type value struct {
	kind  unstable.Kind // String, Integer, Float, Bool, the dates, Array, Table
	line  int
	text  string // of what is neither Array nor Table
	items []*value
	table *table
}

// origin says how a table came to be: TOML lets some be added to, and others not.
type origin int

const (
	implied origin = iota // by the header of a table below it
	headed                // by its own header
	dotted                // by a dotted key
	inline                // by { }
)

// A table keeps its keys in the order of the file.
type table struct {
	origin origin
	line   int // of the header; of the first mention, if it has none
	parent *table
	name   string
	keys   []key
	index  map[string]int // made when keys become many
}

type key struct {
	name string
	line int
	value
}

// fewKeys is up to where looking through the keys is cheaper than a map.
const fewKeys = 12

func (t *table) find(name string) *key {
	if t.index != nil {
		if i, ok := t.index[name]; ok {
			return &t.keys[i]
		}
		return nil
	}
	for i := range t.keys {
		if t.keys[i].name == name {
			return &t.keys[i]
		}
	}
	return nil
}

func (t *table) add(k key) *key {
	t.keys = append(t.keys, k)
	if t.index != nil {
		t.index[k.name] = len(t.keys) - 1
	} else if len(t.keys) > fewKeys {
		t.index = make(map[string]int, 2*fewKeys)
		for i := range t.keys {
			t.index[t.keys[i].name] = i
		}
	}
	return &t.keys[len(t.keys)-1]
}

// below makes a table that lies in t.
func (t *table) below(name string, o origin, line int) *table {
	return &table{origin: o, line: line, parent: t, name: name}
}

// seal closes a table that was written as { }: nothing can be added later.
func (t *table) seal() {
	t.origin = inline
	for i := range t.keys {
		if below := t.keys[i].table; below != nil && below.origin == dotted {
			below.seal()
		}
	}
}

// in returns " in [a.b]" for messages, and nothing for the top of the file.
func (t *table) in() string {
	if t.parent == nil {
		return ""
	}
	var path []string
	for ; t.parent != nil; t = t.parent {
		path = append(path, t.name)
	}
	slices.Reverse(path)
	return " in [" + dottedName(path) + "]"
}

func dottedName(path []string) string {
	quoted := make([]string, len(path))
	for i, p := range path {
		quoted[i] = bareOrQuoted(p)
	}
	return strings.Join(quoted, ".")
}

func bareOrQuoted(name string) string {
	if name == "" || strings.ContainsFunc(name, notBare) {
		return strconv.Quote(name)
	}
	return name
}

func notBare(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}

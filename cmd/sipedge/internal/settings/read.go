package settings

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/sipedge/sipedge/allowlists"
)

// reader turns the octets of one file into a tree. It goes on after a fault, so
// that all are found in one go.
type reader struct {
	file     string
	lines    []int // offset of each line's first octet
	base     int   // offset of what the parser was given
	root     *table
	here     *table // where keys go
	muted    bool   // here was defined before, which has been said
	problems []allowlists.Problem
}

// read parses data. The tree is whole if no problem was one of grammar.
func read(file string, data []byte) (root *table, problems []allowlists.Problem, whole bool) {
	r := &reader{file: file, lines: lineStarts(data), root: &table{origin: headed, line: 1}}
	r.here = r.root
	data, hadBOM := bytes.CutPrefix(data, []byte("\ufeff"))
	if hadBOM {
		r.base = len("\ufeff")
	}
	whole = true
	for left := data; ; {
		var p unstable.Parser
		p.Reset(left)
		for p.NextExpression() {
			r.expression(p.Expression())
		}
		if p.Error() == nil {
			return r.root, r.problems, whole
		}
		whole = false
		at := r.syntax(left, p.Error())
		skip := nextHeader(left, at)
		if skip < 0 {
			return r.root, r.problems, whole
		}
		left, r.base = left[skip:], r.base+skip
	}
}

func lineStarts(data []byte) []int {
	lines := []int{0}
	for i, c := range data {
		if c == '\n' {
			lines = append(lines, i+1)
		}
	}
	return lines
}

// line returns the line of an offset in what the parser was given.
func (r *reader) line(offset int) int {
	i, exact := slices.BinarySearch(r.lines, offset+r.base)
	if exact {
		i++
	}
	return i
}

func (r *reader) fault(line int, text string) {
	r.problems = append(r.problems, allowlists.Problem{File: r.file, Line: line, Text: text})
}

// syntax notes a fault of the grammar and returns its offset in left.
func (r *reader) syntax(left []byte, err error) int {
	at := 0
	var fault *unstable.ParserError
	if errors.As(err, &fault) && fault.Highlight != nil {
		// Highlight is a piece of left; both end where the file's memory ends.
		at = min(max(cap(left)-cap(fault.Highlight), 0), len(left))
	}
	r.fault(r.line(at), misreadAt(left, at, err.Error()).String())
	return at
}

// nextHeader finds where reading can go on after a fault: at the next line that
// begins as a table's header does. What is left of the broken table goes
// unchecked; guessing at it would only invent faults.
func nextHeader(data []byte, from int) int {
	for i := from; i < len(data); {
		end := bytes.IndexByte(data[i:], '\n')
		if end < 0 {
			return -1
		}
		i += end + 1
		if line := bytes.TrimLeft(data[i:], " \t"); len(line) > 0 && line[0] == '[' {
			return i
		}
	}
	return -1
}

// expression takes in one header or one key with its value.
func (r *reader) expression(n *unstable.Node) {
	names, line := r.names(n)
	switch n.Kind {
	case unstable.Table:
		r.muted = false
		r.here = r.header(names, line)
	case unstable.ArrayTable:
		r.muted = false
		r.here = r.element(names, line)
	case unstable.KeyValue:
		r.keyValue(r.here, names, line, n.Value())
	}
}

// names returns the parts of a dotted key and the line of the first.
func (r *reader) names(n *unstable.Node) (names []string, line int) {
	for it := n.Key(); it.Next(); {
		part := it.Node()
		if names == nil {
			line = r.line(int(part.Raw.Offset))
		}
		names = append(names, string(part.Data))
	}
	return names, line
}

// descend walks down the tables that a header names before its last part.
func (r *reader) descend(names []string, line int) *table {
	t := r.root
	for i, name := range names {
		k := t.find(name)
		switch {
		case k == nil:
			below := t.below(name, implied, line)
			t.add(key{name, line, value{kind: unstable.Table, line: line, table: below}})
			t = below
		case k.kind == unstable.Table && k.table.origin != inline:
			t = k.table
		case k.kind == unstable.Array && lastTable(k) != nil:
			t = lastTable(k)
		default:
			r.fault(line, dottedName(names[:i+1])+" is no table: it has a value since line "+strconv.Itoa(k.line))
			return nil
		}
	}
	return t
}

// lastTable returns the element of an array of tables that headers add to, or
// nil if k is an array of values.
func lastTable(k *key) *table {
	if len(k.items) == 0 {
		return nil
	}
	if t := k.items[len(k.items)-1].table; t != nil && t.origin == headed {
		return t
	}
	return nil
}

// stray is where keys go that have no place because their header is at fault.
func (r *reader) stray(names []string, line int) *table {
	r.muted = true
	return r.root.below(dottedName(names), headed, line)
}

// header takes in [a.b.c] and returns the table that it begins.
func (r *reader) header(names []string, line int) *table {
	last := len(names) - 1
	t := r.descend(names[:last], line)
	if t == nil {
		return r.stray(names, line)
	}
	k := t.find(names[last])
	switch {
	case k == nil:
		below := t.below(names[last], headed, line)
		t.add(key{names[last], line, value{kind: unstable.Table, line: line, table: below}})
		return below
	case k.kind == unstable.Table && k.table.origin == implied:
		k.table.origin, k.table.line, k.line = headed, line, line
		return k.table
	case k.kind == unstable.Table && k.table.origin == headed:
		r.fault(line, "["+dottedName(names)+"] stands here a second time; the first is in line "+strconv.Itoa(k.table.line))
		r.muted = true
		return k.table
	default:
		r.fault(line, dottedName(names)+" has a value since line "+strconv.Itoa(k.line)+" and cannot be a section as well")
		return r.stray(names, line)
	}
}

// element takes in [[a.b.c]] and returns the new table at the array's end.
func (r *reader) element(names []string, line int) *table {
	last := len(names) - 1
	t := r.descend(names[:last], line)
	if t == nil {
		return r.stray(names, line)
	}
	below := t.below(names[last], headed, line)
	item := &value{kind: unstable.Table, line: line, table: below}
	k := t.find(names[last])
	switch {
	case k == nil:
		t.add(key{names[last], line, value{kind: unstable.Array, line: line, items: []*value{item}}})
	case k.kind == unstable.Array && lastTable(k) != nil:
		k.items = append(k.items, item)
	default:
		r.fault(line, "[["+dottedName(names)+"]] is no list of tables: it is something else since line "+strconv.Itoa(k.line))
		return r.stray(names, line)
	}
	return below
}

// keyValue takes in a.b.c = value within t.
func (r *reader) keyValue(t *table, names []string, line int, n *unstable.Node) {
	for _, name := range names[:len(names)-1] {
		k := t.find(name)
		switch {
		case k == nil:
			below := t.below(name, dotted, line)
			t.add(key{name, line, value{kind: unstable.Table, line: line, table: below}})
			t = below
		case k.kind == unstable.Table && k.table.origin == dotted:
			t = k.table
		default:
			r.fault(line, dottedName(names)+" adds to "+bareOrQuoted(name)+", which is complete since line "+strconv.Itoa(k.line))
			return
		}
	}
	name := names[len(names)-1]
	v := r.value(t, name, line, n)
	if first := t.find(name); first == nil {
		t.add(key{name, line, v})
	} else if !r.muted {
		r.fault(line, "key "+strconv.Quote(name)+t.in()+" stands here a second time; the first is in line "+strconv.Itoa(first.line))
	}
}

// value converts a node; line is that of what it stands in, for arrays, which
// the parser gives no position.
func (r *reader) value(in *table, name string, line int, n *unstable.Node) value {
	switch n.Kind {
	case unstable.Array:
		v := value{kind: unstable.Array, line: line}
		for it := n.Children(); it.Next(); {
			item := r.value(in, name, line, it.Node())
			line = item.line
			v.items = append(v.items, &item)
		}
		return v
	case unstable.InlineTable:
		line = r.line(int(n.Raw.Offset))
		below := in.below(name, dotted, line)
		for it := n.Children(); it.Next(); {
			names, at := r.names(it.Node())
			r.keyValue(below, names, at, it.Node().Value())
		}
		below.seal()
		return value{kind: unstable.Table, line: line, table: below}
	default:
		return value{kind: n.Kind, line: r.line(int(n.Raw.Offset)), text: string(n.Data)}
	}
}

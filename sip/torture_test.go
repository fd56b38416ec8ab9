package sip

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The torture messages of RFC 4475 and, with Content-Length recomputed, of
// RFC 5118. What expected.tsv says of a stream holds for the whole edge; the
// fates below are what this layer has to say.

// judgedAbove are messages that are well-formed here and refused by the proxy:
// 420 for Proxy-Require, 483 for Max-Forwards 0.
var judgedAbove = map[string]bool{"bext01": true, "zeromf": true, "bcast": true}

// A fate is what a Framer says of a whole stream, in words.
func fate(f *Framer, writes [][]byte) string {
	var buf []byte
	var m Message
	var said []string
	for _, w := range writes {
		buf = append(buf, w...)
		for {
			k, n, err := f.Next(buf, &m)
			if err != nil {
				return strings.Join(append(said, fmt.Sprintf("%d+close", err.(*Error).Status)), " ")
			}
			if k == Incomplete {
				break
			}
			if k == Complete {
				said = append(said, verdict(&m))
			}
			buf = buf[n:]
		}
	}
	if len(buf) > 0 {
		said = append(said, "wait")
	}
	return strings.Join(said, " ")
}

func verdict(m *Message) string {
	switch err := m.Fault(); {
	case err != nil && !m.IsRequest():
		return "drop"
	case err != nil:
		return fmt.Sprint(err.Status)
	}
	if m.IsRequest() {
		return "fwd"
	}
	return "match"
}

func wanted(name, listed string) string {
	switch {
	case name == "dblreq":
		// The body is five octets longer than its Content-Length; on a stream they
		// begin a message that says no length.
		return "fwd fwd 400+close"
	case name == "mismatch02":
		return "400" // an edge forwards unknown methods; then the mismatch is the fault
	case name == "bcast":
		return "match" // the proxy finds no transaction for it
	case judgedAbove[name]:
		return "fwd"
	}
	return listed
}

type tortureMessage struct {
	name string
	want string
	raw  []byte
}

func tortureSet(t testing.TB) []tortureMessage {
	t.Helper()
	var set []tortureMessage
	for _, dir := range []string{"rfc4475", "rfc5118"} {
		set = append(set, tortureDir(t, filepath.Join("testdata", dir))...)
	}
	if len(set) != 49+12 {
		t.Fatalf("read %d torture messages, want 61", len(set))
	}
	return set
}

// tortureDir reads the messages that expected.tsv of dir lists.
func tortureDir(t testing.TB, dir string) []tortureMessage {
	table, err := os.Open(filepath.Join(dir, "expected.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	lines := bufio.NewScanner(table)
	lines.Scan()
	column := 0
	for i, title := range strings.Split(lines.Text(), "\t") {
		if title == "stream" {
			column = i
		}
	}
	var set []tortureMessage
	for lines.Scan() {
		row := strings.Split(lines.Text(), "\t")
		raw, err := os.ReadFile(filepath.Join(dir, row[0]))
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(row[0], ".dat")
		set = append(set, tortureMessage{name, wanted(name, row[column]), raw})
	}
	return set
}

func TestTortureMessagesMeetTheirFate(t *testing.T) {
	for _, tt := range tortureSet(t) {
		t.Run(tt.name, func(t *testing.T) {
			if got := fate(new(Framer), [][]byte{tt.raw}); got != tt.want {
				t.Errorf("in one write: %s, want %s", got, tt.want)
			}
			var octets [][]byte
			for i := range tt.raw {
				octets = append(octets, tt.raw[i:i+1])
			}
			if got := fate(new(Framer), octets); got != tt.want {
				t.Errorf("octet by octet: %s, want %s", got, tt.want)
			}
			for i := range tt.raw {
				if got := fate(new(Framer), [][]byte{tt.raw[:i], tt.raw[i:]}); got != tt.want {
					t.Errorf("split at %d: %s, want %s", i, got, tt.want)
				}
			}
		})
	}
}

func TestBadDisplayNameIsRefusedOnceItsEndCame(t *testing.T) {
	raw, err := os.ReadFile("testdata/rfc4475/baddn.dat")
	if err != nil {
		t.Fatal(err)
	}
	if got := fate(new(Framer), [][]byte{raw, []byte("\r\n")}); got != "400" {
		t.Errorf("baddn with its empty line: %s, want 400", got)
	}
}

func TestTortureBodiesLeaveAsTheyCame(t *testing.T) {
	for _, tt := range tortureSet(t) {
		var m Message
		k, n, err := new(Framer).Next(tt.raw, &m)
		if k != Complete || err != nil {
			continue
		}
		out := m.Append(nil, &Edit{MaxForwards: -1})
		_, body, _ := bytes.Cut(tt.raw[:n], []byte("\r\n\r\n"))
		if !bytes.HasSuffix(out, append([]byte("\r\n\r\n"), body...)) {
			t.Errorf("%s: the body changed", tt.name)
		}
	}
}

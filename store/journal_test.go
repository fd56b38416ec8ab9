package store

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"maps"
	"strings"
	"testing"
)

func TestALineSaysOneChange(t *testing.T) {
	line := string(appendLine(nil, Change{Key: "key", Value: []byte("a\tb")}))
	if want := "f5ede63f + key\ta\\tb\n"; line != want {
		t.Errorf("the line is %q, want %q", line, want)
	}
	for name, bad := range map[string]string{
		"nothing":             "",
		"no checksum":         "+ key\tvalue",
		"another checksum":    "00000000 + key\tvalue",
		"in capital letters":  strings.ToUpper(line[:8]) + line[8:len(line)-1],
		"a space more":        " " + line[:len(line)-1],
		"a sign":              signed("* key\tvalue"),
		"no value":            signed("+ key"),
		"a value to delete":   signed("- key\tvalue"),
		"two tabs":            signed("+ key\tva\tlue"),
		"an unknown escape":   signed("+ key\tva\\xlue"),
		"half an escape":      signed("+ key\tvalue\\"),
		"no space":            signed("+key\tvalue"),
		"only a sign":         signed("+"),
		"a checksum too long": "0" + signed("+ key\tvalue"),
	} {
		if c, err := parseLine([]byte(bad)); err == nil {
			t.Errorf("%s: %q is read as %+v", name, bad, c)
		}
	}
}

// signed returns a line that says what with a good checksum.
func signed(what string) string {
	return fmt.Sprintf("%08x %s", crc32.Checksum([]byte(what), castagnoli), what)
}

// FuzzJournal reads what a disk may have made of a journal. What is read is
// within the limits, and written and read again it is the same.
func FuzzJournal(f *testing.F) {
	good := []byte(firstLine)
	for _, c := range []Change{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("x\ny\\")}, {Key: "a", Delete: true}, {Key: "c"}} {
		good = appendLine(good, c)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(bytes.Replace(good, []byte("x"), []byte("y"), 1))
	f.Add([]byte("sipedge journal 2\n"))
	f.Add([]byte(firstLine + strings.Repeat("x", 300) + "\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &Bucket{lim: Limits{Records: 4, Key: 8, Value: 16}, records: make(map[string][]byte)}
		found, err := read(bytes.NewReader(data), b.lim.line(), b.take, func(string) {})
		if err != nil {
			return
		}
		if found.whole+found.torn != int64(len(data)) {
			t.Errorf("%d octets whole and %d torn of %d", found.whole, found.torn, len(data))
		}
		if len(b.records) > b.lim.Records {
			t.Errorf("%d records", len(b.records))
		}
		again := []byte(firstLine)
		for key, value := range b.records {
			if !b.lim.fits(key, value) {
				t.Errorf("record %q %q is beyond the limits", key, value)
			}
			again = appendLine(again, Change{Key: key, Value: value})
		}
		if want := b.live + int64(len(firstLine)); int64(len(again)) != want {
			t.Errorf("written anew it has %d octets, want %d", len(again), want)
		}
		c := &Bucket{lim: b.lim, records: make(map[string][]byte)}
		if found, err := read(bytes.NewReader(again), b.lim.line(), c.take, func(string) {}); err != nil || found.damaged != 0 || found.torn != 0 {
			t.Errorf("read again: %+v, %v", found, err)
		}
		if !maps.EqualFunc(b.records, c.records, bytes.Equal) {
			t.Errorf("read again: %q, want %q", c.records, b.records)
		}
	})
}

package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
)

// A journal is text: a first line that says what it is, and then one line for
// each change,
//
//	CHECKSUM + KEY tab VALUE
//	CHECKSUM - KEY
//
// where the checksum, CRC-32C in eight hexadecimal digits, is of all that
// follows its space. Line ends, tabs and backslashes within key and value are
// written as \n, \t and \\, so a line end is always the end of a record: behind
// damage the next record is found with certainty, and no value, whoever made
// it up, can look like a record. A length in front would be a second opinion on
// where a record ends, and behind damage it would be the wrong one.
const (
	firstLine    = "sipedge journal 1\n"
	firstWords   = "sipedge journal "
	checksumSize = 8
	// maxOverhead is what a line has beside key and value.
	maxOverhead = checksumSize + len(" + ") + len("\t\n")
)

// A Change is one record that is put, or deleted.
type Change struct {
	Key    string
	Value  []byte
	Delete bool
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errLine = errors.New("store: line is damaged")

// appendLine appends the line that says c.
func appendLine(dst []byte, c Change) []byte {
	start := len(dst)
	dst = append(dst, "00000000 "...)
	if c.Delete {
		dst = append(dst, "- "...)
		dst = appendEscaped(dst, c.Key)
	} else {
		dst = append(dst, "+ "...)
		dst = appendEscaped(dst, c.Key)
		dst = append(dst, '\t')
		dst = appendEscaped(dst, c.Value)
	}
	sum := crc32.Checksum(dst[start+checksumSize+1:], castagnoli)
	copy(dst[start:], fmt.Sprintf("%08x", sum))
	return append(dst, '\n')
}

func appendEscaped[T string | []byte](dst []byte, s T) []byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\':
			dst = append(dst, `\\`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// lineSize returns how long the line is that puts a record.
func lineSize(key string, value []byte) int64 {
	n := maxOverhead + len(key) + len(value)
	for _, c := range []byte(`\` + "\n\t") {
		n += strings.Count(key, string(c)) + bytes.Count(value, []byte{c})
	}
	return int64(n)
}

// parseLine reads a line, without its end. There is one line for each change:
// whatever is not just what appendLine writes is damaged.
func parseLine(line []byte) (Change, error) {
	sum, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(sum) != checksumSize || len(rest) < 2 || rest[1] != ' ' {
		return Change{}, errLine
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(rest, castagnoli) || string(bytes.ToLower(sum)) != string(sum) {
		return Change{}, errLine
	}
	key, value, put := bytes.Cut(rest[2:], []byte("\t"))
	if put != (rest[0] == '+') || !put && rest[0] != '-' {
		return Change{}, errLine
	}
	k, okKey := unescape(key)
	v, okValue := unescape(value)
	if !okKey || !okValue {
		return Change{}, errLine
	}
	return Change{Key: string(k), Value: v, Delete: !put}, nil
}

// unescape returns a copy of s as it was before it was written.
func unescape(s []byte) ([]byte, bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\t' || c == '\n' {
			return nil, false
		}
		if c == '\\' {
			i++
			if i == len(s) {
				return nil, false
			}
			switch s[i] {
			case '\\':
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			default:
				return nil, false
			}
		}
		out = append(out, c)
	}
	return out, true
}

// A reading is what was found in a journal beside its records.
type reading struct {
	whole   int64 // octets up to the last line end; what follows is torn
	torn    int64 // octets of the torn end
	damaged int   // lines that are none
	first   int64 // where the first of these is
}

// spoil notes that the line at offset at is none.
func (r *reading) spoil(at int64) {
	if r.damaged == 0 {
		r.first = at
	}
	r.damaged++
}

// legibleKey returns the key that a damaged line seems to be about, "" if none
// can be made out. It proves nothing.
func legibleKey(line []byte) string {
	_, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 3 {
		return ""
	}
	_, rest, ok = bytes.Cut(rest, []byte(" "))
	key, _, _ := bytes.Cut(rest, []byte("\t"))
	if key, good := unescape(key); ok && good {
		return string(key)
	}
	return ""
}

// read reads a journal. Apply gets each change in turn and says whether it can
// be one of this bucket; what cannot is counted as damage, and lost is told what
// it seems to be about. No line is longer than limit; of a longer one no more than
// that is ever held.
func read(from io.Reader, limit int, apply func(Change) bool, lost func(key string)) (reading, error) {
	var found reading
	in := bufio.NewReaderSize(from, max(limit, 4096))
	for at, n := int64(0), int64(0); ; at += n {
		line, err := in.ReadSlice('\n')
		n = int64(len(line))
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = in.ReadSlice('\n')
			n += int64(len(line))
		}
		if errors.Is(err, io.EOF) {
			found.whole, found.torn = at, n
			if at == 0 {
				found.spoil(0) // a journal comes into being with its first line
			}
			return found, nil
		}
		if err != nil {
			return found, err
		}
		if at == 0 {
			if err := found.begin(line, long); err != nil {
				return found, err
			}
			continue
		}
		c, err := parseLine(line[:len(line)-1])
		switch {
		case long:
			found.spoil(at)
		case err != nil || !apply(c):
			found.spoil(at)
			lost(legibleKey(line[:len(line)-1]))
		}
	}
}

// begin judges the first line. A journal of a later version is nothing that
// this one may touch; any other first line is damage, and what follows may
// be good.
func (r *reading) begin(line []byte, long bool) error {
	if string(line) == firstLine {
		return nil
	}
	if version, ok := bytes.CutPrefix(line, []byte(firstWords)); ok && !long {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(version)), 10, 32); err == nil {
			return fmt.Errorf("%w: %d", ErrVersion, n)
		}
	}
	r.spoil(0)
	return nil
}

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A refusedRequest is what was written down of a request that got a reference.
type refusedRequest struct {
	Ref     string    `json:"ref"`
	Time    time.Time `json:"time"`
	Message string    `json:"msg"`
	Role    string    `json:"role"`
	Peer    string    `json:"peer"`
	Proof   string    `json:"proof,omitempty"` // of a bridge
	Remote  string    `json:"remote"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Method  string    `json:"method"`
	CallID  string    `json:"call_id"`
	Status  int       `json:"status"`
	Reason  string    `json:"reason"`
	Rule    string    `json:"rule"`
	Target  string    `json:"target"`
	Missed  int       `json:"missed"`
}

// refLength is how many letters and digits a reference has.
const refLength = 8

// readRef brings a reference into the one form that the edge writes, from what
// people copy or read out on the telephone: its letters are none that are
// mistaken for digits, so a mistake can be undone.
func readRef(s string) (string, error) {
	s = strings.ToUpper(strings.Trim(s, " \t\"';<>."))
	s = strings.TrimPrefix(s, "REF=")
	s = strings.NewReplacer("O", "0", "I", "1", "L", "1", "U", "V", "-", "", " ", "").Replace(s)
	if len(s) != refLength || strings.Trim(s, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "" {
		return "", fmt.Errorf("--ref: %q is not a reference: eight letters and digits, as behind ref= in the Warning", s)
	}
	return s, nil
}

// errNoRecord is that nothing is known of a reference.
var errNoRecord = errors.New("not found")

// find looks a reference up: in a log, or in what the edge keeps.
func (c explainCommand) find(ref string) (refusedRequest, error) {
	switch {
	case c.Log == "-":
		return findRef(os.Stdin, ref)
	case c.Log != "":
		return findRefIn(c.Log, ref)
	}
	conf, err := c.edgeConfig()
	if err != nil {
		return refusedRequest{}, err
	}
	if conf.StateDir == "" {
		return refusedRequest{}, exit{exitConfiguration, fmt.Errorf("%s: state_dir is missing; what was refused is kept there", c.Config)}
	}
	dir := filepath.Join(stateDir(conf), auditFolder)
	// The newest first. They are opened one after the other while the edge may
	// give them other numbers: so one may be read twice, but none is missed.
	for n := range auditFiles {
		r, err := findRefIn(auditPath(dir, n), ref)
		if err == nil || !errors.Is(err, errNoRecord) && !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
	}
	return refusedRequest{}, errNoRecord
}

func findRefIn(file, ref string) (refusedRequest, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrPermission) {
		return refusedRequest{}, exit{exitNotPermitted, err}
	}
	if err != nil {
		return refusedRequest{}, err
	}
	defer f.Close()
	return findRef(f, ref)
}

// findRef returns the last record of a log that has the reference.
func findRef(r io.Reader, ref string) (found refusedRequest, err error) {
	err = errNoRecord
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 1<<20)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(ref)) {
			continue
		}
		if one, ok := readRecord(lines.Text()); ok && one.Ref == ref {
			found, err = one.safe(), nil
		}
	}
	if lines.Err() != nil {
		return found, fmt.Errorf("read the log: %w", lines.Err())
	}
	return found, err
}

// safe makes what others wrote safe to print, in JSON as well: a log may come
// from anywhere.
func (r refusedRequest) safe() refusedRequest {
	for _, s := range []*string{&r.Message, &r.Role, &r.Peer, &r.Proof, &r.Remote, &r.From, &r.To, &r.Method, &r.CallID, &r.Reason, &r.Rule, &r.Target} {
		q := strconv.QuoteToASCII(*s)
		*s = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	}
	return r
}

// readRecord reads a line of a log, in JSON or as text; what a collector of logs
// put before it is passed over.
func readRecord(line string) (r refusedRequest, ok bool) {
	if i := strings.IndexByte(line, '{'); i >= 0 && json.Unmarshal([]byte(line[i:]), &r) == nil {
		return r, true
	}
	i := strings.Index(line, "time=")
	if i < 0 {
		return r, false
	}
	attrs := textAttrs(line[i:])
	r = refusedRequest{
		Ref: attrs["ref"], Message: attrs["msg"], Role: attrs["role"], Peer: attrs["peer"], Proof: attrs["proof"], Remote: attrs["remote"],
		From: attrs["from"], To: attrs["to"], Method: attrs["method"], CallID: attrs["call_id"],
		Reason: attrs["reason"], Rule: attrs["rule"], Target: attrs["target"],
	}
	r.Time, _ = time.Parse(time.RFC3339Nano, attrs["time"])
	r.Status, _ = strconv.Atoi(attrs["status"])
	r.Missed, _ = strconv.Atoi(attrs["missed"])
	return r, true
}

// textAttrs reads key=value and key="quoted value".
func textAttrs(line string) map[string]string {
	attrs := make(map[string]string)
	for line != "" {
		key, rest, ok := strings.Cut(line, "=")
		if !ok {
			break
		}
		value, after, _ := strings.Cut(rest, " ")
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			value, _ = strconv.Unquote(quoted)
			after = strings.TrimPrefix(rest[len(quoted):], " ")
		}
		attrs[key], line = value, after
	}
	return attrs
}

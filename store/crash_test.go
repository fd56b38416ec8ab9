package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A machine may stop at any octet of a write. What was there before that write
// is there afterwards, and the next write works.
func TestAJournalCutOffAnywhere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := bucket(t, s, some)
	states := map[int64]map[string]string{}
	for i := range 6 {
		if i == 4 {
			if err := b.Delete("key0"); err != nil {
				t.Fatal(err)
			}
		} else {
			put(t, b, fmt.Sprintf("key%d", i%3), fmt.Sprintf("value\n%d", i))
		}
		states[b.size] = content(b)
	}
	s.Close()
	whole, err := os.ReadFile(filepath.Join(dir, "things.journal"))
	if err != nil {
		t.Fatal(err)
	}
	states[int64(len(firstLine))] = map[string]string{}
	want := map[string]string{}
	for n := range len(whole) + 1 {
		if state, ok := states[int64(n)]; ok {
			want = state
		}
		cut := t.TempDir()
		if err := os.WriteFile(filepath.Join(cut, "things.journal"), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, cut)
		b := bucket(t, s, some)
		if !maps.Equal(content(b), want) {
			t.Errorf("cut off at %d: %q, want %q", n, content(b), want)
		}
		if torn := n < len(firstLine); (b.Damage() != nil) != torn {
			t.Errorf("cut off at %d: damage %v", n, b.Damage())
		}
		put(t, b, "more", "value")
		s.Close()
		after := maps.Clone(want)
		after["more"] = "value"
		if got := reopened(t, cut, some); !maps.Equal(got, after) {
			t.Errorf("cut off at %d and written on: %q, want %q", n, got, after)
		}
	}
}

// Whatever octet the disk has changed, all other records are there, the journal
// is kept as it was found, and it is reported once.
func TestADamagedJournal(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := bucket(t, s, some)
	for i := range 4 {
		put(t, b, fmt.Sprintf("key%d", i), "value")
	}
	s.Close()
	whole, err := os.ReadFile(filepath.Join(dir, "things.journal"))
	if err != nil {
		t.Fatal(err)
	}
	for at := range len(whole) - 1 { // without its last line end it is torn
		bad := append([]byte(nil), whole...)
		bad[at] ^= 1 << (at % 8)
		testDamaged(t, at, bad)
	}
}

func testDamaged(t *testing.T, at int, bad []byte) {
	dir := t.TempDir()
	path := filepath.Join(dir, "things.journal")
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	b, err := s.Bucket("things", some)
	if errors.Is(err, ErrVersion) && at < len(firstLine) {
		return // another digit: a later version
	}
	if err != nil {
		t.Fatal(err)
	}
	d := b.Damage()
	if d == nil || d.Lines < 1 || d.Lines > 2 || d.First > int64(at) || d.Err != nil {
		t.Fatalf("octet %d is damaged: Damage = %+v", at, d)
	}
	if kept, _ := os.ReadFile(d.Kept); string(kept) != string(bad) {
		t.Errorf("octet %d: %q is kept aside, want %q", at, kept, bad)
	}
	if n := b.Len(); n < 2 || n > 4 { // a line end takes two lines with it, at most
		t.Errorf("octet %d is damaged: %d records, want 2 to 4", at, n)
	}
	want := content(b)
	s.Close()
	if got := reopened(t, dir, some); !maps.Equal(got, want) {
		t.Errorf("octet %d: after a restart %q, want %q", at, got, want)
	}
}

func TestNoMoreThanEightDamagedJournalsAreKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "things.journal")
	for i := range maxKept + 2 {
		if err := os.WriteFile(path, []byte(firstLine+"bad\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if i == 3 { // a second look at what could not be mended takes no second copy
			if err := os.Link(path, filepath.Join(dir, "things.damaged-4")); err != nil {
				t.Fatal(err)
			}
		}
		s := open(t, dir)
		b := bucket(t, s, some)
		if d := b.Damage(); d == nil || (d.Err != nil) != (i >= maxKept) {
			t.Errorf("damage %d: %v", i, d)
		}
		put(t, b, "key", "value")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	kept, _ := filepath.Glob(filepath.Join(dir, "*damaged*"))
	if len(kept) != maxKept {
		t.Errorf("kept %q", kept)
	}
}

// What was left when the machine stopped while a journal was written anew is in
// nobody's way.
func TestANewJournalThatWasNotFinished(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, bucket(t, s, some), "key", "value")
	s.Close()
	left := filepath.Join(dir, "things.journal.new")
	if err := os.WriteFile(left, []byte("sipedge jour"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	b := bucket(t, s, some)
	if err := b.rewrite(b.records); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got := reopened(t, dir, some); got["key"] != "value" {
		t.Errorf("read %q", got)
	}
}

// role tells the test binary, started again, what to be.
const role = "SIPEDGE_STORE_TEST"

// again starts this test binary as one of the roles below.
func again(t *testing.T, as, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestRole$")
	cmd.Env = append(os.Environ(), role+"="+as, role+"_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestRole is not a test but what other tests start.
func TestRole(t *testing.T) {
	dir := os.Getenv(role + "_DIR")
	switch os.Getenv(role) {
	case "":
		t.Skip("started by other tests")
	case "writer":
		writeForEver(dir)
	case "full disk":
		if err := fillDisk(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(0)
}

var busy = Limits{Records: 50, Key: 64, Value: 4 << 10}

// writeForEver puts records and says so, until it is killed.
func writeForEver(dir string) {
	s, err := Open(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	b, err := s.Bucket("things", busy)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("key%d", i%40)
		if err := b.Put(key, []byte(strings.Repeat(fmt.Sprint(i, "\n"), 300))); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("put", key, i)
	}
}

// A process that is killed at any moment loses nothing that Put had returned
// for, whether it appends or compacts.
func TestAKilledWriter(t *testing.T) {
	dir := t.TempDir()
	for range 5 {
		cmd := again(t, "writer", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make(map[string]int)
		wanted := 50 + rand.IntN(300)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var key string
			var i int
			if _, err := fmt.Sscanf(lines.Text(), "put %s %d", &key, &i); err != nil {
				t.Errorf("the writer said %q", lines.Text())
				break
			}
			if said[key] = i; i == wanted {
				cmd.Process.Kill()
			}
		}
		io.Copy(io.Discard, out)
		cmd.Wait()
		checkSaid(t, reopened(t, dir, busy), said)
	}
}

// checkSaid compares what is there with what was said to be: the same, or one
// that was put later.
func checkSaid(t *testing.T, got map[string]string, said map[string]int) {
	t.Helper()
	if len(said) == 0 {
		t.Error("the writer put nothing")
	}
	for key, i := range said {
		var have int
		if _, err := fmt.Sscan(got[key], &have); err != nil || have < i {
			t.Errorf("%s was put as %d and is %.20q", key, i, got[key])
		}
		if want := strings.Repeat(fmt.Sprint(have, "\n"), 300); got[key] != want {
			t.Errorf("%s is not whole: %d octets, want %d", key, len(got[key]), len(want))
		}
	}
}

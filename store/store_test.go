package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var some = Limits{Records: 100, Key: 64, Value: 1024}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func bucket(t *testing.T, s *Store, lim Limits) *Bucket {
	t.Helper()
	b, err := s.Bucket("things", lim)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, b *Bucket, key, value string) {
	t.Helper()
	if err := b.Put(key, []byte(value)); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

// content returns all records of b.
func content(b *Bucket) map[string]string {
	all := make(map[string]string)
	b.Each(func(key string, value []byte) bool {
		all[key] = string(value)
		return true
	})
	return all
}

// reopened returns what is in the bucket after a restart.
func reopened(t *testing.T, dir string, lim Limits) map[string]string {
	t.Helper()
	s := open(t, dir)
	defer s.Close()
	b := bucket(t, s, lim)
	if d := b.Damage(); d != nil {
		t.Errorf("after a restart: %v", d)
	}
	return content(b)
}

func TestRecordsAreThereAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "store")
	s := open(t, dir)
	b := bucket(t, s, some)
	want := map[string]string{
		"plain":            "value",
		"empty":            "",
		"a\tb\nc\\d":       "lines\nand\ttabs\\n and \\ more\\",
		"octets":           "\x00\xff\r\n",
		"like a record":    "x\n00000000 + y\tz\n",
		"fabrikam.öxample": "ü",
	}
	for key, value := range want {
		put(t, b, key, value)
	}
	put(t, b, "changed", "once")
	put(t, b, "changed", "twice")
	want["changed"] = "twice"
	put(t, b, "gone", "soon")
	if err := b.Delete("gone"); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete("never there"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if diff := cmp.Diff(want, content(b)); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	if value, ok := b.Get("empty"); !ok || value == nil {
		t.Errorf("Get of an empty value = %v, %v", value, ok)
	}
	if _, ok := b.Get("gone"); ok || b.Len() != len(want) {
		t.Errorf("gone is there: %v; Len = %d, want %d", ok, b.Len(), len(want))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, reopened(t, dir, some)); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
}

func TestNobodyElseMayRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	put(t, bucket(t, s, some), "key", "value")
	for path, want := range map[string]os.FileMode{"": 0o700, "things.journal": 0o600, lockName: 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", path, got, want)
		}
	}
}

func TestAFolderThatOthersMayChangeIsNoStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o720, 0o702, 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrForeign) {
			t.Errorf("mode %o: %v, want %v", mode, err, ErrForeign)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, dir).Close()
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrForeign) {
		t.Errorf("somebody else's: %v, want %v", err, ErrForeign)
	}
}

// An administrator who cleans up while the edge runs must not cost what is decided
// afterwards, without anybody being told.
func TestAJournalThatWasTakenAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	b := bucket(t, s, some)
	put(t, b, "one", "value")
	journal := filepath.Join(dir, "things.journal")
	if err := os.Remove(journal); err != nil {
		t.Fatal(err)
	}
	put(t, b, "two", "value")
	if err := os.WriteFile(journal+".old", []byte(firstLine), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(journal+".old", journal); err != nil {
		t.Fatal(err)
	}
	put(t, b, "three", "value")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := b.Put("four", []byte("value")); err == nil {
		t.Error("a record is said to be kept where there is no folder")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, b, "five", "value")
	want := content(b)
	s.Close()
	if got := reopened(t, dir, some); len(want) != 4 || !maps.Equal(got, want) {
		t.Errorf("after a restart %q, want %q", got, want)
	}
}

func TestOneProcessWrites(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("the second Open: %v, want %v", err, ErrLocked)
	}
	first.Close()
	open(t, dir)
}

func TestReadingBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	w := bucket(t, open(t, dir), some)
	put(t, w, "key", "value")
	path := filepath.Join(dir, "things.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := append(whole, "0123"...) // as in the middle of a write
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := bucket(t, s, some)
	if got := content(r); got["key"] != "value" || r.Damage() != nil {
		t.Errorf("read %v, damage %v", got, r.Damage())
	}
	if err := r.Put("a", nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Put: %v, want %v", err, ErrReadOnly)
	}
	if after, _ := os.ReadFile(path); string(after) != string(torn) {
		t.Error("reading changed the journal")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadingWhatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	s, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b := bucket(t, s, some); b.Len() != 0 {
		t.Errorf("Len = %d", b.Len())
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("reading made the folder")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReadOnly(file); err == nil {
		t.Error("a file is taken for a folder")
	}
}

func TestLimitsHold(t *testing.T) {
	lim := Limits{Records: 3, Key: 4, Value: 5}
	dir := t.TempDir()
	s := open(t, dir)
	b := bucket(t, s, lim)
	for _, key := range []string{"a", "b", "c"} {
		put(t, b, key, "12345")
	}
	for _, tt := range []struct {
		name    string
		changes []Change
		want    error
	}{
		{"one record more", []Change{{Key: "d"}}, ErrFull},
		{"a key too long", []Change{{Key: "abcde"}}, ErrTooLarge},
		{"no key", []Change{{Key: ""}}, ErrTooLarge},
		{"a value too long", []Change{{Key: "a", Value: []byte("123456")}}, ErrTooLarge},
		{"too many in between", []Change{{Key: "d"}, {Key: "a", Delete: true}}, ErrFull},
		{"one that does not fit after one that does", []Change{{Key: "a", Value: []byte("new")}, {Key: "d"}}, ErrFull},
		{"one more after one less", []Change{{Key: "a", Delete: true}, {Key: "d", Value: []byte("4")}}, nil},
		{"the same key twice", []Change{{Key: "b", Delete: true}, {Key: "b", Value: []byte("b")}, {Key: "b", Value: []byte("B")}}, nil},
	} {
		if err := b.Write(tt.changes...); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	want := map[string]string{"b": "B", "c": "12345", "d": "4"}
	if diff := cmp.Diff(want, content(b)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.Close()
	if diff := cmp.Diff(want, reopened(t, dir, lim)); diff != "" {
		t.Errorf("after a restart, -want +got:\n%s", diff)
	}
}

func TestBucketsThatAreRefused(t *testing.T) {
	s := open(t, t.TempDir())
	for _, name := range []string{"", "..", "a/b", "A", "a.b", "-a", strings.Repeat("a", 65)} {
		if _, err := s.Bucket(name, some); err == nil {
			t.Errorf("Bucket(%q) is made", name)
		}
	}
	for _, lim := range []Limits{{}, {1, 1, 0}, {1, 1, maxRecord + 1}, {-1, 1, 1}} {
		if _, err := s.Bucket("things", lim); err == nil {
			t.Errorf("a bucket with limits %+v is made", lim)
		}
	}
	b := bucket(t, s, some)
	if again := bucket(t, s, some); again != b {
		t.Error("asked again, it is another bucket")
	}
	if _, err := s.Bucket("things", Limits{1, 1, 1}); err == nil {
		t.Error("one bucket has two limits")
	}
	s.Close()
	if _, err := s.Bucket("others", some); !errors.Is(err, ErrClosed) {
		t.Errorf("Bucket after Close: %v", err)
	}
	if err := b.Put("key", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Put after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func TestAJournalOfALaterVersionIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "things.journal")
	if err := os.WriteFile(path, []byte("sipedge journal 2\nwhatever\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := s.Bucket("things", some); !errors.Is(err, ErrVersion) {
		t.Errorf("Bucket: %v, want %v", err, ErrVersion)
	}
	if after, _ := os.ReadFile(path); string(after) != "sipedge journal 2\nwhatever\n" {
		t.Errorf("the journal is now %q", after)
	}
}

// A journal stays within a small multiple of what it says, however often that
// changes.
func TestAJournalIsCompacted(t *testing.T) {
	lim := Limits{Records: 10, Key: 16, Value: 16 << 10}
	dir := t.TempDir()
	s := open(t, dir)
	b := bucket(t, s, lim)
	want, largest := make(map[string]string), int64(0)
	for i := range 200 {
		key, value := fmt.Sprint(i%10), strings.Repeat(string(rune('a'+i%26)), 4<<10)
		put(t, b, key, value)
		want[key] = value
		info, err := os.Stat(filepath.Join(dir, "things.journal"))
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, info.Size())
		if b.size != info.Size() {
			t.Fatalf("size is taken to be %d, and is %d", b.size, info.Size())
		}
	}
	if limit := int64(160 << 10); largest > limit {
		t.Errorf("10 records of 4 KiB took up to %d octets, want at most %d", largest, limit)
	}
	exact := int64(0)
	for key, value := range want {
		exact += int64(len(appendLine(nil, Change{Key: key, Value: []byte(value)})))
	}
	if b.live != exact {
		t.Errorf("live is %d, want %d", b.live, exact)
	}
	s.Close()
	if diff := cmp.Diff(want, reopened(t, dir, lim)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhatIsSoAlreadyIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	b := bucket(t, open(t, dir), some)
	put(t, b, "key", "value")
	before := b.size
	put(t, b, "key", "value")
	if b.size != before {
		t.Errorf("the journal grew from %d to %d", before, b.size)
	}
}

func TestManyAtOnce(t *testing.T) {
	lim := Limits{Records: 1000, Key: 64, Value: 1024}
	dir := t.TempDir()
	s := open(t, dir)
	b := bucket(t, s, lim)
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 25 {
				if err := b.Put(fmt.Sprintf("%d-%d", w, i), []byte("value")); err != nil {
					t.Error(err)
				}
				b.Get(fmt.Sprintf("%d-%d", (w+1)%4, i))
				b.Each(func(string, []byte) bool { return b.Len() < 50 })
			}
		})
	}
	group.Wait()
	s.Close()
	if got := len(reopened(t, dir, lim)); got != 100 {
		t.Errorf("%d records, want 100", got)
	}
}

func TestEachMayChangeTheBucket(t *testing.T) {
	b := bucket(t, open(t, t.TempDir()), some)
	for i := range 5 {
		put(t, b, fmt.Sprint(i), "value")
	}
	var seen []string
	b.Each(func(key string, _ []byte) bool {
		seen = append(seen, key)
		if err := b.Delete(key); err != nil {
			t.Error(err)
		}
		return key != "3"
	})
	if want := []string{"0", "1", "2", "3"}; !slices.Equal(seen, want) || !maps.Equal(content(b), map[string]string{"4": "value"}) {
		t.Errorf("Each went over %v and left %v", seen, content(b))
	}
}

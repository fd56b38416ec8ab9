package settings

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
)

// folder writes files into a folder of the test and returns the main one's path.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, filepath.Join(dir, name), text)
	}
	return filepath.Join(dir, "sipedge.toml")
}

// put replaces a file as a careful editor does.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func nothingWrong(*Settings) []error { return nil }

func texts(errs []error) []string {
	var list []string
	for _, err := range errs {
		list = append(list, err.Error())
	}
	return list
}

func TestLoadReadsBothFiles(t *testing.T) {
	path := folder(t, map[string]string{
		"sipedge.toml": `
name      = "edge1.example.com"
domains   = ["example.com"]
[limits]
per_source = false
[listener.federation]
role = "federation"
address = "203.0.113.10:5061"
[dns]
allowed_ranges = ["10.0.0.0/8"]
`,
		"partners.toml": `[partner."fabrikam.example"]`,
	})
	s, errs := Load(path, nil, nothingWrong)
	if errs != nil {
		t.Fatal(errs)
	}
	if s.Edge.Name != "edge1.example.com" || *s.Edge.Limits.PerSource || s.Edge.Listeners["federation"].Line != 6 ||
		s.Edge.Dir != filepath.Dir(path) || s.Edge.File != "sipedge.toml" {
		t.Errorf("sipedge.toml was read as %+v", s.Edge)
	}
	if n, _ := s.Partners.Len(); n != 1 || s.NoPartners {
		t.Errorf("there are %d partners, want 1", n)
	}
}

func TestLoadWithoutPartnersAllowsNobody(t *testing.T) {
	s, errs := Load(folder(t, map[string]string{"sipedge.toml": `domains = ["example.com"]`}), nil, nothingWrong)
	if errs != nil {
		t.Fatal(errs)
	}
	if !s.NoPartners {
		t.Error("Load does not say that there is no list")
	}
	v := s.Partners.Permit(federation.Request{Remote: []byte("fabrikam.example"), Method: []byte("MESSAGE")})
	if v.Reason != allowlists.PartnerNotAllowed || v.Rule.String() != "[federation] unlisted (partners.toml)" {
		t.Errorf("Permit = %s by %s", v.Reason, v.Rule)
	}
}

func TestLoadListsTheFaultsOfAllInOrder(t *testing.T) {
	path := folder(t, map[string]string{
		"sipedge.toml": "nome = 'x'\ndomains = ['example.com']\n[listener.a]\nlisten = ':5061'\n",
		"partners.toml": `[partner."example.com"]
[partner."fabrikam.example"]
pier_name = "x"
[partner."contoso.example"]
direction = "up"
`,
	})
	check := func(*Settings) []error {
		return []error{
			errors.New("without position"),
			allowlists.Problem{File: "sipedge.toml", Line: 3, Text: "listener has no role"},
		}
	}
	s, errs := Load(path, nil, check)
	want := []string{
		`sipedge.toml:1: unknown key "nome"; did you mean "name"?`,
		`sipedge.toml:3: listener has no role`,
		`sipedge.toml:4: unknown key "listen" in [listener.a]; did you mean "address"?`,
		`partners.toml:1: partner "example.com" is a domain of our own: it lives in a pool`,
		`partners.toml:3: unknown key "pier_name" in [partner."fabrikam.example"]; did you mean "peer_name"?`,
		`partners.toml:4: partner "contoso.example": direction "up" is none of "both", "in", "out"`,
		`without position`,
	}
	if got := texts(errs); s != nil || !slices.Equal(got, want) {
		t.Errorf("Load (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestLoadDoesNotHoldAgainstAFileWhatItCouldNotRead(t *testing.T) {
	path := folder(t, map[string]string{"sipedge.toml": "name = \n", "partners.toml": "[partner.\n[blocked.'a b']\n"})
	_, errs := Load(path, nil, func(*Settings) []error {
		return []error{errors.New("no name")}
	})
	want := []string{
		"sipedge.toml:1: name has no value",
		"partners.toml:1: [partner. cannot be read: the name of a section ends with ]",
	}
	if got := texts(errs); !slices.Equal(got, want) {
		t.Errorf("Load (-want +got):\n%s", cmp.Diff(want, got))
	}
}

func TestLoadTakesOnlyFiles(t *testing.T) {
	dir := t.TempDir()
	if _, errs := Load(filepath.Join(dir, "sipedge.toml"), nil, nothingWrong); len(errs) != 1 || !errors.Is(errs[0], fs.ErrNotExist) {
		t.Errorf("Load of nothing says %v", errs)
	}
	if _, errs := Load(dir, nil, nothingWrong); len(errs) != 1 || !strings.Contains(errs[0].Error(), "not a regular file") {
		t.Errorf("Load of a folder says %v", errs)
	}
	big := filepath.Join(dir, "big.toml")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, errs := Load(big, nil, nothingWrong); len(errs) != 1 || !strings.Contains(errs[0].Error(), "larger than 64 MiB") {
		t.Errorf("Load of a large file says %v", errs)
	}
}

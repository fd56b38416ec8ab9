package settings

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sipedge/sipedge/federation"
)

type sample struct {
	Name      string          `toml:"name"`
	NameLine  int             `toml:"name,line"`
	Domains   []string        `toml:"domains"`
	On        *bool           `toml:"on"`
	Count     int             `toml:"count"`
	Wait      time.Duration   `toml:"wait"`
	Pools     map[string]pool `toml:"pool"`
	DNS       resolver        `toml:"dns"`
	Rows      []pool          `toml:"row"`
	Forgotten string          `toml:"-"`
	Rate      float64         `toml:"rate,positive"`
	Most      int             `toml:"most,positive"`
	Until     federation.Date `toml:"until"`
}

type pool struct {
	Address string   `toml:"address"`
	Servers []string `toml:"servers"`
	Line    int      `toml:",line"`
}

type resolver struct {
	Servers []string `toml:"servers"`
	Sub     struct {
		Deep int `toml:"deep"`
	} `toml:"sub"`
	Line int `toml:",line"`
}

func TestDecodeFillsTheStructAndItsLines(t *testing.T) {
	const file = "\ufeff# comment\r\n" + `name = "edge1"
domains = [
  "a.example", # one
  "b.example",
]
on = false
count = 1_000
wait = "1m30s"
rate = 0.5
most = 7
until = 2028-02-29
pool.dotted.address = "192.0.2.9:1"
pool.in = { address = "192.0.2.8:1", servers = [] }

[pool."one.two"]
address = '192.0.2.1:1'
[dns.sub]
deep = -3
[dns]
servers = ["192.0.2.53:53"]
[[row]]
address = "x"
[[row]]
address = "y"
`
	off := false
	want := sample{
		Name: "edge1", NameLine: 2, Domains: []string{"a.example", "b.example"}, On: &off, Count: 1000,
		Wait: 90 * time.Second, Rate: 0.5, Most: 7, Until: federation.Date{Year: 2028, Month: 2, Day: 29},
		Pools: map[string]pool{
			"dotted":  {Address: "192.0.2.9:1", Line: 13},
			"in":      {Address: "192.0.2.8:1", Servers: []string{}, Line: 14},
			"one.two": {Address: "192.0.2.1:1", Line: 16},
		},
		Rows: []pool{{Address: "x", Line: 22}, {Address: "y", Line: 24}},
	}
	want.DNS.Servers, want.DNS.Line, want.DNS.Sub.Deep = []string{"192.0.2.53:53"}, 20, -3
	var got sample
	if problems := Decode("f.toml", []byte(file), &got); problems != nil {
		t.Fatalf("Decode found problems: %v", problems)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Decode differs (-want +got):\n%s", d)
	}
}

func TestDecodeNamesEachFaultWithItsLine(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"a number that may not be zero", "most = 0\nrate = 0.0", `f.toml:1: most must be more than 0; leave it out for the default
f.toml:2: rate must be more than 0; leave it out for the default`},
		{"nor less", "\nmost = -1\nrate = -1", `f.toml:2: most must be more than 0; leave it out for the default
f.toml:3: rate must be more than 0; leave it out for the default`},
		{"a number that is none", "rate = nan", `f.toml:1: rate must be a number, not nan`},
		{"a number without end", "rate = inf", `f.toml:1: rate must be a number, not inf`},
		{"a fraction where none may be", "most = 1.5", `f.toml:1: most must be a number, not a number with a fraction`},
		{"a date in quotes", "until = '2028-02-29'", `f.toml:1: until must be a date without quotes, like 2026-12-31, not a string`},
		{"a date with a time", "until = 2028-02-29T00:00:00Z", `f.toml:1: until must be a date without quotes, like 2026-12-31, not a date or time`},
		{"a day that there is not", "until = 2027-02-29", `f.toml:1: until must be a date without quotes, like 2026-12-31: "2027-02-29" is no date like 2026-12-31`},
		{"an unknown key", "nome = 1", `f.toml:1: unknown key "nome"; did you mean "name"?`},
		{"an unknown key that is nothing like ours", "xyzzy = 1", `f.toml:1: unknown key "xyzzy"`},
		{"a word of other programs", "[pool.a]\nlisten = 1", `f.toml:2: unknown key "listen" in [pool.a]; did you mean "address"?`},
		{"a domain without quotes", "[pool.fabrikam.example]\n", `f.toml:1: unknown section "example" in [pool.fabrikam]; a name with dots stands in quotes: [pool."fabrikam.example"]`},
		{"an unknown section", "\n[pools.a]\n", `f.toml:2: unknown section "pools"; did you mean "pool"?`},
		{"a section of another file", "[partner.a]\n", `f.toml:1: unknown section "partner"; it stands in partners.toml`},
		{"a name that needs quotes", "[pool.\"a.b\"]\nx = 1", `f.toml:2: unknown key "x" in [pool."a.b"]`},
		{"a field that takes no part", "Forgotten = 'x'", `f.toml:1: unknown key "Forgotten"`},
		{"a key twice", "name = 'a'\n\nname = 'b'", `f.toml:3: key "name" stands here a second time; the first is in line 1`},
		{"a section twice", "[pool.a]\naddress='x'\n[pool.a]\naddress='y'\nbad=1", `f.toml:3: [pool.a] stands here a second time; the first is in line 1
f.toml:5: unknown key "bad" in [pool.a]`},
		{"a section that is a value", "name = 'a'\n[name]\n", `f.toml:2: name has a value since line 1 and cannot be a section as well`},
		{"a section below a value", "name = 'a'\n[name.b]\n", `f.toml:2: name is no table: it has a value since line 1`},
		{"a section that dotted keys made", "dns.servers = []\n[dns]\n", `f.toml:2: dns has a value since line 1 and cannot be a section as well`},
		{"more for an inline table", "pool = { a = {} }\n[pool.b]\n", `f.toml:2: pool is no table: it has a value since line 1`},
		{"dotted keys into a section", "[pool.a]\n[dns]\n[pool]\na.address = 'x'", `f.toml:4: a.address adds to a, which is complete since line 1`},
		{"a list of tables that is a list", "domains = []\n[[domains]]", `f.toml:2: [[domains]] is no list of tables: it is something else since line 1`},
		{"a string for a list", "domains = 'a'", `f.toml:1: domains must be a list, like ["..."], not a string`},
		{"a number in a list of strings", "domains = ['a',\n\n 5]", `f.toml:3: an element of domains must be a string in quotes, not a number`},
		{"a number for a string", "[pool.a]\naddress = 5061", `f.toml:2: address in [pool.a] must be a string in quotes, not a number`},
		{"a string for a switch", "on = 'yes'", `f.toml:1: on must be true or false, not a string`},
		{"a fraction for a number", "count = 1.5", `f.toml:1: count must be a number, not a number with a fraction`},
		{"a number that is too large", "count = 99999999999999999999", `f.toml:1: count: 99999999999999999999 is too large`},
		{"a time without unit", "wait = 5", `f.toml:1: wait must be a time with its unit, like "5s" or "20m", not a number`},
		{"a time that is none", "wait = '5 s'", `f.toml:1: wait must be a time with its unit, like "5s" or "20m", not "5 s"`},
		{"a date", "name = 2026-01-01", `f.toml:1: name must be a string in quotes, not a date or time`},
		{"a section without name", "[pool]\naddress = 'x'", `f.toml:2: address in [pool] must be a section, not a string`},
		{"a value for a section", "pool = 1", `f.toml:1: pool must be sections with names of their own, like [pool.NAME], not a number`},
		{"no value", "name =\n", `f.toml:1: name has no value`},
		{"text without quotes", "name = discover\n", `f.toml:1: name = discover cannot be read: text stands in quotes, like "discover"`},
		{"a date as some write it", "\nuntil = 31.12.2026\n", `f.toml:2: until = 31.12.2026 cannot be read: a date is written like 2026-12-31`},
		{"no for false", "on = no # not yet", `f.toml:1: on = no cannot be read: a yes-or-no value is written true or false, in small letters`},
		{"yes for true", "on = yes", `f.toml:1: on = yes cannot be read: a yes-or-no value is written true or false, in small letters`},
		{"a capital letter", "on = True", `f.toml:1: on = True cannot be read: a yes-or-no value is written true or false, in small letters`},
		{"all capitals", "[pool.a]\non=FALSE", `f.toml:2: on = FALSE cannot be read: a yes-or-no value is written true or false, in small letters`},
		{"off for false", "on = off", `f.toml:1: on = off cannot be read: a yes-or-no value is written true or false, in small letters`},
		{"text that begins like a word of TOML", "name = nobody", `f.toml:1: name = nobody cannot be read: text stands in quotes, like "nobody"`},
		{"a time without quotes", "wait = 20m", `f.toml:1: wait = 20m cannot be read: a number stands alone, and what has a unit in quotes, like "20m"`},
		{"a list without quotes", "domains = [im, presence]", `f.toml:1: domains = [im, presence] cannot be read: each text of a list stands in quotes, like ["im", "presence"]`},
		{"a line of a list without quotes", "domains = [\n  'a',\n  b,\n]", `f.toml:3: b, cannot be read: text stands in quotes, like "text"`},
		{"a list without end", "domains = ['a'\non = true", `f.toml:2: on = true cannot be read: the list before it has no ] at its end`},
		{"a list without end before a section", "domains = ['a'\n[dns]", `f.toml:2: [dns] cannot be read: the list before it has no ] at its end`},
		{"a colon", "name: discover", `f.toml:1: name: discover cannot be read: a key and its value are written KEY = VALUE`},
		{"no sign", "on true", `f.toml:1: on true cannot be read: a key and its value are written KEY = VALUE`},
		{"an address in a section's name", "[pool.alice@example.com]", `f.toml:1: [pool.alice@example.com] cannot be read: a name with dots, @ or * stands in quotes: [pool."alice@example.com"]`},
		{"something behind a text", "name = 'a' 'b'", `f.toml:1: name = 'a' 'b' cannot be read: nothing may stand behind the text but a comment, which begins with #`},
		{"what is nothing of that", "name = 'a\x01'", `f.toml:1: name = "'a\x01'" cannot be read: literal strings cannot have control characters`},
		{"the end in a string", "\nname = \"abc", `f.toml:2: `},
		{"all faults at once, also after one of grammar", "nome = 1\n[pool.a]\naddress = 'x\nservers = 5\n[pool.b]\nport = 1\n[pool.b\n[dns]\nservers = 'x'\n", `f.toml:1: unknown key "nome"; did you mean "name"?
f.toml:3: address = 'x cannot be read: the text has no ' at its end
f.toml:6: unknown key "port" in [pool.b]; did you mean "address"?
f.toml:7: [pool.b cannot be read: the name of a section ends with ]
f.toml:9: servers in [dns] must be a list, like ["..."], not a string`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s sample
			var got []string
			for _, p := range Decode("f.toml", []byte(tt.file), &s) {
				got = append(got, p.Error())
			}
			if g := strings.Join(got, "\n"); g != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(g, tt.want)) {
				t.Errorf("Decode says\n%s\nwant\n%s", g, tt.want)
			}
		})
	}
}

// manyTables writes what a list of partners looks like.
func manyTables(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[pool.\"p%06d.partner.example\"]\naddress = \"192.0.2.1:5061\"\nservers = [\"edge.partner.example:5061\"]\n", i)
	}
	return []byte(b.String())
}

func TestDecodeTakesOneHundredThousandTables(t *testing.T) {
	const n = 100_000
	var s sample
	if problems := Decode("f.toml", manyTables(n), &s); problems != nil {
		t.Fatalf("Decode found problems: %v", problems)
	}
	if len(s.Pools) != n {
		t.Fatalf("Decode found %d pools, want %d", len(s.Pools), n)
	}
	if last := s.Pools["p099999.partner.example"]; last.Line != 3*(n-1)+1 {
		t.Errorf("the last pool is in line %d, want %d", last.Line, 3*(n-1)+1)
	}
}

func BenchmarkDecode100000(b *testing.B) {
	data := manyTables(100_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var s sample
		if problems := Decode("f.toml", data, &s); problems != nil {
			b.Fatal(problems)
		}
		runtime.KeepAlive(s)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte("name = 'a'\n[pool.a]\naddress = 'x'\nservers = ['a', 'b']\n[dns.sub]\ndeep = 1\n"))
	f.Add([]byte("a.b.c = {x = [1, 2.5, 1979-05-27], y = {}}\n[[row]]\n[[row.x]]\n[row.x.y]\n"))
	f.Add([]byte("\ufeff\"\\u00e9\" = '''\nx'''\r\nq = \"\"\"\\\n  x\"\"\"\n[a\n[b]\n"))
	f.Add([]byte("\"\\u00\x000\"=00"))
	f.Add([]byte("pool = {a = {address = 'x'}}\n[pool.b]\n[pool]\npool.c = 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		lines := 1 + strings.Count(string(data), "\n")
		last := 0
		for _, p := range Decode("f.toml", data, &s) {
			if p.Line < 1 || p.Line > lines || p.Line < last {
				t.Errorf("problem in line %d after one in line %d, of a file of %d lines: %s", p.Line, last, lines, p.Text)
			}
			if strings.ContainsAny(p.Text, "\x00\r\n\x1b") {
				t.Errorf("problem %q brings control characters of the file into the log", p.Text)
			}
			last = p.Line
		}
		for name, p := range s.Pools {
			if last > 0 {
				break // what is faulty may lack its line
			}
			if p.Line < 1 || p.Line > lines {
				t.Errorf("pool %q is in line %d of a file of %d lines", name, p.Line, lines)
			}
		}
	})
}

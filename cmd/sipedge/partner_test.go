package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/cmd/sipedge/internal/card"
	"github.com/sipedge/sipedge/edge"
	"github.com/sipedge/sipedge/federation"
)

func TestWhatAStrangerWroteIsLegible(t *testing.T) {
	for in, want := range map[string]string{
		`Jörg "Joe" Müller <joe@example.com>`: `Jörg "Joe" Müller <joe@example.com>`,
		"a\x1b[2Jb\r\nc\x00":                  `a\x1b[2Jb\r\nc\x00`,
		"evil\u202egpj.exe":                   `evil\u202egpj.exe`,
		"zero\u200bwidth":                     `zero\u200bwidth`,
	} {
		if got := legible(in); got != want {
			t.Errorf("legible(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestATableKeepsToTheWidth(t *testing.T) {
	long := strings.Repeat("x", 60) + ".example"
	for _, width := range []int{0, 40, 50, 60, 80, 110} {
		var b bytes.Buffer
		tb := table{page: &page{out: &b, width: width}, head: []string{"", "NAME", "STATE", "EMPTY", "OWNER"}, name: 1, state: 2}
		tb.row("", "!", "a.example", "allowed", "", "Anna Beispiel of the department of communication")
		tb.row("", "", long, "blocked", "", "")
		tb.print()
		got := b.String()
		if strings.Contains(got, "EMPTY") {
			t.Errorf("width %d: a column with nothing in it:\n%s", width, got)
		}
		if !strings.Contains(got, "Anna") || !strings.Contains(got, long) {
			t.Errorf("width %d: something is lost:\n%s", width, got)
		}
		for line := range strings.Lines(got) {
			if line = strings.TrimSuffix(line, "\n"); line != strings.TrimRight(line, " ") {
				t.Errorf("width %d: blanks at the end of %q", width, line)
			}
			if n := len([]rune(line)); width > 0 && n > width && !strings.Contains(line, long) {
				t.Errorf("width %d: a line of %d:\n%s", width, n, got)
			}
		}
	}
}

func TestANewCardShowsWhatIsAnother(t *testing.T) {
	var lines []string
	lines = changes(lines, "servers", []string{"a:1", "b:1"}, []string{"b:1", "c:1"})
	lines = changes(lines, "must prove", []string{""}, []string{""})
	want := []string{"  - servers     a:1", "  + servers     c:1"}
	if !slices.Equal(lines, want) {
		t.Errorf("changes = %q, want %q", lines, want)
	}
}

// An old card that is sent again would bring back keys that were given up.
func TestACardFromBeforeIsPointedOut(t *testing.T) {
	var b bytes.Buffer
	a := adding{streams: streams{out: &b}, page: &page{out: &b}, card: new(card.Signed)}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	have := federation.Decision{At: at, Partner: &federation.PartnerConfig{Pins: []string{"new"}}}
	for issued, want := range map[time.Time]bool{at.Truncate(time.Second): false, at.Add(time.Hour): false, at.Add(-2 * time.Second): true} {
		b.Reset()
		a.card.Issued = issued
		a.difference("fabrikam.example", have, federation.PartnerConfig{Pins: []string{"old"}})
		if got := strings.Contains(b.String(), "somebody may have sent an old one again"); got != want {
			t.Errorf("issued %v: %s", issued, b.String())
		}
	}
}

func TestErrorsMoveNoCursor(t *testing.T) {
	var b bytes.Buffer
	finish(errors.New("a\x1b[2J\u202eb\r\nc\u009b"), &b)
	if got, want := b.String(), "sipedge: a?[2J?b?\nc?\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAddressesThatLeadToUsAreMarked(t *testing.T) {
	for server, want := range map[string]bool{
		"edge.contoso.example:5061": false, "203.0.113.7:5061": false, "[2001:db8::1]:5061": false,
		"127.0.0.1:5061": true, "10.1.2.3:5061": true, "[::1]:5061": true, "[fe80::1]:5061": true, "169.254.169.254:80": true,
	} {
		if got := notPublic(server); got != want {
			t.Errorf("notPublic(%s) = %v", server, got)
		}
	}
}

func TestAConfiguredNameIsInTheCommandsWeName(t *testing.T) {
	if got := (configFlag{"sipedge.toml"}).command("partner", "list"); got != "sipedge partner list" {
		t.Errorf("command = %s", got)
	}
	if got := (configFlag{"/etc/sipedge/sipedge.toml"}).command("partner", "forget", "a.example"); got != "sipedge partner forget a.example -c /etc/sipedge/sipedge.toml" {
		t.Errorf("command = %s", got)
	}
}

func TestUntilIsNothingForNoDate(t *testing.T) {
	if got := until(federation.Date{}); got != "" {
		t.Errorf("until = %q", got)
	}
}

// TestPartnerCodes asks a running edge in the same process.
func TestPartnerCodes(t *testing.T) {
	s := newSite(t)
	s.write("sipedge.toml", strings.Replace(siteConfig, `address     = "127.0.0.1:0"`, "address     = \"127.0.0.1:0\"\nadvertise   = \"edge1.example.com:5061\"", 1))
	s.write("broken.toml", "name = \n")
	ask := func(line string, want int, says string) {
		t.Helper()
		code, out, errs := s.run(line)
		if code != want || !strings.Contains(out+errs, says) {
			t.Errorf("sipedge %s: exit %d, says %q and %q; want %d and %q", line, code, out, errs, want, says)
		}
	}
	ask("partner list -c $DIR/sipedge.toml", exitUnreachable, "$DIR/state/control.sock")
	ask("partner list -c $DIR/broken.toml", exitConfiguration, "broken.toml:1")
	ctx, stop := context.WithCancel(t.Context())
	err := serve(ctx, filepath.Join(s.dir, "sipedge.toml"), slog.New(slog.DiscardHandler), nil, io.Discard, func(*edge.Edge) {
		defer stop()
		ask("partner allow a@b -c $DIR/sipedge.toml", exitUsage, "not a domain")
		ask("partner frobnicate", exitUsage, "frobnicate")
		ask("partner allow northwind.example -c $DIR/sipedge.toml", exitDone, "in force now")
		ask("partner allow fabrikam.example -c $DIR/sipedge.toml", exitConflict, "partners.toml:4")
		ask("partner block example.com -c $DIR/sipedge.toml", exitConflict, "our own")
		ask("partner forget fabrikam.example -c $DIR/sipedge.toml", exitNotFound, "no decision")
		ask("partner show nobody.example -c $DIR/sipedge.toml", exitNotFound, "nothing is known")
		ask("partner list nobody -c $DIR/sipedge.toml", exitNotFound, "no partner's entry")
		ask("partner list --json -c $DIR/sipedge.toml", exitDone, `"domain": "northwind.example"`)
		ask("partner show --json northwind.example -c $DIR/sipedge.toml", exitDone, `"source": "decision"`)
		ask("partner discovered -c $DIR/sipedge.toml", exitDone, "No domain has been here")
		ask("partner discovered --json -c $DIR/sipedge.toml", exitDone, `"discovered": []`)
		ask("partner add $DIR/ca.pem -c $DIR/sipedge.toml", exitNo, "no partner card")
		ask("partner add $DIR/absent -c $DIR/sipedge.toml", exitUsage, "absent")
		ask("partner add northwind.example -c $DIR/sipedge.toml", exitUsage, "sipedge partner allow northwind.example")
		ask("partner card --days 0 -c $DIR/sipedge.toml", exitUsage, "--days")
		ask("partner card --domain contoso.example -c $DIR/sipedge.toml", exitUsage, "no domain of ours")
		ask("partner card -c $DIR/sipedge.toml", exitDone, "BEGIN PARTNER CARD")
	})
	if err != nil {
		t.Error(err)
	}
	ask("partner list -c $DIR/sipedge.toml", exitUnreachable, "no edge runs there")
	ask("check -c $DIR/sipedge.toml", exitDone, "3 partners, 1 blocked")
}

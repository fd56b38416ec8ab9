package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A demoScreen shows the demo to people, in lines of demoWidth, but for commands that are
// to be copied. With json it says nothing until the end.
type demoScreen struct {
	out              io.Writer
	json, once, keep bool
	colour           bool
}

// demoWidth is how wide a terminal is that nobody has made wider.
const demoWidth = 80

func newDemoScreen(out io.Writer, c demoCommand) *demoScreen {
	return &demoScreen{out: out, json: c.JSON, once: c.Once, keep: c.Keep, colour: isTerminal(out)}
}

// isTerminal reports whether colours are wanted (https://no-color.org).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// The colours are those that every terminal has.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	dim    = "2"
)

func (s *demoScreen) paint(style, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (s *demoScreen) line(format string, args ...any) {
	if !s.json {
		fmt.Fprintf(s.out, format+"\n", args...)
	}
}

// pad fills text up to width, and counts characters, not octets.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// world says what is running.
func (s *demoScreen) world(d *demo) {
	fate := "removed at the end; --keep keeps it"
	if s.keep {
		fate = "kept"
	}
	s.line("%s %s", s.paint(bold, "sipedge demo"), s.paint(dim, version()))
	s.line("")
	s.fact("scratch", shown(d.scratch), s.paint(dim, "("+fate+")"))
	for _, c := range d.companies() {
		s.place(c.Domain, "edge", c.outside, "home "+homes(c), c.insiders()...)
		if c.outsiders != nil {
			s.place("", "edge", c.remote, "for its people outside", c.outsiders...)
		}
		if c.bridged != nil {
			s.place("", "xmpp", c.bridge, "for the XMPP network", c.bridged...)
		}
	}
	s.place(jabberDomain, "xmpp", d.xmpp.place(), "for other servers; no SIP", jabberUser)
	s.fact("initech.example", "has a good certificate, and is on nobody's list")
	s.fact("spam.example", "has one too, and is blocked by acme.example")
	s.fact("flood.example", "has one too; globex.example discovers partners, within limits")
	s.fact("dns", d.dns.Addr())
	s.line("")
	s.line("%s", s.paint(dim, "     from          to         method     got  hops   ms reason in the edge's log"))
}

func (s *demoScreen) fact(name string, what ...string) {
	s.line("%s %s", s.paint(bold, pad(name, 15)), strings.TrimRight(strings.Join(what, "  "), " "))
}

// place is a fact about where something listens, what it is for, and who is there.
func (s *demoScreen) place(name, what string, at netip.AddrPort, purpose string, users ...string) {
	s.fact(name, pad(what+" "+at.String(), 19), pad(purpose, 30), strings.Join(users, ", "))
}

// homes lists where home servers listen; the later ones without what they have
// in common with the first.
func homes(c *demoCompany) string {
	first := c.homeAt[0].edge
	list := first.String()
	for _, at := range c.homeAt[1:] {
		list += ", " + short(at.edge, first)
	}
	return list
}

func short(a, like netip.AddrPort) string {
	text := a.String()
	i := strings.LastIndexByte(like.Addr().String(), '.')
	if i > 0 && strings.HasPrefix(text, like.Addr().String()[:i+1]) {
		return text[i:]
	}
	return text
}

// scene is one line, and a second one if it did not go as expected.
func (s *demoScreen) scene(r sceneReport) {
	mark := s.paint(green, "✓")
	if !r.OK {
		mark = s.paint(red, "✗")
	}
	style := green
	if n := len(r.Got.Answers); n > 0 && r.Got.Answers[n-1] >= 300 {
		style = yellow
	}
	const left = 56 // of the reason
	reason, note := r.Got.Reason, r.Got.Note
	final, early := byKind(r.Got.Answers)
	if early != nil {
		note = strings.TrimSuffix("after "+statuses(early)+"; "+note, "; ")
	}
	gap := "  "
	if left+len(reason)+len(gap)+utf8.RuneCountInString(note) > demoWidth {
		gap = "\n" + strings.Repeat(" ", left)
	}
	if note != "" {
		reason += gap + s.paint(dim, note)
	}
	s.line("%s %2d %s → %s %s %s %s %4s %s", mark, r.Number,
		pad(brief(r.From), 11), pad(brief(r.To), 10), pad(strings.Replace(r.Methods, " x", "×", 1), 10),
		s.paint(style, pad(statuses(final), 7)), hopCount(r.Got.Hops), took(r.Got.Millis), reason)
	if !r.OK {
		s.line("      %s", s.paint(red, r.Title+": want "+r.Want.String()+", got "+r.Got.String()))
		if r.Error != "" {
			s.line("      %s", s.paint(red, r.Error))
		}
	}
}

// byKind parts final answers from those before them.
func byKind(answers []int) (final, early []int) {
	for _, n := range answers {
		if n < 200 {
			early = append(early, n)
		} else {
			final = append(final, n)
		}
	}
	return final, early
}

// brief leaves out what all the demo's domains have in common.
func brief(address string) string { return strings.TrimSuffix(address, ".example") }

func statuses(list []int) string {
	var b []string
	for _, n := range list {
		b = append(b, strconv.Itoa(n))
	}
	return strings.Join(b, " ")
}

func hopCount(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func took(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}

// end says how it went, and what one can try now.
func (s *demoScreen) end(d *demo, r demoReport) error {
	if s.json {
		return r.writeJSON(s.out)
	}
	good := 0
	for _, scene := range r.Scenes {
		if scene.OK {
			good++
		}
	}
	s.line("")
	if r.OK {
		s.line("  %s", s.paint(green, fmt.Sprintf("all %d scenes as expected in %.0f ms", good, 1000*r.Seconds)))
	} else {
		s.line("  %s", s.paint(red, fmt.Sprintf("%d of %d scenes not as expected", len(r.Scenes)-good, len(r.Scenes))))
	}
	if !s.once {
		s.hints(d)
	}
	return nil
}

// hints are commands that work while the demo is up.
func (s *demoScreen) hints(d *demo) {
	folder := filepath.Join(shown(d.scratch), d.acme.name())
	config := filepath.Join(folder, "sipedge.toml")
	explain := fmt.Sprintf("%s explain -c %s \\\n      --from joe@spam.example --to alice@acme.example", self(), config)
	s.line("")
	s.line("  The edges stay up until Ctrl-C. In another terminal, from this folder:")
	s.line("")
	s.line("  why scene 7 was refused")
	s.line("    %s", s.paint(bold, explain))
	s.line("  who came without being listed; take the decision of scene 8 back")
	s.line("    %s", s.paint(bold, self()+" partner discovered -c "+config))
	s.line("    %s", s.paint(bold, self()+" partner forget initech.example -c "+config))
	s.line("  what the edge wrote about each request")
	s.line("    %s", s.paint(bold, "grep request "+filepath.Join(folder, "edge.log")))
	s.line("  who is signed in from outside, and whom scene 14 had locked out")
	s.line("    %s", s.paint(bold, self()+" user list -c "+config))
	s.line("    %s", s.paint(bold, self()+" ban list -c "+config))
	s.line("  the bridge to XMPP, and who may use it; take the decision of scene 22 back")
	s.line("    %s", s.paint(bold, self()+" bridge show xmpp -c "+config))
	s.line("    %s", s.paint(bold, self()+" bridge forget xmpp carl@acme.example -c "+config))
	s.ownClient(d)
}

// ownClient says how people get in with a client that they have.
func (s *demoScreen) ownClient(d *demo) {
	s.line("  sign in with a SIP client of your own: inside by TCP, outside by TLS or, from")
	s.line("  a page, by wss; outside with baresip, Linphone or JsSIP, as the interop plays")
	s.line("  do. What the client must trust:")
	s.line("    %s", s.paint(bold, filepath.Join(shown(d.scratch), d.acme.name(), "certs", "inside-ca.pem")))
	s.line("  and who checks names, as Linphone does, needs a line in /etc/hosts, and that")
	s.line("  name as proxy:")
	s.line("    %s", s.paint(bold, d.acme.remote.Addr().String()+" "+d.acme.edgeName()))
	for _, c := range d.companies() {
		at := c.homeAt[len(c.homeAt)-1].user // the one that lives
		for _, name := range c.insiders() {
			s.line("    tcp %-15s user %-18s password %s", at, c.address(name), c.passwords[name])
		}
		for _, name := range c.outsiders {
			s.line("    tls %-15s user %-18s password %s", c.remote, c.address(name), c.passwords[name])
		}
	}
}

// over is the last line, below the ^C of the terminal.
func (s *demoScreen) over(d *demo) {
	fate := "removed"
	if s.keep {
		fate = "kept"
	}
	s.line("\n  stopping; %s is %s", shown(d.scratch), fate)
}

// shown is a folder as one types it from here, if that is shorter.
func shown(dir string) string {
	here, err := os.Getwd()
	if err != nil {
		return dir
	}
	rel, err := filepath.Rel(here, dir)
	if err != nil || len(rel) > len(dir) {
		return dir
	}
	return rel
}

// self is this program as one types it: "go run" builds it in a folder that
// nobody would type.
func self() string {
	if _, err := os.Stat("cmd/sipedge/main.go"); err == nil && strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/sipedge"
	}
	return os.Args[0]
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate/locatetest"
)

// patience is how long a play waits for what should come. Nothing waits for
// time to pass: a play that goes well never comes near it.
const patience = 15 * time.Second

// TestMain makes this test binary also the command sipedge, so that plays run
// the real program in processes of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sipedge": main})
}

// TestPlays runs testdata/play/*.txtar. Each is one behaviour of the edge, told
// with raw SIP peers on real sockets; testdata/play/README.md is the language.
func TestPlays(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/play",
		Setup:              openStage,
		Cmds:               stageCommands(),
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// condition is what plays may ask of the machine: [ipv6], [root].
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	if name != "ipv6" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	_, release, err := holdPort("::1")
	if err != nil {
		return false, nil
	}
	release()
	return true, nil
}

// A stage is the world of one play: its folder, authorities, peers and edges.
type stage struct {
	dir         string
	env         func(key string) string
	set         func(key, value string)
	deferred    func(func())
	authorities map[string]*certs.Authority
	peers       map[string]*peer
	edges       map[string]*edgeProcess
	programs    map[string]*realPeer
	cables      map[string]*cable
	microsoft   *msftServer        // nil until the play starts it
	names       *locatetest.Server // nil until the play has a zone
	fences      int
	nets        []string // network namespaces that the play made
}

// stageKey finds the stage of a play among the values of its script.
type stageKey struct{}

// openStage gives a script its stage.
func openStage(env *testscript.Env) error {
	s := newStage(env.WorkDir)
	s.deferred = env.Defer
	torture, err := filepath.Abs("../../sip/testdata")
	if err != nil {
		return err
	}
	env.Setenv("TORTURE", torture)
	me, err := user.Current()
	if err != nil {
		return err
	}
	env.Setenv("WHO", me.Username)
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
	env.Values[stageKey{}] = s
	env.Defer(func() {
		if err := s.close(); err != nil {
			env.T().Fatal(err)
		}
	})
	return nil
}

// newStage makes an empty stage in a folder.
func newStage(dir string) *stage {
	return &stage{
		dir:         dir,
		authorities: make(map[string]*certs.Authority),
		peers:       make(map[string]*peer),
		edges:       make(map[string]*edgeProcess),
		programs:    make(map[string]*realPeer),
	}
}

// close ends what the play started. An edge that panicked fails its play even
// where nobody noticed.
func (s *stage) close() error {
	var errs []error
	for _, p := range s.peers {
		p.close()
	}
	for _, e := range s.edges {
		errs = append(errs, e.end())
	}
	return errors.Join(append(errs, removeNetns(s.nets))...)
}

// A verb is one command of the language of plays.
type verb func(s *stage, args []string) error

// verbs are the commands of the language, but for those of peers.
func verbs() map[string]verb {
	return map[string]verb{
		"ports":       (*stage).ports,
		"authority":   (*stage).authority,
		"certificate": (*stage).certificate,
		"revoke":      (*stage).revoke,
		"company":     (*stage).company,
		"dns":         (*stage).dns,
		"fill":        (*stage).fillFiles,
		"replace":     (*stage).replace,
		"edge":        (*stage).edge,
		"logged":      (*stage).logged,
		"audit":       (*stage).audit,
		"borrow":      (*stage).borrow,
		"program":     (*stage).program,
		"ledger":      (*stage).ledger,
		"homeserver":  (*stage).homeServer,
		"forwarder":   (*stage).forwarder,
		"msftserver":  (*stage).msft,
		"finch":       (*stage).finch,
		"netns":       (*stage).netns,
		"prosody":     (*stage).prosody,
		"ejabberd":    (*stage).ejabberd,
		"jabberd":     (*stage).jabberd,
		"cable":       (*stage).cable,
	}
}

// stageCommands are the commands of plays, for testscript.
func stageCommands() map[string]func(*testscript.TestScript, bool, []string) {
	cmds := make(map[string]func(*testscript.TestScript, bool, []string))
	for name, v := range verbs() {
		cmds[name] = command(v)
	}
	cmds["peers"] = declarePeers
	return cmds
}

// command makes a verb a command of testscript. With "!" it must fail.
func command(v verb) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		s := ts.Value(stageKey{}).(*stage)
		s.env, s.set = ts.Getenv, ts.Setenv
		err := v(s, args)
		switch {
		case err != nil && !neg:
			ts.Fatalf("%v%s", err, s.tails())
		case err != nil:
			ts.Logf("as expected: %v", err)
		case neg:
			ts.Fatalf("should have failed")
		}
	}
}

// tails is what the edges and programs said last, for a failure's message.
func (s *stage) tails() string {
	var b strings.Builder
	for name, e := range s.edges {
		fmt.Fprintf(&b, "\nlog of %s:\n%s", name, e.tail())
	}
	for name, p := range s.programs {
		fmt.Fprintf(&b, "\nlog of %s:\n%s", name, lastLines(p.log.Name()))
	}
	return b.String()
}

// declarePeers makes each name a command: "peers home" lets "home listens" be
// written.
func declarePeers(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(stageKey{}).(*stage)
	for _, name := range args {
		s.addPeer(name)
		ts.SetCmd(name, command(func(s *stage, args []string) error { return s.peers[name].act(s, args) }))
	}
}

// path is a file of the play.
func (s *stage) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.dir, name)
}

// fill expands $NAME in text. An unknown name is an error, so that a misspelt
// one is not sent out empty.
func (s *stage) fill(text string) (string, error) {
	var unknown []string
	filled := os.Expand(text, func(name string) string {
		if name == "$" {
			return "$"
		}
		v := s.env(name)
		if v == "" {
			unknown = append(unknown, name)
		}
		return v
	})
	if unknown != nil {
		return "", fmt.Errorf("no such variable: %s", strings.Join(unknown, ", "))
	}
	return filled, nil
}

// fillFile is the text of a file of the play with its variables filled in.
func (s *stage) fillFile(name string) (string, error) {
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		return "", err
	}
	filled, err := s.fill(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return filled, nil
}

// fillFiles fills in the variables of files, in place.
func (s *stage) fillFiles(names []string) error {
	for _, name := range names {
		if err := s.replace([]string{name, name}); err != nil {
			return err
		}
	}
	return nil
}

// replace puts a new text, filled in, into the place of a file at one stroke,
// as an editor or a deployment tool does.
func (s *stage) replace(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: replace FILE WITH")
	}
	text, err := s.fillFile(args[1])
	if err != nil {
		return err
	}
	fresh := s.path(args[0]) + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, s.path(args[0]))
}

// options splits NAME=VALUE and bare words, which become NAME=yes.
func options(args []string) map[string]string {
	o := make(map[string]string)
	for _, a := range args {
		name, value, found := strings.Cut(a, "=")
		if !found {
			value = "yes"
		}
		o[name] = value
	}
	return o
}

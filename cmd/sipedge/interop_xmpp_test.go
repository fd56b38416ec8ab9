package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestInteropXMPP runs testdata/interop/xmpp/*.txtar: other people's servers of the
// XMPP network, Prosody, ejabberd and jabberd2, with users on slixmpp, and Kamailio as the
// home server behind the edge. They find each other by the play's name server. Plays with
// $PROOF in them run twice: with servers that believe certificates and nothing else, and
// with servers that believe dialback, since neither side trusts the other's authority.
// After dialback Prosody offers no acknowledgements (XEP-0198), so what is sent there
// is $ACCEPTED with 202 after the hold, and else with 200.
func TestInteropXMPP(t *testing.T) {
	needPrograms(t, "kamailio", "prosody", "erl", "jabberd2-s2s")
	needFile(t, "/usr/lib/*/ejabberd-*/ebin/ejabberd_app.beam")
	needFile(t, "/usr/lib/python3/dist-packages/slixmpp/__init__.py")
	needFile(t, "/usr/lib/*/lua/5.*/lunbound.so")
	t.Parallel()
	twice, once := xmppPlays(t)
	for proof, plays := range map[string][]string{"certificate": twice, "dialback": twice, "": once} {
		t.Run(cmp.Or(proof, "any proof"), func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, testscript.Params{
				Files: plays,
				Setup: func(env *testscript.Env) error {
					client, err := filepath.Abs(filepath.Join("testdata", "interop", "xmpp", "client.py"))
					env.Setenv("XMPP_CLIENT", client)
					env.Setenv("PROOF", proof)
					env.Setenv("HOLD", "10s")
					env.Setenv("ACCEPTED", "200")
					if proof == "dialback" {
						env.Setenv("HOLD", "1s")
						env.Setenv("ACCEPTED", "202")
					}
					return errors.Join(err, openStage(env))
				},
				Cmds:               stageCommands(),
				Condition:          condition,
				RequireUniqueNames: true,
			})
		})
	}
}

// xmppPlays are the plays that run with either proof, and those that run once.
func xmppPlays(t *testing.T) (twice, once []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "interop", "xmpp", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "$PROOF") {
			twice = append(twice, file)
		} else {
			once = append(once, file)
		}
	}
	return twice, once
}

// prosody makes NAME.example a domain of the XMPP network with Prosody as its
// server: prosody NAME proof=certificate|dialback [with=MODULE,...] [log=LEVEL] USER...
// Its certificate is NAME, of the authority ca, or of stranger for dialback; that is
// also the only one that it trusts. Its ports are NAME_S2S, NAME_C2S and NAME_COMPONENT;
// each user's password is "secret", and so is that of the component echo.NAME.example. It
// is the program NAME, and starts again where it has ended.
func (s *stage) prosody(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: prosody NAME proof=certificate|dialback [with=MODULE,...] [log=LEVEL] USER...")
	}
	name, o := args[0], options(args[1:])
	authority, modules := "ca", list(o["with"])
	switch o["proof"] {
	case "certificate":
	case "dialback":
		authority, modules = "stranger", append(modules, "dialback")
	default:
		return fmt.Errorf("prosody takes no proof %q", o["proof"])
	}
	dir, err := s.xmppServer(name, authority)
	if err != nil {
		return err
	}
	s.set("XMPP_MODULES", `"`+strings.Join(modules, `", "`)+`"`)
	s.set("XMPP_STRICT", fmt.Sprint(o["proof"] == "certificate"))
	s.set("XMPP_LOG", cmp.Or(o["log"], "info"))
	if err := s.part("prosody.cfg.lua", dir); err != nil {
		return err
	}
	for _, user := range args[1:] {
		if strings.Contains(user, "=") {
			continue
		}
		if err := writeInto(filepath.Join(dir, "data", name+"%2eexample", "accounts", user+".dat"), `return { password = "secret" };`); err != nil {
			return err
		}
	}
	if err := s.startProgram(name, []string{"prosody", "-F", "--config", filepath.Join(dir, "prosody.cfg.lua")}); err != nil {
		return err
	}
	return s.awaitPorts(name, "C2S", "S2S", "COMPONENT")
}

// awaitPorts waits until a server takes connections.
func (s *stage) awaitPorts(name string, ports ...string) (err error) {
	for _, port := range ports {
		err = errors.Join(err, s.programs[name].awaitListener(s.env(strings.ToUpper(name)+"_"+port), ""))
	}
	return err
}

// ejabberd is the same with ejabberd, which takes either proof: ejabberd NAME
// [log=LEVEL]. Everybody has an account, with any password.
func (s *stage) ejabberd(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: ejabberd NAME [log=LEVEL]")
	}
	name, o := args[0], options(args[1:])
	dir, err := s.xmppServer(name, "ca")
	if err != nil {
		return err
	}
	s.set("XMPP_LOG", cmp.Or(o["log"], "info"))
	for _, part := range []string{"ejabberd.yml", "inetrc"} {
		if err := s.part(part, dir); err != nil {
			return err
		}
	}
	// Erlang itself, since ejabberdctl would become another user and start epmd.
	err = s.startProgram(name, []string{"env", "EJABBERD_CONFIG_PATH=" + dir + "/ejabberd.yml", "EJABBERD_LOG_PATH=" + dir + "/ejabberd.log",
		"ERL_INETRC=" + dir + "/inetrc", "ERL_CRASH_DUMP=/dev/null", "ERL_LIBS=" + filepath.Dir(filepath.Dir(ejabberdFolder())), "HOME=" + dir,
		"erl", "+sbwt", "none", "+S", "1", "-noinput", "-mnesia", "dir", `"` + dir + `/mnesia"`, "-s", "ejabberd"})
	if err != nil {
		return err
	}
	return s.awaitPorts(name, "C2S", "S2S")
}

// ejabberdFolder is where Debian has put it, "" if nowhere.
func ejabberdFolder() string {
	found, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin")
	if found == nil {
		return ""
	}
	return found[0]
}

// xmppServer makes the folder of a server, with a certificate of an authority, and the
// variables that its configuration is made of. The ports stay where they were.
func (s *stage) xmppServer(name, authority string) (dir string, err error) {
	dir = s.path("server-" + name)
	ports := strings.ToUpper(name)
	for _, port := range []string{ports + "_S2S", ports + "_C2S", ports + "_COMPONENT"} {
		if s.env(port) == "" {
			err = errors.Join(err, s.ports([]string{port}))
		}
	}
	if _, fresh := os.Stat(dir); fresh != nil {
		err = errors.Join(err, s.certificate([]string{name, "ca=" + authority, "dns=" + name + ".example,echo." + name + ".example"}))
	}
	host, port, fault := net.SplitHostPort(s.env("DNS"))
	if err = errors.Join(err, fault); err != nil {
		return "", err
	}
	for key, value := range map[string]string{
		"DOMAIN": name + ".example", "DIR": dir, "DNS": host + "@" + port, "DNS_PORT": port,
		"S2S": s.env(ports + "_S2S_PORT"), "C2S": s.env(ports + "_C2S_PORT"),
		"COMPONENT": s.env(ports + "_COMPONENT_PORT"),
	} {
		s.set("XMPP_"+key, value)
	}
	s.set(ports+"_CA", authority+".pem")
	texts := make(map[string]string)
	for _, file := range []string{name + ".pem", name + ".key", authority + ".pem"} {
		text, err := os.ReadFile(s.path(file))
		if err != nil {
			return "", err
		}
		texts[file] = string(text)
	}
	return dir, errors.Join(
		writeInto(filepath.Join(dir, "server.pem"), texts[name+".pem"]),
		writeInto(filepath.Join(dir, "server.key"), texts[name+".key"]),
		writeInto(filepath.Join(dir, "both.pem"), texts[name+".pem"]+texts[name+".key"]),
		writeInto(filepath.Join(dir, "ca.pem"), texts[authority+".pem"]),
	)
}

// part puts a file of testdata/interop/parts into a folder, filled in.
func (s *stage) part(name, dir string) error {
	path, err := filepath.Abs(filepath.Join("testdata", "interop", "parts", name))
	if err != nil {
		return err
	}
	text, err := s.fillFile(path)
	if err != nil {
		return err
	}
	return writeInto(filepath.Join(dir, name), text)
}

// gathers takes as many messages as there are expressions, in any order, since answers
// and requests may come by two ways; each must be what one of them says. Requests are
// answered with 200. What fits the first is then the message received last.
func (p *peer) gathers(s *stage, args []string) error {
	var first event
	for left := slices.Clone(args); len(left) > 0; {
		m, err := p.nextMessage("one of " + strings.Join(left, " and "))
		if err != nil {
			return err
		}
		e := p.last
		i := slices.IndexFunc(left, func(expr string) bool { return p.has(s, []string{"(?s)" + expr}) == nil })
		if i < 0 {
			return fmt.Errorf("%s wanted one of %q, got:\n%s", p.name, left, visible(m.raw))
		}
		if left[i] == args[0] {
			first = e
		}
		left = slices.Delete(left, i, i+1)
		if m.isRequest() {
			if err := p.answers(s, []string{"200"}); err != nil {
				return err
			}
		}
	}
	p.last = first
	return nil
}

// writeInto writes a file, and makes its folder.
func writeInto(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

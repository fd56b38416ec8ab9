package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestInteropXMPP runs testdata/interop/xmpp/*.txtar: other people's servers of the
// XMPP network, Prosody and ejabberd, with users on slixmpp, and Kamailio as the home
// server behind the edge. They find each other by the play's name server.
func TestInteropXMPP(t *testing.T) {
	needPrograms(t, "kamailio", "prosody", "ejabberdctl")
	needFile(t, "/usr/lib/python3/dist-packages/slixmpp/__init__.py")
	needFile(t, "/usr/lib/*/lua/5.*/lunbound.so")
	folder := filepath.Join("testdata", "interop", "xmpp")
	client, err := filepath.Abs(filepath.Join(folder, "client.py"))
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: folder,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XMPP_CLIENT", client)
			return openStage(env)
		},
		Cmds:               stageCommands(),
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

// prosody makes NAME.example a domain of the XMPP network with Prosody as its
// server: prosody NAME [strict] [ca=NAME] [with=MODULE,...] [log=LEVEL] USER...
// It shows the certificate NAME and trusts the authority ca; strict takes nobody
// without a certificate. Its ports are NAME_S2S and NAME_C2S; each user's password
// is "secret". It is the program NAME, and starts again where it has ended.
func (s *stage) prosody(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: prosody NAME [strict] [ca=NAME] [with=MODULE,...] [log=LEVEL] USER...")
	}
	name, o := args[0], options(args[1:])
	dir, err := s.xmppServer(name, o["ca"])
	if err != nil {
		return err
	}
	modules := ""
	for _, module := range list(o["with"]) {
		modules += `"` + module + `", `
	}
	s.set("XMPP_MODULES", modules)
	s.set("XMPP_STRICT", fmt.Sprint(o["strict"] != ""))
	s.set("XMPP_LOG", cmp.Or(o["log"], "info"))
	if err := s.part("prosody.cfg.lua", dir); err != nil {
		return err
	}
	for _, user := range args[1:] {
		if user == "strict" || strings.Contains(user, "=") {
			continue
		}
		if err := writeInto(filepath.Join(dir, "data", name+"%2eexample", "accounts", user+".dat"), `return { password = "secret" };`); err != nil {
			return err
		}
	}
	if err := s.startProgram(name, []string{"prosody", "-F", "--config", filepath.Join(dir, "prosody.cfg.lua")}); err != nil {
		return err
	}
	return s.programs[name].awaitListener(s.env(strings.ToUpper(name)+"_C2S"), "")
}

// ejabberd is the same with ejabberd: ejabberd NAME [ca=NAME] [log=LEVEL]. Everybody
// has an account, with any password.
func (s *stage) ejabberd(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: ejabberd NAME [ca=NAME] [log=LEVEL]")
	}
	name, o := args[0], options(args[1:])
	dir, err := s.xmppServer(name, o["ca"])
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
	return s.programs[name].awaitListener(s.env(strings.ToUpper(name)+"_C2S"), "")
}

// ejabberdFolder is where Debian has put it, "" if nowhere.
func ejabberdFolder() string {
	found, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin")
	if found == nil {
		return ""
	}
	return found[0]
}

// xmppServer makes the folder of a server, with certificates, and the variables that
// its configuration is made of.
func (s *stage) xmppServer(name, ca string) (dir string, err error) {
	dir = s.path("server-" + name)
	ports := strings.ToUpper(name)
	if s.env(ports+"_C2S") == "" {
		if err := s.ports([]string{ports + "_C2S"}); err != nil {
			return "", err
		}
	}
	host, port, err := net.SplitHostPort(s.env("DNS"))
	if err != nil {
		return "", fmt.Errorf("the play has no name server: %w", err)
	}
	for key, value := range map[string]string{
		"DOMAIN": name + ".example", "DIR": dir, "DNS": host + "@" + port, "DNS_PORT": port,
		"S2S": s.env(ports + "_S2S_PORT"), "C2S": s.env(ports + "_C2S_PORT"),
	} {
		s.set("XMPP_"+key, value)
	}
	both := ""
	for file, from := range map[string]string{"server.pem": name + ".pem", "server.key": name + ".key", "ca.pem": cmp.Or(ca, "ca") + ".pem"} {
		text, err := os.ReadFile(s.path(from))
		if err != nil {
			return "", err
		}
		if file != "ca.pem" {
			both += string(text)
		}
		if err := writeInto(filepath.Join(dir, file), string(text)); err != nil {
			return "", err
		}
	}
	return dir, writeInto(filepath.Join(dir, "both.pem"), both)
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

// writeInto writes a file, and makes its folder.
func writeInto(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

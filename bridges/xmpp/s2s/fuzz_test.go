package s2s

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// Who the peer of FuzzStream is, and what it may therefore do.
const (
	plainClient   = iota // says it without TLS: nothing
	nobody               // has no certificate: nothing
	client               // has a certificate of them: be them
	plainServer          // without TLS: nothing
	server               // has a certificate of them, and we connected to it: be them
	strangeServer        // has a certificate of somebody else: nothing
	roles
)

// FuzzStream is a peer that sends whatever it likes: nothing panics, all ends, and
// no stanza is believed that was not proved.
func FuzzStream(f *testing.F) {
	w := newWorld(f)
	var fault error
	handler := &watch{}
	c := Config{
		Domains: []string{us}, Keypair: w.keypair(us), Verifier: w.trust(), Finder: w, Allow: func(string) bool { return true },
		// Nobody can be proved so: no domain has a server.
		Dialback: func(d string) bool { return d != them },
		Handle: func(e *Stanza) {
			if e.From != them || e.To != us || e.Proof != bridges.ProofCertificate || !handler.may {
				fault = fmt.Errorf("believed %s", stanza.Append(nil, e.Element))
			}
		},
		Secret: []byte("secret"), Log: slog.New(handler), Limits: Limits{Rate: 1e9, Goodbye: time.Second},
	}
	s, err := New(c)
	if err != nil {
		f.Fatal(err)
	}
	theirs, other := w.keypair(them), w.keypair(victim)

	auth := "<auth xmlns='" + nsSASL + "' mechanism='EXTERNAL'>=</auth>"
	start := head + " from='" + them + "' to='" + us + "' id='x'>"
	features := func(s string) string { return start + "<stream:features>" + s + "</stream:features>" }
	msg := body("eve@"+them, "alice@"+us, "hi")
	for role, seeds := range [roles][]string{
		plainClient: {start + "<starttls xmlns='" + nsTLS + "'/>" + msg, start + msg},
		nobody:      {start + auth + msg, start + "<db:result from='" + them + "' to='" + us + "'>k</db:result>" + msg, start + "<db:result from='" + victim + "' to='" + us + "'>k</db:result>" + msg},
		client: {
			start + auth + start + msg + "</stream:stream>",
			start + "<bidi xmlns='" + nsBidi + "'/>" + auth + start + "<enable xmlns='" + nsManage + "'/>" + msg + "<r xmlns='" + nsManage + "'/><a xmlns='" + nsManage + "' h='0'/>",
			start + "<db:result from='" + them + "' to='" + us + "'>k</db:result>" + msg + "<db:verify from='a' to='" + us + "' id='x'>k</db:verify>",
			start + auth + start + body("eve@"+victim, "alice@"+us, "hi"),
		},
		plainServer: {features("<starttls xmlns='"+nsTLS+"'/>") + "<proceed xmlns='" + nsTLS + "'/>" + msg, features(offerExternal) + msg},
		server: {
			features(offerExternal) + "<success xmlns='" + nsSASL + "'/>" + features(offerManage) + "<enabled xmlns='" + nsManage + "'/>",
			features(offerExternal+"<bidi xmlns='"+nsCanBidi+"'/>") + "<success xmlns='" + nsSASL + "'/>" + features(offerManage) + msg + "<enabled xmlns='" + nsManage + "'/>" + msg,
			features("") + "<db:result from='" + them + "' to='" + us + "' type='valid'/>" + msg,
			features(offerExternal) + "<failure xmlns='" + nsSASL + "'><not-authorized/></failure><db:result from='" + them + "' to='" + us + "' type='error'/>",
		},
		strangeServer: {features(offerExternal+"<bidi xmlns='"+nsCanBidi+"'/>") + "<success xmlns='" + nsSASL + "'/>" + features("") + msg},
	} {
		for _, seed := range seeds {
			f.Add(byte(role), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, role byte, octets []byte) {
		role %= roles
		handler.reset(role == client || role == server)
		near, far := net.Pipe()
		in := role <= client
		st := s.newStream(near, in, role != plainClient && role != plainServer)
		done := make(chan struct{})
		go func() {
			defer close(done)
			st.start()
			if in {
				st.provedBy = time.Now().Add(patience)
				st.end(st.safely(st.welcome))
				return
			}
			st.local, st.remote = us, them
			n := negotiation{stream: st, ctx: context.Background(), target: target{XMPPTarget: locate.XMPPTarget{Host: "h", Direct: st.direct}}}
			st.end(st.safely(func() error {
				if err := n.run(); err != nil {
					return err
				}
				return st.read()
			}))
		}()
		k := map[byte]*certs.Keypair{client: theirs, server: theirs, strangeServer: other}[role]
		speak(far, in, st.direct, k, octets)
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("the stream does not end")
		}
		if p := handler.panicked(); p != "" {
			t.Fatal(p)
		}
		if fault != nil {
			t.Fatal(fault)
		}
	})
}

// speak says octets, reads nothing of what is answered, and leaves.
func speak(conn net.Conn, in, direct bool, k *certs.Keypair, octets []byte) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	c := &tls.Config{InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert}
	if k != nil {
		c.Certificates = []tls.Certificate{*k.Certificate()}
	}
	var secured *tls.Conn
	switch {
	case direct && in:
		secured = tls.Client(conn, c)
	case direct:
		secured = tls.Server(conn, c)
	}
	over := conn
	if secured != nil {
		if secured.Handshake() != nil {
			return
		}
		over = secured
	}
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(io.Discard, over) }()
	_, _ = over.Write(octets)
	if secured != nil {
		_ = secured.CloseWrite()
		// They end it; whoever waits for nothing is let go.
		select {
		case <-read:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A watch is a log that sees panics.
type watch struct {
	may  bool
	text strings.Builder
}

func (w *watch) reset(may bool) { w.may = may; w.text.Reset() }

func (w *watch) panicked() string { return w.text.String() }

func (w *watch) Enabled(context.Context, slog.Level) bool { return true }
func (w *watch) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w *watch) WithGroup(string) slog.Handler            { return w }
func (w *watch) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		w.text.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool { w.text.WriteString(" " + a.String()); return true })
	}
	return nil
}

package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// A look notes what happens while a stream is built. All methods do nothing on nil.
type look struct {
	mu    sync.Mutex
	steps []bridges.Step
}

// maxSteps bounds what one look notes.
const maxSteps = 100

func (l *look) step(name string, err error, detail string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.steps) == maxSteps {
		return
	}
	st := bridges.Step{Name: name, OK: err == nil, Detail: detail}
	if err != nil {
		st.Detail = words(strings.TrimPrefix(err.Error(), "s2s: "))
	}
	l.steps = append(l.steps, st)
}

// passed notes that what has failed until now was no hindrance.
func (l *look) passed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.steps {
		l.steps[i].Passed = !l.steps[i].OK
	}
}

func (l *look) records(domain string, r locate.XMPPRecords, err error) {
	if l == nil {
		return
	}
	name := "SRV _xmpps-server._tcp and _xmpp-server._tcp of " + domain
	if err != nil {
		l.step(name, err, "")
		return
	}
	var all []string
	for _, t := range r.Targets {
		s := fmt.Sprintf("%s:%d", t.Host, t.Port)
		if t.Direct {
			s += " (direct TLS)"
		}
		if len(t.Hops) == 0 {
			s += " (no address)"
		}
		all = append(all, s)
	}
	detail := strings.Join(all, ", ")
	if r.Secure {
		detail += "; signed"
	}
	if len(all) == 0 {
		err = errors.New("no server")
	}
	l.step(name, err, detail)
}

func (l *look) pins(t target, err error) {
	if l == nil || err == nil && len(t.pins.records) == 0 {
		return
	}
	var all []string
	for _, r := range t.pins.records {
		all = append(all, r.String())
	}
	l.step(fmt.Sprintf("TLSA of %s:%d", t.Host, t.Port), err, words(strings.Join(all, ", ")))
}

func (l *look) tls(st *stream, err error) {
	if l == nil {
		return
	}
	detail := ""
	if err == nil {
		cs := st.tls.ConnectionState()
		detail = tls.VersionName(cs.Version) + ", " + tls.CipherSuiteName(cs.CipherSuite)
	}
	l.step("TLS", err, detail)
}

func (l *look) certificate(st *stream, proof bridges.Proof, why string, weak bool) {
	if l == nil {
		return
	}
	switch {
	case proof != bridges.ProofNone:
		detail := "proved by " + proof.String()
		if id, err := certs.ReadIdentity(st.tls.ConnectionState().PeerCertificates[0]); err == nil {
			detail += ": " + id.String()
		}
		l.step("certificate", nil, detail)
	case weak:
		l.step("certificate", nil, "not proved, and goes on because dialback is allowed: "+words(why))
	default:
		l.step("certificate", errors.New(why), "")
	}
}

func (l *look) offers(o offers) {
	if l == nil {
		return
	}
	var all []string
	for _, f := range []struct {
		there bool
		name  string
	}{{o.mechanism, "SASL EXTERNAL"}, {o.dialback, "dialback"}, {o.bidi, "both ways (XEP-0288)"}, {o.manage, "acknowledgements (XEP-0198)"}} {
		if f.there {
			all = append(all, f.name)
		}
	}
	all = append(all, o.others...)
	l.step("features", nil, strings.Join(all, ", "))
}

// Test looks whether a stream to a domain could be had: in DNS, at the servers, at
// their certificate and at whether they believe us. No stanza is sent. It ends with
// ctx, or after the time that a stream may take.
func (s *Server) Test(ctx context.Context, domain string) []bridges.Step {
	l := &look{}
	remote, ok := Normal(domain)
	if !ok {
		l.step("domain", fmt.Errorf("%q is not a domain", domain), "")
		return l.steps
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.Build)
	defer cancel()
	defer context.AfterFunc(s.base, cancel)()
	done := make(chan struct{})
	started := s.spawn(func() {
		defer close(done)
		st, err := s.connect(ctx, pair{s.first, remote}, how{look: l})
		if err != nil {
			l.step("stream", err, "")
			return
		}
		l.passed()
		l.step("stream", nil, st.detail())
		s.endLater(st, nil)
	})
	if !started {
		l.step("stream", ErrStopped, "")
		return l.steps
	}
	<-done
	return l.steps
}

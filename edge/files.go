package edge

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/sip"
)

// filesEvery is how often certificates and authorities are looked at. Looking,
// not watching: what renews them often swaps a symbolic link above the file,
// which no watch on the file sees.
const filesEvery = 10 * time.Second

// watchFiles reads certificates and authorities again when they change, and
// gives the ticket keys a new turn once a day.
func (e *Edge) watchFiles() {
	clock := time.NewTicker(filesEvery)
	defer clock.Stop()
	rotated := time.Now()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-clock.C:
			e.ReloadCertificates()
		}
		if time.Since(rotated) > 24*time.Hour {
			rotated = time.Now()
			e.rotateTickets()
		}
		if e.hasUsers() {
			e.turnTickets(false)
		}
	}
}

// ReloadCertificates reads our certificates and those of the authorities again.
// What cannot be read leaves the old one in place. Open connections stay; new
// handshakes use what is new.
func (e *Edge) ReloadCertificates() {
	for _, t := range e.trust {
		if t.keypair != nil {
			e.reloaded(t.name, t.keypair.Reload)
		}
		if t.roots != nil {
			e.reloaded(t.name, t.roots.Reload)
		}
	}
}

func (e *Edge) reloaded(name string, reload func() (bool, error)) {
	changed, err := reload()
	switch {
	case err != nil:
		e.log.Error(logCertFailed, keyTarget, name, keyErr, err)
	case changed:
		e.log.Info(logCertificate, keyTarget, name)
		e.rotateTickets()
		if e.hasUsers() {
			e.turnTickets(true)
		}
	}
}

// rotateTickets voids the session tickets that were handed out to others than users: a
// session must not outlive what it was granted for.
func (e *Edge) rotateTickets() {
	for _, s := range e.settings {
		if !s.forUsers() {
			rotate(s.tls)
		}
	}
}

func rotate(c *tls.Config) {
	if c != nil {
		certs.Rotate(c)
	}
}

// wire are the limits that the transport keeps.
func (l Limits) wire(log *slog.Logger) wireSettings {
	s := wireSettings{
		log:    log,
		limits: sip.Limits{Header: l.Header, Body: l.Body, Fields: l.Fields},
		timeouts: timeouts{
			handshake: l.HandshakeTimeout,
			message:   l.MessageTimeout,
			idle:      l.IdleTimeout,
			write:     l.WriteTimeout,
			signIn:    l.SignInTimeout,
		},
		remoteConnections: l.RemoteConnections,
		maxOut:            l.Queue,
		handshakes:        l.Handshakes,
	}
	if l.PerSource == nil || *l.PerSource {
		s.handshakesPerSource, s.handshakeRate = handshakesPerSource, handshakeRate
	}
	return s
}

// What one source address may ask of us: handshakes at once, and full
// handshakes per second. A partner's edge opens a few; behind one address may
// be many.
const (
	handshakesPerSource = 64
	handshakeRate       = 50
)

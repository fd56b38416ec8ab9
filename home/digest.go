package home

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const (
	nonceAge   = 5 * time.Minute
	maxGuesses = 5 // wrong passwords on one connection
)

// A credential check ends in one of these.
type proof int

const (
	unproved proof = iota // ask
	stale                 // ask again: right, but the nonce has aged
	wrong                 // refuse
	proved
)

// challenge asks for a password, once for each algorithm (RFC 8760 §2.3).
func (s *Server) challenge(f *flow, req *sip.Request, isStale bool) {
	nonce := s.nonce(f, time.Now())
	var headers []sip.Header
	for _, alg := range s.cfg.Algorithms {
		c := digest.Challenge{Realm: s.cfg.Domain, Nonce: nonce, Algorithm: alg, QOP: []string{"auth"}, Stale: isStale}
		headers = append(headers, sip.NewHeader("WWW-Authenticate", c.String()))
	}
	s.respond(f, req, 401, "Unauthorized", headers...)
}

// nonce is a time and a seal on it, so that we need not remember those that we
// gave out. It is good on this connection only; what comes through the edge may
// come on another one the next time.
func (s *Server) nonce(f *flow, t time.Time) string {
	stamp := strconv.FormatInt(t.Unix(), 36)
	id := f.id
	if f.edge {
		id = 0
	}
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "nonce %d %s", id, stamp)
	return stamp + "." + hex.EncodeToString(mac.Sum(nil)[:16])
}

// proves judges the credentials of a request and names the user that they are
// for (RFC 7616 §3.4).
func (s *Server) proves(f *flow, req *sip.Request) (user string, p proof) {
	cred := s.credentials(req)
	if cred == nil {
		return "", unproved
	}
	user = strings.ToLower(cred.Username)
	if !s.matches(cred, req) {
		return user, wrong
	}
	if !s.fresh(f, cred.Nonce) {
		return user, stale
	}
	return user, proved
}

// fresh reports whether a nonce is ours, for this connection, and not too old.
// One that is not may come from the other home server of the pool, before an
// edge changed over.
func (s *Server) fresh(f *flow, nonce string) bool {
	stamp, _, _ := strings.Cut(nonce, ".")
	sec, err := strconv.ParseInt(stamp, 36, 64)
	if err != nil {
		return false
	}
	given := time.Unix(sec, 0)
	return hmac.Equal([]byte(nonce), []byte(s.nonce(f, given))) && time.Since(given) <= nonceAge
}

// credentials returns those for our realm, if there are any.
func (s *Server) credentials(req *sip.Request) *digest.Credentials {
	for _, h := range req.GetHeaders("Authorization") {
		cred, err := digest.ParseCredentials(h.Value())
		if err == nil && cred.Realm == s.cfg.Domain {
			return cred
		}
	}
	return nil
}

// matches computes what the right password would have answered. A user who does
// not exist has a password too, one that nobody knows, so that the answer and
// the time that it takes do not tell who exists.
func (s *Server) matches(cred *digest.Credentials, req *sip.Request) bool {
	password, known := s.cfg.Users[strings.ToLower(cred.Username)]
	if !known {
		password = string(s.key)
	}
	if cred.QOP != "auth" || cred.Userhash || !s.isTarget(cred.URI) {
		return false
	}
	challenge := &digest.Challenge{Realm: cred.Realm, Nonce: cred.Nonce, Algorithm: cred.Algorithm, QOP: []string{"auth"}}
	want, err := digest.Digest(challenge, digest.Options{
		Method: req.Method.String(), URI: cred.URI, Count: cred.Nc, Cnonce: cred.Cnonce,
		Username: cred.Username, Password: password,
	})
	if err != nil || cred.Cnonce == "" || cred.Nc == 0 {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(want.Response), []byte(cred.Response)) == 1 && known
}

// isTarget wants the URI that the digest covers to be ours (RFC 7616 §3.4.6).
func (s *Server) isTarget(uri string) bool {
	var u sip.Uri
	return sip.ParseUri(uri, &u) == nil && (s.isOurs(u) || s.isUs(u))
}

package s2s

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// Bounds of dialback on one stream.
const (
	maxVerifying  = 4 // keys that are being verified
	maxUnproved   = 4 // keys that may be tried before one is found good
	verifyTime    = 15 * time.Second
	maxKeys       = 256  // in all its life
	maxKey        = 1024 // octets
	maxPairsOfOne = 64   // domains that one stream may speak for
)

// dialback handles an element of dialback on a stream (XEP-0220). Answers are taken
// only where we ask, in negotiation and in verify: one that comes here was never
// asked for (XEP-0220 §3.1).
func (st *stream) dialback(e *stanza.Element) error {
	switch {
	case e.Attr("type") != "":
		return &fault{condition: "invalid-from", text: "a dialback answer that nobody asked for"}
	case e.Local == "verify":
		return st.authoritative(e)
	case e.Local == "result":
		return st.claim(e)
	}
	return &fault{condition: "unsupported-stanza-type", text: words(e.Local)}
}

// authoritative says whether a key is ours (XEP-0220 §2.2.2). Anybody may ask.
func (st *stream) authoritative(e *stanza.Element) error {
	asking, ok1 := Normal(e.Attr("from"))
	ours, ok2 := Normal(e.Attr("to"))
	if !ok1 || !ok2 {
		return &fault{condition: "improper-addressing", text: "dialback needs domains"}
	}
	switch {
	case st.tls == nil:
		return st.answer(checkError(e, "policy-violation", "only over TLS"))
	case !st.s.ours[ours]:
		return st.answer(checkError(e, "item-not-found", ""))
	}
	verdict := "invalid"
	if st.s.keys.valid(e.Text, asking, ours, e.Attr("id")) {
		verdict = "valid"
		st.confirmed = true
	} else {
		st.s.strangers.log(source(st.addr).String(), "dialback key refused", "asking", asking, "domain", ours, "addr", st.addr)
	}
	return st.answer(checkAnswer(e, verdict))
}

// checkAnswer makes the answer to a <db:result/> or <db:verify/>.
func checkAnswer(e *stanza.Element, verdict string) *stanza.Element {
	a := stanza.New(stanza.NSDialback, e.Local, attr("from", e.Attr("to")), attr("to", e.Attr("from")))
	a.SetAttr("id", e.Attr("id"))
	a.SetAttr("type", verdict)
	return a
}

// checkError makes a dialback error (XEP-0220 §2.5), which ends no stream.
func checkError(e *stanza.Element, condition, text string) *stanza.Element {
	a := checkAnswer(e, "error")
	a.Add((&stanza.Error{Condition: condition, Text: text}).Element())
	return a
}

// claim is that the other side speaks for a domain (XEP-0220 §2.2.1). A stream may
// claim several, one after the other.
func (st *stream) claim(e *stanza.Element) error {
	from, ok1 := Normal(e.Attr("from"))
	to, ok2 := Normal(e.Attr("to"))
	if !ok1 || !ok2 {
		return &fault{condition: "improper-addressing", text: "dialback needs domains"}
	}
	refuse := func(condition, text string) error {
		st.s.strangers.log(source(st.addr).String(), "domain not proved", "remote", from, "local", to, "addr", st.addr, "reason", reason(condition, text))
		return st.answer(checkError(e, condition, text))
	}
	s := st.s
	switch {
	case st.tls == nil:
		return refuse("policy-violation", "only over TLS")
	case !s.ours[to]:
		return refuse("item-not-found", "")
	case !st.in:
		// XEP-0288 §2.2 lets them ask. The id of this stream is theirs, and a key
		// should rest on one of ours.
		return refuse("not-acceptable", "open a stream to prove another domain")
	case s.ours[from]:
		return refuse("not-acceptable", "that is us")
	case !s.allows(from):
		return refuse("policy-violation", "not allowed here")
	}
	if proof, _ := s.judge(st, from); proof != bridges.ProofNone {
		// The certificate says so: nobody needs to be asked (XEP-0344 §2.4).
		return st.settleClaim(e, pair{to, from}, proof, nil)
	}
	if !s.dialback(from) && len(st.tls.ConnectionState().PeerCertificates) == 0 {
		return refuse("not-authorized", "a certificate that proves the domain is needed")
	}
	if len(e.Text) > maxKey || strings.TrimSpace(e.Text) == "" {
		return refuse("not-acceptable", "not a key")
	}
	return st.check(e, pair{to, from}, refuse)
}

// check has a key verified, while the stream is read on.
func (st *stream) check(e *stanza.Element, p pair, refuse func(condition, text string) error) error {
	s := st.s
	st.mu.Lock()
	id := st.id
	st.verified++
	switch {
	case st.proofs[p.remote] != bridges.ProofNone:
		st.mu.Unlock()
		return st.settleClaim(e, p, bridges.ProofDialback, nil)
	case st.verifying >= maxVerifying, len(st.proofs) >= maxPairsOfOne, st.verified > maxKeys,
		len(st.proofs) == 0 && st.verified > maxUnproved, !s.verifies.take(source(st.addr)):
		st.mu.Unlock()
		return refuse("resource-constraint", "too many keys")
	}
	st.verifying++
	if !st.provedBy.IsZero() {
		// Who has shown a key waits for us, and not the other way round.
		st.provedBy = time.Now().Add(verifyTime + time.Second)
		st.armLocked()
	}
	st.mu.Unlock()
	started := s.spawn(func() {
		defer s.verifies.leave(source(st.addr))
		ctx, cancel := context.WithTimeout(s.base, verifyTime)
		proof, err := st.proveClaim(ctx, p, id, strings.TrimSpace(e.Text))
		cancel()
		if f := st.settleClaim(e, p, proof, err); f != nil {
			st.leave(f.(*fault), err)
		}
		st.mu.Lock()
		st.verifying--
		st.mu.Unlock()
	})
	if !started {
		s.verifies.leave(source(st.addr))
		return ErrStopped
	}
	return nil
}

// proveClaim asks DNS whether the certificate is one of the domain, which is the
// better proof, and else the domain's own server about the key.
func (st *stream) proveClaim(ctx context.Context, p pair, id, key string) (bridges.Proof, error) {
	if ok, _ := st.s.vouchedFor(ctx, st, p.remote); ok {
		return bridges.ProofDANE, nil
	}
	if !st.s.dialback(p.remote) {
		return bridges.ProofNone, errOnlyCertificates
	}
	return bridges.ProofDialback, st.s.verify(ctx, p, id, key)
}

// errOnlyCertificates is that a domain may not be proved by dialback.
var errOnlyCertificates = fmt.Errorf("%w: a certificate that proves the domain is needed", ErrUntrusted)

// errInvalid is the authoritative server's word that a key is not its own.
var errInvalid = errors.New("the domain's own server says that it is not it")

// settleClaim tells the other side whether a domain is proved. The error is nil or
// a *fault.
func (st *stream) settleClaim(e *stanza.Element, p pair, proof bridges.Proof, err error) error {
	if err == nil {
		if f := st.proved(p, proof, stanza.Append(nil, checkAnswer(e, "valid"))); f != nil {
			return f
		}
		return nil
	}
	st.s.strangers.log(source(st.addr).String(), "domain not proved", "remote", p.remote, "local", p.local, "addr", st.addr, "reason", words(err.Error()))
	st.mu.Lock()
	others := len(st.proofs) > 0
	st.mu.Unlock()
	switch {
	case errors.Is(err, errInvalid) && others:
		// "this behavior will not result in the loss of the whole stream" (XEP-0220
		// §2.1.2).
		st.say(checkError(e, "forbidden", ""))
	case errors.Is(err, errInvalid):
		st.say(checkAnswer(e, "invalid"))
		// XEP-0220 §2.2.1: "MUST close the XML stream".
		return &fault{condition: "not-authorized", text: "the key is not valid"}
	default:
		st.say(checkError(e, checkCondition(err), ""))
	}
	return nil
}

// checkCondition is the dialback error for a key that could not be verified
// (XEP-0220 §2.5).
func checkCondition(err error) string {
	if errors.Is(err, errOnlyCertificates) {
		return "not-authorized"
	}
	switch kind(err) {
	case ErrNoServer:
		return "remote-server-not-found"
	case ErrUntrusted, ErrRefused:
		return "not-acceptable"
	}
	return "remote-server-timeout"
}

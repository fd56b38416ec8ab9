package s2s

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// authenticate proves that we are who we say: by our certificate, or else by
// dialback on the same stream.
func (n *negotiation) authenticate() error {
	both := n.offers.bidi && !n.s.c.OneWay && !n.how.oneWay
	if both {
		// XEP-0288 §2.2: before SASL and dialback. There is no answer.
		n.say(stanza.New(nsBidi, "bidi"))
		n.mu.Lock()
		n.bidi = true
		n.mu.Unlock()
	}
	if n.offers.mechanism && !n.how.noExternal {
		done, err := n.external()
		if err != nil {
			return n.otherwise(both, err)
		}
		if done {
			return nil
		}
	}
	err := n.callback()
	n.how.look.step("dialback", err, "they called back and believed us")
	return n.otherwise(both, err)
}

// otherwise returns what is to be tried when the other side has ended the stream over
// what we said to prove ourselves, and else what failed.
func (n *negotiation) otherwise(both bool, err error) error {
	switch {
	case err == nil:
		return nil
	case n.refused != nil && gone(err):
		// Some end the stream after a failure (XEP-0178 §3).
		return &errAgain{func(h *how) { h.noExternal = true }, n.refused}
	case n.refused != nil:
		return fmt.Errorf("SASL: %w; dialback: %w", n.refused, err)
	case both && gone(err):
		// COMPAT(ejabberd): 24.10 to 26.04 offer streams both ways, and some of them
		// end the stream of who wants that.
		return &errAgain{func(h *how) { h.oneWay = true }, err}
	}
	return err
}

// gone reports whether the other side has ended the stream: over what we said, if it
// says why.
func gone(err error) bool {
	if cut(err) || errors.Is(err, errEnded) {
		return true
	}
	c, ok := errors.AsType[*complaint](err)
	return ok && c.of == "stream" && slices.Contains([]string{"unsupported-stanza-type", "unsupported-feature", "invalid-namespace",
		"invalid-xml", "bad-format", "not-authorized", "policy-violation", "undefined-condition"}, c.condition)
}

// unshown returns that the server is to be tried without our certificate, if it has ended
// the connection over that: then it never hears what else would prove us. Public
// authorities give certificates for servers only, and many a TLS library takes none of
// those from a client, before a server that would have believed dialback can say so. With
// TLS 1.3 that shows only when we read what comes next (RFC 8446 §4.4.4).
func (n *negotiation) unshown(err error) error {
	switch alert := alertIn(err); {
	case !n.shown:
		return err
	case alert != nil:
		err = fmt.Errorf("%w: it does not take our certificate: %w", ErrRefused, alert)
	case !cut(err):
		return err
	}
	n.how.look.step("our certificate", err, "")
	return &errAgain{func(h *how) { h.noCertificate = true }, err}
}

// external tries SASL EXTERNAL. Without a name we are who the stream is from
// (RFC 6120 §6.3.8); servers of old want it nevertheless.
func (n *negotiation) external() (done bool, err error) {
	for _, name := range []string{"=", base64.StdEncoding.EncodeToString([]byte(n.local))} {
		e := stanza.New(nsSASL, "auth", attr("mechanism", "EXTERNAL"))
		e.Text = name
		n.say(e)
		answer, err := n.expect()
		if err == nil && answer.Is(nsSASL, "challenge") {
			r := stanza.New(nsSASL, "response")
			r.Text = name
			n.say(r)
			answer, err = n.expect()
		}
		switch {
		case err != nil:
		case answer.Is(nsSASL, "success"):
			n.how.look.step("SASL EXTERNAL", nil, "they believe our certificate")
			n.r.Reset(&n.src)
			n.mu.Lock()
			n.opened = false
			n.mu.Unlock()
			return true, n.begin()
		case answer.Is(nsSASL, "failure"):
			c := complaintOf(answer, "sasl", nsSASL)
			n.refused = c
			if c.condition == "invalid-authzid" || c.condition == "incorrect-encoding" || c.condition == "malformed-request" {
				continue
			}
			n.how.look.step("SASL EXTERNAL", c, "")
			return false, nil
		default:
			err = &fault{condition: "unsupported-stanza-type", text: "neither success nor failure"}
		}
		n.how.look.step("SASL EXTERNAL", err, "")
		return false, err
	}
	n.how.look.step("SASL EXTERNAL", n.refused, "")
	return false, nil
}

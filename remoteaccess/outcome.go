package remoteaccess

import (
	"bytes"

	"github.com/sipedge/sipedge/sip"
)

// An Outcome is what an answer says about the credentials of its request. The
// zero Outcome says nothing.
type Outcome int

// What an answer can say.
const (
	OutcomeNone     Outcome = iota // nothing about them
	OutcomeProgress                // neither: the exchange goes on
	OutcomeFailed                  // they are wrong
	OutcomeAccepted                // the registrar took the registration
	OutcomePassed                  // a request other than REGISTER got through with them
)

// String returns the outcome as a word.
func (o Outcome) String() string {
	switch o {
	case OutcomeProgress:
		return "progress"
	case OutcomeFailed:
		return "failed"
	case OutcomeAccepted:
		return "accepted"
	case OutcomePassed:
		return "passed"
	}
	return "none"
}

// ReadOutcome says what resp, an answer of the home server, means for the
// sign-in that req tried.
func ReadOutcome(req, resp *sip.Message) Outcome {
	return ReadCredentials(req).Outcome(req.Method(), resp)
}

// Outcome is ReadOutcome for who has kept of the request only its credentials.
func (c Credentials) Outcome(method []byte, resp *sip.Message) Outcome {
	return c.left().outcome(string(method) == "REGISTER", resp)
}

// A brought is what must be kept of credentials to know what an answer says of them.
type brought struct {
	any   bool
	tried schemes // those under which a challenge is a refusal, unless it says otherwise
}

// left is what of the credentials is kept.
func (c *Credentials) left() brought { return brought{c.Present(), c.tried} }

// outcome is what resp says to a request with these credentials.
//
// A 2xx to another request than REGISTER is less than one to REGISTER: many a
// home server does not look at the credentials of what comes by a registered
// flow, so that it would prove any.
func (b brought) outcome(register bool, resp *sip.Message) Outcome {
	status := resp.Status()
	switch {
	case status >= 200 && status < 300 && register:
		return OutcomeAccepted
	case !b.any:
		return OutcomeNone
	case status >= 200 && status < 300:
		return OutcomePassed
	case status == 401:
		return b.challenged(sip.WWWAuthenticate, resp)
	case status == 407:
		return b.challenged(sip.ProxyAuthenticate, resp)
	case register && (status == 403 || status == 404):
		return OutcomeFailed
	}
	return OutcomeNone
}

// finalHandshakeFailed is the number that Microsoft servers give to a wrong
// password.
const finalHandshakeFailed = "1000"

// challenged judges a 401 or 407.
//
// With stale=true a server says that the nonce was old. RFC 2617 wanted the
// digest to be right, RFC 7616 §3.3 leaves open whether it was looked at: either
// way a wrong guess learns nothing from it, and is none that failed. That it is
// said for ever is the matter of Guard.
//
// NTLM, Kerberos and TLS-DSK go on as long as the server has data for them, or
// the client has had none for it: with a signature of a key that the server has
// forgotten, too, they begin anew. Of several credentials all must go on.
func (b brought) challenged(h sip.Header, resp *sip.Message) Outcome {
	if diagnosed(resp) || b.tried&^goesOn(h, resp) != 0 {
		return OutcomeFailed
	}
	return OutcomeProgress
}

// diagnosed reports whether the server says in so many words that the sign-in
// failed.
func diagnosed(resp *sip.Message) bool {
	for i := range resp.Fields() {
		f := resp.Field(i)
		if f.ID != sip.MSDiagnostics && f.ID != sip.MSDiagnosticsPublic {
			continue
		}
		code, _, _ := bytes.Cut(f.Value, []byte(";"))
		if string(bytes.TrimSpace(code)) == finalHandshakeFailed {
			return true
		}
	}
	return false
}

// goesOn returns the schemes whose challenges say that the exchange goes on.
func goesOn(h sip.Header, resp *sip.Message) (set schemes) {
	for i := range resp.Fields() {
		f := resp.Field(i)
		if f.ID != h {
			continue
		}
		r := authReader{b: f.Value}
		scheme := SchemeNone
		for r.next() {
			switch {
			case r.param == nil:
				scheme = schemeNamed(r.scheme)
			case scheme == SchemeDigest && bytes.EqualFold(r.param, []byte("stale")) && bytes.EqualFold(r.value, []byte("true")):
				set.add(scheme)
			case (scheme == SchemeNTLM || scheme == SchemeKerberos || scheme == SchemeTLSDSK) &&
				bytes.EqualFold(r.param, []byte("gssapi-data")) && len(r.value) > 0:
				set.add(scheme)
			}
		}
	}
	return set
}

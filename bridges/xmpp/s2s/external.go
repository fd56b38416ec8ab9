package s2s

import (
	"encoding/base64"
	"strings"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// maxFailures is how many attempts at SASL may fail on one stream (RFC 6120
// §6.4.5).
const maxFailures = 3

// external handles SASL on a stream that they opened. There is one mechanism,
// EXTERNAL, and one authorization identity that it may have: the domain of the
// header, which the certificate proves (RFC 6120 §6.3.8, XEP-0178 §3).
func (st *stream) external(e *stanza.Element) error {
	if st.restarted || st.tls == nil {
		return &fault{condition: "policy-violation", text: "not the time for SASL"}
	}
	switch e.Local {
	case "auth":
		switch {
		case e.Attr("mechanism") != "EXTERNAL":
			return st.refuseSASL("invalid-mechanism", "")
		case strings.TrimSpace(e.Text) == "":
			// No initial response: it is asked for (RFC 6120 §6.4.3).
			st.asked = true
			return st.answer(stanza.New(nsSASL, "challenge"))
		}
	case "response":
		if !st.asked {
			return st.refuseSASL("malformed-request", "nothing was asked")
		}
	case "abort":
		return st.refuseSASL("aborted", "")
	default:
		return &fault{condition: "unsupported-stanza-type", text: words(e.Local)}
	}
	st.asked = false
	return st.authorize(strings.TrimSpace(e.Text))
}

func (st *stream) authorize(response string) error {
	name, ok := decodeName(response)
	from := st.theirs.from
	switch {
	case !ok:
		return st.refuseSASL("incorrect-encoding", "")
	case from == "":
		return st.refuseSASL("not-authorized", "the stream says from nobody")
	case name != "" && name != from:
		return st.refuseSASL("invalid-authzid", "not the domain of the stream")
	case st.s.ours[from] || !st.s.allows(from):
		return st.refuseSASL("not-authorized", "not allowed here")
	}
	proof, why := st.s.judge(st, from)
	if proof == bridges.ProofNone {
		return st.refuseSASL("not-authorized", why)
	}
	st.restarted = true
	success := stanza.Append(nil, stanza.New(nsSASL, "success"))
	if f := st.proved(pair{st.theirs.to, from}, proof, success); f != nil {
		return f
	}
	return errRestart
}

// decodeName reads the authorization identity: "=" is none (RFC 6120 §6.4.2).
func decodeName(response string) (string, bool) {
	if response == "=" || response == "" {
		return "", true
	}
	raw, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		return "", false
	}
	if len(raw) == 0 {
		return "", true
	}
	d, ok := Normal(string(raw))
	if !ok {
		// Nobody's name, and so nobody's certificate.
		return "?", true
	}
	return d, true
}

// refuseSASL answers an attempt. The stream goes on, for dialback (RFC 6120 §6.4.5),
// but not for ever.
func (st *stream) refuseSASL(condition, text string) error {
	st.asked = false
	st.failures++
	st.s.strangers.log(source(st.addr).String(), "sasl refused", "remote", st.theirs.from, "addr", st.addr, "reason", reason(condition, text))
	e := stanza.New(nsSASL, "failure")
	e.Add(stanza.New(nsSASL, condition))
	if text != "" {
		e.AddText(nsSASL, "text", text).SetLang("en")
	}
	if err := st.answer(e); err != nil {
		return err
	}
	if st.failures >= maxFailures {
		return &fault{condition: "policy-violation", text: "too many attempts"}
	}
	return nil
}

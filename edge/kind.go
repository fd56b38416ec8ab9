package edge

import (
	"bytes"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// kindsOf says what a request carries, as far as a proxy can see: by method,
// event package, type of the body and session description. The empty set is
// what only goes on with something that was judged when it began.
//
// It reads what strangers wrote and must not be talked into seeing less than
// the endpoint will: what it cannot read is KindOther, which no entry can list.
// What a session of messages carries later (a picture over MSRP) it does not
// see: that is between the parties.
func kindsOf(m *sip.Message) allowlists.Kinds {
	switch string(m.Method()) {
	case "MESSAGE":
		return messageKinds(m)
	case "INVITE":
		k, described := bodyKinds(m)
		switch {
		case !described:
			// Who makes no offer leaves it to the answer (RFC 3261 §13.2.1),
			// which passes no door: it may be anything, and is most of all a call.
			k |= allowlists.KindCalls
		case k == 0:
			k = within(m, allowlists.KindCalls) // nothing yet, but it rings
		}
		return k
	case "UPDATE", "PRACK":
		// Each may bring a new offer (RFC 3311 §5.1, RFC 3262 §5); without one
		// it changes nothing.
		k, _ := bodyKinds(m)
		return k
	case "SUBSCRIBE", "NOTIFY", "BENOTIFY", "PUBLISH":
		return eventKinds(m)
	case "SERVICE":
		return allowlists.KindPresence // in the Microsoft dialect: one's own state, one's contacts
	case "ACK", "BYE", "CANCEL", "OPTIONS":
		// The description in an ACK is an answer, and adds nothing to the offer.
		return 0
	case "INFO":
		return within(m, allowlists.KindOther) // RFC 6086 §4: there is none outside of a dialog
	case "REFER":
		return within(m, allowlists.KindCalls) // RFC 3515: asks a phone to call somebody
	}
	return allowlists.KindOther
}

// within returns the empty set for a request within a dialog, and k for one
// that would begin something. A To tag is believed here, because from outside
// it leads nowhere without our token.
func within(m *sip.Message, k allowlists.Kinds) allowlists.Kinds {
	if to, err := m.To(); err == nil && len(to.Tag()) > 0 {
		return 0
	}
	return k
}

// eventKinds judges by the event package (RFC 6665 §7.2). What the body says is
// the package's business.
func eventKinds(m *sip.Message) allowlists.Kinds {
	if m.Count(sip.Event) != 1 {
		return allowlists.KindOther
	}
	name, _, _ := bytes.Cut(m.Value(sip.Event), []byte(";"))
	// A template asks who watches a package (RFC 3857 §4) and goes with it.
	name, _, _ = bytes.Cut(bytes.Trim(name, mimeBlanks), []byte("."))
	var room [64]byte
	switch name := lower(room[:0], name); string(name) {
	case "presence", "xcap-diff":
		return allowlists.KindPresence
	case "conference", "dialog", "message-summary", "kpml":
		// Who takes part in a conference, who is on the phone, what waits in
		// the voice mail, which keys are pressed.
		return allowlists.KindCalls
	case "refer":
		return within(m, allowlists.KindCalls) // how a REFER goes on, that was judged itself (RFC 3515 §2.4.4)
	default:
		if bytes.HasPrefix(name, []byte("vnd-microsoft-roaming-")) || bytes.HasPrefix(name, []byte("vnd-microsoft-provisioning")) {
			return allowlists.KindPresence
		}
	}
	return allowlists.KindOther
}

// lower appends b in lower case; nothing if b is longer than the room.
func lower(room, b []byte) []byte {
	if len(b) > cap(room) {
		return room
	}
	return appendLower(room, b)
}

// notAcceptable gives a refusal the status that its sender understands: a
// session whose media are not wanted is 488, and one that goes on already stays
// as it was (RFC 3261 §13.3.1.3, §14.2; RFC 3311 §5.2).
func notAcceptable(m *sip.Message, v allowlists.Verdict) allowlists.Verdict {
	if v.Reason != allowlists.PartnerKind && v.Reason != allowlists.AccessKind {
		return v
	}
	switch string(m.Method()) {
	case "INVITE", "UPDATE", "PRACK":
		v.Status = 488
	}
	return v
}

package xmpp

import (
	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// failureOf returns the error that a failure is for the sender of the message, nil if
// it is none.
func failureOf(n *body.IMDN) *stanza.Error {
	if n.Means() != body.Failed {
		return nil
	}
	switch n.Status {
	case "forbidden":
		return &stanza.Error{Condition: "forbidden", Type: "auth"}
	case "failed":
		return &stanza.Error{Condition: "recipient-unavailable", Type: "wait"}
	}
	return &stanza.Error{Condition: "undefined-condition", Type: "cancel"}
}

// failureStatus returns the status of an IMDN for a stanza error.
func failureStatus(e *stanza.Error) string {
	switch e.Condition {
	case "forbidden", "not-allowed":
		return "forbidden"
	case "internal-server-error", "undefined-condition":
		return "error"
	}
	return "failed"
}

package xmpp

import (
	"errors"
	"strconv"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/s2s"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// outcomes are what becomes of a stanza that could not be delivered, at both sides.
// The texts are ours: what the other server said goes to the log.
//
// 408 to another request than INVITE is what RFC 4320 §4.2 forbids, because it is
// always late where it says that nothing was heard. Here it says why, and in time; and it
// is what RFC 7247 §7.1 maps to.
var outcomes = []struct {
	err    error
	status int
	cond   condition
	text   string
}{
	{s2s.ErrTooLarge, 413, condition{"policy-violation", "modify"}, "the message is larger than the XMPP server takes"},
	{s2s.ErrNoServer, 404, condition{"remote-server-not-found", "cancel"}, "the domain has no XMPP server"},
	{s2s.ErrUnreachable, 408, condition{"remote-server-timeout", "wait"}, "the XMPP server cannot be reached"},
	{s2s.ErrRefused, 403, condition{"forbidden", "auth"}, "the XMPP server refuses to talk with us"},
	{s2s.ErrUntrusted, 403, condition{"forbidden", "auth"}, "the XMPP server does not prove who it is"},
	{s2s.ErrTimeout, 408, condition{"remote-server-timeout", "wait"}, "the XMPP server did not answer in time"},
	{s2s.ErrQueueFull, 500, condition{"resource-constraint", "wait"}, "too much waits for the XMPP server"},
	{s2s.ErrLost, 408, condition{"remote-server-timeout", "wait"}, "the connection to the XMPP server was lost"},
	{s2s.ErrStopped, 480, condition{"recipient-unavailable", "wait"}, "the bridge to XMPP is being stopped"},
	{nil, 500, condition{"internal-server-error", "cancel"}, "the message could not be handed over"},
}

// statusOfOutcome returns the answer to a request whose stanza came to an end: 200 if
// err is nil.
func statusOfOutcome(err error) bridges.Response {
	if err == nil {
		return bridges.Response{Status: 200}
	}
	for _, o := range outcomes {
		if o.err == nil || errors.Is(err, o.err) {
			resp := bridges.Response{Status: o.status, Fields: bridges.Fields{reason(strconv.Itoa(o.status), o.text)}}
			if o.cond.kind == "wait" && mayRetryAfter(o.status) {
				resp.Fields = append(resp.Fields, bridges.Field{Name: "Retry-After", Value: retryAfter})
			}
			return resp
		}
	}
	panic("unreachable: the last one is for all")
}

// conditionOfOutcome returns the stanza error of the same, nil if err is.
func conditionOfOutcome(err error) *stanza.Error {
	if err == nil {
		return nil
	}
	for _, o := range outcomes {
		if o.err == nil || errors.Is(err, o.err) {
			return &stanza.Error{Condition: o.cond.name, Type: o.cond.kind, Text: o.text}
		}
	}
	panic("unreachable: the last one is for all")
}

// refusalOfAddress is the answer to a request with such an address.
func refusalOfAddress(e *address.Error) bridges.Response {
	return bridges.Response{Status: e.Status, Fields: bridges.Fields{reason(strconv.Itoa(e.Status), e.Text)}}
}

// errorOfAddress is the error for a stanza with such an address.
func errorOfAddress(e *address.Error) *stanza.Error {
	return &stanza.Error{Condition: e.Condition, Text: e.Text}
}

// bounceable reports whether the sender of a stanza may be told that it failed. Of
// presence only what asks or answers for a subscription is: whoever merely tells
// that he is there, or looks, does not learn who exists here.
func bounceable(e *stanza.Element) bool {
	switch e.Attr("type") {
	case "error", "result":
		return false
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed":
		return true
	}
	return e.Local != "presence"
}

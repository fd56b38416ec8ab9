package xmpp

import (
	"strings"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// What goes along with a refusal.
const (
	// allowed are the methods that an XMPP user takes (RFC 3261 §20.5).
	allowed = "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY"
	// retryAfter are the seconds after which something that is over soon is tried
	// again. XMPP says "wait", and not how long.
	retryAfter = "60"
)

// statusOf returns the answer that a stanza error becomes (RFC 7247 §7.1). full says
// that the error is about a full JID. sole says that nobody but the XMPP domain can
// answer for the address: only then a refusal may end all forks of a request, as
// 6xx does (RFC 3261 §16.7).
//
// It is for requests: nothing answers an answer or an ACK.
func statusOf(e *stanza.Error, full, sole bool, a *address.Table) bridges.Response {
	resp := bridges.Response{Status: statusFor(e), Phrase: phrase(e.Text)}
	if all := everywhere[e.Condition]; all != 0 && sole && !full {
		resp.Status = all
	}
	switch e.Condition {
	case "feature-not-implemented":
		if resp.Status = 501; full {
			resp.Status = 405
			resp.Fields = append(resp.Fields, bridges.Field{Name: "Allow", Value: allowed}) // RFC 3261 §21.4.6
		}
	case "gone", "redirect":
		if contact := contactOf(e.To, a); contact != "" {
			resp.Status = 302
			if e.Condition == "gone" {
				resp.Status = 301
			}
			resp.Fields = append(resp.Fields, bridges.Field{Name: "Contact", Value: contact})
		}
	}
	if e.Condition == "recipient-unavailable" || e.Type == "wait" && mayRetryAfter(resp.Status) {
		resp.Fields = append(resp.Fields, bridges.Field{Name: "Retry-After", Value: retryAfter})
	}
	return resp
}

// everywhere are the statuses for conditions of a user as a whole.
var everywhere = map[string]int{
	"forbidden":             603,
	"item-not-found":        604,
	"not-acceptable":        606,
	"recipient-unavailable": 600,
}

// statusFor returns the status of a condition where there is no more to it.
func statusFor(e *stanza.Error) int {
	switch e.Condition {
	case "forbidden", "not-allowed",
		// 401 and 407 need a challenge (RFC 3261 §21.4.2, §21.4.8), and XMPP has none
		// that a SIP user could answer.
		"not-authorized", "registration-required":
		return 403
	case "item-not-found", "remote-server-not-found":
		return 404
	case "not-acceptable":
		return 406
	case "remote-server-timeout":
		return 408
	case "gone":
		return 410
	case "policy-violation":
		if aboutSize(e.Text) {
			return 413
		}
		return 403
	case "recipient-unavailable", "redirect":
		return 480
	case "unexpected-request":
		if e.Type == "wait" {
			return 491
		}
	case "internal-server-error", "resource-constraint":
		return 500
	case "service-unavailable":
		// Never 503: whoever hears it takes the whole edge for broken and goes
		// elsewhere (RFC 7247 §7.1).
		return 403
	}
	return 400
}

// aboutSize reports whether a policy is one of sizes.
func aboutSize(text string) bool {
	text = strings.ToLower(text)
	for _, word := range []string{"size", "too large", "too big", "too long", "octets", "bytes", "maximum length"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// mayRetryAfter reports whether a status may carry Retry-After (RFC 3261 §20.33).
func mayRetryAfter(status int) bool {
	switch status {
	case 404, 413, 480, 486, 500, 503, 600, 603:
		return true
	}
	return false
}

// condition is a stanza error without its text.
type condition struct{ name, kind string }

// conditions are what final answers become (RFC 7247 §7.2). 503 is no
// service-unavailable: that says something of a user, 503 of a server.
var conditions = map[int]condition{
	380: {"not-acceptable", "modify"},
	401: {"not-authorized", "auth"},
	403: {"forbidden", "auth"},
	404: {"item-not-found", "cancel"},
	405: {"feature-not-implemented", "cancel"},
	406: {"not-acceptable", "modify"},
	407: {"registration-required", "auth"},
	408: {"remote-server-timeout", "wait"},
	410: {"gone", "cancel"},
	413: {"policy-violation", "modify"},
	414: {"policy-violation", "modify"},
	415: {"not-acceptable", "modify"},
	416: {"not-acceptable", "modify"},
	420: {"feature-not-implemented", "cancel"},
	421: {"not-acceptable", "modify"},
	423: {"resource-constraint", "wait"},
	430: {"recipient-unavailable", "wait"},
	439: {"feature-not-implemented", "cancel"},
	440: {"policy-violation", "modify"},
	480: {"recipient-unavailable", "wait"},
	481: {"item-not-found", "cancel"},
	482: {"not-acceptable", "modify"},
	483: {"not-acceptable", "modify"},
	484: {"item-not-found", "cancel"},
	485: {"item-not-found", "cancel"},
	486: {"recipient-unavailable", "wait"},
	487: {"recipient-unavailable", "wait"},
	488: {"not-acceptable", "modify"},
	489: {"policy-violation", "modify"},
	491: {"unexpected-request", "wait"},
	501: {"feature-not-implemented", "cancel"},
	502: {"remote-server-not-found", "cancel"},
	504: {"remote-server-timeout", "wait"},
	505: {"not-acceptable", "modify"},
	513: {"policy-violation", "modify"},
	604: {"item-not-found", "cancel"},
	606: {"not-acceptable", "modify"},
}

// classes are what the answers become that are not in conditions.
var classes = map[int]condition{
	3: {"redirect", "modify"},
	4: {"bad-request", "modify"},
	5: {"internal-server-error", "cancel"},
	6: {"recipient-unavailable", "wait"},
}

// conditionOf returns the stanza error that a final answer becomes
// (RFC 7247 §7.2), nil for one that is no error. Whether a stanza may be answered with
// an error at all, stanza.Bounce knows.
func conditionOf(resp *bridges.Response, a *address.Table) *stanza.Error {
	if resp.Status < 300 {
		return nil
	}
	c, ok := conditions[resp.Status]
	if !ok {
		c = classes[resp.Status/100]
	}
	e := &stanza.Error{Condition: c.name, Type: c.kind, Text: phrase(resp.Phrase)}
	switch {
	case resp.Status == 301:
		e.Condition, e.Type = "gone", "cancel"
		e.To = movedTo(resp.Fields, a)
	case c.name == "redirect":
		if e.To = movedTo(resp.Fields, a); e.To == "" {
			// A redirect must say where to (RFC 6120 §8.3.3.14).
			e.Condition, e.Type = "recipient-unavailable", "wait"
		}
	case resp.Local && resp.Status == 404:
		e.Condition = "remote-server-not-found"
	case resp.Local && resp.Status == 403:
		e.Condition, e.Type = "not-allowed", "cancel"
	case resp.Status == 503 && resp.Local:
		e.Type = "wait" // nothing could be sent at this moment
	case resp.Fields.Get("Retry-After") != "" && (c.kind == "cancel" || c.kind == "modify"):
		if e.Condition == "internal-server-error" || e.Condition == "policy-violation" {
			e.Type = "wait"
		}
	}
	return e
}

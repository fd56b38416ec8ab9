package xmpp

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/pidf"
)

// A notice is what a NOTIFY says.
type notice struct {
	state, reason string
	expires       time.Duration // of a subscription that goes on; 0: not said
	after         time.Duration // Retry-After; 0: not said
	hasBody       bool
	tuples        []pidf.Tuple
}

// notify takes a NOTIFY, or a BENOTIFY of the Microsoft dialect.
func (p *presence) notify(in *bridges.Incoming) {
	if in.Dialog == nil {
		in.Answer(bridges.Response{Status: 481}, "")
		return
	}
	u, ok := in.Dialog.Data.(*usage)
	if !ok {
		in.Answer(bridges.Response{Status: 481}, "")
		return
	}
	n, refusal := p.readNotice(in, u.ours)
	if refusal.Status != 0 {
		p.log.Info("notification was refused", "call_id", in.CallID, "status", refusal.Status, "reason", refusal.Phrase)
		in.Answer(refusal, "")
		return
	}
	if !p.loop.offer(func() { p.notified(u, in, n) }) {
		in.Answer(busy, "")
	}
}

// busy is the answer where there is too much to do. A 503 would have the home
// server take the whole edge for broken.
var busy = bridges.Response{Status: 500, Phrase: "Too much presence", Fields: bridges.Fields{{Name: "Retry-After", Value: "10"}}}

// readNotice reads a NOTIFY about ours; a Status says that it is refused.
func (p *presence) readNotice(in *bridges.Incoming, ours string) (n notice, refusal bridges.Response) {
	if !isPresence(in.Fields.Get("Event")) {
		return n, badEvent
	}
	state, params, _ := strings.Cut(in.Fields.Get("Subscription-State"), ";")
	n.state = strings.ToLower(strings.TrimSpace(state))
	if n.state == "" {
		return n, bridges.Response{Status: 400, Phrase: "No Subscription-State"}
	}
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(param, "=")
		value = strings.ToLower(strings.TrimSpace(value))
		seconds, err := strconv.ParseUint(value, 10, 31)
		switch name = strings.ToLower(strings.TrimSpace(name)); {
		case name == "reason":
			n.reason = value
		case err != nil:
		case name == "expires":
			n.expires = time.Duration(seconds) * time.Second
		case name == "retry-after":
			n.after = time.Duration(seconds) * time.Second
		}
	}
	if len(in.Body) == 0 {
		return n, bridges.Response{}
	}
	tuples, err := pidf.Read(in.ContentType, in.Fields.Get("Content-Language"), in.Body,
		func(id, contact string) string { return p.resourceOf(ours, id, contact) })
	switch {
	case err == pidf.ErrType:
		return n, bridges.Response{Status: 415, Fields: bridges.Fields{{Name: "Accept", Value: pidf.Type}}}
	case err != nil:
		return n, bridges.Response{Status: 400, Phrase: "Bad presence document"}
	}
	n.tuples, n.hasBody = tuples, tuples != nil
	return n, bridges.Response{}
}

var badEvent = bridges.Response{Status: 489, Fields: bridges.Fields{{Name: "Allow-Events", Value: "presence"}}}

// isPresence reports whether a value of Event is our package. A template such as
// presence.winfo is another one.
func isPresence(event string) bool {
	name, _, _ := strings.Cut(event, ";")
	return strings.TrimSpace(name) == "presence"
}

// defaultResource is that of a tuple that has no name.
const defaultResource = "sip"

// resourceOf names the resource of a tuple: after the GRUU in its contact, so that
// it is called as in messages of the same device, else after its id.
func (p *presence) resourceOf(ours, id, contact string) string {
	if strings.Contains(contact, ";gr=") {
		j, err := p.addresses.JID(contact)
		if err == nil && j.Resourcepart() != "" && j.Bare().String() == ours {
			return j.Resourcepart()
		}
	}
	name := strings.TrimPrefix(id, "ID-")
	if name == "" {
		return defaultResource
	}
	resource, err := address.Resource(name)
	if err != nil {
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:8])
	}
	return resource
}

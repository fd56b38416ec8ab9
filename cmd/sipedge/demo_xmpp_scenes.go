package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sipedge/sipedge/admin"
	"github.com/sipedge/sipedge/bridges/xmpp"
)

// xmppScenes are those between acme and the XMPP network. The same are played with
// another server than the demo's.
func (d *demo) xmppScenes() []scene {
	alice, carl, kim := d.acme.address("alice"), d.acme.address("carl"), jabberUser+"@"+jabberDomain
	return []scene{
		{"somebody on the XMPP network is written to, and her server has it", alice, kim, "MESSAGE",
			outcome{Answers: []int{200}, Reason: "partner.allowed", Note: "acknowledged"}, d.toXMPP("alice", "acknowledged")},
		{"and writes back", kim, alice, "message",
			outcome{Answers: []int{200}, Reason: "partner.allowed"}, d.fromXMPP("alice")},
		{"she is asked, says yes, and is seen", alice, kim, "SUBSCRIBE",
			outcome{Answers: []int{200, 200}, Reason: "partner.allowed", Note: "pending, open"}, d.watchXMPP},
		{"she sees who is there", kim, alice, "subscribe",
			outcome{Answers: []int{200}, Reason: "partner.allowed", Note: "available"}, d.watchedFromXMPP},
		{"who was not let onto the network is refused", carl, kim, "MESSAGE",
			outcome{Answers: []int{403}, Reason: "bridge.not_enabled"}, d.toXMPP("carl", "")},
		{"and for the network he is not there", kim, carl, "message",
			outcome{Answers: []int{404}, Reason: "bridge.not_enabled", Note: "bounced"}, d.fromXMPP("carl")},
		{"the administrator lets him", carl, kim, "MESSAGE",
			outcome{Answers: []int{200}, Reason: "partner.allowed", Note: "bridge allow"}, d.letOntoXMPP},
	}
}

// xmppHops is how many send on what one of acme writes to the XMPP network: the author,
// his home server, the edge, and the server there. No stanza says so.
const xmppHops = 4

// toXMPP is one text from a user of acme to kim. 200 says that her server has taken
// it on.
func (d *demo) toXMPP(name, note string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		text := "Hello, here is " + name + ". ¿Qué tal?"
		a, err := d.acme.users[name].Message(ctx, "sip:"+jabberUser+"@"+jabberDomain, text)
		if err != nil {
			return outcome{}, err
		}
		o := outcome{Answers: []int{a.Status}, Millis: millis(a.Took)}
		if a.Status < 300 {
			s, err := hears(ctx, d.kim, "the message", func(s xmppStanza) bool { return s.kind == "message" && s.body != "" })
			if err != nil {
				return o, err
			}
			if from := d.acme.address(name); s.body != text || bareJID(s.from) != from {
				return o, fmt.Errorf("%s heard %q from %s, want %q from %s", jabberUser, s.body, s.from, text, from)
			}
			o.Hops, o.Note = xmppHops, note
		}
		return d.explained(ctx, o, d.acme, a.CallID, "MESSAGE")
	}
}

// fromXMPP is one text from kim to a user of acme, or the error that she gets. The
// thread becomes the Call-ID, by which the edge's log has it (RFC 7572 §4).
func (d *demo) fromXMPP(name string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) {
		text, thread := "Hello "+name+", this is kim & <co>", "thread-"+name
		began := time.Now()
		err := d.kim.send(xmppStanza{
			kind: "message", typ: "chat", to: d.acme.address(name), id: "m-" + name, thread: thread, body: text,
		})
		if err != nil {
			return outcome{}, err
		}
		line, err := d.audit.answeredAt(ctx, d.acme.Domain, thread)
		if err != nil {
			return outcome{}, fmt.Errorf("no line in the log of %s about the message: %w", d.acme.edgeName(), err)
		}
		o := outcome{Answers: []int{line.Status}}
		if line.Status == 200 {
			m, err := receive(ctx, d.acme.users[name])
			if err != nil {
				return o, err
			}
			if m.Text != text || !strings.Contains(m.From, jabberUser+"@"+jabberDomain) {
				return o, fmt.Errorf("%s received %q from %s, want %q", name, m.Text, m.From, text)
			}
			o.Hops = m.Hops
		} else {
			s, err := hears(ctx, d.kim, "the error", func(s xmppStanza) bool { return s.typ == "error" && s.id == "m-"+name })
			if err != nil {
				return o, err
			}
			if s.condition != "item-not-found" {
				return o, fmt.Errorf("%s hears %q, as from somebody who is there", jabberUser, s.condition)
			}
			o.Note = "bounced"
		}
		o.Millis = millis(time.Since(began))
		return d.explained(ctx, o, d.acme, thread, "MESSAGE")
	}
}

// watchXMPP: alice watches kim. She is asked, and what alice sees meanwhile is that.
func (d *demo) watchXMPP(ctx context.Context) (outcome, error) {
	began := time.Now()
	w, a, err := d.acme.users["alice"].Watch(ctx, "sip:"+jabberUser+"@"+jabberDomain)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{Answers: []int{a.Status}}
	if w == nil {
		return d.explained(ctx, o, d.acme, a.CallID, "SUBSCRIBE")
	}
	n, err := w.Next(ctx)
	if err != nil {
		return o, err
	}
	o.Note, _, _ = strings.Cut(n.State, ";")
	alice := d.acme.address("alice")
	_, err = hears(ctx, d.kim, "subscribe", func(s xmppStanza) bool { return s.typ == "subscribe" && bareJID(s.from) == alice })
	if err != nil {
		return o, err
	}
	if err := d.kim.send(xmppStanza{kind: "presence", typ: "subscribed", to: alice}); err != nil {
		return o, err
	}
	for !n.Presence.Open {
		if n, err = w.Next(ctx); err != nil {
			return o, err
		}
	}
	o.Millis, o.Hops = millis(time.Since(began)), n.Hops
	o.Note += ", open"
	line, err := d.audit.find(ctx, d.acme.Domain, a.CallID, "NOTIFY")
	if err != nil {
		return o, err
	}
	o.Answers = append(o.Answers, line.Status)
	if o, err = d.explained(ctx, o, d.acme, a.CallID, "SUBSCRIBE"); err != nil {
		return o, err
	}
	_, err = w.End(ctx)
	return o, err
}

// watchedFromXMPP: kim watches alice, whose home server lets her.
func (d *demo) watchedFromXMPP(ctx context.Context) (outcome, error) {
	alice, kim := d.acme.address("alice"), jabberUser+"@"+jabberDomain
	if a, err := d.acme.users["alice"].Publish(ctx, true, "in a meeting"); err != nil || a.Status != 200 {
		return outcome{}, fmt.Errorf("PUBLISH: %d, %v", a.Status, err)
	}
	began := time.Now()
	if err := d.kim.send(xmppStanza{kind: "presence", typ: "subscribe", to: alice}); err != nil {
		return outcome{}, err
	}
	_, err := hears(ctx, d.kim, "subscribed", func(s xmppStanza) bool { return s.typ == "subscribed" && bareJID(s.from) == alice })
	if err != nil {
		return outcome{}, err
	}
	s, err := hears(ctx, d.kim, "presence", func(s xmppStanza) bool {
		return s.kind == "presence" && s.typ == "" && bareJID(s.from) == alice
	})
	if err != nil {
		return outcome{}, err
	}
	o := outcome{Millis: millis(time.Since(began)), Hops: xmppHops, Note: "available"}
	if s.status != "in a meeting" {
		return o, fmt.Errorf("kim sees %q, want what alice published", s.status)
	}
	line, err := d.audit.await(ctx, func(l auditLine) bool {
		return l.Edge == d.acme.Domain && l.Method == "SUBSCRIBE" && l.from == kim
	})
	if err != nil {
		return o, err
	}
	o.Answers = []int{line.Status}
	return d.explained(ctx, o, d.acme, line.callID, "SUBSCRIBE")
}

// letOntoXMPP is what an administrator does with "bridge allow", and then carl is
// answered.
func (d *demo) letOntoXMPP(ctx context.Context) (outcome, error) {
	yes := true
	w := admin.BridgeWish{Inbound: &yes, Outbound: &yes}
	if _, err := d.acme.control().DecideBridge(ctx, xmpp.Network, d.acme.address("carl"), w); err != nil {
		return outcome{}, err
	}
	return d.toXMPP("carl", "bridge allow")(ctx)
}

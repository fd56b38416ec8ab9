package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Users outside: a peer that registers speaks as a user of ours from then on, and
// is reached by the Path that the edge put on.

// registers asks to be signed in: registers USER@DOMAIN [instance=NAME] [contact=URI]
// and what asks takes. Without with=FILE it wants a flow of its own (RFC 5626), for a
// device that is called like the peer.
func (p *peer) registers(s *stage, args []string) error {
	if len(args) == 0 || p.out == nil {
		return fmt.Errorf("usage: %s registers USER@DOMAIN ..., on a connection", p.name)
	}
	o := options(args[1:])
	_, domain, ok := strings.Cut(args[0], "@")
	if !ok {
		return fmt.Errorf("%s is no user", args[0])
	}
	p.user = args[0]
	asks := []string{"REGISTER", "sip:" + p.user, "uri=sip:" + domain, "id=register-" + p.name}
	if o["with"] == "" {
		if err := s.writeContact(p, o); err != nil {
			return err
		}
		asks = append(asks, "with="+p.name+".register")
	}
	for _, arg := range args[1:] {
		if !strings.HasPrefix(arg, "instance=") && !strings.HasPrefix(arg, "contact=") {
			asks = append(asks, arg)
		}
	}
	return p.asks(s, asks)
}

// signsIn registers, and another peer, the home server, says yes: signs-in HOME
// [as=USER@DOMAIN] [expires=SECONDS] and what registers takes. The way to the peer is in
// $NAME_path then, as a line of Route, and $NAME_contact is its Contact.
func (p *peer) signsIn(s *stage, args []string) error {
	if len(args) == 0 || s.peers[args[0]] == nil {
		return fmt.Errorf("usage: %s signs-in HOME ...", p.name)
	}
	home, o := s.peers[args[0]], options(args[1:])
	user, expires := p.name+"@example.com", "600"
	if o["as"] != "" {
		user = o["as"]
	}
	if o["expires"] != "" {
		expires = o["expires"]
	}
	asks := []string{user}
	for _, arg := range args[1:] {
		if !strings.HasPrefix(arg, "as=") && !strings.HasPrefix(arg, "expires=") {
			asks = append(asks, arg)
		}
	}
	if err := p.registers(s, asks); err != nil {
		return err
	}
	m, err := home.nextMessage("the REGISTER of " + p.name)
	if err != nil {
		return err
	}
	p.path = "Route: " + m.value("path")
	s.set(p.name+"_path", p.path)
	more := "Require: outbound\r\nPath: " + m.value("path") + "\r\nContact: " + m.value("contact") + ";expires=" + expires
	if m.what() != "REGISTER" || m.value("path") == "" || m.value("contact") == "" {
		return fmt.Errorf("%s wanted a REGISTER with Path and Contact, got:\n%s", home.name, visible(m.raw))
	}
	if _, err := home.asked[""].conn.Write(m.answer(200, home.name, more)); err != nil {
		return err
	}
	if m, err = p.nextMessage("that it is signed in"); err == nil && m.what() != "200" {
		err = errors.New(p.name + " is not signed in:\n" + visible(m.raw))
	}
	return err
}

// writeContact makes the file NAME.register with the fields of a REGISTER, and the
// variable NAME_contact.
func (s *stage) writeContact(p *peer, o map[string]string) error {
	instance, user := p.name, p.user[:strings.IndexByte(p.user, '@')]
	if o["instance"] != "" {
		instance = o["instance"]
	}
	contact := "sip:" + user + "@" + p.name + ".invalid;transport=tls"
	if o["contact"] != "" {
		contact = o["contact"]
	}
	s.set(p.name+"_contact", contact)
	text := "Supported: path, outbound\nContact: <" + contact + ">;reg-id=1;+sip.instance=\"<urn:uuid:" + instance + ">\"\n"
	return os.WriteFile(s.path(p.name+".register"), []byte(text), 0o644)
}

// tries asks to be signed in again and again, and another peer, the home server, answers
// each time in the same way: tries HOME STATUS [FILE] [times=N] [as=USER@DOMAIN] and what
// registers takes. FILE has more fields of the answers.
func (p *peer) tries(s *stage, args []string) error {
	if len(args) < 2 || s.peers[args[0]] == nil {
		return fmt.Errorf("usage: %s tries HOME STATUS ...", p.name)
	}
	home, answer, times, asks := s.peers[args[0]], args[1:2], 1, []string{p.name + "@example.com"}
	for _, arg := range args[2:] {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case !ok:
			answer = append(answer, arg)
		case name == "times":
			times, _ = strconv.Atoi(value)
		case name == "as":
			asks[0] = value
		default:
			asks = append(asks, arg)
		}
	}
	for range times {
		if err := p.registers(s, asks); err != nil {
			return err
		}
		if m, err := home.nextMessage("a REGISTER of " + p.name); err != nil || m.what() != "REGISTER" {
			return errors.Join(err, fmt.Errorf("%s wanted a REGISTER of %s", home.name, p.name))
		}
		if err := home.answers(s, answer); err != nil {
			return err
		}
		if err := p.receives(s, args[1:2]); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// floods sends many messages at once, each with a text of its own, and waits for
// nothing: floods COUNT TO BODY.
func (p *peer) floods(_ *stage, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var wire []byte
	for i := range n {
		r := request{
			method: "MESSAGE", uri: args[1], from: "sip:" + p.name + "@" + p.domain, fromTag: args[2], to: args[1],
			id: fmt.Sprintf("%s-%d", args[2], i+1), cseq: "1", branch: fmt.Sprintf("z9hG4bK%s%d", args[2], i+1),
			more: fmt.Sprintf("Content-Type: text/plain\n\n%s %d", args[2], i+1),
		}
		wire = append(wire, r.wire(p.name)...)
	}
	_, err = p.out.Write(wire)
	return err
}

// settles waits for the answers to a flood, and compares them with what a client of
// XMPP has got: settles COUNT PROGRAM BODY [least=N]. Each message that was answered with 200
// must have arrived, N at least. What was answered otherwise may have arrived or not.
func (p *peer) settles(s *stage, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	body := args[2]
	statuses := make(map[string]int)
	var accepted []string
	for range n {
		m, err := p.nextMessage("an answer to the flood")
		if err != nil {
			return fmt.Errorf("%w; so far %v", err, statuses)
		}
		number, ok := strings.CutPrefix(m.value("call-id"), body+"-")
		if !ok || m.isRequest() {
			return fmt.Errorf("%s wanted an answer to the flood, got:\n%s", p.name, visible(m.raw))
		}
		if statuses[m.what()]++; m.what() == "200" {
			accepted = append(accepted, body+" "+number)
		}
	}
	least, _ := strconv.Atoi(options(args[3:])["least"])
	if len(accepted) < least {
		return fmt.Errorf("%d were acknowledged, want %d at least: %v", len(accepted), least, statuses)
	}
	client := s.programs[args[1]]
	return client.watch(func(came []heardXMPP) error {
		arrived, doubles := make(map[string]int), 0
		for _, m := range came {
			if arrived[m.Body]++; arrived[m.Body] == 2 && strings.HasPrefix(m.Body, body+" ") {
				doubles++
			}
		}
		for _, body := range accepted {
			if arrived[body] == 0 {
				return fmt.Errorf("%q was acknowledged and did not arrive; answers %v, %d twice", body, statuses, doubles)
			}
		}
		return s.note("%d of a flood: answers %v, %d arrived twice", n, statuses, doubles)
	})
}

// takes answers messages with 200, until it has had all of a burst or the client that
// sent them has heard that they were not delivered: takes COUNT PROGRAM BODY.
func (p *peer) takes(s *stage, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	client, prefix := s.programs[args[1]], args[2]
	arrived := make(map[string]int)
	bounced := make(map[string]bool)
	text := regexp.MustCompile(regexp.QuoteMeta(prefix) + ` \d+`)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * patience)
	for {
		open := 0
		for i := range n {
			if body := fmt.Sprintf("%s %d", prefix, i+1); arrived[body] == 0 && !bounced[body] {
				open++
			}
		}
		if open == 0 {
			break
		}
		select {
		case e := <-p.inbox:
			if e.msg == nil || !e.msg.isRequest() {
				return fmt.Errorf("%s wanted a message of the burst, got %v", p.name, e)
			}
			arrived[string(text.Find(e.msg.raw))]++
			if _, err := e.conn.Write(e.msg.answer(200, p.name, "")); err != nil {
				return err
			}
		case <-tick.C:
			came, err := client.cameXMPP()
			if err != nil {
				return err
			}
			for _, m := range came {
				if number, ok := strings.CutPrefix(m.ID, prefix); ok && m.Type == "error" {
					bounced[prefix+" "+number] = true
				}
			}
		case <-deadline:
			return fmt.Errorf("%d of %d neither arrived nor came back", open, n)
		}
	}
	doubles, both := 0, 0
	for body, times := range arrived {
		if times > 1 {
			doubles++
		}
		if bounced[body] {
			both++
		}
	}
	return s.note("%d of a burst: %d arrived, %d twice, %d came back, %d of them although they had arrived", n, len(arrived), doubles, len(bounced), both)
}

// A heardXMPP is what a client of testdata/interop/xmpp/client.py has got.
type heardXMPP struct {
	Event, From, Type, ID, Body string
}

// cameXMPP reads all that a client has got.
func (p *realPeer) cameXMPP() (came []heardXMPP, err error) {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var m heardXMPP
		if bytes.HasSuffix(line, []byte("\n")) && json.Unmarshal(line, &m) == nil {
			came = append(came, m)
		}
	}
	return came, nil
}

// watch looks at what a client has got until there is nothing to be said against it.
func (p *realPeer) watch(look func([]heardXMPP) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		came, err := p.cameXMPP()
		if err != nil {
			return err
		}
		if err = look(came); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return err
		}
	}
}

// note leaves a line in the file "notes" of the play, for whoever looks at it.
func (s *stage) note(format string, args ...any) error {
	f, err := os.OpenFile(s.path("notes"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, format+"\n", args...)
	return err
}

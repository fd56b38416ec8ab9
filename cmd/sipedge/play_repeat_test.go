package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// keepsAsking sends a request again and again, not faster than a stranger may,
// until the log of the edge says something: keeps-asking METHOD TO [by=PEER]
// until KEY=VALUE... The other peer answers 200 to what reaches it. There is no
// other way to see that an answer of DNS has ended, or that DNS is back.
func (p *peer) keepsAsking(s *stage, args []string) error {
	until := slices.Index(args, "until")
	if until < 2 || until == len(args)-1 {
		return fmt.Errorf("usage: %s keeps-asking METHOD TO [by=PEER] until KEY=VALUE...", p.name)
	}
	by := s.peers[options(args[:until])["by"]]
	e := s.edges["edge"]
	if e == nil {
		return fmt.Errorf("the edge was not started")
	}
	o := options(args[until+1:])
	said := func(l logLine) bool {
		for k, v := range o {
			if !strings.HasPrefix(l.attrs[k], v) {
				return false
			}
		}
		return true
	}
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if err := p.asks(s, args[:until]); err != nil {
			return err
		}
		if err := p.answeredBy(s, by); err != nil {
			return err
		}
		if _, _, ok := e.find(said); ok {
			return nil
		}
	}
	return fmt.Errorf("%s kept asking for %v, and the edge did not say %q", p.name, patience, strings.Join(args[until+1:], " "))
}

// answeredBy waits for the final answer to the request sent last, which the
// other peer gives if it gets there.
func (p *peer) answeredBy(s *stage, by *peer) error {
	var other chan event
	if by != nil {
		other = by.inbox
	}
	for {
		select {
		case e := <-p.inbox:
			if e.msg == nil || e.msg.isRequest() {
				return fmt.Errorf("%s wanted an answer, got %v", p.name, e)
			}
			if p.last = e; !strings.HasPrefix(e.msg.what(), "1") {
				return nil
			}
		case e := <-other:
			if e.msg == nil {
				return fmt.Errorf("%s: %w", by.name, e.err)
			}
			by.asked[""] = e
			if err := by.answers(s, []string{"200"}); err != nil {
				return err
			}
		case <-time.After(patience):
			return fmt.Errorf("%s waited %v for an answer", p.name, patience)
		}
	}
}

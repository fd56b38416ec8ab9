package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestEveryRequestGetsOneFinalAnswer sends many requests to a pool whose servers
// refuse, hang up and die at random, and takes many calls back. Whatever
// happens, each request ends with one final answer, soon.
func TestEveryRequestGetsOneFinalAnswer(t *testing.T) {
	t.Parallel()
	s := openTestStage(t)
	s.write(t, "pool.toml", "[pool.main]\ndomains = [\"example.com\"]\nservers = [\"$HOME1\", \"$HOME2\"]\npeer_name = \"sip.example.com\"\n")
	s.play(t, "company", "peers home1 home2 fabrikam",
		"home1 listens $HOME1 cert=home", "home2 listens $HOME2 cert=home",
		"edge starts", "fabrikam connects $EDGE_EXT cert=fabrikam")
	const count = 1000
	over := make(chan struct{})
	defer close(over)
	for i, name := range []string{"home1", "home2"} {
		go moodyServer(s.peers[name], rand.New(rand.NewPCG(uint64(i), 1)), over)
	}
	window := make(chan struct{}, 50)
	go sendAtRandom(s.peers["fabrikam"], rand.New(rand.NewPCG(3261, 16)), count, window)

	finals := make(map[string]int)
	deadline := time.After(2 * patience)
	for len(finals) < count {
		select {
		case e := <-s.peers["fabrikam"].inbox:
			if e.err != nil {
				t.Fatalf("the edge closed the connection: %v%s", e.err, s.tails())
			}
			id, what := e.msg.value("call-id"), e.msg.what()
			if what < "200" || strings.HasSuffix(e.msg.value("cseq"), "CANCEL") {
				continue
			}
			if finals[id]++; finals[id] == 1 {
				<-window
			}
		case <-deadline:
			t.Fatalf("%d of %d requests have an answer; missing: %s%s", len(finals), count, missing(finals, count), s.tails())
		}
	}
	for id, n := range finals {
		if n > 1 {
			t.Errorf("%s has %d final answers", id, n)
		}
	}
}

// sendAtRandom sends MESSAGEs and INVITEs, and takes some of the latter back.
func sendAtRandom(p *peer, random *rand.Rand, count int, window chan struct{}) {
	for i := range count {
		window <- struct{}{}
		id := fmt.Sprintf("c%d", i)
		r := request{
			method: "MESSAGE", uri: "sip:alice@example.com", to: "sip:alice@example.com", from: "sip:bob@fabrikam.example",
			fromTag: id, id: id, cseq: "1", branch: "z9hG4bK" + id,
		}
		if random.IntN(2) == 0 {
			r.method = "INVITE"
		}
		p.out.Write(r.wire(p.name))
		if r.method == "INVITE" && random.IntN(2) == 0 {
			r.method = "CANCEL"
			p.out.Write(r.wire(p.name))
		}
	}
}

// moodyServer answers as it likes, or hangs up.
func moodyServer(p *peer, random *rand.Rand, over <-chan struct{}) {
	calls := make(map[string]event)
	for {
		var e event
		select {
		case e = <-p.inbox:
		case <-over:
			return
		}
		if e.msg == nil || !e.msg.isRequest() {
			continue
		}
		answer := func(e event, status int) {
			e.conn.Write(e.msg.answer(status, p.name, "Contact: <sip:x@example.com>\r\n"))
		}
		switch mood := random.IntN(100); {
		case e.msg.what() == "ACK":
		case e.msg.what() == "CANCEL":
			answer(e, 200)
			answer(calls[e.msg.value("call-id")], 487)
		case mood == 0 && random.IntN(3) == 0:
			e.conn.Close()
		case mood < 10:
			answer(e, 503)
		case e.msg.what() == "INVITE" && mood < 60:
			calls[e.msg.value("call-id")] = e
			answer(e, 180)
			if mood < 40 {
				answer(e, 486)
			} else if mood < 50 {
				answer(e, 200)
			} else {
				// It rings until it is taken back, or the server gives up.
				time.AfterFunc(time.Second, func() { answer(e, 480) })
			}
		default:
			answer(e, 200)
		}
	}
}

// missing names the first requests without an answer.
func missing(finals map[string]int, count int) string {
	var list []string
	for i := range count {
		if id := fmt.Sprintf("c%d", i); finals[id] == 0 && len(list) < 10 {
			list = append(list, id)
		}
	}
	return strings.Join(list, " ")
}

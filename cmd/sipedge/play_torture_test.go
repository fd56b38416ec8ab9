package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tortureFolder holds the messages of RFC 4475 and RFC 5118.
const tortureFolder = "../../sip/testdata"

// A torment is one torture message and its fate on a stream.
type torment struct {
	name, class, fate string
	octets            []byte
}

// torments reads the tables beside the messages.
func torments(t *testing.T) []torment {
	t.Helper()
	var all []torment
	for _, set := range []string{"rfc4475", "rfc5118"} {
		f, err := os.Open(filepath.Join(tortureFolder, set, "expected.tsv"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := csv.NewReader(f)
		r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
		rows, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		columns := make(map[string]int)
		for i, name := range rows[0] {
			columns[name] = i
		}
		for _, row := range rows[1:] {
			octets, err := os.ReadFile(filepath.Join(tortureFolder, set, row[0]))
			if err != nil {
				t.Fatal(err)
			}
			m := torment{name: row[0], fate: row[columns["stream"]], octets: octets}
			if c, ok := columns["class"]; ok {
				m.class = row[c]
			}
			all = append(all, m)
		}
	}
	return all
}

// TestTortureMessagesThroughTheEdge sends every torture message to a running
// edge, from a partner and from the inside, in one piece and octet by octet.
// Each ends as its table says or in a refusal of the doors; what must not be
// forwarded is not; the connection goes on where the framing does.
func TestTortureMessagesThroughTheEdge(t *testing.T) {
	t.Parallel()
	s := openTestStage(t)
	s.write(t, "partners.toml", torturePartners())
	s.write(t, "limits.toml", "[limits]\noverload = false\nmessage_timeout = \"3s\"\n")
	s.play(t,
		"company", "peers home partner sender",
		"certificate partner dns=partner.example",
		"home listens $HOME1 cert=home", "partner listens $FABRIKAM cert=partner",
		"edge starts")
	forwarded := 0
	for _, m := range torments(t) {
		for _, side := range []string{"outside", "inside"} {
			for _, how := range []string{"in one piece", "octet by octet"} {
				name := m.name + " from the " + side + " " + how
				was, err := s.torture(m, side, how)
				if err != nil {
					t.Errorf("%s (fate %s): %v", name, m.fate, err)
				}
				if was {
					forwarded++
				}
				t.Logf("%s: fate %s, forwarded %v", name, m.fate, was)
			}
		}
	}
	if forwarded < 30 {
		t.Errorf("only %d messages were forwarded: the doors hid the parser", forwarded)
	}
}

// torturePartners lets one server speak for all domains of the messages that
// are not ours.
func torturePartners() string {
	var b strings.Builder
	for _, domain := range []string{
		"example.org", "example.net", "company.com", "chair-dnrc.example.com", "services.example.com",
		"registrar.example.com", "east.example.com", "ift.client.example.net", "host.example.net",
	} {
		fmt.Fprintf(&b, "[partner.%q]\nservers = [\"$FABRIKAM\"]\npeer_name = \"partner.example\"\n", domain)
	}
	return b.String()
}

// torture sends one message on a connection of its own and judges what comes
// back and what arrives. A good request follows it, the fence: its answer is
// the end of the story.
func (s *stage) torture(m torment, side, how string) (forwarded bool, err error) {
	sender := s.peers["sender"]
	connect, from, to := "sender connects $EDGE_EXT cert=partner", "sip:fence@example.org", "sip:fence@example.com"
	if side == "inside" {
		connect, from, to = "sender connects $EDGE_INT cert=home", "sip:fence@example.com", "sip:fence@example.org"
	}
	if err := s.line(connect); err != nil {
		return false, err
	}
	defer s.line("sender disconnects")
	// dblreq ends with octets behind its second message that begin no third.
	ends := m.fate == "wait" || strings.HasSuffix(m.fate, "+close") || m.fate == "fwd x2"
	if err := dribble(sender.out, m.octets, how == "octet by octet"); err != nil && !ends {
		return false, err
	}
	if !ends {
		if err := s.line("sender asks MESSAGE " + to + " from=" + from + " id=fence"); err != nil {
			return false, err
		}
	}
	return s.fate(m, sender, ends)
}

// fate plays the servers on both sides until the story has ended.
func (s *stage) fate(m torment, sender *peer, ends bool) (forwarded bool, err error) {
	deadline := time.After(patience)
	var answers []string
	fenced := false
	for {
		if fenced && (forwarded || len(answers) > 0 || m.fate == "drop" || m.fate == "match") {
			return forwarded, judge(m, answers, forwarded)
		}
		select {
		case e := <-s.peers["home"].inbox:
			forwarded = serveTorment(e) || forwarded
		case e := <-s.peers["partner"].inbox:
			forwarded = serveTorment(e) || forwarded
		case e := <-sender.inbox:
			switch {
			case e.err != nil && ends:
				return forwarded, judge(m, answers, forwarded)
			case e.err != nil:
				return forwarded, fmt.Errorf("the connection ended after %v: %w", answers, e.err)
			case e.msg == nil:
			case e.msg.value("call-id") == "fence":
				fenced = fenced || e.msg.what() != "100"
			case e.msg.what() != "100":
				answers = append(answers, e.msg.what())
			}
		case <-deadline:
			return forwarded, fmt.Errorf("the story has no end: fenced %v, answers %v", fenced, answers)
		}
	}
}

// serveTorment answers a request that was forwarded, and tells whether it was a
// torture message.
func serveTorment(e event) bool {
	if e.msg == nil || !e.msg.isRequest() {
		return false
	}
	if e.msg.what() != "ACK" {
		e.conn.Write(e.msg.answer(200, "end", "Contact: <sip:end@example.com>\r\n"))
	}
	return e.msg.value("call-id") != "fence"
}

// judge compares what happened with the table.
func judge(m torment, answers []string, forwarded bool) error {
	status := strings.TrimSuffix(m.fate, "+close")
	refused := len(answers) > 0 && strings.Contains("403 404 405 481 501", answers[0])
	switch {
	case strings.HasPrefix(m.fate, "fwd"):
		if !forwarded && !refused {
			return fmt.Errorf("neither forwarded nor refused by a rule: answers %v", answers)
		}
		return nil
	case forwarded:
		return fmt.Errorf("was forwarded: answers %v", answers)
	case m.fate == "drop", m.fate == "match", m.fate == "wait":
		if len(answers) > 0 {
			return fmt.Errorf("was answered: %v", answers)
		}
		return nil
	case len(answers) == 0:
		return errors.New("was not answered")
	case answers[0] != status && !(m.name == "mismatch02.dat" && answers[0] == "400"):
		return fmt.Errorf("got %s", answers[0])
	}
	return nil
}

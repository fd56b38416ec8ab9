package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A framingCase is a message that tries to be two, or to hide a part of itself.
type framingCase struct {
	name   string
	octets string
	want   string // status; "forwarded"; "nothing"
	closes bool
}

// mangle is a good MESSAGE with one part of it replaced.
func mangle(old, with string) string {
	good := "MESSAGE sip:alice@example.com SIP/2.0\r\n" +
		"Via: SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bKcase\r\n" +
		"Max-Forwards: 70\r\n" +
		"From: <sip:bob@fabrikam.example>;tag=1\r\n" +
		"To: <sip:alice@example.com>\r\n" +
		"Call-ID: case\r\n" +
		"CSeq: 1 MESSAGE\r\n" +
		"Content-Length: 4\r\n" +
		"\r\nbody"
	if !strings.Contains(good, old) {
		panic("no such part: " + old)
	}
	return strings.Replace(good, old, with, 1)
}

// framingCases are the ways to smuggle that are known.
func framingCases() []framingCase {
	const length, from = "Content-Length: 4\r\n", "From: <sip:bob@fabrikam.example>;tag=1\r\n"
	cases := []framingCase{
		{"nothing wrong", mangle("body", "body"), "forwarded", false},
		{"two lengths", mangle(length, length+"Content-Length: 300\r\n"), "400", true},
		{"two lengths in two spellings", mangle(length, length+"l: 0\r\n"), "400", true},
		{"the same length twice", mangle(length, length+length), "400", true},
		{"no length", mangle(length, ""), "400", true},
		{"a blank before the colon", mangle(length, "Content-Length : 4\r\n"), "forwarded", false},
		{"a folded length in capitals", mangle(length, "CONTENT-LENGTH:\r\n 4\r\n"), "forwarded", false},
		{"a short form", mangle(length, "L: 4\r\n"), "forwarded", false},
		{"a longer body than there is", mangle(length, "Content-Length: 400\r\n"), "nothing", true},
		{"a bare LF after the start line", mangle("SIP/2.0\r\n", "SIP/2.0\n"), "400", true},
		{"a bare LF after a field", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\n"), "400", true},
		{"a bare CR after a field", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\rX: y\r\n"), "400", true},
		{"LF CR after a field", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\n\r"), "400", true},
		{"SOH before the colon", mangle("To:", "To\x01:"), "400", false},
		{"VT before the colon", mangle(from, "From\x0b: <sip:ceo@example.com>\r\n"+from), "400", false},
		{"NUL before the colon", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nRoute\x00: <sip:x@example.com>\r\n"), "400", true},
		{"a no-break space before the name", mangle("To:", "\xc2\xa0To:"), "400", false},
		{"no name", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\n: x\r\n"), "400", false},
		{"a parenthesis in the name", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nX(y): z\r\n"), "400", false},
		{"a line without a colon", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nX\r\n"), "400", false},
		{"From twice", mangle(from, from+from), "400", false},
		{"From in two spellings", mangle(from, from+"f: <sip:ceo@example.com>;tag=2\r\n"), "400", false},
		{"To twice", mangle("Call-ID", "t: <sip:bob@example.com>\r\nCall-ID"), "400", false},
		{"Call-ID twice", mangle("Call-ID", "i: other\r\nCall-ID"), "400", false},
		{"CSeq twice", mangle("CSeq", "CSeq: 2 MESSAGE\r\nCSeq"), "400", false},
		{"Max-Forwards twice", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nMax-Forwards: 70\r\n"), "400", false},
		{"no From", mangle(from, ""), "400", false},
		{"NUL in the start line", mangle("alice@example.com SIP", "al\x00ice@example.com SIP"), "400", true},
		{"NUL in an address", mangle("<sip:bob@", "<sip:b\x00ob@"), "400", true},
		{"header fields in the Request-URI", mangle("com SIP/2.0", "com?P-Asserted-Identity=%3Csip:ceo@example.com%3E SIP/2.0"), "400", false},
		{"line ends written in the user part", mangle("<sip:alice@", "<sip:%0d%0aX:%20y@"), "forwarded", false},
		{"another method in CSeq", mangle("1 MESSAGE", "1 OPTIONS"), "400", false},
		{"another version", mangle("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), "505", false},
		{"a compressed body asked of the edge", mangle("Max-Forwards: 70\r\n", "Max-Forwards: 70\r\nProxy-Require: unheard-of\r\n"), "420", false},
		{"200 Vias", mangle("Max-Forwards", strings.Repeat("Via: SIP/2.0/TLS x.example;branch=z9hG4bKx\r\n", 200)+"Max-Forwards"), "forwarded", false},
		{"1,000 fields", mangle("Max-Forwards", strings.Repeat("X: y\r\n", 1000)+"Max-Forwards"), "4|5", false},
		{"70,000 octets of fields", mangle("Max-Forwards", "X: "+strings.Repeat("y", 70000)+"\r\nMax-Forwards"), "4|5", true},
		{"a body too long", mangle(length, "Content-Length: 99999999\r\n"), "513", true},
		{"a response that nobody asked for", "SIP/2.0 200 OK\r\n" + strings.SplitAfterN(mangle("body", "body"), "\r\n", 2)[1], "nothing", false},
	}
	for _, v := range []string{"+4", "0x4", "4, 4", "4;x", "1 0", "\uff14", "2147483648", "9223372036854775808", "-999", ""} {
		cases = append(cases, framingCase{"a length of " + v, mangle(length, "Content-Length: "+v+"\r\n"), "4|513", true})
	}
	return cases
}

// TestMessagesThatTryToBeTwo sends each on a connection of its own. What is
// refused reaches nobody; where the framing holds, the connection goes on.
func TestMessagesThatTryToBeTwo(t *testing.T) {
	t.Parallel()
	s := openTestStage(t)
	s.write(t, "limits.toml", "[limits]\noverload = false\nmessage_timeout = \"5s\"\n")
	s.play(t, "company", "peers home fabrikam", "home listens $HOME1 cert=home", "edge starts")
	for _, c := range framingCases() {
		t.Run(c.name, func(t *testing.T) {
			s.play(t, "fabrikam connects $EDGE_EXT cert=fabrikam")
			defer s.play(t, "fabrikam disconnects")
			if _, err := s.peers["fabrikam"].out.Write([]byte(c.octets)); err != nil {
				t.Fatal(err)
			}
			if !c.closes {
				s.play(t, "fabrikam asks MESSAGE sip:alice@example.com id=fence")
			}
			if err := s.framingStory(c); err != nil {
				t.Error(err)
			}
		})
	}
}

// framingStory follows one case to its end: the fence, or the close.
func (s *stage) framingStory(c framingCase) error {
	home, sender := s.peers["home"], s.peers["fabrikam"]
	deadline := time.After(patience)
	got := "nothing"
	for {
		select {
		case e := <-home.inbox:
			if e.msg.value("call-id") != "fence" {
				got = "forwarded"
			}
			e.conn.Write(e.msg.answer(200, "home", ""))
		case e := <-sender.inbox:
			switch {
			case e.err != nil && !c.closes:
				return fmt.Errorf("closed after %s: %w", got, e.err)
			case e.err != nil:
				return c.judge(got)
			case e.msg == nil:
			case e.msg.value("call-id") == "fence":
				if e.msg.what() != "200" {
					return fmt.Errorf("the next message got %s", e.msg.what())
				}
				return c.judge(got)
			case got != "forwarded":
				got = e.msg.what()
			}
		case <-deadline:
			return errors.New("the story has no end; so far " + got)
		}
	}
}

// judge compares the end with what should have been.
func (c framingCase) judge(got string) error {
	for want := range strings.SplitSeq(c.want, "|") {
		if got == want || (statusClass.MatchString(want) && strings.HasPrefix(got, want)) {
			return nil
		}
	}
	return fmt.Errorf("got %s, want %s", got, c.want)
}

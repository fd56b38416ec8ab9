package sip

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// request is a good OPTIONS with some lines in place of Content-Length.
func request(lines, body string) string {
	return "OPTIONS sip:bob@example.com SIP/2.0\r\n" +
		"Via: SIP/2.0/TLS edge.fabrikam.example;branch=z9hG4bK1\r\n" +
		"From: <sip:alice@fabrikam.example>;tag=1\r\n" +
		"To: <sip:bob@example.com>\r\n" +
		"Call-ID: 1@fabrikam.example\r\n" +
		"CSeq: 1 OPTIONS\r\n" +
		lines + "\r\n" + body
}

const length0 = "Content-Length: 0\r\n"

// everyWay feeds a stream at once, octet by octet and split in two everywhere,
// and says the fate if it is the same each time.
func everyWay(t *testing.T, lim Limits, stream string) string {
	t.Helper()
	raw := []byte(stream)
	whole := fate(&Framer{Limits: lim}, [][]byte{raw})
	octets := make([][]byte, len(raw))
	for i := range raw {
		octets[i] = raw[i : i+1]
	}
	if got := fate(&Framer{Limits: lim}, octets); got != whole {
		t.Errorf("octet by octet: %s, in one write: %s", got, whole)
	}
	for i := range raw {
		if got := fate(&Framer{Limits: lim}, [][]byte{raw[:i], raw[i:]}); got != whole {
			t.Errorf("split at %d: %s, in one write: %s", i, got, whole)
		}
	}
	return whole
}

func TestFraming(t *testing.T) {
	smuggled := strings.Replace(request(length0, ""), "OPTIONS", "MESSAGE", 2)
	for _, tt := range []struct {
		name   string
		stream string
		want   string
	}{
		{"a good request", request(length0, ""), "fwd"},
		{"two in one segment", request(length0, "") + request("l: 2\r\n", "hi"), "fwd fwd"},
		{"a request that stops in its body", request("l: 5\r\n", "hi"), "wait"},

		{"two different lengths", request("Content-Length: 300\r\nl: 0\r\n", ""), "400+close"},
		{"two different lengths, the other way round", request("l: 0\r\nContent-Length: 300\r\n", ""), "400+close"},
		{"the same length twice", request(length0+length0, ""), "400+close"},
		{"a second length behind a blank", request(length0+"Content-Length : 0\r\n", ""), "400+close"},
		{"a length with a sign", request("Content-Length: +10\r\n", "0123456789"), "400+close"},
		{"a hexadecimal length", request("Content-Length: 0x0a\r\n", "0123456789"), "400+close"},
		{"a list of lengths", request("Content-Length: 10, 10\r\n", "0123456789"), "400+close"},
		{"a length with a parameter", request("Content-Length: 10;x\r\n", "0123456789"), "400+close"},
		{"a length with a blank inside", request("Content-Length: 1 0\r\n", "0123456789"), "400+close"},
		{"a length with a fold inside", request("Content-Length: 1\r\n 0\r\n", "0123456789"), "400+close"},
		{"full-width digits", request("Content-Length: １０\r\n", "0123456789"), "400+close"},
		{"2**31", request("Content-Length: 2147483648\r\n", ""), "400+close"},
		{"2**63", request("Content-Length: 9223372036854775808\r\n", ""), "400+close"},
		{"2**64+1, which wraps to 1", request("Content-Length: 18446744073709551617\r\n", "x"), "400+close"},
		{"a negative length", request("Content-Length: -999\r\n", ""), "400+close"},
		{"an empty length", request("Content-Length:\r\n", ""), "400+close"},
		{"no length", request("", ""), "400+close"},
		{"a length whose name has a control character", request("Content-Length\x01: 0\r\n", ""), "400+close"},
		{"a blank before the colon", request("Content-Length : 5\r\n", "12345"), "fwd"},
		{"a tab before the colon", request("Content-Length\t: 5\r\n", "12345"), "fwd"},
		{"a folded length", request("CONTENT-LENGTH:\r\n 5\r\n", "12345"), "fwd"},
		{"a compact length in capitals", request("L:5\r\n", "12345"), "fwd"},
		{"a rest of the body is a message of its own", request("l: 2\r\n", "hi"+smuggled), "fwd fwd"},

		{"bare LF as line end", strings.Replace(request(length0, ""), "\r\n", "\n", 1), "400+close"},
		{"bare LF in a field", request("Subject: a\nRoute: <sip:x>\r\n"+length0, ""), "400+close"},
		{"bare CR in a field", request("Subject: a\rRoute: <sip:x>\r\n"+length0, ""), "400+close"},
		{"bare CR as line end", strings.ReplaceAll(request(length0, ""), "\r\n", "\r"), "400+close"},
		{"bare CR in the start line", strings.Replace(request(length0, ""), " SIP/2.0", "\r SIP/2.0", 1), "400+close"},
		{"LF CR as line end", strings.ReplaceAll(request(length0, ""), "\r\n", "\n\r"), "400+close"},
		{"CR CR LF as line end", strings.Replace(request(length0, ""), "\r\n", "\r\r\n", 2), "400+close"},
		{"everything with bare LF", strings.ReplaceAll(request(length0, ""), "\r\n", "\n"), "400+close"},
		{"a fold of the start line", strings.Replace(request(length0, ""), "Via", " Via", 1), "400+close"},
		{"a blank line with blanks", request("Subject: a\r\n \r\n"+length0, ""), "400"},

		{"a control character at the end of a name", request("To\x01: <sip:x@y.example>\r\n"+length0, ""), "400"},
		{"a vertical tab at the end of a name", request("From\x0b: <sip:x@y.example>\r\n"+length0, ""), "400"},
		{"NUL at the end of a name", request("Route\x00: <sip:x@y.example>\r\n"+length0, ""), "400+close"},
		{"a no-break space before a name", request("\u00a0To: <sip:x@y.example>\r\n"+length0, ""), "400"},
		{"an empty name", request(": x\r\n"+length0, ""), "400"},
		{"a name with a bracket", request("To(: x\r\n"+length0, ""), "400"},
		{"a name behind a fold", request("Subject: a\r\n\tb\r\nTo\r\n : x\r\n"+length0, ""), "400"},
		{"no colon", request("Foobar roobar\r\n"+length0, ""), "400"},

		{"NUL in the start line", strings.Replace(request(length0, ""), "bob@", "bo\x00b@", 1), "400+close"},
		{"NUL in a token", request("Event: a\x00b\r\n"+length0, ""), "400+close"},
		{"NUL in a quoted string", request("Contact: \"a\x00b\" <sip:x@y.example>\r\n"+length0, ""), "400+close"},
		{"NUL in a quoted pair", request("Contact: \"a\\\x00b\" <sip:x@y.example>\r\n"+length0, ""), "fwd"},
		{"NUL behind a backslash outside quotes", request("X: a\\\x00b\r\n"+length0, ""), "400+close"},
		{"NUL in the body", request("l: 3\r\n", "a\x00b"), "fwd"},
		{"line ends of all kinds in the body", request("l: 6\r\n", "\n\r\r\n\r\n"), "fwd"},

		{"not SIP at all", "\x16\x03\x01\x02\x00", "400+close"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "400+close"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := everyWay(t, Limits{}, tt.stream); got != tt.want {
				t.Errorf("%q: %s, want %s", tt.stream, got, tt.want)
			}
		})
	}
}

func TestLimitsHoldToTheOctet(t *testing.T) {
	base := request(length0, "")
	pad := func(n int) string { // a request whose fields take n octets
		line := "X: " + strings.Repeat("x", n-len(base)-5) + "\r\n"
		return request(line+length0, "")
	}
	fields := func(n int) string { return request(strings.Repeat("X: x\r\n", n-6)+length0, "") }
	vias := func(n int) string {
		v := "Via: SIP/2.0/TLS a.example;branch=z9hG4bK2\r\n"
		return request(strings.Repeat(v, n-6)+length0, "")
	}
	params := strings.Repeat(";p=1", 10_000)
	uri := strings.Replace(base, "bob@example.com SIP", "bob@example.com"+params+" SIP", 1)
	for _, tt := range []struct {
		name   string
		lim    Limits
		stream string
		want   string
	}{
		{"fields at the limit", Limits{Header: 600}, pad(600), "fwd"},
		{"fields one octet above", Limits{Header: 600}, pad(601), "513+close"},
		{"fields of 64 KiB", Limits{}, pad(DefaultHeader), "fwd"},
		{"fields of 64 KiB and one octet", Limits{}, pad(DefaultHeader + 1), "513+close"},
		{"fields that never end", Limits{}, request("X: "+strings.Repeat("x", DefaultHeader), ""), "513+close"},
		{"one field of each", Limits{}, fields(256), "fwd"},
		{"one field too many", Limits{}, fields(257), "400"},
		{"a thousand fields", Limits{}, fields(1000), "400"},
		{"two hundred Vias", Limits{}, vias(200), "fwd"},
		{"a length behind too many fields counts", Limits{Fields: 6}, fields(8) + base, "400 fwd"},
		{"ten thousand parameters in a URI", Limits{}, uri, "fwd"},
		{"a body at the limit", Limits{Body: 10}, request("l: 10\r\n", "0123456789"), "fwd"},
		{"a body one octet above", Limits{Body: 10}, request("l: 11\r\n", "01234567890"), "513+close"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fate(&Framer{Limits: tt.lim}, [][]byte{[]byte(tt.stream)}); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestRepeatedLengthsBeyondTheLimitOfFieldsAreSeen(t *testing.T) {
	stream := request(strings.Repeat("X: x\r\n", 300)+length0+length0, "")
	if got := everyWay(t, Limits{}, stream); got != "400+close" {
		t.Errorf("%s, want 400+close", got)
	}
}

func TestPingsAreCountedTheSameHoweverTheyCome(t *testing.T) {
	msg := request(length0, "")
	for _, tt := range []struct {
		name   string
		stream string
		pings  int
	}{
		{"one ping", "\r\n\r\n", 1},
		{"two coalesced pings", "\r\n\r\n\r\n\r\n", 2},
		{"a ping glued before a message", "\r\n\r\n" + msg, 1},
		{"a ping glued behind a message", msg + "\r\n\r\n", 1},
		{"one CRLF before a message", "\r\n" + msg, 0},
		{"CRLF, a message, CRLF", "\r\n" + msg + "\r\n" + msg, 0},
		{"a ping and a half", "\r\n\r\n\r\n" + msg, 1},
		{"ten pings", strings.Repeat("\r\n\r\n", 10), 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := 0; i <= len(tt.stream); i++ {
				if got := countPings(t, tt.stream[:i], tt.stream[i:]); got != tt.pings {
					t.Errorf("split at %d: %d pings, want %d", i, got, tt.pings)
				}
			}
			if got := countPings(t, strings.Split(tt.stream, "")...); got != tt.pings {
				t.Errorf("octet by octet: %d pings, want %d", got, tt.pings)
			}
		})
	}
}

func countPings(t *testing.T, writes ...string) (pings int) {
	t.Helper()
	var f Framer
	var m Message
	var buf []byte
	for _, w := range writes {
		buf = append(buf, w...)
		for {
			k, n, err := f.Next(buf, &m)
			if err != nil {
				t.Fatal(err)
			}
			if k == Incomplete {
				break
			}
			if k == Ping {
				pings++
			}
			buf = buf[n:]
		}
	}
	return pings
}

func TestAPongIsNoHalfOfAPing(t *testing.T) {
	var f Framer
	var m Message
	for range 3 {
		if k, n, err := f.Next([]byte("\r\n"), &m); k != Blank || n != 2 || err != nil {
			t.Fatalf("Next = %v %d %v, want Blank", k, n, err)
		}
		f.Pong()
	}
}

func TestNeedSaysTheLengthOnceTheFieldsCame(t *testing.T) {
	var f Framer
	var m Message
	raw := []byte(request("l: 1000\r\n", ""))
	if f.Next(raw[:20], &m); f.Need() != 0 {
		t.Errorf("Need before the fields end = %d, want 0", f.Need())
	}
	if f.Next(raw, &m); f.Need() != len(raw)+1000 {
		t.Errorf("Need = %d, want %d", f.Need(), len(raw)+1000)
	}
}

// A hostile message may not cost more than one that is as long: quadratic work on
// 64 KiB takes many seconds, linear work under a millisecond.
func TestHostileMessagesCostLittle(t *testing.T) {
	long := func(s string) string { return strings.Repeat(s, (DefaultHeader-1000)/len(s)) }
	for _, tt := range []struct{ name, lines string }{
		{"nested comments", "User-Agent: " + long("(") + "\r\n"},
		{"closed comments", "Server: " + long("()") + "\r\n"},
		{"quoted pairs", "Contact: \"" + long(`\"`) + "\" <sip:a@b.example>\r\n"},
		{"a quoted string that does not end", "Contact: \"" + long(`\"`) + "\r\n"},
		{"quotes in a route", "Route: " + long(`"",`) + "\r\n"},
		{"open brackets", "Route: " + long("<") + "\r\n"},
		{"semicolons", "Contact: <sip:a@b.example>" + long(";x") + "\r\n"},
		{"folds", "Subject: x" + long("\r\n x") + "\r\n"},
		{"commas", "Supported: " + long(",") + "\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			raw := []byte(request(tt.lines+length0, ""))
			var m Message
			if k, _, err := new(Framer).Next(raw, &m); k != Complete || err != nil {
				t.Fatal(k, err)
			}
			m.Fault()
			for h := HeaderOther; h < numHeaders; h++ {
				for e := m.Elements(h); ; {
					if _, ok := e.Next(); !ok {
						break
					}
				}
			}
			m.Append(nil, &Edit{PopRoutes: 10, MaxForwards: 1})
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestALostMessageCanBeAnswered(t *testing.T) {
	for _, tt := range []struct {
		name       string
		stream     string
		answerable bool
	}{
		{"length twice", request(length0+length0, ""), true},
		{"a bare LF below the Via", request("Subject: a\nb: c\r\n"+length0, ""), true},
		{"fields too large", request("X: "+strings.Repeat("x", DefaultHeader), ""), true},
		{"no Via", "OPTIONS sip:a@example.com SIP/2.0\r\nTo: <sip:a@example.com>\r\n\r\n", false},
		{"an ACK", strings.ReplaceAll(request("", ""), "OPTIONS", "ACK"), false},
		{"a response", "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a.example\r\n\r\n", false},
		{"noise", "\x00\x01", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			_, _, err := new(Framer).Next([]byte(tt.stream), &m)
			if err == nil {
				t.Fatal("the framing is not lost")
			}
			if m.Fault() != err {
				t.Errorf("Fault = %v, want %v", m.Fault(), err)
			}
			if m.Answerable() != tt.answerable {
				t.Errorf("Answerable = %v", m.Answerable())
			}
			if !tt.answerable {
				return
			}
			out := AppendResponse(nil, &m, m.Fault().Status, m.Fault().Reason, "t", nil)
			var r Message
			if k, n, err := new(Framer).Next(out, &r); k != Complete || n != len(out) || err != nil {
				t.Errorf("the answer is no message: %v %v\n%s", k, err, out)
			}
		})
	}
}

func TestBuffersMayMoveBetweenCalls(t *testing.T) {
	raw := []byte(request("l: 4\r\n", "body"))
	var f Framer
	var m Message
	if k, _, err := f.Next(bytes.Clone(raw[:len(raw)-1]), &m); k != Incomplete || err != nil {
		t.Fatal(k, err)
	}
	m.Parse([]byte("SIP/2.0 200 OK\r\n\r\n"), Limits{})
	if k, n, err := f.Next(raw, &m); k != Complete || n != len(raw) || err != nil {
		t.Fatal(k, n, err)
	}
	if got := fmt.Sprintf("%s %s", m.Method(), m.Body()); got != "OPTIONS body" {
		t.Errorf("got %s", got)
	}
}

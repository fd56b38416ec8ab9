package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sipedge/sipedge/sip"
)

// A reading is what somebody understands of a message.
type reading struct {
	method, uri, from, to, callID, cseq, length string
	asserted                                    string // P-Asserted-Identity: nothing may be left of it
}

// TestOthersReadWhatWeForwardAsWeDo sends odd but good messages through the
// edge and has Kamailio and tshark read what came out. Where two of them read
// a message differently, one of them can be led past the other's rules.
func TestOthersReadWhatWeForwardAsWeDo(t *testing.T) {
	needPrograms(t, "kamailio", "tshark")
	t.Parallel()
	for _, other := range []struct {
		name string
		read func(*testing.T, [][]byte) map[string]reading
		mild bool
	}{{"kamailio", kamailioReadings, false}, {"tshark", tsharkReadings, true}} {
		t.Run(other.name, func(t *testing.T) {
			forwarded := forwardOddities(t, other.mild)
			theirs := other.read(t, forwarded)
			for _, raw := range forwarded {
				want := ourReading(t, raw)
				if got, ok := theirs[want.callID]; got != want {
					t.Fatalf("%s read %+v (%v)\nwe read  %+v\n%q", other.name, got, ok, want, raw)
				}
			}
		})
	}
}

// forwardOddities is what arrives inside of many messages that are good, each
// in its own way. The mild ones are without blanks and folds that tshark does
// not know: before a colon, right after it, and behind an address.
func forwardOddities(t *testing.T, mild bool) [][]byte {
	t.Helper()
	s := openTestStage(t)
	s.play(t, "company", "peers home fabrikam",
		"home listens $HOME1 cert=home", "edge starts", "fabrikam connects $EDGE_EXT cert=fabrikam")
	const count = 3000
	random := rand.New(rand.NewPCG(3261, 4475))
	go func() {
		for i := range count {
			s.peers["fabrikam"].out.Write(oddity(random, i, mild))
		}
	}()
	var forwarded [][]byte
	for range count {
		m, err := s.peers["home"].nextMessage("an oddity")
		if err != nil {
			t.Fatalf("after %d messages: %v%s", len(forwarded), err, s.tails())
		}
		s.peers["home"].last.conn.Write(m.answer(200, "home", ""))
		forwarded = append(forwarded, m.raw)
	}
	return forwarded
}

// oddity writes a good MESSAGE as few programs would.
func oddity(random *rand.Rand, i int, mild bool) []byte {
	pick := func(variants ...string) string { return variants[random.IntN(len(variants))] }
	name := func(variants ...string) string {
		if mild {
			return pick(variants...) + ": "
		}
		return pick(variants...) + pick("", " ", "\t") + ":" + pick("", " ", "\r\n ", "\r\n\t")
	}
	semicolon := func() string {
		if mild {
			return ";"
		}
		return pick(";", " ;", "; ")
	}
	body := strings.Repeat(pick("", "x", "\r\n", "From: <sip:ceo@example.com>\r\n", "\r\n\r\nBYE sip:a@b SIP/2.0\r\n", "\x00\xff"), random.IntN(4))
	fields := []string{
		name("Via", "v", "VIA") + "SIP/2.0/TLS" + pick(" ", "  ") + "edge.fabrikam.example;branch=z9hG4bK" + strconv.Itoa(i),
		name("From", "f", "FROM", "from") + pick(
			"<sip:bob@fabrikam.example>", "sip:bob@fabrikam.example", `"Bob" <sip:bob@fabrikam.example>`,
			`"B, \"C\" <sip:ceo@example.com>;tag=no" <sip:bob@fabrikam.example>`, "Bob B. <sip:bob@fabrikam.example>",
			`"\\" <sip:bob@fabrikam.example>`, "Bob<sip:bob@fabrikam.example>") + semicolon() + "tag=" + strconv.Itoa(i) + pick("", ";x", `;x="y;tag=z"`),
		name("To", "t", "TO") + pick("<sip:alice@example.com>", "sip:alice@example.com", "<sip:alice@EXAMPLE.com;transport=tls>",
			`"A, B" <sip:alice@example.com>`, "<sip:a%6cice:pw@example.com:5061;lr?Subject=x>") + pick("", semicolon()+"y=1"),
		name("Call-ID", "i", "CALL-ID") + "odd" + strconv.Itoa(i) + pick("", "@fabrikam.example", "@[::1]"),
		name("CSeq", "cseq", "CSEQ") + pick("0", "1", "007", "2147483647") + pick(" ", "   ", "\t") + "MESSAGE",
		name("Max-Forwards", "max-forwards") + pick("70", "1", "255", "009"),
		name("Content-Length", "l", "CONTENT-LENGTH") + pick("", "0", "000") + strconv.Itoa(len(body)),
		name("P-Asserted-Identity", "p-aSSERTED-identity", "P-ASSERTED-IDENTITY") + pick("<sip:ceo@example.com>", "\"a\" <sip:a@b>, <tel:+1>"),
		pick("X-Odd: From: <sip:ceo@example.com>", "Subject: \xc3\xa9\xe2\x82\xac", "s:", "X-Empty: ", "User-Agent: a (b (c) \\) d)",
			"Contact: *", "m: <sip:bob@192.0.2.1:5060;x>;q=0.1, \"b\" <sip:b@c>", "Accept: a/b;c=\"d,e\""),
	}
	random.Shuffle(len(fields), func(a, b int) { fields[a], fields[b] = fields[b], fields[a] })
	uri := pick("sip:alice@example.com", "sip:example.com", "sip:alice;x=y@example.com;z", "sip:al%69ce@EXAMPLE.com:5061", "sip:+a-212@example.com;user=ip")
	return []byte("MESSAGE " + uri + " SIP/2.0\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n" + body)
}

// ourReading is what package sip understands.
func ourReading(t *testing.T, raw []byte) reading {
	t.Helper()
	var m sip.Message
	if err := m.Parse(raw, sip.Limits{}); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	from, err1 := m.From()
	to, err2 := m.To()
	number, method, err3 := m.CSeq()
	if err1 != nil || err2 != nil || err3 != nil || string(method) != string(m.Method()) {
		t.Fatalf("%v, %v, %v in %q", err1, err2, err3, raw)
	}
	return reading{
		string(m.Method()), string(m.RequestURI()), string(from.URI), string(to.URI), string(m.CallID()),
		fmt.Sprint(number), fmt.Sprint(len(m.Body())), "",
	}
}

// kamailioReadings plays the messages to Kamailio, which writes what it reads
// into its log.
func kamailioReadings(t *testing.T, messages [][]byte) map[string]reading {
	s := openTestStage(t)
	s.play(t, "ports KAMAILIO", "borrow reader.cfg",
		"program reader serves $KAMAILIO kamailio -x fm -DD -E -f reader.cfg -m 64 -M 8 -w $WORK -Y $WORK -P $WORK/reader.pid")
	conn, err := net.Dial("tcp", s.env("KAMAILIO"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, raw := range messages {
		if _, err := conn.Write(raw); err != nil {
			t.Fatalf("%v\n%s", err, lastLines(s.path("reader.log")))
		}
	}
	// The last one is answered when all have been read.
	conn.Write(toWire("OPTIONS sip:reader SIP/2.0\nVia: SIP/2.0/TCP play;branch=z9hG4bKend\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>\n" +
		"Call-ID: end\nCSeq: 1 OPTIONS\nContent-Length: 0\n"))
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		t.Fatalf("kamailio has not read all: %v\n%s", err, lastLines(s.path("reader.log")))
	}
	s.programs["reader"].kill()
	log, err := os.ReadFile(s.path("reader.log"))
	if err != nil {
		t.Fatal(err)
	}
	readings := make(map[string]reading)
	for line := range strings.Lines(string(log)) {
		if _, text, ok := strings.Cut(line, "reading\t"); ok {
			addReading(readings, strings.Split(strings.TrimRight(text, "\n"), "\t"))
		}
	}
	return readings
}

// addReading files a reading under its Call-ID.
func addReading(readings map[string]reading, columns []string) {
	if len(columns) != 8 {
		return
	}
	number, _ := strconv.ParseUint(columns[5], 10, 64) // 007 is 7
	readings[columns[4]] = reading{
		columns[0], columns[1], columns[2], columns[3], columns[4], fmt.Sprint(number), columns[6],
		strings.ReplaceAll(columns[7], "<null>", ""),
	}
}

// tsharkReadings writes the messages as a capture and has tshark dissect it.
func tsharkReadings(t *testing.T, messages [][]byte) map[string]reading {
	file := t.TempDir() + "/messages.pcap"
	if err := os.WriteFile(file, capture(messages), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-r", file, "-d", "udp.port==5060,sip", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f"}
	for _, field := range []string{"sip.Method", "sip.r-uri", "sip.from.addr", "sip.to.addr", "sip.Call-ID", "sip.CSeq.seq", "sip.Content-Length", "sip.P-Asserted-Identity"} {
		args = append(args, "-e", field)
	}
	var errs bytes.Buffer
	cmd := exec.Command("tshark", args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, &errs)
	}
	readings := make(map[string]reading)
	for line := range strings.Lines(string(out)) {
		addReading(readings, strings.Split(strings.TrimRight(line, "\n"), "\t"))
	}
	return readings
}

// capture writes messages as UDP datagrams in a pcap file (raw IPv4).
func capture(messages [][]byte) []byte {
	le, be := binary.LittleEndian, binary.BigEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint32(b, 4<<16|2) // version 2.4
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 1<<18)
	b = le.AppendUint32(b, 101) // LINKTYPE_RAW
	for i, raw := range messages {
		length := 20 + 8 + len(raw)
		for _, v := range []int{i, 0, length, length} {
			b = le.AppendUint32(b, uint32(v))
		}
		b = append(b, 0x45, 0)
		b = be.AppendUint16(b, uint16(length))
		b = append(b, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
		b = be.AppendUint16(b, 5060)
		b = be.AppendUint16(b, 5060)
		b = be.AppendUint16(b, uint16(8+len(raw)))
		b = append(append(b, 0, 0), raw...)
	}
	return b
}

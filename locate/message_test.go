package locate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// wire builds a message by hand: a question, and records in three sections that
// are given in octets.
func wire(t *testing.T, q *dns.Msg, bits uint16, sections ...[]string) []byte {
	t.Helper()
	raw, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint16(raw[2:], bits)
	for i, records := range sections {
		binary.BigEndian.PutUint16(raw[6+2*i:], uint16(len(records)))
		for _, r := range records {
			raw = append(raw, r...)
		}
	}
	return raw
}

// rr is one record in octets.
func rr(name string, kind uint16, ttl uint32, data string) string {
	b := append([]byte(name), byte(kind>>8), byte(kind), 0, 1)
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return string(b) + data
}

func TestWhatAMessageIsTakenFor(t *testing.T) {
	const answered = 0x8180
	q := new(dns.Msg).SetQuestion("edge.fabrikam.example.", dns.TypeA)
	const asked = "\xc0\x0c" // a pointer to the question
	good := rr(asked, dns.TypeA, 60, "\xc0\x00\x02\x01")
	here := func(before ...string) string { // a pointer to where the next record begins
		at := len(wire(t, q, 0)) + len(strings.Join(before, ""))
		return string([]byte{0xc0 | byte(at>>8), byte(at)})
	}
	for _, tt := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"an answer", wire(t, q, answered, []string{good}), "192.0.2.1"},
		{"a question", wire(t, q, 0x0100, []string{good}), "no answer to this"},
		{"another opcode", wire(t, q, answered|1<<11, []string{good}), "no answer to this"},
		{"no message", []byte("\x00\x00"), "no answer to this"},
		{"a name that points at itself", wire(t, q, answered, []string{rr(here(), dns.TypeA, 60, "\xc0\x00\x02\x01")}), "malformed"},
		{"a name that points ahead", wire(t, q, answered, []string{rr("\xc0\xff", dns.TypeA, 60, "\xc0\x00\x02\x01"), good}), "malformed"},
		{"names that point at each other", wire(t, q, answered, []string{good, rr("\x01a"+here(good), dns.TypeCNAME, 60, here(good))}), "malformed"},
		{"an alias that points back", wire(t, q, answered, []string{rr(asked, dns.TypeCNAME, 60, "\x01a"+here())}), "by another question"},
		{"fewer records than it says", wire(t, q, answered, []string{good, ""}), "malformed"},
		{"a record longer than the message", wire(t, q, answered, []string{good[:len(good)-1]}), "malformed"},
		{"an address that is too short", wire(t, q, answered, []string{rr(asked, dns.TypeA, 60, "\xc0\x00\x02")}), "malformed"},
		{"an address without data", wire(t, q, answered, []string{rr(asked, dns.TypeA, 60, "")}), "no records"},
		{"an address of another class", wire(t, q, answered, []string{strings.Replace(good, "\x00\x01\x00\x01", "\x00\x01\x00\x03", 1)}), "no records"},
		{"an address among the additional records", wire(t, q, answered, nil, nil, []string{good}), "no records"},
		{"an error in two parts", wire(t, q, answered, []string{good}, nil, []string{rr("\x00", dns.TypeOPT, 1<<24, "")}), "rcode 16"},
		{"two questions", func() []byte { raw := wire(t, q, answered, []string{good}); raw[5] = 2; return raw }(), "no answer to this"},
		{"an end within the header's question", wire(t, q, answered)[:14], "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := taken(tt.raw, q); got != tt.want {
				t.Errorf("taken for %q, want %q", got, tt.want)
			}
		})
	}
}

func taken(raw []byte, q *dns.Msg) string {
	m, ok, err := readMessage(raw, q)
	switch {
	case !ok:
		return "no answer to this"
	case err != nil:
		return "malformed"
	case m.rcode != 0:
		return fmt.Sprintf("rcode %d", m.rcode)
	}
	r := reader{name: q.Question[0].Name, qtype: q.Question[0].Qtype, ttl: maxTTL}
	again, err := r.read(m)
	switch {
	case errors.Is(err, errMalformed):
		return "malformed"
	case errors.Is(err, ErrNoRecords):
		return "no records"
	case err != nil:
		return err.Error()
	case again:
		return "by another question"
	}
	return r.addrs[0].String()
}

// The longest message there can be, with names that unfold to their longest,
// costs a bounded amount and leaves little behind.
func TestTheLongestMessageLeavesLittleBehind(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 59) + "."
	q := new(dns.Msg).SetQuestion(long, dns.TypeSRV)
	var records []string
	for size := 0; size < 65000; size += len(records[0]) {
		n := len(records)
		records = append(records, rr("\xc0\x0c", dns.TypeSRV, 60, string([]byte{byte((4000 - n) >> 8), byte(4000 - n), 0, 1, 19, 197})+"\xc0\x0c"))
	}
	m, ok, err := readMessage(wire(t, q, 0x8180, records), q)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	r := reader{name: long, qtype: dns.TypeSRV, ttl: maxTTL}
	if _, err := r.read(m); err != nil {
		t.Fatal(err)
	}
	got := best(r.targets)
	if len(got) != maxTargets || int(got[0].priority) != 4000-len(records)+1 || cap(r.targets) > 8*maxTargets {
		t.Errorf("%d records: %d targets of priority %d and more, room for %d", len(records), len(got), got[0].priority, cap(r.targets))
	}
	aliases := make([]string, maxCNAMEs+1)
	for i := range aliases {
		aliases[i] = rr("\xc0\x0c", dns.TypeCNAME, 60, "\xc0\x0c")
	}
	if m, _, err = readMessage(wire(t, q, 0x8180, aliases), q); err != nil {
		t.Fatal(err)
	}
	if _, err := r.read(m); !errors.Is(err, errTooManyAliases) {
		t.Errorf("%d aliases: %v", len(aliases), err)
	}
}

package edge

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// A registrant is a device of a user outside that registers again and again, and what
// the registrar answers.
type registrant struct {
	flow   *Flow
	asks   []byte
	answer []byte
}

// again makes the next REGISTER another one than the last.
func (r *registrant) again(n int) {
	at := bytes.Index(r.asks, []byte(sip.Cookie)) + len(sip.Cookie)
	copy(r.asks[at:at+8], fmt.Appendf(nil, "%08x", n))
}

// registrants are users outside with a flow each, who count for the Guard.
func (b *bench) registrants(n int) []*registrant {
	b.t.Helper()
	b.e.log = slog.New(slog.DiscardHandler)
	var err error
	if b.e.remote.Guard, err = remoteaccess.OpenGuard(remoteaccess.GuardConfig{}, nil, nil, b.e.log, time.Now); err != nil {
		b.t.Fatal(err)
	}
	no := false
	b.e.config.Limits.PerSource = &no
	list := make([]*registrant, n)
	for i := range list {
		user := fmt.Sprintf("u%06d", i)
		f := b.remote()
		f.Remote = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), uint16(40000+i))
		list[i] = &registrant{flow: f, asks: fmt.Appendf(nil, "REGISTER sip:example.com SIP/2.0\r\n"+
			"Via: SIP/2.0/TLS 192.0.2.7:%d;branch=z9hG4bK00000000;rport\r\nMax-Forwards: 70\r\n"+
			"From: <sip:%s@example.com>;tag=1\r\nTo: <sip:%s@example.com>\r\nCall-ID: reg-%s\r\nCSeq: 1 REGISTER\r\n"+
			"Contact: <sip:%s@192.0.2.7:%d;transport=tls;ob>;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-0000%08x>\"\r\n"+
			"Supported: path, outbound, gruu\r\nAllow: INVITE, ACK, CANCEL, BYE, MESSAGE, OPTIONS, NOTIFY\r\nExpires: 600\r\n"+
			"User-Agent: bench\r\nContent-Length: 0\r\n\r\n", 40000+i, user, user, user, user, 40000+i, i)}
	}
	return list
}

// registers lets one REGISTER and its 200 cross the edge.
func (b *bench) registers(t *turn, r *registrant, n int, m *sip.Message) {
	home := b.homes[0]
	r.again(n)
	parse := func(raw []byte) {
		if err := m.Parse(raw, sip.Limits{}); err != nil {
			b.t.Fatal(err)
		}
	}
	parse(r.asks)
	b.e.message(t, r.flow, m)
	parse(home.out.b)
	r.answer = append(r.answer[:0], "SIP/2.0 200 OK\r\n"...)
	for i := range m.Fields() {
		switch f := m.Field(i); f.ID {
		case sip.Via, sip.From, sip.To, sip.CallID, sip.CSeq, sip.Path, sip.Contact:
			r.answer = append(r.answer, f.Line...)
		}
	}
	r.answer = append(r.answer, "Supported: path, outbound\r\nRequire: outbound\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n"...)
	home.out.b = home.out.b[:0]
	parse(r.answer)
	b.e.message(t, home, m)
	if !bytes.HasPrefix(r.flow.out.b, []byte("SIP/2.0 200")) {
		b.t.Fatalf("answered %q", r.flow.out.b)
	}
	r.flow.out.b = r.flow.out.b[:0]
	t.dirty = t.dirty[:0]
	home.noted, r.flow.noted = nil, nil
}

// BenchmarkRegister is a REGISTER of one of 200 users who are signed in, there and its
// 200 back, with everything but TLS and the sockets, and without what the log costs.
func BenchmarkRegister(b *testing.B) {
	x := newRemoteBench(b, "[default]\nallow = true")
	list := x.registrants(200)
	var t turn
	m := new(sip.Message)
	for i, r := range list {
		x.registers(&t, r, i, m)
	}
	b.ReportAllocs()
	n := len(list)
	for b.Loop() {
		x.registers(&t, list[n%len(list)], n, m)
		n++
	}
}

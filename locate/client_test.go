package locate

import (
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"
)

func FuzzReadAnswer(f *testing.F) {
	q := new(dns.Msg).SetQuestion("_sips._tcp.fabrikam.example.", dns.TypeSRV)
	good := new(dns.Msg).SetReply(q)
	for _, s := range []string{
		"_sips._tcp.fabrikam.example. 60 IN CNAME a.example.", "a.example. 60 IN SRV 1 2 5061 edge.fabrikam.example.",
		"a.example. 0 IN SRV 1 2 5061 .", "a.example. 60 IN A 192.0.2.1",
	} {
		rr, err := dns.NewRR(s)
		if err != nil {
			f.Fatal(err)
		}
		good.Answer = append(good.Answer, rr)
	}
	raw, err := good.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)-20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) >= 2 {
			binary.BigEndian.PutUint16(raw, q.Id)
		}
		m, ok, err := readMessage(raw, q)
		if !ok || err != nil {
			return
		}
		r := newReader(q.Question[0].Name, dns.TypeSRV)
		again, err := r.read(m)
		if err == nil && !again && len(r.targets) == 0 {
			t.Error("no error and no records")
		}
		if r.aliases > maxAliases+1 || negative(m) > negativeTTL {
			t.Errorf("%d aliases, negative for %v", r.aliases, negative(m))
		}
		for _, x := range r.targets {
			if _, ok := parseIP(x.host); ok {
				continue
			}
			if n, ok := hostName(x.host); !ok || n != x.host || x.port == 0 {
				t.Errorf("target %+v", x)
			}
		}
	})
}

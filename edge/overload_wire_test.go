package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/federation"
)

// open lets partners of a bench connect over TLS, and returns a function that does
// so with a certificate for a name.
func (b *bench) open() (dial func(name string) *tls.Conn) {
	b.t.Helper()
	ca, err := certs.NewAuthority("Test CA")
	if err != nil {
		b.t.Fatal(err)
	}
	pool := ca.Pool()
	b.e.wire.forget(b.partner) // it is no connection that could be closed
	v := &certs.Verifier{Roots: func() *x509.CertPool { return pool }}
	b.e.sides = map[string]*side{"federation": b.partner.state.side}
	l, err := b.e.wire.listen(listenerSettings{
		name: "federation", role: RoleFederation, address: "127.0.0.1:0", identify: v.Identify,
		tls: certs.ServerConfig(certs.ServerOptions{Keypair: keypair(b.t, ca, "edge1.example.com"), Verifier: v}),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { b.e.wire.run(ctx) })
	group.Go(func() { l.serve(ctx) })
	b.t.Cleanup(func() { cancel(); group.Wait() })
	return func(name string) *tls.Conn {
		c, err := tls.Dial("tcp", l.addr().String(), certs.ClientConfig(certs.ClientOptions{
			Keypair: keypair(b.t, ca, name), Verifier: v, ServerName: "edge1.example.com",
		}))
		if err != nil {
			b.t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		b.t.Cleanup(func() { c.Close() })
		return c
	}
}

// statuses reads n answers, and counts them by status. Refusals must say when to
// come back.
func statuses(t *testing.T, c *tls.Conn, n int) map[string]int {
	t.Helper()
	in := textproto.NewReader(bufio.NewReader(c))
	got := map[string]int{}
	for range n {
		line, err := in.ReadLine()
		if err != nil {
			t.Fatal(err)
		}
		head, err := in.ReadMIMEHeader()
		if err != nil {
			t.Fatal(err)
		}
		status := strings.Fields(line)[1]
		if got[status]++; status == "503" && head.Get("Retry-After") == "" {
			t.Fatal("a refusal without Retry-After")
		}
	}
	return got
}

func TestAFloodOverAConnectionIsRefusedAndAnotherIsNot(t *testing.T) {
	b := newBench(t, 0)
	b.lists(map[string]federation.PartnerConfig{
		"fabrikam.example": {Servers: []string{"edge.fabrikam.example:5061"}},
		"contoso.example":  {Servers: []string{"edge.contoso.example:5061"}},
	})
	dial := b.open()
	b.e.overload.outside.Store(1)
	b.e.overload.inside.Store(unlimited)
	b.e.overload.refusals.Store(100)
	b.e.overload.on.Store(true)
	ask := func(c *tls.Conn, n int, who string) {
		for i := range n {
			text := strings.Replace(request1("OPTIONS", fmt.Sprint("o", i)), "sip:bob@example.com", "sip:edge1.example.com", 2)
			c.Write([]byte(strings.ReplaceAll(strings.Replace(text, "alice@fabrikam.example", who, 1), "\n", "\r\n")))
		}
	}
	const n, most = 300, burstOctets/txCost + 1
	flood := dial("fabrikam.example")
	go ask(flood, n, "alice@fabrikam.example")
	if got := statuses(t, flood, n); got["503"] < n-most || got["200"] == 0 || got["200"]+got["503"] != n {
		t.Errorf("a flood of %d gets %v", n, got)
	}
	modest := dial("contoso.example")
	go ask(modest, 10, "carol@contoso.example")
	if got := statuses(t, modest, 10); got["200"] != 10 {
		t.Errorf("ten requests of a modest partner get %v", got)
	}
}

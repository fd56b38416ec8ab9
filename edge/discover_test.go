package edge

import (
	"fmt"
	"testing"

	"github.com/sipedge/sipedge/federation"
)

// discovering is a bench with lists that have nobody, and discovery on.
func discovering(t *testing.T) *bench {
	b := newBench(t, 1)
	var err error
	p, errs := federation.Compile(federation.File{Federation: federation.Section{Unlisted: "discover"}},
		[]string{"example.com"}, federation.With{})
	if errs != nil {
		t.Fatal(errs)
	}
	b.e.partners.Store(p)
	b.e.discovery, err = federation.OpenDiscovery(nil, nil, b.e.log)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOurUsersCannotFillTheTableOfDiscoveredPartners(t *testing.T) {
	b := discovering(t)
	busy, _ := b.e.partnerEdge([]byte("busy.example"))
	busy.open.Store(1)
	idle, _ := b.e.partnerEdge([]byte("idle.example"))
	for i := range 2 * maxDiscovered {
		if _, ok := b.e.partnerEdge(fmt.Appendf(nil, "d%d.example", i)); !ok {
			t.Fatalf("there was no room for domain %d", i)
		}
	}
	if n := len(b.e.partnerEdges); n != maxDiscovered {
		t.Errorf("%d edges of discovered partners, want %d", n, maxDiscovered)
	}
	if b.e.partnerEdges["busy.example"] != busy {
		t.Error("a partner with an open request was let go of")
	}
	if b.e.partnerEdges["idle.example"] != nil {
		t.Error("the partner that was idle longest is still there")
	}
	b.e.work.Wait()
	if idle.mu.Lock(); !idle.closed {
		t.Error("the edge that was let go of is open")
	}
	idle.mu.Unlock()
	for _, p := range b.e.partnerEdges {
		p.open.Store(1)
	}
	if _, ok := b.e.partnerEdge([]byte("late.example")); ok {
		t.Error("there was room although all were busy")
	}
}

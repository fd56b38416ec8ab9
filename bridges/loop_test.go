package bridges_test

import (
	"testing"
	"testing/synctest"

	"github.com/sipedge/sipedge/bridges"
)

func TestAMessageThatIsForwardedInACircleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, false)
		hops := 0
		for {
			// What the bridge hands in is forwarded to another foreign contact by the home
			// server, which the bridge hands in again.
			w.receive(with("Sipedge-Bridge: xmpp; hops = " + string(rune('0'+hops)))(w.lines("MESSAGE"))...)
			synctest.Wait()
			if len(w.requests) == 0 {
				break
			}
			in := <-w.requests
			in.Answer(bridges.Response{Status: 202}, "")
			w.next("SIP/2.0 202 ")
			again := request("MESSAGE")
			again.Hops = in.Hops
			w.do(again)
			m := w.next("MESSAGE ")
			for i := range m.Fields() {
				if f := m.Field(i); string(f.Name) == bridges.LoopMark && string(f.Value) != "bridge;hops="+string(rune('0'+hops+1)) {
					t.Errorf("marked with %s", f.Value)
				}
			}
			hops++
		}
		w.next("SIP/2.0 482 ")
		if hops != bridges.MaxHops {
			t.Errorf("went through %d bridges, want %d", hops, bridges.MaxHops)
		}
	})
}

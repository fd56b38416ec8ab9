package edge

import (
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
)

// Only what a certificate or signed DNS proves is strong. What a bridge says by itself
// is the weakest of all, so that whatever the other side proves stands above it.
func TestWhatABridgeSaysByItselfIsWeak(t *testing.T) {
	for p, want := range map[bridges.Proof]federation.Proof{
		bridges.ProofNone:              federation.ProofNone,
		bridges.ProofBridge:            federation.ProofWeak,
		bridges.ProofDialback:          federation.ProofWeak,
		bridges.ProofAccount:           federation.ProofWeak,
		bridges.ProofDANE:              federation.ProofStrong,
		bridges.ProofCertificate:       federation.ProofStrong,
		bridges.ProofCertificate + 100: federation.ProofNone,
	} {
		if got := proofOf(p); got != want {
			t.Errorf("%s is %v to the lists, want %v", p, got, want)
		}
		if p != bridges.ProofNone && p < bridges.ProofBridge {
			t.Errorf("%s is less than a bridge's own word", p)
		}
	}
}

package xmpp

import (
	"testing"

	"github.com/sipedge/sipedge/bridges/xmpp/body"
	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

func TestAFailureIsAStanzaErrorAndBack(t *testing.T) {
	for _, tt := range []struct{ kind, status, condition string }{
		{"delivery", "delivered", ""},
		{"delivery", "failed", "recipient-unavailable wait"},
		{"delivery", "error", "undefined-condition cancel"},
		{"delivery", "forbidden", "forbidden auth"},
		{"display", "error", ""},
		{"display", "forbidden", ""},
		{"processing", "error", ""},
	} {
		got := ""
		if e := failureOf(&body.IMDN{Kind: tt.kind, Status: tt.status}); e != nil {
			got = e.Condition + " " + e.Type
		}
		if got != tt.condition {
			t.Errorf("%s, %s: %q, want %q", tt.kind, tt.status, got, tt.condition)
		}
	}
	for condition, want := range map[string]string{
		"forbidden": "forbidden", "not-allowed": "forbidden", "recipient-unavailable": "failed", "item-not-found": "failed",
		"internal-server-error": "error", "undefined-condition": "error",
	} {
		if got := failureStatus(&stanza.Error{Condition: condition}); got != want {
			t.Errorf("%s: %s, want %s", condition, got, want)
		}
	}
}

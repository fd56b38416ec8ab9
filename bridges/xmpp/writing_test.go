package xmpp

import (
	"errors"
	"testing"

	"github.com/sipedge/sipedge/bridges/xmpp/address"
	"github.com/sipedge/sipedge/bridges/xmpp/body"
)

func TestAWrapperNamesItsRealSender(t *testing.T) {
	g := &gateway{addr: new(address.Table)}
	w := &outward{pair: ends{"romeo@example.net", "juliet@example.com"}}
	for from, want := range map[string]bool{
		"":                                true,
		"sip:romeo@example.net":           true,
		"im:Romeo@example.net":            true,
		"sip:romeo@example.net;gr=x":      true,
		"sip:anonymous@anonymous.invalid": true,
		"sip:+15551234567@example.net;user=phone": false,
		"sip:tybalt@example.net":                  false,
		"sip:romeo@example.com":                   false,
		"sips:romeo@example.net":                  false,
		"mailto:romeo@example.net":                false,
	} {
		if got := g.wrapperFits(&body.CPIM{From: body.Party{URI: from}}, w); got != want {
			t.Errorf("%q is of Romeo: %v", from, got)
		}
	}
}

func TestABodyThatCannotCrossIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name, kind, body string
		status           int
		phrase, accept   string
	}{
		{"a picture", "image/png", "PNG", 415, "", body.Accept},
		{"a strange character set", "text/plain; charset=utf-7", "x", 415, "", body.Accept},
		{"a broken wrapper", "message/cpim", "", 400, "broken body", ""},
	} {
		_, err := body.Read(tt.kind, "", []byte(tt.body))
		resp := refusalOf(err)
		if resp.Status != tt.status || resp.Phrase != tt.phrase || resp.Fields.Get("Accept") != tt.accept {
			t.Errorf("%s: answered with %+v", tt.name, resp)
		}
	}
	if resp := refusalOf(body.ErrTooLarge); resp.Status != 413 {
		t.Errorf("too much: answered with %+v", resp)
	}
	if resp := refusalOf(errors.New("anything")); resp.Status != 400 {
		t.Errorf("an error of another kind: answered with %+v", resp)
	}
}

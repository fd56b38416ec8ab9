package bridges_test

import (
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/bridges/bridgestest"
)

func TestAMessageOfOurUserIsAnsweredByTheBridge(t *testing.T) {
	_, home := bridgestest.New(t, handler{request: func(in *bridges.Incoming) {
		if in.Method != "MESSAGE" || in.URI != juliet || in.From.URI != alice || string(in.Body) != "hello" || in.Dialog != nil {
			t.Errorf("got %+v", in.Request)
		}
		in.Answer(bridges.Response{Status: 202, Fields: bridges.Fields{{"Date", "Sat, 13 Nov 2010 23:29:00 GMT"}}}, "")
	}})
	resp, _ := home.Send(t, bridgestest.Message(alice, juliet, "hello"))
	if resp.Status != 202 || resp.Local || resp.Fields.Get("date") == "" || resp.ToTag == "" {
		t.Errorf("answer %+v", resp)
	}
}

func TestAMessageOfTheBridgeReachesOurUser(t *testing.T) {
	bridge, home := bridgestest.New(t, nil)
	answers := make(chan *bridges.Response, 1)
	r := bridgestest.Message(juliet, alice, "art thou not Romeo?")
	r.From.Display = `Juliet "C" \ Ü` + "\r\nX: y"
	r.CallID = "e0ffe42b-28fb-44f3@thread"
	r.Fields = bridges.Fields{{"Subject", "Grüße"}}
	bridge.Do(r, func(resp *bridges.Response, _ *bridges.Dialog) { answers <- resp })
	in := home.Next(t)
	if in.From.Display != `Juliet "C" \ Ü  X: y` || in.From.URI != juliet || in.CallID != r.CallID || in.Fields.Get("subject") != "Grüße" ||
		string(in.Body) != "art thou not Romeo?" || in.Hops != 1 || in.MaxForwards != 70 {
		t.Errorf("got %+v", in.Request)
	}
	in.Answer(bridges.Response{Status: 200}, "")
	if resp := <-answers; resp.Status != 200 {
		t.Errorf("answer %+v", resp)
	}
}

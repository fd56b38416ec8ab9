package bridges_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/sip"
)

// A fuzzHost notes what an Endpoint sends, which must be faultless.
type fuzzHost struct {
	t     *testing.T
	known map[string]string
}

func (h *fuzzHost) Self() string { return "bridge.example.com:5061" }

func (h *fuzzHost) Send(raw []byte, _ bridges.Proof) error {
	m := new(sip.Message)
	err := m.Parse(raw, sip.Limits{})
	switch m.Status() {
	case 400, 416, 505: // repeats the fault of the request
	default:
		if err == nil && m.Fault() != nil {
			err = m.Fault()
		}
	}
	if err != nil {
		h.t.Errorf("sent %q: %v", raw, err)
		return nil
	}
	via, _ := m.TopVia()
	from, _ := m.From()
	to, _ := m.To()
	key := string(m.Method())
	h.known["{branch "+key+"}"] = string(via.Branch)
	h.known["{from "+key+"}"] = string(from.Tag())
	h.known["{to "+key+"}"] = string(to.Tag())
	h.known["{call "+key+"}"] = string(m.CallID())
	h.known["{cseq "+key+"}"] = string(m.Value(sip.CSeq))
	return nil
}

// fill puts what the Endpoint has made up in place of its names.
func (h *fuzzHost) fill(s string) string {
	for name, v := range h.known {
		s = strings.ReplaceAll(s, name, v)
	}
	return s
}

// fuzzHandler answers everything, in as many ways as there are.
type fuzzHandler struct{ e *bridges.Endpoint }

func (h fuzzHandler) Canceled(*bridges.Incoming) {}

func (h fuzzHandler) Request(in *bridges.Incoming) {
	echo := bridges.Response{
		Status: 200, Phrase: in.Fields.Get("Subject"), Fields: in.Fields, ContentType: in.ContentType, Body: in.Body,
	}
	contact := in.Fields.Get("X-Contact")
	switch in.Method {
	case "INVITE":
		in.Answer(bridges.Response{Status: 180, Fields: in.Fields}, contact)
		if d := in.Answer(bridges.Response{Status: 200}, contact); d != nil {
			d.Do(&in.Request, nil)
			d.Do(&bridges.Request{Method: "MESSAGE"}, nil)
		}
	case "SUBSCRIBE":
		if d := in.Answer(bridges.Response{Status: 200}, contact); d != nil {
			d.Do(&bridges.Request{Method: "NOTIFY", Fields: in.Fields, ContentType: in.ContentType, Body: in.Body}, nil)
		}
	default:
		in.Answer(echo, contact)
	}
	in.From.Tag, in.To.Tag = "", ""
	h.e.Do(&in.Request, func(resp *bridges.Response, _ *bridges.Dialog) {})
}

const (
	fuzzVia = "Via: SIP/2.0/TLS edge.example.com;branch=z9hG4bKf\r\n"
	fuzzEnd = "Contact: <sip:alice@192.0.2.44>\r\nRecord-Route: <sip:t@p.example.com;lr>\r\nEvent: presence\r\nSubscription-State: active\r\nContent-Length: 0\r\n\r\n"
	fuzzNew = fuzzVia + "From: \"A\" <sip:alice@example.com>;tag=1\r\nTo: <sip:juliet@fabrikam.example>\r\nCall-ID: c\r\nCSeq: 1 "
	fuzzIn  = fuzzVia + "From: <sip:alice@example.com>;tag=1\r\nTo: <sip:juliet@fabrikam.example>;tag={to }\r\nCall-ID: c\r\nCSeq: 2 "
)

// FuzzEndpoint gives an Endpoint what nobody should send, several messages one after
// the other, behind an INVITE, a SUBSCRIBE and a MESSAGE of its own. There is no
// panic, whatever it sends is faultless, and nothing of it is held at the end.
func FuzzEndpoint(f *testing.F) {
	for _, seed := range []string{
		"MESSAGE sip:juliet@fabrikam.example SIP/2.0\r\n" + fuzzNew + "MESSAGE\r\nSubject: \x01\r\nX-Contact: x\r\nc: text/plain\r\n" + fuzzEnd,
		"INVITE sip:juliet@fabrikam.example SIP/2.0\r\n" + fuzzNew + "INVITE\r\n" + fuzzEnd + "---" +
			"ACK sip:x SIP/2.0\r\n" + fuzzIn + "ACK\r\n" + fuzzEnd + "---BYE sip:x SIP/2.0\r\n" + fuzzIn + "BYE\r\n" + fuzzEnd,
		"SUBSCRIBE sip:juliet@fabrikam.example SIP/2.0\r\n" + fuzzNew + "SUBSCRIBE\r\n" + fuzzEnd + "---CANCEL sip:x SIP/2.0\r\n" + fuzzNew + "CANCEL\r\n" + fuzzEnd,
		"SIP/2.0 180 x\r\nVia: SIP/2.0/TLS x;branch={branch INVITE}\r\nFrom: <sip:a@x>;tag={from INVITE}\r\nTo: <sip:b@x>;tag=2\r\nCall-ID: {call INVITE}\r\nCSeq: {cseq INVITE}\r\n" + fuzzEnd +
			"---SIP/2.0 200\r\nVia: SIP/2.0/TLS x;branch={branch INVITE}\r\nFrom: <sip:a@x>;tag={from INVITE}\r\nTo: <sip:b@x>;tag=2\r\nCall-ID: {call INVITE}\r\nCSeq: {cseq INVITE}\r\n" + fuzzEnd,
		"NOTIFY sip:x SIP/2.0\r\n" + fuzzVia + "From: <sip:alice@example.com>;tag=1\r\nTo: <sip:juliet@fabrikam.example>;tag={from SUBSCRIBE}\r\nCall-ID: {call SUBSCRIBE}\r\nCSeq: 7 NOTIFY\r\n" + fuzzEnd +
			"---SIP/2.0 200 x\r\nVia: SIP/2.0/TLS x;branch={branch SUBSCRIBE}\r\nFrom: <sip:a@x>;tag={from SUBSCRIBE}\r\nTo: <sip:b@x>;tag=1\r\nCall-ID: {call SUBSCRIBE}\r\nCSeq: {cseq SUBSCRIBE}\r\n" + fuzzEnd,
		"OPTIONS sip:x SIP/2.0\r\n" + fuzzNew + "OPTIONS\r\nRequire: x\r\n" + fuzzEnd,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		host := &fuzzHost{t: t, known: make(map[string]string)}
		e := bridges.NewEndpoint(slog.New(slog.DiscardHandler))
		e.Tight()
		e.Handle(fuzzHandler{e})
		e.Attach(host)
		for _, method := range []string{"INVITE", "SUBSCRIBE", "MESSAGE"} {
			r := request(method)
			r.Fields = bridges.Fields{{"Event", "presence"}}
			e.Do(r, func(_ *bridges.Response, d *bridges.Dialog) {
				if d != nil {
					d.Do(&bridges.Request{Method: "INFO"}, nil)
				}
			})
		}
		for part := range strings.SplitSeq(data, "---") {
			e.Receive([]byte(host.fill(part)))
			e.Work()
			held := e.Held()
			if held["octets"] > 16<<10 || held["clients"] > 4 || held["servers"] > 4 || held["dialogs"] > 3 || held["subs"] > 2 {
				t.Fatalf("holds %v", held)
			}
		}
		if err := e.Finish(); err != nil {
			t.Fatal(err)
		}
		for _, what := range []string{"octets", "queued", "local", "clients", "servers", "originals"} {
			if n := e.Held()[what]; n != 0 {
				t.Errorf("holds %d %s at the end", n, what)
			}
		}
	})
}

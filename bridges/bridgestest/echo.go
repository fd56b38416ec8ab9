package bridgestest

import (
	"context"

	"github.com/sipedge/sipedge/bridges"
)

// An Echo is a bridge to a network of one mind: whoever is written to there writes the
// same back, takes each call and shows presence. It is a second Bridge, for tests of
// what runs one.
type Echo struct {
	Proof bridges.Proof
	// Stop ends what hangs, when the test does.
	Stop <-chan struct{}
	// Heard gets what came within dialogs that the other side of the bridge began.
	Heard chan *bridges.Incoming
	// Began gets the Endpoint of each incarnation.
	Began chan *bridges.Endpoint

	e *bridges.Endpoint
}

// Name is the network's.
func (b *Echo) Name() string { return "xmpp" }

// Run carries traffic until ctx is done.
func (b *Echo) Run(ctx context.Context, e *bridges.Endpoint) error {
	b.e = e
	e.Handle(b)
	select {
	case b.Began <- e:
	default:
	}
	<-ctx.Done()
	return nil
}

// Status says that there is one link, which is up.
func (b *Echo) Status() bridges.Status {
	return bridges.Status{Links: []bridges.Link{{Local: "example.com", Remote: "echo.example", Direction: "both", State: "up", Proof: b.Proof}}}
}

// Test finds everybody but those called nobody.
func (b *Echo) Test(_ context.Context, address string) []bridges.Step {
	return []bridges.Step{{Name: "echo", OK: address != "nobody@echo.example", Detail: address}}
}

// Request does what is asked for. The texts "panic" and "hang" are asked literally.
func (b *Echo) Request(in *bridges.Incoming) {
	switch in.Method {
	case "MESSAGE":
		b.message(in)
	case "INVITE":
		in.Answer(bridges.Response{Status: 200}, "echo")
	case "SUBSCRIBE":
		b.subscribed(in)
	case "NOTIFY":
		in.Answer(bridges.Response{Status: 200}, "")
		select {
		case b.Heard <- in:
		default:
		}
	default:
		in.Answer(bridges.Response{Status: 200}, "")
	}
}

// Canceled does nothing.
func (b *Echo) Canceled(*bridges.Incoming) {}

func (b *Echo) message(in *bridges.Incoming) {
	switch string(in.Body) {
	case "panic":
		panic("as asked")
	case "hang":
		<-b.Stop
		return
	}
	in.Answer(bridges.Response{Status: 200}, "")
	back := Message(in.To.URI, in.From.URI, string(in.Body))
	back.Proof = b.Proof
	if in.Dialog != nil {
		in.Dialog.Do(back, func(*bridges.Response) {})
		return
	}
	b.e.Do(back, func(*bridges.Response, *bridges.Dialog) {})
}

// subscribed shows that somebody is there, or no longer.
func (b *Echo) subscribed(in *bridges.Incoming) {
	state := "active;expires=600"
	expires := in.Fields.Get("Expires")
	if expires == "0" {
		state = "terminated;reason=timeout"
	}
	d := in.Answer(bridges.Response{Status: 200, Fields: bridges.Fields{{Name: "Expires", Value: "600"}}}, "echo")
	if d == nil {
		d = in.Dialog
	}
	if d == nil {
		return
	}
	d.Do(&bridges.Request{Method: "NOTIFY", Proof: b.Proof, Contact: "echo", Fields: bridges.Fields{
		{Name: "Event", Value: in.Fields.Get("Event")}, {Name: "Subscription-State", Value: state},
	}}, func(*bridges.Response) {})
}

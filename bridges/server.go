package bridges

import (
	"bytes"
	"sync"

	"github.com/sipedge/sipedge/sip"
)

// A server is a server transaction (RFC 3261 §17.2).
type server struct {
	e        *Endpoint
	key      uint64
	original uint64
	tag      string // in our To
	timer    timer

	final bool // it is answered; Endpoint.mu guards it
	late  bool // its first timer was due; Endpoint.mu guards it

	mu    sync.Mutex // guards what follows, and the order of answers
	raw   *input     // until it is answered
	given bool       // the worker is done with raw
	tried bool       // a provisional answer went out
	early *Dialog    // of a provisional answer, until there is a final one
	made  *Dialog
}

// Answer answers; the first final answer counts. A provisional answer to INVITE
// may come before. A 2xx to INVITE or SUBSCRIBE outside dialogs makes one, which is
// returned; contact is the user part of our Contact then, "" that of To, and what
// stands in in.Data becomes the dialog's Data. What cannot be written becomes a 500.
func (in *Incoming) Answer(resp Response, contact string) *Dialog {
	if resp.Status < 100 || resp.Status > 699 || resp.Status < 200 && in.Method != "INVITE" && resp.Status != 100 {
		resp = Response{Status: 500} // RFC 4320 §4.1: nothing but 100 for others
	}
	final := resp.Status >= 200
	in.mu.Lock()
	if in.raw == nil || final && !in.complete(resp.Status) {
		defer in.mu.Unlock()
		return in.made
	}
	in.tried = true
	d, ok := in.dialogFor(resp.Status, contact)
	if !ok && !final {
		in.mu.Unlock()
		return nil
	} else if !ok {
		resp = unavailable("Too many dialogs")
	}
	o := in.e.outputs.Get().(*output)
	err := in.write(o, &resp, d, contact)
	if err != nil {
		in.e.warn("answer of a bridge could not be written", "status", resp.Status, "call_id", in.CallID, "err", err)
		if resp.Status, d = 500, nil; !final {
			in.mu.Unlock()
			return nil
		}
		o.b = sip.AppendResponse(o.b[:0], &in.raw.m, 500, "", in.tag, nil)
	}
	if final {
		if in.given {
			in.e.put(in.raw)
		} else {
			in.e.held.Add(-int64(len(in.raw.raw))) // the worker still reads it
		}
		in.raw = nil
		in.settle(resp.Status, d)
	}
	in.mu.Unlock()
	in.transmit(o, resp.Status, d)
	if !final {
		return nil
	}
	return d
}

// hand notes that the worker has read all it wants.
func (in *Incoming) hand() {
	in.mu.Lock()
	in.given = true
	in.mu.Unlock()
}

// complete notes that the final answer is here, in the tables; false: it was.
func (in *Incoming) complete(status int) bool {
	e := in.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if in.final {
		return false
	}
	in.final = true
	in.timer.stop()
	if in.original != 0 {
		delete(e.originals, in.original)
	}
	if in.Method == "INVITE" && status >= 300 && !e.ended {
		e.clock.answer.start(&in.timer, e.clock.now(), in) // Timer H; the ACK is to come
		return true
	}
	delete(e.servers, in.key)
	return true
}

// dialogFor returns the dialog that an answer makes, or has made early; false: there
// is no room for it.
func (in *Incoming) dialogFor(status int, contact string) (d *Dialog, ok bool) {
	if in.Dialog != nil || in.Method != "INVITE" && in.Method != "SUBSCRIBE" || status <= 100 || status >= 300 {
		return nil, true
	}
	if in.early == nil {
		in.early = in.dialog(contact)
	}
	return in.early, in.early != nil
}

// settle keeps or ends the dialog when the final answer is here.
func (in *Incoming) settle(status int, d *Dialog) {
	if in.early != nil {
		in.early.served(in)
		if d == nil || status >= 300 {
			in.early.End()
		}
	}
	if in.early = nil; status < 300 {
		in.made = d
	}
	if in.Dialog != nil {
		in.Dialog.served(in)
	}
}

// write makes the answer.
func (in *Incoming) write(o *output, resp *Response, d *Dialog, contact string) error {
	m := &in.raw.m
	s := in.e.site.Load()
	if s == nil {
		return errNoHost
	}
	var lines []byte
	if resp.Status > 100 && resp.Status < 300 && needsContact(in.Method) {
		if contact == "" {
			contact = userOf(in.To.URI)
			if in.Dialog != nil {
				contact = in.Dialog.user()
			}
		} else if !isUser(contact) {
			return badValue("Contact")
		}
		lines = append(s.appendContact(append(lines, "Contact: "...), contact), "\r\n"...)
	}
	if d != nil {
		for i := range m.Fields() {
			if f := m.Field(i); f.ID == sip.RecordRoute {
				lines = append(lines, f.Line...) // RFC 3261 §12.1.1
			}
		}
	}
	tag := in.tag
	o.b = sip.AppendResponse(o.b[:0], m, resp.Status, resp.Phrase, tag, lines)
	o.b = bytes.TrimSuffix(o.b, noBody)
	var err error
	o.b, err = appendFields(o.b, resp.Fields, resp.ContentType, resp.Body, resp.Status >= 300)
	return err
}

// noBody ends what AppendResponse makes.
var noBody = []byte("Content-Length: 0\r\n\r\n")

// transmit sends the answer. A 2xx to INVITE is kept until its ACK.
func (in *Incoming) transmit(o *output, status int, d *Dialog) {
	e := in.e
	defer e.done(o)
	if in.Method == "BENOTIFY" {
		return // its sender wants no answer, and keeps nothing to take one
	}
	if in.Method == "INVITE" && status >= 200 && status < 300 {
		if d == nil {
			d = in.Dialog
		}
		d.await(in, bytes.Clone(o.b))
	}
	if err := e.send(o.b, ProofNone); err != nil {
		e.warn("answer of a bridge not taken", "status", status, "call_id", in.CallID, "err", err)
	}
}

// trying sends a 100 unless something has been sent.
func (in *Incoming) trying() {
	in.mu.Lock()
	if in.raw == nil || in.tried || in.Method == "BENOTIFY" {
		in.mu.Unlock()
		return
	}
	in.tried = true
	o := in.e.outputs.Get().(*output)
	o.b = sip.AppendResponse(o.b[:0], &in.raw.m, 100, "", "", nil)
	in.mu.Unlock()
	in.transmit(o, 100, nil)
}

// withdraw answers an INVITE for the Handler and tells it.
func (in *Incoming) withdraw(resp Response) {
	in.e.mu.Lock()
	late := in.final
	in.e.mu.Unlock()
	if late {
		return
	}
	in.Answer(resp, "")
	if h := in.e.handler.Load(); h != nil {
		(*h).Canceled(in)
	}
}

// expired is told that the Handler takes long.
func (in *Incoming) expired() {
	e := in.e
	e.mu.Lock()
	final, first := in.final, !in.late
	if in.late = true; final {
		delete(e.servers, in.key) // no ACK has come
	} else if first && in.Method != "INVITE" {
		e.clock.patient.start(&in.timer, e.clock.now(), in)
	}
	e.mu.Unlock()
	switch {
	case final:
	case in.Method == "INVITE":
		e.workerOf([]byte(in.CallID)).put(event{call: func() { in.withdraw(unavailable("Not answered")) }})
	case first:
		in.trying()
	default:
		e.warn("request was not answered by its bridge", "method", in.Method, "call_id", in.CallID)
		in.Answer(Response{Status: 504}, "")
	}
}

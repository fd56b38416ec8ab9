package bridges

import (
	"hash/maphash"
	"strconv"
	"time"

	"github.com/sipedge/sipedge/sip"
)

// Allow is the methods that reach a Handler, and those that the Endpoint
// handles itself, as the header field of that name says them. All others are
// answered with 405.
const Allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, INFO, SUBSCRIBE, NOTIFY, BENOTIFY, UPDATE"

// handled reports whether a method reaches the Handler.
func handled(method string) bool {
	switch method {
	case "MESSAGE", "INVITE", "BYE", "INFO", "SUBSCRIBE", "NOTIFY", "BENOTIFY", "UPDATE":
		return true
	}
	return false
}

// A Handler takes what reaches a bridge from our users. It is called on the
// Endpoint's goroutines and must not wait for foreign servers: it answers later.
type Handler interface {
	// Request takes a request of the methods in [Allow] but for ACK, CANCEL and
	// OPTIONS. It must be answered once; who has not done so after 30 s (INVITE: 3
	// minutes) has it answered by the Endpoint, with 504 (480). BENOTIFY is never
	// answered on the wire.
	Request(in *Incoming)
	// Canceled says that in, an INVITE, is wanted no more (RFC 3261 §9.2); the
	// Endpoint has answered it with 487, or 480 if it rang for too long. Or it was
	// answered with a 2xx that nobody acknowledged: its dialog has ended with a BYE then.
	Canceled(in *Incoming)
}

// An Incoming is a request from our side.
type Incoming struct {
	Request
	Dialog  *Dialog   // within which it came; nil: none
	Arrived time.Time // when the Endpoint looked at it
	server
}

// request handles a request that came (RFC 3261 §8.2, §12.2.2).
func (e *Endpoint) request(raw *input) {
	m := &raw.m
	if fault := m.Fault(); fault != nil {
		e.refuse(raw, fault.Status, fault.Reason, nil)
		return
	}
	switch string(m.Method()) {
	case "ACK":
		e.acked(m)
		e.put(raw)
		return
	case "CANCEL":
		e.canceled(raw)
		return
	}
	in := &Incoming{Arrived: time.Now()}
	readRequest(&in.Request, m)
	in.e, in.raw = e, raw
	if !e.examine(in) {
		return
	}
	if !e.admit(in) {
		return
	}
	if in.To.Tag != "" && !e.within(in, m) {
		return
	}
	in.hand()
	if in.Method == "OPTIONS" {
		in.Answer(Response{Status: 200, Fields: Fields{{"Allow", Allow}, {"Accept", "*/*"}}}, "")
		return
	}
	h := e.handler.Load()
	if h == nil {
		in.Answer(unavailable("Bridge is starting"), "")
		return
	}
	(*h).Request(in)
	if in.Method == "INVITE" {
		in.trying() // RFC 3261 §17.2.1
	}
}

func unavailable(phrase string) Response {
	return Response{Status: 480, Phrase: phrase, Fields: Fields{{"Retry-After", "30"}}}
}

// examine refuses what can be refused by the request alone.
func (e *Endpoint) examine(in *Incoming) bool {
	m := &in.raw.m
	switch {
	case in.Method != "OPTIONS" && !handled(in.Method):
		e.refuse(in.raw, 405, "", appendLine(nil, "Allow", Allow)) // RFC 3261 §8.2.1
	case m.Count(sip.Require) > 0:
		// We know no extension (RFC 3261 §8.2.2.3).
		e.refuse(in.raw, 420, "", unsupported(in.Fields))
	case in.To.Tag == "" && e.paused.Load():
		e.refuse(in.raw, 480, "Bridge is paused", appendLine(nil, "Retry-After", "300"))
	case in.Hops >= MaxHops:
		e.refuse(in.raw, 482, "Too many bridges", nil)
	case in.To.Tag == "" && inside(in.Method):
		e.refuse(in.raw, 481, "", nil)
	case in.Method != "INVITE" && in.Method != "SUBSCRIBE" && in.Method != "NOTIFY":
		return true
	case !routed(m):
		e.refuse(in.raw, 400, "Unusable Record-Route", nil)
	case in.Method == "NOTIFY":
		return true
	case target(m) == "":
		e.refuse(in.raw, 400, "Missing Contact", nil) // RFC 3261 §8.1.1.8
	case checkURI([]byte(in.To.URI)) != nil:
		e.refuse(in.raw, 416, "", nil) // the dialog could not speak for it
	default:
		return true
	}
	return false
}

// inside reports whether a method exists within dialogs only (RFC 3261 §15.1,
// RFC 6086 §4.2.1, RFC 6665 §4.1.3).
func inside(method string) bool {
	switch method {
	case "BYE", "INFO", "NOTIFY", "BENOTIFY", "UPDATE":
		return true
	}
	return false
}

// unsupported is the line that names all that a request requires.
func unsupported(list Fields) (lines []byte) {
	for _, f := range list {
		if f.Name == "Require" && clean(f.Value) {
			lines = appendLine(lines, "Unsupported", f.Value)
		}
	}
	return lines
}

// refuse answers a request that no transaction was made for.
func (e *Endpoint) refuse(raw *input, status int, reason string, lines []byte) {
	e.reply(raw, status, reason, e.dice.tag(), lines)
}

// reply answers a request for which there is no transaction.
func (e *Endpoint) reply(raw *input, status int, reason, tag string, lines []byte) {
	defer e.put(raw)
	if !raw.m.Answerable() || string(raw.m.Method()) == "BENOTIFY" {
		return
	}
	o := e.outputs.Get().(*output)
	defer e.done(o)
	o.b = sip.AppendResponse(o.b[:0], &raw.m, status, reason, tag, lines)
	if err := e.send(o.b, ProofNone); err != nil {
		e.warn("answer of a bridge not taken", "status", status, "err", err)
	}
}

func appendLine(dst []byte, name, value string) []byte {
	return append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
}

// keys names the transaction (RFC 3261 §17.2.3) and, for a request outside
// dialogs, the original of its copies (RFC 3261 §8.2.2.2).
func (e *Endpoint) keys(in *Incoming) (key, original uint64) {
	via, _ := in.raw.m.TopVia()
	key = e.key(&via, in.Method)
	if in.To.Tag != "" {
		return key, 0
	}
	var h maphash.Hash
	h.SetSeed(e.seed)
	h.WriteString(in.CallID)
	h.WriteByte(0)
	h.WriteString(in.From.Tag)
	h.WriteByte(0)
	var number [12]byte
	h.Write(strconv.AppendUint(number[:0], uint64(in.CSeq), 10))
	h.WriteByte(0)
	h.WriteString(in.Method)
	return key, h.Sum64()
}

// key names a transaction by branch, sent-by and method.
func (e *Endpoint) key(via *sip.ViaParm, method string) uint64 {
	var h maphash.Hash
	h.SetSeed(e.seed)
	h.Write(via.Branch)
	h.WriteByte(0)
	h.Write(via.Host)
	h.WriteByte(byte(via.Port >> 8))
	h.WriteByte(byte(via.Port))
	h.WriteString(method)
	return h.Sum64()
}

// admit enters the transaction.
func (e *Endpoint) admit(in *Incoming) bool {
	in.key, in.original = e.keys(in)
	e.mu.Lock()
	var status int
	switch {
	case e.servers[in.key] != nil:
		status = -1 // the way repeats nothing, so it is no request of its own
	case in.original != 0 && e.originals[in.original] != nil:
		status = 482 // RFC 3261 §8.2.2.2: a copy that came another way
	case e.ended || len(e.servers) >= e.lim.servers:
		status = 480
	default:
		e.servers[in.key] = in
		if in.original != 0 {
			e.originals[in.original] = in
		}
		in.tag = in.To.Tag
		if in.tag == "" {
			in.tag = e.dice.tag()
		}
		if in.Method == "INVITE" {
			e.clock.invited.start(&in.timer, e.clock.now(), in)
		} else {
			e.clock.working.start(&in.timer, e.clock.now(), in)
		}
	}
	e.mu.Unlock()
	switch status {
	case 0:
		return true
	case -1:
		e.put(in.raw)
	case 480:
		e.refuse(in.raw, status, "Bridge is busy", appendLine(nil, "Retry-After", "5"))
	default:
		e.refuse(in.raw, status, "", nil)
	}
	return false
}

// acked takes an ACK (RFC 3261 §17.2.1, §13.3.1.4). It is never answered.
func (e *Endpoint) acked(m *sip.Message) {
	via, _ := m.TopVia()
	key := e.key(&via, "INVITE")
	e.mu.Lock()
	in := e.servers[key]
	if in != nil && in.final {
		in.timer.stop()
		delete(e.servers, key)
	}
	e.mu.Unlock()
	if in != nil {
		return
	}
	if d := e.dialogOf(m); d != nil {
		seq, _, _ := m.CSeq()
		d.confirmed(seq)
	}
}

// canceled takes a CANCEL (RFC 3261 §9.2).
func (e *Endpoint) canceled(raw *input) {
	via, _ := raw.m.TopVia()
	e.mu.Lock()
	in := e.servers[e.key(&via, "INVITE")]
	e.mu.Unlock()
	if in == nil {
		e.refuse(raw, 481, "", nil)
		return
	}
	e.reply(raw, 200, "", in.tag, nil)
	in.withdraw(Response{Status: 487})
}

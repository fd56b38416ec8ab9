package bridges

// An Endpoint is a bridge's place at the SIP side: a user agent (RFC 3261 §8,
// §12, §17) without a connection of its own. It is safe for concurrent use.
//
// Requests and answers of one Call-ID come in the order in which they were sent.
type Endpoint struct{}

// A Handler takes what reaches a bridge from our users. It is called on the
// Endpoint's goroutines and must not wait for foreign servers: it answers later.
type Handler interface {
	// Request takes a request other than ACK and CANCEL. It must be answered
	// once.
	Request(in *Incoming)
	// Canceled says that in, an INVITE, is wanted no more (RFC 3261 §9.2); the
	// Endpoint has answered it with 487.
	Canceled(in *Incoming)
}

// Do sends a request outside a dialog, or the first of one. answer gets
// provisional answers to INVITE and exactly one final answer; dialog is that
// which a 2xx to INVITE or SUBSCRIBE has made, else nil.
func (e *Endpoint) Do(r *Request, answer func(resp *Response, dialog *Dialog)) {
	panic("not yet")
}

// An Incoming is a request from our side.
type Incoming struct {
	Request
	Dialog *Dialog // within which it came; nil: none
}

// Answer answers; the first one counts. A provisional answer to INVITE
// may come before. A 2xx to INVITE or SUBSCRIBE outside a dialog makes one, which is
// returned; contact is the user part of our Contact then.
func (in *Incoming) Answer(resp Response, contact string) *Dialog {
	panic("not yet")
}

// A Dialog is one (RFC 3261 §12), or a subscription's (RFC 6665 §4.1). A NOTIFY
// that comes before the answer to its SUBSCRIBE makes the dialog, and the answer
// brings the same one.
type Dialog struct {
	Data any // its owner's
}

// CallID returns the dialog's Call-ID.
func (d *Dialog) CallID() string { panic("not yet") }

// Do sends a request within the dialog; URI, From, To, Call-ID, CSeq and Route
// are the dialog's.
func (d *Dialog) Do(r *Request, answer func(*Response)) { panic("not yet") }

// End forgets the dialog; nothing is sent.
func (d *Dialog) End() { panic("not yet") }

package bridges

import "strings"

// A Party is From or To: who it is, and the tag of the dialog.
type Party struct {
	Display string // as people read it, without quotes
	URI     string
	Tag     string
}

// A Field is one header field that a bridge reads or sets. Via, Route,
// Record-Route, From, To, Call-ID, CSeq, Max-Forwards, Content-Type,
// Content-Length and [LoopMark] are the Endpoint's. Contact is there to be read,
// and to be set in an answer of class 3xx, or to 485.
type Field struct{ Name, Value string }

// Fields are header fields in their order.
type Fields []Field

// Get returns the first field of a name, in any case and spelling (compact forms
// are written out when a message is read), "" if there is none.
func (f Fields) Get(name string) string {
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			return field.Value
		}
	}
	return ""
}

// A Request is a SIP request as a bridge sees it. One that cannot be written
// safely (a line end in a value, a URI that is none) is not sent: its answer is
// a local 400.
type Request struct {
	Method      string
	URI         string // Request-URI; within a dialog the Endpoint's
	From, To    Party  // within a dialog the Endpoint's
	CallID      string // "": the Endpoint makes one
	CSeq        uint32 // 0: the Endpoint's
	Contact     string // user part of our Contact; "" where none is needed
	Fields      Fields // Subject, Date, Event, Expires, Accept, …
	ContentType string
	Body        []byte
	Proof       Proof // of the domain in From, for what we send; 0 within a dialog: as before
	MaxForwards int   // of what we send, 0: 70, less: a local 483, see [Request.Onward]; of what came, as it came
	Hops        int   // how many bridges it has passed before this one, see [LoopMark]
	Data        any   // becomes the Data of every dialog that this request makes
}

// Onward returns the MaxForwards of a request that carries r on: one less, and -1 if
// none is left.
func (r *Request) Onward() int {
	if r.MaxForwards <= 1 {
		return -1
	}
	return r.MaxForwards - 1
}

// A Response is an answer. A local one has Local set: the Endpoint made it,
// because nothing came back (408), nothing could be sent (503), the request could
// not be written (400), its dialog is over (481) or the bridge is paused (480).
type Response struct {
	Status      int
	Phrase      string // "": the standard one
	ToTag       string // of what came; in what we send the Endpoint's
	Fields      Fields
	ContentType string
	Body        []byte
	Local       bool
}

package body

// Accept lists the types of bodies that Read takes, as the value of an Accept field
// (RFC 3261 §21.4.13).
const Accept = "text/plain, text/html, message/cpim, application/im-iscomposing+xml, " +
	"message/imdn+xml, multipart/mixed, multipart/alternative"

// The types of bodies that are written, as values of Content-Type.
const (
	TypePlain     = "text/plain;charset=UTF-8"
	TypeCPIM      = "message/cpim"
	TypeIMDN      = "message/imdn+xml"
	TypeComposing = "application/im-iscomposing+xml"
	TypeKeyboard  = "application/xml" // typing notices of Microsoft's clients
	TypeSDP       = "application/sdp"
)

// maxBody is how many octets of a body are read.
//
// RFC 3428 §8 bounds a MESSAGE to 1300 octets because UDP loses larger ones. That
// rule is none here: all that the edge sends goes over streams with congestion
// control. Where a home server has clients by UDP, max_message is set.
const maxBody = 256 << 10

// An Error says why a body cannot be taken. With status 415 goes an Accept field.
type Error struct {
	Status int    // of the answer: 400, 413 or 415
	Text   string // for people; never what a stranger wrote
}

// Error describes the fault.
func (e *Error) Error() string { return "body: " + e.Text }

// The faults of bodies. Those that others may find, too, are exported; each is to be read
// only.
var (
	errMediaType = &Error{415, "no such type of body crosses"}
	errCharset   = &Error{415, "no such character set crosses"}
	errCoding    = &Error{415, "no such transfer encoding crosses"}
	errRequired  = &Error{415, "the message needs what is not understood"}
	ErrBroken    = &Error{400, "broken body"}
	ErrTooLarge  = &Error{413, "body too large"}
)

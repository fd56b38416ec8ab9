package address

// An Error says why there is no such address at the other side. It is an answer in both
// directions.
type Error struct {
	Status    int    // for SIP
	Condition string // for XMPP
	Text      string // for people; never what a stranger wrote
}

// Error describes the fault.
func (e *Error) Error() string { return "xmpp: " + e.Text }

// The faults of addresses. Those that others may give, too, are exported; each is to be
// read only.
var (
	ErrURI        = &Error{400, "jid-malformed", "not a SIP address"}
	errScheme     = &Error{416, "jid-malformed", "this kind of address does not exist in XMPP"}
	errSecure     = &Error{403, "not-acceptable", "sips does not cross to XMPP"}
	errPassword   = &Error{400, "jid-malformed", "an address with a password"}
	errUserOctets = &Error{400, "jid-malformed", "user part is not UTF-8, or has control characters"}
	errGRUU       = &Error{400, "jid-malformed", "bad gr parameter"}
	errPhone      = &Error{404, "item-not-found", "telephone numbers do not cross to XMPP"}
	errLong       = &Error{414, "jid-malformed", "a part of the address is longer than 1023 octets"}
	errUser       = &Error{404, "jid-malformed", "no XMPP user can have this name"}
	errDomain     = &Error{404, "jid-malformed", "no XMPP domain can have this name"}
	errResource   = &Error{404, "jid-malformed", "no XMPP resource can have this name"}
	ErrJID        = &Error{404, "jid-malformed", "not an XMPP address"}
	errNoSIP      = &Error{404, "jid-malformed", "no SIP address can have this name"}
	errTunnel     = &Error{404, "item-not-found", "the gateway knows no such address"}
	ErrLoop       = &Error{404, "item-not-found", "an address that would come back to us"}
	ErrPlain      = &Error{404, "item-not-found", "our domain is not reachable from XMPP"}
)

// Package sip reads and writes SIP messages as they stand on the wire
// (RFC 3261 §7, §25).
//
// A Framer finds where a message ends on a stream, a Message is an index over
// its octets, the strict readers (ParseURI, ParseVia, ParseNameAddr) say what a
// value means, and an Edit is a list of splices: whatever it does not name leaves
// octet for octet as it came. Nothing on that path allocates for a valid message.
//
// The package does no I/O and knows no policy: it says whether a message is
// well-formed, never whether it is welcome. It does not read bodies, keeps no
// dialogs and runs no timers.
package sip

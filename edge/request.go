package edge

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/remoteaccess"
	"github.com/sipedge/sipedge/sip"
)

// A request is what the doors know of one while it is being judged. It points
// into the message, and lives no longer.
type request struct {
	f     *Flow
	m     *sip.Message
	turn  *turn // of the reader; nil for explain
	key   serverKey
	began time.Time

	invite, inDialog bool
	via              sip.ViaParm
	uri              sip.URI
	fromURI          sip.URI
	from             []byte // domain in From, in normal form
	to               []byte // domain in the Request-URI, in normal form
	loop             uint64 // digest of what decides where the request goes

	ours     int   // Route elements on top that are ours
	bound    bool  // the first of them has a token of ours
	token    token // what it says
	tokenKey int   // the key that signed it

	user   *signIn          // the user of ours who is outside: who sends it, or is sent it
	path   bool             // the first Route is our Path: the token leads to a user's flow
	tunnel *bridge          // To is in a domain under which a bridge takes foreign addresses
	inside *pool            // whose home server sends it
	grant  federation.Grant // what the lists say of the partner on the other side

	trial      remoteaccess.Ticket   // of its credentials; zero: it has none that count
	attempt    *remoteaccess.Attempt // that has to wait until it is known what came of others
	lockedUser bool                  // the ban that stops it is the user's, and not the source's

	way   way
	plan  plan
	audit auditRecord

	buf [2 * 256]byte // room for from and to

	// note takes down each step, for explain; nil on the data path.
	note *walk
}

// step tells explain what was looked at; then a refusal does not end the walk. It
// costs nothing on the data path.
func step[T string | []byte](r *request, name string, detail T, v allowlists.Verdict) allowlists.Verdict {
	if r.note != nil {
		return r.note.add(name, string(detail), v)
	}
	return v
}

// pass is a verdict that a step has nothing against the request.
var pass = allowlists.Verdict{Action: allowlists.Allow}

// branch tells the request from others of its connection. Without the cookie a
// Via's branch need not be unique, or be there (RFC 3261 §17.2.3): then Call-ID
// and the number in CSeq do, which INVITE, its CANCEL and its ACK share.
func (r *request) branch() []byte {
	b := r.via.Branch
	if len(b) > len(sip.Cookie) && bytes.EqualFold(b[:len(sip.Cookie)], []byte(sip.Cookie)) {
		return b
	}
	n, _, _ := r.m.CSeq()
	return binary.BigEndian.AppendUint32(append(bytes.Clone(b), r.m.CallID()...), n)
}

// read takes from the message what the doors ask for. What cannot be read is a
// fault that package sip has found already.
func (r *request) read(e *Edge) {
	m := r.m
	r.via, _ = m.TopVia()
	r.invite = string(m.Method()) == "INVITE"
	r.key = e.table.key(r.f.ID, r.branch(), r.via.Host, m.Method())
	r.uri, _ = m.URI()
	r.fromURI, _ = m.FromURI()
	r.from = sip.AppendDomain(r.buf[:0:256], r.fromURI.Host)
	r.to = sip.AppendDomain(r.buf[256:256], r.uri.Host)
	if e.tunnels != nil {
		r.unwrap(e)
	}
	if to, err := m.To(); err == nil {
		r.inDialog = len(to.Tag()) > 0
	}
	r.audit.begin(r)
}

package edge

import (
	"bytes"

	"github.com/sipedge/sipedge/sip"
)

// unwrap reads addresses of the form juliet%40example.net@xmpp.example.com, in a domain
// under which a bridge takes those of others. The lists are asked about who that is, and
// not about the domain that stands there. Where it is nobody, no list has it.
func (r *request) unwrap(e *Edge) {
	if b := e.tunnels[string(r.to)]; b != nil && (r.f.Role == RoleInternal || r.f.Role == RoleRemote) {
		r.tunnel = b
		r.uri.User, r.to = inner(r.buf[256:256], r.uri.User)
		if e.poolOf(r.to) != nil {
			r.to = r.to[:0] // ours are not called so
		}
	}
	if r.f.bridge != nil && e.tunnels[string(r.from)] == r.f.bridge {
		r.fromURI.User, r.from = inner(r.buf[:0:256], r.fromURI.User)
	}
}

// inner parts the user of such an address, and puts the domain in normal form into dst.
// Without one the domain is empty.
func inner(dst, user []byte) (name, domain []byte) {
	i := bytes.LastIndex(user, []byte("%40"))
	if i <= 0 || !sip.ValidHost(user[i+3:]) {
		return user, dst
	}
	return user[:i], sip.AppendDomain(dst, user[i+3:])
}

package edge

import (
	"slices"
	"strings"

	"github.com/sipedge/sipedge/sip"
)

// What comes off between a user of ours outside and his home server. He is one of us:
// what the home server says of others is for him to know, as it would be inside. But
// what the edge and home servers say of him he cannot say himself.
var (
	remoteNames = slices.DeleteFunc(slices.Clone(borderNames), func(h sip.Header) bool {
		return h == sip.PPreferredIdentity || h == sip.MSClientDiagnostics // his own to say, and looked at
	})
	remoteIn       = sip.NewSet(remoteNames...)
	withoutContact = sip.NewSet(append(slices.Clone(remoteNames), sip.Contact)...)
	remoteOut      = sip.NewSet(sip.Authorization, sip.ProxyAuthorization, sip.MSUserLogonData, sip.PServedUser, sip.SipedgeBridge)
	// Nobody is signed in: what is inside is none of his business yet.
	strangerOut = sip.NewSet(append(slices.DeleteFunc(slices.Clone(borderNames), func(h sip.Header) bool {
		return h == sip.MSDiagnosticsPublic
	}), sip.Authorization, sip.ProxyAuthorization)...)
)

// remoteDrops are the headers that come off what goes to a user outside, or comes from
// one. sender is the flow that the request came on.
func (p *plan) remoteDrops(out bool, sender *Flow) *sip.Set {
	switch {
	case !out:
		return remoteIn
	case p.outbound || sender.state.signed.Load() != nil:
		return remoteOut
	}
	return strangerOut
}

// appendRemote appends what home servers are told of a request from a user outside
// ([MS-SIPRE] §2.2.15).
func (b border) appendRemote(dst []byte, e *Edge) []byte {
	dst = append(append(dst, "ms-edge-proxy-message-trust: ms-source-type=InternetUser;ms-ep-fqdn="...), e.name...)
	return append(dst, ";"+verifiedUser+"=verified\r\n"...)
}

// logonData tells a client that it has come in from outside: it then asks for what is
// reached from there ([MS-SIPRE]).
const logonData = "ms-user-logon-data: RemoteUser\r\n"

// appendMark appends whether a request comes from a user outside, for pools that want
// to know it in a header of their own choice.
func (b border) appendMark(dst []byte, p *pool) []byte {
	if p == nil || p.remoteHeader == "" {
		return dst
	}
	dst = append(append(dst, p.remoteHeader...), ": "...)
	if b.remote {
		return append(dst, "yes\r\n"...)
	}
	return append(dst, "no\r\n"...)
}

// isMark reports whether a field has the name of a pool's header for that: nobody but
// the edge may say it.
func (e *Edge) isMark(name []byte) bool {
	for _, mark := range e.marks {
		if len(mark) == len(name) && strings.EqualFold(mark, string(name)) {
			return true
		}
	}
	return false
}

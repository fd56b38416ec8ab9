package edge

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/sipedge/sipedge/sip"
)

// recorded reports whether a request may begin a dialog, or move one, so that
// we must stay in its path (RFC 3261 §16.6 step 4). MESSAGE begins none
// (RFC 3428 §3), nor do those that only live in a dialog or ask something once;
// an unknown method might.
func recorded(m *sip.Message) bool {
	switch string(m.Method()) {
	case "MESSAGE", "OPTIONS", "REGISTER", "PUBLISH", "INFO", "BYE", "ACK", "CANCEL", "PRACK", "UPDATE":
		return false
	}
	return true
}

// appendToken appends the text of the token of x as it leaves in m towards the
// hop being tried.
func (p *plan) appendToken(dst []byte, e *Edge, x *tx, m *sip.Message) []byte {
	k := token{kind: p.tokenKind(), pool: p.pool, flow: p.flow, device: p.device, party: p.party}
	if x.link != nil && x.link.server != nil {
		k.server = e.tokens.name(0, x.link.server.addr)
	}
	if p.remote {
		k.name = p.otherName(e, m)
	}
	if p.outbound {
		// The partner becomes the one who is called: its Route set is what is
		// in the request (RFC 3261 §12.1.1), known now.
		k.routes = e.tokens.digest(0, append([][]byte{m.CallID()}, recordRoutes(m, nil)...)...)
		k.target = e.tokens.digest(0, m.CallID(), contact(m))
	}
	return e.tokens.seal(dst, &k)
}

// otherName is a MAC over the name by which our user outside was called, where it is not
// his address: that of a group, a number, or of whoever has his calls forwarded. Within
// the dialog that is what stands in From when he speaks (RFC 3261 §12.2.1.1).
func (p *plan) otherName(e *Edge, m *sip.Message) uint64 {
	addr, err := m.From()
	if p.outbound {
		addr, err = m.To()
	}
	if err != nil {
		return 0
	}
	if uri, err := sip.ParseURI(addr.URI); err == nil && isAddress(&uri, string(p.party)) {
		return 0
	}
	return e.tokens.digest(0, []byte("name"), m.CallID(), spelling(addr.URI))
}

// calledSo reports whether what stands in From is the name by which who is signed in was
// called in this dialog.
func (e *Edge) calledSo(r *request, s *signIn) bool {
	from, err := r.m.From()
	return err == nil && r.bound && r.token.kind == tokenUser && string(r.token.party) == s.User &&
		r.token.name == e.tokens.digest(r.tokenKey, []byte("name"), r.m.CallID(), spelling(from.URI))
}

// tokenKind is whom a dialog is bound to.
func (p *plan) tokenKind() tokenKind {
	switch {
	case p.remote:
		return tokenUser
	case p.bridge != nil:
		return tokenBridge
	}
	return tokenPartner
}

// recordRoutes returns the URIs in Record-Route above the one whose user part
// is until, or all of them.
func recordRoutes(m *sip.Message, until []byte) (uris [][]byte) {
	elems := m.Elements(sip.RecordRoute)
	for {
		elem, ok := elems.Next()
		if !ok {
			return uris
		}
		addr, err := sip.ParseNameAddr(elem)
		if err != nil {
			return uris
		}
		if until != nil {
			if uri, err := sip.ParseURI(addr.URI); err == nil && bytes.Equal(uri.User, until) {
				return uris
			}
		}
		uris = append(uris, spelling(addr.URI))
	}
}

// spelling returns the one spelling of a URI that digests are made of. Clients
// that read a Contact and write it into a Request-URI may change the case of
// what has none, and leave out what has no place there (RFC 3261 §12.1.1,
// §19.1.1); all else is the home server's, and must come back as it was: it may
// mean another way to go.
func spelling(uri []byte) []byte {
	u, err := sip.ParseURI(uri)
	if err != nil || !u.IsSIP() {
		return uri
	}
	b := make([]byte, 0, len(uri)+8) // for a = where there was none
	b = append(appendLower(b, u.Scheme), ':')
	if len(u.User) > 0 {
		b = append(b, u.User...)
		if len(u.Password) > 0 {
			b = append(append(b, ':'), u.Password...)
		}
		b = append(b, '@')
	}
	b = appendLower(b, u.Host)
	if u.Port != 0 {
		b = strconv.AppendInt(append(b, ':'), int64(u.Port), 10)
	}
	for params := u.Params; len(params) > 0; {
		var p []byte
		p, params, _ = bytes.Cut(params, []byte(";"))
		name, value, _ := bytes.Cut(p, []byte("="))
		start := len(b)
		b = appendLower(append(b, ';'), name)
		switch string(b[start+1:]) {
		case "", "method":
			b = b[:start]
		case "lr": // some write lr=on
		case "transport", "maddr", "user":
			b = appendLower(append(b, '='), value)
		default:
			b = append(append(b, '='), value...)
		}
	}
	return b
}

// appendLower appends b in small letters, as far as they are ASCII: in a URI there are no
// others unescaped (RFC 3261 §25.1).
func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// contact returns the URI in Contact, nil without one.
func contact(m *sip.Message) []byte {
	elems := m.Elements(sip.Contact)
	elem, ok := elems.Next()
	if !ok {
		return nil
	}
	addr, err := sip.ParseNameAddr(elem)
	if err != nil {
		return nil
	}
	return spelling(addr.URI)
}

// sign puts a signed token in place of ours in an answer that goes out and
// makes a dialog: only now is known what way the home servers want to be
// reached on. RFC 5658 §3 allows a proxy to rewrite its Record-Route in
// answers.
func (p *plan) sign(s *scratch, x *tx, m *sip.Message) {
	e := x.edge
	s.old = p.appendToken(s.old[:0], e, x, m)
	routes := recordRoutes(m, s.old)
	slices.Reverse(routes) // the caller reads them from the end (RFC 3261 §12.1.2)
	k, _, err := e.tokens.open(s.old)
	if err != nil {
		return
	}
	k.routes = e.tokens.digest(0, append([][]byte{m.CallID()}, routes...)...)
	k.target = e.tokens.digest(0, m.CallID(), contact(m))
	s.new = e.tokens.seal(s.new[:0], &k)
	s.edit.Replace = [2][]byte{s.old, s.new}
}

// keepsWay reports whether an answer from outside that makes a dialog names the
// way back as it must (RFC 3261 §12.1.1): our two Record-Routes, and below them
// what the home servers put there. The caller inside will send along that way,
// so a partner that could write it would have it send to any address inside.
func (x *tx) keepsWay(m *sip.Message) bool {
	p := &x.plan
	if !p.outbound || !p.record || p.dialog || m.Status() >= 300 || !makesDialog(m) {
		return true
	}
	k, key, below, ok := x.edge.ourRecord(m)
	return ok && k.kind == p.tokenKind() && k.pool == p.pool && bytes.Equal(k.party, p.party) &&
		k.routes == x.edge.tokens.digest(key, append([][]byte{m.CallID()}, below...)...)
}

// ourRecord finds our two Record-Routes, which stand together, and returns
// their token, the key that signed it and the URIs below.
func (e *Edge) ourRecord(m *sip.Message) (k token, key int, below [][]byte, ok bool) {
	uris := recordRoutes(m, nil)
	for i, text := range uris {
		uri, err := sip.ParseURI(text)
		if err != nil || !e.isOurRoute(uri) || !bytes.HasPrefix(uri.User, []byte(tokenMark)) {
			continue // a partner's own
		}
		if k, key, err = e.tokens.open(uri.User); err != nil || i+1 == len(uris) {
			return token{}, 0, nil, false
		}
		next, err := sip.ParseURI(uris[i+1])
		ok = err == nil && e.isOurRoute(next) && bytes.Equal(next.User, uri.User)
		return k, key, uris[i+2:], ok
	}
	return token{}, 0, nil, false
}

// makesDialog reports whether the caller may take an answer for the beginning
// of a dialog: it has a Contact, or, as some do without, a Record-Route, and the
// method is one that makes any.
func makesDialog(m *sip.Message) bool {
	if m.Count(sip.Contact)+m.Count(sip.RecordRoute) == 0 {
		return false
	}
	_, method, _ := m.CSeq()
	switch string(method) {
	case "INVITE", "SUBSCRIBE", "REFER":
		return true
	}
	return false
}

// routesSigned reports whether what follows our Routes is what the home server
// put into its Record-Route.
func (e *Edge) routesSigned(r *request) bool {
	parts := [][]byte{r.m.CallID()}
	elems := r.m.Elements(sip.Route)
	for range r.ours {
		elems.Next()
	}
	for {
		elem, ok := elems.Next()
		if !ok {
			break
		}
		addr, err := sip.ParseNameAddr(elem)
		if err != nil {
			return false
		}
		parts = append(parts, spelling(addr.URI))
	}
	return r.token.routes == e.tokens.digest(r.tokenKey, parts...)
}

// targetSigned reports whether the Request-URI is a Contact that the home
// server named: in the answer that made the dialog, or later (RFC 3261 §12.2).
func (e *Edge) targetSigned(r *request) bool {
	uri := spelling(r.m.RequestURI())
	target := e.tokens.digest(r.tokenKey, r.m.CallID(), uri)
	if r.token.target == target {
		return true
	}
	_, moved := e.targets.Get(e.tokens.digest(0, r.token.party, r.m.CallID(), uri))
	return moved
}

// moved remembers the Contact of a message from inside within a dialog: the
// partner will use it as its target, and no token says so. Memory is lost with
// a restart; such a dialog then ends with 403 where it had moved. The partner is
// part of it: another one may choose the same Call-ID.
func (e *Edge) moved(p *plan, m *sip.Message) {
	c := contact(m)
	if c == nil || e.tokens.digest(p.tokenKey, m.CallID(), c) == p.target {
		return // the token knows it: memory is for what has moved
	}
	e.targets.Add(e.tokens.digest(0, p.party, m.CallID(), c), struct{}{})
}

package main

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// An msftServer stands in for a home server of the Microsoft dialect: it signs
// its users in with NTLM, checks the signature of each message that they send
// afterwards, and signs all that it sends them ([MS-SIPAE]). What was changed on
// the way, of what is signed, makes a signature wrong.
type msftServer struct {
	stage     *stage
	tls       *tls.Config
	passwords map[string]string
	listen    net.Listener

	mu       sync.Mutex // guards what follows
	conns    map[net.Conn]bool
	out      net.Conn // to the edge, nil until needed
	sessions map[string]*ntlmSession
	bindings map[string]*msftBinding // by user name
	verified map[string]int          // by method, and method and status
	faults   []string                // signatures that were wrong or missing
	texts    []string                // what users wrote
	answers  map[string]*heard       // of users, by Call-ID and CSeq
	serial   int
	fresh    chan struct{} // closed and made anew when any of these changes
}

// An msftBinding is where a user is.
type msftBinding struct {
	session *ntlmSession
	contact string
	path    []string
	to      string // his address, with the endpoint in it
	conn    net.Conn
}

const (
	msftRealm = "SIP Communications Service"
	msftName  = "sip.example.com"
)

// msft runs a stand-in for a Microsoft home server at $HOME1:
//
//	msftserver starts [unasked] USER=PASSWORD   demands certificates, unless unasked
//	msftserver knows USER                       waits until he is signed in
//	msftserver forgets USER                     waits until he has signed out
//	msftserver writes USER TEXT                 Bob invites him to a conversation, and says it
//	msftserver reads TEXT                       waits until a user has written it
//	msftserver verified WHAT...                 waits until each came (a method, or METHOD-STATUS), signed, and nothing badly signed
func (s *stage) msft(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: msftserver starts|knows|forgets|writes|reads|verified ...")
	}
	if args[0] == "starts" {
		return s.startMSFT(options(args[1:]))
	}
	h := s.microsoft
	if h == nil {
		return fmt.Errorf("msftserver was not started")
	}
	switch args[0] {
	case "knows":
		return h.await(args[1]+" to sign in", func() bool { return h.bindings[args[1]] != nil })
	case "forgets":
		return h.await(args[1]+" to sign out", func() bool { return h.bindings[args[1]] == nil })
	case "writes":
		return h.write(args[1], args[2])
	case "reads":
		return h.await("somebody to write "+args[1], func() bool { return strings.Contains(strings.Join(h.texts, "\n"), args[1]) })
	case "verified":
		return h.hasVerified(args[1:])
	}
	return fmt.Errorf("msftserver cannot %q", args[0])
}

// startMSFT listens.
func (s *stage) startMSFT(o map[string]string) error {
	unasked := o["unasked"]
	delete(o, "unasked")
	c, err := s.tlsConfig(nil, map[string]string{"cert": "home", "unasked": unasked})
	if err != nil {
		return err
	}
	h := &msftServer{
		stage: s, tls: c, passwords: o,
		conns: make(map[net.Conn]bool), sessions: make(map[string]*ntlmSession), bindings: make(map[string]*msftBinding),
		verified: make(map[string]int), answers: make(map[string]*heard), fresh: make(chan struct{}),
	}
	if h.listen, err = tls.Listen("tcp", s.env("HOME1"), c); err != nil {
		return err
	}
	s.microsoft = h
	s.deferred(h.close)
	go h.accept()
	return nil
}

// close ends the server with the play.
func (h *msftServer) close() {
	h.listen.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		c.Close()
	}
}

// accept serves the connections that come until the listener is closed.
func (h *msftServer) accept() {
	for {
		c, err := h.listen.Accept()
		if err != nil {
			return
		}
		go h.serve(c)
	}
}

// serve reads a connection to its end.
func (h *msftServer) serve(c net.Conn) {
	h.changes(func() { h.conns[c] = true })
	defer h.changes(func() { delete(h.conns, c); c.Close() })
	for r := bufio.NewReader(c); ; {
		m, err := hear(r)
		switch {
		case err != nil:
			return
		case m == nil:
			continue // half of a keepalive
		case m.isCheck():
			c.Write(m.answer(200, "home", ""))
		default:
			h.changes(func() { h.take(c, m) })
		}
	}
}

// changes does something to what the lock guards, and says so to who waits.
func (h *msftServer) changes(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
	close(h.fresh)
	h.fresh = make(chan struct{})
}

// await waits until something is so.
func (h *msftServer) await(what string, is func() bool) error {
	deadline := time.After(patience)
	for {
		h.mu.Lock()
		done, fresh, faults, verified := is(), h.fresh, strings.Join(h.faults, "\n"), fmt.Sprint(h.verified)
		h.mu.Unlock()
		switch {
		case done:
			return nil
		case faults != "":
			return fmt.Errorf("the server waited for %s, but:\n%s", what, faults)
		}
		select {
		case <-fresh:
		case <-deadline:
			return fmt.Errorf("the server waited %v for %s; signed were %s", patience, what, verified)
		}
	}
}

// take does what a message asks. It is called with the lock held.
func (h *msftServer) take(c net.Conn, m *heard) {
	auth := ntlmParams(m.value("authorization"))
	session := h.sessions[auth["opaque"]]
	if m.what() == "REGISTER" {
		h.register(c, m, session, auth)
		return
	}
	h.verify(m, session, auth)
	switch {
	case !m.isRequest():
		h.answers[m.value("call-id")+" "+m.value("cseq")] = m
	case m.what() == "ACK" || session == nil:
	default:
		if m.what() == "MESSAGE" {
			_, body, _ := strings.Cut(string(m.raw), "\r\n\r\n")
			h.texts = append(h.texts, body)
		}
		c.Write(h.sign(session, m.answer(200, "home", answerFields(m))))
		if state := msftStates[m.value("event")]; state != "" && m.what() == "SUBSCRIBE" {
			h.notify(session, m, state)
		}
	}
}

// answerFields are what an answer needs beside what it repeats.
func answerFields(m *heard) string {
	fields := "Contact: <sip:" + msftName + ":5061;transport=tls>\r\n"
	if m.what() == "SUBSCRIBE" {
		fields += "Expires: 3600\r\nEvent: " + m.value("event") + "\r\nsubscription-state: active;expires=3600\r\n"
	}
	return fields + "Supported: ms-benotify"
}

// msftStates are what users subscribe to when they have signed in: their contacts,
// and what they have published, which is nothing yet.
var msftStates = map[string]string{
	"vnd-microsoft-roaming-contacts": `<contactList deltaNum="1"><group id="1" name="Colleagues"/>` +
		`<contact uri="bob@example.com" name="Bob" groups="1" subscribed="true" externalURI=""/></contactList>`,
	"vnd-microsoft-roaming-self": `<roamingData xmlns="http://schemas.microsoft.com/2006/09/sip/roaming-self">` +
		`<categories xmlns="http://schemas.microsoft.com/2006/09/sip/categories" uri="sip:alice@example.com"/>` +
		`<containers xmlns="http://schemas.microsoft.com/2006/09/sip/container-management"/>` +
		`<subscribers xmlns="http://schemas.microsoft.com/2006/09/sip/presence-subscribers"/></roamingData>`,
}

// notify tells a subscriber a state, with a BENOTIFY in the dialog that the
// subscription made: nobody answers it.
func (h *msftServer) notify(session *ntlmSession, m *heard, state string) {
	b := h.bindings[session.user]
	if b == nil {
		return
	}
	d := &msftDialog{server: h, binding: b, id: m.value("call-id"), from: m.value("to") + ";tag=home", to: m.value("from"),
		target: between(m.value("contact"), "<", ">"), route: m.values("record-route")}
	if d.connect() != nil {
		return // the play waits for what does not come
	}
	d.send("BENOTIFY", "Event: "+m.value("event")+"\r\nsubscription-state: active;expires=3600\r\nContent-Type: application/"+
		m.value("event")+"+xml\r\n\r\n"+state)
}

// values are those of all lines of a field, in order.
func (m *heard) values(name string) (values []string) {
	for _, f := range m.fields {
		if f.name == name {
			values = append(values, f.value)
		}
	}
	return values
}

// register does what a REGISTER asks ([MS-SIPAE] §3.2.5): the first gets the
// name of the scheme, one without data a challenge, and one with the proof of
// the password, or with a signature, is let in.
func (h *msftServer) register(c net.Conn, m *heard, session *ntlmSession, auth map[string]string) {
	data, offers := auth["gssapi-data"]
	date := "Date: " + time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "\r\n"
	challenge := `WWW-Authenticate: NTLM realm="` + msftRealm + `", targetname="` + msftName + `", version=4`
	switch {
	case auth == nil:
		c.Write(m.answer(401, "home", date+challenge))
	case offers && data == "":
		fresh := &ntlmSession{opaque: strings.ToUpper(randomHex(4)), challenge: make([]byte, 8)}
		rand.Read(fresh.challenge)
		h.sessions[fresh.opaque] = fresh
		c.Write(m.answer(401, "home", date+challenge+`, opaque="`+fresh.opaque+`", gssapi-data="`+
			base64.StdEncoding.EncodeToString(fresh.challengeMessage())+`"`))
	case session == nil:
		h.faults = append(h.faults, "a REGISTER of no exchange that is known:\n"+visible(m.raw))
	case offers:
		if err := h.prove(session, data); err != nil {
			h.faults = append(h.faults, err.Error())
			c.Write(m.answer(401, "home", date+challenge))
			return
		}
		fallthrough
	default:
		switch good := h.verify(m, session, auth); {
		case good && m.value("expires") == "0":
			delete(h.bindings, session.user)
			c.Write(h.sign(session, m.answer(200, "home", "Expires: 0")))
		case good:
			h.bind(c, m, session)
		}
	}
}

// prove checks the end of the handshake.
func (h *msftServer) prove(session *ntlmSession, data string) error {
	proof, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return err
	}
	return session.authenticate(proof, func(user string) string { return h.passwords[user] })
}

// bind makes the user known, and tells what such a server tells of itself. A
// field of its own for each word of Supported is how clients want it.
func (h *msftServer) bind(c net.Conn, m *heard, session *ntlmSession) {
	contact, to := m.value("contact"), m.value("to")
	uri, epid := between(contact, "<", ">"), between(m.value("from")+";", ";epid=", ";")
	if epid != "" {
		to += ";epid=" + epid
	}
	b := &msftBinding{session: session, contact: uri, to: to, conn: c}
	b.path = m.values("path")
	h.bindings[session.user] = b
	fields := []string{
		"ms-keep-alive: UAS; tcp=no; hop-hop=yes; end-end=no; timeout=300",
		"Contact: <" + uri + `>;expires=7200;+sip.instance="` + between(contact, `+sip.instance="`, `"`) +
			`";gruu="` + between(to, "<", ">") + ";opaque=user:epid:" + epid + `;gruu"`,
		"Expires: 7200",
		`presence-state: register-action="added"`,
		"Allow-Events: vnd-microsoft-provisioning,vnd-microsoft-roaming-contacts,vnd-microsoft-roaming-ACL,presence,presence.wpending,vnd-microsoft-roaming-self,vnd-microsoft-provisioning-v2",
		"Supported: adhoclist", "Server: RTC/4.0", "Supported: msrtc-event-categories",
	}
	c.Write(h.sign(session, m.answer(200, "home", strings.Join(fields, "\r\n"))))
}

// signedNames are the parts of what is signed ([MS-SIPAE] §3.2.5.1, version 3
// and later), in order. The last is for responses.
var signedNames = []string{
	"scheme", "rand", "num", "realm", "targetname", "Call-ID", "CSeq number", "CSeq method", "From URI", "From tag",
	"To URI", "To tag", "identity (sip)", "identity (tel)", "Expires", "status",
}

// signedParts are the parts of a message that are signed.
func signedParts(m *heard, random, number string) []string {
	number2, method, _ := strings.Cut(m.value("cseq"), " ")
	identity := m.value("p-asserted-identity")
	if identity == "" {
		identity = m.value("p-preferred-identity")
	}
	parts := []string{"NTLM", random, number, msftRealm, msftName, m.value("call-id"), number2, method}
	for _, name := range []string{"from", "to"} {
		v := m.value(name)
		parts = append(parts, between(v, "<", ">"), between(v+";", ";tag=", ";"))
	}
	parts = append(parts, between(identity, "<sip:", ">"), between(identity, "<tel:", ">"), m.value("expires"))
	for i, scheme := range []string{"sip:", "tel:"} {
		if p := &parts[12+i]; *p != "" {
			*p = scheme + *p
		}
	}
	if !m.isRequest() {
		parts = append(parts, m.what())
	}
	return parts
}

// signedText is what is signed.
func signedText(parts []string) string { return "<" + strings.Join(parts, "><") + ">" }

// verify checks the signature of a message that a user sent, and keeps count.
func (h *msftServer) verify(m *heard, session *ntlmSession, auth map[string]string) bool {
	what := m.what()
	if !m.isRequest() {
		_, method, _ := strings.Cut(m.value("cseq"), " ")
		what = method + "-" + what
	}
	parts := signedParts(m, auth["crand"], auth["cnum"])
	switch {
	case session == nil || session.user == "":
		h.faults = append(h.faults, "not signed by anybody who is known:\n"+visible(m.raw))
	case session.fromClient.mac(signedText(parts)) != auth["response"]:
		h.faults = append(h.faults, "wrong signature: "+signedText(parts)+"\n"+visible(m.raw))
		h.faults = append(h.faults, h.differences(m, parts)...)
	default:
		h.verified[what]++
		return true
	}
	return false
}

// differences says which of the parts the client had otherwise, as its log has
// the message.
func (h *msftServer) differences(m *heard, parts []string) []string {
	sent := h.stage.finchSent(m)
	if sent == nil {
		return []string{"the client's log does not have it"}
	}
	auth := ntlmParams(sent.value("authorization"))
	var d []string
	for i, was := range signedParts(sent, auth["crand"], auth["cnum"]) {
		if is := parts[i]; is != was {
			d = append(d, fmt.Sprintf("changed on the way: %s was %q, is %q", signedNames[i], was, is))
		}
	}
	return d
}

// hasVerified waits until each of these has come, well signed, and nothing badly.
func (h *msftServer) hasVerified(want []string) error {
	return h.await(fmt.Sprintf("all of %v, signed", want), func() bool {
		return h.faults == nil && !slices.ContainsFunc(want, func(what string) bool { return h.verified[what] == 0 })
	})
}

// sign puts the server's signature into a message for the user of a session.
func (h *msftServer) sign(session *ntlmSession, message []byte) []byte {
	session.signed++
	random, number := randomHex(4), fmt.Sprint(session.signed)
	head, body, _ := strings.Cut(string(message), "\r\n\r\n")
	signature := session.fromServer.mac(signedText(signedParts(parseHeard([]byte(head)), random, number)))
	return fmt.Appendf(nil, "%s\r\nAuthentication-Info: NTLM rspauth=\"%s\", srand=\"%s\", snum=\"%s\", opaque=\"%s\", qop=\"auth\", targetname=\"%s\", realm=\"%s\"\r\n\r\n%s",
		head, signature, random, number, session.opaque, msftName, msftRealm, body)
}

// write lets Bob write to a user, as clients of the dialect do: an INVITE opens
// the conversation, and what is said comes in it.
func (h *msftServer) write(user, text string) error {
	h.mu.Lock()
	b := h.bindings[user]
	h.serial++
	d := &msftDialog{server: h, binding: b, id: fmt.Sprintf("bob%d@%s", h.serial, msftName),
		from: `"Bob" <sip:bob@example.com>;tag=b0b;epid=b0b`, to: b.to, target: b.contact, route: b.path}
	err := d.connect()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	invite := "P-Asserted-Identity: \"Bob\" <sip:bob@example.com>, <tel:+15550123>\r\nContact: <sip:bob@example.com;opaque=user:epid:b0b;gruu>\r\n" +
		"Supported: ms-sender, ms-conf-invite\r\nms-text-format: text/plain; charset=UTF-8\r\nContent-Type: application/sdp\r\n\r\n" +
		"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 5060 sip sip:bob@example.com\r\na=accept-types:text/plain\r\n"
	answer, err := d.ask("INVITE", invite)
	if err != nil {
		return err
	}
	d.establish(answer)
	h.changes(func() { d.send("ACK", "") })
	_, err = d.ask("MESSAGE", "Content-Type: text/plain; charset=UTF-8\r\n\r\n"+text)
	return err
}

// An msftDialog is a dialog with a user, seen from the server.
type msftDialog struct {
	server  *msftServer
	binding *msftBinding
	id      string
	from    string
	to      string
	target  string
	route   []string
	cseq    int
	conn    net.Conn
}

// connect finds the connection to the user's edge, or to him if none is between.
// It is called with the lock held.
func (d *msftDialog) connect() error {
	h := d.server
	if d.route == nil {
		d.conn = d.binding.conn
		return nil
	}
	if h.out == nil {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", h.stage.env("EDGE_INT"), h.tls)
		if err != nil {
			return err
		}
		h.out = c
		go h.serve(c)
	}
	d.conn = h.out
	return nil
}

// send sends a request of the dialog, signed, with more fields and a body. It is
// called with the lock held.
func (d *msftDialog) send(method, more string) {
	if method != "ACK" {
		d.cseq++
	}
	fields, body, _ := strings.Cut(more, "\r\n\r\n")
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/TLS %s:5061;branch=z9hG4bK%s\r\n", method, d.target, msftName, randomHex(8))
	for _, r := range d.route {
		b.WriteString("Route: " + r + "\r\n")
	}
	fmt.Fprintf(&b, "Max-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", d.from, d.to, d.id, d.cseq, method)
	if fields != "" {
		b.WriteString(strings.TrimRight(fields, "\r\n") + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	d.conn.Write(d.server.sign(d.binding.session, []byte(b.String())))
}

// ask sends a request and waits for its last answer, which must be 200.
func (d *msftDialog) ask(method, more string) (answer *heard, err error) {
	d.server.changes(func() { d.send(method, more) })
	err = d.server.await("an answer to "+method, func() bool {
		answer = d.server.answers[fmt.Sprintf("%s %d %s", d.id, d.cseq, method)]
		return answer != nil && answer.what() >= "200"
	})
	if err == nil && answer.what() != "200" {
		err = fmt.Errorf("%s was answered:\n%s", method, visible(answer.raw))
	}
	return answer, err
}

// establish takes what the first answer says of the dialog (RFC 3261 §12.1.2).
func (d *msftDialog) establish(answer *heard) {
	d.to, d.target = answer.value("to"), between(answer.value("contact"), "<", ">")
	if recorded := answer.values("record-route"); recorded != nil {
		slices.Reverse(recorded)
		d.route = recorded
	}
}

// ntlmParams are the parameters of a field of the scheme NTLM, nil for others.
func ntlmParams(value string) map[string]string {
	params, ok := strings.CutPrefix(value, "NTLM ")
	if !ok {
		return nil
	}
	found := make(map[string]string)
	for _, m := range regexp.MustCompile(`([\w-]+)=(?:"([^"]*)"|([^",\s]+))`).FindAllStringSubmatch(params, -1) {
		found[m[1]] = m[2] + m[3]
	}
	return found
}

// between is what stands between two texts, "" if they are not there.
func between(text, before, after string) string {
	_, rest, _ := strings.Cut(text, before)
	inside, _, found := strings.Cut(rest, after)
	if !found {
		return ""
	}
	return inside
}

// randomHex is a name that nobody else has.
func randomHex(octets int) string {
	b := make([]byte, octets)
	rand.Read(b)
	return hex.EncodeToString(b)
}

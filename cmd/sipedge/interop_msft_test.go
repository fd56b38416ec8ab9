package main

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strconv"
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
	edge      string // where it listens for its home servers
	tls       *tls.Config
	passwords map[string]string
	expires   string // of registrations
	listen    net.Listener

	mu       sync.Mutex // guards what follows
	conns    map[net.Conn]bool
	out      net.Conn // to the edge, nil until needed
	sessions map[string]*ntlmSession
	bindings map[string]*msftBinding // by user name
	verified map[string]int          // by method, and method and status
	faults   []string                // signatures that were wrong or missing
	refused  []string                // passwords that were wrong
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
//	msftserver starts [unasked] [expires=N] USER=PASSWORD   demands certificates, unless unasked
//	msftserver knows USER                       waits until he is signed in
//	msftserver forgets USER                     waits until he has signed out
//	msftserver refuses USER                     waits until somebody has come with a wrong password for him
//	msftserver writes USER TEXT                 Bob invites him to a conversation, and says it
//	msftserver reads TEXT                       waits until a user has written it
//	msftserver verified WHAT...                 waits until each came (a method, METHOD-STATUS, or REGISTER-again), signed,
//	                                            and nothing badly signed
func (s *stage) msft(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: msftserver starts|knows|forgets|refuses|writes|reads|verified ...")
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
	case "refuses":
		return h.await("a wrong password of "+args[1], func() bool { return strings.Contains(strings.Join(h.refused, "\n"), strconv.Quote(args[1])) })
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
	unasked, expires := o["unasked"], o["expires"]
	if expires == "" {
		expires = "7200"
	}
	delete(o, "unasked")
	delete(o, "expires")
	c, err := s.tlsConfig(nil, map[string]string{"cert": "home", "unasked": unasked})
	if err != nil {
		return err
	}
	h := &msftServer{
		stage: s, edge: s.env("EDGE_INT"), tls: c, passwords: o, expires: expires,
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
	switch m.what() {
	case "100":
		return // from the edge itself, which signs nothing
	case "REGISTER":
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
		if m.what() == "SUBSCRIBE" && !strings.Contains(m.value("to"), ";tag=") {
			h.notify(session, m)
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
			h.refused = append(h.refused, err.Error())
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
		"Contact: <" + uri + `>;expires=` + h.expires + `;+sip.instance="` + between(contact, `+sip.instance="`, `"`) +
			`";gruu="` + between(to, "<", ">") + ";opaque=user:epid:" + epid + `;gruu"`,
		"Expires: " + h.expires,
		`presence-state: register-action="added"`,
		"Allow-Events: vnd-microsoft-provisioning,vnd-microsoft-roaming-contacts,vnd-microsoft-roaming-ACL,presence,presence.wpending,vnd-microsoft-roaming-self,vnd-microsoft-provisioning-v2",
		"Supported: adhoclist", "Server: RTC/4.0", "Supported: msrtc-event-categories",
	}
	c.Write(h.sign(session, m.answer(200, "home", strings.Join(fields, "\r\n"))))
}

// verify checks the signature of a message that a user sent, and keeps count.
func (h *msftServer) verify(m *heard, session *ntlmSession, auth map[string]string) bool {
	what := m.what()
	if !m.isRequest() {
		_, method, _ := strings.Cut(m.value("cseq"), " ")
		what = method + "-" + what
	}
	if _, offers := auth["gssapi-data"]; what == "REGISTER" && !offers {
		what = "REGISTER-again"
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

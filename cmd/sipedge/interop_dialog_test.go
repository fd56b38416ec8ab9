package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
)

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
func (h *msftServer) notify(session *ntlmSession, m *heard) {
	b, state := h.bindings[session.user], msftStates[m.value("event")]
	if b == nil || state == "" {
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
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", h.edge, h.tls)
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

// randomHex is a name that nobody else has.
func randomHex(octets int) string {
	b := make([]byte, octets)
	rand.Read(b)
	return hex.EncodeToString(b)
}

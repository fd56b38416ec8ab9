package edge

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"time"
)

// The names of application protocols in TLS (ALPN) that tell a WebSocket from
// SIP on a port that has both.
const (
	alpnHTTP = "http/1.1"
	alpnSIP  = "sip/2"
)

// protocols are the names that a listener answers to in TLS. Who offers others,
// or none, comes in as well.
func (s *wsSettings) protocols() []string {
	switch s.mode {
	case wsAlways:
		return []string{alpnHTTP}
	case wsShared:
		return []string{alpnHTTP, alpnSIP}
	}
	return nil
}

// maxUpgrade is the longest request to upgrade: a browser's with a big cookie
// has half of that.
const maxUpgrade = 8 << 10

// A refusal is an upgrade that is not made. The client learns the status.
type refusal struct {
	status int
	reason string
	field  string // a header line for the answer; "": none
}

func (r *refusal) Error() string {
	return fmt.Sprintf("edge: upgrade refused with %d: %q", r.status, clip(r.reason))
}

// clip bounds what a stranger can write into the log.
func clip(s string) string { return s[:min(len(s), 200)] }

func refuseUpgrade(status int, reason string) *refusal {
	return &refusal{status: status, reason: reason}
}

// upgrade makes a WebSocket of f if its client wants one (RFC 6455 §4.2). It runs
// in the handshake and within its deadline.
func (l *listener) upgrade(f *Flow) error {
	shared := false
	if l.ws.mode == wsShared {
		switch f.tls.ConnectionState().NegotiatedProtocol {
		case alpnSIP:
			return nil
		case alpnHTTP:
		default:
			shared = true
		}
	}
	head, err := f.readUpgrade(shared)
	if err == nil && head == nil {
		return nil // it is SIP
	}
	var accept string
	if err == nil {
		accept, err = l.ws.judge(head)
	}
	if err != nil {
		if r, ok := errors.AsType[*refusal](err); ok {
			f.refuseUpgrade(r)
		}
		f.in.drop(f.w)
		return err
	}
	if _, err := f.tls.Write([]byte(accept)); err != nil {
		f.in.drop(f.w)
		return err
	}
	f.ws = newFrames(f.w.limits)
	f.in.at += len(head)
	if f.in.early = f.in.at < len(f.in.buf.b); !f.in.early {
		f.in.drop(f.w)
	}
	return nil
}

// beginsUpgrade is how a request to upgrade begins, and nothing in SIP does.
var beginsUpgrade = []byte("GET /")

// readUpgrade reads up to the end of the client's request. Where SIP may come as
// well, it returns nil and no error as soon as that is clear, and when nothing
// comes: a client by WebSocket has no reason to wait.
func (f *Flow) readUpgrade(shared bool) (head []byte, err error) {
	end := []byte("\r\n\r\n")
	for {
		b := f.in.room(f.w)
		have := len(b.b)
		n, err := f.tls.Read(b.b[have:cap(b.b)])
		b.b = b.b[:have+n]
		if len(b.b) == 0 && shared && errors.Is(err, os.ErrDeadlineExceeded) {
			f.in.drop(f.w)
			return nil, nil
		}
		if m := min(len(b.b), len(beginsUpgrade)); shared && !bytes.Equal(b.b[:m], beginsUpgrade[:m]) {
			f.in.early = true
			return nil, nil
		}
		seen := b.b[:min(len(b.b), maxUpgrade)]
		from := max(0, min(have, len(seen))-len(end)+1)
		if i := bytes.Index(seen[from:], end); i >= 0 {
			return seen[:from+i+len(end)], nil
		}
		switch {
		case len(b.b) >= maxUpgrade:
			return nil, refuseUpgrade(http.StatusRequestHeaderFieldsTooLarge, "request is too long")
		case err != nil:
			return nil, fmt.Errorf("read upgrade: %w", err)
		}
	}
}

// judge reads the client's request (RFC 6455 §4.2.1) and returns the answer that
// makes the upgrade, or a *refusal.
func (s *wsSettings) judge(head []byte) (accept string, err error) {
	fields, err := readRequest(head)
	if err != nil {
		return "", err
	}
	for _, check := range []func(textproto.MIMEHeader) *refusal{
		hasHost, hasNoBody, isUpgrade, isVersion13,
		func(h textproto.MIMEHeader) *refusal { return s.mayCome(h["Origin"]) },
		offersSIP,
	} {
		if r := check(fields); r != nil {
			return "", r
		}
	}
	key, r := webSocketKey(fields)
	if r != nil {
		return "", r
	}
	// Sec-WebSocket-Extensions is left unanswered: none is used (RFC 6455 §9.1).
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + acceptKey(key) + "\r\nSec-WebSocket-Protocol: sip\r\n\r\n", nil
}

// readRequest reads start line and fields. Line ends and folds about which
// readers differ are refused.
func readRequest(head []byte) (textproto.MIMEHeader, error) {
	for i, c := range head {
		switch {
		case c == '\n' && (i == 0 || head[i-1] != '\r'),
			c == '\r' && (i+1 == len(head) || head[i+1] != '\n'),
			(c == ' ' || c == '\t') && i > 0 && head[i-1] == '\n',
			c < ' ' && c != '\t' && c != '\r' && c != '\n', c == 0x7f:
			return nil, refuseUpgrade(400, "request has a line end, fold or control that it must not have")
		}
	}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	method, line, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(line, []byte(" "))
	switch {
	case string(method) != "GET":
		return nil, &refusal{http.StatusMethodNotAllowed, "method is not GET", "Allow: GET\r\n"}
	case string(version) != "HTTP/1.1":
		return nil, refuseUpgrade(http.StatusHTTPVersionNotSupported, "not HTTP/1.1")
	case !isResource(target):
		return nil, refuseUpgrade(400, "no resource is named")
	}
	fields, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(rest))).ReadMIMEHeader()
	if err != nil {
		return nil, refuseUpgrade(400, "header fields are malformed")
	}
	for name := range fields {
		if strings.Contains(name, " ") { // RFC 9112 §5.1: before the colon
			return nil, refuseUpgrade(400, "blank in the name of a header field")
		}
	}
	return fields, nil
}

// isResource reports whether target is a path, or a whole address as for a proxy
// (RFC 6455 §4.1). Which one does not matter: there is only this service.
func isResource(target []byte) bool {
	return bytes.HasPrefix(target, []byte("/")) ||
		bytes.HasPrefix(target, []byte("https://")) || bytes.HasPrefix(target, []byte("http://"))
}

func hasHost(h textproto.MIMEHeader) *refusal {
	if host := h["Host"]; len(host) != 1 || host[0] == "" {
		return refuseUpgrade(400, "not one host")
	}
	return nil
}

// hasNoBody refuses a request with a body: what follows the fields is frames.
func hasNoBody(h textproto.MIMEHeader) *refusal {
	length := h["Content-Length"]
	if len(h["Transfer-Encoding"]) > 0 || len(length) > 1 || len(length) == 1 && length[0] != "0" {
		return refuseUpgrade(400, "request has a body")
	}
	return nil
}

func isUpgrade(h textproto.MIMEHeader) *refusal {
	if !slices.ContainsFunc(tokens(h["Upgrade"]), func(t string) bool { return strings.EqualFold(t, "websocket") }) ||
		!slices.ContainsFunc(tokens(h["Connection"]), func(t string) bool { return strings.EqualFold(t, "upgrade") }) {
		return refuseUpgrade(400, "no upgrade to WebSocket is asked for")
	}
	return nil
}

func isVersion13(h textproto.MIMEHeader) *refusal {
	if v := h["Sec-Websocket-Version"]; len(v) != 1 || v[0] != "13" {
		return &refusal{http.StatusUpgradeRequired, "version is not 13", "Sec-WebSocket-Version: 13\r\n"}
	}
	return nil
}

// offersSIP looks for the subprotocol (RFC 7118 §4.1). Its name is compared as it
// is: a browser takes no other spelling in the answer than it sent.
func offersSIP(h textproto.MIMEHeader) *refusal {
	if !slices.Contains(tokens(h["Sec-Websocket-Protocol"]), "sip") {
		return refuseUpgrade(400, "subprotocol sip is not offered")
	}
	return nil
}

// webSocketKey is the client's nonce. The bits behind the sixteenth octet may be
// anything: they are in the example of RFC 6455 §4.1.
func webSocketKey(h textproto.MIMEHeader) (string, *refusal) {
	keys := h["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return "", refuseUpgrade(400, "not one key")
	}
	if raw, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(raw) != 16 {
		return "", refuseUpgrade(400, "key is not 16 octets")
	}
	return keys[0], nil
}

// acceptKey shows that we understood (RFC 6455 §4.2.2). SHA-1 protects nothing
// here.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// tokens are the members of a list in one or more fields.
func tokens(fields []string) (list []string) {
	for _, f := range fields {
		for t := range strings.SplitSeq(f, ",") {
			if t = strings.Trim(t, " \t"); t != "" {
				list = append(list, t)
			}
		}
	}
	return list
}

// refusedReads is how much of a refused client is read, so that its answer is
// not lost in a reset.
const refusedReads = 256 << 10

// refuseUpgrade answers and waits a little for the client to close: closing
// while it still sends would make the kernel send a reset, which may overtake
// the answer.
func (f *Flow) refuseUpgrade(r *refusal) {
	text := http.StatusText(r.status)
	_, err := fmt.Fprintf(f.tls, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s\n",
		r.status, text, len(text)+1, r.field, text)
	if err != nil {
		return
	}
	f.tls.CloseWrite()
	f.conn.closeWrite()
	f.conn.tcp.SetReadDeadline(time.Now().Add(f.w.timeouts.linger))
	for most := f.conn.taken + refusedReads; f.conn.taken < most; {
		f.conn.discard()
		if f.conn.wait() != nil {
			return
		}
	}
}

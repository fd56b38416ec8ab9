package body

import (
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const nsIMDN = "urn:ietf:params:xml:ns:imdn"

// documentLimits are for the small documents in bodies.
var documentLimits = stanza.Limits{Stanza: 16 << 10, Depth: 16, Attrs: 16, Tokens: 512}

// An IMDN says what became of a message (RFC 5438 §11).
type IMDN struct {
	MessageID string    // of that message
	DateTime  time.Time // when that was sent; zero: unknown
	Recipient string    // URI, "": not said
	Original  string    // URI of the recipient before it was changed on the way, "": the same
	Subject   string
	Kind      string // "delivery", "display" or "processing"
	// Status is "delivered", "failed", "displayed", "forbidden", "error", "processed",
	// "stored".
	Status string
}

// readIMDN reads a message/imdn+xml document. The error is a *Error.
func readIMDN(b []byte) (*IMDN, error) {
	e, err := stanza.Parse(b, documentLimits)
	if err != nil || !e.Is(nsIMDN, "imdn") {
		return nil, ErrBroken
	}
	n := new(IMDN)
	for _, c := range e.Children {
		value := strings.TrimSpace(c.Text)
		switch {
		case c.Space != nsIMDN:
		case c.Local == "message-id":
			n.MessageID = value
		case c.Local == "datetime":
			n.DateTime, _ = stanza.ParseStamp(value)
		case c.Local == "recipient-uri":
			n.Recipient = value
		case c.Local == "original-recipient-uri":
			n.Original = value
		case c.Local == "subject":
			n.Subject = value
		case strings.HasSuffix(c.Local, "-notification"):
			if n.Kind != "" {
				return nil, ErrBroken // one of each document
			}
			n.Kind = strings.TrimSuffix(c.Local, "-notification")
			if status := c.Child(nsIMDN, "status"); status != nil {
				for _, s := range status.Children {
					if s.Space == nsIMDN && n.Status == "" {
						n.Status = s.Local
					}
				}
			}
		}
	}
	if n.MessageID == "" || n.Kind == "" || n.Status == "" {
		return nil, ErrBroken
	}
	return n, nil
}

// Means returns the fate that XMPP can express, 0 if it is of no interest: that
// a server on the way has the message.
func (n *IMDN) Means() Fates {
	switch {
	case n.Kind == "delivery" && n.Status == "delivered":
		return Delivered
	case n.Kind == "display" && n.Status == "displayed":
		return Displayed
	case n.Kind == "delivery" && (n.Status == "failed" || n.Status == "forbidden" || n.Status == "error"):
		return Failed
	}
	return 0
}

// Append appends the document.
func (n *IMDN) Append(dst []byte) []byte {
	e := stanza.New(nsIMDN, "imdn")
	e.AddText(nsIMDN, "message-id", n.MessageID)
	sent := n.DateTime
	if sent.IsZero() {
		sent = time.Unix(0, 0) // it must be there (RFC 5438 §11.1.2)
	}
	e.AddText(nsIMDN, "datetime", sent.UTC().Format(time.RFC3339))
	if n.Recipient != "" {
		e.AddText(nsIMDN, "recipient-uri", n.Recipient)
	}
	if n.Original != "" {
		e.AddText(nsIMDN, "original-recipient-uri", n.Original)
	}
	if n.Subject != "" {
		e.AddText(nsIMDN, "subject", n.Subject)
	}
	status := e.Add(stanza.New(nsIMDN, n.Kind+"-notification")).Add(stanza.New(nsIMDN, "status"))
	status.Add(stanza.New(nsIMDN, n.Status))
	return appendDocument(dst, e)
}

// appendDocument appends an element as a document of its own.
func appendDocument(dst []byte, e *stanza.Element) []byte {
	dst = append(dst, "<?xml version='1.0' encoding='UTF-8'?>\r\n"...)
	return stanza.AppendFor(dst, e, "")
}

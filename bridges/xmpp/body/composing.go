package body

import (
	"strconv"
	"strings"
	"time"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

const nsComposing = "urn:ietf:params:xml:ns:im-iscomposing"

// Times of typing notices.
const (
	refreshDefault = 120 * time.Second // RFC 3994 §3.3
	refreshLeast   = 60 * time.Second  // RFC 3994 §3.2
	refreshMost    = 10 * time.Minute  // ours: somebody who has left is not typing
)

// A Composing says whether somebody is writing (RFC 3994).
type Composing struct {
	Active bool
	// Refresh is after what time without news he is no longer; of a document
	// that was read it is within bounds.
	Refresh     time.Duration
	LastActive  time.Time // zero: not said
	ContentType string    // "": not said
}

// readComposing reads an application/im-iscomposing+xml document. The error is a
// *Error.
func readComposing(b []byte) (*Composing, error) {
	e, err := stanza.Parse(b, documentLimits)
	if err != nil || !e.Is(nsComposing, "isComposing") {
		return nil, ErrBroken
	}
	state := e.Child(nsComposing, "state")
	if state == nil {
		return nil, ErrBroken
	}
	// States that one does not know are idle (RFC 3994 §3.5).
	c := &Composing{Active: strings.TrimSpace(state.Text) == "active", Refresh: refreshDefault}
	if r := e.Child(nsComposing, "refresh"); r != nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(r.Text), 10, 31); err == nil && n > 0 {
			c.Refresh = min(max(time.Duration(n)*time.Second, refreshLeast), refreshMost)
		}
	}
	if l := e.Child(nsComposing, "lastactive"); l != nil {
		c.LastActive, _ = stanza.ParseStamp(strings.TrimSpace(l.Text))
	}
	if t := e.Child(nsComposing, "contenttype"); t != nil {
		c.ContentType = strings.TrimSpace(t.Text)
	}
	return c, nil
}

// Append appends the document.
func (c *Composing) Append(dst []byte) []byte {
	e := stanza.New(nsComposing, "isComposing")
	state := "idle"
	if c.Active {
		state = "active"
	}
	e.AddText(nsComposing, "state", state)
	if !c.LastActive.IsZero() {
		e.AddText(nsComposing, "lastactive", c.LastActive.UTC().Format(time.RFC3339))
	}
	if c.ContentType != "" {
		e.AddText(nsComposing, "contenttype", c.ContentType)
	}
	if c.Active && c.Refresh > 0 {
		e.AddText(nsComposing, "refresh", strconv.Itoa(int(c.Refresh/time.Second)))
	}
	return appendDocument(dst, e)
}

// ReadKeyboard reads the typing notice of Microsoft's clients, an application/xml
// document in an INFO. The error is a *Error.
func ReadKeyboard(b []byte) (*Composing, error) {
	e, err := stanza.Parse(b, documentLimits)
	if err != nil || e.Local != "KeyboardActivity" {
		return nil, ErrBroken
	}
	for _, c := range e.Children {
		if c.Local == "status" {
			return &Composing{Active: c.Attr("status") == "type", Refresh: refreshLeast}, nil
		}
	}
	return nil, ErrBroken
}

// AppendKeyboard appends such a notice.
func (c *Composing) AppendKeyboard(dst []byte) []byte {
	status := "idle"
	if c.Active {
		status = "type"
	}
	e := stanza.New("", "KeyboardActivity")
	e.Add(stanza.New("", "status", stanza.Attr{Local: "status", Value: status}))
	return appendDocument(dst, e)
}

package s2s

import (
	"fmt"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// callback proves by dialback that we are who we say (XEP-0220 §2.1.1). The answer
// must be to what we asked, from whom we asked.
func (n *negotiation) callback() error {
	if n.id == "" {
		return fmt.Errorf("%w: a stream without id", ErrRefused)
	}
	e := stanza.New(stanza.NSDialback, "result", attr("from", n.local), attr("to", n.remote))
	e.Text = n.s.keys.of(n.remote, n.local, n.id)
	n.say(e)
	a, err := n.dialbackAnswer("result", "")
	if err != nil {
		return err
	}
	switch a.Attr("type") {
	case "valid":
		return nil
	case "error":
		return complaintOfCheck(a)
	}
	return fmt.Errorf("%w: it says that our own server does not know the key", ErrRefused)
}

// dialbackAnswer waits for the answer to what we asked. What anybody may ask
// meanwhile is answered.
func (n *negotiation) dialbackAnswer(local, id string) (*stanza.Element, error) {
	for {
		a, err := n.expect()
		if err != nil {
			return nil, err
		}
		if a.Is(stanza.NSDialback, "verify") && a.Attr("type") == "" {
			if err := n.dialback(a); err != nil {
				return nil, err
			}
			continue
		}
		if a.Is(stanza.NSStreams, "features") {
			continue // once more
		}
		if !a.Is(stanza.NSDialback, local) {
			return nil, &fault{condition: "not-authorized", text: "dialback is not done"}
		}
		from, _ := Normal(a.Attr("from"))
		to, _ := Normal(a.Attr("to"))
		if from != n.remote || to != n.local || a.Attr("type") == "" || id != "" && a.Attr("id") != id {
			return nil, &fault{condition: "invalid-from", text: "a dialback answer that nobody asked for"}
		}
		return a, nil
	}
}

// complaintOfCheck reads a dialback error (XEP-0220 §2.5).
func complaintOfCheck(e *stanza.Element) *complaint {
	if c := e.Child(stanza.NS, "error"); c != nil {
		return complaintOf(c, "dialback", stanza.NSErrors)
	}
	return &complaint{of: "dialback", condition: "undefined-condition"}
}

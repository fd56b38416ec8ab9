package s2s

import (
	"context"

	"github.com/sipedge/sipedge/bridges/xmpp/stanza"
)

// A question is whether a domain has made a dialback key.
type question struct{ id, key string }

// verify asks a domain's own server whether it has made a key (XEP-0220 §2.1.2), on
// a connection of its own, since it must not be the one that the key came on
// (XEP-0288 §2.2). Nil is yes.
func (s *Server) verify(ctx context.Context, p pair, id, key string) error {
	st, err := s.connect(ctx, p, how{key: &question{id, key}})
	if err != nil {
		return err
	}
	s.endLater(st, nil)
	return nil
}

// ask asks on a stream that is there, and nothing needs to be proved on.
func (n *negotiation) ask(q *question) error {
	e := stanza.New(stanza.NSDialback, "verify", attr("from", n.local), attr("to", n.remote), attr("id", q.id))
	e.Text = q.key
	n.say(e)
	a, err := n.dialbackAnswer("verify", q.id)
	if err != nil {
		return err
	}
	switch a.Attr("type") {
	case "valid":
		return nil
	case "error":
		return complaintOfCheck(a)
	}
	return errInvalid
}

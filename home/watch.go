package home

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
)

// A Watch is a subscription to somebody's presence, seen by who watches
// (RFC 6665 §4.1).
type Watch struct {
	u       *User
	dialog  *dialog
	notices chan Notice
}

// A Notice is one NOTIFY. One without a body says nothing of presence yet: somebody is
// being asked for leave, say.
type Notice struct {
	State    string // the value of Subscription-State
	Presence Presence
	Body     string
	CallID   string
	Hops     int // Via values, as in Message
}

// Watch subscribes to the presence of somebody. Without an error, and with a
// status in the 200s, notices follow.
func (u *User) Watch(ctx context.Context, to string) (*Watch, Answer, error) {
	req, err := u.request(sip.SUBSCRIBE, to)
	if err != nil {
		return nil, Answer{}, err
	}
	req.AppendHeader(sip.NewHeader("Event", "presence"))
	req.AppendHeader(sip.NewHeader("Accept", pidfType))
	req.AppendHeader(&sip.ContactHeader{Address: u.place()})
	req.AppendHeader(expiresHeader(defaultExpires))
	w := &Watch{u: u, notices: make(chan Notice, inboxSize)}
	if err := u.addWatch(req, w); err != nil {
		return nil, Answer{}, err
	}
	start := time.Now()
	tx, err := u.begin(ctx, req)
	if err != nil {
		u.dropWatch(req)
		return nil, Answer{}, err
	}
	defer tx.Terminate()
	res, err := final(ctx, tx)
	if err != nil {
		u.dropWatch(req)
		return nil, Answer{}, fmt.Errorf("SUBSCRIBE: %w", err)
	}
	a := answer(req, res, start)
	if !res.IsSuccess() {
		u.dropWatch(req)
		return nil, a, nil
	}
	w.dialog = answered(req, res)
	return w, a, nil
}

// Next waits for the next notice.
func (w *Watch) Next(ctx context.Context) (Notice, error) {
	select {
	case n := <-w.notices:
		return n, nil
	case <-ctx.Done():
		return Notice{}, fmt.Errorf("NOTIFY: %w", ctx.Err())
	}
}

// End unsubscribes. One more notice follows, the last (RFC 6665 §4.1.2.3).
func (w *Watch) End(ctx context.Context) (Answer, error) {
	req := w.dialog.request(sip.SUBSCRIBE)
	req.AppendHeader(sip.NewHeader("Event", "presence"))
	req.AppendHeader(&sip.ContactHeader{Address: w.u.place()})
	req.AppendHeader(expiresHeader(0))
	return w.u.ask(ctx, req)
}

// A NOTIFY may overtake the answer to its SUBSCRIBE (RFC 6665 §4.4.1), so the
// watch is known by what is known before: Call-ID and our own tag.
func watchKey(callID string, ours sip.HeaderParams) string {
	tag, _ := ours.Get("tag")
	return callID + " " + tag
}

func (u *User) addWatch(req *sip.Request, w *Watch) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.watches) >= maxCalls {
		return errors.New("too many subscriptions")
	}
	u.watches[watchKey(req.CallID().Value(), req.From().Params)] = w
	return nil
}

func (u *User) dropWatch(req *sip.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.watches, watchKey(req.CallID().Value(), req.From().Params))
}

func (u *User) onNotify(req *sip.Request, tx sip.ServerTransaction) {
	key := watchKey(req.CallID().Value(), req.To().Params)
	u.mu.Lock()
	w := u.watches[key]
	u.mu.Unlock()
	if w == nil {
		reply(req, tx, 481, "Subscription Does Not Exist")
		return
	}
	n := Notice{
		State:  header(req, "Subscription-State", ""),
		Body:   string(req.Body()),
		CallID: req.CallID().Value(),
		Hops:   len(req.GetHeaders("Via")),
	}
	if n.Body != "" {
		p, err := ParsePresence(req.Body())
		if err != nil {
			reply(req, tx, 400, "Bad Presence Document")
			return
		}
		n.Presence = p
	}
	select {
	case w.notices <- n:
		reply(req, tx, 200, "OK")
	default:
		reply(req, tx, 480, "Nobody Reads")
	}
}

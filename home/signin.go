package home

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// keepAlive is the time between pings, and so the longest time for which a user
// outside whose connection was cut does not know it (RFC 5626 §4.4.1: between
// 95 and 120 seconds, unless the server says in Flow-Timer what it wants).
const keepAlive = 100 * time.Second

// SignIn makes a user agent and signs it in. It stays so until Close. Through
// an edge it keeps the connection alive, and signs in anew when that is lost.
func SignIn(ctx context.Context, cfg UserConfig) (*User, error) {
	u, err := newUser(cfg)
	if err != nil {
		return nil, err
	}
	granted, err := u.signIn(ctx)
	if err != nil {
		u.ua.Close()
		return nil, err
	}
	background, stop := context.WithCancel(context.Background())
	u.stop = stop
	u.wg.Go(func() { u.refresh(background, granted) })
	if cfg.TLS != nil {
		u.wg.Go(func() { u.keepAlive(background, granted) })
	}
	return u, nil
}

// Guess tries one password at the first server, as somebody does who tries
// many, and returns how the server answered: 200 if it is the right one. It
// asks only for the user's bindings, which takes the password and changes
// nothing (RFC 3261 §10.2.3). An error means that there was no answer.
func Guess(ctx context.Context, cfg UserConfig) (Answer, error) {
	u, err := newUser(cfg)
	if err != nil {
		return Answer{}, err
	}
	defer u.ua.Close()
	req, err := u.registration(0, -1)
	if err != nil {
		return Answer{}, err
	}
	req.RemoveHeader("Contact")
	start := time.Now()
	res, err := u.proved(ctx, cfg.Servers[0], req)
	if err != nil {
		return Answer{}, fmt.Errorf("home: guess at %s: %w", cfg.Servers[0], err)
	}
	return answer(req, res, start), nil
}

// SignOut ends the sign-ins of this user agent, and no others of the user.
func (u *User) SignOut(ctx context.Context) error {
	u.stop() // or they would be made anew
	var errs []error
	for i := range u.cfg.Servers {
		_, err := u.register(ctx, i, 0)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func newUser(cfg UserConfig) (*User, error) {
	if len(cfg.Servers) == 0 {
		return nil, errors.New("home: a user needs a home server")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.OnCall == nil {
		cfg.OnCall = func(c *Call) { c.Ring(); c.Accept() }
	}
	if cfg.Expires == 0 {
		cfg.Expires = defaultExpires
	}
	u := &User{
		cfg:      cfg,
		instance: newInstance(),
		inbox:    make(chan Message, inboxSize),
		calls:    map[string]*Call{},
		watches:  map[string]*Watch{},
	}
	u.contact = u.newContact()
	if err := u.build(); err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	return u, nil
}

// newInstance names this user agent: a random UUID (RFC 4122 §4.4).
func newInstance() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf(`"<urn:uuid:%x-%x-%x-%x-%x>"`, b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newContact names this user agent and no place: it is reached over the
// connection that it opened (RFC 5626 §3.1; RFC 7118 §8.1 shows one).
func (u *User) newContact() sip.Uri {
	c := sip.Uri{Scheme: "sip", User: u.cfg.Name, Host: strings.ToLower(sip.GenerateTagN(12)) + ".invalid"}
	c.UriParams.Add("transport", strings.ToLower(u.transport()))
	return c
}

// place is the contact in requests that make a dialog: ob asks the edge to lead
// what follows over this connection (RFC 5626 §4.3).
func (u *User) place() sip.Uri {
	c := *u.contact.Clone()
	if u.cfg.TLS != nil {
		c.UriParams.Add("ob", "")
	}
	return c
}

func (u *User) transport() string {
	if u.cfg.TLS != nil {
		return "TLS"
	}
	return "TCP"
}

// config has no certificate of ours in it, so that none is shown.
func (t *UserTLS) config() *tls.Config {
	if t == nil {
		return nil
	}
	return &tls.Config{RootCAs: t.Roots, ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
}

// granted is what a sign-in got.
type granted struct {
	life time.Duration // until it ends by itself
	ping time.Duration // between pings
}

// signIn signs in at all servers, and returns the least that they granted.
func (u *User) signIn(ctx context.Context) (granted, error) {
	least := granted{maxExpires, keepAlive}
	for i, server := range u.cfg.Servers {
		g, err := u.register(ctx, i, u.cfg.Expires)
		if err != nil {
			return granted{}, fmt.Errorf("home: sign in %s at %s: %w", u.URI(), server, err)
		}
		least = granted{min(least.life, g.life), min(least.ping, g.ping)}
	}
	return least, nil
}

// register signs in at one server, or out there if life is 0.
func (u *User) register(ctx context.Context, server int, life time.Duration) (granted, error) {
	req, err := u.registration(server, life)
	if err != nil {
		return granted{}, err
	}
	start := time.Now()
	res, err := u.proved(ctx, u.cfg.Servers[server], req)
	if err != nil {
		return granted{}, err
	}
	if res.StatusCode != 200 {
		return granted{}, &Refused{"REGISTER", answer(req, res, start)}
	}
	return u.grantedBy(res, life), nil
}

// registration is the REGISTER at a server. Outside each has a reg-id: several
// flows of one instance (RFC 5626 §4.2.1).
func (u *User) registration(server int, life time.Duration) (*sip.Request, error) {
	req, err := u.request(sip.REGISTER, u.URI())
	if err != nil {
		return nil, err
	}
	req.Recipient = sip.Uri{Scheme: "sip", Host: u.cfg.Domain}
	contact := &sip.ContactHeader{Address: u.contact}
	if u.cfg.TLS != nil {
		contact.Params.Add("+sip.instance", u.instance)
		contact.Params.Add("reg-id", strconv.Itoa(server+1))
		req.AppendHeader(sip.NewHeader("Supported", "path, outbound"))
	}
	req.AppendHeader(contact)
	if life >= 0 {
		req.AppendHeader(expiresHeader(life))
	}
	return req, nil
}

// proved asks, proves, and asks again (RFC 3261 §22.2); once more if the
// server's own word has aged meanwhile.
func (u *User) proved(ctx context.Context, server string, req *sip.Request) (*sip.Response, error) {
	res, err := u.exchange(ctx, server, req)
	for tries := 0; err == nil && res.StatusCode == 401 && tries < 2; tries++ {
		if tries > 0 && !isStale(res) {
			break
		}
		if err := u.prove(req, res); err != nil {
			return nil, err
		}
		res, err = u.exchange(ctx, server, req)
	}
	return res, err
}

func isStale(res *sip.Response) bool {
	c, err := digest.ParseChallenge(header(res, "WWW-Authenticate", ""))
	return err == nil && c.Stale
}

// prove adds the credentials for the first challenge that we can meet.
func (u *User) prove(req *sip.Request, res *sip.Response) error {
	for _, h := range res.GetHeaders("WWW-Authenticate") {
		c, err := digest.ParseChallenge(h.Value())
		if err != nil || !digest.CanDigest(c) || (u.cfg.Algorithm != "" && c.Algorithm != u.cfg.Algorithm) {
			continue
		}
		cred, err := digest.Digest(c, digest.Options{
			Method: req.Method.String(), URI: req.Recipient.Addr(),
			Username: u.cfg.Name, Password: u.cfg.Password,
		})
		if err != nil {
			return err
		}
		req.RemoveHeader("Authorization")
		req.AppendHeader(sip.NewHeader("Authorization", cred.String()))
		req.RemoveHeader("Via")
		req.CSeq().SeqNo++
		return nil
	}
	return errors.New("no challenge that we can meet")
}

// grantedBy reads how long our contact stays, and when the edge wants to hear
// from us: a little before (RFC 5626 §4.4.1).
func (u *User) grantedBy(res *sip.Response, asked time.Duration) granted {
	g := granted{asked, keepAlive}
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || !sameContact(c.Address, u.contact) {
			continue
		}
		text, _ := param(c.Params, "expires")
		if life, ok := seconds(text, asked); ok && life > 0 {
			g.life = life
		}
	}
	if flow, ok := seconds(header(res, "Flow-Timer", ""), 0); ok && flow > 0 {
		g.ping = flow * 9 / 10
	}
	return g
}

// refresh keeps the sign-ins from ending.
func (u *User) refresh(ctx context.Context, g granted) {
	t := time.NewTimer(g.life / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			again, err := u.signIn(ctx)
			if err == nil {
				g = again
			} else {
				u.cfg.Log.Warn("sign-in not refreshed", "error", err)
			}
			t.Reset(g.life / 2)
		}
	}
}

// keepAlive pings the edges, and signs in anew where there is no connection any
// more (RFC 5626 §4.5).
func (u *User) keepAlive(ctx context.Context, g granted) {
	t := time.NewTicker(g.ping)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for i, server := range u.cfg.Servers {
			u.ping(i)
			if err := u.reconnect(ctx, i); err != nil {
				u.cfg.Log.Warn("not signed in again", "server", server, "error", err)
			}
		}
	}
}

// reconnect signs in anew at an edge that we have lost the connection to. On a
// new one nobody knows us.
func (u *User) reconnect(ctx context.Context, server int) error {
	if u.cfg.TLS == nil {
		return nil
	}
	if conn, err := u.connection(server); err == nil {
		conn.TryClose()
		return nil
	}
	_, err := u.register(ctx, server, u.cfg.Expires)
	return err
}

// connection is the one that stands. Like all that sipgo hands out it is to be
// given back with TryClose. It keeps them by address, so a server that is
// named by a host has none.
func (u *User) connection(server int) (sip.Connection, error) {
	return u.ua.TransportLayer().GetConnection(u.transport(), u.cfg.Servers[server])
}

// ping sends what asks for a pong (RFC 5626 §3.5.1). sipgo swallows the pong;
// a connection that is lost is one that it does not have any more.
func (u *User) ping(server int) {
	conn, err := u.connection(server)
	if err != nil {
		return
	}
	defer conn.TryClose()
	if w, ok := conn.(io.Writer); ok {
		io.WriteString(w, "\r\n\r\n")
	}
}

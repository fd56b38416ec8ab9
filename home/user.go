package home

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

const (
	inboxSize = 256 // messages that nobody has looked at; older ones are forgotten
	maxCalls  = 64  // calls and subscriptions that one user has open
)

// UserConfig is who a user is, where he signs in, and what he does when called.
type UserConfig struct {
	Name     string
	Domain   string
	Password string
	// Servers are the user sides of home servers, host:port, or with TLS edges'
	// listeners for users outside. The user signs in at each of them, and sends
	// through the first that takes a connection.
	Servers []string
	// TLS is for users outside. Without it the connections are plain TCP.
	TLS *UserTLS
	// From is the address that connections are made from. Default: any.
	From netip.Addr
	// Expires is how long a sign-in is asked for. Default: an hour.
	Expires time.Duration
	// Algorithm is the digest to use: "SHA-256" or "MD5". Default: the first
	// that the server names and we know (RFC 8760 §2.4).
	Algorithm string
	// OnCall is what happens when somebody calls; it runs until the call is
	// answered or declined. Default: ring, then accept.
	OnCall func(*Call)
	Log    *slog.Logger // default: nothing is logged
}

// UserTLS is how a user outside knows the edge. He shows no certificate.
type UserTLS struct {
	Roots      *x509.CertPool // who may have signed the edge's certificate
	ServerName string         // the host name that it must prove
}

// A User is a scripted user agent, signed in to his home server.
type User struct {
	cfg      UserConfig
	ua       *sipgo.UserAgent
	client   *sipgo.Client
	contact  sip.Uri
	instance string // the value of +sip.instance
	inbox    chan Message
	stop     context.CancelFunc
	wg       sync.WaitGroup

	mu      sync.Mutex // guards what follows
	calls   map[string]*Call
	watches map[string]*Watch
}

// A Message is a MESSAGE that a user received (RFC 3428).
type Message struct {
	From   string // URI
	To     string // URI
	Text   string
	CallID string
	Hops   int // Via values: how many have sent it on, its author included
}

// An Answer is the final answer to a request.
type Answer struct {
	Status      int
	Reason      string
	Warning     string // the value of Warning, where an edge puts a reference
	CallID      string // of the request
	Took        time.Duration
	Provisional []int // answers that came before, 100 left out
}

// A Refused is a request that got another answer than the one it was for.
type Refused struct {
	Method string
	Answer Answer
}

// Error names the request and its answer.
func (r *Refused) Error() string {
	return fmt.Sprintf("%s: %d %s", r.Method, r.Answer.Status, r.Answer.Reason)
}

func (u *User) build() (err error) {
	u.ua, err = sipgo.NewUA(
		sipgo.WithUserAgent(u.cfg.Name),
		sipgo.WithUserAgenTLSConfig(u.cfg.TLS.config()),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(u.cfg.Log)),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(u.cfg.Log), sip.WithTransactionLayerTerminateOnConnClose()),
	)
	if err != nil {
		return err
	}
	u.ua.TransportLayer().OnMessage(u.onProvisional)
	options := []sipgo.ClientOption{sipgo.WithClientLogger(u.cfg.Log)}
	if u.cfg.From.IsValid() {
		options = append(options, sipgo.WithClientConnectionAddr(netip.AddrPortFrom(u.cfg.From, 0).String()))
	}
	if u.client, err = sipgo.NewClient(u.ua, options...); err != nil {
		return err
	}
	srv, err := sipgo.NewServer(u.ua, sipgo.WithServerLogger(u.cfg.Log))
	if err != nil {
		return err
	}
	srv.OnMessage(u.onMessage)
	srv.OnNotify(u.onNotify)
	srv.OnInvite(u.onInvite)
	srv.OnAck(u.onAck)
	srv.OnBye(u.onBye)
	srv.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) { reply(req, tx, 200, "OK") })
	srv.OnCancel(func(req *sip.Request, tx sip.ServerTransaction) { reply(req, tx, 481, "No Such Call") })
	return nil
}

// Close ends the user agent without a word: no BYE and no sign-out.
func (u *User) Close() error {
	u.stop()
	err := u.ua.Close()
	u.wg.Wait()
	return err
}

// URI is the user's address, "sip:alice@example.com".
func (u *User) URI() string { return "sip:" + u.cfg.Name + "@" + u.cfg.Domain }

// Inbox is where messages arrive.
func (u *User) Inbox() <-chan Message { return u.inbox }

// Message sends a text and waits for its answer.
func (u *User) Message(ctx context.Context, to, text string) (Answer, error) {
	req, err := u.request(sip.MESSAGE, to)
	if err != nil {
		return Answer{}, err
	}
	req.AppendHeader(sip.NewHeader("Content-Type", "text/plain;charset=UTF-8"))
	req.SetBody([]byte(text))
	return u.ask(ctx, req)
}

// Publish tells our home server how we are (RFC 3903 §4).
func (u *User) Publish(ctx context.Context, open bool, note string) (Answer, error) {
	req, err := u.request(sip.PUBLISH, u.URI())
	if err != nil {
		return Answer{}, err
	}
	p := Presence{Entity: "pres:" + u.cfg.Name + "@" + u.cfg.Domain, Open: open, Note: note}
	req.AppendHeader(sip.NewHeader("Event", "presence"))
	req.AppendHeader(sip.NewHeader("Content-Type", pidfType))
	req.SetBody(p.Document())
	return u.ask(ctx, req)
}

// request begins a request of ours to an address, without Via.
func (u *User) request(method sip.RequestMethod, to string) (*sip.Request, error) {
	var remote, local sip.Uri
	if err := sip.ParseUri(to, &remote); err != nil {
		return nil, fmt.Errorf("address %q: %w", to, err)
	}
	if err := sip.ParseUri(u.URI(), &local); err != nil {
		return nil, fmt.Errorf("address %q: %w", u.URI(), err)
	}
	d := dialog{
		callID: sip.GenerateTagN(20),
		local:  party{local, sip.GenerateTagN(10)},
		remote: party{uri: remote},
		target: remote,
	}
	req := d.request(method)
	req.To().Params.Remove("tag")
	return req, nil
}

// ask sends a request and waits for its answer.
func (u *User) ask(ctx context.Context, req *sip.Request) (Answer, error) {
	start := time.Now()
	tx, err := u.begin(ctx, req)
	if err != nil {
		return Answer{}, err
	}
	defer tx.Terminate()
	res, err := final(ctx, tx)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", req.Method, err)
	}
	return answer(req, res, start), nil
}

// begin sends a request through the first server that can be reached. What was
// sent is not sent again elsewhere: it may have arrived.
func (u *User) begin(ctx context.Context, req *sip.Request) (sip.ClientTransaction, error) {
	var errs []error
	for i, server := range u.cfg.Servers {
		err := u.reconnect(ctx, i)
		if err == nil {
			var tx sip.ClientTransaction
			if tx, err = u.transaction(ctx, server, req); err == nil {
				return tx, nil
			}
			req.RemoveHeader("Via") // it named a connection that there is not
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (u *User) transaction(ctx context.Context, server string, req *sip.Request) (sip.ClientTransaction, error) {
	req.SetTransport(u.transport())
	req.SetDestination(server)
	return u.client.TransactionRequest(ctx, req)
}

func (u *User) exchange(ctx context.Context, server string, req *sip.Request) (*sip.Response, error) {
	tx, err := u.transaction(ctx, server, req)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	return final(ctx, tx)
}

// final waits for the final answer.
func final(ctx context.Context, tx sip.ClientTransaction) (*sip.Response, error) {
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, tx.Err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func answer(req *sip.Request, res *sip.Response, start time.Time) Answer {
	return Answer{
		Status:  res.StatusCode,
		Reason:  res.Reason,
		Warning: header(res, "Warning", ""),
		CallID:  req.CallID().Value(),
		Took:    time.Since(start),
	}
}

func (u *User) onMessage(req *sip.Request, tx sip.ServerTransaction) {
	m := Message{
		From:   req.From().Address.String(),
		To:     req.To().Address.String(),
		Text:   string(req.Body()),
		CallID: req.CallID().Value(),
		Hops:   len(req.GetHeaders("Via")),
	}
	for {
		select {
		case u.inbox <- m:
			reply(req, tx, 200, "OK")
			return
		default:
		}
		select {
		case <-u.inbox: // the oldest makes room
		default:
		}
	}
}

func reply(req *sip.Request, tx sip.ServerTransaction, status int, reason string) error {
	return tx.Respond(sip.NewResponseFromRequest(req, status, reason, nil))
}

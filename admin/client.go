package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/sipedge/sipedge/remoteaccess"
)

// ErrNotRunning is the error of a socket that is not there, or on which nobody
// answers.
var ErrNotRunning = errors.New("no edge runs there")

// ErrNotPermitted is the error of a socket that we may not use.
var ErrNotPermitted = errors.New("only root and the user that the edge runs as may use its control socket")

// maxAnswer bounds what is read of an answer: the list of a million partners is
// smaller.
const maxAnswer = 512 << 20

// askTimeout is how long an answer may take: lists are compiled before it.
const askTimeout = time.Minute

// A Client asks a running edge, for the commands.
type Client struct{ path string }

// NewClient makes a client for the socket at path. It connects for each question.
func NewClient(path string) *Client { return &Client{path} }

// Status asks how the edge is.
func (c *Client) Status(ctx context.Context) (a Status, err error) {
	return a, c.do(ctx, "GET", "/v1/status", nil, &a)
}

// Discovered asks for the domains that came without being listed.
func (c *Client) Discovered(ctx context.Context) (a DiscoveredList, err error) {
	return a, c.do(ctx, "GET", "/v1/discovered", nil, &a)
}

// Partners asks for all partners in whose entry the word occurs; "" is all.
func (c *Client) Partners(ctx context.Context, word string) (a PartnerList, err error) {
	return a, c.do(ctx, "GET", "/v1/partners?word="+url.QueryEscape(word), nil, &a)
}

// Partner asks for one domain.
func (c *Client) Partner(ctx context.Context, domain string) (a Partner, err error) {
	return a, c.do(ctx, "GET", "/v1/partners/"+url.PathEscape(domain), nil, &a)
}

// Decide makes a decision. When it returns, it is in force.
func (c *Client) Decide(ctx context.Context, domain string, w Wish) (a Decided, err error) {
	return a, c.do(ctx, "PUT", "/v1/decisions/"+url.PathEscape(domain), w, &a)
}

// Revoke takes a decision back.
func (c *Client) Revoke(ctx context.Context, domain string) (a Decided, err error) {
	return a, c.do(ctx, "DELETE", "/v1/decisions/"+url.PathEscape(domain), nil, &a)
}

// Users asks for all users outside in whose entry the word occurs; "" is all.
func (c *Client) Users(ctx context.Context, word string) (a UserList, err error) {
	return a, c.do(ctx, "GET", "/v1/users?word="+url.QueryEscape(word), nil, &a)
}

// User asks for one of our users.
func (c *Client) User(ctx context.Context, user string) (a User, err error) {
	return a, c.do(ctx, "GET", "/v1/users/"+url.PathEscape(user), nil, &a)
}

// DecideAccess decides whether a user may sign in from outside. When it returns, it
// is in force.
func (c *Client) DecideAccess(ctx context.Context, user string, w AccessWish) (a AccessDecided, err error) {
	return a, c.do(ctx, "PUT", "/v1/access/"+url.PathEscape(user), w, &a)
}

// RevokeAccess takes such a decision back.
func (c *Client) RevokeAccess(ctx context.Context, user string) (a AccessDecided, err error) {
	return a, c.do(ctx, "DELETE", "/v1/access/"+url.PathEscape(user), nil, &a)
}

// Kick signs a user out everywhere outside.
func (c *Client) Kick(ctx context.Context, user string) (a Kicked, err error) {
	return a, c.do(ctx, "DELETE", "/v1/signins/"+url.PathEscape(user), nil, &a)
}

// Flows asks for all connections in whose entry the word occurs; "" is all.
func (c *Client) Flows(ctx context.Context, word string) (a FlowList, err error) {
	return a, c.do(ctx, "GET", "/v1/flows?word="+url.QueryEscape(word), nil, &a)
}

// Flow asks for one connection.
func (c *Client) Flow(ctx context.Context, id string) (a Flow, err error) {
	return a, c.do(ctx, "GET", "/v1/flows/"+url.PathEscape(id), nil, &a)
}

// Drop ends a connection, and returns what it was.
func (c *Client) Drop(ctx context.Context, id string) (a Flow, err error) {
	return a, c.do(ctx, "DELETE", "/v1/flows/"+url.PathEscape(id), nil, &a)
}

// Bans asks for the bans in whose entry the word occurs, and how much is guessed.
func (c *Client) Bans(ctx context.Context, word string) (a BanList, err error) {
	return a, c.do(ctx, "GET", "/v1/bans?word="+url.QueryEscape(word), nil, &a)
}

// Ban keeps somebody from signing in. When it returns, it is in force.
func (c *Client) Ban(ctx context.Context, key string, w BanWish) (a Banned, err error) {
	return a, c.do(ctx, "PUT", "/v1/bans/"+url.PathEscape(key), w, &a)
}

// Lift takes a ban back, and returns what it was.
func (c *Client) Lift(ctx context.Context, key string) (a remoteaccess.Ban, err error) {
	return a, c.do(ctx, "DELETE", "/v1/bans/"+url.PathEscape(key), nil, &a)
}

// Bridges asks for all bridges.
func (c *Client) Bridges(ctx context.Context) (a BridgeList, err error) {
	return a, c.do(ctx, "GET", "/v1/bridges", nil, &a)
}

// Bridge asks for one, with the connections and rules in which the word occurs; "" is
// all.
func (c *Client) Bridge(ctx context.Context, network, word string) (a Bridge, err error) {
	return a, c.do(ctx, "GET", "/v1/bridges/"+url.PathEscape(network)+"?word="+url.QueryEscape(word), nil, &a)
}

// TestBridge has a bridge look whether somebody could be reached.
func (c *Client) TestBridge(ctx context.Context, network, address string) (a BridgeTest, err error) {
	return a, c.do(ctx, "GET", "/v1/bridges/"+url.PathEscape(network)+"/test?address="+url.QueryEscape(address), nil, &a)
}

// PauseBridge stops what is new on a bridge.
func (c *Client) PauseBridge(ctx context.Context, network string, w PauseWish) (a Bridge, err error) {
	return a, c.do(ctx, "PUT", "/v1/bridges/"+url.PathEscape(network)+"/pause", w, &a)
}

// ResumeBridge lets it go on.
func (c *Client) ResumeBridge(ctx context.Context, network string) (a Bridge, err error) {
	return a, c.do(ctx, "DELETE", "/v1/bridges/"+url.PathEscape(network)+"/pause", nil, &a)
}

// BridgeUser asks what goes for one of our users and a network.
func (c *Client) BridgeUser(ctx context.Context, network, user string) (a BridgeUser, err error) {
	return a, c.do(ctx, "GET", bridgeUserPath(network, user), nil, &a)
}

// DecideBridge decides whether a user may use a network. When it returns, it is in
// force.
func (c *Client) DecideBridge(ctx context.Context, network, user string, w BridgeWish) (a BridgeDecided, err error) {
	return a, c.do(ctx, "PUT", bridgeUserPath(network, user), w, &a)
}

// RevokeBridge takes such a decision back.
func (c *Client) RevokeBridge(ctx context.Context, network, user string) (a BridgeDecided, err error) {
	return a, c.do(ctx, "DELETE", bridgeUserPath(network, user), nil, &a)
}

func bridgeUserPath(network, user string) string {
	return "/v1/bridges/" + url.PathEscape(network) + "/users/" + url.PathEscape(user)
}

// do asks and reads the answer. What the edge refuses is a *Problem.
func (c *Client) do(ctx context.Context, method, path string, body, answer any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://edge"+path, &b)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.path)
	if err != nil {
		return c.failure(err)
	}
	defer conn.Close()
	resp, err := exchange(conn, req)
	if err != nil {
		return c.failure(err)
	}
	defer resp.Body.Close()
	d := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		p := &Problem{Status: resp.StatusCode}
		if err := d.Decode(p); err != nil {
			return fmt.Errorf("the edge answered %s", resp.Status)
		}
		if p.Code == CodeNotPermitted {
			return fmt.Errorf("%w: %s", ErrNotPermitted, c.path)
		}
		return p
	}
	if err := d.Decode(answer); err != nil {
		return fmt.Errorf("read the edge's answer: %w", err)
	}
	return nil
}

// exchange sends a request and reads the answer, which may be there before the
// request is: who may not connect is told so and not listened to. (That is what
// http.Transport takes for a fault.)
func exchange(conn net.Conn, req *http.Request) (*http.Response, error) {
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, err
	}
	req.Close = true
	sent := req.Write(conn)
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil && sent != nil {
		return nil, sent
	}
	return resp, err
}

// failure says what it means that there was no answer.
func (c *Client) failure(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody answers on %s", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s", ErrNotPermitted, c.path)
	}
	return fmt.Errorf("ask the edge on %s: %w", c.path, err)
}

package admin

import (
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
)

// ErrNotRunning is the error of a socket that is not there, or on which nobody
// answers.
var ErrNotRunning = errors.New("no edge runs there")

// ErrNotPermitted is the error of a socket that we may not use.
var ErrNotPermitted = errors.New("only root and the user that the edge runs as may use its control socket")

// maxAnswer bounds what is read of an answer: the list of a million partners is
// smaller.
const maxAnswer = 512 << 20

// A Client asks a running edge, for the commands.
type Client struct {
	path string
	http *http.Client
}

// NewClient makes a client for the socket at path. It connects when it is used.
func NewClient(path string) *Client {
	return &Client{path: path, http: &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
		},
	}}
}

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
	resp, err := c.http.Do(req)
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

// failure says what it means that there was no answer.
func (c *Client) failure(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody answers on %s", ErrNotRunning, c.path)
	// Who may not connect is hung up on, and may notice that before the reason.
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w: %s", ErrNotPermitted, c.path)
	}
	return fmt.Errorf("ask the edge on %s: %w", c.path, err)
}

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/sipedge/sipedge/federation"
)

// problemType is the media type of errors (RFC 9457 §3).
const problemType = "application/problem+json"

// A Problem is an error as it is sent (RFC 9457 §3.1). The code is stable, and
// for programs; the detail is for people.
type Problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (p *Problem) Error() string { return p.Detail }

// The codes.
const (
	CodeMalformed    = "request.malformed"
	CodeTooLarge     = "request.too_large"
	CodeMethod       = "request.method"
	CodeNotPermitted = "request.not_permitted"
	CodeNotFound     = "not_found"
	CodeInFile       = "decision.in_file"    // the file names the domain or the user, and wins
	CodeOwnDomain    = "decision.own_domain" // it is ours
	CodeUnsound      = "decision.unsound"    // the terms that came with it are at fault
	CodeFull         = "ban.full"            // too many were made by hand
	CodeFailed       = "internal.failed"
)

func problem(status int, code, format string, args ...any) *Problem {
	return &Problem{Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// A call is one request to the socket.
type call struct {
	ctx   context.Context // of the request
	peer  Peer
	vars  map[string]string // of the path
	query url.Values
	body  io.Reader
}

// A route is one resource and what may be done with it. What serve returns is
// sent as JSON; nil is an answer without a body.
type route struct {
	method, path string
	serve        func(*call) (any, error)
}

// routes is all that the socket offers.
func (s *Server) routes() []route {
	return []route{
		{"GET", "/v1/status", s.status},
		{"GET", "/v1/partners", s.partners},
		{"GET", "/v1/partners/{domain}", s.partner},
		{"GET", "/v1/discovered", s.discovered},
		{"PUT", "/v1/decisions/{domain}", s.decide},
		{"DELETE", "/v1/decisions/{domain}", s.revoke},
		{"GET", "/v1/users", s.users},
		{"GET", "/v1/users/{user}", s.user},
		{"PUT", "/v1/access/{user}", s.decideAccess},
		{"DELETE", "/v1/access/{user}", s.revokeAccess},
		{"DELETE", "/v1/signins/{user}", s.kick},
		{"GET", "/v1/flows", s.flows},
		{"GET", "/v1/flows/{id}", s.flow},
		{"DELETE", "/v1/flows/{id}", s.drop},
		{"GET", "/v1/bans", s.bans},
		{"PUT", "/v1/bans/{key}", s.ban},
		{"DELETE", "/v1/bans/{key}", s.lift},
		{"GET", "/v1/bridges", s.bridges},
		{"GET", "/v1/bridges/{network}", s.bridge},
		{"GET", "/v1/bridges/{network}/test", s.testBridge},
		{"PUT", "/v1/bridges/{network}/pause", s.pause},
		{"DELETE", "/v1/bridges/{network}/pause", s.resume},
		{"GET", "/v1/bridges/{network}/users/{user}", s.bridgeUser},
		{"PUT", "/v1/bridges/{network}/users/{user}", s.decideBridge},
		{"DELETE", "/v1/bridges/{network}/users/{user}", s.revokeBridge},
	}
}

// handler finds the route of each request. The Host field is not looked at: a
// socket has no name that could be another's.
func (s *Server) handler() http.Handler {
	routes := s.routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.guard(w)
		peer, _ := r.Context().Value(peerKey{}).(Peer)
		c := &call{ctx: r.Context(), peer: peer, query: r.URL.Query(), body: http.MaxBytesReader(w, r.Body, maxBody)}
		var may []string
		for _, route := range routes {
			vars, ok := match(route.path, r.URL.EscapedPath())
			switch {
			case !ok:
			case route.method != r.Method:
				may = append(may, route.method)
			default:
				c.vars = vars
				answer, err := route.serve(c)
				s.reply(w, answer, err)
				return
			}
		}
		if may != nil {
			slices.Sort(may)
			w.Header().Set("Allow", strings.Join(may, ", "))
			s.reply(w, nil, problem(http.StatusMethodNotAllowed, CodeMethod, "%s takes %s", clip(r.URL.Path), strings.Join(may, ", ")))
			return
		}
		s.reply(w, nil, problem(http.StatusNotFound, CodeNotFound, "there is nothing at %q", clip(r.URL.Path)))
	})
}

// guard keeps a bug in one answer from ending the edge.
func (s *Server) guard(w http.ResponseWriter) {
	p := recover()
	if p == nil {
		return
	}
	s.Log.Error("bug in the control socket", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
	s.reply(w, nil, problem(http.StatusInternalServerError, CodeFailed, "a bug in the edge, see its log"))
}

// match compares a path with a pattern whose parts in braces stand for anything.
func match(pattern, path string) (vars map[string]string, ok bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	for i, w := range want {
		if name, isVar := strings.CutPrefix(w, "{"); isVar {
			value, err := url.PathUnescape(got[i])
			if err != nil || value == "" {
				return nil, false
			}
			if vars == nil {
				vars = make(map[string]string)
			}
			vars[strings.TrimSuffix(name, "}")] = value
		} else if w != got[i] {
			return nil, false
		}
	}
	return vars, true
}

// reply sends an answer or an error.
func (s *Server) reply(w http.ResponseWriter, answer any, err error) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if err != nil {
		p := s.problemOf(err)
		header.Set("Content-Type", problemType)
		w.WriteHeader(p.Status)
		json.NewEncoder(w).Encode(p)
		return
	}
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	header.Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

// problemOf makes any error one that can be sent.
func (s *Server) problemOf(err error) *Problem {
	var p *Problem
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &large):
		return problem(http.StatusRequestEntityTooLarge, CodeTooLarge, "more than %d KiB", maxBody>>10)
	}
	s.Log.Error("control request failed", "err", err)
	return problem(http.StatusInternalServerError, CodeFailed, "%v", err)
}

// read decodes the body, which must be one JSON object and hold nothing that we
// do not know.
func (c *call) read(v any) error {
	d := json.NewDecoder(c.body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows it")
		}
	}
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		return problem(http.StatusBadRequest, CodeMalformed, "the body cannot be read: %v", err)
	}
	return err
}

// domain is the domain in the path, in its normal form.
func (c *call) domain() (string, error) {
	d, err := federation.Normal(c.vars["domain"])
	if err != nil {
		return "", problem(http.StatusBadRequest, CodeMalformed, "%q is not a domain", clip(c.vars["domain"]))
	}
	return d, nil
}

// clip bounds what is repeated in an error.
func clip(s string) string { return s[:min(len(s), 100)] }

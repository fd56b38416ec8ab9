package home

import (
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// A fault is an answer that is not 200.
type fault struct {
	status int
	reason string
}

func (f *fault) Error() string { return fmt.Sprintf("%d %s", f.status, f.reason) }

// handleRequest is the only way through: who may ask, whether it is for us, and
// if not, where it goes.
func (s *Server) handleRequest(f *flow, req *sip.Request) {
	err := validate(req)
	if err == nil {
		err = s.admit(f, req)
	}
	if err == nil {
		s.popOwnRoutes(req)
		if handle := s.local(f, req); handle != nil {
			handle(f, req)
			return
		}
		err = s.route(f, req)
	}
	if err != nil {
		s.log.Info("request refused", "flow", f, "method", req.Method, "status", err.status, "error", err)
		s.respond(f, req, err.status, err.reason)
	}
}

// validate looks at what we build on (RFC 3261 §16.3).
func validate(req *sip.Request) *fault {
	cseq := req.CSeq()
	switch {
	case req.Via() == nil, req.From() == nil, req.To() == nil, req.CallID() == nil, cseq == nil:
		return &fault{400, "Missing Header"}
	case cseq.MethodName != req.Method:
		return &fault{400, "CSeq Method Mismatch"}
	case !isSIP(req.Recipient):
		return &fault{416, "Unsupported URI Scheme"}
	case !fromHasTag(req):
		return &fault{400, "From Without Tag"}
	}
	if branch, _ := req.Via().Params.Get("branch"); !strings.HasPrefix(branch, magicCookie) {
		return &fault{400, "Via Without Branch"}
	}
	return nil
}

func fromHasTag(req *sip.Request) bool {
	tag, ok := req.From().Params.Get("tag")
	return ok && tag != ""
}

func isSIP(u sip.Uri) bool { return u.Scheme == "sip" || u.Scheme == "sips" }

// admit wants users to sign in before they ask for anything but that, and to
// speak in their own name. What the edge hands in, the edge has judged.
func (s *Server) admit(f *flow, req *sip.Request) *fault {
	if f.edge || req.Method == sip.REGISTER || req.Method == sip.OPTIONS {
		return nil
	}
	from := req.From().Address
	if !s.isOurs(from) || !f.signedIn(strings.ToLower(from.User)) {
		return &fault{403, "Not Signed In As That User"}
	}
	return nil
}

// isOurs reports whether a URI lies in our domain.
func (s *Server) isOurs(u sip.Uri) bool { return isSIP(u) && strings.EqualFold(u.Host, s.cfg.Domain) }

// isUs reports whether a URI names this server: one of its two sockets.
func (s *Server) isUs(u sip.Uri) bool {
	for _, sd := range []*side{s.edgeSide, s.userSide} {
		if strings.Trim(u.Host, "[]") == sd.addr.Addr().String() && u.Port == int(sd.addr.Port()) {
			return true
		}
	}
	return false
}

// popOwnRoutes removes the Route values that brought the request here
// (RFC 3261 §16.4). There are two where it crossed from one side to the other.
func (s *Server) popOwnRoutes(req *sip.Request) {
	for req.Route() != nil && s.isUs(req.Route().Address) {
		req.RemoveHeader("Route")
	}
}

// local returns what answers a request that goes no further.
func (s *Server) local(f *flow, req *sip.Request) func(*flow, *sip.Request) {
	if req.Route() != nil {
		return nil
	}
	u := req.Recipient
	switch toUs := s.isOurs(u) || s.isUs(u); {
	case f.edge && req.Method == sip.OPTIONS && u.User == "":
		return s.options // whatever name the edge has for us
	case !toUs:
		return nil
	case req.Method == sip.REGISTER:
		return s.register
	case req.Method == sip.PUBLISH:
		return s.publish
	case req.Method == sip.SUBSCRIBE && header(req, "Event", "o") != "" && eventPackage(req) == "presence":
		return s.subscribe
	case req.Method == sip.OPTIONS && u.User == "":
		return s.options
	case u.User == "" && req.Method != sip.ACK:
		return func(f *flow, req *sip.Request) { s.respond(f, req, 405, "Method Not Allowed", allow()) }
	}
	return nil
}

// options answers the health checks of the edge (RFC 3261 §11.2).
func (s *Server) options(f *flow, req *sip.Request) {
	s.respond(f, req, 200, "OK", allow(), sip.NewHeader("Accept", pidfType))
}

func allow() sip.Header {
	return sip.NewHeader("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, REGISTER, PUBLISH, SUBSCRIBE, NOTIFY")
}

// A hop is where a request goes next.
type hop struct {
	flow    *flow
	binding uint64       // the sign-in that it goes to; 0: to none
	came    *sip.Request // as it was before; nil if it is not tried elsewhere
}

// route finds the hop that a request goes to, and sends it there.
func (s *Server) route(f *flow, req *sip.Request) *fault {
	to, err := s.target(f, req)
	if err != nil {
		return err
	}
	return s.forward(f, to, req)
}

// target is RFC 3261 §16.5 for two sides: our users, and the edge for the rest
// of the world.
func (s *Server) target(f *flow, req *sip.Request) (hop, *fault) {
	inside := req.Route() == nil
	if inside {
		if s.isOurs(req.Recipient) {
			return s.userTarget(req)
		}
		if b, ok := s.registrar.contact(req.Recipient, strings.ToLower(req.To().Address.User)); ok {
			return s.follow(b, req)
		}
	}
	if f.edge {
		if inside && req.To().Params.Has("tag") {
			return hop{}, &fault{481, "Gone"} // the user's sign-in has ended
		}
		if !s.mayReturn(req) {
			return hop{}, &fault{403, "Not Our Domain"}
		}
	}
	return s.throughEdge()
}

// mayReturn reports whether what the edge brought may go back to it: what our
// own users outside say, on whose From the edge has looked, and what is said to
// them in a dialog, along the route that was recorded. For all others we would
// be a relay.
func (s *Server) mayReturn(req *sip.Request) bool {
	to := req.To()
	return s.isOurs(req.From().Address) ||
		req.Route() != nil && to.Params.Has("tag") && s.isOurs(to.Address)
}

func (s *Server) throughEdge() (hop, *fault) {
	to, err := s.edgeFlow()
	if err != nil {
		s.log.Warn("edge unreachable", "error", err)
		return hop{}, &fault{503, "Edge Unreachable"}
	}
	return hop{flow: to}, nil
}

// userTarget turns the address of a user into the place of the newest sign-in.
func (s *Server) userTarget(req *sip.Request) (hop, *fault) {
	if _, ok := s.cfg.Users[strings.ToLower(req.Recipient.User)]; !ok {
		return hop{}, &fault{404, "Not Found"}
	}
	to, came, err := s.place(req)
	if err == nil {
		s.ledger.add(came)
	}
	return to, err
}

// place is where a user can be reached now. A GRUU names one device
// (RFC 5627 §6.1).
func (s *Server) place(req *sip.Request) (to hop, came *sip.Request, err *fault) {
	urn, _ := param(req.Recipient.UriParams, "gr")
	b, ok := s.registrar.newest(strings.ToLower(req.Recipient.User), urn)
	if !ok {
		return hop{}, nil, &fault{480, "Temporarily Unavailable"}
	}
	came = req.Clone()
	to, err = s.follow(b, req)
	if b.flow == nil {
		to.came = came
	}
	return to, came, err
}

// follow turns a request to a sign-in: to its contact, along its path
// (RFC 3327 §5.4).
func (s *Server) follow(b binding, req *sip.Request) (hop, *fault) {
	req.Recipient = *b.contact.Clone()
	if b.flow != nil {
		return hop{flow: b.flow, binding: b.number}, nil
	}
	to, err := s.throughEdge()
	for _, value := range slices.Backward(b.path) {
		req.PrependHeader(sip.NewHeader("Route", value))
	}
	to.binding = b.number
	return to, err
}

// respond answers a request on the flow that it came on. An ACK has no answer
// (RFC 3261 §17).
func (s *Server) respond(f *flow, req *sip.Request, status int, reason string, headers ...sip.Header) {
	if req.Method == sip.ACK || req.Via() == nil {
		return
	}
	res := sip.NewResponseFromRequest(req, status, reason, nil)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	if err := f.send(res); err != nil {
		s.log.Info("answer lost", "flow", f, "error", err)
	}
}

// header returns the first value of a header, by its long or its compact name.
func header(m sip.Message, long, compact string) string {
	list := m.GetHeaders(long)
	if len(list) == 0 && compact != "" {
		list = m.GetHeaders(compact)
	}
	if len(list) == 0 {
		return ""
	}
	return strings.TrimSpace(list[0].Value())
}

// contactOf returns the first Contact, nil if there is none.
func contactOf(m sip.Message) *sip.ContactHeader {
	for _, h := range m.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok {
			return c
		}
	}
	return nil
}

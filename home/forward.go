package home

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

const magicCookie = sip.RFC3261BranchMagicCookie

// forward sends a request on as a stateless proxy does (RFC 3261 §16.11).
func (s *Server) forward(from *flow, hop hop, req *sip.Request) *fault {
	to := hop.flow
	if err := countHop(req); err != nil {
		return err
	}
	if makesDialog(req) {
		s.recordRoute(from, to, req)
	}
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: to.side.transport,
		Host: to.side.addr.Addr().String(), Port: int(to.side.addr.Port()),
	}
	via.Params.Add("branch", s.branch(from.id, to.id, hop.binding, req))
	req.PrependHeader(via)
	s.attempts.begin(from, hop, req)
	if err := to.send(req); err != nil {
		s.log.Info("request lost", "flow", to, "error", err)
		req.RemoveHeader("Via")
		if to.edge {
			return &fault{503, "Edge Unreachable"}
		}
		return &fault{480, "Temporarily Unavailable"}
	}
	return nil
}

// countHop is RFC 3261 §16.3 and §16.6 item 3. sipgo's own Dec turns 0 into
// four thousand million.
func countHop(req *sip.Request) *fault {
	mf := req.MaxForwards()
	if mf == nil {
		n := sip.MaxForwardsHeader(70)
		req.AppendHeader(&n)
		return nil
	}
	if *mf == 0 {
		return &fault{483, "Too Many Hops"}
	}
	*mf--
	return nil
}

// makesDialog reports whether the way of the request is the way of a dialog to
// come. A MESSAGE makes none (RFC 3428 §4).
func makesDialog(req *sip.Request) bool {
	switch req.Method {
	case sip.INVITE, sip.SUBSCRIBE, sip.NOTIFY, sip.REFER:
		return true
	}
	return false
}

// recordRoute keeps us in the dialog: a user can be reached only over the
// connection that we hold. Where the request crosses from one side to the
// other, both sides are recorded (RFC 5658 §5).
func (s *Server) recordRoute(from, to *flow, req *sip.Request) {
	if from.side != to.side {
		req.PrependHeader(&sip.RecordRouteHeader{Address: from.side.uri()})
	}
	req.PrependHeader(&sip.RecordRouteHeader{Address: to.side.uri()})
}

// uri is the side as a loose router (RFC 3261 §16.12).
func (sd *side) uri() sip.Uri {
	u := sip.Uri{Scheme: "sip", Host: sd.addr.Addr().String(), Port: int(sd.addr.Port())}
	u.UriParams.Add("transport", strings.ToLower(sd.transport))
	u.UriParams.Add("lr", "")
	return u
}

// branch names the flow that the answer goes back to and the sign-in that the
// request goes to, and proves that we wrote it for the flow that the answer will
// come from. It depends on nothing that differs between an INVITE, its CANCEL
// and the ACK of its refusal, because the three must match at the next hop
// (RFC 3261 §16.11).
func (s *Server) branch(from, to, binding uint64, m sip.Message) string {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%d %d %d %s %d ", from, to, binding, m.CallID().Value(), m.CSeq().SeqNo)
	if via := m.Via(); via != nil {
		branch, _ := via.Params.Get("branch")
		fmt.Fprintf(mac, "%s %s", via.SentBy(), branch)
	}
	sum := base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:15])
	return magicCookie + strconv.FormatUint(from, 36) + "-" + strconv.FormatUint(binding, 36) + "-" + strings.ToLower(sum)
}

// readBranch is what branch wrote. Whether it did, only the seal tells.
func readBranch(branch string) (from, binding uint64, ok bool) {
	text, _ := strings.CutPrefix(branch, magicCookie)
	first, text, _ := strings.Cut(text, "-")
	second, _, _ := strings.Cut(text, "-")
	from, err := strconv.ParseUint(first, 36, 64)
	if err != nil {
		return 0, 0, false
	}
	binding, err = strconv.ParseUint(second, 36, 64)
	return from, binding, err == nil
}

// handleResponse relays an answer to the flow of its request. An answer to what
// we never sent on this flow fits no branch and goes nowhere.
func (s *Server) handleResponse(f *flow, res *sip.Response) {
	via := res.Via()
	if via == nil || res.CSeq() == nil || res.CallID() == nil {
		return
	}
	branch, _ := via.Params.Get("branch")
	id, binding, ok := readBranch(branch)
	if !ok {
		return
	}
	res.RemoveHeader("Via")
	if !hmac.Equal([]byte(branch), []byte(s.branch(id, f.id, binding, res))) {
		s.log.Info("answer dropped", "flow", f, "status", res.StatusCode)
		return
	}
	if id == ourself {
		s.notified(res)
		return
	}
	if s.failedOver(f, branch, binding, res) {
		return
	}
	if to := s.flow(id); to != nil && res.Via() != nil {
		to.send(res)
	}
}

// ourself is the flow number of requests that begin here.
const ourself = 0

package home

import (
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// attempts are the requests on their way to users outside, the only ones that
// are remembered: the edge may say that the way is gone (430, RFC 5626 §11.5),
// and then they go to the user's next device.
type attempts struct {
	mu   sync.Mutex
	list map[string]attempt // by branch
}

// An attempt is one request that went to one sign-in.
type attempt struct {
	from *flow
	came *sip.Request // as it came
	sent *sip.Request // as it went
	ends time.Time
}

// attemptTime is how long the edge may take to find that a flow is gone. It
// knows at once; this is Timer F (RFC 3261 §17.1.2.2), after which it has given
// up itself.
const attemptTime = 32 * time.Second

// begin remembers a request, if there is room. Without it the answer is 480.
func (a *attempts) begin(from *flow, to hop, sent *sip.Request) {
	if to.came == nil || sent.Method == sip.ACK || sent.Method == sip.CANCEL {
		return
	}
	branch, _ := sent.Via().Params.Get("branch")
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) < maxAttempts {
		a.list[branch] = attempt{from, to.came, sent, time.Now().Add(attemptTime)}
	}
}

// end forgets a request that has its final answer.
func (a *attempts) end(branch string) (attempt, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.list[branch]
	delete(a.list, branch)
	return at, ok
}

func (a *attempts) expire(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for branch, at := range a.list {
		if !at.ends.After(now) {
			delete(a.list, branch)
		}
	}
}

// failedOver looks whether an answer says that a user's connection with the
// edge is gone. Then the sign-in is, too, and the request goes to the next
// device (RFC 5626 §7); it reports whether there was one. Without one the
// sender hears 480: a 430 is between edge and registrar (RFC 5626 §11.5).
func (s *Server) failedOver(f *flow, branch string, binding uint64, res *sip.Response) bool {
	if res.StatusCode < 200 || res.CSeq().MethodName == sip.CANCEL {
		return false
	}
	at, known := s.attempts.end(branch)
	if res.StatusCode != 430 || !f.edge {
		return false
	}
	if binding != 0 {
		for _, user := range s.registrar.dropNumber(binding) {
			s.log.Info("sign-in ended", "user", user, "reason", "the edge says that its flow has failed")
			s.notify(user)
		}
	}
	if known {
		s.acknowledge(f, at.sent, res)
		if s.tryNext(at) {
			return true
		}
	}
	res.StatusCode, res.Reason = 480, "Temporarily Unavailable"
	return false
}

func (s *Server) tryNext(at attempt) bool {
	if s.flow(at.from.id) == nil {
		return false
	}
	to, _, err := s.place(at.came)
	if err == nil {
		err = s.forward(at.from, to, at.came)
	}
	return err == nil
}

// acknowledge confirms the refusal of an INVITE that its caller will not hear
// of (RFC 3261 §17.1.1.3).
func (s *Server) acknowledge(f *flow, invite *sip.Request, res *sip.Response) {
	if invite.Method != sip.INVITE {
		return
	}
	ack := sip.NewRequest(sip.ACK, *invite.Recipient.Clone())
	ack.AppendHeader(invite.Via().Clone())
	forwards := sip.MaxForwardsHeader(70)
	ack.AppendHeader(&forwards)
	for _, name := range []string{"Route", "From", "Call-ID"} {
		sip.CopyHeaders(name, invite, ack)
	}
	sip.CopyHeaders("To", res, ack)
	ack.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.ACK})
	ack.SetBody(nil)
	if err := f.send(ack); err != nil {
		s.log.Info("request lost", "flow", f, "error", err)
	}
}

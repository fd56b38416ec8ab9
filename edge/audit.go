package edge

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/sip"
)

// What the edge says in its log. Messages are constants, and so are keys: a
// line is found by its words and read by machines. Bodies and credentials are
// never logged.
const (
	logForwarded    = "request forwarded"
	logRefused      = "request refused"
	logAnswered     = "request answered"
	logDropped      = "message dropped"
	logResponseLost = "response lost"
	logHopFailed    = "next hop failed"
	logFlowOpened   = "flow opened"
	logFlowClosed   = "flow closed"
	logServerDown   = "server down"
	logServerUp     = "server up"
	logPartners     = "partners reloaded"
	logPartnerOut   = "partner removed"
	logCertificate  = "certificate reloaded"
	logCertFailed   = "certificate not reloaded"
	logCertWarning  = "certificate needs attention"
	logWebWarning   = "web pages need attention"
	logDraining     = "stopping: finishing what has begun"
	logPlainTCP     = "plain TCP inside: peers are known by address only"
	logBug          = "work panicked"
	logOverload     = "overload: who sends most is refused new requests"
	logRelief       = "overload is over"

	logSignedIn      = "user signed in"
	logSignedOut     = "user signed out"
	logSignInRefused = "sign-in undone"
	logAccess        = "remote access reloaded"
	logNoPartner     = "certificate is no partner's: taken for a user"
	logDirectory     = "directory failed"
	logNoPath        = "the registrar seems not to know Path (RFC 3327): users outside may not be reached"
	logDescriptors   = "open files"
	logTickets       = "keys of session tickets not kept"
	logBridges       = "bridges reloaded"
	logBridgePanic   = "bridge panicked"
	logBridgeMessage = "bridge sent what is no message"
	logFewFiles      = "the limit on open files is too low for so many connections"

	keyFlow     = "flow"
	keyRole     = "role"
	keyListener = "listener"
	keyPeer     = "peer"
	keyRemote   = "remote"
	keyMethod   = "method"
	keyFrom     = "from"
	keyTo       = "to"
	keyCallID   = "call_id"
	keyStatus   = "status"
	keyReason   = "reason"
	keyRule     = "rule"
	keyTarget   = "target"
	keyPool     = "pool"
	keyRef      = "ref"
	keyMillis   = "ms"
	keyMissed   = "missed"
	keyErr      = "err"
	keyPartner  = "partner"
	keyProblem  = "problem"
	keyOpen     = "open"
	keyStack    = "stack"
	keyUser     = "user"
	keyDevice   = "device"
	keyBridge   = "bridge"
	keyProof    = "proof"
)

// An auditRecord is what the log will say of a request. Its strings are copies:
// it outlives the message.
type auditRecord struct {
	method           string
	from, to, callID string
	reason           allowlists.Reason
	rule             allowlists.Rule
	ref              string // of an answer of our own
}

// maxAudit bounds each of the parts of a message that are logged.
const maxAudit = 200

// begin copies what will be said of r, in one allocation.
func (a *auditRecord) begin(r *request) {
	m := r.m
	a.method = methodName(m.Method())
	if m.Fault() != nil {
		a.method = clean(a.method)
	}
	var room [3 * maxAudit]byte
	b := room[:0]
	if from, err := m.From(); err == nil {
		u, err := m.FromURI()
		b = appendAddress(b, from.URI, &u, err)
	}
	i := len(b)
	u, err := m.URI()
	b = appendAddress(b, m.RequestURI(), &u, err)
	j := len(b)
	id := m.CallID()
	b = append(b, id[:min(len(id), maxAudit)]...)
	all := string(b)
	if m.Fault() != nil {
		// Only what is well-formed is plain ASCII.
		a.from, a.to, a.callID = clean(all[:i]), clean(all[i:j]), clean(all[j:])
		return
	}
	a.from, a.to, a.callID = all[:i], all[i:j], all[j:]
}

// clean makes text of a peer safe for any log: JSON has escape sequences and
// marks that turn the direction of writing go out as they came.
func clean(s string) string {
	if isPlain(s) {
		return s
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

// isPlain reports whether s is printable ASCII that needs no escapes: nearly always.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendAddress appends a URI without its scheme and parameters: user@domain.
// One that could not be read is appended as it is.
func appendAddress(b, uri []byte, u *sip.URI, err error) []byte {
	if err != nil || len(u.Host) == 0 {
		return append(b, uri[:min(len(uri), maxAudit)]...)
	}
	if len(u.User) > 0 {
		b = append(append(b, u.User[:min(len(u.User), maxAudit/2)]...), '@')
	}
	return append(b, u.Host[:min(len(u.Host), maxAudit/2)]...)
}

// methodName is the method as a string; the common ones cost nothing.
func methodName(m []byte) string {
	switch string(m) {
	case "MESSAGE":
		return "MESSAGE"
	case "INVITE":
		return "INVITE"
	case "ACK":
		return "ACK"
	case "BYE":
		return "BYE"
	case "CANCEL":
		return "CANCEL"
	case "OPTIONS":
		return "OPTIONS"
	case "SUBSCRIBE":
		return "SUBSCRIBE"
	case "NOTIFY":
		return "NOTIFY"
	case "REGISTER":
		return "REGISTER"
	}
	return string(m[:min(len(m), 64)])
}

// auditForwarded writes the one line of a request that passed both doors, when
// its final answer went back. Status is what its sender saw.
func (e *Edge) auditForwarded(x *tx, status int) {
	e.counts.forwarded.Add(1)
	e.writeAudit(logForwarded, x.flow, &x.audit, status, x.target(), x.began)
}

// target names the last hop that was tried.
func (x *tx) target() string {
	if x.way.bridge != nil {
		return x.way.bridge.String()
	}
	if x.link == nil && x.out != nil {
		return "flow " + strconv.FormatUint(x.out.ID, 10)
	}
	return x.link.String()
}

// auditDone writes the line of a request that has no transaction: one that the
// edge answered itself, or an ACK, which has no answer (status 0).
func (e *Edge) auditDone(r *request, msg string, status int, reason allowlists.Reason) {
	e.counts.answered.Add(1)
	r.audit.reason = reason
	e.writeAudit(msg, r.f, &r.audit, status, r.way.String(), r.began)
}

// writeAudit writes the line of a request that passed.
func (e *Edge) writeAudit(msg string, f *Flow, a *auditRecord, status int, target string, began time.Time) {
	now := time.Now()
	attrs := [...]slog.Attr{
		slog.Uint64(keyFlow, f.ID),
		slog.String(keyMethod, a.method),
		slog.String(keyFrom, a.from),
		slog.String(keyTo, a.to),
		slog.Int(keyStatus, status),
		slog.String(keyReason, string(a.reason)),
		slog.String(keyRule, a.rule.String()),
		slog.Float64(keyMillis, float64(now.Sub(began).Microseconds())/1000),
		slog.String(keyTarget, target),
		slog.String(keyCallID, a.callID),
	}
	// The handler is called without its Logger, which would look up who calls it
	// for each line, and no line says that.
	h := e.log.Handler()
	if !h.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	line := slog.NewRecord(now, slog.LevelInfo, msg, 0)
	line.AddAttrs(attrs[:]...)
	if a.ref != "" { // the next hop did not answer: we did
		line.AddAttrs(slog.String(keyRef, a.ref), slog.String(keyRole, f.Role.String()),
			slog.String(keyPeer, peerName(f)), slog.String(keyRemote, remoteText(f)))
	}
	_ = h.Handle(context.Background(), line) // as a Logger does
}

// auditRefused writes the line of a request that a door did not let through.
func (e *Edge) auditRefused(r *request, v allowlists.Verdict, status int, ref string) {
	e.counts.refused.Add(1)
	lines := r.f.refusals()
	if r.f.bridge != nil { // behind which are many peers
		lines = &e.accountBehind(r.f, r.m).refused
	}
	if missed, ok := lines.take(time.Now()); ok {
		e.writeRefused(r, v, status, ref, missed)
	}
}

// writeRefused writes the line of a refused request, and how many lines were left
// out before it.
func (e *Edge) writeRefused(r *request, v allowlists.Verdict, status int, ref string, missed int) {
	a := &r.audit
	attrs := []slog.Attr{
		slog.Uint64(keyFlow, r.f.ID),
		slog.String(keyMethod, a.method),
		slog.String(keyFrom, a.from),
		slog.String(keyTo, a.to),
		slog.Int(keyStatus, status),
		slog.String(keyReason, string(v.Reason)),
		slog.String(keyRule, v.Rule.String()),
		slog.String(keyRef, ref),
		slog.String(keyRole, r.f.Role.String()),
		slog.String(keyPeer, peerName(r.f)),
		slog.String(keyRemote, remoteText(r.f)),
		slog.String(keyCallID, a.callID),
	}
	if r.f.bridge != nil {
		attrs = append(attrs, slog.String(keyProof, r.f.bridge.proof.String()))
	}
	if missed > 0 {
		attrs = append(attrs, slog.Int(keyMissed, missed))
	}
	e.log.LogAttrs(context.Background(), slog.LevelWarn, logRefused, attrs...)
}

// peerName is what the certificate of a flow says, for the log.
func peerName(f *Flow) string {
	if f.bridge != nil {
		return f.bridge.String()
	}
	if f.Peer == nil {
		return ""
	}
	return f.Peer.String()
}

// remoteText is where a flow's peer is, "" for a bridge.
func remoteText(f *Flow) string {
	if f.bridge != nil {
		return ""
	}
	return f.Remote.String()
}

// dropped counts a message that is nobody's.
func (e *Edge) dropped(f *Flow, m *sip.Message) {
	e.counts.dropped.Add(1)
	if !e.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	if missed, ok := f.refusals().take(time.Now()); ok {
		e.log.Debug(logDropped, keyFlow, f.ID, keyStatus, m.Status(), keyMethod, methodName(m.Method()), keyMissed, missed)
	}
}

// Refused requests of one peer, and connections from outside, that are logged at once,
// and per second after that. What is left out is counted, and the next line says how many: a peer
// that is refused all day must not fill the disk.
const (
	refusedBurst = 200
	refusedRate  = 20
)

// refusals bounds the lines about one peer, or one kind of event.
type refusals struct {
	mu     sync.Mutex
	left   float64
	at     time.Time
	missed int
}

// refusals bounds the lines about a flow's peer: with all its connections
// together, since a new one costs it little.
func (f *Flow) refusals() *refusals {
	if a := f.state.account; a != nil {
		return &a.refused
	}
	return &f.state.refused
}

// flowLines bounds the lines about flows that came from outside, and about their ends.
type flowLines struct{ openings, closings refusals }

// linesAbout bounds the lines about a flow and its like: those of one partner, so that
// no crowd hides where it comes from, or all others. Who signs in has a line of his own
// about that.
func (e *Edge) linesAbout(f *Flow) *flowLines {
	if a := f.state.account; a != nil && f.state.known.Load() {
		return &a.lines
	}
	return &e.crowd
}

// flowLine writes that a flow is there, or is no more. Those that came from outside are as
// many as others want, so that their lines have a bound; `flow list` has them all.
// Those that we dialled and those of home servers are few, and each has its line.
func (e *Edge) flowLine(lines *refusals, f *Flow, msg string, attrs ...any) {
	if f.Role != RoleInternal && f.state.link == nil {
		missed, ok := lines.take(time.Now())
		if !ok {
			return
		}
		if missed > 0 {
			attrs = append(attrs, keyMissed, missed)
		}
	}
	e.log.Info(msg, attrs...)
}

// take reports whether to write a line, and how many were left out before it.
func (b *refusals) take(now time.Time) (missed int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.left = refusedBurst
	}
	b.left = min(b.left+now.Sub(b.at).Seconds()*refusedRate, refusedBurst)
	b.at = now
	if b.left < 1 {
		b.missed++
		return 0, false
	}
	b.left--
	missed, b.missed = b.missed, 0
	return missed, true
}

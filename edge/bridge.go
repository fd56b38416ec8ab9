package edge

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sipedge/sipedge/allowlists"
	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/federation"
	"github.com/sipedge/sipedge/sip"
)

// A Bridge is what the edge needs to know of a bridge to a public network.
type Bridge struct {
	Name string // of the network, as lists call it: "xmpp"
	// Domains are those of ours that it serves, in normal form.
	Domains []string
	// Tunnels are domains under which our users may write to somebody of another
	// domain, as in juliet%40example.net@xmpp.example.com, in normal form.
	Tunnels []string
	// Receive takes one SIP message, and keeps nothing of its octets. It must neither
	// wait nor call the edge; false: it is not taken. Nil takes nothing.
	Receive func(octets []byte) bool
	// Paused reports whether an administrator has paused the bridge. Nil: never.
	Paused func() bool
	// Address says how the network calls a SIP URI, for explain. It may be nil.
	Address func(uri string) (string, error)
	// Rule is where it is written.
	Rule allowlists.Rule
}

// A bridge is a public network as a peer of the edge: a flow without a connection.
// What is queued to the flow is handed over at once, and what the bridge sends waits
// here for a goroutine that handles it like a reader does. So neither side ever
// waits for the other, nor calls it back from within.
type bridge struct {
	Bridge
	edge *Edge
	flow *Flow

	name string // in logs

	proof  bridges.Proof // of the message that is being handled; the goroutine's alone
	turn   turn          // the goroutine's alone
	signal chan struct{} // something waits

	mu      sync.Mutex
	inbox   []letter // guarded by mu
	octets  int      // of the inbox, guarded by mu
	stopped bool     // nothing is taken any more, guarded by mu
}

// A letter is a message that a bridge has sent.
type letter struct {
	raw   *buffer
	proof bridges.Proof
}

// maxLetters bounds the messages of a bridge that wait, beside their octets.
const maxLetters = 1 << 14

// errBridgeStopped is why a bridge can send nothing any more.
var errBridgeStopped = errors.New("edge: stopped")

// AddBridge makes a bridge a peer of the edge. It is called before Listen.
func (e *Edge) AddBridge(c Bridge) *BridgeSeat {
	b := &bridge{Bridge: c, edge: e, name: "bridge " + c.Name, signal: make(chan struct{}, 1)}
	b.flow = &Flow{ID: e.wire.lastID.Add(1), Role: RoleBridge, bridge: b, w: e.wire}
	b.flow.state.since = time.Now()
	b.flow.state.side = e.insideSide()
	b.flow.state.rule = c.Rule
	e.bridges = append(e.bridges, b)
	for _, d := range c.Tunnels {
		if e.tunnels == nil {
			e.tunnels = make(map[string]*bridge)
		}
		e.tunnels[d] = b
	}
	return &BridgeSeat{b}
}

// insideSide is how home servers know us.
func (e *Edge) insideSide() *side {
	for _, p := range e.pools {
		if p.side != nil {
			return p.side
		}
	}
	return newSide(e.name, "tls", "TLS")
}

// A BridgeSeat is a bridge's place at the edge. It is a [bridges.Host], safe for
// concurrent use.
type BridgeSeat struct{ b *bridge }

var _ bridges.Host = (*BridgeSeat)(nil)

// Self returns our host and port as home servers know us, with the transport if that
// is not TLS.
func (s *BridgeSeat) Self() string {
	side := s.b.flow.state.side
	if side.transport == "tls" {
		return side.host
	}
	return side.host + ";transport=" + side.transport
}

// Send takes one SIP message from the bridge; proof is that of the domain in From.
// It never waits. The error is ErrFlowFull if too much waits already.
func (s *BridgeSeat) Send(message []byte, proof bridges.Proof) error {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stopped:
		return errBridgeStopped
	case len(b.inbox) > 0 && b.octets+len(message) > b.edge.wire.maxOut, len(b.inbox) >= maxLetters:
		return ErrFlowFull
	}
	b.inbox = append(b.inbox, letter{b.edge.copied(message), proof})
	b.octets += len(message)
	select {
	case b.signal <- struct{}{}:
	default:
	}
	return nil
}

// Restarted says that whatever the bridge knew is gone: requests that were sent to it
// are answered, and calls that it began are taken back. It is called when the bridge
// has ended, before it is started again.
func (s *BridgeSeat) Restarted() {
	b := s.b
	gone := map[*Flow]bool{b.flow: true}
	var t turn
	defer t.end()
	for _, x := range b.edge.table.collect(nil) {
		x.lost(&t, gone)
		if x.flow == b.flow {
			x.abandoned(&t)
		}
	}
}

// paused reports whether an administrator has paused the bridge.
func (b *bridge) paused() bool { return b.Paused != nil && b.Paused() }

// unavailable is why the bridge takes nothing.
func (b *bridge) unavailable() allowlists.Verdict {
	if b.paused() {
		return allowlists.Refusal(allowlists.BridgePaused, b.Rule)
	}
	return allowlists.Refusal(allowlists.BridgeUnavailable, b.Rule)
}

// serves reports whether the bridge is there for a domain of ours.
func (b *bridge) serves(domain []byte) bool {
	for _, d := range b.Domains {
		if d == string(domain) {
			return true
		}
	}
	return false
}

// String names the bridge in logs.
func (b *bridge) String() string { return b.name }

// handEdited hands over a message, changed by e.
func (b *bridge) handEdited(m *sip.Message, e *sip.Edit) error {
	p := b.edge.buffers.get(len(m.Raw()) + editRoom)
	defer b.edge.buffers.put(p)
	p.b = m.Append(p.b, e)
	return b.hand(p.b)
}

// hand gives the bridge a message that is queued to its flow, whose lock is held, so
// that the order stays. A bug on the other side must not end whose turn it is.
func (b *bridge) hand(raw []byte) (err error) {
	if b.Receive == nil {
		return ErrFlowClosed
	}
	defer func() {
		if p := recover(); p != nil {
			b.panicked(p)
			err = ErrFlowClosed
		}
	}()
	if !b.Receive(raw) {
		return ErrFlowFull
	}
	return nil
}

// panicked counts and logs a bug.
func (b *bridge) panicked(p any) {
	b.edge.wire.counts.panics.Add(1)
	b.edge.log.Error(logBridgePanic, keyBridge, b.Name, keyErr, fmt.Sprint(p), keyStack, string(debug.Stack()))
}

// mostLetters is how many messages of a bridge are handled in one turn.
const mostLetters = 64

// run handles what the bridge sends, in order, until ctx is done.
func (b *bridge) run(ctx context.Context) {
	defer b.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.signal:
		}
		for ctx.Err() == nil && b.takeTurn() {
		}
	}
}

// stop lets go of what waits.
func (b *bridge) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	for _, l := range b.inbox {
		b.edge.buffers.put(l.raw)
	}
	b.inbox, b.octets = nil, 0
}

// takeTurn handles some of what waits, and reports whether there was anything.
func (b *bridge) takeTurn() bool {
	list := b.take()
	for _, l := range list {
		b.handle(l)
	}
	b.turn.end()
	if f := b.flow; f.pause > 0 { // its share is used up
		time.Sleep(f.pause)
		f.pause = 0
	}
	return len(list) > 0
}

// take takes the next messages out of the inbox.
func (b *bridge) take() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.inbox), mostLetters)
	list := b.inbox[:n:n]
	if b.inbox = b.inbox[n:]; len(b.inbox) == 0 {
		b.inbox = nil
	}
	for _, l := range list {
		b.octets -= len(l.raw.b)
	}
	return list
}

// handle handles one message, as that of any connection. A panic is a bug, and the
// end of this message alone.
func (b *bridge) handle(l letter) {
	m := b.edge.messages.Get().(*sip.Message)
	defer func() {
		if p := recover(); p != nil {
			b.panicked(p)
		}
		b.edge.messages.Put(m)
		b.edge.buffers.put(l.raw)
	}()
	if fault := b.read(m, l.raw.b); fault != nil {
		b.edge.log.Warn(logBridgeMessage, keyBridge, b.Name, keyErr, fault)
		b.edge.broken(&b.turn, b.flow, m, fault)
		return
	}
	b.proof = l.proof
	b.edge.message(&b.turn, b.flow, m)
}

// read indexes a message; a fault is one after which a connection would end.
func (b *bridge) read(m *sip.Message, raw []byte) *sip.Error {
	limits := b.edge.wire.limits
	if err := m.Parse(raw, limits); err != nil {
		if fault, ok := errors.AsType[*sip.Error](err); ok {
			return fault
		}
		return sip.Faultf(sip.StatusBadRequest, "%v", err)
	}
	if len(m.Body()) > positive(limits.Body, sip.DefaultBody) {
		return sip.Faultf(sip.StatusMessageTooLarge, "Body too large")
	}
	return nil
}

// proofOf is a bridge's proof, as lists know it.
func proofOf(p bridges.Proof) federation.Proof {
	switch p {
	case bridges.ProofCertificate, bridges.ProofDANE:
		return federation.ProofStrong
	case bridges.ProofBridge, bridges.ProofDialback, bridges.ProofAccount:
		return federation.ProofWeak
	}
	return federation.ProofNone
}

// SetBridgePolicy says who of our users may use bridges, from the next message on.
// With nil nobody may.
func (e *Edge) SetBridgePolicy(p *bridges.Policy) {
	if e.policy.Swap(p) == nil {
		return // the first one
	}
	users, accounts := p.Len()
	e.log.Info(logBridges, "users", users, "accounts", accounts)
}

// BridgePolicy returns who may.
func (e *Edge) BridgePolicy() *bridges.Policy { return e.policy.Load() }

// Bridges reports whether the lists let a foreign domain be reached by a bridge at
// all; each request is still asked about.
func (e *Edge) Bridges(network, domain string) bool {
	return e.partners.Load().Bridges(network, []byte(domain))
}

package s2s

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/sipedge/sipedge/bridges"
	"github.com/sipedge/sipedge/locate"
)

// Bounds of one search for a stream.
const (
	maxTries    = 8                // addresses
	maxWays     = 4                // at one of them, each leaving out one thing more
	connectTime = 5 * time.Second  // for one of them
	attemptTime = 10 * time.Second // until it has offered something
)

// how is how a stream is to be built.
type how struct {
	noCertificate bool      // ours was refused, and the connection with it
	noExternal    bool      // EXTERNAL was refused, and the stream with it
	oneWay        bool      // they offer streams both ways, and end them
	noManage      bool      // they offer acknowledgements, and do not answer
	key           *question // only to verify a dialback key
	look          *look     // who looks on; nil: nobody
}

// A target is a server, and what signed DNS says about it.
type target struct {
	locate.XMPPTarget
	signed bool // that it is one of the domain's
	pins   pins // its certificates
}

// A failure is an attempt that failed, and how far it came: what the farthest one
// says is most to the point.
type failure struct {
	stage int
	err   error
}

const (
	stageDNS = iota
	stageConnect
	stageTLS
	stageStream
	stageAuth
)

// connect builds a stream from a domain of ours to a foreign one: over all
// addresses of all its servers, one after the other (RFC 6120 §3.2.1).
func (s *Server) connect(ctx context.Context, p pair, h how) (*stream, error) {
	if !s.allows(p.remote) {
		return nil, fmt.Errorf("%w: %s is not allowed here", ErrRefused, p.remote)
	}
	name, _ := ascii(p.remote)
	records, err := s.c.Finder.XMPP(ctx, name)
	h.look.records(name, records, err)
	if err != nil {
		return nil, notFound(ctx, err)
	}
	worst, tries := failure{-1, fmt.Errorf("%w: %s has no server", ErrNoServer, p.remote)}, 0
	for _, x := range records.Targets {
		if tries >= maxTries || ctx.Err() != nil {
			break // and nothing is asked about the others
		}
		t := target{XMPPTarget: x, signed: records.Secure}
		t.pins, err = s.pinned(ctx, records.Secure, x)
		h.look.pins(t, err)
		if err != nil {
			tries++
			if worst.stage < stageDNS {
				worst = failure{stageDNS, err}
			}
			continue
		}
		for _, hop := range t.Hops {
			if tries++; tries > maxTries || ctx.Err() != nil {
				break
			}
			st, f := s.attempt(ctx, p, t, hop, h)
			if f == nil {
				return st, nil
			}
			if f.stage > worst.stage {
				worst = *f
			}
			if errors.Is(f.err, errInvalid) {
				return nil, f.err
			}
		}
	}
	if worst.stage < stageDNS && ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrTimeout, context.Cause(ctx))
	}
	return nil, as(worst.err)
}

// notFound says what a search in DNS came to.
func notFound(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case errors.Is(err, locate.ErrNoRecords):
		return fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// errAgain is that the same server may be tried once more, in another way.
type errAgain struct {
	how func(*how)
	err error
}

func (e *errAgain) Error() string { return e.err.Error() }
func (e *errAgain) Unwrap() error { return e.err }

// attempt tries one address, and again if the server cannot do something that we
// tried first.
func (s *Server) attempt(ctx context.Context, p pair, t target, hop locate.Hop, h how) (*stream, *failure) {
	var bare *failure // with our certificate
	for range maxWays {
		st, f := s.try(ctx, p, t, hop, h)
		if f == nil {
			return st, nil
		}
		if bare != nil && f.stage < stageAuth {
			return nil, bare // without it was no better
		}
		again, ok := errors.AsType[*errAgain](f.err)
		if !ok || ctx.Err() != nil {
			return nil, f
		}
		again.how(&h)
		if h.noCertificate && bare == nil {
			bare = f
		}
	}
	return nil, &failure{stageAuth, fmt.Errorf("%w: too many attempts", ErrRefused)}
}

// over reports whether there is no time any more. The network may notice before the
// context does.
func over(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

func (s *Server) try(ctx context.Context, p pair, t target, hop locate.Hop, h how) (_ *stream, f *failure) {
	own := false
	if h.key != nil {
		answered, ok := s.asks.take(p.remote, hop.Addr)
		if !ok {
			return nil, &failure{stageConnect, fmt.Errorf("%w: %s: %w", ErrUnreachable, hop, errAsked)}
		}
		defer func() {
			// Its own server may be asked as often as there are keys, and be silent.
			if f == nil || isAnswer(f.err) || own {
				answered()
			}
		}()
	}
	d := net.Dialer{Timeout: connectTime, Control: s.c.Finder.Control(hop), KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", hop.Addr.String())
	h.look.step("connect to "+hop.String(), err, "")
	if err != nil {
		if over(ctx) {
			return nil, &failure{stageConnect, fmt.Errorf("%w: %w", ErrTimeout, err)}
		}
		s.c.Finder.Failed(hop.Addr)
		return nil, &failure{stageConnect, fmt.Errorf("%w: %w", ErrUnreachable, err)}
	}
	keepAlive(conn)
	st := s.newStream(conn, false, t.Direct)
	st.local, st.remote = p.local, p.remote
	st.where = hop.String()
	st.src.left.Store(64 << 10)
	st.start()
	// Whoever waits no more ends it where it is.
	stop := context.AfterFunc(ctx, func() { st.set(func() { st.leaveBy = time.Unix(1, 0) }) })
	n := negotiation{stream: st, ctx: ctx, target: t, how: h, stage: stageTLS}
	err = st.safely(n.run)
	own = n.proof != bridges.ProofNone
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		s.c.Finder.Succeeded(hop.Addr)
		return st, nil
	}
	if over(ctx) && (isTimeout(err) || vanished(err)) {
		err = fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	if n.stage <= stageStream {
		s.c.Finder.Failed(hop.Addr)
	}
	s.endLater(st, err)
	return nil, &failure{n.stage, fmt.Errorf("%s: %w", hop, err)}
}

// endLater ends a stream while its owner goes on: goodbyes take time.
func (s *Server) endLater(st *stream, err error) {
	if !s.spawn(func() { st.end(err) }) {
		st.end(err)
	}
}

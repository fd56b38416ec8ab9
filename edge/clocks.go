package edge

import (
	"sync/atomic"
	"time"
)

// clocks say, in ticks of the wire, when things happened on a flow. The reader
// sets them with plain stores and the sweep looks at them once a tick, so
// deadlines cost no timers and no system calls. Zero: did not happen.
type clocks struct {
	dialled bool         // we are the client of this connection, and ping
	heard   atomic.Int32 // last octets received
	began   atomic.Int32 // first octet of the message that is incomplete
	pinged  atomic.Int32 // our ping that waits for its pong
	ending  atomic.Int32 // we said goodbye
	// Of users outside: since when nobody is signed in, and how many ticks may pass
	// without a word. 0: none of that matters.
	unsigned atomic.Int32
	silence  atomic.Int32
	answers  atomic.Bool // the peer has answered a ping before
}

// turn notes the end of a turn: whether half a message is left, and whether
// that is another one than at its beginning.
func (c *clocks) turn(now int32, partial, complete bool) {
	c.heard.Store(now)
	switch began := c.began.Load(); {
	case !partial:
		if began != 0 {
			c.began.Store(0)
		}
	case began == 0 || complete:
		c.began.Store(now)
	}
}

// ponged reports whether a CRLF is the answer to our ping, and notes it.
//
// A peer that has never answered may not know RFC 5626, and then a missing pong
// means nothing (RFC 5626 §4.4); it is pinged all the same, and TCP finds out by
// that whether its host lives. From its first pong on it owes us one each time.
func (f *Flow) ponged() bool {
	c := &f.clocks
	at := c.pinged.Load()
	if at == 0 || f.w.ticks()-at > f.w.limitTicks.pong {
		return false
	}
	c.pinged.Store(0)
	c.answers.Store(true)
	return true
}

// timeouts are how long things may take.
type timeouts struct {
	handshake time.Duration
	message   time.Duration // from the first octet of a message to its last
	idle      time.Duration // without any octet received
	write     time.Duration // for the peer to take what we send
	ping      time.Duration // silence after which we ping what we dialled
	frames    time.Duration // silence after which we ping a WebSocket
	pong      time.Duration // for the answer
	linger    time.Duration // for the peer to close after we said goodbye
	signIn    time.Duration // for a user outside to sign in
}

// defaults fills in what is zero.
func (t timeouts) defaults() timeouts {
	for _, d := range []struct {
		at   *time.Duration
		want time.Duration
	}{
		{&t.handshake, 5 * time.Second},
		{&t.message, 10 * time.Second},
		{&t.idle, 20 * time.Minute},
		{&t.write, 10 * time.Second},
		{&t.ping, 75 * time.Second},
		{&t.frames, 50 * time.Second}, // below the minute of many proxies
		{&t.pong, 10 * time.Second},   // RFC 5626 §4.4.1
		{&t.linger, 2 * time.Second},
		{&t.signIn, time.Minute},
	} {
		if *d.at <= 0 {
			*d.at = d.want
		}
	}
	return t
}

// tick is how often the sweep looks: an eighth of the shortest time it guards.
func (t timeouts) tick() time.Duration {
	shortest := min(t.message, t.idle, t.ping, t.frames, t.pong, t.linger, t.signIn)
	return min(max(shortest/8, time.Millisecond), time.Second)
}

// sweep looks at all flows once and ends those that are out of time.
func (w *wire) sweep() {
	now := w.clock.Add(1)
	var t turn
	w.each(func(f *Flow) bool {
		if err := f.overdue(&t, now); err != nil {
			f.close(err)
		}
		return true
	})
	t.end()
}

// overdue tells why the flow is out of time, or nil. It pings where a ping is
// due.
func (f *Flow) overdue(t *turn, now int32) error {
	c, limit := &f.clocks, &f.w.limitTicks
	if at := c.ending.Load(); at != 0 && now-at > limit.linger {
		return errLingered
	}
	if at := c.began.Load(); at != 0 && now-at > limit.message {
		return errMessageTimeout
	}
	if at := c.unsigned.Load(); at != 0 && now-at > limit.signIn {
		return errSignInTimeout
	}
	silent := now - c.heard.Load()
	if most := c.silence.Load(); silent > limit.idle || most != 0 && silent > most {
		return errIdle
	}
	if f.ws != nil {
		return f.keepOpen(t, now, silent)
	}
	if !c.dialled {
		return nil
	}
	interval := spread(limit.ping, f.ID)
	if at := c.pinged.Load(); at != 0 {
		switch {
		case now-at <= limit.pong || c.began.Load() != 0:
			return nil // also while a message comes in, which the pong must wait for
		case c.answers.Load():
			return errNoPong
		case now-at <= interval:
			return nil
		}
	}
	if silent > interval {
		c.pinged.Store(now)
		return f.queueRaw(t, ping)
	}
	return nil
}

// spread is between 80 % and 100 % of the time, another share for each flow, so
// that flows made together do not ping together (RFC 5626 §4.4.1).
func spread(interval int32, id uint64) int32 { return interval - interval*int32(id%8)/40 }

// ticked is timeouts in ticks.
type ticked struct{ message, idle, ping, frames, pong, linger, signIn int32 }

func (t timeouts) ticks() ticked {
	tick := t.tick()
	n := func(d time.Duration) int32 { return int32((d + tick - 1) / tick) }
	return ticked{n(t.message), n(t.idle), n(t.ping), n(t.frames), n(t.pong), n(t.linger), n(t.signIn)}
}

// limitSilence bounds how long the flow may say nothing, beside the idle time; 0: no
// more than that.
func (f *Flow) limitSilence(d time.Duration) {
	f.clocks.silence.Store(int32(d / f.w.timeouts.tick()))
}

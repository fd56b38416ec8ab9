package edge

import "time"

// overloadTick is how often overload is looked for, and the time in which what a
// peer begins is counted.
const overloadTick = 50 * time.Millisecond

const (
	// delayTarget is how long work may wait before it is too much. A tenth of
	// what a client waits for an answer before it thinks of sending again (T1),
	// and more than a full machine that keeps up lets anybody wait.
	delayTarget = 40 * time.Millisecond
	// delayOthers is how long work may wait once there is overload, and there are
	// peers that want little: they must not wait because of those that want much.
	// It does not count before: many who want a little each make everybody wait as
	// long, and refusing them would help nobody.
	delayOthers = 10 * time.Millisecond
	// delayFlooded is the same where one peer alone wants more than all the rest
	// together. What it gets is not worth what the others wait for.
	delayFlooded = 3 * time.Millisecond
	// overloadPatience is for how many ticks in a row it is too much before
	// anything follows: a collection of garbage or a stolen moment of the
	// processor is no overload.
	overloadPatience = 2
	// What a limit is multiplied by when it is cut, and in a tick without too much
	// delay: quickly back to nearly where it was too much, with care around that,
	// and less of it beyond.
	paceDown = 0.85
	paceFast = 0.7 // with many times the delay that is right
	paceBack = 1.1
	paceNear = 1.005
	paceUp   = 1.03
	// nearly is the part of the limit at which it was too much that counts as
	// nearly too much.
	nearly = 0.85
	// knownLasts is how much of where it was too much counts when that happens
	// again: one cut after the other is for what has piled up.
	knownLasts = 0.95
	// leastUseful is the part of what the edge can do below which nothing more is
	// cut: what waits then waits behind what is refused, and to refuse more of it
	// would not help.
	leastUseful = 0.4
	// peakLasts is how much of what the largest wanted counts a tick later.
	peakLasts = 0.8
	// longestHold bounds how long a cut is given to show what it does.
	longestHold = 4 * overloadTick
	// leastPace is what no peer has less of, in octets per second: some forty
	// requests.
	leastPace = 64 << 10
	// leastPart is the part of what a peer wanted when it was first limited that
	// it keeps, however bad it is: a machine that is stolen from us for a second
	// is not a reason to refuse all that comes in the next.
	leastPart = 1.0 / 64
	// calmTicks is for how many ticks nobody may want more than the limit before
	// there is none any more.
	calmTicks = 20
)

// A control decides how much peers may begin while the edge has more to do than
// it can. It knows nothing of processors and rates: it looks at how long work
// waits, and turns one knob until that is right.
//
// The knob is what a single peer may begin per second, the same for all. Whoever
// wants less gets all that it wants, and those who want more get the same
// (max-min fairness), so a flood is cut down before anybody else feels anything.
// Our own home servers have a knob of their own, which is turned last.
//
// The zero control limits nobody.
type control struct {
	on      bool          // there is too much to do, or was a moment ago
	late    int           // ticks in a row with too much delay, this one included
	hold    time.Duration // how long to wait before the next cut
	others  float64       // whether there were peers lately that want little
	flood   float64       // whether one peer wanted more lately than all the rest
	outside pace
	inside  pace
}

// A load is what happened in one tick.
type load struct {
	delay           time.Duration // how long work waited
	useful          float64       // the part of what can be done that is being done
	outside, inside demands
}

// demands are what the peers of one side wanted, in octets per second.
type demands struct {
	largest float64 // of any one of them
	wanted  float64 // what all together wanted
	begun   float64 // what they were let begin
	little  int     // how many wanted less than half of their share
}

// A pace is what one peer may begin, in octets per second. 0: what it likes.
type pace struct {
	limit float64
	least float64
	known float64 // the limit at which it was too much
	peak  float64 // what the largest wanted lately
	calm  int     // ticks in a row in which nobody wanted more
}

// step takes in what happened in the last tick.
func (c *control) step(l load) {
	target := c.target(l)
	c.hold -= overloadTick
	c.outside.peak = max(l.outside.largest, c.outside.peak*peakLasts)
	c.inside.peak = max(l.inside.largest, c.inside.peak*peakLasts)
	if l.delay > target {
		c.late++
	} else {
		c.late = 0
	}
	switch {
	case !c.on:
		// What everybody wants is counted for a tick before anything is cut.
		c.on, c.hold = c.late >= overloadPatience, 0
	case c.late == 0:
		c.outside.grow()
		c.inside.grow()
		c.on = c.outside.limit > 0 || c.inside.limit > 0
	case c.late >= overloadPatience && c.hold <= 0 && l.useful >= leastUseful:
		c.cut(l)
		// What waits now has come before anything was cut: what the cut does is
		// seen when that is worked off.
		c.hold = min(l.delay+2*overloadTick, longestHold)
	}
}

// target is how long work may wait now.
func (c *control) target(l load) time.Duration {
	if c.others *= peakLasts; l.outside.little > 0 {
		c.others = 1
	}
	if c.flood *= peakLasts; 2*l.outside.largest > l.outside.wanted {
		c.flood = 1
	}
	switch {
	case c.flooded():
		return delayFlooded
	case c.outside.limit > 0 && c.others > 0.1:
		return delayOthers
	}
	return delayTarget
}

// flooded reports whether one peer makes the load, and there are others.
func (c *control) flooded() bool { return c.outside.limit > 0 && c.others > 0.1 && c.flood > 0.1 }

// cut limits whoever makes the load: partners, and home servers when there is
// little left to take from partners, or when hardly anything comes from them.
func (c *control) cut(l load) {
	by := paceDown
	if l.delay > 4*delayTarget {
		by = paceFast
	}
	if c.outside.bottom() || 4*l.outside.begun < l.inside.begun {
		c.inside.cut(by)
		return
	}
	c.outside.cut(by)
}

// bottom reports whether the pace cannot be cut further.
func (p *pace) bottom() bool { return p.limit > 0 && p.limit <= p.least }

// cut makes the limit less than what the largest got.
func (p *pace) cut(by float64) {
	p.calm = 0
	if p.limit == 0 {
		p.limit, p.least = p.peak, max(p.peak*leastPart, leastPace)
	}
	p.known = max(min(p.limit, p.peak), p.known*knownLasts)
	p.limit = max(min(p.limit, p.peak)*by, p.least)
}

// grow lets everybody have a little more, and all when nobody wants it.
func (p *pace) grow() {
	if p.limit == 0 {
		return
	}
	switch {
	case p.limit < nearly*p.known:
		p.limit = min(p.limit*paceBack, nearly*p.known)
	case p.limit*nearly < p.known:
		p.limit *= paceNear
	default:
		p.limit *= paceUp
	}
	if p.peak > p.limit {
		p.calm = 0
		return
	}
	if p.calm++; p.calm >= calmTicks {
		*p = pace{}
	}
}

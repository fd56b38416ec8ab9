package xmpp

import (
	"container/heap"
	"time"
)

// An alarm is something to be done at a time. It belongs to the loop of presence,
// as all of this file does.
type alarm struct {
	at    time.Time
	index int // in the heap, counted from 1; 0: not set
	ring  func()
}

// isSet reports whether it will ring.
func (a *alarm) isSet() bool { return a.index > 0 }

// alarms is the one clock of all subscriptions: the alarm that rings first is on
// top.
type alarms []*alarm

// set lets a ring at a time, and not when it would have rung before.
func (c *alarms) set(a *alarm, at time.Time) {
	a.at = at
	if a.isSet() {
		heap.Fix(c, a.index-1)
		return
	}
	heap.Push(c, a)
}

// clear lets a not ring.
func (c *alarms) clear(a *alarm) {
	if a.isSet() {
		heap.Remove(c, a.index-1)
	}
}

// due takes out an alarm that rings at now or should have rung before, nil if there
// is none.
func (c *alarms) due(now time.Time) *alarm {
	if len(*c) == 0 || (*c)[0].at.After(now) {
		return nil
	}
	return heap.Pop(c).(*alarm)
}

// wait is how long it is until the next one rings; many hours if there is none.
func (c *alarms) wait(now time.Time) time.Duration {
	if len(*c) == 0 {
		return 24 * time.Hour
	}
	return max(0, (*c)[0].at.Sub(now))
}

// Len, Less, Swap, Push and Pop are those of heap.Interface.
func (c alarms) Len() int           { return len(c) }
func (c alarms) Less(i, j int) bool { return c[i].at.Before(c[j].at) }
func (c alarms) Swap(i, j int) {
	c[i], c[j] = c[j], c[i]
	c[i].index, c[j].index = i+1, j+1
}

func (c *alarms) Push(x any) {
	a := x.(*alarm)
	*c = append(*c, a)
	a.index = len(*c)
}

func (c *alarms) Pop() any {
	last := len(*c) - 1
	a := (*c)[last]
	(*c)[last] = nil
	*c = (*c)[:last]
	a.index = 0
	return a
}

package edge

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// shardCount shards keep the readers of many connections out of each other's
// way. The low bits of a transaction's id name its shard.
const (
	shardBits  = 6
	shardCount = 1 << shardBits
)

// A serverKey names a transaction by who asked: the flow, and the branch,
// sent-by and method of the request (RFC 3261 §17.2.3). The flow is part of it,
// so no other connection can match, cancel or acknowledge it.
type serverKey struct {
	flow uint64
	hash uint64
}

// A table holds the open transactions.
type table struct {
	seed   maphash.Seed
	shards [shardCount]shard
	active atomic.Int64 // without those that only linger
	held   atomic.Int64 // octets that transactions keep
	// Accepted calls that wait for more 2xx, and how many may: some 700 octets
	// each.
	accepted    atomic.Int64
	maxAccepted int64

	seq   atomic.Uint64
	start time.Time
}

// A shard is a part of the table with its own lock.
type shard struct {
	mu        sync.Mutex
	byRequest map[serverKey]*tx
	byBranch  map[uint64]*tx
	wheel     wheel
	_         [64]byte // keep locks on cache lines of their own
}

func newTable() *table {
	t := &table{seed: maphash.MakeSeed(), start: time.Now(), maxAccepted: 1 << 18}
	// A number from before a restart must not name a transaction of after.
	t.seq.Store(rand.Uint64() >> 8 << shardBits)
	for i := range t.shards {
		t.shards[i].byRequest = make(map[serverKey]*tx)
		t.shards[i].byBranch = make(map[uint64]*tx)
	}
	return t
}

// now is the time, in nanoseconds since the table was made.
func (t *table) now() int64 { return int64(time.Since(t.start)) }

// key makes the serverKey of a request on flow with this branch, sent-by and
// method.
func (t *table) key(flow uint64, branch, sentBy, method []byte) serverKey {
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.Write(branch)
	h.WriteByte(0)
	h.Write(sentBy)
	h.WriteByte(0)
	h.Write(method)
	return serverKey{flow, h.Sum64()}
}

func (t *table) shardOf(k serverKey) *shard { return &t.shards[k.hash%shardCount] }

// insert puts x in, unless its request is there already: then it returns that
// transaction.
func (t *table) insert(x *tx, timeout time.Duration) (other *tx) {
	x.id = t.seq.Add(1)<<shardBits | x.key.hash%shardCount
	s := t.shardOf(x.key)
	x.shard = s
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.byRequest[x.key]; other != nil {
		return other
	}
	s.byRequest[x.key] = x
	s.byBranch[x.id] = x
	x.timer.tx = x
	s.wheel.start(&x.timer, timeout)
	t.active.Add(1)
	return nil
}

// find returns the transaction of a request, or nil.
func (t *table) find(k serverKey) *tx {
	s := t.shardOf(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byRequest[k]
}

// byID returns the transaction whose branch we made, or nil.
func (t *table) byID(id uint64) *tx {
	s := &t.shards[id%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byBranch[id]
}

// remove takes x out.
func (t *table) remove(x *tx) {
	s := x.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wheel.stop(&x.timer)
	if s.byRequest[x.key] == x {
		delete(s.byRequest, x.key)
		delete(s.byBranch, x.id)
	}
}

// after sets the timer of x.
func (t *table) after(x *tx, d time.Duration) {
	x.shard.mu.Lock()
	x.shard.wheel.start(&x.timer, d)
	x.shard.mu.Unlock()
}

// collect returns the transactions for which pick is true. It looks at all of
// them: for rare events, as a connection's end.
func (t *table) collect(pick func(*tx) bool) (list []*tx) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, x := range s.byRequest {
			if pick == nil || pick(x) {
				list = append(list, x)
			}
		}
		s.mu.Unlock()
	}
	return list
}

// run fires timers until done is closed.
func (t *table) run(done <-chan struct{}, fire func(*turn, *tx)) {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	var due []*tx
	for {
		select {
		case <-done:
			return
		case <-clock.C:
		}
		now := uint64(time.Since(t.start) / tick)
		var w turn
		for i := range t.shards {
			s := &t.shards[i]
			s.mu.Lock()
			due = s.wheel.advance(now, due[:0])
			s.mu.Unlock()
			for _, x := range due {
				fire(&w, x)
			}
			clear(due)
		}
		w.end()
	}
}

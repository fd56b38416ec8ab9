package xmpp

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A memory keeps what is known of somebody or something for a while, and no more
// than so many of them: what was longest not asked for goes first. It is safe for
// concurrent use, and has no timer: what is too old is not found.
type memory[K comparable, V any] struct {
	life time.Duration

	mu  sync.Mutex // guards what follows
	lru *simplelru.LRU[K, kept[V]]
}

type kept[V any] struct {
	value V
	until time.Time
}

func newMemory[K comparable, V any](size int, life time.Duration) *memory[K, V] {
	lru, _ := simplelru.NewLRU[K, kept[V]](size, nil) // fails for sizes below one only
	return &memory[K, V]{life: life, lru: lru}
}

// get returns what is known.
func (m *memory[K, V]) get(key K) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(key)
}

// find is get. The lock is held.
func (m *memory[K, V]) find(key K) (value V, ok bool) {
	k, ok := m.lru.Get(key)
	if !ok {
		return value, false
	}
	if time.Now().After(k.until) {
		m.lru.Remove(key)
		return value, false
	}
	return k.value, true
}

// put notes something, for as long as the memory lasts.
func (m *memory[K, V]) put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lru.Add(key, kept[V]{value, time.Now().Add(m.life)})
}

// change gives f what is known, or the zero value, and notes what f makes of it.
func (m *memory[K, V]) change(key K, f func(value *V)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, _ := m.find(key)
	f(&value)
	m.lru.Add(key, kept[V]{value, time.Now().Add(m.life)})
}

// add notes something unless it is known already, and reports whether it did.
func (m *memory[K, V]) add(key K, value V) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.find(key); ok {
		return false
	}
	m.lru.Add(key, kept[V]{value, time.Now().Add(m.life)})
	return true
}

// forget forgets.
func (m *memory[K, V]) forget(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lru.Remove(key)
}

// size returns how much is kept, with what is too old and was not looked for.
func (m *memory[K, V]) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lru.Len()
}

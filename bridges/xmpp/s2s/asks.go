package s2s

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Bounds of the connections that we make because a stranger has shown a key.
const (
	askBurst = 10  // at once, without an answer
	askRate  = 0.5 // a second after that
	maxAsked = 4096
)

// asks bounds these connections. A key has us connect to where DNS leads from the domain
// that it is said to be of, which may be anybody: four keys on a stream, each to eight
// addresses, would be many connections for one, and who closes them at once, or is not
// there, costs no time. So what is not answered counts, by the owner of the domain and by
// where it leads, unless the server proves to be the domain's: nobody can keep others from
// being asked.
type asks struct {
	mu sync.Mutex
	by *simplelru.LRU[asked, *bucket]
}

type asked struct {
	owner string
	at    netip.Addr
}

func newAsks() *asks {
	by, _ := simplelru.NewLRU[asked, *bucket](maxAsked, nil) // fails for sizes below one only
	return &asks{by: by}
}

// take reports whether a server may be asked for a domain, and how to say that it has
// answered.
func (a *asks) take(domain string, at netip.AddrPort) (answered func(), ok bool) {
	who, now := asked{Owner(domain), source(at)}, time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	b, known := a.by.Get(who)
	if !known {
		b = &bucket{askBurst, now}
		a.by.Add(who, b)
	}
	if b.fill(now, askRate, askBurst); b.tokens < 1 {
		return nil, false
	}
	b.tokens--
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		b.tokens++
	}, true
}

// isAnswer reports whether asking has come to an answer, whatever it is.
func isAnswer(err error) bool {
	c, ok := errors.AsType[*complaint](err)
	return err == nil || errors.Is(err, errInvalid) || ok && c.of == "dialback"
}

// errAsked is that a server is not asked.
var errAsked = errors.New("asked too often, and has not answered")

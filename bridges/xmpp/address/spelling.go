package address

import (
	"fmt"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/sipedge/sipedge/sip"
)

// maxLearned bounds the spellings that are learned.
const maxLearned = 50_000

// spellings knows how a registrar spells our users. User parts of SIP are
// case-sensitive (RFC 3261 §19.1.4), local parts of JIDs are in lower case: a message for
// romeo@example.net goes to sip:Romeo@example.net if that is his name.
//
// A nil *spellings knows none.
type spellings struct {
	mu      sync.Mutex
	named   map[string]string          // by the administrator; bare JID to user part
	learned *lru.Cache[string, string] // from what our users send
}

// newSpellings makes a table of users that the administrator names, as SIP URIs. Two
// that XMPP cannot tell apart are an error: one would get what is for the
// other.
func newSpellings(a *Table, uris []string) (*spellings, error) {
	s := &spellings{named: make(map[string]string, len(uris))}
	s.learned, _ = lru.New[string, string](maxLearned) // fails for sizes below one only
	for _, uri := range uris {
		j, user, err := spellingOf(a, uri)
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", uri, err)
		}
		key := j.Bare().String()
		if other, ok := s.named[key]; ok && other != user {
			return nil, fmt.Errorf("users %q and %q of %s are one and the same in XMPP", other, user, j.Domainpart())
		}
		s.named[key] = user
	}
	return s, nil
}

// spellingOf returns the JID and the user part of a user of ours.
func spellingOf(a *Table, uri string) (j JID, user string, err error) {
	if user, host, ok := plainURI(uri); ok && a.isNative(host) {
		return asItStands(uri, user), user, nil
	}
	if j, err = a.JID(uri); err != nil {
		return j, "", err
	}
	u, err := sip.ParseURI([]byte(uri))
	if err != nil || len(u.User) == 0 {
		return j, "", ErrURI
	}
	return j, string(u.User), nil
}

// of returns the user part of a bare JID, if there is something to know about it.
func (s *spellings) of(j JID) (user string, ok bool) {
	if s == nil {
		return "", false
	}
	key := j.Bare().String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if user, ok = s.named[key]; ok {
		return user, true
	}
	return s.learned.Get(key)
}

// Learn notes how a user of ours is spelled in what the home server sent of him.
// same is false if he was known by another name, which stays: whoever differs from
// him in case only does not get what is his.
func (a *Table) Learn(uri string) (same bool) {
	s := a.spelled
	if s == nil {
		return true
	}
	j, user, err := spellingOf(a, uri)
	if err != nil {
		return true
	}
	key := j.Bare().String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.named[key]; ok {
		return known == user
	}
	if known, ok := s.learned.Get(key); ok {
		return known == user
	}
	s.learned.Add(key, user)
	return true
}

package federation

import (
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/sipedge/sipedge/allowlists"
)

// An owner is whoever has a registrable domain: the limits of discovered
// partners are kept for it.
type owner struct {
	domain string
	names  []*record // those under the domain; at most maxNames

	rate       allowance
	acks       allowance // of ACKs, which are counted apart
	score      score
	suspicious bool
	asked      []uint64  // hashes of addressees, sorted; none while watched
	addressees int       // how many they were
	watched    time.Time // since when; zero: not

	saved bool // in the store, in some state
	dirty bool // not in the store as it is now
}

// MaxAddresses is the most that DiscoveryLimits.Addresses can be.
const MaxAddresses = 10_000

// The Verdicts of this tier.
var (
	pass             = allowlists.Verdict{Action: allowlists.Allow}
	refuseNobody     = allowlists.Refusal(allowlists.PartnerNotAllowed, allowlists.Rule{Name: "[federation] unlisted"})
	refuseBlocked    = allowlists.Refusal(allowlists.PartnerBlocked, allowlists.Rule{Name: "decision of an administrator"})
	refuseRate       = allowlists.Refusal(allowlists.PartnerLimit, allowlists.Rule{Name: "[federation] discovered_rate"})
	refuseSuspicious = allowlists.Refusal(allowlists.PartnerLimit, allowlists.Rule{Name: "[federation] suspicious_rate"})
	refuseWatched    = allowlists.Refusal(allowlists.PartnerWatched, allowlists.Rule{Name: "[federation] discovered_addresses"})
)

// take judges one request. Who is the hash of the addressee, 0 if none is named.
// A request that comes too fast reaches nobody, so whom it names does not count.
func (o *owner) take(who uint64, lim DiscoveryLimits, now time.Time) (allowlists.Verdict, event) {
	if o.isWatched() {
		return refuseWatched, event{}
	}
	e := o.judge(now)
	rate, refusal := lim.Rate, refuseRate
	if o.suspicious {
		rate, refusal = min(rate, lim.SuspiciousRate), refuseSuspicious
	}
	if !o.rate.take(rate, now) {
		return refusal, e
	}
	if who == 0 {
		return pass, e
	}
	if at, known := slices.BinarySearch(o.asked, who); !known {
		if len(o.asked) >= min(lim.Addresses, MaxAddresses) {
			o.watch(now)
			return refuseWatched, event{"discovered partner put on the watch list", o.domain, o.addressees}
		}
		o.asked = slices.Insert(o.asked, at, who)
		o.addressees, o.dirty = len(o.asked), true
	}
	return pass, e
}

func (o *owner) isWatched() bool { return !o.watched.IsZero() }

// watch refuses the owner from now on. Which addresses they were does not matter
// any more.
func (o *owner) watch(now time.Time) {
	o.watched, o.asked, o.dirty = now, nil, true
}

// forgive makes the owner one that has done nothing yet.
func (o *owner) forgive() {
	o.watched, o.asked, o.addressees = time.Time{}, nil, 0
	o.score, o.suspicious, o.dirty = score{}, false, true
}

// An outcome is what an answer says about the request as a guess.
type outcome int

const (
	outcomeNone   outcome = iota // nothing
	outcomeGood                  // it was none
	outcomeFailed                // it was a bad one
)

// outcomeOf sorts final answers by what they say to somebody who tries
// addresses to see which exist, or sends to those that he bought.
//
// Failed is what a home server says when there is nobody (404, 410, 604), when
// the address is only part of one (484) or could be several (485), when the user
// does not want this sender (403, RFC 3261 §21.4.4) and says so (607, RFC 8197
// §4; 608, RFC 8688 §3.1). Good is what only an existing user gets: 2xx.
//
// All else says nothing. Somebody who is there may be away, busy, on another call
// or decline (480, 486, 487, 600, 603); 401 and 407 are about credentials; 408,
// 5xx and the rest of 4xx are faults of servers or of messages, and ours must not
// make a partner suspicious.
func outcomeOf(status int) outcome {
	switch status {
	case 403, 404, 410, 484, 485, 604, 607, 608:
		return outcomeFailed
	}
	if status >= 200 && status < 300 {
		return outcomeGood
	}
	return outcomeNone
}

// When failures are suspicious. Between the two shares it stays as it is, so
// that nobody goes to and fro with every answer.
const (
	scoreHalf      = 10 * time.Minute // in which answers lose half of their weight
	scoreEnough    = 20               // answers, of full weight, before their share means anything
	scoreForgotten = 5                // answers, of full weight, that are too few to hold against anybody
	suspiciousFrom = 0.5              // share of failures
	suspiciousTo   = 0.25
)

// A score is how many answers were good and failed, lately.
type score struct {
	good, failed float64
	at           time.Time // of both
}

// fade takes off the weight that answers have lost since the last look.
func (s *score) fade(now time.Time) {
	passed := now.Sub(s.at)
	if passed > 0 && !s.at.IsZero() {
		left := math.Exp2(-float64(passed) / float64(scoreHalf))
		s.good, s.failed = s.good*left, s.failed*left
	}
	if passed > 0 || passed < -muchBack {
		s.at = now
	}
}

// answered notes an answer.
func (o *owner) answered(what outcome, now time.Time) event {
	o.score.fade(now)
	o.dirty = true
	if what == outcomeFailed {
		o.score.failed++
	} else {
		o.score.good++
	}
	return o.judge(now)
}

// judge says whether the owner is suspicious now.
func (o *owner) judge(now time.Time) event {
	before := o.suspicious
	if before {
		o.score.fade(now) // silence clears, too
	}
	switch all := o.score.good + o.score.failed; {
	case !before && all >= scoreEnough && o.score.failed >= suspiciousFrom*all:
		o.suspicious = true
	case before && (all < scoreForgotten || o.score.failed <= suspiciousTo*all):
		o.suspicious = false
	}
	if o.suspicious == before {
		return event{}
	}
	o.dirty = true
	if before {
		return event{"discovered partner no longer suspicious", o.domain, o.addressees}
	}
	return event{"discovered partner suspicious", o.domain, o.addressees}
}

// Owner names who has the domain, as far as it counts for limits of those that
// nobody listed: the part of it that somebody registered.
func Owner(domain []byte) string { return registrable(string(domain)) }

// registrable returns the part of a domain that somebody registered, at a registry
// that is one: the suffix that ICANN's part of the public suffix list names, and
// the label before it. A domain that is a suffix is its own.
func registrable(domain string) string {
	suffix, icann := publicsuffix.PublicSuffix(domain)
	for !icann {
		_, parent, ok := strings.Cut(suffix, ".")
		if !ok {
			break // a top level that the list does not know
		}
		suffix, icann = publicsuffix.PublicSuffix(parent)
	}
	before, ok := strings.CutSuffix(domain, "."+suffix)
	if !ok {
		return domain
	}
	return domain[strings.LastIndexByte(before, '.')+1:]
}

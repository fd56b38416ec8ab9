package locate

import (
	"errors"
	"fmt"
)

// What a lookup may end with, besides servers.
var (
	ErrNoRecords        = errors.New("no records")                                                    // NXDOMAIN, no data, or the target "."
	ErrServfail         = errors.New("dns server failed")                                             // SERVFAIL, REFUSED, nonsense, or nobody there
	ErrTimeout          = errors.New("dns timeout")                                                   // no usable answer in time
	ErrForbiddenAddress = errors.New("forbidden address")                                             // DNS points at loopback, a private range, or us
	errTooManyAliases   = errors.New("cname chain too long or loop")                                  // wrapped in ErrServfail
	errNotOffered       = fmt.Errorf("%w: the domain says that it has no such service", ErrNoRecords) // the target "."
	errNoTarget         = fmt.Errorf("%w: none that leads anywhere", ErrNoRecords)
	errTooMany          = fmt.Errorf("%w: too many lookups under way", ErrTimeout)
)

// An Error is a lookup that found nothing to dial. Err wraps one of the errors
// above.
type Error struct {
	Domain string // the partner or host that was looked for
	Query  string // the last question, if there was one
	Err    error
	// NoService: the domain has no SRV record of ours at all, so that nothing there is
	// broken. Err wraps ErrNoRecords.
	NoService bool
}

func (e *Error) Error() string {
	if e.Query == "" {
		return "locate " + e.Domain + ": " + e.Err.Error()
	}
	return "locate " + e.Domain + ": " + e.Query + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// NoService reports whether an error of Directory.Partner says that the domain has no
// such service, and not only that it is broken or that DNS is.
func NoService(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.NoService
}

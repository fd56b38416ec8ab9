package remoteaccess

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// An Examination is how far one came with a directory.
type Examination struct {
	Server    string        // host and port
	Connected bool          // with TLS, where it is wanted, and bound
	Took      time.Duration // until then
}

// Examine connects to the directory as c says, and looks for the base. The path is of
// a file that c names.
func Examine(ctx context.Context, c LDAPConfig, path func(string) string) (x Examination, err error) {
	l, errs := newLink(c, path)
	if errs != nil {
		return x, errors.Join(errs...)
	}
	defer l.close()
	x.Server = l.server.address
	ctx, cancel := context.WithTimeout(ctx, l.config.Timeout)
	defer cancel()
	began := time.Now()
	conn, _, _, err := l.connected(ctx)
	if err != nil {
		return x, err
	}
	x.Connected, x.Took = true, time.Since(began)
	r := l.config.request(l.config.Base, "(objectClass=*)", 1, noAttributes)
	r.Scope = ldap.ScopeBaseObject
	found, err := conn.Search(r)
	switch {
	case err != nil:
		return x, fmt.Errorf("look for %s: %w", l.config.Base, err)
	case len(found.Entries) == 0:
		return x, fmt.Errorf("look for %s: it is not there, or not for us to see", l.config.Base)
	}
	return x, nil
}

package remoteaccess

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/sipedge/sipedge/certs"
)

// A link is the one connection to a directory, for all searches. It is made when it
// is wanted.
type link struct {
	config   LDAPConfig // with its defaults
	server   server
	roots    *certs.Roots // nil: no TLS
	password string       // the path of the file; "": nobody

	mu     sync.Mutex // held while connecting: who comes meanwhile wants the same
	conn   *ldap.Conn // guarded by mu
	wire   *meter     // guarded by mu; beneath conn
	closed bool       // guarded by mu
}

// newLink checks the section with its files. It connects to nobody.
func newLink(c LDAPConfig, path func(string) string) (*link, []error) {
	if errs := c.check(); errs != nil {
		return nil, errs
	}
	l := &link{config: c.defaults()}
	l.server, _ = c.server() // as check did
	var errs []error
	if l.server.tls || l.server.startTLS {
		ca := l.config.CA
		if ca != certs.SystemRoots {
			ca = path(ca)
		}
		var err error
		if l.roots, err = certs.LoadRoots(ca, ""); err != nil {
			errs = append(errs, fmt.Errorf("ca: %w", err))
		}
	}
	if c.PasswordFile != "" {
		l.password = path(c.PasswordFile)
		if _, err := readPassword(l.password); err != nil {
			errs = append(errs, fmt.Errorf("password_file: %w", err))
		}
	}
	return l, errs
}

// readPassword reads the password in a file, which must be for its owner alone.
func readPassword(path string) (string, error) {
	const most = 1 << 10
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s has mode %04o: others can read or change it; chmod 0600", path, info.Mode().Perm())
	case info.Size() > most:
		return "", fmt.Errorf("%s is longer than %d octets", path, most)
	}
	room := make([]byte, most)
	n, err := f.Read(room)
	if password := strings.TrimRight(string(room[:max(n, 0)]), "\r\n"); password != "" {
		return password, nil
	}
	return "", errors.Join(fmt.Errorf("%s is empty", path), err)
}

// close ends the connection, and lets no other be made.
func (l *link) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// connected returns the connection, and whether it was there before.
func (l *link) connected(ctx context.Context) (conn *ldap.Conn, wire *meter, before bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, nil, false, errors.New("closed")
	case l.conn != nil && !l.conn.IsClosing():
		return l.conn, l.wire, true, nil
	case ctx.Err() != nil:
		return nil, nil, false, ctx.Err()
	}
	if l.conn != nil {
		l.conn.Close() // its goroutines end
		l.conn = nil
	}
	conn, wire, err = l.connect(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	l.conn, l.wire = conn, wire
	return conn, wire, false, nil
}

// connect makes a connection and says who we are.
func (l *link) connect(ctx context.Context) (*ldap.Conn, *meter, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", l.server.address)
	if err != nil {
		return nil, nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		raw.SetDeadline(end) // for all of what follows
	}
	wire := &meter{Conn: raw}
	wire.refill()
	conn, err := l.secure(ctx, wire)
	if err != nil {
		raw.Close()
		return nil, nil, err
	}
	conn.SetTimeout(l.config.Timeout)
	if l.password != "" {
		password, err := readPassword(l.password) // it may have been changed
		if err == nil {
			err = conn.Bind(l.config.BindDN, password)
		}
		if err != nil {
			conn.Close()
			return nil, nil, fmt.Errorf("bind as %s: %w", l.config.BindDN, err)
		}
	}
	raw.SetDeadline(time.Time{})
	return conn, wire, nil
}

// secure makes TLS of a connection where it is wanted, and then speaks LDAP on it.
func (l *link) secure(ctx context.Context, wire net.Conn) (*ldap.Conn, error) {
	if l.roots == nil {
		conn := ldap.NewConn(wire, false)
		conn.Start()
		return conn, nil
	}
	l.roots.Reload() // with an error the old ones stay, and the check below decides
	config := &tls.Config{RootCAs: l.roots.Pool(), ServerName: l.server.host, MinVersion: tls.VersionTLS12}
	if l.server.tls {
		secured := tls.Client(wire, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn := ldap.NewConn(secured, true)
		conn.Start()
		return conn, nil
	}
	conn := ldap.NewConn(wire, false)
	conn.Start()
	if err := conn.StartTLS(config); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// A meter bounds what a directory may make us read, and keep, for one search.
type meter struct {
	net.Conn
	left atomic.Int64
}

// mostRead is how much one search may bring, in octets.
const mostRead = 8 << 20

func (m *meter) refill() { m.left.Store(mostRead) }

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if m.left.Add(-int64(n)) < 0 && err == nil {
		err = errors.New("the answer is too long")
	}
	return n, err
}

// A membership is what a directory said of one user.
type membership struct {
	found     bool     // it has one entry for him
	groups    []string // canonical, and only those that were asked about
	ambiguous bool     // it has several, so nobody knows who he is
	unclear   string   // why his groups are not known, though it answers; "": they are
}

// ask looks a user up. A connection that was there before may have been closed by the
// other side just now, so it is tried once more on a new one.
func (l *link) ask(ctx context.Context, user, domain string, wanted map[string]bool) (m membership, err error) {
	for {
		conn, wire, before, err := l.connected(ctx)
		if err != nil {
			return membership{}, err
		}
		wire.refill()
		m, err := l.look(conn, user, domain, wanted)
		if err == nil {
			return m, nil
		}
		if lost := ldap.IsErrorWithCode(err, ldap.ErrorNetwork) || conn.IsClosing(); !lost {
			return membership{}, err
		}
		conn.Close()
		if !before || ctx.Err() != nil {
			return membership{}, err
		}
	}
}

// look searches for the user, and for his groups.
func (l *link) look(conn *ldap.Conn, user, domain string, wanted map[string]bool) (membership, error) {
	c := l.config
	attribute := c.Attribute
	if c.GroupFilter != "" {
		attribute = noAttributes
	}
	filter := placeholders(user, domain, "").Replace(c.Filter)
	found, err := conn.Search(c.request(c.Base, filter, 2, attribute))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || err == nil && len(found.Entries) > 1:
		return membership{ambiguous: true}, nil
	case err != nil:
		return membership{}, fmt.Errorf("search for a user: %w", err)
	case len(found.Entries) == 0:
		return membership{}, nil
	}
	entry := found.Entries[0]
	if c.GroupFilter == "" {
		return named(entry, attribute, wanted), nil
	}
	filter = placeholders(user, domain, entry.DN).Replace(c.GroupFilter)
	found, err = conn.Search(c.request(c.GroupBase, filter, maxMemberships, noAttributes))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return membership{unclear: "more groups than the directory shows at a time"}, nil
	case err != nil:
		return membership{}, fmt.Errorf("search for groups: %w", err)
	}
	m := membership{found: true}
	for _, e := range found.Entries {
		m.add(e.DN, wanted)
	}
	return m, nil
}

// noAttributes asks for the DN alone (RFC 4511 §4.5.1.8).
const noAttributes = "1.1"

// maxMemberships is how many groups a user may be in where they are searched for. To
// look at some of them only could miss the one that denies.
const maxMemberships = 10_000

func (c LDAPConfig) request(base, filter string, most int, attribute string) *ldap.SearchRequest {
	seconds := int((c.Timeout + time.Second - 1) / time.Second)
	return ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, most, seconds, false, filter, []string{attribute}, nil)
}

// named reads the groups that a user's entry names.
func named(entry *ldap.Entry, attribute string, wanted map[string]bool) membership {
	m := membership{found: true}
	for _, a := range entry.Attributes {
		name, options, _ := strings.Cut(a.Name, ";")
		if !strings.EqualFold(name, attribute) {
			continue
		}
		// Active Directory sends the first 1,500 of many.
		if strings.HasPrefix(strings.ToLower(options), "range=") {
			return membership{unclear: attribute + " has too many values; with group_filter or nested they are searched for"}
		}
		for _, dn := range a.Values {
			m.add(dn, wanted)
		}
	}
	return m
}

// add notes a group that was asked about.
func (m *membership) add(dn string, wanted map[string]bool) {
	if dn, err := canonicalDN(dn); err == nil && wanted[dn] {
		m.groups = append(m.groups, dn)
	}
}

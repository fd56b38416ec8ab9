package edge

import (
	"time"

	"github.com/sipedge/sipedge/certs"
	"github.com/sipedge/sipedge/locate"
)

// Config is sipedge.toml. Paths are relative to the file. It is read once, at
// start; what changes at run time lies in partners.toml.
type Config struct {
	// Our name in Via and Record-Route, and on our certificates. Home servers
	// must be able to resolve it, because dialogs come back to it.
	Name     string `toml:"name"`
	NameLine int    `toml:"name,line"`
	// The domains whose users live behind us. Each must belong to one pool.
	Domains     []string `toml:"domains"`
	DomainsLine int      `toml:"domains,line"`
	// Folder for what the edge keeps: the keys of our signed tokens, discovered
	// partners and decisions, refused requests, the control socket. Made if
	// absent; mode 0700.
	StateDir     string `toml:"state_dir"`
	StateDirLine int    `toml:"state_dir,line"`
	// What one peer may use up.
	Limits Limits `toml:"limits"`
	// Our certificates, by name: [certificate.outside].
	Certificates map[string]certs.Config `toml:"certificate"`
	// Where we listen, by name: [listener.federation].
	Listeners map[string]ListenerConfig `toml:"listener"`
	// Our home servers, by name: [pool.main].
	Pools map[string]PoolConfig `toml:"pool"`
	// How partners' edges are found.
	DNS locate.Config `toml:"dns"`

	// Dir is the folder of the file; relative paths start there.
	Dir string `toml:"-"`
	// File is its name, for rules and errors.
	File string `toml:"-"`
}

// Limits is the section [limits]. A zero means the default that is named.
type Limits struct {
	// Limits per source address. false for load tests, or when a balancer in
	// front hides the addresses. Default true.
	PerSource *bool `toml:"per_source"`
	// Overload control: when work has to wait because more comes than can be
	// done, those who send most are refused with 503 before others feel it. false
	// for tests that want to see everything delivered late rather than refused.
	// Default true.
	Overload *bool `toml:"overload"`
	// Connections that partners may hold open together. Default 16,000, or
	// what the limit on open files leaves. One peer may have a quarter, and so
	// may all together that are no partners, unless per_source is false.
	Connections int `toml:"connections"`
	// Connections that users outside may hold open together. Three quarters of them
	// may be of those who have not signed in; the rest is for those who have, and for
	// addresses from which somebody has before. Default: what the limit on open files
	// leaves.
	RemoteConnections int `toml:"remote_connections"`
	// Time for a user outside to sign in on a connection, and to sign in again after
	// the registration has ended. Default 60s.
	SignInTimeout time.Duration `toml:"sign_in_timeout"`
	// How often clients outside are told to show that their connection lives
	// (Flow-Timer, RFC 5626), if they know how. One that keeps silent for longer is
	// closed. Default 180s.
	FlowTimer time.Duration `toml:"flow_timer"`
	// Handshakes going on at once. A quarter is kept for addresses from which somebody
	// has proved who he is. Default 2048.
	Handshakes int `toml:"handshakes"`
	// Time for a handshake. Default 5s.
	HandshakeTimeout time.Duration `toml:"handshake_timeout"`
	// Time from the first octet of a message to its last. Default 10s.
	MessageTimeout time.Duration `toml:"message_timeout"`
	// Time without any octet after which a connection is closed. Default 20m.
	IdleTimeout time.Duration `toml:"idle_timeout"`
	// Time that a peer may take to accept what we send. Default 10s.
	WriteTimeout time.Duration `toml:"write_timeout"`
	// Octets waiting to be sent on one connection. Default 4 MiB.
	Queue int `toml:"queue"`
	// Octets of a message's start line and header fields. Default 64 KiB.
	Header int `toml:"header"`
	// Octets of a message's body. Default 1 MiB.
	Body int `toml:"body"`
	// Time to finish what has begun when the edge is stopped. Default 3s.
	DrainTimeout time.Duration `toml:"drain_timeout"`
	// Header fields of a message. Default 256.
	Fields int `toml:"fields"`
	// Transactions that one connection of a partner may have open, and that
	// may wait for one partner. Default 5,000.
	Transactions int `toml:"transactions"`
	// Transactions of all connections together, of which one peer may have a
	// quarter. Default 200,000.
	TotalTransactions int `toml:"total_transactions"`
	// Octets of the requests that wait for an answer, of all connections
	// together. One peer may have a quarter. Default 512 MiB.
	Memory int `toml:"memory"`

	// Subscriptions that one partner may hold with our users, unless its entry
	// says otherwise; one that nobody listed has at most 100. Default 1,000.
	Subscriptions int `toml:"subscriptions"`

	Line int `toml:",line"`
}

// ListenerConfig is a section [listener.NAME].
type ListenerConfig struct {
	// Who comes here: "federation" (partners, mutual TLS), "internal" (our own
	// pools), "remote" (our users from outside, who sign in) or "outside" (partners and
	// users on one port: who shows a certificate that may be a partner's is one, all
	// others are users).
	Role string `toml:"role"`
	// Address and port to listen on: "203.0.113.10:5061", "[2001:db8::1]:5061".
	Address string `toml:"address"`
	// "tls" (default); "tcp" on an internal listener. For users: "tls", "wss" (SIP by
	// WebSocket, RFC 7118, and nothing else) or "tls+wss" (both on one port).
	Transport string `toml:"transport"`
	// With WebSocket: the web pages that may connect, by scheme, host and port,
	// such as "https://app.example.com". Compared exactly; "*" is any page.
	// Default: pages from the listener's own host.
	Origins []string `toml:"origins"`
	// With WebSocket: true lets clients in that name no origin, as those that are
	// no browsers may do. Default false.
	WithoutOrigin bool `toml:"without_origin"`
	// The certificate shown, by its name in [certificate.NAME].
	Certificate string `toml:"certificate"`
	// Who may have signed the peers' certificates: "system" or a PEM file.
	// Default "system" for partners; no default inside. Not for role "remote".
	PeerCA string `toml:"peer_ca"`
	// Role "remote": who must have signed the certificates of users' devices, a PEM
	// file or "system". Without it they need none. Default none.
	ClientCA string `toml:"client_ca"`
	// A CRL file (PEM or DER) of that authority, or of client_ca. Default none.
	PeerCRL string `toml:"peer_crl"`
	// Internal listeners: names that may connect, or with plain TCP addresses.
	// Default: the pools' peer names; with plain TCP there is no default.
	Peers []string `toml:"peers"`
	// Host and port that Via and Record-Route show for this listener, where
	// peers reach it under another name or port. Default: name and the port
	// of address.
	Advertise string `toml:"advertise"`

	Line int `toml:",line"`
}

// PoolConfig is a section [pool.NAME]: the home servers of some of our domains.
type PoolConfig struct {
	// The domains that live there.
	Domains []string `toml:"domains"`
	// Servers in order of preference, "host:port" each. Requests go to the
	// first that is healthy, unless spread is set.
	Servers []string `toml:"servers"`
	// "tls" (default) or "tcp".
	Transport string `toml:"transport"`
	// What the servers' certificates must prove. Default: the host of each
	// address.
	PeerName string `toml:"peer_name"`
	// Our certificate towards the pool. Default: that of the internal listener.
	Certificate string `toml:"certificate"`
	// Whom we trust towards the pool: "system" or a PEM file. Default: peer_ca
	// of the internal listener.
	CA string `toml:"ca"`
	// With plain TCP: the addresses that may connect as this pool.
	Peers []string `toml:"peers"`
	// true: spread dialogs and requests over all healthy servers. false
	// (default): the first healthy one takes them all.
	Spread bool `toml:"spread"`
	// "msft": the servers are Microsoft's (Live Communications Server to Skype
	// for Business) and are told about partners in the headers that they know.
	// Default "": they are told by P-Asserted-Identity who is verified
	// (RFC 3325), and nothing else.
	Profile     string `toml:"profile"`
	ProfileLine int    `toml:"profile,line"`
	// REGISTERs a second that the pool gets from users outside, at most; others wait
	// for their turn, up to 10 s. For home servers that a crowd coming back would
	// bring down. Default 0: as many as come.
	RegisterRate float64 `toml:"register_rate"`
	// A header by which the pool is told where a request comes from: "NAME: yes" is from
	// a user of ours outside, "NAME: no" from anybody else outside. Nobody else can set
	// it. Default none; with profile = "msft" the dialect's own headers say it.
	RemoteHeader     string `toml:"remote_header"`
	RemoteHeaderLine int    `toml:"remote_header,line"`
	// Time between two health checks (OPTIONS) of a server. Default 1.5s.
	CheckInterval time.Duration `toml:"check_interval"`

	Line int `toml:",line"`
}

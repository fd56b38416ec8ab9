package federation

// File is partners.toml: our partners, and who is blocked. It is read again
// when it changes and on SIGHUP. A domain that is nowhere in it gets what
// unlisted says; a domain matches exactly, a subdomain is someone else.
type File struct {
	// What goes for all of federation.
	Federation Section `toml:"federation"`
	// Our partners, by domain: [partner."fabrikam.example"].
	Partners map[string]PartnerConfig `toml:"partner"`
	// Domains that are refused whatever else is written, by name:
	// [blocked."spam.example"].
	Blocked map[string]BlockedConfig `toml:"blocked"`

	// File is its name, for rules and errors.
	File string `toml:"-"`
}

// Section is the section [federation].
type Section struct {
	// What happens to domains that are not listed: "refuse" (default).
	Unlisted string `toml:"unlisted"`

	UnlistedLine int `toml:"unlisted,line"`
	Line         int `toml:",line"`
}

// PartnerConfig is a section [partner."DOMAIN"]. Empty, it allows the domain in
// both directions with all methods, and finds its edge by DNS SRV.
type PartnerConfig struct {
	// The partner's edge servers, "host:port" each, in order of preference. They
	// speak for the domain, whatever domain their certificates name. Port 5061
	// if none is written. Default: found by DNS SRV, and the certificates must
	// name the domain.
	Servers []string `toml:"servers"`
	// The name that the certificates of servers must prove. Default: the host
	// of each address.
	PeerName string `toml:"peer_name"`
	// Methods that may pass, as they are on the wire. INVITE brings ACK, CANCEL,
	// BYE, PRACK and UPDATE along. Default: all.
	Methods []string `toml:"methods"`
	// Who may begin: "both" (default), "in" (the partner), "out" (we).
	Direction string `toml:"direction"`
	// What extended key usage the partner's certificates must have:
	// "federation" (default) takes one for servers also where the partner is the
	// client, because public authorities issue no other; "strict" wants the
	// usage of the side that the partner is on; "server" always wants that of
	// servers.
	PeerUsage string `toml:"peer_usage"`
	// true: a name like *.fabrikam.example on the certificate counts for one
	// label. Default false, as RFC 5922 §7.2 says.
	AllowWildcard bool `toml:"allow_wildcard"`
	// true: on a certificate without any SAN that names a domain or host, the
	// common name counts. Default false.
	AllowCN bool `toml:"allow_cn"`

	Line int `toml:",line"`
}

// BlockedConfig is a section [blocked."DOMAIN"].
type BlockedConfig struct {
	// Why, for those who read it later.
	Because string `toml:"because"`

	Line int `toml:",line"`
}

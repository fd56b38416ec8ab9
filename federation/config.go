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
	// What happens to domains that are not listed. "refuse" (default): closed
	// federation. "discover": open federation; who proves by certificate and DNS
	// SRV which domain it is may talk, within the limits below, always marked as
	// unverified. "upstream": the clearing house answers for all of them.
	Unlisted string `toml:"unlisted"`
	// The edge servers of a clearing house, "host:port" each, in order of
	// preference, like ["edge.clearing.example:5061"]. Partners without servers of
	// their own are sent there, not looked up by DNS SRV, and its certificate may
	// speak for them. It cannot be had together with unlisted = "discover".
	// Default: none.
	Upstream []string `toml:"upstream"`
	// The name that the certificates of the clearing house must prove, like
	// "edge.clearing.example". Default: the host of each address in upstream.
	UpstreamName string `toml:"upstream_name"`
	// How many requests a second one discovered partner may send. Default 20.
	DiscoveredRate float64 `toml:"discovered_rate,positive"`
	// How many requests a second it may send while too many of its requests
	// fail. Default 1.
	SuspiciousRate float64 `toml:"suspicious_rate,positive"`
	// How many different addresses of ours it may ask for, whether they exist or
	// not, before it is watched and refused until somebody decides. Default 1000.
	DiscoveredAddresses int `toml:"discovered_addresses,positive"`

	UnlistedLine int `toml:"unlisted,line"`
	UpstreamLine int `toml:"upstream,line"`
	Line         int `toml:",line"`
}

// PartnerConfig is a section [partner."DOMAIN"]. Empty, it allows the domain in
// both directions with all methods, and finds its edge by DNS SRV.
type PartnerConfig struct {
	// The partner's edge servers, "host:port" each, in order of preference. They
	// speak for the domain, whatever domain their certificates name. Port 5061
	// if none is written. Default: upstream in [federation] if there is one, else
	// found by DNS SRV, and the certificates must name the domain.
	Servers []string `toml:"servers" json:"servers,omitzero"`
	// The name that the certificates of servers must prove. Default: the host
	// of each address.
	PeerName string `toml:"peer_name" json:"peer_name,omitzero"`
	// By which network the partner is reached, both ways: "sip", or the name of a
	// bridge, "xmpp". "any" (default): by SIP; where DNS names no SIP edge for the
	// domain, by a bridge. Servers, upstream and pins are for SIP alone, so with one
	// of them it is "sip". What else the entry says holds for each network.
	Network string `toml:"network" json:"network,omitzero"`
	// What a host must be that DNS SRV names for the domain: "in_domain"
	// (default), the domain itself or a host in it, unless its certificate names
	// the domain; "any", wherever it lies. With "any", who can forge the
	// domain's DNS answers can speak for it.
	SRVTarget string `toml:"srv_target" json:"srv_target,omitzero"`
	// Methods that may pass, as they are on the wire, like ["MESSAGE"]. INVITE
	// brings ACK, CANCEL, BYE, PRACK and UPDATE along; SUBSCRIBE and REFER bring
	// NOTIFY and BENOTIFY along, within what they began. Default: all, but a
	// REGISTER from outside.
	Methods []string `toml:"methods" json:"methods,omitzero"`
	// What may pass: "im" (messages and chats), "presence" (who is there),
	// "calls" (audio, video, sharing), "files", like ["im", "presence"]. What is
	// none of the four does not pass then, but for what ends or confirms what
	// has begun. Default: everything.
	Kinds []string `toml:"kinds" json:"kinds,omitzero"`
	// Who may begin: "both" (default), "in" (the partner), "out" (we).
	Direction string `toml:"direction" json:"direction,omitzero"`
	// Users on our side that the partner may reach, and that may reach it:
	// "alice@example.com", "sales-*@example.com" (* stands for any characters, also
	// none), "*@example.com", or "bob" for that user in any domain of ours. Upper
	// and lower case are equal, and so are +1-555-0100 and +15550100. A star itself
	// is written %2A, and a blank %20. Up to 256 with a star, others without end. It is
	// asked where something begins, not within a dialog. Default: everybody.
	Users []string `toml:"users" json:"users,omitzero"`
	// The same for users on the partner's side, like ["helpdesk", "ops-*"].
	// Default: everybody.
	TheirUsers []string `toml:"their_users" json:"their_users,omitzero"`
	// true: the partner may also ask for telephone numbers on our side, or refer a
	// user of ours to one, which our home server may turn into calls that cost
	// money. A number is what says user=phone, or begins with +. Default false.
	PhoneNumbers bool `toml:"phone_numbers" json:"phone_numbers,omitzero"`
	// The largest message, in octets with all its headers, like 65536. Default:
	// what [limits] allows.
	MaxMessage int `toml:"max_message,positive" json:"max_message,omitzero"`
	// The largest body of a message, in octets, like 16384. Default: what [limits]
	// allows.
	MaxBody int `toml:"max_body,positive" json:"max_body,omitzero"`
	// How many requests a second the partner may send, like 50 or 0.5. Default: as
	// many as it likes.
	Rate float64 `toml:"rate,positive" json:"rate,omitzero"`
	// How many subscriptions there may be with the partner at a time. Default:
	// subscriptions in [limits].
	Subscriptions int `toml:"subscriptions,positive" json:"subscriptions,omitzero"`
	// The keys that the partner's certificates may have, beside all else that is
	// asked of them: "sha256/" and the SHA-256 of the public key
	// (SubjectPublicKeyInfo) in base64, as in
	// ["sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]. Name the next key,
	// too, before it is used. Default: any key.
	Pins []string `toml:"pins" json:"pins,omitzero"`
	// Whether our users see the partner's users as verified: "source" (default),
	// if the partner's edge says so; "always"; "never".
	Verification string `toml:"verification" json:"verification,omitzero"`
	// What a request is to which the partner's edge has given no mark, with
	// verification = "source": "unverified" (default) or "refuse".
	Unmarked string `toml:"unmarked" json:"unmarked,omitzero"`
	// What extended key usage the partner's certificates must have:
	// "federation" (default) takes one for servers also where the partner is the
	// client, because public authorities issue no other; "strict" wants the
	// usage of the side that the partner is on; "server" always wants that of
	// servers.
	PeerUsage string `toml:"peer_usage" json:"peer_usage,omitzero"`
	// true: a name like *.fabrikam.example on the certificate counts for one
	// label. Default false, as RFC 5922 §7.2 says.
	AllowWildcard bool `toml:"allow_wildcard" json:"allow_wildcard,omitzero"`
	// true: on a certificate without any SAN that names a domain or host, the
	// common name counts. Default false.
	AllowCN bool `toml:"allow_cn" json:"allow_cn,omitzero"`
	// The last day on which the entry counts, without quotes, like 2026-12-31. It
	// ends at midnight UTC after that day; then the partner is refused, also
	// where unlisted domains are not. Default: no end.
	Until Date `toml:"until" json:"until,omitzero"`
	// Who answers for the entry, for those who read it later.
	Owner string `toml:"owner" json:"owner,omitzero"`
	// Where it was asked for, like "CHG-1234".
	Ticket string `toml:"ticket" json:"ticket,omitzero"`
	// What else they should know.
	Note string `toml:"note" json:"note,omitzero"`

	Line int `toml:",line" json:"-"`
}

// BlockedConfig is a section [blocked."DOMAIN"].
type BlockedConfig struct {
	// Why, for those who read it later.
	Because string `toml:"because"`

	Line int `toml:",line"`
}

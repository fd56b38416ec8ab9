package bridges

// File is bridges.toml: which of our users may use public networks, which way, and
// who has an account of his own on one. It is read again when it changes and on
// SIGHUP. Without the file nobody may but whom somebody allows by command.
//
// What goes for a user is looked for key by key: in the section that names the
// user, then in those whose pattern takes the user (first the one that names most
// of it, then the first of the file), then in [default]. What administrators decide
// by command counts before patterns and [default]; a section that names the user
// counts before that.
type File struct {
	// What goes for users that nothing else is said about. Default: nobody may.
	Default Rules `toml:"default"`
	// Users, by address or pattern: [user."alice@example.com"],
	// [user."sales-*@example.com"] (* stands for any characters, also none), or
	// [user.bob] for that user in any domain of ours. Upper and lower case are
	// equal. A star itself is written %2A. Up to 256 with a star, others without end.
	Users map[string]UserConfig `toml:"user"`
	// Accounts that users of ours have on servers of a public network, by the user's
	// address: [account."alice@example.com"]. The edge holds a session there for each.
	Accounts map[string]AccountConfig `toml:"account"`

	// File is its name, for rules and errors.
	File string `toml:"-"`
	// Absent: there is no such file.
	Absent bool `toml:"-"`
	// Dir is its folder; relative paths start there.
	Dir string `toml:"-"`
}

// Rules is what every section may say of its users. A key that is left out leaves
// the question to the next section that takes the user.
type Rules struct {
	// The networks from which the users may be written to, called on and watched, like
	// ["xmpp"]; [] is none. Default of [default]: none.
	Inbound []string `toml:"inbound"`
	// The networks to which the users may write, and whose users they may watch, like
	// ["xmpp"]; [] is none. What answers somebody who wrote first needs it, too.
	// Default of [default]: none.
	Outbound []string `toml:"outbound"`

	Line int `toml:",line"`
}

// UserConfig is a section [user."ADDRESS"].
type UserConfig struct {
	// What others should know.
	Note string `toml:"note"`

	Rules
}

// AccountConfig is a section [account."ADDRESS"].
type AccountConfig struct {
	// The network that the account is on: "xmpp".
	Network string `toml:"network"`
	// The address of the account, like "alice@jabber.example".
	JID string `toml:"jid"`
	// The file with its password, readable for the edge's user alone (mode 0600).
	PasswordFile string `toml:"password_file"`
	// The server to connect to, "host:port", if DNS does not say it. Default: by DNS.
	Server string `toml:"server"`
	// The SASL mechanism to sign in with, if the server offers one that it cannot do,
	// like "SCRAM-SHA-1". Default: the best that both know.
	Mechanism string `toml:"mechanism"`
	// What others should know.
	Note string `toml:"note"`

	Line int `toml:",line"`
}

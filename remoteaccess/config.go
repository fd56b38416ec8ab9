package remoteaccess

import "time"

// File is remote.toml: who of our own users may sign in from outside. It is read
// again when it changes and on SIGHUP. Without the file nobody may but whom
// somebody allows by command.
//
// What goes for a user is looked for key by key: in the section that names the
// user, then in those whose pattern takes the user (first the one that names most
// of it, then the first of the file), then in the groups that the user is in, in
// their order, then in [default]. What administrators decide by command counts
// before patterns, groups and [default]; a section that names the user counts before
// that. A user called anonymous, and one in anonymous.invalid, never may.
type File struct {
	// What goes for users that nothing else is said about.
	Default Rules `toml:"default"`
	// The directory that knows who is in which group.
	LDAP LDAPConfig `toml:"ldap"`
	// Groups of users, by a name of your choice: [group.sales].
	Groups map[string]GroupConfig `toml:"group"`
	// Users, by address or pattern: [user."alice@example.com"],
	// [user."sales-*@example.com"] (* stands for any characters, also none), or
	// [user.bob] for that user in any domain of ours. Upper and lower case are
	// equal. A star itself is written %2A, and a blank %20. Up to 256 with a star,
	// others without end.
	Users map[string]UserConfig `toml:"user"`
	// What is done about those who guess passwords.
	Guard GuardConfig `toml:"guard"`

	// File is its name, for rules and errors.
	File string `toml:"-"`
	// Absent: there is no such file.
	Absent bool `toml:"-"`
}

// Rules is what every section may say of its users. A key that is left out leaves
// the question to the next section that takes the user.
type Rules struct {
	// Whether they may sign in from outside. Default of [default]: false.
	Allow *bool `toml:"allow"`
	// What they may send and be sent: "im" (messages and chats), "presence" (who is
	// there), "calls" (audio, video, sharing), "files", like ["im", "presence"]. What
	// is none of the four does not pass then, but for what ends or confirms what has
	// begun. Default of [default]: everything.
	Kinds []string `toml:"kinds"`
	// Whether they may write to partners, and be written to by them, while they are
	// outside. Default of [default]: true.
	Federation *bool `toml:"federation"`
	// The same for users of public networks that a bridge leads to. Default of
	// [default]: true.
	Bridges *bool `toml:"bridges"`
	// How many devices one user may have signed in at a time, 1 to 64. Default of
	// [default]: 8.
	Devices int `toml:"devices,positive"`

	Line int `toml:",line"`
}

// GroupConfig is a section [group.NAME]. Who is in the group is said by dn,
// members, or both.
type GroupConfig struct {
	// The group in the directory, like "cn=sales,ou=groups,dc=example,dc=com". It needs
	// [ldap].
	DN string `toml:"dn"`
	// Users of the group, as [user] names them, like ["alice@example.com", "sales-*"].
	Members []string `toml:"members"`
	// What else others should know.
	Note string `toml:"note"`

	Rules
}

// UserConfig is a section [user."ADDRESS"].
type UserConfig struct {
	// What others should know.
	Note string `toml:"note"`

	Rules
}

// LDAPConfig is the section [ldap]. While the directory does not answer, users
// whom it has known within the last 30 days stay what they were, and others may not
// sign in where a group would have to be asked.
type LDAPConfig struct {
	// Where the directory is: "ldaps://dc.example.com", or "ldap://dc.example.com" with
	// starttls. Port 636 or 389 if none is written.
	URL string `toml:"url"`
	// true: begin in the clear and change to TLS before anything is said. For
	// ldap:// only. Default false.
	StartTLS bool `toml:"starttls"`
	// true: no TLS. The password, and who is in which group, can then be read and
	// changed by whoever is on the way. Default false.
	Plain bool `toml:"plain"`
	// The authorities that may have signed the directory's certificate: a PEM file, or
	// "system" (default).
	CA string `toml:"ca"`
	// Who we are to the directory, like "cn=sipedge,ou=services,dc=example,dc=com". It
	// need only read. Default: nobody (an anonymous bind).
	BindDN string `toml:"bind_dn"`
	// The file with its password, readable for the edge's user alone (mode 0600).
	PasswordFile string `toml:"password_file"`
	// Where users are looked for, like "dc=example,dc=com".
	Base string `toml:"base"`
	// How a user is found. {address}, {user} and {domain} are replaced. It must find
	// one entry at most. Default "(|(mail={address})(userPrincipalName={address}))".
	Filter string `toml:"filter"`
	// The attribute of a user that names the groups. Default "memberOf".
	Attribute string `toml:"attribute"`
	// How the groups of a user are found in a directory whose users do not name
	// them, like "(member={dn})", or "(memberUid={user})" for those that list names.
	// {dn} is the user's entry. Default: not; attribute says it.
	GroupFilter string `toml:"group_filter"`
	// Where groups are looked for. Default: base.
	GroupBase string `toml:"group_base"`
	// true: groups in groups count, as Active Directory can tell (its rule
	// 1.2.840.113556.1.4.1941). It stands for a group_filter. Default false.
	Nested bool `toml:"nested"`
	// For how long what the directory says is believed without asking again. Default
	// "10m".
	Cache time.Duration `toml:"cache,positive"`
	// How long it may take to answer. Default "3s".
	Timeout time.Duration `toml:"timeout,positive"`

	Line int `toml:",line"`
}

package allowlists

import "strings"

// Kinds is a set of what a request is about, as people see it. The empty set is
// nothing that any of them is.
type Kinds uint8

// The kinds.
const (
	KindIM       Kinds = 1 << iota // instant messages and their typing and receipts
	KindPresence                   // who is there, and lists of contacts
	KindCalls                      // audio, video, sharing of screens
	KindFiles                      // transfer of files
	KindOther                      // what is none of these, as a method that nobody knows
)

// kindNames are the words of the lists, in the order of the bits.
var kindNames = [...]string{"im", "presence", "calls", "files", "other"}

// ParseKind returns the kind with a name; "other" cannot be listed.
func ParseKind(name string) (Kinds, bool) {
	for i, n := range kindNames[:len(kindNames)-1] {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// String returns the names, with a plus between them.
func (k Kinds) String() string {
	var names []string
	for i, n := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, "+")
}

// kindsBy are the kinds that requests of a method may carry; a method that is
// not here carries what no list can name, or nothing.
var kindsBy = map[string]Kinds{
	"MESSAGE":   KindIM | KindFiles | KindPresence,
	"INVITE":    KindIM | KindCalls | KindFiles,
	"SUBSCRIBE": KindPresence | KindCalls,
	"NOTIFY":    KindPresence | KindCalls,
	"BENOTIFY":  KindPresence | KindCalls,
	"PUBLISH":   KindPresence | KindCalls,
	"SERVICE":   KindPresence,
	"REFER":     KindCalls,
}

// bare are the methods that pass whatever kinds are listed, since what they
// belong to was asked.
var bare = []string{"ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INFO", "OPTIONS"}

package admin

import (
	"errors"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

// userName is a user's name, for the log and for lists.
func userName(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil || u.Username == "" || len(u.Username) > 64 || strings.ContainsFunc(u.Username, unprintable) {
		return "uid " + strconv.Itoa(uid)
	}
	return u.Username
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// refusesConnections reports whether nobody listens on a socket that is there.
func refusesConnections(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

package remoteaccess

import (
	"strings"
	"testing"
)

func TestADirectoryIsExaminedAsItIsAsked(t *testing.T) {
	s := newSlapd(t)
	s.write("wrong", []byte("wrong"))
	for _, tt := range []struct {
		name      string
		change    func(*LDAPConfig)
		connected bool
		want      string // in the error; "": none
	}{
		{"as it should be", func(*LDAPConfig) {}, true, ""},
		{"with TLS", func(l *LDAPConfig) { l.URL, l.Plain, l.CA = "ldaps://"+s.secured, false, "ca.pem" }, true, ""},
		{"with an authority that we do not have", func(l *LDAPConfig) { l.URL, l.Plain, l.CA = "ldaps://"+s.secured, false, "system" }, false, "certificate"},
		{"with a wrong password", func(l *LDAPConfig) { l.PasswordFile = "wrong" }, false, "bind as"},
		{"with a base that is not there", func(l *LDAPConfig) { l.Base = "dc=elsewhere,dc=example,dc=com" }, true, "look for dc=elsewhere"},
		{"with a file that is not there", func(l *LDAPConfig) { l.PasswordFile = "absent" }, false, "password_file"},
		{"where nobody answers", func(l *LDAPConfig) { l.URL = "ldap://" + freePort(t) }, false, "refused"},
	} {
		l := s.plain()
		tt.change(&l)
		x, err := Examine(t.Context(), l, s.path)
		if x.Connected != tt.connected || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v; want %v and %q", tt.name, x, err, tt.connected, tt.want)
		}
	}
}

package settings

import (
	"maps"
	"slices"
)

// synonyms are words of other programs for keys of ours.
var synonyms = map[string][]string{
	"addr": {"address"}, "bind": {"address"}, "listen": {"address"}, "port": {"address"}, "host": {"address", "servers"},
	"server": {"servers"}, "target": {"servers"}, "targets": {"servers"}, "hosts": {"servers"}, "nameservers": {"servers"},
	"certs": {"certificate", "cert"}, "tls": {"certificate"}, "certfile": {"cert"}, "keyfile": {"key"},
	"client_ca": {"peer_ca"}, "ca_file": {"peer_ca", "ca"}, "crl": {"peer_crl"}, "hostname": {"name"}, "fqdn": {"name", "peer_name"},
	"domain": {"domains", "domain"}, "reason": {"because"}, "comment": {"because"}, "allow": {"partner"}, "deny": {"blocked"},
	"block": {"blocked"}, "kind": {"role"}, "type": {"role"}, "protocol": {"transport"}, "proto": {"transport"}, "resolvers": {"dns"},
}

// suggest finds the key that name was meant to be, or "".
func suggest[T any](name string, keys map[string]T) string {
	for _, meant := range synonyms[name] {
		if _, ok := keys[meant]; ok {
			return meant
		}
	}
	best, least := "", max(1, len(name)/3)+1
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if n := distance(name, k, least); n < least {
			best, least = k, n
		}
	}
	return best
}

// distance returns how many letters must be added, removed or changed to make b
// of a, or limit if the lengths say already that it is as many.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

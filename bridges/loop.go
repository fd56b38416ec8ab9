package bridges

import (
	"strconv"
	"strings"
)

// LoopMark is the header field that says through which bridges a request has
// come: "Sipedge-Bridge: xmpp;hops=1". The Endpoint writes it into every request
// that it hands in, and reads it of every one that it is given.
//
// Max-Forwards counts home servers and edges, but no foreign network carries it. A
// home server that forwards a call or a message from one foreign contact to
// another brings the mark back to a bridge, one higher each time, so that
// two contacts forwarded to each other end at [MaxHops] and not never. It is a
// brake and no proof: whoever stands inside may write or remove it, which harms
// nobody's requests but his own. What has left by a foreign network and comes back
// through it as something new does not carry it; against that stands the rule
// that no bridge serves an address of another one.
const LoopMark = "Sipedge-Bridge"

// MaxHops is how many bridges a request may have passed before a bridge refuses
// it, with 482.
const MaxHops = 3

// appendMark appends the whole line for a request that the bridge called name
// hands in.
func appendMark(dst []byte, name string, hops int) []byte {
	dst = append(append(append(dst, LoopMark+": "...), name...), ";hops="...)
	return append(strconv.AppendInt(dst, int64(hops)+1, 10), "\r\n"...)
}

// hops reads the mark of a request that came, 0 if it has none. One that
// nobody can read counts as the last allowed: a loop that garbles marks must end.
func hops(value string) int {
	_, params, _ := strings.Cut(value, ";")
	for param := range strings.SplitSeq(params, ";") {
		name, number, ok := strings.Cut(param, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "hops") {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 8); err == nil {
			return int(n)
		}
		break
	}
	return MaxHops
}

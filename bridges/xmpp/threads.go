package xmpp

import "time"

const (
	maxThreads  = 65_536
	maxThread   = 512 // octets; a longer one names nothing that anybody would look up
	keepThreads = 7 * 24 * time.Hour
)

// threads keeps thread and Call-ID together (RFC 7572 §4, §5). From SIP, the thread is
// the Call-ID. The other way a thread can be anything; if it can be a Call-ID that
// nobody else has, it becomes one, else there is a Call-ID for it that we make.
type threads struct {
	ids *idMaker
	// owners says whose a Call-ID is that came from a thread, or went out as one.
	owners *memory[string, ends]
	// callIDs are those that we made, names their threads.
	callIDs *memory[threadKey, string]
	names   *memory[threadKey, string]
}

// A threadKey is a thread or a Call-ID between two.
type threadKey struct {
	pair ends
	id   string
}

func newThreads(ids *idMaker) *threads {
	return &threads{
		ids:     ids,
		owners:  newMemory[string, ends](maxThreads, keepThreads),
		callIDs: newMemory[threadKey, string](maxThreads, keepThreads),
		names:   newMemory[threadKey, string](maxThreads, keepThreads),
	}
}

// toXMPP returns the thread for a Call-ID; "" if there is none.
func (t *threads) toXMPP(who ends, callID string) string {
	if len(callID) > maxThread || who.areLong() {
		return "" // nothing would be found on the way back
	}
	if name, ok := t.names.get(threadKey{who, callID}); ok {
		return name
	}
	t.owners.put(callID, who)
	return callID
}

// toSIP returns the Call-ID for a thread; "" if there is none, and the message begins
// a new one.
func (t *threads) toSIP(who ends, thread string) string {
	if thread == "" || len(thread) > maxThread || who.areLong() {
		return ""
	}
	if id, ok := t.callIDs.get(threadKey{who, thread}); ok {
		return id
	}
	if isCallID(thread) {
		if owner, ok := t.owners.get(thread); ok && owner == who || !ok && t.owners.add(thread, who) {
			return thread
		}
	}
	id := t.ids.next() + t.ids.next()
	t.callIDs.put(threadKey{who, thread}, id)
	t.names.put(threadKey{who, id}, thread)
	return id
}

// maxCallID bounds what becomes a Call-ID.
const maxCallID = 128

// isCallID reports whether s is word ["@" word] (RFC 3261 §25.1), and not so long that
// somebody could mind.
func isCallID(s string) bool {
	if len(s) > maxCallID {
		return false
	}
	word := 0
	at := false
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			word++
		case c == '@' && !at && word > 0:
			at, word = true, 0
		default:
			switch c {
			case '-', '.', '!', '%', '*', '_', '+', '`', '\'', '~', '(', ')', '<', '>', ':', '\\', '"', '/', '[', ']', '?', '{', '}':
				word++
			default:
				return false
			}
		}
	}
	return word > 0
}

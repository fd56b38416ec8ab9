package s2s

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// keys makes and knows dialback keys of our domains (XEP-0185 §2).
type keys struct{ secret []byte }

// newKeys takes the secret that all servers of our domains share.
func newKeys(secret []byte) keys {
	sum := sha256.Sum256(secret)
	// XEP-0185 §2: "the output of the SHA256 hashing algorithm MUST be provided in
	// the hexadecimal representation".
	return keys{[]byte(hex.EncodeToString(sum[:]))}
}

// of makes the key with which originating, ours, is to be believed on the stream
// with this id at receiving. It holds for these three and no others, so whoever is
// given one can do nothing with it elsewhere.
func (k keys) of(receiving, originating, id string) string {
	m := hmac.New(sha256.New, k.secret)
	m.Write([]byte(receiving + " " + originating + " " + id))
	return hex.EncodeToString(m.Sum(nil))
}

// valid reports whether a key is the one that we made, in constant time.
func (k keys) valid(key, receiving, originating, id string) bool {
	return hmac.Equal([]byte(strings.TrimSpace(key)), []byte(k.of(receiving, originating, id)))
}

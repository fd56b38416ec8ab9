package edge

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A token stands in the user part of our Record-Route URIs and says what a
// dialog is bound to: the party outside, the home servers, and the rest of the way
// inside. It is signed, so that it is worth something when it comes back in a
// Route, and the edge need not remember dialogs: a restarted edge, or another
// one with the same key, goes on.
//
//	kind 1 | key 1 | pool 4 | server 4 | flow 8 | routes 8 | target 8 | device 8 | name 8 | party n | MAC 12
//
// Where somebody is reached by a bridge, device says by which.
//
// It binds to identities and not to connections: a partner that reconnects goes
// on, as does a user who comes from another network; someone else does not. A
// partner's token has no device, and only that of a dialog with a user has a name.
//
// A token in our Path URI says which flow a user registered on (RFC 5626 §5.2). It
// is bound to that flow, and good for nothing but what the home servers send there.
type token struct {
	kind   tokenKind
	pool   uint32 // MAC over the pool's name
	server uint32 // MAC over the home server's address; 0: none in particular
	flow   uint64 // the connection that the dialog came on; used while it is open
	routes uint64 // MAC over Call-ID and the Route set inside; 0: not signed
	target uint64 // MAC over Call-ID and the Contact inside; 0: not signed
	device uint64 // MAC over what tells a user's devices apart, or over a bridge's name
	name   uint64 // MAC over Call-ID and the name that a user was called by; 0: his address
	party  []byte // a partner's domain, or a user's address of record
}

// A tokenKind says what a token is for. Each is good for that alone.
type tokenKind byte

const (
	tokenPartner tokenKind = 1 // a dialog with a partner
	tokenUser    tokenKind = 2 // a dialog with a remote user
	tokenPath    tokenKind = 3 // the way to a remote user
	tokenBridge  tokenKind = 4 // a dialog with somebody whom a bridge reaches
)

const (
	tokenFixed  = 1 + 1 + 4 + 4 + 8 + 8 + 8
	tokenDevice = 8
	tokenName   = 8
	tokenMAC    = 12
	// maxParty is the longest party: a domain's limit, which users keep, too.
	maxParty = 253
	// maxToken is the longest token.
	maxToken = (tokenFixed + tokenDevice + tokenName + maxParty + tokenMAC + 2) / 3 * 4
	// tokenMark begins a token, so that other Routes with our name are told
	// from forged ones.
	tokenMark = "e."
)

var errToken = errors.New("edge: token not signed by us")

var tokenText = base64.RawURLEncoding.Strict()

// A signer makes and opens tokens. It is safe for concurrent use.
type signer struct {
	ids  []byte // of the keys; the first signs, all verify
	macs []sync.Pool
	said []map[string]uint32 // what name says of those that are asked for all the time; by key
}

// newSigner uses the keys, 32 octets each: the newest first, and during a
// rotation the one before.
func newSigner(keys [][]byte) *signer {
	s := &signer{macs: make([]sync.Pool, len(keys))}
	for i, key := range keys {
		sum := sha256.Sum256(key)
		s.ids = append(s.ids, sum[0])
		s.macs[i].New = func() any { return hmac.New(sha256.New, key) }
	}
	return s
}

// sum appends the MAC of parts, made with key i. Each part is preceded by its
// length, so that moving octets from one to the next changes it.
func (s *signer) sum(dst []byte, i int, parts ...[]byte) []byte {
	h := s.macs[i].Get().(hash.Hash)
	h.Reset()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	var out [sha256.Size]byte
	dst = append(dst, h.Sum(out[:0])...)
	s.macs[i].Put(h)
	return dst
}

// digest is a MAC over parts in short; never 0.
func (s *signer) digest(i int, parts ...[]byte) uint64 {
	var out [sha256.Size]byte
	return binary.BigEndian.Uint64(s.sum(out[:0], i, parts...)) | 1
}

// name is how a token names a pool or a server: nobody outside can find out
// which it is by trying names. Never 0.
func (s *signer) name(i int, name string) uint32 {
	if i < len(s.said) {
		if n, ok := s.said[i][name]; ok {
			return n
		}
	}
	return s.named(i, name)
}

// learn makes name quick for these. It is called before others know the signer.
func (s *signer) learn(names []string) {
	for i := range s.ids {
		said := make(map[string]uint32, len(names))
		for _, name := range names {
			said[name] = s.named(i, name)
		}
		s.said = append(s.said, said)
	}
}

func (s *signer) named(i int, name string) uint32 {
	return uint32(s.digest(i, []byte("name"), []byte(name))>>32) | 1
}

// seal appends the text of k.
func (s *signer) seal(dst []byte, k *token) []byte {
	var raw [maxToken]byte
	b := append(raw[:0], byte(k.kind), s.ids[0])
	b = binary.BigEndian.AppendUint32(b, k.pool)
	b = binary.BigEndian.AppendUint32(b, k.server)
	b = binary.BigEndian.AppendUint64(b, k.flow)
	b = binary.BigEndian.AppendUint64(b, k.routes)
	b = binary.BigEndian.AppendUint64(b, k.target)
	if k.kind != tokenPartner {
		b = binary.BigEndian.AppendUint64(b, k.device)
	}
	if k.kind == tokenUser {
		b = binary.BigEndian.AppendUint64(b, k.name)
	}
	b = append(b, k.party...)
	var out [sha256.Size]byte
	b = append(b, s.sum(out[:0], 0, b)[:tokenMAC]...)
	return tokenText.AppendEncode(append(dst, tokenMark...), b)
}

// open reads the text of a token. key is the one that signed it.
func (s *signer) open(text []byte) (k token, key int, err error) {
	// The decoder passes over line ends; a token has one spelling only.
	if len(text) > len(tokenMark)+maxToken || bytes.ContainsAny(text, "\r\n") || !strings.HasPrefix(string(text), tokenMark) {
		return token{}, 0, errToken
	}
	b, err := tokenText.AppendDecode(nil, text[len(tokenMark):])
	if err != nil || len(b) < tokenFixed+tokenMAC {
		return token{}, 0, errToken
	}
	kind := tokenKind(b[0])
	least := tokenFixed + tokenMAC
	switch kind {
	case tokenPartner:
	case tokenUser:
		least += tokenDevice + tokenName
	case tokenPath, tokenBridge:
		least += tokenDevice
	default:
		return token{}, 0, errToken
	}
	if len(b) < least {
		return token{}, 0, errToken
	}
	signed, mac := b[:len(b)-tokenMAC], b[len(b)-tokenMAC:]
	for i, id := range s.ids {
		var out [sha256.Size]byte
		if id == b[1] && hmac.Equal(mac, s.sum(out[:0], i, signed)[:tokenMAC]) {
			return readToken(signed), i, nil
		}
	}
	return token{}, 0, errToken
}

func readToken(b []byte) token {
	k := token{
		kind:   tokenKind(b[0]),
		pool:   binary.BigEndian.Uint32(b[2:]),
		server: binary.BigEndian.Uint32(b[6:]),
		flow:   binary.BigEndian.Uint64(b[10:]),
		routes: binary.BigEndian.Uint64(b[18:]),
		target: binary.BigEndian.Uint64(b[26:]),
		party:  b[tokenFixed:],
	}
	if k.kind != tokenPartner {
		k.device, k.party = binary.BigEndian.Uint64(k.party), k.party[tokenDevice:]
	}
	if k.kind == tokenUser {
		k.name, k.party = binary.BigEndian.Uint64(k.party), k.party[tokenName:]
	}
	return k
}

// A keyFile is the folder with the file of the keys. It has one key a line in
// hex, the newest first; a second line is the key before, which is still
// believed.
type keyFile string

func (k keyFile) name() string { return filepath.Join(string(k), "token.keys") }

// read returns the keys. Without a file it returns a new one, which is nobody's
// until make has written it: looking at a configuration changes nothing.
func (k keyFile) read() ([][]byte, error) {
	file := k.name()
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return [][]byte{newKey()}, nil
	}
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for line := range strings.Lines(string(text)) {
		key, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("%s: line %d is not a key of 64 hex digits", file, len(keys)+1)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 || len(keys) > 2 {
		return nil, fmt.Errorf("%s holds %d keys, not one or two", file, len(keys))
	}
	return keys, nil
}

func newKey() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return key
}

// make writes the first key, unless there is a file already.
func (k keyFile) make() error {
	if _, err := os.Stat(k.name()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(string(k), 0o700); err != nil {
		return err
	}
	// A half-written key would end every dialog at the next start.
	temp := k.name() + ".new"
	if err := os.WriteFile(temp, []byte(hex.EncodeToString(newKey())+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, k.name())
}

package card

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/sipedge/sipedge/certs"
)

// header is the protected header of a card's JWS. Nothing else may stand in it:
// no key that is named elsewhere (jwk, jku, x5u, kid), no extension (crit).
type header struct {
	Alg string   `json:"alg"`
	Typ string   `json:"typ"`
	X5c [][]byte `json:"x5c"`
}

// errNoCard is about what cannot even be taken apart: mail may have done that.
var errNoCard = errors.New("it is no partner card, or one that was damaged on its way")

// Read reads a card and checks its signature, and that it and the certificate
// that signed it belong together. Whether anybody trusts that certificate, and
// whether the card is still good, is for the caller to find out.
func Read(data []byte) (*Signed, error) {
	text, err := unfold(data)
	if err != nil {
		return nil, err
	}
	chain, err := chainOf(text)
	if err != nil {
		return nil, err
	}
	payload, err := verify(text, chain[0])
	if err != nil {
		return nil, err
	}
	s := &Signed{Chain: chain}
	if err := decode(payload, &s.Card, true); err != nil {
		return nil, fmt.Errorf("what it says cannot be read: %w", err)
	}
	if err := s.Valid(); err != nil {
		return nil, err
	}
	if s.ID, err = certs.ReadIdentity(chain[0]); err != nil {
		return nil, fmt.Errorf("the certificate that signed it: %w", err)
	}
	if s.CA != nil {
		if s.Authority, err = x509.ParseCertificate(s.CA); err != nil {
			return nil, errors.New("what it brings as its authority is no certificate")
		}
	}
	if err := errors.Join(s.speaks(), s.leadsTo()); err != nil {
		return nil, err
	}
	return s, nil
}

// unfold takes the text of the card out of what is around it: mail programs
// put words before it, and line ends into it.
func unfold(data []byte) ([]byte, error) {
	if len(data) > MaxOctets {
		return nil, fmt.Errorf("it is larger than %d KiB", MaxOctets>>10)
	}
	if _, after, ok := bytes.Cut(data, []byte(begin)); ok {
		inside, _, ok := bytes.Cut(after, []byte(end))
		if !ok {
			return nil, errors.New("its end is missing")
		}
		data = inside
	}
	return bytes.Join(bytes.Fields(data), nil), nil
}

// chainOf reads the certificates of the header. Nothing is verified yet; only
// what must be known to verify it.
func chainOf(text []byte) ([]*x509.Certificate, error) {
	if bytes.Count(text, []byte(".")) != 2 {
		return nil, errNoCard
	}
	protected, _, _ := bytes.Cut(text, []byte("."))
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(protected))
	if err != nil {
		return nil, errNoCard
	}
	var h header
	if err := decode(raw, &h, false); err != nil {
		return nil, fmt.Errorf("its header cannot be read: %w", err)
	}
	switch {
	case h.Typ != mediaType:
		return nil, errors.New("it is signed, and no partner card")
	case !slices.Contains(algorithms, jose.SignatureAlgorithm(h.Alg)):
		return nil, fmt.Errorf("it is signed with %q, which does not count", clip(h.Alg))
	case len(h.X5c) == 0 || len(h.X5c) > maxChain:
		return nil, fmt.Errorf("it brings %d certificates, and one to %d are wanted", len(h.X5c), maxChain)
	}
	var chain []*x509.Certificate
	for _, der := range h.X5c {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, errors.New("a certificate in it cannot be read")
		}
		chain = append(chain, c)
	}
	// The certificate says what kind of key it is, and the key which algorithm:
	// a card cannot have one key read as one of another kind.
	switch alg, err := algorithmOf(chain[0].PublicKey); {
	case err != nil:
		return nil, err
	case string(alg) != h.Alg:
		return nil, fmt.Errorf("it is signed with %s, which its key is not for", h.Alg)
	}
	return chain, nil
}

// verify checks the signature and returns what was signed.
func verify(text []byte, by *x509.Certificate) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(string(text), algorithms)
	if err != nil {
		return nil, errors.New("its signature cannot be read")
	}
	payload, err := jws.Verify(by.PublicKey)
	if err != nil {
		return nil, errors.New("its signature is wrong: it was changed, or somebody else wrote it")
	}
	return payload, nil
}

// decode reads JSON that is small, flat and alone. What a later version adds to
// the card is passed over, in the header nothing is.
func decode(data []byte, v any, lenient bool) error {
	if depth(data) > maxDepth {
		return errors.New("it is nested too deep")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if !lenient {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v); err != nil {
		return errors.New("it is not the JSON of a card") // the decoder's words quote it
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows it")
	}
	return nil
}

// depth is how deep objects and lists are nested, without reading them.
func depth(data []byte) (most int) {
	now, quoted, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}

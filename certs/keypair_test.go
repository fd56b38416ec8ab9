package certs

import (
	"encoding/pem"
	"strings"
	"testing"
)

func TestAnEncryptedKeyIsNamedAsSuch(t *testing.T) {
	for _, tt := range []struct {
		name  string
		block pem.Block
	}{
		{"PKCS #8", pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}},
		{"with a header", pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseKeypair(nil, pem.EncodeToMemory(&tt.block))
			if err == nil || !strings.Contains(err.Error(), "the key is encrypted") {
				t.Errorf("got %v, want an error that says that the key is encrypted", err)
			}
		})
	}
	if plain := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}); encrypted(plain) {
		t.Error("a plain key is said to be encrypted")
	}
}

package responses

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"strings"
)

// sealPrefix begins every sealed text and names its format.
const sealPrefix = "chorale1."

// A seal closes reasoning for a client that keeps it without reading it (reasoning.encrypted_content), and opens what
// it has closed. It is AES-256-GCM with a random nonce: what opens is what this server wrote, byte for byte. It is not
// bound to an item or a response, since clients send reasoning back without ids.
type seal struct {
	aead   cipher.AEAD
	random func([]byte)
}

func newSeal(key []byte, random func([]byte)) (*seal, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("the key of encrypted reasoning has %d bytes, want 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &seal{aead, random}, err
}

func (s *seal) close(text string) string {
	nonce := make([]byte, s.aead.NonceSize())
	s.random(nonce)
	sealed := s.aead.Seal(nonce, nonce, []byte(text), []byte(sealPrefix))
	return sealPrefix + base64.RawURLEncoding.EncodeToString(sealed)
}

// open returns the text, and false for anything that this key has not closed: another server's, damaged or forged.
func (s *seal) open(sealed string) (string, bool) {
	encoded, ours := strings.CutPrefix(sealed, sealPrefix)
	data, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ours || err != nil || len(data) < s.aead.NonceSize() {
		return "", false
	}
	n := s.aead.NonceSize()
	text, err := s.aead.Open(nil, data[:n], data[n:], []byte(sealPrefix))
	return string(text), err == nil
}

package kit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"chorale/plugins"
)

// SignatureSuffix is what the name of a signature's file has behind that of the file.
const SignatureSuffix = ".minisig"

// The parts of minisign's files.
const (
	algorithmPlain  = "Ed" // of keys, and of old signatures
	algorithmHashed = "ED"
	keyIDBytes      = 8
	comment         = "untrusted comment: "
	trustedComment  = "trusted comment: "
	secretComment   = "chorale plugin secret key"
)

// A PublicKey verifies signatures.
type PublicKey struct {
	id  [keyIDBytes]byte
	key ed25519.PublicKey
}

// A SecretKey makes signatures. Its file is not minisign's, since there is no password: keep it where only you can read.
type SecretKey struct {
	id  [keyIDBytes]byte
	key ed25519.PrivateKey
}

// GenerateKey returns a new key.
func GenerateKey() (SecretKey, error) {
	var k SecretKey
	var err error
	if _, err = rand.Read(k.id[:]); err != nil {
		return k, err
	}
	_, k.key, err = ed25519.GenerateKey(nil)
	return k, err
}

// Public is the key that verifies what k signs.
func (k SecretKey) Public() PublicKey {
	return PublicKey{k.id, k.key.Public().(ed25519.PublicKey)}
}

// String is the line of minisign's public keys: base64 of "Ed", the key's id and the key.
func (k PublicKey) String() string {
	return base64.StdEncoding.EncodeToString(append(append([]byte(algorithmPlain), k.id[:]...), k.key...))
}

// File is the content of minisign's files of public keys.
func (k PublicKey) File() []byte {
	return fmt.Appendf(nil, "%schorale plugin public key %X\n%s\n", comment, reversed(k.id), k)
}

// reversed is a key's id as people see it: a little-endian number.
func reversed(id [keyIDBytes]byte) []byte {
	r := make([]byte, 0, keyIDBytes)
	for i := range id {
		r = append(r, id[keyIDBytes-1-i])
	}
	return r
}

// ParsePublicKey reads a public key of minisign, the file or only its line.
func ParsePublicKey(p []byte) (PublicKey, error) {
	raw, err := decodeLine(lastLine(p), len(algorithmPlain)+keyIDBytes+ed25519.PublicKeySize, algorithmPlain)
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w", err)
	}
	return PublicKey{[keyIDBytes]byte(raw[2:]), ed25519.PublicKey(raw[2+keyIDBytes:])}, nil
}

// File is the content of the file of a secret key.
func (k SecretKey) File() []byte {
	raw := append(append([]byte(algorithmPlain), k.id[:]...), k.key.Seed()...)
	return fmt.Appendf(nil, "%s%s\n%s\n", comment, secretComment, base64.StdEncoding.EncodeToString(raw))
}

// ParseSecretKey reads what SecretKey.File wrote.
func ParseSecretKey(p []byte) (SecretKey, error) {
	if first, _, _ := strings.Cut(string(p), "\n"); strings.TrimSpace(first) != comment+secretComment {
		return SecretKey{}, fmt.Errorf("secret key: the file does not begin with %q; 'chorale plugin sign --new-key' makes one", comment+secretComment)
	}
	raw, err := decodeLine(lastLine(p), len(algorithmPlain)+keyIDBytes+ed25519.SeedSize, algorithmPlain)
	if err != nil {
		return SecretKey{}, fmt.Errorf("secret key: %w", err)
	}
	return SecretKey{[keyIDBytes]byte(raw[2:]), ed25519.NewKeyFromSeed(raw[2+keyIDBytes:])}, nil
}

func lastLine(p []byte) string {
	lines := strings.Split(strings.TrimSpace(string(p)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// decodeLine reads a base64 line that begins with one of the algorithms.
func decodeLine(line string, size int, algorithms ...string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		return nil, fmt.Errorf("the line %q is no base64", cut(line))
	}
	for _, a := range algorithms {
		if len(raw) == size && string(raw[:len(a)]) == a {
			return raw, nil
		}
	}
	return nil, fmt.Errorf("the line %q is no Ed25519 line of minisign", cut(line))
}

// Sign returns the content of the file of a signature of data. The comment is one line, and is signed as well.
func (k SecretKey) Sign(data []byte, about string) ([]byte, error) {
	if strings.ContainsAny(about, "\r\n") {
		return nil, errors.New("the comment of a signature is one line")
	}
	sum := blake2b512(data)
	signature := ed25519.Sign(k.key, sum[:])
	global := ed25519.Sign(k.key, append(bytes.Clone(signature), about...))
	line := append(append([]byte(algorithmHashed), k.id[:]...), signature...)
	return fmt.Appendf(nil, "%ssignature of a chorale plugin\n%s\n%s%s\n%s\n", comment, base64.StdEncoding.EncodeToString(line),
		trustedComment, about, base64.StdEncoding.EncodeToString(global)), nil
}

// Verify checks a signature of data and returns its signed comment.
func (k PublicKey) Verify(data, signature []byte) (about string, err error) {
	lines := strings.Split(strings.ReplaceAll(string(signature), "\r\n", "\n"), "\n")
	if len(lines) < 4 || !strings.HasPrefix(lines[0], comment) || !strings.HasPrefix(lines[2], trustedComment) {
		return "", errors.New("signature: it has not the four lines of a signature of minisign")
	}
	raw, err := decodeLine(lines[1], 2+keyIDBytes+ed25519.SignatureSize, algorithmHashed, algorithmPlain)
	if err != nil {
		return "", fmt.Errorf("signature: %w", err)
	}
	if id := [keyIDBytes]byte(raw[2:]); id != k.id {
		return "", fmt.Errorf("signature: it was made with the key %X, and the public key is %X", reversed(id), reversed(k.id))
	}
	signed := data
	if string(raw[:2]) == algorithmHashed {
		sum := blake2b512(data)
		signed = sum[:]
	}
	one := raw[2+keyIDBytes:]
	if !ed25519.Verify(k.key, signed, one) {
		return "", errors.New("signature: it is not that of this file: the file or the signature was changed")
	}
	about = strings.TrimPrefix(lines[2], trustedComment)
	global, err := base64.StdEncoding.DecodeString(lines[3])
	if err != nil || !ed25519.Verify(k.key, append(bytes.Clone(one), about...), global) {
		return "", errors.New("signature: the comment was changed")
	}
	return about, nil
}

// SignFile signs the plugin in the file and writes the signature beside it.
func SignFile(file string, k SecretKey) (signature string, err error) {
	s, m, err := whole(file)
	if err != nil {
		return "", err
	}
	text, err := k.Sign(s.Wasm, fmt.Sprintf("plugin:%s version:%s sha256:%s", m.Name, m.Version, s.Hash()))
	if err != nil {
		return "", err
	}
	signature = file + SignatureSuffix
	return signature, os.WriteFile(signature, text, 0o644)
}

// VerifyFile checks the signature beside the file and returns its comment.
func VerifyFile(file string, k PublicKey) (about string, err error) {
	s, _, err := whole(file)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(file + SignatureSuffix)
	if err != nil {
		return "", err
	}
	return k.Verify(s.Wasm, text)
}

// VerifyBundle checks the bundle of sigstore beside the file and returns what it says.
func VerifyBundle(file string, by Signer) (string, error) {
	s, _, err := whole(file)
	if err != nil {
		return "", err
	}
	bundle, err := readFile(file+BundleSuffix, mostBundle)
	if err != nil {
		return "", err
	}
	o := InstallOptions{Signer: &by}
	signed, err := o.verify(fetched{wasm: s.Wasm, origin: file, bundles: [][]byte{bundle}, signed: sha256.Sum256(s.Wasm)})
	return strings.Join(signed, ""), err
}

// whole reads a plugin that is one file. With a manifest beside it, a signature of the file would say nothing about what
// the plugin asks for.
func whole(file string) (plugins.Source, *plugins.Manifest, error) {
	s, err := plugins.ReadSource(file)
	if err != nil {
		return s, nil, err
	}
	if s.Manifest == nil {
		return s, nil, fmt.Errorf("%s has no manifest: run 'chorale plugin attach' first", file)
	}
	attached, err := plugins.Attached(s.Wasm)
	if err != nil {
		return s, nil, err
	}
	if !bytes.Equal(attached, s.Manifest) {
		return s, nil, fmt.Errorf("the manifest of %s is a file beside it, which a signature does not cover: run 'chorale plugin attach' and remove the .json file", file)
	}
	m, err := plugins.DecodeManifest(s.Manifest)
	return s, m, err
}

// digest checks that data has the SHA-256 that was asked for, in hexadecimal.
func digest(data []byte, want string) error {
	sum, err := hex.DecodeString(want)
	if err != nil || len(sum) != 32 {
		return fmt.Errorf("sha256 is %q; it must be 64 hexadecimal digits", want)
	}
	if got := sha256.Sum256(data); !bytes.Equal(got[:], sum) {
		return fmt.Errorf("sha256: the file has %x, and %s was asked for: it is not installed", got, want)
	}
	return nil
}

package sigstore

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A bundle is what was read, with nothing verified.
type bundle struct {
	leaf       *x509.Certificate
	entries    []entry
	timestamps [][]byte

	signature []byte
	digest    []byte // that the signature of a file says it is of; nil for an envelope
	payload   []byte // of an envelope
	signedBy  []byte // what the signature of an envelope is of
}

// An entry is one of a transparency log.
type entry struct {
	Index   int64 `json:"logIndex,string"`
	Log     keyID `json:"logId"`
	Time    int64 `json:"integratedTime,string"` // seconds since 1970
	Promise *struct {
		Signature []byte `json:"signedEntryTimestamp"`
	} `json:"inclusionPromise"`
	Proof *proof `json:"inclusionProof"`
	Body  []byte `json:"canonicalizedBody"`
}

type proof struct {
	Index      int64    `json:"logIndex,string"`
	Root       []byte   `json:"rootHash"`
	Size       int64    `json:"treeSize,string"`
	Hashes     [][]byte `json:"hashes"`
	Checkpoint struct {
		Envelope string `json:"envelope"`
	} `json:"checkpoint"`
}

// What is read of a bundle, at most.
const (
	mostBundle  = 1 << 20 // bytes
	mostEntries = 8       // of logs, and timestamps
)

const (
	inToto     = "application/vnd.in-toto+json"
	mediaTypes = "application/vnd.dev.sigstore.bundle"
)

func parseBundle(text []byte) (*bundle, error) {
	if len(text) > mostBundle {
		return nil, fmt.Errorf("it has %d bytes; %d are the most", len(text), mostBundle)
	}
	var raw struct {
		MediaType string `json:"mediaType"`
		Material  struct {
			Certificate *rawBytes `json:"certificate"`
			Chain       struct {
				Certificates []rawBytes `json:"certificates"`
			} `json:"x509CertificateChain"`
			Key        json.RawMessage `json:"publicKey"`
			Entries    []entry         `json:"tlogEntries"`
			Timestamps struct {
				RFC3161 []struct {
					Signed []byte `json:"signedTimestamp"`
				} `json:"rfc3161Timestamps"`
			} `json:"timestampVerificationData"`
		} `json:"verificationMaterial"`
		Message *struct {
			Digest struct {
				Algorithm string `json:"algorithm"`
				Digest    []byte `json:"digest"`
			} `json:"messageDigest"`
			Signature []byte `json:"signature"`
		} `json:"messageSignature"`
		Envelope *struct {
			Payload    []byte `json:"payload"`
			Type       string `json:"payloadType"`
			Signatures []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(raw.MediaType, mediaTypes) {
		return nil, fmt.Errorf("the mediaType is %q, not that of a bundle", raw.MediaType)
	}
	m := raw.Material
	if m.Certificate == nil && len(m.Chain.Certificates) > 0 {
		m.Certificate = &m.Chain.Certificates[0] // the rest is the root's to say
	}
	switch {
	case m.Key != nil && m.Certificate == nil:
		return nil, errors.New("it names a public key; a certificate with an identity is needed")
	case m.Certificate == nil:
		return nil, errors.New("there is no certificate")
	case len(m.Entries) == 0 || len(m.Entries) > mostEntries || len(m.Timestamps.RFC3161) > mostEntries:
		return nil, fmt.Errorf("there are %d entries of logs and %d timestamps; want 1 to %d, and at most %d", len(m.Entries), len(m.Timestamps.RFC3161), mostEntries, mostEntries)
	case (raw.Message == nil) == (raw.Envelope == nil):
		return nil, errors.New("there must be either a messageSignature or a dsseEnvelope")
	}
	leaf, err := x509.ParseCertificate(m.Certificate.Raw)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	b := &bundle{leaf: leaf, entries: m.Entries}
	for _, t := range m.Timestamps.RFC3161 {
		b.timestamps = append(b.timestamps, t.Signed)
	}
	if e := raw.Envelope; e != nil {
		if e.Type != inToto || len(e.Signatures) != 1 || len(e.Payload) == 0 {
			return nil, fmt.Errorf("dsseEnvelope: it has the type %q, %d signatures and a payload of %d bytes; want %s, one, and some", e.Type, len(e.Signatures), len(e.Payload), inToto)
		}
		b.payload, b.signature = e.Payload, e.Signatures[0].Sig
		b.signedBy = fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.Type), e.Type, len(e.Payload), e.Payload)
		return b, nil
	}
	if a := raw.Message.Digest.Algorithm; a != "SHA2_256" || len(raw.Message.Digest.Digest) != sha256.Size {
		return nil, fmt.Errorf("messageSignature: the digest is a %q; want SHA2_256", a)
	}
	b.digest, b.signature = raw.Message.Digest.Digest, raw.Message.Signature
	return b, nil
}

// predicates are the kinds of statements that say "this is mine" or "I built this". Others, such as lists of contents or of
// vulnerabilities, say something about a file that one may dislike.
func predicates() []string {
	return []string{"https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"}
}

// signed checks the signature, and that it is about the content with the SHA-256.
func (b *bundle) signed(sum [sha256.Size]byte) error {
	if b.payload == nil {
		key, ok := b.leaf.PublicKey.(*ecdsa.PublicKey)
		switch {
		case !ok || key.Curve != elliptic.P256():
			return errors.New("the signature of a file must be one of ECDSA P-256")
		case !ecdsa.VerifyASN1(key, b.digest, b.signature):
			return errors.New("the signature is wrong")
		case !bytes.Equal(b.digest, sum[:]):
			return fmt.Errorf("the signature is of the SHA-256 %x; this is %x", b.digest, sum)
		}
		return nil
	}
	if err := verifySignature(b.leaf.PublicKey, b.signedBy, b.signature); err != nil {
		return err
	}
	var statement struct {
		Type      string `json:"_type"`
		Predicate string `json:"predicateType"`
		Subject   []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(b.payload, &statement); err != nil {
		return fmt.Errorf("statement: %w", err)
	}
	if !strings.HasPrefix(statement.Type, "https://in-toto.io/Statement/v") {
		return fmt.Errorf("statement: its type is %q, not that of in-toto", statement.Type)
	}
	if !slices.Contains(predicates(), statement.Predicate) {
		return fmt.Errorf("statement: the predicate %q does not say who made it; want one of %s", statement.Predicate, strings.Join(predicates(), ", "))
	}
	for _, s := range statement.Subject {
		if s.Digest["sha256"] == hex.EncodeToString(sum[:]) {
			return nil
		}
	}
	return fmt.Errorf("statement: none of its %d subjects is the SHA-256 %x", len(statement.Subject), sum)
}

// logBody is what the kinds of log entries have in common: each fills in some.
type logBody struct {
	Kind    string `json:"kind"`
	Version string `json:"apiVersion"`
	Spec    struct {
		// hashedrekord 0.0.1
		Data struct {
			Hash hexHash `json:"hash"`
		} `json:"data"`
		Signature struct {
			Content []byte `json:"content"`
			Key     struct {
				Content []byte `json:"content"` // PEM
			} `json:"publicKey"`
		} `json:"signature"`
		// dsse 0.0.1
		PayloadHash hexHash `json:"payloadHash"`
		Signatures  []struct {
			Signature []byte `json:"signature"`
			Verifier  []byte `json:"verifier"` // PEM
		} `json:"signatures"`
		// intoto 0.0.2
		Content struct {
			Envelope struct {
				Signatures []struct {
					Sig []byte `json:"sig"` // base64 once more
					Key []byte `json:"publicKey"`
				} `json:"signatures"`
			} `json:"envelope"`
			PayloadHash hexHash `json:"payloadHash"`
		} `json:"content"`
		// hashedrekord 0.0.2 and dsse 0.0.2, of the second generation of logs
		HashedV2 struct {
			Data      rawHash     `json:"data"`
			Signature rawVerified `json:"signature"`
		} `json:"hashedRekordV002"`
		DSSEV2 struct {
			PayloadHash rawHash       `json:"payloadHash"`
			Signatures  []rawVerified `json:"signatures"`
		} `json:"dsseV002"`
	} `json:"spec"`
}

type hexHash struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

type rawHash struct {
	Algorithm string `json:"algorithm"`
	Digest    []byte `json:"digest"`
}

type rawVerified struct {
	Content  []byte `json:"content"`
	Verifier struct {
		Certificate rawBytes `json:"x509Certificate"`
	} `json:"verifier"`
}

// logs checks that the body of a log's entry is about the bundle: the same signature by the same certificate of the same thing.
func (b *bundle) logs(body []byte) error {
	var l logBody
	if err := json.Unmarshal(body, &l); err != nil {
		return err
	}
	var signature, certificate, hash []byte
	var err error
	want := sha256.Sum256(b.payload) // of an envelope's payload
	switch kind := l.Kind + " " + l.Version; kind {
	case "hashedrekord 0.0.1":
		signature, certificate = l.Spec.Signature.Content, fromPEM(l.Spec.Signature.Key.Content)
		hash, err = l.Spec.Data.Hash.bytes()
		want = b.hashed()
	case "hashedrekord 0.0.2":
		v := l.Spec.HashedV2
		signature, certificate, hash = v.Signature.Content, v.Signature.Verifier.Certificate.Raw, v.Data.Digest
		want = b.hashed()
	case "dsse 0.0.1":
		if len(l.Spec.Signatures) != 1 {
			return fmt.Errorf("it has %d signatures; want one", len(l.Spec.Signatures))
		}
		signature, certificate = l.Spec.Signatures[0].Signature, fromPEM(l.Spec.Signatures[0].Verifier)
		hash, err = l.Spec.PayloadHash.bytes()
	case "dsse 0.0.2":
		v := l.Spec.DSSEV2
		if len(v.Signatures) != 1 {
			return fmt.Errorf("it has %d signatures; want one", len(v.Signatures))
		}
		signature, certificate, hash = v.Signatures[0].Content, v.Signatures[0].Verifier.Certificate.Raw, v.PayloadHash.Digest
	case "intoto 0.0.2":
		v := l.Spec.Content
		if len(v.Envelope.Signatures) != 1 {
			return fmt.Errorf("it has %d signatures; want one", len(v.Envelope.Signatures))
		}
		signature, err = base64.StdEncoding.DecodeString(string(v.Envelope.Signatures[0].Sig))
		if err == nil {
			hash, err = v.PayloadHash.bytes()
		}
		certificate = fromPEM(v.Envelope.Signatures[0].Key)
	default:
		return fmt.Errorf("entries of the kind %q are not read", kind)
	}
	switch {
	case err != nil:
		return err
	case !bytes.Equal(signature, b.signature):
		return errors.New("it has another signature")
	case !bytes.Equal(certificate, b.leaf.Raw):
		return errors.New("it has another certificate")
	case !bytes.Equal(hash, want[:]):
		return errors.New("it is about something else")
	}
	return nil
}

// hashed is the SHA-256 of what the signature is of.
func (b *bundle) hashed() [sha256.Size]byte {
	if b.payload == nil {
		return [sha256.Size]byte(b.digest)
	}
	return sha256.Sum256(b.signedBy)
}

func (h hexHash) bytes() ([]byte, error) {
	if h.Algorithm != "sha256" {
		return nil, fmt.Errorf("its hash is a %q; want sha256", h.Algorithm)
	}
	return hex.DecodeString(h.Value)
}

// fromPEM returns the DER in a block, nil without one.
func fromPEM(p []byte) []byte {
	block, rest := pem.Decode(p)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil
	}
	return block.Bytes
}

// Package sigstore verifies who signed a file, from a bundle of sigstore and a trusted root, without a network.
//
// It owns the form of bundles and trusted roots and the checks between them: the certificate comes from an authority of the
// root and was logged by one of its certificate logs; the signature is the certificate's, was made while that was valid
// according to a log or a timestamp authority of the root, and is in the log; the identity is the one that was asked for. It
// does not know what is signed but for its SHA-256, where bundles lie, or how roots are renewed.
//
// A Root is immutable and safe for concurrent use.
//
// Bundles of the versions 0.1 to 0.3 are read (github.com/sigstore/protobuf-specs), as cosign, sigstore-go and GitHub's
// attestations write them: with a certificate, and a signature of the file or an in-toto statement about it. Bundles that
// name a public key are refused: there is nobody in them whom one could ask for.
package sigstore

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// An Identity is who must have signed.
type Identity struct {
	// Issuer is who vouched for the subject, such as https://token.actions.githubusercontent.com.
	Issuer string
	// Subject is the email address or the URL in the certificate. A * stands for any characters but a slash: the workflow of a
	// release is https://github.com/OWNER/REPO/.github/workflows/release.yml@refs/tags/*.
	Subject string
}

// A Signature is one that was verified.
type Signature struct {
	Issuer, Subject string
	Time            time.Time // the earliest that a log or an authority of the root vouches for
}

// check refuses identities that mean anybody.
func (i Identity) check() error {
	switch {
	case i.Issuer == "" || i.Subject == "":
		return errors.New("identity: issuer and subject are both needed; anybody can sign")
	case strings.Contains(i.Issuer, "*"):
		return fmt.Errorf("identity: the issuer %q must be one", i.Issuer)
	case strings.Trim(i.Subject, "*@/:.") == "":
		return fmt.Errorf("identity: the subject %q means anybody", i.Subject)
	}
	return nil
}

// matches compares with what the certificate says.
func (i Identity) matches(issuer, subject string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(i.Subject), `\*`, `[^/]*`)
	return issuer == i.Issuer && regexp.MustCompile(`^(?:`+pattern+`)$`).MatchString(subject)
}

// Verify checks that the bundle is a signature by who of the file, or the image manifest, with the SHA-256.
func (r *Root) Verify(bundle []byte, sum [sha256.Size]byte, who Identity) (Signature, error) {
	if err := who.check(); err != nil {
		return Signature{}, err
	}
	s, err := r.verify(bundle, sum, who)
	if err != nil {
		return Signature{}, fmt.Errorf("sigstore: %w", err)
	}
	return s, nil
}

func (r *Root) verify(text []byte, sum [sha256.Size]byte, who Identity) (Signature, error) {
	b, err := parseBundle(text)
	if err != nil {
		return Signature{}, fmt.Errorf("bundle: %w", err)
	}
	times, err := r.times(b)
	if err != nil {
		return Signature{}, err
	}
	s := Signature{Time: times[0]}
	for _, t := range times {
		if t.Before(s.Time) {
			s.Time = t
		}
		issuer, err := r.chain(b.leaf, t)
		if err != nil {
			return s, fmt.Errorf("certificate: %w", err)
		}
		if err := r.logged(b.leaf, issuer); err != nil {
			return s, fmt.Errorf("certificate: %w", err)
		}
	}
	if s.Issuer, s.Subject, err = identity(b.leaf, who); err != nil {
		return s, err
	}
	if err := b.signed(sum); err != nil {
		return s, err
	}
	return s, nil
}

// verifySignature checks a signature of data, as the algorithms of sigstore's registry are used: ECDSA with the hash of the
// curve's size, and Ed25519.
func verifySignature(key any, data, signature []byte) error {
	ok := false
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			h := sha256.Sum256(data)
			ok = ecdsa.VerifyASN1(k, h[:], signature)
		case elliptic.P384():
			h := sha512.Sum384(data)
			ok = ecdsa.VerifyASN1(k, h[:], signature)
		default:
			return fmt.Errorf("keys of the curve %s are not used", k.Params().Name)
		}
	case ed25519.PublicKey:
		ok = ed25519.Verify(k, data, signature)
	default:
		return fmt.Errorf("keys of the type %T are not used", key)
	}
	if !ok {
		return errors.New("the signature is wrong")
	}
	return nil
}

// A Root is whom one trusts: authorities and logs, with the times at which their keys count.
type Root struct {
	authorities []authority
	timestamps  []authority
	logs, certs []logKey
}

// An authority has its certificates from the one that signs to the one that is trusted.
type authority struct {
	chain []*x509.Certificate
	valid period
}

// A logKey is that of a transparency log.
type logKey struct {
	id    string // 32 bytes
	key   any
	valid period
}

// A period is in RFC 3339; a missing end is open.
type period struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

func (p period) has(t time.Time) bool {
	return !t.Before(p.Start) && (p.End.IsZero() || !t.After(p.End))
}

type rawAuthority struct {
	Chain struct {
		Certificates []rawBytes `json:"certificates"`
	} `json:"certChain"`
	Valid period `json:"validFor"`
}

type rawBytes struct {
	Raw []byte `json:"rawBytes"`
}

type rawLog struct {
	Key struct {
		Raw   []byte `json:"rawBytes"`
		Valid period `json:"validFor"`
	} `json:"publicKey"`
	ID keyID `json:"logId"`
}

type keyID struct {
	ID []byte `json:"keyId"`
}

// ParseRoot reads a trusted root in JSON (trusted_root.json), such as `cosign trusted-root create` and the TUF repository of a
// sigstore have. Whoever gives it is believed; that it is authentic is to be seen to before.
func ParseRoot(text []byte) (*Root, error) {
	var raw struct {
		MediaType   string         `json:"mediaType"`
		Logs        []rawLog       `json:"tlogs"`
		Authorities []rawAuthority `json:"certificateAuthorities"`
		Certs       []rawLog       `json:"ctlogs"`
		Timestamps  []rawAuthority `json:"timestampAuthorities"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	if !strings.HasPrefix(raw.MediaType, "application/vnd.dev.sigstore.trustedroot") {
		return nil, fmt.Errorf("trusted root: the mediaType is %q, not that of a trusted root", raw.MediaType)
	}
	r := &Root{}
	var err error
	for _, list := range []struct {
		name string
		raw  []rawAuthority
		to   *[]authority
	}{{"certificateAuthorities", raw.Authorities, &r.authorities}, {"timestampAuthorities", raw.Timestamps, &r.timestamps}} {
		for i, a := range list.raw {
			parsed := authority{valid: a.Valid}
			if len(a.Chain.Certificates) == 0 {
				return nil, fmt.Errorf("trusted root: %s[%d]: there are no certificates", list.name, i)
			}
			for _, c := range a.Chain.Certificates {
				certificate, err := x509.ParseCertificate(c.Raw)
				if err != nil {
					return nil, fmt.Errorf("trusted root: %s[%d]: %w", list.name, i, err)
				}
				parsed.chain = append(parsed.chain, certificate)
			}
			*list.to = append(*list.to, parsed)
		}
	}
	if r.logs, err = parseLogs("tlogs", raw.Logs); err != nil {
		return nil, err
	}
	if r.certs, err = parseLogs("ctlogs", raw.Certs); err != nil {
		return nil, err
	}
	if len(r.authorities) == 0 || len(r.logs) == 0 || len(r.certs) == 0 {
		return nil, errors.New("trusted root: certificateAuthorities, tlogs and ctlogs must not be empty")
	}
	return r, nil
}

func parseLogs(name string, raw []rawLog) ([]logKey, error) {
	var keys []logKey
	for i, l := range raw {
		key, err := x509.ParsePKIXPublicKey(l.Key.Raw)
		if err != nil {
			return nil, fmt.Errorf("trusted root: %s[%d]: %w", name, i, err)
		}
		keys = append(keys, logKey{string(l.ID.ID), key, l.Key.Valid})
	}
	return keys, nil
}

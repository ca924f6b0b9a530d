package sigstore

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // the hashes that authorities use
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// The parts of a timestamp (RFC 3161) in a signed message (RFC 5652).
type (
	timeStampResp struct {
		Status asn1.RawValue
		Token  asn1.RawValue `asn1:"optional"`
	}
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version      int
		Digests      asn1.RawValue
		Encapsulated struct {
			Type    asn1.ObjectIdentifier
			Content asn1.RawValue `asn1:"explicit,optional,tag:0"`
		}
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		CRLs         asn1.RawValue `asn1:"optional,tag:1"`
		Signers      []signerInfo  `asn1:"set"`
	}
	signerInfo struct {
		Version   int
		ID        asn1.RawValue
		Digest    pkix.AlgorithmIdentifier
		Signed    asn1.RawValue `asn1:"optional,tag:0"`
		Algorithm pkix.AlgorithmIdentifier
		Signature []byte
		Unsigned  asn1.RawValue `asn1:"optional,tag:1"`
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue `asn1:"set"`
	}
	tstInfo struct {
		Version int
		Policy  asn1.ObjectIdentifier
		Imprint struct {
			Algorithm pkix.AlgorithmIdentifier
			Hash      []byte
		}
		Serial *big.Int
		Time   time.Time `asn1:"generalized"`
		// What follows is not of interest.
	}
)

func oidSignedData() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2} }
func oidTSTInfo() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
}
func oidContentType() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3} }
func oidDigest() asn1.ObjectIdentifier      { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4} }

// hashOf is the algorithm by its number (RFC 5754).
func hashOf(id asn1.ObjectIdentifier) (crypto.Hash, error) {
	switch id.String() {
	case "2.16.840.1.101.3.4.2.1":
		return crypto.SHA256, nil
	case "2.16.840.1.101.3.4.2.2":
		return crypto.SHA384, nil
	case "2.16.840.1.101.3.4.2.3":
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("the hash %s is not used", id)
}

func hashed(id asn1.ObjectIdentifier, p []byte) ([]byte, error) {
	h, err := hashOf(id)
	if err != nil {
		return nil, err
	}
	w := h.New()
	w.Write(p)
	return w.Sum(nil), nil
}

// timestamp checks that an authority of the root saw the signature, and returns when.
func (r *Root) timestamp(response, signature []byte) (time.Time, error) {
	data, err := parseTimestamp(response)
	if err != nil {
		return time.Time{}, fmt.Errorf("it is damaged: %w", err)
	}
	content, err := data.content()
	if err != nil {
		return time.Time{}, err
	}
	var info tstInfo
	// The fields behind the time are optional, in an order that is of no interest here.
	if _, err := asn1.Unmarshal(content, &info); err != nil {
		return time.Time{}, fmt.Errorf("it is damaged: %w", err)
	}
	imprint, err := hashed(info.Imprint.Algorithm.Algorithm, signature)
	if err != nil {
		return time.Time{}, err
	}
	if !bytes.Equal(imprint, info.Imprint.Hash) {
		return time.Time{}, errors.New("it is of another signature")
	}
	signed, err := data.attributes(content)
	if err != nil {
		return time.Time{}, err
	}
	err = fmt.Errorf("no timestamp authority of the trusted root counts at %s", info.Time.UTC().Format(time.RFC3339))
	for _, a := range r.timestamps {
		if !a.valid.has(info.Time) {
			continue
		}
		if err = a.stamped(data, signed, info.Time); err == nil {
			return info.Time, nil
		}
	}
	return time.Time{}, err
}

func parseTimestamp(response []byte) (*signedData, error) {
	var resp timeStampResp
	if rest, err := asn1.Unmarshal(response, &resp); err != nil || len(rest) > 0 {
		return nil, errors.Join(errors.New("no response"), err)
	}
	var info contentInfo
	if rest, err := asn1.Unmarshal(resp.Token.FullBytes, &info); err != nil || len(rest) > 0 || !info.Type.Equal(oidSignedData()) {
		return nil, errors.Join(errors.New("no signed message"), err)
	}
	var data signedData
	if _, err := asn1.Unmarshal(info.Content.Bytes, &data); err != nil {
		return nil, err
	}
	if len(data.Signers) != 1 {
		return nil, fmt.Errorf("%d signers; want one", len(data.Signers))
	}
	return &data, nil
}

// content is the message that is signed.
func (d *signedData) content() ([]byte, error) {
	var p []byte
	if rest, err := asn1.Unmarshal(d.Encapsulated.Content.Bytes, &p); err != nil || len(rest) > 0 || !d.Encapsulated.Type.Equal(oidTSTInfo()) {
		return nil, errors.New("there is no timestamp in it")
	}
	return p, nil
}

// attributes checks that the signed attributes are about the content, and returns the bytes that the signature is of.
func (d *signedData) attributes(content []byte) ([]byte, error) {
	signer := d.Signers[0]
	if len(signer.Signed.Bytes) == 0 {
		return nil, errors.New("there are no signed attributes")
	}
	want, err := hashed(signer.Digest.Algorithm, content)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for rest := signer.Signed.Bytes; len(rest) > 0; {
		var a attribute
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return nil, fmt.Errorf("signed attributes: %w", err)
		}
		if seen[a.Type.String()] {
			return nil, errors.New("signed attributes: one is there twice")
		}
		seen[a.Type.String()] = true
		switch {
		case a.Type.Equal(oidDigest()):
			var got []byte
			if rest, err := asn1.Unmarshal(a.Values.Bytes, &got); err != nil || len(rest) > 0 || !bytes.Equal(got, want) {
				return nil, errors.New("signed attributes: they are of another content")
			}
		case a.Type.Equal(oidContentType()):
			var got asn1.ObjectIdentifier
			if rest, err := asn1.Unmarshal(a.Values.Bytes, &got); err != nil || len(rest) > 0 || !got.Equal(oidTSTInfo()) {
				return nil, errors.New("signed attributes: they are of another kind of content")
			}
		}
	}
	if !seen[oidDigest().String()] || !seen[oidContentType().String()] {
		return nil, errors.New("signed attributes: the digest or the type of the content is missing")
	}
	// They are signed with the tag of a set (RFC 5652, 5.4).
	return append([]byte{0x31}, signer.Signed.FullBytes[1:]...), nil
}

// stamped checks the signature with the authority's certificate, which is the first of its chain or one in the message.
func (a authority) stamped(d *signedData, signed []byte, at time.Time) error {
	candidates := []*x509.Certificate{a.chain[0]}
	if inside, err := x509.ParseCertificates(d.Certificates.Bytes); err == nil && len(inside) <= mostEntries {
		candidates = append(candidates, inside...)
	}
	err := errors.New("none of its certificates is for timestamps")
	for _, c := range candidates {
		if c.IsCA {
			continue
		}
		if _, err = a.verify(c, at, x509.ExtKeyUsageTimeStamping); err != nil {
			continue
		}
		if err = checkStamp(c, d.Signers[0], signed); err == nil {
			return nil
		}
	}
	return err
}

func checkStamp(c *x509.Certificate, signer signerInfo, signed []byte) error {
	algorithm := x509.UnknownSignatureAlgorithm
	switch id := signer.Algorithm.Algorithm.String(); id { // RFC 5754 and 8419
	case "1.2.840.10045.4.3.2":
		algorithm = x509.ECDSAWithSHA256
	case "1.2.840.10045.4.3.3":
		algorithm = x509.ECDSAWithSHA384
	case "1.2.840.10045.4.3.4":
		algorithm = x509.ECDSAWithSHA512
	case "1.2.840.113549.1.1.11":
		algorithm = x509.SHA256WithRSA
	case "1.2.840.113549.1.1.12":
		algorithm = x509.SHA384WithRSA
	case "1.2.840.113549.1.1.13":
		algorithm = x509.SHA512WithRSA
	case "1.3.101.112":
		algorithm = x509.PureEd25519
	case "1.2.840.113549.1.1.1": // RSA, with the hash of the digest
		switch h, err := hashOf(signer.Digest.Algorithm); {
		case err != nil:
			return err
		case h == crypto.SHA256:
			algorithm = x509.SHA256WithRSA
		case h == crypto.SHA384:
			algorithm = x509.SHA384WithRSA
		default:
			algorithm = x509.SHA512WithRSA
		}
	default:
		return fmt.Errorf("signatures of the algorithm %s are not used", id)
	}
	return c.CheckSignature(algorithm, signed, signer.Signature)
}

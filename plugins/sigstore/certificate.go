package sigstore

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The extensions of certificates: those of Fulcio (github.com/sigstore/fulcio, docs/oid-info.md), and the list of timestamps
// of logs (RFC 6962).
func oidIssuer() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8} }
func oidIssuerOld() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
}
func oidSCT() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2} }

// chain checks that an authority of the root made the certificate, which was valid at the time, for signing code. It returns
// the certificate of the one that signed.
func (r *Root) chain(leaf *x509.Certificate, at time.Time) (*x509.Certificate, error) {
	err := fmt.Errorf("no authority of the trusted root counts at %s", at.UTC().Format(time.RFC3339))
	for _, a := range r.authorities {
		if !a.valid.has(at) {
			continue
		}
		var chains [][]*x509.Certificate
		if chains, err = a.verify(leaf, at, x509.ExtKeyUsageCodeSigning); err == nil {
			return chains[0][1], nil
		}
	}
	return nil, err
}

// verify builds the chain from the leaf to the last certificate of the authority.
func (a authority) verify(leaf *x509.Certificate, at time.Time, usage x509.ExtKeyUsage) ([][]*x509.Certificate, error) {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for i, c := range a.chain {
		if i == len(a.chain)-1 {
			roots.AddCert(c)
		} else {
			between.AddCert(c)
		}
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err == nil && len(chains[0]) < 2 {
		err = errors.New("it is its own authority")
	}
	return chains, err
}

// logged checks that a log of the root has seen the certificate: one of the timestamps in it must be right.
func (r *Root) logged(leaf, issuer *x509.Certificate) error {
	var list []byte
	for _, e := range leaf.Extensions {
		if e.Id.Equal(oidSCT()) {
			if rest, err := asn1.Unmarshal(e.Value, &list); err != nil || len(rest) > 0 {
				return errors.New("the list of log timestamps is damaged")
			}
		}
	}
	if list == nil {
		return errors.New("there is no timestamp of a log in it")
	}
	tbs, err := withoutSCT(leaf.RawTBSCertificate)
	if err != nil {
		return err
	}
	key := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	all, rest, ok := prefixed(list)
	if !ok || len(rest) > 0 {
		return errors.New("the list of log timestamps is damaged")
	}
	err = errors.New("there is no timestamp of a log in it")
	for len(all) > 0 {
		var sct []byte
		if sct, all, ok = prefixed(all); !ok {
			return errors.New("the list of log timestamps is damaged")
		}
		if err = r.sct(sct, key, tbs); err == nil {
			return nil
		}
	}
	return fmt.Errorf("log timestamp: %w", err)
}

// prefixed reads bytes behind their number in two bytes.
func prefixed(p []byte) (value, rest []byte, ok bool) {
	if len(p) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(p))
	if len(p) < 2+n {
		return nil, nil, false
	}
	return p[2 : 2+n], p[2+n:], true
}

// sct checks one timestamp of a log (RFC 6962, 3.2): version, id of the log, milliseconds, extensions, signature.
func (r *Root) sct(p []byte, issuer [sha256.Size]byte, tbs []byte) error {
	const header = 1 + 32 + 8
	if len(p) < header || p[0] != 0 {
		return errors.New("it is not of version 1")
	}
	id, ms := p[1:33], p[33:header]
	extensions, rest, ok := prefixed(p[header:])
	if !ok || len(rest) < 4 {
		return errors.New("it is damaged")
	}
	signature, rest, ok := prefixed(rest[2:]) // behind the names of the algorithms, which the key has as well
	if !ok || len(rest) > 0 {
		return errors.New("it is damaged")
	}
	signed := append([]byte{0, 0}, ms...) // version 1, of a certificate
	signed = append(signed, 0, 1)         // that is not finished
	signed = append(signed, issuer[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(signed, tbs...)
	signed = binary.BigEndian.AppendUint16(signed, uint16(len(extensions)))
	signed = append(signed, extensions...)
	return anyKey(r.certs, id, time.UnixMilli(int64(binary.BigEndian.Uint64(ms))), signed, signature)
}

// withoutSCT is what the log signed: the certificate's content before the timestamps were put into it.
func withoutSCT(tbs []byte) ([]byte, error) {
	damaged := errors.New("its content is damaged")
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(tbs, &outer); err != nil || len(rest) > 0 {
		return nil, damaged
	}
	var content []byte
	for rest := outer.Bytes; len(rest) > 0; {
		var field asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &field); err != nil {
			return nil, damaged
		}
		if field.Class != asn1.ClassContextSpecific || field.Tag != 3 {
			content = append(content, field.FullBytes...)
			continue
		}
		var list []asn1.RawValue
		if rest, err := asn1.Unmarshal(field.Bytes, &list); err != nil || len(rest) > 0 {
			return nil, damaged
		}
		var kept []byte
		for _, e := range list {
			var id asn1.ObjectIdentifier
			if _, err := asn1.Unmarshal(e.Bytes, &id); err != nil {
				return nil, damaged
			}
			if !id.Equal(oidSCT()) {
				kept = append(kept, e.FullBytes...)
			}
		}
		extensions, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: kept})
		if err != nil {
			return nil, err
		}
		wrapped, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 3, IsCompound: true, Bytes: extensions})
		if err != nil {
			return nil, err
		}
		content = append(content, wrapped...)
	}
	return asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
}

// identity returns who the certificate says it is, if that is who was asked for.
func identity(leaf *x509.Certificate, who Identity) (issuer, subject string, err error) {
	for _, e := range leaf.Extensions {
		switch {
		case e.Id.Equal(oidIssuer()):
			if rest, err := asn1.UnmarshalWithParams(e.Value, &issuer, "utf8"); err != nil || len(rest) > 0 {
				return "", "", errors.New("identity: the issuer in the certificate is damaged")
			}
		case e.Id.Equal(oidIssuerOld()) && issuer == "":
			issuer = string(e.Value)
		}
	}
	subjects := slices.Clone(leaf.EmailAddresses)
	for _, u := range leaf.URIs {
		subjects = append(subjects, u.String())
	}
	for _, subject := range subjects {
		if who.matches(issuer, subject) {
			return issuer, subject, nil
		}
	}
	return "", "", fmt.Errorf("identity: it was signed by %q (issuer %q), and %q (issuer %q) was asked for", strings.Join(subjects, ", "), issuer, who.Subject, who.Issuer)
}

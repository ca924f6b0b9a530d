// Package sigstoretest is a sigstore of one's own: an authority, logs and a timestamp authority whose keys tests have. It
// makes roots and bundles; it verifies nothing. A Sigstore is for one goroutine.
package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// A Sigstore has all the keys.
type Sigstore struct {
	Now time.Time // when things are signed; logs and authorities count from an hour before

	authority, middle *x509.Certificate
	middleKey         *ecdsa.PrivateKey
	log, certs        *ecdsa.PrivateKey
	began             time.Time
}

// New makes keys.
func New(now time.Time) (*Sigstore, error) {
	s := &Sigstore{Now: now, began: now.Add(-time.Hour)}
	var keys [4]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	s.middleKey, s.log, s.certs = keys[1], keys[2], keys[3]
	ca := func(name string, serial int64) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: s.began,
			NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	var err error
	root := ca("test root", 1)
	if s.authority, err = certificate(root, root, &keys[0].PublicKey, keys[0]); err != nil {
		return nil, err
	}
	s.middle, err = certificate(ca("test intermediate", 2), s.authority, &keys[1].PublicKey, keys[0])
	return s, err
}

func certificate(c, parent *x509.Certificate, public, signer any) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// keyBytes is the public key, whose SHA-256 is the name of a log.
func keyBytes(k *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		panic(err) // of a curve that it knows
	}
	return der
}

func logID(k *ecdsa.PrivateKey) []byte {
	sum := sha256.Sum256(keyBytes(k))
	return sum[:]
}

type object map[string]any

// Root is the trusted root in JSON.
func (s *Sigstore) Root() []byte {
	valid := object{"start": s.began}
	key := func(k *ecdsa.PrivateKey) []object {
		return []object{{"publicKey": object{"rawBytes": keyBytes(k), "validFor": valid}, "logId": object{"keyId": logID(k)}}}
	}
	return marshal(object{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"certificateAuthorities": []object{{"validFor": valid, "certChain": object{
			"certificates": []object{{"rawBytes": s.middle.Raw}, {"rawBytes": s.authority.Raw}}}}},
		"tlogs": key(s.log), "ctlogs": key(s.certs),
	})
}

func marshal(v any) []byte {
	p, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers, times and maps of them
	}
	return p
}

// leaf makes a certificate as Fulcio does: first without, then with the timestamp of a log.
func (s *Sigstore) leaf(issuer, subject string, public *ecdsa.PublicKey) (*x509.Certificate, error) {
	name, err := asn1.MarshalWithParams(issuer, "utf8")
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(s.Now.UnixNano()), NotBefore: s.Now.Add(-time.Minute), NotAfter: s.Now.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: name}},
	}
	if u, err := url.Parse(subject); err == nil && u.Scheme != "" {
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{subject}
	}
	before, err := certificate(template, s.middle, public, s.middleKey)
	if err != nil {
		return nil, err
	}
	stamp, err := s.stamp(before)
	if err != nil {
		return nil, err
	}
	template.ExtraExtensions = append(template.ExtraExtensions, stamp)
	return certificate(template, s.middle, public, s.middleKey)
}

// stamp is the list of timestamps of logs for a certificate (RFC 6962).
func (s *Sigstore) stamp(c *x509.Certificate) (pkix.Extension, error) {
	ms := binary.BigEndian.AppendUint64(nil, uint64(s.Now.UnixMilli()))
	issuer := sha256.Sum256(s.middle.RawSubjectPublicKeyInfo)
	tbs := c.RawTBSCertificate
	signed := append(append([]byte{0, 0}, ms...), 0, 1)
	signed = append(append(signed, issuer[:]...), byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(append(signed, tbs...), 0, 0)
	signature, err := sign(s.certs, signed)
	if err != nil {
		return pkix.Extension{}, err
	}
	sct := append(append(append([]byte{0}, logID(s.certs)...), ms...), 0, 0, 4, 3)
	sct = prefix(append(sct, prefix(signature)...))
	list, err := asn1.Marshal(prefix(sct))
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: list}, err
}

func prefix(p []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...) }

func sign(k *ecdsa.PrivateKey, text []byte) ([]byte, error) {
	sum := sha256.Sum256(text)
	return k.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// SignFile returns a bundle with a signature of the SHA-256 by the subject, for whom the issuer vouches.
func (s *Sigstore) SignFile(sum [sha256.Size]byte, issuer, subject string) ([]byte, error) {
	key, leaf, err := s.signer(issuer, subject)
	if err != nil {
		return nil, err
	}
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	body := marshal(object{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": fmt.Sprintf("%x", sum)}},
		"signature": object{"content": signature, "publicKey": object{"content": toPEM(leaf)}}}})
	return s.bundle(leaf, body, "messageSignature", object{"messageDigest": object{"algorithm": "SHA2_256", "digest": sum[:]}, "signature": signature})
}

// SignStatement returns a bundle with an in-toto statement of the predicate about the SHA-256.
func (s *Sigstore) SignStatement(sum [sha256.Size]byte, predicate, issuer, subject string) ([]byte, error) {
	key, leaf, err := s.signer(issuer, subject)
	if err != nil {
		return nil, err
	}
	const kind = "application/vnd.in-toto+json"
	payload := marshal(object{"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate,
		"subject": []object{{"digest": object{"sha256": fmt.Sprintf("%x", sum)}}}, "predicate": object{}})
	signature, err := sign(key, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload))
	if err != nil {
		return nil, err
	}
	body := marshal(object{"apiVersion": "0.0.1", "kind": "dsse", "spec": object{
		"payloadHash": object{"algorithm": "sha256", "value": fmt.Sprintf("%x", sha256.Sum256(payload))},
		"signatures":  []object{{"signature": signature, "verifier": toPEM(leaf)}}}})
	return s.bundle(leaf, body, "dsseEnvelope", object{"payloadType": kind, "payload": payload, "signatures": []object{{"sig": signature}}})
}

func (s *Sigstore) signer(issuer, subject string) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := s.leaf(issuer, subject, &key.PublicKey)
	return key, leaf, err
}

func toPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// bundle puts the entry into the log, between two others, and everything into a bundle.
func (s *Sigstore) bundle(leaf *x509.Certificate, body []byte, kind string, content object) ([]byte, error) {
	const index = 1
	id := logID(s.log)
	promise, err := sign(s.log, fmt.Appendf(nil, `{"body":"%s","integratedTime":%d,"logID":"%x","logIndex":%d}`,
		base64.StdEncoding.EncodeToString(body), s.Now.Unix(), id, index))
	if err != nil {
		return nil, err
	}
	first, third := sha256.Sum256([]byte("first")), sha256.Sum256([]byte("third"))
	own := sha256.Sum256(append([]byte{0}, body...))
	left := sha256.Sum256(append(append([]byte{1}, first[:]...), own[:]...))
	root := sha256.Sum256(append(append([]byte{1}, left[:]...), third[:]...))
	note := fmt.Sprintf("test.log\n3\n%s\n", base64.StdEncoding.EncodeToString(root[:]))
	signature, err := sign(s.log, []byte(note))
	if err != nil {
		return nil, err
	}
	note += fmt.Sprintf("\n— test.log %s\n", base64.StdEncoding.EncodeToString(append(id[:4:4], signature...)))
	return marshal(object{
		"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", kind: content,
		"verificationMaterial": object{"certificate": object{"rawBytes": leaf.Raw}, "tlogEntries": []object{{
			"logIndex": fmt.Sprint(index), "logId": object{"keyId": id}, "integratedTime": fmt.Sprint(s.Now.Unix()), "canonicalizedBody": body,
			"inclusionPromise": object{"signedEntryTimestamp": promise},
			"inclusionProof": object{"logIndex": fmt.Sprint(index), "treeSize": "3", "rootHash": root[:], "hashes": [][]byte{first[:], third[:]},
				"checkpoint": object{"envelope": note}},
		}}},
	}), nil
}

package sigstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chorale/plugins/sigstore"
	"chorale/plugins/sigstore/sigstoretest"
)

const (
	issuer  = "https://token.actions.githubusercontent.com"
	subject = "https://github.com/owner/repo/.github/workflows/release.yml@refs/tags/v1.0.0"
	sign    = "https://sigstore.dev/cosign/sign/v1"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func root(t *testing.T, text []byte) *sigstore.Root {
	t.Helper()
	r, err := sigstore.ParseRoot(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newSigstore(t *testing.T) *sigstoretest.Sigstore {
	t.Helper()
	s, err := sigstoretest.New(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signed returns a bundle with the signature of a file, and one with a statement.
func signed(t *testing.T, s *sigstoretest.Sigstore, sum [sha256.Size]byte) (file, statement []byte) {
	t.Helper()
	file, err := s.SignFile(sum, issuer, subject)
	if err != nil {
		t.Fatal(err)
	}
	if statement, err = s.SignStatement(sum, sign, issuer, subject); err != nil {
		t.Fatal(err)
	}
	return file, statement
}

func TestVerify(t *testing.T) {
	t.Parallel()
	s := newSigstore(t)
	sum := sha256.Sum256([]byte("a plugin"))
	file, statement := signed(t, s, sum)
	r := root(t, s.Root())
	for _, test := range []struct {
		name            string
		issuer, subject string
		want            string
	}{
		{"who signed", issuer, subject, ""},
		{"any tag", issuer, strings.Replace(subject, "v1.0.0", "*", 1), ""},
		{"any tag of version 1", issuer, strings.Replace(subject, "1.0.0", "1.*", 1), ""},
		{"a star does not reach over a slash", issuer, "https://github.com/owner/*", "identity: it was signed by"},
		{"another tag", issuer, strings.Replace(subject, "v1.0.0", "v1", 1), "identity: it was signed by"},
		{"a dot is a dot", issuer, strings.Replace(subject, "1.0.0", "1.0.0.", 1), "identity: it was signed by"},
		{"another owner", issuer, strings.Replace(subject, "owner", "other", 1), "identity: it was signed by"},
		{"another issuer", "https://accounts.example", subject, "identity: it was signed by"},
		{"no issuer", "", subject, "both needed"},
		{"no subject", issuer, "", "both needed"},
		{"any issuer", "*", subject, "must be one"},
		{"any subject", issuer, "*", "means anybody"},
		{"any address", issuer, "*@*", "means anybody"},
		{"any URL", issuer, "*://*", "means anybody"},
	} {
		for kind, bundle := range map[string][]byte{"file": file, "statement": statement} {
			got, err := r.Verify(bundle, sum, sigstore.Identity{Issuer: test.issuer, Subject: test.subject})
			switch {
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%s, %s: got %v, want %q", test.name, kind, err, test.want)
			case test.want == "" && (err != nil || got.Subject != subject || got.Issuer != issuer || !got.Time.Equal(s.Now)):
				t.Errorf("%s, %s: %+v, %v", test.name, kind, got, err)
			}
		}
	}
	who := sigstore.Identity{Issuer: issuer, Subject: subject}
	for kind, bundle := range map[string][]byte{"file": file, "statement": statement} {
		if _, err := r.Verify(bundle, sha256.Sum256([]byte("another plugin")), who); err == nil || !strings.Contains(err.Error(), "SHA-256") {
			t.Errorf("%s: of another file: %v", kind, err)
		}
		if _, err := root(t, newSigstore(t).Root()).Verify(bundle, sum, who); err == nil || !strings.Contains(err.Error(), "not in the trusted root") {
			t.Errorf("%s: with another root: %v", kind, err)
		}
	}
	mail, err := s.SignFile(sum, "https://accounts.example", "author@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Verify(mail, sum, sigstore.Identity{Issuer: "https://accounts.example", Subject: "*@example.com"}); err != nil || got.Subject != "author@example.com" {
		t.Errorf("an address: %+v, %v", got, err)
	}
	vex, err := s.SignStatement(sum, "https://openvex.dev/ns", issuer, subject)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(vex, sum, who); err == nil || !strings.Contains(err.Error(), "does not say who made it") {
		t.Errorf("a statement of another kind: %v", err)
	}
}

// at returns the place in a JSON document where a path leads, and its last key.
func at(t *testing.T, v any, path string) (map[string]any, string) {
	t.Helper()
	keys := strings.Split(path, ".")
	for _, k := range keys[:len(keys)-1] {
		if k == "0" {
			v = v.([]any)[0]
			continue
		}
		v = v.(map[string]any)[k]
	}
	return v.(map[string]any), keys[len(keys)-1]
}

// flip changes a bit of a value in base64.
func flip(t *testing.T, v any) string {
	t.Helper()
	p, err := base64.StdEncoding.DecodeString(v.(string))
	if err != nil {
		t.Fatal(err)
	}
	p[len(p)-1] ^= 1
	return base64.StdEncoding.EncodeToString(p)
}

// TestTampering changes every part of bundles that were right. None may pass.
func TestTampering(t *testing.T) {
	t.Parallel()
	s := newSigstore(t)
	sum := sha256.Sum256([]byte("a plugin"))
	file, statement := signed(t, s, sum)
	otherFile, otherStatement := signed(t, s, sha256.Sum256([]byte("another plugin")))
	r, who := root(t, s.Root()), sigstore.Identity{Issuer: issuer, Subject: subject}
	const entry = "verificationMaterial.tlogEntries.0."
	set := func(v any) func(any) any { return func(any) any { return v } }
	bit := func(v any) any { return flip(t, v) }
	// fromOther has the value of a bundle about another file, right in itself.
	for _, test := range []struct {
		path   string
		change func(any) any // nil: take what the other bundle has there
		want   string
		only   string
	}{
		{"mediaType", set("application/json"), "mediaType", ""},
		{"verificationMaterial", nil, "", ""},
		{"verificationMaterial.certificate", nil, "another certificate", ""},
		{"verificationMaterial.certificate", set(nil), "no certificate", ""},
		{"verificationMaterial.certificate.rawBytes", bit, "another certificate", ""},
		{"verificationMaterial.publicKey", set(map[string]any{"hint": "x"}), "", "neither"},
		{"verificationMaterial.tlogEntries", set([]any{}), "0 entries", ""},
		{"verificationMaterial.tlogEntries", nil, "another signature", ""},
		{entry + "logId.keyId", bit, "not in the trusted root", ""},
		{entry + "logIndex", set("7"), "promise: the signature is wrong", ""},
		{entry + "integratedTime", set("1793534401"), "promise: the signature is wrong", ""},
		{entry + "integratedTime", set("1"), "does not count at", ""},
		{entry + "integratedTime", set("x"), "bundle", ""},
		{entry + "canonicalizedBody", bit, "promise: the signature is wrong", ""},
		{entry + "canonicalizedBody", nil, "promise: the signature is wrong", ""},
		{entry + "inclusionPromise.signedEntryTimestamp", bit, "promise: the signature is wrong", ""},
		{entry + "inclusionPromise", set(nil), "nobody vouches for the time", ""},
		{entry + "inclusionProof.rootHash", bit, "another tree", ""},
		{entry + "inclusionProof.treeSize", set("4"), "another tree", ""},
		{entry + "inclusionProof.logIndex", set("0"), "another root", ""},
		{entry + "inclusionProof.logIndex", set("2"), "want 1", ""},
		{entry + "inclusionProof.logIndex", set("3"), "not in a tree of 3", ""},
		{entry + "inclusionProof.logIndex", set("-1"), "not in a tree of 3", ""},
		{entry + "inclusionProof.hashes", set([]any{}), "0 hashes; want 2", ""},
		{entry + "inclusionProof.hashes", set([]any{"AAAA", "AAAA"}), "hashes[0]", ""},
		{entry + "inclusionProof.checkpoint.envelope", set("test.log\n3\n"), "no signed note", ""},
		{entry + "inclusionProof.checkpoint.envelope", nil, "another tree", ""},
		{"messageSignature", nil, "another signature", "file"},
		{"messageSignature.signature", bit, "another signature", "file"},
		{"messageSignature.messageDigest.digest", bit, "about something else", "file"},
		{"messageSignature.messageDigest.algorithm", set("SHA2_512"), "want SHA2_256", "file"},
		{"messageSignature", set(nil), "either a messageSignature", "file"},
		{"dsseEnvelope", nil, "another signature", "statement"},
		{"dsseEnvelope.payload", bit, "about something else", "statement"},
		{"dsseEnvelope.payload", set(""), "a payload of 0 bytes", "statement"},
		{"dsseEnvelope.payloadType", set("text/plain"), "text/plain", "statement"},
		{"dsseEnvelope.signatures", set([]any{}), "0 signatures", "statement"},
		{"dsseEnvelope", set(nil), "either a messageSignature", "statement"},
	} {
		for kind, pair := range map[string][2][]byte{"file": {file, otherFile}, "statement": {statement, otherStatement}} {
			if test.only != "" && test.only != kind {
				continue
			}
			var bundle, other any
			if err := json.Unmarshal(pair[0], &bundle); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(pair[1], &other); err != nil {
				t.Fatal(err)
			}
			where, key := at(t, bundle, test.path)
			if test.change != nil {
				where[key] = test.change(where[key])
			} else {
				from, _ := at(t, other, test.path)
				where[key] = from[key]
			}
			if where[key] == nil {
				delete(where, key)
			}
			text, err := json.Marshal(bundle)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := r.Verify(text, sum, who); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s of a %s: %+v, %v; want %q", test.path, kind, got, err, test.want)
			}
		}
	}
}

// TestTimes has certificates and logs that do not count when something was signed.
func TestTimes(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("a plugin"))
	who := sigstore.Identity{Issuer: issuer, Subject: subject}
	s := newSigstore(t)
	before := s.Root()
	s.Now = s.Now.Add(-2 * time.Hour)
	file, _ := signed(t, s, sum)
	if _, err := root(t, before).Verify(file, sum, who); err == nil || !strings.Contains(err.Error(), "does not count at") {
		t.Errorf("before the log began: %v", err)
	}
	s.Now = s.Now.Add(2 * time.Hour)
	file, _ = signed(t, s, sum)
	for _, part := range []string{"certificateAuthorities", "ctlogs"} {
		var doc map[string]any
		if err := json.Unmarshal(s.Root(), &doc); err != nil {
			t.Fatal(err)
		}
		ended := map[string]any{"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
		first := doc[part].([]any)[0].(map[string]any)
		if key, ok := first["publicKey"].(map[string]any); ok {
			first = key
		}
		first["validFor"] = ended
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := root(t, text).Verify(file, sum, who); err == nil || !strings.Contains(err.Error(), "2026-11-01T12:00:00Z") {
			t.Errorf("%s that ended: %v", part, err)
		}
	}
}

// TestPublicGood verifies a bundle of the public sigstore, up to its subject, which has no SHA-256.
func TestPublicGood(t *testing.T) {
	t.Parallel()
	r, bundle := root(t, read(t, "public-good.json")), read(t, "npm.sigstore.json")
	who := sigstore.Identity{Issuer: issuer, Subject: "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"}
	if _, err := r.Verify(bundle, [32]byte{}, who); err == nil || !strings.Contains(err.Error(), "statement: none of its 1 subjects") {
		t.Errorf("got %v; want that all is right but the subject", err)
	}
	who.Subject = strings.Replace(who.Subject, "main", "next", 1)
	if _, err := r.Verify(bundle, [32]byte{}, who); err == nil || !strings.Contains(err.Error(), "identity: it was signed by") {
		t.Errorf("by somebody else: %v", err)
	}
}

// TestVirtual verifies what sigstore-go makes for its own tests, up to the timestamp of a certificate log that it leaves out.
func TestVirtual(t *testing.T) {
	t.Parallel()
	r, sum := root(t, read(t, "virtual.json")), sha256.Sum256([]byte("a plugin\n"))
	who := sigstore.Identity{Issuer: "https://issuer.example", Subject: "author@example.com"}
	for _, name := range []string{"first", "second", "file"} {
		text := read(t, "virtual-"+name+".sigstore.json")
		if _, err := r.Verify(text, sum, who); err == nil || !strings.Contains(err.Error(), "there is no timestamp of a log in it") {
			t.Errorf("%s: %v; want that all is right but the certificate's log", name, err)
		}
		var bundle map[string]any
		if err := json.Unmarshal(text, &bundle); err != nil {
			t.Fatal(err)
		}
		stamps, _ := at(t, bundle, "verificationMaterial.timestampVerificationData.rfc3161Timestamps")
		stamp := stamps["rfc3161Timestamps"].([]any)[0].(map[string]any)
		right, err := base64.StdEncoding.DecodeString(stamp["signedTimestamp"].(string))
		if err != nil {
			t.Fatal(err)
		}
		noticed := 0
		for i := range right { // few bytes say nothing that is of interest, such as which version of the form it is
			changed := bytes.Clone(right)
			changed[i] ^= 0x10
			stamp["signedTimestamp"] = base64.StdEncoding.EncodeToString(changed)
			p, err := json.Marshal(bundle)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Verify(p, sum, who); err != nil && strings.Contains(err.Error(), "rfc3161Timestamps[0]") {
				noticed++
			}
		}
		if noticed < len(right)*3/4 {
			t.Errorf("%s: only %d of %d changed bytes of the timestamp are noticed", name, noticed, len(right))
		}
	}
}

func TestRootErrors(t *testing.T) {
	t.Parallel()
	const kind = `"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"`
	for text, want := range map[string]string{
		"":               "trusted root: ",
		"{}":             "mediaType",
		`{` + kind + `}`: "must not be empty",
		`{` + kind + `, "tlogs": [{"publicKey": {"rawBytes": "AAAA"}}]}`:                                      "tlogs[0]",
		`{` + kind + `, "certificateAuthorities": [{}]}`:                                                      "certificateAuthorities[0]",
		`{` + kind + `, "certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": "AAAA"}]}}]}`: "certificateAuthorities[0]",
	} {
		if _, err := sigstore.ParseRoot([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	text, err := os.ReadFile("testdata/virtual.json")
	if err != nil {
		f.Fatal(err)
	}
	r, err := sigstore.ParseRoot(text)
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"first", "second", "file"} {
		bundle, err := os.ReadFile("testdata/virtual-" + name + ".sigstore.json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bundle)
	}
	sum := sha256.Sum256([]byte("a plugin\n"))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		if got, err := r.Verify(bundle, sum, sigstore.Identity{Issuer: "https://issuer.example", Subject: "author@example.com"}); err == nil {
			t.Errorf("verified: %+v", got)
		}
	})
}

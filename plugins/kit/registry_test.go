package kit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"chorale/plugins"
	"chorale/plugins/kit"
	"chorale/plugins/oci"
	"chorale/plugins/sigstore"
	"chorale/plugins/sigstore/sigstoretest"
	"chorale/toolhost/egress"
)

const (
	issuer  = "https://token.actions.githubusercontent.com"
	subject = "https://github.com/owner/units/.github/workflows/release.yml@refs/tags/v1.0.0"
)

// A hub is a registry with the plugin units in it.
type hub struct {
	*httptest.Server
	registry http.Handler
	options  oci.Options
	latest   string        // a reference with a tag
	pinned   oci.Reference // the same with its digest
}

func newHub(t *testing.T, file string) *hub {
	t.Helper()
	h := &hub{registry: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
	h.Server = httptest.NewTLSServer(h.registry)
	t.Cleanup(h.Close)
	h.options = oci.Options{Client: client(t, h.Server)}
	h.latest = "oci://" + h.Listener.Addr().String() + "/tools/units"
	var err error
	if h.pinned, err = kit.Push(t.Context(), file, h.latest, h.options); err != nil {
		t.Fatal(err)
	}
	return h
}

// send makes a request of the registry itself.
func (h *hub) send(t *testing.T, method, path, contentType string, body []byte) {
	t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	if h.registry.ServeHTTP(w, r); w.Code/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

// attach puts a bundle of sigstore beside an image, as cosign does.
func (h *hub) attach(t *testing.T, bundle []byte) {
	t.Helper()
	const image, kind = "application/vnd.oci.image.manifest.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json"
	describe := func(mediaType string, p []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum(p), "size": len(p)}
	}
	for _, p := range [][]byte{bundle, []byte("{}")} {
		h.send(t, "POST", "/v2/tools/units/blobs/uploads/?digest=sha256:"+sum(p), "application/octet-stream", p)
	}
	body, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": image, "artifactType": kind,
		"config": describe("application/vnd.oci.empty.v1+json", []byte("{}")), "layers": []any{describe(kind, bundle)},
		"subject": map[string]any{"mediaType": image, "digest": h.pinned.Digest(), "size": 1}})
	if err != nil {
		t.Fatal(err)
	}
	h.send(t, "PUT", "/v2/tools/units/manifests/sha256:"+sum(body), image, body)
}

// release writes the plugin with its signature into a folder.
func release(t *testing.T, secret kit.SecretKey) string {
	t.Helper()
	file := put(t, filepath.Join(t.TempDir(), "units.wasm"), attached(t))
	if _, err := kit.SignFile(file, secret); err != nil {
		t.Fatal(err)
	}
	return file
}

func newSigstore(t *testing.T) (*sigstoretest.Sigstore, *kit.Signer) {
	t.Helper()
	s, err := sigstoretest.New(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	root, err := sigstore.ParseRoot(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	return s, &kit.Signer{Root: root, Identity: sigstore.Identity{Issuer: issuer, Subject: strings.Replace(subject, "v1.0.0", "*", 1)}}
}

// installed fails unless the plugin is in the folder, byte for byte.
func installed(t *testing.T, in kit.Installed, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(in.File); err != nil || !bytes.Equal(got, attached(t)) || in.Hash != sum(attached(t)) {
		t.Errorf("%+v has %d bytes, %v", in, len(got), err)
	}
}

// TestRegistry pushes a plugin and installs it, by tag and by digest, with the signature that came along.
func TestRegistry(t *testing.T) {
	t.Parallel()
	secret := newKey(t)
	h := newHub(t, release(t, secret))
	public, other := secret.Public(), newKey(t).Public()
	for _, from := range []string{h.latest, h.latest + ":latest", h.pinned.String()} {
		in, err := kit.Install(t.Context(), kit.InstallOptions{Folder: t.TempDir(), From: from, SHA256: sum(attached(t)), Key: &public, Registry: h.options})
		installed(t, in, err)
		if in.Origin != h.pinned.String() || len(in.Signed) != 1 || !strings.HasPrefix(in.Signed[0], "plugin:units version:1.0.0") {
			t.Errorf("%+v", in)
		}
	}
	unsigned := newHub(t, put(t, filepath.Join(t.TempDir(), "units.wasm"), attached(t)))
	for _, test := range []struct {
		name string
		o    kit.InstallOptions
		want string
	}{
		{"another key", kit.InstallOptions{From: h.latest, Key: &other, Registry: h.options}, "was made with the key"},
		{"no signature", kit.InstallOptions{From: unsigned.latest, Key: &public, Registry: unsigned.options}, "is not signed with a key"},
		{"another digest", kit.InstallOptions{From: h.latest, SHA256: sum(nil), Registry: h.options}, "is not installed"},
		{"a registry that is not listed", kit.InstallOptions{From: h.latest}, "is denied: 127.0.0.1 is a loopback address"},
		{"no reference", kit.InstallOptions{From: "oci://units"}, "REGISTRY/REPOSITORY"},
	} {
		test.o.Folder = filepath.Join(t.TempDir(), "plugins.d")
		if in, err := kit.Install(t.Context(), test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v; want %q", test.name, in, err, test.want)
		}
		if files, _ := os.ReadDir(test.o.Folder); len(files) > 0 {
			t.Errorf("%s: %v was written", test.name, files)
		}
	}
}

// TestScriptInRegistry pushes a script, which travels in a module, and installs it.
func TestScriptInRegistry(t *testing.T) {
	t.Parallel()
	const script = "// /// chorale\n// {\"name\": \"hi\", \"version\": \"1.0.0\", \"tools\": [{\"name\": \"greet\"}]}\n// ///\nexport default () => 'hi'\n"
	file := put(t, filepath.Join(t.TempDir(), "hi.js"), []byte(script))
	h := newHub(t, file)
	in, err := kit.Install(t.Context(), kit.InstallOptions{Folder: t.TempDir(), From: h.latest, Registry: h.options})
	if err != nil || filepath.Base(in.File) != "hi.wasm" {
		t.Fatalf("%+v, %v", in, err)
	}
	s, err := plugins.ReadSource(file)
	if err != nil || s.Hash() != in.Hash {
		t.Errorf("the script has the hash %s, what was installed %s, %v", s.Hash(), in.Hash, err)
	}
	folder, err := kit.Install(t.Context(), kit.InstallOptions{Folder: t.TempDir(), From: filepath.Dir(file)})
	if err != nil || folder.Hash != in.Hash {
		t.Errorf("from its folder: %+v, %v", folder, err)
	}
}

// TestPushRefuses what would not be what its author meant.
func TestPushRefuses(t *testing.T) {
	t.Parallel()
	wasm, manifest := units(t)
	folder := t.TempDir()
	bare := put(t, filepath.Join(folder, "bare.wasm"), wasm)
	signed := release(t, newKey(t))
	put(t, strings.TrimSuffix(signed, ".wasm")+".json", bytes.Replace(manifest, []byte("exactly"), []byte("roughly"), 1))
	for file, want := range map[string]string{bare: "has no manifest", signed: "does not cover"} {
		if _, err := kit.Push(t.Context(), file, "oci://127.0.0.1:1/units", oci.Options{Client: client(t)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}

// TestConfigThatLies has a registry show another manifest than the module has.
func TestConfigThatLies(t *testing.T) {
	t.Parallel()
	h := newHub(t, release(t, newKey(t)))
	_, manifest := units(t)
	shown := bytes.Replace(manifest, []byte("exactly"), []byte("roughly"), 1)
	ref, err := oci.Parse(h.latest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Push(t.Context(), oci.Plugin{Reference: ref, Module: attached(t), Manifest: shown}, h.options); err != nil {
		t.Fatal(err)
	}
	if in, err := kit.Install(t.Context(), kit.InstallOptions{Folder: t.TempDir(), From: h.latest, Registry: h.options}); err == nil || !strings.Contains(err.Error(), "is not the manifest in the module") {
		t.Errorf("%+v, %v", in, err)
	}
}

// TestSigstoreRegistry installs only what the author signed: the very image that the digest means.
func TestSigstoreRegistry(t *testing.T) {
	t.Parallel()
	const sign = "https://sigstore.dev/cosign/sign/v1"
	s, signer := newSigstore(t)
	var image, other [sha256.Size]byte
	h := newHub(t, put(t, filepath.Join(t.TempDir(), "units.wasm"), attached(t)))
	copy(image[:], decode(t, h.pinned.Digest()[len("sha256:"):]))
	install := func(signer *kit.Signer) (kit.Installed, error) {
		return kit.Install(t.Context(), kit.InstallOptions{Folder: t.TempDir(), From: h.latest, Signer: signer, Registry: h.options})
	}
	if in, err := install(signer); err == nil || !strings.Contains(err.Error(), "has no signature of sigstore") {
		t.Errorf("without a signature: %+v, %v", in, err)
	}
	add := func(sum [sha256.Size]byte, subject string) {
		t.Helper()
		bundle, err := s.SignStatement(sum, sign, issuer, subject)
		if err != nil {
			t.Fatal(err)
		}
		h.attach(t, bundle)
	}
	add(image, "https://github.com/stranger/units/.github/workflows/release.yml@refs/tags/v1.0.0")
	if in, err := install(signer); err == nil || !strings.Contains(err.Error(), "it was signed by") {
		t.Errorf("signed by a stranger: %+v, %v", in, err)
	}
	add(other, subject)
	if in, err := install(signer); err == nil {
		t.Errorf("with a signature of another image: %+v", in)
	}
	add(image, subject)
	in, err := install(signer)
	installed(t, in, err)
	if len(in.Signed) != 1 || in.Signed[0] != subject+" ("+issuer+") at 2026-11-01T12:00:00Z" {
		t.Errorf("%q", in.Signed)
	}
	anybody := *signer
	anybody.Identity = sigstore.Identity{}
	if in, err := install(&anybody); err == nil || !strings.Contains(err.Error(), "both needed") {
		t.Errorf("without an identity: %+v, %v", in, err)
	}
	// The tag is moved to an image that the author did not sign.
	_, manifest := units(t)
	wasm, err := plugins.Attach(attached(t), bytes.Replace(manifest, []byte("exactly"), []byte("roughly"), 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kit.Push(t.Context(), put(t, filepath.Join(t.TempDir(), "units.wasm"), wasm), h.latest, h.options); err != nil {
		t.Fatal(err)
	}
	if in, err := install(signer); err == nil {
		t.Errorf("after the tag was moved: %+v", in)
	}
	in, err = kit.Install(t.Context(), kit.InstallOptions{Folder: t.TempDir(), From: h.pinned.String(), Signer: signer, Registry: h.options})
	installed(t, in, err)
}

// TestSigstoreFile has the bundle beside the file.
func TestSigstoreFile(t *testing.T) {
	t.Parallel()
	s, signer := newSigstore(t)
	file := put(t, filepath.Join(t.TempDir(), "units.wasm"), attached(t))
	o := kit.InstallOptions{Folder: t.TempDir(), From: file, Signer: signer}
	if _, err := kit.Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), kit.BundleSuffix) {
		t.Errorf("without a bundle: %v", err)
	}
	bundle, err := s.SignFile(sha256.Sum256(attached(t)), issuer, subject)
	if err != nil {
		t.Fatal(err)
	}
	put(t, file+kit.BundleSuffix, bundle)
	in, err := kit.Install(t.Context(), o)
	installed(t, in, err)
	if about, err := kit.VerifyBundle(file, *signer); err != nil || !strings.HasPrefix(about, subject) {
		t.Errorf("%q, %v", about, err)
	}
	_, manifest := units(t)
	put(t, strings.TrimSuffix(file, ".wasm")+".json", bytes.Replace(manifest, []byte("exactly"), []byte("roughly"), 1))
	if _, err := kit.Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not covered by its signature") {
		t.Errorf("with another manifest beside it: %v", err)
	}
	put(t, file, append(attached(t), 0, 2, 1, 'x'))
	if _, err := kit.Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the signature is of the SHA-256") {
		t.Errorf("changed after it was signed: %v", err)
	}
}

// TestForeignRegistry installs a plugin of hyper-mcp, which has no manifest and lists its tools itself.
func TestForeignRegistry(t *testing.T) {
	t.Parallel()
	wasm, err := os.ReadFile("../testdata/hyper2.wasm")
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t, put(t, filepath.Join(t.TempDir(), "units.wasm"), attached(t)))
	h.send(t, "POST", "/v2/tools/units/blobs/uploads/?digest=sha256:"+sum(wasm), "application/octet-stream", wasm)
	h.send(t, "POST", "/v2/tools/units/blobs/uploads/?digest=sha256:"+sum([]byte("{}")), "application/octet-stream", []byte("{}"))
	const image = "application/vnd.oci.image.manifest.v1+json"
	body, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": image,
		"config": map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:" + sum([]byte("{}")), "size": 2},
		"layers": []any{map[string]any{"mediaType": "application/wasm", "digest": "sha256:" + sum(wasm), "size": len(wasm)}}})
	if err != nil {
		t.Fatal(err)
	}
	h.send(t, "PUT", "/v2/tools/units/manifests/foreign", image, body)
	in, err := kit.Install(t.Context(), kit.InstallOptions{Folder: t.TempDir(), From: h.latest + ":foreign", Registry: h.options})
	if err != nil || in.Manifest != nil || filepath.Base(in.File) != "units.wasm" || in.Hash != sum(wasm) {
		t.Fatalf("%+v, %v", in, err)
	}
	p, err := plugins.Open(t.Context(), in.File, plugins.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil || len(p.Manifest().Tools) == 0 {
		t.Errorf("it lists %d tools, %v", len(p.Manifest().Tools), err)
	}
}

// TestNewClient reaches what is public, and what the rules list.
func TestNewClient(t *testing.T) {
	t.Parallel()
	rule, err := egress.ParseRule("http://127.0.0.1:5000")
	if err != nil {
		t.Fatal(err)
	}
	c, err := kit.NewClient(rule)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for u, want := range map[string]bool{"https://ghcr.io/v2/": true, "https://registry.example:5000/v2/": true, "http://127.0.0.1:5000/v2/": true,
		"http://ghcr.io/v2/": false, "http://127.0.0.1:5001/v2/": false, "https://127.0.0.1/v2/": false, "https://169.254.169.254/": false} {
		if err := c.Check("GET", u); (err == nil) != want {
			t.Errorf("%s: %v, want %v", u, err, want)
		}
	}
}

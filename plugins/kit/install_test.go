package kit_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"chorale/plugins"
	"chorale/plugins/kit"
	"chorale/plugins/oci"
	"chorale/toolhost/egress"
)

func decode(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sum(p []byte) string {
	s := sha256.Sum256(p)
	return hex.EncodeToString(s[:])
}

// attached is a plugin in one file.
func attached(t testing.TB) []byte {
	t.Helper()
	wasm, manifest := units(t)
	whole, err := plugins.Attach(wasm, manifest)
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

func put(t testing.TB, name string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func newKey(t testing.TB) kit.SecretKey {
	t.Helper()
	k, err := kit.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	secret := newKey(t)
	again, err := kit.ParseSecretKey(secret.File())
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("a module")
	text, err := again.Sign(data, "version 1")
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{string(secret.Public().File()), secret.Public().String()} {
		public, err := kit.ParsePublicKey([]byte(form))
		if err != nil {
			t.Fatal(err)
		}
		if about, err := public.Verify(data, text); err != nil || about != "version 1" {
			t.Errorf("%q, %v", about, err)
		}
	}
	lines := strings.Split(string(text), "\n")
	with := func(line int, with string) []byte {
		changed := append([]string{}, lines...)
		changed[line] = with
		return []byte(strings.Join(changed, "\n"))
	}
	other, err := newKey(t).Sign(data, "version 1")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		data      []byte
		signature []byte
		want      string
	}{
		{"changed file", []byte("a Module"), text, "was changed"},
		{"changed comment", data, with(2, "trusted comment: version 2"), "the comment was changed"},
		{"another key", data, other, "it was made with the key"},
		{"a signature taken from another one", data, with(1, strings.Split(string(other), "\n")[1]), "it was made with the key"},
		{"no base64", data, with(1, "?"), "no base64"},
		{"another algorithm", data, with(1, "QUFB"), "no Ed25519 line"},
		{"empty", data, nil, "four lines"},
		{"the second one is missing", data, []byte(strings.Join(lines[:3], "\n")), "four lines"},
	} {
		if _, err := secret.Public().Verify(test.data, test.signature); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := kit.ParseSecretKey(secret.Public().File()); err == nil {
		t.Error("a public key is taken for a secret one")
	}
	if _, err := secret.Sign(data, "two\nlines"); err == nil {
		t.Error("a comment of two lines is signed")
	}
}

// TestMinisign verifies a signature that minisign 0.11 made.
func TestMinisign(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		p, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	key, err := kit.ParsePublicKey(read("minisign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if about, err := key.Verify(read("signed.txt"), read("signed.txt.minisig")); err != nil || about != "made by minisign" {
		t.Errorf("%q, %v", about, err)
	}
	if about, err := key.Verify(read("signed.txt"), read("signed.txt.old.minisig")); err != nil || about != "made by minisign without a hash" {
		t.Errorf("%q, %v", about, err)
	}
}

func TestSignFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	wasm, manifest := units(t)
	secret := newKey(t)
	bare := put(t, filepath.Join(folder, "bare.wasm"), wasm)
	if _, err := kit.SignFile(bare, secret); err == nil || !strings.Contains(err.Error(), "no manifest") {
		t.Errorf("without a manifest: %v", err)
	}
	put(t, filepath.Join(folder, "bare.json"), manifest)
	if _, err := kit.SignFile(bare, secret); err == nil || !strings.Contains(err.Error(), "does not cover") {
		t.Errorf("with the manifest beside: %v", err)
	}
	file := put(t, filepath.Join(folder, "units.wasm"), attached(t))
	if _, err := kit.SignFile(file, secret); err != nil {
		t.Fatal(err)
	}
	about, err := kit.VerifyFile(file, secret.Public())
	if want := "plugin:units version:1.0.0 sha256:" + sum(attached(t)); err != nil || about != want {
		t.Errorf("%q, %v; want %q", about, err, want)
	}
	other := strings.Replace(string(manifest), "exactly", "roughly", 1)
	put(t, filepath.Join(folder, "units.json"), []byte(other))
	if _, err := kit.VerifyFile(file, secret.Public()); err == nil || !strings.Contains(err.Error(), "does not cover") {
		t.Errorf("with another manifest beside: %v", err)
	}
}

func TestInstallFile(t *testing.T) {
	t.Parallel()
	wasm, manifest := units(t)
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "plugins.d")
	file := put(t, filepath.Join(from, "x.wasm"), wasm)
	o := kit.InstallOptions{Folder: to, From: file}
	if _, err := kit.Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no manifest") {
		t.Errorf("without a manifest: %v", err)
	}
	put(t, filepath.Join(from, "x.json"), manifest)
	in, err := kit.Install(t.Context(), o)
	if err != nil || in.File != filepath.Join(to, "units.wasm") || in.Hash != sum(attached(t)) || in.Replaced != "" {
		t.Fatalf("%+v, %v", in, err)
	}
	list, err := kit.List(to)
	if err != nil || len(list) != 1 || list[0].Err != nil || list[0].Hash != in.Hash || list[0].Manifest.Name != "units" {
		t.Errorf("%+v, %v", list, err)
	}
	newer := strings.Replace(string(manifest), `"1.0.0"`, `"1.0.1"`, 1)
	put(t, filepath.Join(from, "x.json"), []byte(newer))
	if next, err := kit.Install(t.Context(), o); err != nil || next.Replaced != in.Hash {
		t.Errorf("%+v, %v; want that %s was replaced", next, err, in.Hash)
	}
	put(t, filepath.Join(to, "units.json"), manifest)
	if _, err := kit.Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "would win") {
		t.Errorf("with a manifest in the folder: %v", err)
	}
	if err := os.Remove(filepath.Join(to, "units.json")); err != nil {
		t.Fatal(err)
	}
	if folder, err := kit.Install(t.Context(), kit.InstallOptions{Folder: to, From: from}); err != nil || folder.File != in.File || folder.Origin != file {
		t.Errorf("from a folder: %+v, %v", folder, err)
	}
	put(t, filepath.Join(from, "y.wasm"), wasm)
	if _, err := kit.Install(t.Context(), kit.InstallOptions{Folder: to, From: from}); err == nil || !strings.Contains(err.Error(), "has 2 plugins (x.wasm, y.wasm)") {
		t.Errorf("from a folder with two: %v", err)
	}
	if _, err := kit.Install(t.Context(), kit.InstallOptions{Folder: to, From: file, SHA256: sum(nil)}); err == nil || !strings.Contains(err.Error(), "is not installed") {
		t.Errorf("a file with another digest: %v", err)
	}
	put(t, filepath.Join(to, "broken.wasm"), []byte("MZ"))
	if list, err := kit.List(to); err != nil || len(list) != 2 || list[0].Err == nil {
		t.Errorf("%+v, %v", list, err)
	}
	if left, err := filepath.Glob(filepath.Join(to, ".install-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// client may talk to the servers, and to nobody else. It reads a little more than the plugins of these tests have.
func client(t testing.TB, servers ...*httptest.Server) *egress.Client {
	t.Helper()
	roots := x509.NewCertPool()
	var rules []egress.Rule
	for _, s := range servers {
		roots.AddCert(s.Certificate())
		rule, err := egress.ParseRule(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule)
	}
	c, err := egress.New(egress.Options{Policy: egress.NewPolicy("test", rules...), RootCAs: roots, Limits: egress.Limits{ResponseBody: 8 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestInstallReadsOnce has a server that gives other content when it is asked again: what was checked is what is written.
func TestInstallReadsOnce(t *testing.T) {
	t.Parallel()
	whole, secret := attached(t), newKey(t)
	signature, err := secret.Sign(whole, "ours")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/units.wasm":
			w.Write(signature)
		case asked.Add(1) == 1:
			w.Write(whole)
		default:
			w.Write([]byte("\x00asm\x01\x00\x00\x00"))
		}
	}))
	t.Cleanup(s.Close)
	public := secret.Public()
	in, err := kit.Install(t.Context(), kit.InstallOptions{Folder: t.TempDir(), From: s.URL + "/units.wasm", SHA256: sum(whole), Key: &public, Registry: oci.Options{Client: client(t, s)}})
	installed(t, in, err)
	if n := asked.Load(); n != 1 {
		t.Errorf("the file was asked for %d times", n)
	}
}

func TestInstallURL(t *testing.T) {
	t.Parallel()
	whole, secret := attached(t), newKey(t)
	signature, err := secret.Sign(whole, "ours")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/units.wasm", "/unsigned.wasm":
			w.Write(whole)
		case "/moved.wasm":
			http.Redirect(w, r, "/units.wasm", http.StatusFound)
		case "/inside.wasm":
			http.Redirect(w, r, "https://169.254.169.254/units.wasm", http.StatusFound)
		case "/endless.wasm":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		case "/units.wasm.minisig":
			w.Write(signature)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	public, other := secret.Public(), newKey(t).Public()
	for _, test := range []struct {
		name, path, sha256 string
		key                *kit.PublicKey
		want               string // of the error; "" for success
	}{
		{"the digest is right", "/units.wasm", sum(whole), nil, ""},
		{"digest and signature are right", "/units.wasm", strings.ToUpper(sum(whole)), &public, ""},
		{"no digest", "/units.wasm", "", &public, "sha256 is missing"},
		{"another digest", "/units.wasm", sum(nil), nil, "is not installed"},
		{"no digest at all", "/units.wasm", "abc", nil, "64 hexadecimal digits"},
		{"another key", "/units.wasm", sum(whole), &other, "was made with the key"},
		{"no signature", "/unsigned.wasm", sum(whole), &public, "404"},
		{"no file", "/none.wasm", sum(whole), nil, "404"},
		{"a redirect to the same content", "/moved.wasm", sum(whole), nil, ""},
		{"a redirect to a private address", "/inside.wasm", sum(whole), nil, "is denied"},
		{"no end", "/endless.wasm", sum(whole), nil, "limit of response body"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "plugins.d")
			in, err := kit.Install(t.Context(), kit.InstallOptions{Folder: folder, From: s.URL + test.path, SHA256: test.sha256, Key: test.key, Registry: oci.Options{Client: client(t, s)}})
			if test.want == "" {
				if err != nil || in.Hash != sum(whole) || strings.Join(in.Signed, "") == "ours" != (test.key != nil) {
					t.Errorf("%+v, %v", in, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if files, _ := os.ReadDir(folder); len(files) > 0 {
				t.Errorf("%v was written", files)
			}
		})
	}
	if _, err := kit.Install(context.Background(), kit.InstallOptions{From: "http://127.0.0.1/x.wasm"}); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("plain http: %v", err)
	}
}

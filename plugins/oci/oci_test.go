package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"chorale/plugins/oci"
	"chorale/toolhost/egress"
)

// A server is a registry on loopback, with something between it and the client.
type server struct {
	*httptest.Server
	t        *testing.T
	registry http.Handler
	between  func(w http.ResponseWriter, r *http.Request, registry http.Handler)
	requests sync.Map // "METHOD path" → *atomic.Int64
}

func serve(t *testing.T, between func(w http.ResponseWriter, r *http.Request, registry http.Handler)) *server {
	t.Helper()
	s := &server{t: t, between: between, registry: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := s.requests.LoadOrStore(r.Method+" "+r.URL.Path, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	if s.between != nil {
		s.between(w, r, s.registry)
		return
	}
	s.registry.ServeHTTP(w, r)
}

func (s *server) count(request string) int64 {
	n, ok := s.requests.Load(request)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// client may talk to the servers, and to nobody else.
func client(t *testing.T, servers ...*httptest.Server) *egress.Client {
	t.Helper()
	roots := x509.NewCertPool()
	var rules []egress.Rule
	for _, s := range servers {
		if c := s.Certificate(); c != nil {
			roots.AddCert(c)
		}
		rule, err := egress.ParseRule(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule)
	}
	c, err := egress.New(egress.Options{Policy: egress.NewPolicy("registries", rules...), RootCAs: roots, Limits: egress.Limits{ResponseBody: -1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (s *server) options(t *testing.T) oci.Options { return oci.Options{Client: client(t, s.Server)} }

func (s *server) reference(rest string) oci.Reference {
	s.t.Helper()
	r, err := oci.Parse(oci.Scheme + s.Listener.Addr().String() + "/" + rest)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// send makes a request of the registry itself.
func (s *server) send(method, path, contentType string, body []byte) {
	s.t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	if s.registry.ServeHTTP(w, r); w.Code/100 != 2 {
		s.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

func digestOf(p []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(p)) }

// A blob is a descriptor with its content.
type blob struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Platform     map[string]string `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	content      []byte
}

func newBlob(mediaType string, content []byte) blob {
	return blob{MediaType: mediaType, Digest: digestOf(content), Size: int64(len(content)), content: content}
}

const (
	imageManifest = "application/vnd.oci.image.manifest.v1+json"
	imageIndex    = "application/vnd.oci.image.index.v1+json"
	imageConfig   = "application/vnd.oci.image.config.v1+json"
	imageLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// image puts an image into the repository hyper, tagged v1, and returns its descriptor.
func (s *server) image(artifactType string, config blob, layers ...blob) blob {
	s.t.Helper()
	for _, b := range append([]blob{config}, layers...) {
		if b.content != nil {
			s.send("POST", "/v2/hyper/blobs/uploads/?digest="+b.Digest, "application/octet-stream", b.content)
		}
	}
	body := marshal(s.t, map[string]any{"schemaVersion": 2, "mediaType": imageManifest, "artifactType": artifactType, "config": config, "layers": layers})
	s.send("PUT", "/v2/hyper/manifests/v1", imageManifest, body)
	return newBlob(imageManifest, body)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	p, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// module is what begins like one.
func module(rest string) []byte { return []byte("\x00asm\x01\x00\x00\x00" + rest) }

// A tarFile is one file of an archive.
type tarFile struct {
	name     string
	content  []byte
	typeflag byte
}

func archive(t *testing.T, files ...tarFile) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.content)), Typeflag: f.typeflag, Mode: 0o644, Linkname: "x", Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t *testing.T, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParse(t *testing.T) {
	t.Parallel()
	digest := digestOf(nil)
	for text, want := range map[string]string{
		"oci://ghcr.io/a/b":                                  "oci://ghcr.io/a/b:latest",
		"oci://ghcr.io/a/b:1.0":                              "oci://ghcr.io/a/b:1.0",
		"oci://localhost:5000/b@" + digest:                   "oci://localhost:5000/b@" + digest,
		"oci://ghcr.io/a/b:1.0@" + digest:                    "oci://ghcr.io/a/b@" + digest,
		"oci://[::1]:5000/b":                                 "oci://[::1]:5000/b:latest",
		"ghcr.io/a/b":                                        "",
		"oci://ghcr.io":                                      "",
		"oci://ghcr.io/A/b":                                  "",
		"oci://ghcr.io/a/../b":                               "",
		"oci://user:word@ghcr.io/a":                          "",
		"oci://ghcr.io/a/b?x=y":                              "",
		"oci://ghcr.io/a@sha256:abc":                         "",
		"oci://ghcr.io/a@sha512:" + strings.Repeat("a", 128): "",
	} {
		r, err := oci.Parse(text)
		if want == "" && err == nil || want != "" && (err != nil || r.String() != want) {
			t.Errorf("%s: %v, %v; want %q", text, r, err, want)
		}
	}
	r, err := oci.Parse("oci://ghcr.io/a/b@" + digest)
	if err != nil || r.Name() != "b" || r.Digest() != digest {
		t.Errorf("%q %q, %v", r.Name(), r.Digest(), err)
	}
}

// TestPushAndPull sends a plugin twice: its digest is the same, and it comes back byte for byte, by tag and by digest.
func TestPushAndPull(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	o := s.options(t)
	p := oci.Plugin{Reference: s.reference("tools/units:1.0.0"), Module: module("units"), Manifest: []byte(`{"name":"units"}`), Signature: []byte("signed"), Annotations: map[string]string{"a": "b"}}
	first, err := oci.Push(t.Context(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := oci.Push(t.Context(), p, o); err != nil || again != first || first.Digest() == "" {
		t.Errorf("%v, %v; want %v", again, err, first)
	}
	for _, r := range []oci.Reference{p.Reference, first} {
		got, err := oci.Pull(t.Context(), r, o)
		if err != nil || got.Reference != first || !bytes.Equal(got.Module, p.Module) || !bytes.Equal(got.Manifest, p.Manifest) || !bytes.Equal(got.Signature, p.Signature) {
			t.Errorf("%v: %+v, %v", r, got, err)
		}
	}
	if _, err := oci.Push(t.Context(), oci.Plugin{Reference: first, Module: p.Module, Manifest: p.Manifest}, o); err == nil || !strings.Contains(err.Error(), "pushed to a tag") {
		t.Errorf("to a digest: %v", err)
	}
	if _, err := oci.Push(t.Context(), oci.Plugin{Reference: p.Reference, Module: p.Module}, o); err == nil || !strings.Contains(err.Error(), "a manifest") {
		t.Errorf("without a manifest: %v", err)
	}
	if _, err := oci.Pull(t.Context(), s.reference("tools/units:2"), o); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a tag that is not there: %v", err)
	}
}

// TestForeign pulls what hyper-mcp and image builders push.
func TestForeign(t *testing.T) {
	t.Parallel()
	wasm := module("foreign")
	config := newBlob(imageConfig, []byte(`{}`))
	packed := newBlob(imageLayer, zip(t, archive(t, tarFile{"etc/", nil, tar.TypeDir}, tarFile{"./plugin.wasm", wasm, tar.TypeReg})))
	for _, test := range []struct {
		name string
		put  func(s *server)
		want string // of the error
	}{
		{"an artifact with a module", func(s *server) {
			s.image("application/vnd.example", config, newBlob("application/vnd.wasm.content.layer.v1+wasm", wasm))
		}, ""},
		{"an image with one layer", func(s *server) { s.image("", config, packed) }, ""},
		{"an archive that is not compressed", func(s *server) {
			s.image("", config, newBlob("application/vnd.oci.image.layer.v1.tar", archive(t, tarFile{"/plugin.wasm", wasm, tar.TypeReg})))
		}, ""},
		{"an empty layer beside it", func(s *server) { s.image("", config, newBlob(imageLayer, zip(t, archive(t))), packed) }, ""},
		{"an index with many platforms", func(s *server) {
			d := s.image("", config, packed)
			other, attestation := d, d
			d.Platform = map[string]string{"os": "linux", "architecture": "amd64"}
			other.Platform = map[string]string{"os": "linux", "architecture": "arm64"}
			attestation.Platform = map[string]string{"os": "unknown", "architecture": "unknown"}
			s.send("PUT", "/v2/hyper/manifests/v1", imageIndex, marshal(t, map[string]any{"schemaVersion": 2, "mediaType": imageIndex, "manifests": []blob{other, attestation, d}}))
		}, ""},
		{"an index without ours", func(s *server) {
			d := s.image("", config, packed)
			d.Platform = map[string]string{"os": "linux", "architecture": "arm64"}
			s.send("PUT", "/v2/hyper/manifests/v1", imageIndex, marshal(t, map[string]any{"schemaVersion": 2, "mediaType": imageIndex, "manifests": []blob{d, d}}))
		}, "none of its 2 manifests"},
		{"two modules", func(s *server) { s.image("", config, packed, newBlob("application/wasm", wasm)) }, "layers[1]: it is a second module"},
		{"no module", func(s *server) {
			s.image("", config, newBlob(imageLayer, zip(t, archive(t, tarFile{"bin/plugin.wasm", wasm, tar.TypeReg}))))
		}, "plugin.wasm at its root"},
		{"no layers", func(s *server) { s.image("", config) }, "there are 0"},
		{"a link", func(s *server) {
			s.image("", config, newBlob(imageLayer, zip(t, archive(t, tarFile{"plugin.wasm", nil, tar.TypeSymlink}))))
		}, "no regular file"},
		{"damaged gzip", func(s *server) { s.image("", config, newBlob(imageLayer, packed.content[:len(packed.content)/2])) }, "archive"},
		{"zstd", func(s *server) { s.image("", config, newBlob(imageLayer, []byte{0x28, 0xb5, 0x2f, 0xfd, 0})) }, "zstd"},
		{"our form with another config", func(s *server) { s.image(oci.ArtifactType, config, newBlob(oci.ModuleType, wasm)) }, "config: its type"},
		{"our form with another layer", func(s *server) {
			s.image(oci.ArtifactType, newBlob(oci.ManifestType, []byte("{}")), newBlob(oci.ModuleType, wasm), packed)
		}, "layers: they must be"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, nil)
			s.t = t
			test.put(s)
			p, err := oci.Pull(t.Context(), s.reference("hyper:v1"), s.options(t))
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				return
			}
			if err != nil || !bytes.Equal(p.Module, wasm) || p.Manifest != nil {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func TestUnpackIsBounded(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 1<<20)
	for _, files := range [][]tarFile{{{"plugin.wasm", zeros, tar.TypeReg}}, {{"first", zeros, tar.TypeReg}, {"plugin.wasm", module(""), tar.TypeReg}}} {
		layer := zip(t, archive(t, files...))
		if _, err := oci.Unpack(layer, 1<<20); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
			t.Errorf("%d bytes unpack to more than they may: %v", len(layer), err)
		}
		if got, err := oci.Unpack(layer, 1<<21); err != nil || got == nil {
			t.Errorf("within the limit: %d bytes, %v", len(got), err)
		}
	}
}

// TestHostileRegistry has registries that lie. Nothing of what they say must come out as a plugin.
func TestHostileRegistry(t *testing.T) {
	t.Parallel()
	wasm, manifest := module("units"), []byte(`{"name":"units"}`)
	other := module("other")
	isBlob := func(r *http.Request, p []byte) bool {
		return r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/blobs/"+digestOf(p))
	}
	isManifest := func(r *http.Request) bool { return r.Method == "GET" && strings.Contains(r.URL.Path, "/manifests/") }
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(bytes.Repeat([]byte{'x'}, 1<<16)); err != nil {
				return
			}
		}
	}
	for _, test := range []struct {
		name    string
		between func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool
		want    string
	}{
		{"other bytes under the module's digest", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if isBlob(r, wasm) {
				w.Write(other)
			}
			return isBlob(r, wasm)
		}, "layers[0]: mismatch"},
		{"other bytes under the manifest's digest", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if isBlob(r, manifest) {
				w.Write([]byte(`{"name":"other"}`)[:len(manifest)])
			}
			return isBlob(r, manifest)
		}, "config: mismatch"},
		{"an image manifest that is not what its digest says", func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
			if !isManifest(r) {
				return false
			}
			rec := httptest.NewRecorder()
			registry.ServeHTTP(rec, r)
			w.Header().Set("Content-Type", imageManifest)
			w.Header().Set("Docker-Content-Digest", rec.Header().Get("Docker-Content-Digest"))
			w.Write(bytes.Replace(rec.Body.Bytes(), []byte(digestOf(wasm)), []byte(digestOf(other)), 1))
			return true
		}, "mismatch"},
		{"less than it says", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if isBlob(r, wasm) {
				w.Write(wasm[:4])
			}
			return isBlob(r, wasm)
		}, "layers[0]: "},
		{"a module without an end", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if isBlob(r, wasm) {
				endless(w, r)
			}
			return isBlob(r, wasm)
		}, "layers[0]: "},
		{"an image manifest without an end", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if isManifest(r) {
				w.Header().Set("Content-Type", imageManifest)
				endless(w, r)
			}
			return isManifest(r)
		}, "trailing data"},
		{"an image manifest that is huge", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if isManifest(r) {
				w.Header().Set("Content-Type", imageManifest)
				w.Header().Set("Content-Length", strconv.Itoa(1<<40))
				w.Header().Set("Docker-Content-Digest", digestOf(nil))
				w.Write([]byte("{}"))
			}
			return isManifest(r)
		}, "are the most"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
				if !test.between(w, r, registry) {
					registry.ServeHTTP(w, r)
				}
			})
			o := s.options(t)
			pushed := oci.Plugin{Reference: s.reference("units:1"), Module: wasm, Manifest: manifest}
			if _, err := oci.Push(t.Context(), pushed, o); err != nil {
				t.Fatal(err)
			}
			if p, err := oci.Pull(t.Context(), pushed.Reference, o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v, %v; want %q", p, err, test.want)
			}
		})
	}
}

// TestHugeLayerIsNotFetched: the size in the manifest is enough to know.
func TestHugeLayerIsNotFetched(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	layer := newBlob(imageLayer, []byte("small"))
	layer.Size = 1 << 40
	s.image("", newBlob(imageConfig, []byte("{}")), layer)
	if p, err := oci.Pull(t.Context(), s.reference("hyper:v1"), s.options(t)); err == nil || !strings.Contains(err.Error(), "layers[0]: it has 1099511627776 bytes") {
		t.Errorf("%+v, %v", p, err)
	}
	if n := s.count("GET /v2/hyper/blobs/" + layer.Digest); n != 0 {
		t.Errorf("it was asked for %d times", n)
	}
}

// TestMovedTag moves the tag while a plugin is pulled: what comes is one of both, whole.
func TestMovedTag(t *testing.T) {
	t.Parallel()
	var moved atomic.Bool
	var move func()
	s := serve(t, func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
		registry.ServeHTTP(w, r)
		if r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/manifests/1") && !moved.Swap(true) {
			move()
		}
	})
	o := s.options(t)
	first := oci.Plugin{Reference: s.reference("units:1"), Module: module("first"), Manifest: []byte(`{"name":"first"}`)}
	second := oci.Plugin{Reference: first.Reference, Module: module("second"), Manifest: []byte(`{"name":"second"}`)}
	move = func() {
		if _, err := oci.Push(context.Background(), second, o); err != nil {
			t.Error(err)
		}
	}
	pinned, err := oci.Push(t.Context(), first, o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := oci.Pull(t.Context(), first.Reference, o)
	if err != nil || !bytes.Equal(p.Module, first.Module) || !bytes.Equal(p.Manifest, first.Manifest) || p.Reference != pinned {
		t.Errorf("%+v, %v; want the first", p, err)
	}
	if n := s.count("GET /v2/units/manifests/1"); n != 1 || !moved.Load() {
		t.Errorf("the tag was resolved %d times", n)
	}
	if p, err := oci.Pull(t.Context(), pinned, o); err != nil || !bytes.Equal(p.Module, first.Module) {
		t.Errorf("by digest: %+v, %v", p, err)
	}
}

// TestRedirects sends a client elsewhere for a blob: to a place that is listed, without its password, and to one that is not.
func TestRedirects(t *testing.T) {
	t.Parallel()
	wasm := module("units")
	var seen atomic.Int64
	store := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		if r.Header.Get("Authorization") != "" {
			t.Error("the store of blobs sees the password")
		}
		w.Write(wasm)
	}))
	t.Cleanup(store.Close)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
		switch user, password, _ := r.BasicAuth(); {
		case user != "me" || password != "word":
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/blobs/"+digestOf(wasm)):
			http.Redirect(w, r, store.URL+"/there", http.StatusTemporaryRedirect)
		default:
			registry.ServeHTTP(w, r)
		}
	})
	p := oci.Plugin{Reference: s.reference("units:1"), Module: wasm, Manifest: []byte("{}")}
	o := oci.Options{Client: client(t, s.Server), User: "me", Password: "word"}
	if _, err := oci.Push(t.Context(), p, o); err != nil {
		t.Fatal(err)
	}
	var denied *egress.DeniedError
	if _, err := oci.Pull(t.Context(), p.Reference, o); !errors.As(err, &denied) || seen.Load() != 0 {
		t.Errorf("to a private address that is not listed: %v, after %d requests", err, seen.Load())
	}
	o.Client = client(t, s.Server, store)
	if got, err := oci.Pull(t.Context(), p.Reference, o); err != nil || !bytes.Equal(got.Module, wasm) || seen.Load() != 1 {
		t.Errorf("to a place that is listed: %+v, %v", got, err)
	}
}

// TestAccounts pulls from registries that want to know who asks.
func TestAccounts(t *testing.T) {
	t.Parallel()
	tokens := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user == "me" && password == "word" {
			fmt.Fprintf(w, `{"token": "for %s"}`, r.URL.Query().Get("scope"))
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(tokens.Close)
	s := serve(t, func(w http.ResponseWriter, r *http.Request, registry http.Handler) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer for repository:private/units:pull") {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`/token",service="here",scope="repository:private/units:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		registry.ServeHTTP(w, r)
	})
	p := oci.Plugin{Reference: s.reference("private/units:1"), Module: module("units"), Manifest: []byte("{}")}
	c := client(t, s.Server, tokens)
	if _, err := oci.Push(t.Context(), p, oci.Options{Client: c, User: "me", Password: "word"}); err != nil {
		t.Fatal(err)
	}
	config := func(text string) string {
		name := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	account := fmt.Sprintf(`{"auths": {"%s": {"auth": "%s"}}}`, s.Listener.Addr(), base64.StdEncoding.EncodeToString([]byte("me:word")))
	for _, test := range []struct {
		name string
		o    oci.Options
		want string
	}{
		{"flags", oci.Options{User: "me", Password: "word"}, ""},
		{"the wrong password", oci.Options{User: "me", Password: "world"}, "401"},
		{"nobody", oci.Options{}, "401"},
		{"a file", oci.Options{DockerConfig: config(account)}, ""},
		{"a file for others", oci.Options{DockerConfig: config(`{"auths": {"ghcr.io": {"auth": "bWU6d29yZA=="}}}`)}, "401"},
		{"a file that is none", oci.Options{DockerConfig: config("{")}, "accounts of registries"},
		{"a file that is not there", oci.Options{DockerConfig: filepath.Join(t.TempDir(), "none")}, "401"},
	} {
		test.o.Client = c
		if _, err := oci.Pull(t.Context(), p.Reference, test.o); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		} else if err != nil && strings.Contains(err.Error(), "world") {
			t.Errorf("%s: the error has the password: %v", test.name, err)
		}
	}
}

// TestPlainHTTP asks a registry without TLS, if the policy lists it so.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(plain.Close)
	r, err := oci.Parse(oci.Scheme + plain.Listener.Addr().String() + "/units:1")
	if err != nil {
		t.Fatal(err)
	}
	p := oci.Plugin{Reference: r, Module: module("units"), Manifest: []byte("{}")}
	if _, err := oci.Push(t.Context(), p, oci.Options{Client: client(t, plain)}); err != nil {
		t.Errorf("listed: %v", err)
	}
	everywhere, err := egress.ParseRule("https://*")
	if err != nil {
		t.Fatal(err)
	}
	c, err := egress.New(egress.Options{Policy: egress.NewPolicy("registries", everywhere)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var denied *egress.DeniedError
	if _, err := oci.Pull(t.Context(), r, oci.Options{Client: c}); !errors.As(err, &denied) {
		t.Errorf("not listed: %v", err)
	}
}

func TestBundles(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	o := s.options(t)
	subject := s.image("", newBlob(imageConfig, []byte("{}")), newBlob(imageLayer, []byte("x")))
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	config := newBlob("application/vnd.oci.empty.v1+json", []byte("{}"))
	for i, layerType := range []string{bundleType, "text/plain", bundleType} {
		layer := newBlob(layerType, fmt.Appendf(nil, "bundle %d", i))
		s.send("POST", "/v2/hyper/blobs/uploads/?digest="+layer.Digest, "application/octet-stream", layer.content)
		body := marshal(t, map[string]any{"schemaVersion": 2, "mediaType": imageManifest, "artifactType": layerType, "config": config, "layers": []blob{layer}, "subject": subject})
		s.send("PUT", "/v2/hyper/manifests/"+digestOf(body), imageManifest, body)
	}
	got, err := oci.Bundles(t.Context(), s.reference("hyper@"+subject.Digest), o)
	if text := string(bytes.Join(got, []byte(","))); err != nil || text != "bundle 0,bundle 2" && text != "bundle 2,bundle 0" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := oci.Bundles(t.Context(), s.reference("hyper@"+digestOf([]byte("unsigned"))), o); err != nil || len(got) != 0 {
		t.Errorf("without: %q, %v", got, err)
	}
	if _, err := oci.Bundles(t.Context(), s.reference("hyper:v1"), o); err == nil || !strings.Contains(err.Error(), "no digest") {
		t.Errorf("of a tag: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(module("x"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, layer []byte) {
		if got, err := oci.Unpack(layer, 1<<16); err != nil && got != nil {
			t.Errorf("%d bytes beside %v", len(got), err)
		}
	})
}

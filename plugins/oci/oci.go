// Package oci fetches plugins from registries of container images, and puts them there.
//
// It owns the form that a plugin has in a registry, the foreign forms that are understood, and the order of trust: a tag is
// resolved once, to the digest of a manifest, and everything else is fetched by digest and compared with it. It does not know
// what a plugin is, who may have made it, or where it is put: see the package plugins/kit.
//
// Functions are safe for concurrent use. All requests are made by an egress.Client, whose policy says which registries, token
// services and stores of blobs are within reach. A registry is asked over https, unless the policy allows it over http.
//
// # The form of a plugin
//
// An image manifest (OCI 1.1) with the artifactType ArtifactType. Its config is the plugin's manifest (ManifestType), so that
// people and programs can read it without fetching the rest; its first layer is the module with the same manifest attached
// (ModuleType). So the digest of that layer is the hash to which grants are bound. A second layer (SignatureType), if there is
// one, is the signature that minisign makes of the first. Equal plugins have equal manifests.
//
// # Foreign forms
//
// Of any other image or artifact, exactly one layer must be a module, or a tar archive, perhaps with gzip, that has the file
// plugin.wasm at its root: these are the forms of hyper-mcp. Of an index, the manifest for WASI, or else for linux/amd64, or
// else the only one is taken.
package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"chorale/toolhost/egress"
)

// The media types of a plugin.
const (
	ArtifactType  = "application/vnd.chorale.plugin.v1"
	ManifestType  = "application/vnd.chorale.plugin.manifest.v1+json"
	ModuleType    = "application/wasm"
	SignatureType = "application/vnd.chorale.plugin.signature.v1+minisig"
)

// Scheme begins the references.
const Scheme = "oci://"

// What is fetched, at most.
const (
	MostModule   = 256 << 20 // bytes of a layer, and of what is unpacked from one
	mostManifest = 4 << 20
	mostLayers   = 32
)

// A Reference is a place in a registry. The zero value is none; see Parse.
type Reference struct{ ref registry.Reference }

// Parse reads oci://REGISTRY/REPOSITORY, with :TAG or @sha256:DIGEST behind it; without either, the tag is "latest". If there
// are both, the digest holds.
func Parse(text string) (Reference, error) {
	name, ok := strings.CutPrefix(text, Scheme)
	if !ok {
		return Reference{}, fmt.Errorf("%q: a reference begins with %s", text, Scheme)
	}
	ref, err := registry.ParseReference(name)
	if err != nil {
		return Reference{}, fmt.Errorf("%q: it must be %sREGISTRY/REPOSITORY[:TAG|@sha256:DIGEST]: %w", text, Scheme, err)
	}
	ref.Reference = ref.ReferenceOrDefault()
	if d, err := ref.Digest(); err == nil && d.Algorithm() != digest.SHA256 {
		return Reference{}, fmt.Errorf("%q: the digest must be a sha256", text)
	}
	return Reference{ref}, nil
}

// String is the text that Parse reads.
func (r Reference) String() string { return Scheme + r.ref.String() }

// Name is the last part of the repository.
func (r Reference) Name() string {
	return r.ref.Repository[strings.LastIndexByte(r.ref.Repository, '/')+1:]
}

// Digest is that of the manifest, "sha256:" and hexadecimal digits; "" if there is a tag.
func (r Reference) Digest() string {
	d, err := r.ref.Digest()
	if err != nil {
		return ""
	}
	return d.String()
}

// Options say how a registry is reached.
type Options struct {
	Client *egress.Client // makes the requests
	// User and Password are sent to the registry, or the token service that it names, when it asks. Empty: those of the file.
	User, Password string
	DockerConfig   string // name of a config.json of Docker, which need not exist, with the accounts; "" = none
}

// A Plugin is what a registry has.
type Plugin struct {
	Reference Reference // with the digest of its manifest, or of the index that was asked for
	Module    []byte
	Manifest  []byte // nil in foreign forms
	Signature []byte // of Module; nil without one
	// Annotations are for people and programs that list registries. Pull does not fill them in.
	Annotations map[string]string
}

// repository makes the requests of one operation.
func (o Options) repository(r Reference) (*remote.Repository, error) {
	account, err := o.account()
	if err != nil {
		return nil, err
	}
	base := "://" + r.ref.Host() + "/v2/"
	return &remote.Repository{
		Reference: r.ref,
		PlainHTTP: o.Client.Check(http.MethodGet, "http"+base) == nil,
		Client: &auth.Client{
			Client: o.Client.HTTP(), Credential: account, Cache: auth.NewCache(), ClientID: "chorale",
			BlockedRealmPrefixes: []netip.Prefix{}, // the policy of the client decides, after names are resolved
		},
		MaxMetadataBytes: mostManifest, ReferrerListMaxPages: 4, TagListMaxPages: 1,
	}, nil
}

func (o Options) account() (auth.CredentialFunc, error) {
	if o.User != "" || o.Password != "" {
		return func(context.Context, string) (auth.Credential, error) {
			return auth.Credential{Username: o.User, Password: o.Password}, nil
		}, nil
	}
	if o.DockerConfig == "" {
		return nil, nil
	}
	store, err := credentials.NewStore(o.DockerConfig, credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("accounts of registries: %w", err)
	}
	return credentials.Credential(store), nil
}

// Pull fetches a plugin. All bytes have the digests that lead to them from that of Plugin.Reference, which is the one that was
// asked for, or what the tag stands for now.
func Pull(ctx context.Context, r Reference, o Options) (*Plugin, error) {
	p, err := pull(ctx, r, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	return p, nil
}

func pull(ctx context.Context, r Reference, o Options) (*Plugin, error) {
	repo, err := o.repository(r)
	if err != nil {
		return nil, err
	}
	top, body, err := resolve(ctx, repo)
	if err != nil {
		return nil, err
	}
	r.ref.Reference = top.Digest.String()
	if isIndex(top.MediaType) {
		if body, err = child(ctx, repo, body); err != nil {
			return nil, err
		}
	}
	var m specs.Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if m.ArtifactType == ArtifactType {
		return ours(ctx, repo, r, m)
	}
	module, err := foreign(ctx, repo, m.Layers)
	if err != nil {
		return nil, err
	}
	return &Plugin{Reference: r, Module: module}, nil
}

// resolve fetches the manifest or index that the reference of the repository stands for. From here on only digests count.
func resolve(ctx context.Context, repo *remote.Repository) (specs.Descriptor, []byte, error) {
	d, rc, err := repo.Manifests().FetchReference(ctx, repo.Reference.Reference)
	if err != nil {
		return d, nil, err
	}
	defer rc.Close()
	body, err := readAll(rc, d, mostManifest)
	return d, body, err
}

func isIndex(mediaType string) bool {
	return mediaType == specs.MediaTypeImageIndex || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
}

func isManifest(mediaType string) bool {
	return mediaType == specs.MediaTypeImageManifest || mediaType == "application/vnd.docker.distribution.manifest.v2+json"
}

// child fetches the manifest of an index that is for us.
func child(ctx context.Context, repo *remote.Repository, body []byte) ([]byte, error) {
	var index specs.Index
	if err := json.Unmarshal(body, &index); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	var candidates []specs.Descriptor
	best := -1
	for _, d := range index.Manifests {
		if !isManifest(d.MediaType) || d.Platform != nil && d.Platform.OS == "unknown" { // attestations of buildx
			continue
		}
		candidates = append(candidates, d)
		switch {
		case d.Platform == nil:
		case strings.HasPrefix(d.Platform.OS, "wasi"):
			best = len(candidates) - 1
		case best < 0 && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64":
			best = len(candidates) - 1
		}
	}
	if best < 0 && len(candidates) == 1 {
		best = 0
	}
	if best < 0 {
		return nil, fmt.Errorf("index: none of its %d manifests is for wasi or linux/amd64", len(candidates))
	}
	return fetch(ctx, repo.Manifests(), candidates[best], mostManifest)
}

// ours reads the plugin's own form.
func ours(ctx context.Context, repo *remote.Repository, r Reference, m specs.Manifest) (p *Plugin, err error) {
	if m.Config.MediaType != ManifestType {
		return nil, fmt.Errorf("config: its type is %q; it must be %s", m.Config.MediaType, ManifestType)
	}
	if n := len(m.Layers); n < 1 || n > 2 || m.Layers[0].MediaType != ModuleType || n == 2 && m.Layers[1].MediaType != SignatureType {
		return nil, fmt.Errorf("layers: they must be one of the type %s, and perhaps one of the type %s", ModuleType, SignatureType)
	}
	p = &Plugin{Reference: r}
	if p.Manifest, err = fetch(ctx, repo.Blobs(), m.Config, mostManifest); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if p.Module, err = fetch(ctx, repo.Blobs(), m.Layers[0], MostModule); err != nil {
		return nil, fmt.Errorf("layers[0]: %w", err)
	}
	if len(m.Layers) == 2 {
		if p.Signature, err = fetch(ctx, repo.Blobs(), m.Layers[1], mostManifest); err != nil {
			return nil, fmt.Errorf("layers[1]: %w", err)
		}
	}
	return p, nil
}

// foreign finds the one module in the layers.
func foreign(ctx context.Context, repo *remote.Repository, layers []specs.Descriptor) ([]byte, error) {
	if len(layers) == 0 || len(layers) > mostLayers {
		return nil, fmt.Errorf("layers: there are %d; want 1 to %d", len(layers), mostLayers)
	}
	var module []byte
	left := int64(MostModule)
	for i, d := range layers {
		blob, err := fetch(ctx, repo.Blobs(), d, left)
		if err != nil {
			return nil, fmt.Errorf("layers[%d]: %w", i, err)
		}
		left -= d.Size
		found, err := unpack(blob, MostModule)
		switch {
		case err != nil:
			return nil, fmt.Errorf("layers[%d]: %w", i, err)
		case found != nil && module != nil:
			return nil, fmt.Errorf("layers[%d]: it is a second module; a plugin is one", i)
		case found != nil:
			module = found
		}
	}
	if module == nil {
		return nil, errors.New("layers: there is neither a module nor an archive with plugin.wasm at its root")
	}
	return module, nil
}

// fetch returns the content that a descriptor means.
func fetch(ctx context.Context, from content.Fetcher, d specs.Descriptor, most int64) ([]byte, error) {
	if err := check(d, most); err != nil {
		return nil, err
	}
	rc, err := from.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return readAll(rc, d, most)
}

// check refuses before anything is allocated or fetched.
func check(d specs.Descriptor, most int64) error {
	switch {
	case d.Digest.Validate() != nil || d.Digest.Algorithm() != digest.SHA256:
		return fmt.Errorf("the digest %q is no sha256", d.Digest)
	case d.Size < 0 || d.Size > most:
		return fmt.Errorf("it has %d bytes; %d are the most", d.Size, most)
	}
	return nil
}

// readAll reads just as many bytes as the descriptor says and compares their digest.
func readAll(r io.Reader, d specs.Descriptor, most int64) ([]byte, error) {
	if err := check(d, most); err != nil {
		return nil, err
	}
	return content.ReadAll(r, d)
}

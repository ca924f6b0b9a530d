package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	specsgo "github.com/opencontainers/image-spec/specs-go"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
)

// Push puts a plugin where its reference says, which has a tag, and returns the reference with the digest of its manifest.
func Push(ctx context.Context, p Plugin, o Options) (Reference, error) {
	r := p.Reference
	if r.Digest() != "" {
		return r, fmt.Errorf("%s: a plugin is pushed to a tag; its digest comes of its content", r)
	}
	if len(p.Module) == 0 || len(p.Manifest) == 0 {
		return r, errors.New("a plugin that is pushed has a module and a manifest")
	}
	repo, err := o.repository(r)
	if err != nil {
		return r, err
	}
	m, err := p.push(ctx, repo)
	if err != nil {
		return r, fmt.Errorf("%s: %w", r, err)
	}
	r.ref.Reference = m.Digest.String()
	return r, nil
}

// push sends the blobs first, since a registry refuses a manifest without them.
func (p Plugin) push(ctx context.Context, repo *remote.Repository) (specs.Descriptor, error) {
	m := specs.Manifest{
		Versioned: specsgo.Versioned{SchemaVersion: 2}, MediaType: specs.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: describe(ManifestType, p.Manifest), Layers: []specs.Descriptor{describe(ModuleType, p.Module)}, Annotations: p.Annotations,
	}
	m.Layers[0].Annotations = map[string]string{specs.AnnotationTitle: fileName} // what oras calls the file
	blobs := [][]byte{p.Manifest, p.Module}
	if p.Signature != nil {
		m.Layers, blobs = append(m.Layers, describe(SignatureType, p.Signature)), append(blobs, p.Signature)
		m.Layers[1].Annotations = map[string]string{specs.AnnotationTitle: fileName + ".minisig"}
	}
	for i, d := range append([]specs.Descriptor{m.Config}, m.Layers...) {
		there, err := repo.Blobs().Exists(ctx, d)
		if err == nil && !there {
			err = repo.Blobs().Push(ctx, d, bytes.NewReader(blobs[i]))
		}
		if err != nil {
			return d, err
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return specs.Descriptor{}, err
	}
	d := describe(m.MediaType, body)
	return d, repo.PushReference(ctx, d, bytes.NewReader(body), repo.Reference.Reference)
}

func describe(mediaType string, p []byte) specs.Descriptor {
	return specs.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(p), Size: int64(len(p))}
}

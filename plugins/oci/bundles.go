package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// bundlePrefix begins the media types of bundles of sigstore.
const bundlePrefix = "application/vnd.dev.sigstore.bundle"

// What is fetched of bundles, at most.
const (
	mostBundles = 16
	mostBundle  = 1 << 20 // bytes of each
)

// Bundles fetches the bundles of sigstore that a registry lists as referring to a manifest, whose digest the reference has.
// What they say, and of what, is still to be verified.
func Bundles(ctx context.Context, r Reference, o Options) ([][]byte, error) {
	all, err := bundles(ctx, r, o)
	if err != nil {
		return nil, fmt.Errorf("%s: signatures: %w", r, err)
	}
	return all, nil
}

var errEnough = errors.New("there are enough")

func bundles(ctx context.Context, r Reference, o Options) ([][]byte, error) {
	subject, err := r.ref.Digest()
	if err != nil {
		return nil, errors.New("the reference has no digest")
	}
	repo, err := o.repository(r)
	if err != nil {
		return nil, err
	}
	var manifests []specs.Descriptor
	err = repo.Referrers(ctx, specs.Descriptor{MediaType: specs.MediaTypeImageManifest, Digest: subject}, "", func(page []specs.Descriptor) error {
		for _, d := range page {
			// Some registries give the type of the config, which is the empty one.
			if isManifest(d.MediaType) && (d.ArtifactType == "" || d.ArtifactType == specs.MediaTypeEmptyJSON || strings.HasPrefix(d.ArtifactType, bundlePrefix)) {
				manifests = append(manifests, d)
			}
			if len(manifests) == mostBundles {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) && !errors.Is(err, errdef.ErrNotFound) {
		return nil, err
	}
	var all [][]byte
	for _, d := range manifests {
		body, err := fetch(ctx, repo.Manifests(), d, mostManifest)
		if err != nil {
			return nil, err
		}
		var m specs.Manifest
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		for _, layer := range m.Layers {
			if !strings.HasPrefix(layer.MediaType, bundlePrefix) || len(all) == mostBundles {
				continue
			}
			bundle, err := fetch(ctx, repo.Blobs(), layer, mostBundle)
			if err != nil {
				return nil, err
			}
			all = append(all, bundle)
		}
	}
	return all, nil
}

package kit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"chorale/plugins"
	"chorale/plugins/oci"
)

// Push puts the plugin in the file, with its manifest inside and the signature beside it if there is one, into a registry. It
// returns the reference with the digest, by which others should install it.
func Push(ctx context.Context, file, to string, registry oci.Options) (oci.Reference, error) {
	ref, err := oci.Parse(to)
	if err != nil {
		return ref, err
	}
	s, err := plugins.ReadSource(file)
	if err != nil {
		return ref, err
	}
	if s.Manifest == nil {
		return ref, fmt.Errorf("%s has no manifest: write one, %s.json beside it", file, s.Name)
	}
	m, err := plugins.DecodeManifest(s.Manifest)
	if err != nil {
		return ref, err
	}
	p := oci.Plugin{Reference: ref, Manifest: s.Manifest, Annotations: annotations(m)}
	if p.Module, err = plugins.Attach(s.Wasm, s.Manifest); err != nil {
		return ref, err
	}
	switch signature, err := readFile(file+SignatureSuffix, mostSignature); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return ref, err
	default:
		if _, _, err := whole(file); err != nil { // what is pushed must be what was signed
			return ref, err
		}
		p.Module, p.Signature = s.Wasm, signature
	}
	return oci.Push(ctx, p, registry)
}

// annotations are what registries show (OCI image specification, annotations.md).
func annotations(m *plugins.Manifest) map[string]string {
	all := map[string]string{}
	for key, value := range map[string]string{"title": m.Name, "version": m.Version, "description": m.Description, "authors": m.Author, "licenses": m.License, "url": m.Homepage} {
		if value != "" {
			all["org.opencontainers.image."+key] = value
		}
	}
	return all
}

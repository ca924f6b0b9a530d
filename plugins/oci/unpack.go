package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
)

// fileName is the module's in an archive.
const fileName = "plugin.wasm"

// unpack returns the module that a layer is or has, nil if there is none. It unpacks no more than most bytes.
func unpack(layer []byte, most int64) ([]byte, error) {
	switch {
	case bytes.HasPrefix(layer, []byte("\x00asm")):
		return layer, nil
	case bytes.HasPrefix(layer, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bytes.NewReader(layer))
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		return fromTar(z, most)
	case bytes.HasPrefix(layer, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return nil, errors.New("it is compressed with zstd; push it with gzip or as a module")
	case len(layer) > 262 && string(layer[257:262]) == "ustar":
		return fromTar(bytes.NewReader(layer), most)
	}
	return nil, nil
}

// fromTar finds the module.
func fromTar(r io.Reader, most int64) ([]byte, error) {
	bounded := &io.LimitedReader{R: r, N: most + 1}
	var module []byte
	for archive := tar.NewReader(bounded); ; {
		h, err := archive.Next()
		switch {
		case bounded.N == 0:
			return nil, fmt.Errorf("it unpacks to more than %d bytes", most)
		case errors.Is(err, io.EOF):
			return module, nil
		case err != nil:
			return nil, fmt.Errorf("archive: %w", err)
		case path.Join("/", h.Name) != "/"+fileName:
			continue
		case h.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("archive: %s is no regular file", fileName)
		}
		if module, err = io.ReadAll(archive); err != nil && bounded.N > 0 {
			return nil, fmt.Errorf("archive: %s: %w", fileName, err)
		}
	}
}

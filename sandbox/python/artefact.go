package python

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// The interpreter as build/build.sh makes it, and our own modules, which need no building.
//
//go:embed artefact/*.zst artefact/manifest.json all:lib
var embedded embed.FS

// Where the guest finds the folders of artefactFiles, and what each is.
const (
	libMount     = "/lib"
	stdlibDir    = libMount + "/python3.13"    // the standard library, compiled
	runnerDir    = libMount + "/chorale"       // our own modules: _chorale and the like
	packagesDir  = libMount + "/site-packages" // third-party packages, compiled
	maxUnpacked  = 128 << 20                   // bytes of one embedded file, unpacked; a multiple of what they have
	moduleFile   = "python.wasm.zst"
	stdlibFile   = "stdlib.tar.zst"
	packagesFile = "packages.tar.zst"
)

// artefactModule returns the interpreter, instrumented.
func artefactModule() ([]byte, error) {
	wasm, err := unpack(moduleFile)
	if err != nil {
		return nil, fmt.Errorf("embedded interpreter: %w", err)
	}
	return wasm, nil
}

// artefactFiles calls add with every file that the guest must see below libMount, read-only: the standard library, packages
// and our own modules. Names are relative to libMount. add may keep data and must not change it; its error ends the walk.
func artefactFiles(add func(name string, data []byte) error) error {
	for _, name := range []string{stdlibFile, packagesFile} {
		if err := eachInArchive(name, add); err != nil {
			return fmt.Errorf("embedded %s: %w", name, err)
		}
	}
	err := eachLib(func(name string, data []byte) error { return add(path.Join(path.Base(runnerDir), name), data) })
	if err != nil {
		return fmt.Errorf("embedded modules: %w", err)
	}
	return nil
}

// artefactPath is sys.path, without the folders of a session and of an operator.
func artefactPath() []string { return []string{stdlibDir, runnerDir, packagesDir} }

// artefactHash identifies everything that artefactModule and artefactFiles return. It reads only the compressed files.
func artefactHash() [sha256.Size]byte {
	h := sha256.New()
	add := func(name string, data []byte) error {
		fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(data))
		return nil
	}
	for _, name := range []string{moduleFile, stdlibFile, packagesFile} {
		// A file that is missing, which the embedding rules out, counts as empty.
		data, _ := embedded.ReadFile(path.Join("artefact", name))
		add(name, data)
	}
	eachLib(add)
	return [sha256.Size]byte(h.Sum(nil))
}

// eachLib calls f with our own modules, in order.
func eachLib(f func(name string, data []byte) error) error {
	return fs.WalkDir(embedded, "lib", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "__pycache__" { // left behind by an interpreter outside
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		data, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		return f(strings.TrimPrefix(name, "lib/"), data)
	})
}

// eachInArchive calls f with the files of an embedded archive, which share one piece of memory.
func eachInArchive(name string, f func(name string, data []byte) error) error {
	archive, err := unpack(name)
	if err != nil {
		return err
	}
	rest := bytes.NewReader(archive)
	for r := tar.NewReader(rest); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		start := len(archive) - rest.Len() // the reader takes no more than the header
		if h.Size > int64(rest.Len()) {
			return fmt.Errorf("%s: %w", h.Name, io.ErrUnexpectedEOF)
		}
		if err := f(h.Name, archive[start:start+int(h.Size)]); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// unpack checks an embedded file against the manifest and decompresses it.
func unpack(name string) ([]byte, error) {
	data, err := embedded.ReadFile(path.Join("artefact", name))
	if err != nil {
		return nil, err
	}
	m, err := artefactManifest()
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != m.Outputs[name].SHA256 {
		return nil, fmt.Errorf("SHA-256 is %x, the manifest says %q", sum, m.Outputs[name].SHA256)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(data, nil)
}

// A manifest says what the artefact was made of and with. build/pack.py writes it.
type manifest struct {
	Recipe  map[string]string // SHA-256 by name, of the files in build
	Sources []struct{ Name, SHA256, From string }
	Tools   map[string]string
	Flags   string
	Python  string // version
	Outputs map[string]struct {
		Bytes  int64
		SHA256 string
	}
}

func artefactManifest() (manifest, error) {
	var m manifest
	data, err := embedded.ReadFile("artefact/manifest.json")
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return manifest{}, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

package kit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"chorale/plugins"
	"chorale/plugins/oci"
)

// InstallOptions say what is installed, and where.
type InstallOptions struct {
	Folder   string // of the plugins; it is made if need be
	From     string // name of a file or of a folder with one plugin, https URL, or reference of a registry (oci://)
	SHA256   string // of the file, or of the module in a registry, in hexadecimal; required for a URL
	Key      *PublicKey
	Signer   *Signer
	Registry oci.Options // accounts; its Client is for URLs as well; nil: NewClient()
}

// Installed is what Install put into the folder.
type Installed struct {
	File     string
	Manifest *plugins.Manifest // nil for Extism plugins that list their tools only when they run
	Hash     string            // to which grants are bound; also the SHA-256 of File
	Origin   string            // where it came from; for a registry, with the digest
	Signed   []string          // what the signatures say that were asked for
	Replaced string            // hash of the plugin that was there before, or ""
}

// Install puts a plugin into the folder, as one file with its manifest inside. With a Key there must be a signature by it:
// a file beside the plugin's, or in its image. With a Signer there must be one of sigstore: a bundle beside the plugin's file,
// or one that refers to its image. Digest and signatures are checked on the very bytes that are then written, and the file
// appears at once. Grants are not changed: a plugin with other content has none until the operator gives them.
func Install(ctx context.Context, o InstallOptions) (Installed, error) {
	if o.Registry.Client == nil {
		client, err := NewClient()
		if err != nil {
			return Installed{}, err
		}
		defer client.Close()
		o.Registry.Client = client
	}
	f, err := o.fetch(ctx)
	if err != nil {
		return Installed{}, err
	}
	in := Installed{Origin: f.origin}
	if in.Signed, err = o.verify(f); err != nil {
		return Installed{}, err
	}
	wasm, err := o.withManifest(f)
	if err != nil {
		return Installed{}, err
	}
	s, err := plugins.NewSource("plugin", wasm, nil)
	if err != nil {
		return Installed{}, err
	}
	inspection, err := s.Inspect()
	if err != nil {
		return Installed{}, err
	}
	name := f.name
	switch {
	case s.Manifest != nil:
		if in.Manifest, err = plugins.DecodeManifest(s.Manifest); err != nil {
			return Installed{}, err
		}
		name = in.Manifest.Name
	case inspection.ABI != plugins.ABIExtism:
		return Installed{}, fmt.Errorf("%s has no manifest in it: its author should run 'chorale plugin attach'", o.From)
	case !fileName.MatchString(name):
		return Installed{}, fmt.Errorf("%s has no manifest in it, and %q cannot be its name: it must match %s", o.From, name, fileName)
	}
	in.Hash, in.File = s.Hash(), filepath.Join(o.Folder, name+".wasm")
	return in, in.put(o.Folder, wasm)
}

// fileName is that of an Extism plugin, which becomes the plugin's.
var fileName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// withManifest puts the manifest that stands beside a local file into it. What was signed stays as it is.
func (o InstallOptions) withManifest(f fetched) ([]byte, error) {
	if f.manifest == nil {
		return f.wasm, nil
	}
	if o.Key != nil || o.Signer != nil {
		if inside, err := plugins.Attached(f.wasm); err != nil || !bytes.Equal(inside, f.manifest) {
			return nil, errors.Join(err, fmt.Errorf("the manifest beside %s is not covered by its signature", f.origin))
		}
		return f.wasm, nil
	}
	return plugins.Attach(f.wasm, f.manifest)
}

// put writes the file under another name and renames it, so that nobody sees half of it. A manifest beside the old file would
// win over the new one's own, so it keeps the plugin from being installed.
func (in *Installed) put(folder string, wasm []byte) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	beside := strings.TrimSuffix(in.File, ".wasm") + ".json"
	if _, err := os.Lstat(beside); err == nil {
		return fmt.Errorf("%s is there and would win over the manifest in the plugin: remove it first", beside)
	}
	if old, err := plugins.ReadSource(in.File); err == nil {
		in.Replaced = old.Hash()
	}
	f, err := os.CreateTemp(folder, ".install-*")
	if err != nil {
		return err
	}
	_, err = f.Write(wasm)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), in.File)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// An Entry is a file in a folder of plugins.
type Entry struct {
	File     string
	Manifest *plugins.Manifest // nil with Err, and for Extism plugins that list their tools only when they run
	ABI      plugins.ABI
	Hash     string
	Err      error // why it cannot be loaded
}

// List looks at the plugins in the folder, sorted by name, without compiling them.
func List(folder string) ([]Entry, error) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, f := range files {
		if _, ok := plugins.Stem(f.Name()); ok && !strings.HasPrefix(f.Name(), ".") {
			all = append(all, look(filepath.Join(folder, f.Name())))
		}
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.File, b.File) })
	return all, nil
}

func look(file string) Entry {
	e := Entry{File: file}
	s, err := plugins.ReadSource(file)
	if err != nil {
		e.Err = err
		return e
	}
	e.Hash = s.Hash()
	inspection, err := s.Inspect()
	if err != nil {
		e.Err = err
		return e
	}
	e.ABI = inspection.ABI
	switch {
	case s.Manifest != nil:
		e.Manifest, e.Err = plugins.DecodeManifest(s.Manifest)
	case e.ABI != plugins.ABIExtism:
		e.Err = errors.New("there is no manifest: neither a file beside it nor one inside")
	}
	return e
}

package kit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"chorale/plugins"
)

func sha256Sum(data []byte) [sha256.Size]byte { return sha256.Sum256(data) }

// mostBytes bounds a plugin that is fetched, and mostSignature its signature.
const (
	mostBytes     = 256 << 20
	mostSignature = 4 << 10
)

// InstallOptions say what is installed, and where.
type InstallOptions struct {
	Folder string       // of the plugins; it is made if need be
	From   string       // name of a file, or https URL
	SHA256 string       // of the file, in hexadecimal; required for a URL
	Key    *PublicKey   // nil: no signature is looked for; else it must be beside the file and right
	Client *http.Client // for URLs; nil: http.DefaultClient. Redirects may lead anywhere: SHA256 says what is right
}

// Installed is what Install put into the folder.
type Installed struct {
	File     string
	Manifest *plugins.Manifest
	Hash     string // to which grants are bound; also the SHA-256 of File
	Signed   string // comment of the signature; "" without one
	Replaced string // hash of the plugin that was there before, or ""
}

// Install puts a plugin into the folder, as one file with its manifest inside. Digest and signature are checked on the very
// bytes that are then written, and the file appears at once. Grants are not changed: a plugin with other content has none
// until the operator gives them.
func Install(ctx context.Context, o InstallOptions) (Installed, error) {
	wasm, signature, err := o.fetch(ctx)
	if err != nil {
		return Installed{}, err
	}
	if o.SHA256 != "" {
		if err := digest(wasm, o.SHA256); err != nil {
			return Installed{}, err
		}
	}
	var in Installed
	if o.Key != nil {
		if in.Signed, err = o.Key.Verify(wasm, signature); err != nil {
			return Installed{}, err
		}
	}
	if wasm, err = o.withManifest(wasm); err != nil {
		return Installed{}, err
	}
	s, err := plugins.NewSource("plugin", wasm, nil)
	if err != nil {
		return Installed{}, err
	}
	if _, err := s.Inspect(); err != nil {
		return Installed{}, err
	}
	if s.Manifest == nil {
		return Installed{}, fmt.Errorf("%s has no manifest in it: its author should run 'chorale plugin attach'", o.From)
	}
	if in.Manifest, err = plugins.DecodeManifest(s.Manifest); err != nil {
		return Installed{}, err
	}
	in.Hash, in.File = s.Hash(), filepath.Join(o.Folder, in.Manifest.Name+".wasm")
	return in, in.put(o.Folder, wasm)
}

// fetch returns the file, and the signature if one is needed.
func (o InstallOptions) fetch(ctx context.Context) (wasm, signature []byte, err error) {
	u, err := url.Parse(o.From)
	get := func(suffix string, most int64) ([]byte, error) { return readFile(o.From+suffix, most) }
	if err == nil && len(u.Scheme) > 1 { // one letter is a drive
		switch {
		case u.Scheme != "https":
			return nil, nil, fmt.Errorf("%s: plugins are installed from files and https URLs", o.From)
		case o.SHA256 == "":
			return nil, nil, fmt.Errorf("%s: sha256 is missing; a plugin from a URL is installed only if its content is known", o.From)
		}
		get = func(suffix string, most int64) ([]byte, error) { return o.download(ctx, *u, suffix, most) }
	}
	if wasm, err = get("", mostBytes); err == nil && o.Key != nil {
		signature, err = get(SignatureSuffix, mostSignature)
	}
	return wasm, signature, err
}

func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, name, most)
}

func readBounded(r io.Reader, name string, most int64) ([]byte, error) {
	p, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(p)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return p, err
}

func (o InstallOptions) download(ctx context.Context, u url.URL, suffix string, most int64) ([]byte, error) {
	u.Path += suffix
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	client := o.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the server answers %s", u.Redacted(), resp.Status)
	}
	return readBounded(resp.Body, u.Redacted(), most)
}

// withManifest puts the manifest that stands beside a local file into it. What was signed stays as it is.
func (o InstallOptions) withManifest(wasm []byte) ([]byte, error) {
	if u, err := url.Parse(o.From); err == nil && len(u.Scheme) > 1 {
		return wasm, nil
	}
	manifest, err := os.ReadFile(strings.TrimSuffix(o.From, ".wasm") + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return wasm, nil
	} else if err != nil {
		return nil, err
	}
	if o.Key != nil {
		if inside, err := plugins.Attached(wasm); err != nil || !bytes.Equal(inside, manifest) {
			return nil, errors.Join(err, fmt.Errorf("the manifest beside %s is not covered by its signature", o.From))
		}
		return wasm, nil
	}
	return plugins.Attach(wasm, manifest)
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
		if name := f.Name(); strings.HasSuffix(name, ".wasm") && !strings.HasPrefix(name, ".") {
			all = append(all, look(filepath.Join(folder, name)))
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
		e.Err = errors.New("there is no manifest: neither a file beside the module nor a section in it")
	}
	return e
}

package kit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"chorale/plugins"
	"chorale/plugins/oci"
	"chorale/plugins/sigstore"
	"chorale/toolhost/egress"
)

// BundleSuffix is what the name of a bundle of sigstore has behind that of the file. cosign writes bundles with
// `cosign sign-blob --bundle`.
const BundleSuffix = ".sigstore.json"

// What is fetched, at most.
const (
	mostBytes     = oci.MostModule
	mostSignature = 4 << 10
	mostBundle    = 1 << 20
)

// A Signer says who must have signed, in the sense of sigstore, and whom to believe about that.
type Signer struct {
	Root     *sigstore.Root
	Identity sigstore.Identity
}

// NewClient returns what plugins are fetched with: it reaches every public address over https, and beyond that what the rules
// allow, such as "https://registry.example at 10.0.0.0/8" or "http://127.0.0.1:5000". A registry that a rule lists with http
// is asked without encryption. Close it.
func NewClient(rules ...egress.Rule) (*egress.Client, error) {
	public, err := egress.ParseRule("https://*:*")
	if err != nil {
		return nil, err
	}
	return egress.New(egress.Options{
		Policy: egress.NewPolicy("--allow of plugin install and push", append(rules[:len(rules):len(rules)], public)...),
		Limits: egress.Limits{ResponseBody: mostBytes + 1, RequestBody: mostBytes, Total: 10 * time.Minute, Bytes: -1},
	})
}

// A fetched plugin is what came from somewhere, with its signatures.
type fetched struct {
	wasm      []byte
	manifest  []byte // beside it, or beside it in the registry; nil without one
	signature []byte // of minisign
	name      string // that it goes by where it is
	origin    string // with what pins it
	bundles   [][]byte
	signed    [sha256.Size]byte // what the bundles must be about: the file, or the image manifest
}

// fetch returns the plugin, and the signatures if they are needed.
func (o InstallOptions) fetch(ctx context.Context) (fetched, error) {
	if strings.HasPrefix(o.From, oci.Scheme) {
		return o.pull(ctx)
	}
	if u, err := url.Parse(o.From); err == nil && len(u.Scheme) > 1 { // one letter is a drive
		switch {
		case u.Scheme != "https":
			return fetched{}, fmt.Errorf("%s: plugins are installed from files, folders, https URLs and %s references", o.From, oci.Scheme)
		case o.SHA256 == "":
			return fetched{}, fmt.Errorf("%s: sha256 is missing; a plugin from a URL is installed only if its content is known", o.From)
		}
		f := fetched{name: strings.TrimSuffix(path.Base(u.Path), ".wasm"), origin: u.Redacted()}
		return f, o.read(&f, func(suffix string, most int64) ([]byte, error) { return o.download(ctx, *u, suffix, most) })
	}
	file, err := theFile(o.From)
	if err != nil {
		return fetched{}, err
	}
	stem, _ := plugins.Stem(file)
	if stem+".wasm" != file {
		return o.script(file)
	}
	f := fetched{name: filepath.Base(stem), origin: file}
	if err := o.read(&f, func(suffix string, most int64) ([]byte, error) { return readFile(file+suffix, most) }); err != nil {
		return fetched{}, err
	}
	if f.manifest, err = os.ReadFile(stem + ".json"); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return f, err
}

// script puts a script into a module. Signatures are those of modules.
func (o InstallOptions) script(file string) (fetched, error) {
	s, err := plugins.ReadSource(file)
	switch {
	case err != nil:
		return fetched{}, err
	case o.Key != nil || o.Signer != nil || o.SHA256 != "":
		return fetched{}, fmt.Errorf("%s is a script: what is signed, and has a digest, is the module that 'chorale plugin attach' makes of it", file)
	}
	return fetched{wasm: s.Wasm, manifest: s.Manifest, name: s.Name, origin: file}, nil
}

// read gets the file and the signatures that are needed.
func (o InstallOptions) read(f *fetched, get func(suffix string, most int64) ([]byte, error)) (err error) {
	if f.wasm, err = get("", mostBytes); err != nil {
		return err
	}
	f.signed = sha256.Sum256(f.wasm)
	if o.Key != nil {
		if f.signature, err = get(SignatureSuffix, mostSignature); err != nil {
			return err
		}
	}
	if o.Signer != nil {
		bundle, err := get(BundleSuffix, mostBundle)
		if err != nil {
			return err
		}
		f.bundles = [][]byte{bundle}
	}
	return nil
}

// theFile is the one plugin in a folder, or the file itself.
func theFile(name string) (string, error) {
	fi, err := os.Stat(name)
	if err != nil || !fi.IsDir() {
		return name, err
	}
	files, err := os.ReadDir(name)
	if err != nil {
		return "", err
	}
	var found []string
	for _, f := range files {
		if _, ok := plugins.Stem(f.Name()); ok && !strings.HasPrefix(f.Name(), ".") {
			found = append(found, f.Name())
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s has %d plugins (%s); name the one to install", name, len(found), strings.Join(found, ", "))
	}
	return filepath.Join(name, found[0]), nil
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
	resp, err := o.Registry.Client.HTTP().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the server answers %s", u.Redacted(), resp.Status)
	}
	return readBounded(resp.Body, u.Redacted(), most)
}

// pull fetches from a registry. Its signatures are of the image manifest, from which digests lead to every byte.
func (o InstallOptions) pull(ctx context.Context) (fetched, error) {
	ref, err := oci.Parse(o.From)
	if err != nil {
		return fetched{}, err
	}
	p, err := oci.Pull(ctx, ref, o.Registry)
	if err != nil {
		return fetched{}, err
	}
	f := fetched{wasm: p.Module, signature: p.Signature, name: ref.Name(), origin: p.Reference.String()}
	if p.Manifest != nil {
		// What people read in the registry is what is in the module.
		if inside, err := plugins.Attached(p.Module); err != nil || !bytes.Equal(inside, p.Manifest) {
			return f, errors.Join(err, fmt.Errorf("%s: the config is not the manifest in the module", f.origin))
		}
	}
	if _, err := hex.Decode(f.signed[:], []byte(strings.TrimPrefix(p.Reference.Digest(), "sha256:"))); err != nil {
		return f, fmt.Errorf("%s: %w", f.origin, err)
	}
	if o.Signer != nil {
		f.bundles, err = oci.Bundles(ctx, p.Reference, o.Registry)
	}
	return f, err
}

// verify checks digest and signatures, and returns what the signatures say.
func (o InstallOptions) verify(f fetched) (signed []string, err error) {
	if o.SHA256 != "" {
		if err := digest(f.wasm, o.SHA256); err != nil {
			return nil, err
		}
	}
	if o.Key != nil {
		if f.signature == nil {
			return nil, fmt.Errorf("%s is not signed with a key", f.origin)
		}
		about, err := o.Key.Verify(f.wasm, f.signature)
		if err != nil {
			return nil, err
		}
		signed = append(signed, about)
	}
	if o.Signer == nil {
		return signed, nil
	}
	err = fmt.Errorf("%s has no signature of sigstore", f.origin)
	for _, bundle := range f.bundles { // of others there may be any number
		var s sigstore.Signature
		if s, err = o.Signer.Root.Verify(bundle, f.signed, o.Signer.Identity); err == nil {
			return append(signed, fmt.Sprintf("%s (%s) at %s", s.Subject, s.Issuer, s.Time.UTC().Format(time.RFC3339))), nil
		}
	}
	return nil, err
}

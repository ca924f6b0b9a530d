package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// engineVersion is the version of the WebAssembly engine in go.mod; native code of another one must not be loaded.
const engineVersion = "v1.12.0"

// A cache directory keeps so many modules, those used last, for so long after their last use: every version of a module, of
// the rewriter and of the engine has its own. What another process has loaded it needs no more.
const (
	maxCached = 64
	keptFor   = 14 * 24 * time.Hour
)

// A codeCache is a directory with one entry per module: native code, and a manifest with its hashes. Whoever can write
// there runs code as us, hence the directory is private. Hashes find damage, not malice.
type codeCache struct {
	dir string
}

// A manifest describes one entry.
type manifest struct {
	Files map[string]string `json:"files"` // SHA-256 by path
	Fixed string            `json:"fixed"` // of the Module; checks of the module need not be repeated
}

const manifestName = "manifest.json"

func openCache(dir string) (*codeCache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create cache directory: %w", err)
	}
	fi, err := os.Lstat(dir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cache directory: %w", err)
	case !fi.IsDir():
		return nil, fmt.Errorf("cache directory %s is not a directory", dir)
	case runtime.GOOS != "windows" && fi.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("cache directory %s has mode %04o: native code is loaded from it, so it must be 0700", dir, fi.Mode().Perm())
	case !ownedByUs(fi):
		return nil, fmt.Errorf("cache directory %s belongs to another user", dir)
	}
	return &codeCache{dir}, nil
}

func cacheKey(module [sha256.Size]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %s %s\n", RewriterVersion, engineVersion, runtime.GOARCH, runtime.GOOS)
	h.Write(module[:])
	return hex.EncodeToString(h.Sum(nil))
}

// find returns a whole, undamaged entry. A damaged one is removed.
func (c *codeCache) find(key string) (dir string, m manifest, ok bool) {
	dir = filepath.Join(c.dir, key)
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err == nil && json.Unmarshal(b, &m) == nil {
		if files, err := hashFiles(dir); err == nil && len(files) > 0 && maps.Equal(files, m.Files) {
			now := time.Now()
			os.Chtimes(dir, now, now) // only the order of eviction hangs on it
			return dir, m, true
		}
	}
	os.RemoveAll(dir)
	return "", manifest{}, false
}

// begin makes a directory for a new entry, which keep puts in its place.
func (c *codeCache) begin() (string, error) { return os.MkdirTemp(c.dir, "new-") }

// keep completes an entry. When another process was faster, ours is dropped.
func (c *codeCache) keep(dir, key string, m manifest) error {
	defer os.RemoveAll(dir)
	var err error
	if m.Files, err = hashFiles(dir); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, manifestName), b, 0o600); err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(c.dir, key)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// evict removes the entries that were not used for longest, and those that nobody has used for a while, also
// unfinished ones. What cannot be removed costs room and nothing else.
func (c *codeCache) evict(now time.Time) {
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	used := map[string]time.Time{}
	for _, e := range list {
		if fi, err := e.Info(); err == nil {
			used[e.Name()] = fi.ModTime()
		}
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return used[b.Name()].Compare(used[a.Name()]) })
	for i, e := range list {
		if i >= maxCached || now.Sub(used[e.Name()]) > keptFor {
			os.RemoveAll(filepath.Join(c.dir, e.Name()))
		}
	}
}

// hashFiles hashes all files of an entry except its manifest.
func hashFiles(dir string) (map[string]string, error) {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == manifestName {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		sums[filepath.ToSlash(rel)] = hex.EncodeToString(h.Sum(nil))
		return err
	})
	return sums, err
}

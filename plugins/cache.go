package plugins

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"chorale/sandbox"
)

// maxInstrumented is how many modules are kept; those used last stay. It is what the sandbox keeps of native code.
const maxInstrumented = 64

// compile makes native code of the module. The cache has instrumented modules beside the sandbox's native code, since
// weaving the checks into a Go program takes longer than loading it.
func (p *Plugin) compile(ctx context.Context) (*sandbox.Module, error) {
	o := sandbox.Options{}
	if p.abi == ABIExtism {
		o.Funcs = extismFuncs()
	}
	dir := p.options.CacheDir
	if dir == "" {
		wasm, err := sandbox.Instrument(p.source.Wasm)
		if err != nil {
			return nil, err
		}
		return sandbox.Compile(ctx, wasm, o)
	}
	o.CacheDir = filepath.Join(dir, "native")
	wasm, err := instrumented(filepath.Join(dir, "instrumented"), p.source.Wasm)
	if err != nil {
		return nil, err
	}
	return sandbox.Compile(ctx, wasm, o)
}

// instrumented returns the module with its checks, from the cache if that has it.
func instrumented(dir string, wasm []byte) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create cache directory: %w", err)
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	// Whoever can write there decides what runs under the plugin's name.
	if mode := fi.Mode(); !mode.IsDir() || mode.Perm()&0o022 != 0 {
		return nil, fmt.Errorf("cache directory %s has mode %v: it must be a directory that only its owner can write to", dir, mode)
	}
	sum := sha256.Sum256(wasm)
	name := filepath.Join(dir, fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:]), sandbox.RewriterVersion))
	if p, err := os.ReadFile(name); err == nil && len(p) > sha256.Size {
		if content := p[sha256.Size:]; sha256.Sum256(content) == [sha256.Size]byte(p) {
			now := time.Now()
			os.Chtimes(name, now, now) // only the order of eviction hangs on it
			return content, nil
		}
	}
	out, err := sandbox.Instrument(wasm)
	if err != nil {
		return nil, err
	}
	if err := keep(dir, name, out); err != nil {
		return nil, fmt.Errorf("write cache: %w", err)
	}
	return out, nil
}

// keep puts a module with its hash, against damage, in its place at once, and makes room.
func keep(dir, name string, content []byte) error {
	f, err := os.CreateTemp(dir, "new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	sum := sha256.Sum256(content)
	_, err = f.Write(sum[:])
	if err == nil {
		_, err = f.Write(content)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) <= maxInstrumented {
		return err
	}
	used := map[string]int64{}
	for _, e := range list {
		if fi, err := e.Info(); err == nil {
			used[e.Name()] = fi.ModTime().UnixNano()
		}
	}
	slices.SortFunc(list, func(a, b os.DirEntry) int { return cmp.Compare(used[a.Name()], used[b.Name()]) })
	for _, e := range list[:len(list)-maxInstrumented] {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}

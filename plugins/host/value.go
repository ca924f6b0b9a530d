package host

import (
	"errors"
	"io"
	"io/fs"
	"sync"

	"chorale/sandbox"
)

// A valueFile is one open /host/kv/KEY: a copy of the value, which takes its place when the file is synced or closed.
type valueFile struct {
	fs   *FS
	key  string
	info sandbox.Info

	mu    sync.Mutex // guards everything below
	data  []byte
	dirty bool
	held  int
}

func (f *FS) openValue(key string, how sandbox.Flag) (sandbox.File, error) {
	data, err := f.kv.Get(key)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !(missing && how&sandbox.Create != 0):
		return nil, errno(err)
	case how&sandbox.Directory != 0:
		return nil, sandbox.ENOTDIR
	case !missing && how&(sandbox.Create|sandbox.Exclusive) == sandbox.Create|sandbox.Exclusive:
		return nil, sandbox.EEXIST
	}
	v := &valueFile{fs: f, key: key, info: f.info(sandbox.TypeRegular, inodeKey), data: data}
	if missing || how&sandbox.Truncate != 0 {
		v.data, v.dirty = nil, true
		if err := f.kv.Fits(key, 0); err != nil {
			return nil, errno(err)
		}
	}
	if !v.hold(len(v.data)) {
		return nil, sandbox.ENOSPC
	}
	return v, nil
}

// hold counts what the file holds. It never shrinks before the end, since the memory does not either.
func (v *valueFile) hold(n int) bool {
	if n > v.held {
		if !v.fs.hold(n - v.held) {
			return false
		}
		v.held = n
	}
	return true
}

// ReadAt implements sandbox.File.
func (v *valueFile) ReadAt(p []byte, at int64) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at < 0 {
		return 0, sandbox.EINVAL
	}
	if at >= int64(len(v.data)) {
		return 0, io.EOF
	}
	n := copy(p, v.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements sandbox.File. What would not fit now is refused here, where programs look at errors, and once more
// when the value is stored.
func (v *valueFile) WriteAt(p []byte, at int64) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.grow(at + int64(len(p))); err != nil {
		return 0, err
	}
	v.dirty = true
	return copy(v.data[at:], p), nil
}

// grow makes the value at least so long. The caller holds mu.
func (v *valueFile) grow(size int64) error {
	switch {
	case size < 0:
		return sandbox.EINVAL
	case size <= int64(len(v.data)):
		return nil
	case size > int64(v.fs.limits.OpenValue):
		return sandbox.ENOSPC
	}
	if err := v.fs.kv.Fits(v.key, size); err != nil {
		return errno(err)
	}
	if !v.hold(int(size)) {
		return sandbox.ENOSPC
	}
	v.data = append(v.data, make([]byte, size-int64(len(v.data)))...)
	return nil
}

// Truncate implements sandbox.File.
func (v *valueFile) Truncate(size int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.grow(size); err != nil {
		return err
	}
	v.data, v.dirty = v.data[:size], true
	return nil
}

// Sync implements sandbox.File: it stores the value.
func (v *valueFile) Sync() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.dirty {
		return nil
	}
	v.dirty = false
	return errno(v.fs.kv.Set(v.key, v.data))
}

// Close implements sandbox.File.
func (v *valueFile) Close() error {
	err := v.Sync()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fs.hold(-v.held)
	v.data, v.held = nil, 0
	return err
}

// Stat implements sandbox.File.
func (v *valueFile) Stat() (sandbox.Info, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	info := v.info
	info.Size = int64(len(v.data))
	return info, nil
}

// ReadDir implements sandbox.File.
func (v *valueFile) ReadDir() ([]sandbox.Entry, error) { return nil, sandbox.ENOTDIR }

package sandbox

import (
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Defaults of a Mem.
const (
	DefaultMemBytes = 64 << 20
	DefaultMemFiles = 10_000
)

// memEntryBytes is charged for every file beside its content, for what its node and name take.
const memEntryBytes = 256

// Mem is an FS in memory with quotas: a write beyond them fails with ENOSPC. It has no links. All methods are safe for
// concurrent use.
type Mem struct {
	maxBytes int64
	maxFiles int
	now      func() time.Time

	mu    sync.Mutex // guards everything below, and the nodes
	root  *memNode
	bytes int64
	files int
	inode uint64
}

// A memNode is a file or directory. It lives as long as it is linked or open.
type memNode struct {
	entries  map[string]*memNode // of a directory
	data     []byte
	inode    uint64
	at, mt   int64
	linked   bool
	opened   int
	nameCost int64
}

// NewMem returns an empty file system. Zeros stand for the defaults.
func NewMem(maxBytes int64, maxFiles int) *Mem {
	if maxBytes == 0 {
		maxBytes = DefaultMemBytes
	}
	if maxFiles == 0 {
		maxFiles = DefaultMemFiles
	}
	m := &Mem{maxBytes: maxBytes, maxFiles: maxFiles, now: time.Now}
	m.root = &memNode{entries: map[string]*memNode{}, inode: 1, linked: true}
	m.inode = 1
	return m
}

// Usage is how many bytes and files (directories included) there are now.
func (m *Mem) Usage() (bytes int64, files int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes, m.files
}

// WriteFile puts a file there, for the host's side, with the directories it needs.
func (m *Mem) WriteFile(name string, data []byte) error {
	for i := range name {
		if name[i] == '/' {
			if err := m.Mkdir(name[:i]); err != nil && errno(err) != EEXIST {
				return err
			}
		}
	}
	f, err := m.Open(name, Write|Create|Truncate)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(data, 0)
	return err
}

// ReadFile returns a copy of a file's content, for the host's side.
func (m *Mem) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return nil, err
	}
	if n.entries != nil {
		return nil, EISDIR
	}
	return slices.Clone(n.data), nil
}

// find looks a clean name up.
func (m *Mem) find(name string) (*memNode, error) {
	n := m.root
	if name == "." {
		return n, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if n.entries == nil {
			return nil, ENOTDIR
		}
		if n = n.entries[part]; n == nil {
			return nil, ENOENT
		}
	}
	return n, nil
}

// parent looks up the directory that holds a name.
func (m *Mem) parent(name string) (dir *memNode, base string, err error) {
	if name == "." {
		return nil, "", EINVAL
	}
	dir, err = m.find(path.Dir(name))
	if err == nil && dir.entries == nil {
		err = ENOTDIR
	}
	return dir, path.Base(name), err
}

func (m *Mem) create(name string, entries map[string]*memNode) (*memNode, error) {
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	cost := memEntryBytes + int64(len(base))
	if m.files >= m.maxFiles || m.bytes+cost > m.maxBytes {
		return nil, ENOSPC
	}
	m.files++
	m.bytes += cost
	m.inode++
	now := m.now().UnixNano()
	n := &memNode{entries: entries, inode: m.inode, at: now, mt: now, linked: true, nameCost: cost}
	dir.entries[base], dir.mt = n, now
	return n, nil
}

// drop gives a node's share of the quota back once nobody can reach it.
func (m *Mem) drop(n *memNode) {
	if n.linked || n.opened > 0 {
		return
	}
	m.files--
	m.bytes -= int64(len(n.data)) + n.nameCost
	n.data = nil
}

// Open implements FS.
func (m *Mem) Open(name string, how Flag) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	switch {
	case err == nil && how&(Create|Exclusive) == Create|Exclusive:
		return nil, EEXIST
	case err == nil && how&Directory != 0 && n.entries == nil:
		return nil, ENOTDIR
	case err == nil && how&(Write|Truncate) != 0 && n.entries != nil:
		return nil, EISDIR
	case err == ENOENT && how&Create != 0:
		n, err = m.create(name, nil)
	}
	if err != nil {
		return nil, err
	}
	if how&Truncate != 0 {
		m.bytes -= int64(len(n.data))
		n.data, n.mt = nil, m.now().UnixNano()
	}
	n.opened++
	return &memFile{m: m, n: n}, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return Info{}, err
	}
	return n.info(), nil
}

// Lstat implements FS.
func (m *Mem) Lstat(name string) (Info, error) { return m.Stat(name) }

// Readlink implements FS.
func (m *Mem) Readlink(name string) (string, error) {
	if _, err := m.Stat(name); err != nil {
		return "", err
	}
	return "", EINVAL
}

// Mkdir implements FS.
func (m *Mem) Mkdir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.find(name); err == nil {
		return EEXIST
	}
	_, err := m.create(name, map[string]*memNode{})
	return err
}

// Unlink implements FS.
func (m *Mem) Unlink(name string) error {
	return m.remove(name, func(n *memNode) error {
		if n.entries != nil {
			return EISDIR
		}
		return nil
	})
}

// Rmdir implements FS.
func (m *Mem) Rmdir(name string) error {
	return m.remove(name, func(n *memNode) error {
		if n.entries == nil {
			return ENOTDIR
		}
		if len(n.entries) > 0 {
			return ENOTEMPTY
		}
		return nil
	})
}

func (m *Mem) remove(name string, allowed func(*memNode) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	if n == nil {
		return ENOENT
	}
	if err := allowed(n); err != nil {
		return err
	}
	m.unlink(dir, base)
	return nil
}

func (m *Mem) unlink(dir *memNode, base string) {
	n := dir.entries[base]
	delete(dir.entries, base)
	dir.mt = m.now().UnixNano()
	n.linked = false
	m.drop(n)
}

// Rename implements FS. As in POSIX it replaces a file, or an empty directory by a directory.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fromDir, fromBase, err := m.parent(from)
	if err != nil {
		return err
	}
	toDir, toBase, err := m.parent(to)
	if err != nil {
		return err
	}
	n, old := fromDir.entries[fromBase], toDir.entries[toBase]
	switch {
	case n == nil:
		return ENOENT
	case n == old:
		return nil
	case strings.HasPrefix(to, from+"/"):
		return EINVAL
	case old != nil && old.entries != nil && n.entries == nil:
		return EISDIR
	case old != nil && old.entries == nil && n.entries != nil:
		return ENOTDIR
	case old != nil && len(old.entries) > 0:
		return ENOTEMPTY
	}
	cost := memEntryBytes + int64(len(toBase))
	if m.bytes+cost-n.nameCost > m.maxBytes {
		return ENOSPC
	}
	if old != nil {
		m.unlink(toDir, toBase)
	}
	m.bytes += cost - n.nameCost
	n.nameCost = cost
	delete(fromDir.entries, fromBase)
	toDir.entries[toBase] = n
	now := m.now().UnixNano()
	fromDir.mt, toDir.mt = now, now
	return nil
}

// SetTimes implements FS.
func (m *Mem) SetTimes(name string, accessed, modified int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return err
	}
	if accessed >= 0 {
		n.at = accessed
	}
	if modified >= 0 {
		n.mt = modified
	}
	return nil
}

func (n *memNode) info() Info {
	t := TypeRegular
	if n.entries != nil {
		t = TypeDirectory
	}
	return Info{Type: t, Inode: n.inode, Size: int64(len(n.data)), Accessed: n.at, Modified: n.mt, Changed: n.mt}
}

// A memFile is an open node of a Mem.
type memFile struct {
	m      *Mem
	n      *memNode
	closed bool
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.n.entries != nil {
		return 0, EISDIR
	}
	if off < 0 {
		return 0, EINVAL
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off < 0 || off > f.m.maxBytes {
		return 0, EFBIG
	}
	if end := off + int64(len(p)); end > int64(len(f.n.data)) && len(p) > 0 {
		if err := f.resize(end); err != nil {
			return 0, err
		}
	}
	f.n.mt = f.m.now().UnixNano()
	return copy(f.n.data[min(off, int64(len(f.n.data))):], p), nil
}

// resize changes the length within the quota; new bytes are zero.
func (f *memFile) resize(size int64) error {
	old := int64(len(f.n.data))
	if f.m.bytes+size-old > f.m.maxBytes {
		return ENOSPC
	}
	f.m.bytes += size - old
	if size <= old {
		clear(f.n.data[size:])
		f.n.data = f.n.data[:size]
		return nil
	}
	f.n.data = slices.Grow(f.n.data, int(size-old))[:size]
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if size < 0 || size > f.m.maxBytes {
		return EFBIG
	}
	f.n.mt = f.m.now().UnixNano()
	return f.resize(size)
}

func (f *memFile) Stat() (Info, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.info(), nil
}

func (f *memFile) Sync() error { return nil }

func (f *memFile) ReadDir() ([]Entry, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.n.entries == nil {
		return nil, ENOTDIR
	}
	entries := make([]Entry, 0, len(f.n.entries))
	for _, name := range slices.Sorted(maps.Keys(f.n.entries)) {
		n := f.n.entries[name]
		entries = append(entries, Entry{name, n.info().Type, n.inode})
	}
	return entries, nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	f.n.opened--
	f.m.drop(f.n)
	return nil
}

func nameHash(name string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, path.Clean(name))
	return h.Sum64()
}

func unixTime(ns int64) time.Time { return time.Unix(0, ns) }

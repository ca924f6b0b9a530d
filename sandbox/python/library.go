package python

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"chorale/sandbox"
)

// A library is a read-only tree of files in memory, for guests to import from. All its times are the same, so that what an
// interpreter remembers of it does not depend on when and where it was unpacked.
type library struct {
	load func() (tree, error)
}

// A tree is all nodes by their clean names; "." is the root.
type tree map[string]*libraryNode

// A libraryNode is a file or directory.
type libraryNode struct {
	info    sandbox.Info
	data    []byte
	entries []sandbox.Entry // of a directory, sorted
}

const (
	maxLibraryBytes = 1 << 30
	maxLibraryFiles = 200_000
)

var errLibraryLarge = fmt.Errorf("it has more than %d bytes or %d files", maxLibraryBytes, maxLibraryFiles)

// libraryTime is when all files were changed.
var libraryTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()

var rootInfo = sandbox.Info{Type: sandbox.TypeDirectory, Inode: 1, Accessed: libraryTime, Modified: libraryTime, Changed: libraryTime}

// newLibrary returns a tree that is read when a guest first asks, if it was not asked for before.
func newLibrary(load func(t tree) error) *library {
	return &library{sync.OnceValues(func() (tree, error) {
		t := tree{".": {info: rootInfo}}
		return t, load(t)
	})}
}

// openLibrary reads what an operator names, a directory, or a zip file such as a wheel, as it is now: an image that was
// booted from it stays true.
func openLibrary(name string) (*library, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	l := newLibrary(func(t tree) error {
		if !fi.IsDir() {
			return t.addZipFile(name)
		}
		root, err := os.OpenRoot(name)
		if err != nil {
			return err
		}
		defer root.Close()
		return t.addFS(root.FS())
	})
	if _, err := l.load(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return l, nil
}

func (t tree) addZipFile(name string) error {
	r, err := zip.OpenReader(name)
	if err != nil {
		return fmt.Errorf("it is neither a directory nor a good zip file: %w", err)
	}
	defer r.Close()
	total := uint64(0)
	for _, f := range r.File {
		if total += f.UncompressedSize64; total > maxLibraryBytes {
			return errLibraryLarge
		}
		if f.Mode().IsDir() {
			continue
		}
		b, err := inflate(f)
		if err == nil {
			err = t.addFile(f.Name, b)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

func inflate(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, int64(f.UncompressedSize64)+1))
	if err == nil && uint64(len(b)) != f.UncompressedSize64 {
		err = errors.New("its size is not what the archive says")
	}
	return b, err
}

// addFS adds copies of all regular files, except compiled ones of other interpreters.
func (t tree) addFS(files fs.FS) error {
	total := int64(0)
	return fs.WalkDir(files, ".", func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && e.Name() == "__pycache__":
			return fs.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if total += fi.Size(); total > maxLibraryBytes {
			return errLibraryLarge
		}
		b, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		return t.addFile(p, b)
	})
}

// addFile adds a file with the directories that it needs, and keeps data. The first of a name stays.
func (t tree) addFile(name string, data []byte) error {
	switch {
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("the name %q leads elsewhere", name)
	case len(t) >= maxLibraryFiles:
		return errLibraryLarge
	case t[name] != nil:
		return nil
	}
	return t.add(name, &libraryNode{info: sandbox.Info{Type: sandbox.TypeRegular, Size: int64(len(data))}, data: data})
}

// add links a node into its directory, which is made if need be.
func (t tree) add(name string, n *libraryNode) error {
	parent := path.Dir(name)
	if t[parent] == nil {
		if err := t.add(parent, &libraryNode{info: sandbox.Info{Type: sandbox.TypeDirectory}}); err != nil {
			return err
		}
	}
	dir := t[parent]
	if dir.info.Type != sandbox.TypeDirectory {
		return fmt.Errorf("%s is a file and a directory", parent)
	}
	n.info.Inode = uint64(len(t)) + 1
	n.info.Accessed, n.info.Modified, n.info.Changed = libraryTime, libraryTime, libraryTime
	t[name] = n
	e := sandbox.Entry{Name: path.Base(name), Type: n.info.Type, Inode: n.info.Inode}
	i, _ := slices.BinarySearchFunc(dir.entries, e, func(a, b sandbox.Entry) int { return strings.Compare(a.Name, b.Name) })
	dir.entries = slices.Insert(dir.entries, i, e)
	return nil
}

// addTo adds names and contents to a hash.
func (l *library) addTo(h hash.Hash) error {
	nodes, err := l.load()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[name]
		sum := sha256.Sum256(n.data)
		binary.Write(h, binary.LittleEndian, []uint64{uint64(len(name)), uint64(n.info.Type)})
		io.WriteString(h, name)
		h.Write(sum[:])
	}
	return nil
}

// find looks a name up. The root is known without reading the tree: mounting it opens it.
func (l *library) find(name string) (*libraryNode, error) {
	if name == "." {
		return &libraryNode{info: rootInfo}, nil
	}
	nodes, err := l.load()
	if err != nil {
		return nil, sandbox.EIO
	}
	if n := nodes[name]; n != nil {
		return n, nil
	}
	if n := nodes[path.Dir(name)]; n != nil && n.info.Type != sandbox.TypeDirectory {
		return nil, sandbox.ENOTDIR
	}
	return nil, sandbox.ENOENT
}

// Open implements sandbox.FS.
func (l *library) Open(name string, how sandbox.Flag) (sandbox.File, error) {
	n, err := l.find(name)
	switch {
	case how&(sandbox.Write|sandbox.Create|sandbox.Truncate) != 0:
		return nil, sandbox.EROFS
	case err != nil:
		return nil, err
	case how&sandbox.Directory != 0 && n.info.Type != sandbox.TypeDirectory:
		return nil, sandbox.ENOTDIR
	}
	return libraryFile{l, name, n}, nil
}

// Stat implements sandbox.FS.
func (l *library) Stat(name string) (sandbox.Info, error) {
	n, err := l.find(name)
	if err != nil {
		return sandbox.Info{}, err
	}
	return n.info, nil
}

// Lstat implements sandbox.FS.
func (l *library) Lstat(name string) (sandbox.Info, error) { return l.Stat(name) }

// Readlink implements sandbox.FS; there are no links.
func (l *library) Readlink(name string) (string, error) {
	if _, err := l.find(name); err != nil {
		return "", err
	}
	return "", sandbox.EINVAL
}

// Mkdir implements sandbox.FS, as the following methods do: nothing can be changed.
func (l *library) Mkdir(string) error { return sandbox.EROFS }

// Unlink implements sandbox.FS.
func (l *library) Unlink(string) error { return sandbox.EROFS }

// Rmdir implements sandbox.FS.
func (l *library) Rmdir(string) error { return sandbox.EROFS }

// Rename implements sandbox.FS.
func (l *library) Rename(string, string) error { return sandbox.EROFS }

// SetTimes implements sandbox.FS.
func (l *library) SetTimes(string, int64, int64) error { return sandbox.EROFS }

// A libraryFile is an open node.
type libraryFile struct {
	l    *library
	name string
	n    *libraryNode
}

func (f libraryFile) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case f.n.info.Type == sandbox.TypeDirectory:
		return 0, sandbox.EISDIR
	case off < 0:
		return 0, sandbox.EINVAL
	case off >= int64(len(f.n.data)):
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f libraryFile) WriteAt([]byte, int64) (int, error) { return 0, sandbox.EROFS }
func (f libraryFile) Truncate(int64) error               { return sandbox.EROFS }
func (f libraryFile) Sync() error                        { return nil }
func (f libraryFile) Close() error                       { return nil }
func (f libraryFile) Stat() (sandbox.Info, error)        { return f.n.info, nil }

func (f libraryFile) ReadDir() ([]sandbox.Entry, error) {
	if f.n.info.Type != sandbox.TypeDirectory {
		return nil, sandbox.ENOTDIR
	}
	nodes, err := f.l.load()
	if err != nil {
		return nil, sandbox.EIO
	}
	return nodes[f.name].entries, nil
}

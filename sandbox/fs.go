package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// An Errno is an error number of WASI preview 1. File systems return one to tell the guest a precise reason; other
// errors become the closest number.
type Errno uint16

// The numbers in use (WASI preview 1, typename errno).
const (
	ESUCCESS     Errno = 0
	EACCES       Errno = 2
	EBADF        Errno = 8
	EEXIST       Errno = 20
	EFAULT       Errno = 21
	EFBIG        Errno = 22
	EINTR        Errno = 27
	EINVAL       Errno = 28
	EIO          Errno = 29
	EISDIR       Errno = 31
	ELOOP        Errno = 32
	EMFILE       Errno = 33
	ENAMETOOLONG Errno = 37
	ENOENT       Errno = 44
	ENOSPC       Errno = 51
	ENOSYS       Errno = 52
	ENOTDIR      Errno = 54
	ENOTEMPTY    Errno = 55
	ENOTSUP      Errno = 58
	EPERM        Errno = 63
	EPIPE        Errno = 64
	EROFS        Errno = 69
	ESPIPE       Errno = 70
	EXDEV        Errno = 75
	ENOTCAPABLE  Errno = 76
)

func (e Errno) Error() string { return fmt.Sprintf("wasi errno %d", uint16(e)) }

// Is lets errors.Is match the errors of io/fs.
func (e Errno) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e == ENOENT
	case fs.ErrExist:
		return e == EEXIST
	case fs.ErrPermission:
		return e == EACCES || e == EPERM || e == EROFS || e == ENOTCAPABLE
	}
	return false
}

// errno is the number that a guest sees for an error.
func errno(err error) Errno {
	var e Errno
	switch {
	case err == nil:
		return ESUCCESS
	case errors.As(err, &e):
		return e
	}
	for _, c := range []struct {
		err error
		e   Errno
	}{
		{syscall.ENOTEMPTY, ENOTEMPTY}, {syscall.ENOTDIR, ENOTDIR}, {syscall.EISDIR, EISDIR}, {syscall.ELOOP, ELOOP},
		{syscall.ENOSPC, ENOSPC}, {syscall.EROFS, EROFS}, {syscall.ENAMETOOLONG, ENAMETOOLONG}, {syscall.EXDEV, EXDEV},
		{syscall.EINVAL, EINVAL}, // before the classes that some of them belong to
		{fs.ErrNotExist, ENOENT}, {fs.ErrExist, EEXIST}, {fs.ErrPermission, EACCES},
	} {
		if errors.Is(err, c.err) {
			return c.e
		}
	}
	// What os.Root refuses by itself, names that lead out of it, carries no number of the system.
	var number syscall.Errno
	var onPath *fs.PathError
	var onLink *os.LinkError
	if (errors.As(err, &onPath) || errors.As(err, &onLink)) && !errors.As(err, &number) {
		return ENOTCAPABLE
	}
	return EIO
}

// FileType is what kind of file something is, numbered as in WASI preview 1.
type FileType uint8

// The file types in use.
const (
	TypeUnknown   FileType = 0
	TypeCharacter FileType = 2
	TypeDirectory FileType = 3
	TypeRegular   FileType = 4
	TypeSymlink   FileType = 7
)

// Info describes a file. Times are nanoseconds since 1970.
type Info struct {
	Type                        FileType
	Inode                       uint64
	Size                        int64
	Accessed, Modified, Changed int64
}

// An Entry is one name in a directory.
type Entry struct {
	Name  string
	Type  FileType
	Inode uint64
}

// Flag says how to open a file.
type Flag uint8

// Flags may be combined. Without Read and Write only the metadata are wanted, or a directory.
const (
	Read Flag = 1 << iota
	Write
	Create
	Exclusive
	Truncate
	Directory
	NoFollow
)

// An FS is a tree of files below a mount point. Names are slash-separated, relative and clean; "." is the root. Errors
// that wrap an Errno or an error of io/fs reach the guest as such. It must be safe for the concurrent use that its
// mounts make of it.
type FS interface {
	Open(name string, how Flag) (File, error)
	Stat(name string) (Info, error)
	Lstat(name string) (Info, error)
	Readlink(name string) (string, error)
	Mkdir(name string) error
	Unlink(name string) error // not for directories
	Rmdir(name string) error
	Rename(from, to string) error
	SetTimes(name string, accessed, modified int64) error // -1 keeps a time
}

// A File is an open file or directory without a position: the file table holds it.
type File interface {
	io.ReaderAt
	io.WriterAt
	Stat() (Info, error)
	Truncate(size int64) error
	Sync() error
	// ReadDir lists a directory in a stable order, without "." and "..".
	ReadDir() ([]Entry, error)
	Close() error
}

// A Waiter is a File that may have to be waited for, such as the answer to a request.
type Waiter interface {
	File
	// Ready is called before every read and must not block. The guest waits until the channel gives a value or is closed;
	// nil stands for now. A guest that is interrupted gets EINTR and may read again; one that is stopped has its files
	// closed, which should end what it waited for.
	Ready() <-chan struct{}
}

// A Mount shows a file system to the guest at an absolute path.
type Mount struct {
	Path     string
	FS       FS
	ReadOnly bool
}

// Dir is an FS of a directory of the host. Names and symbolic links cannot lead out of it, and only regular files and
// directories can be opened: no devices, no pipes. Guests cannot make links. It has no quota.
type Dir struct {
	root *os.Root
}

// OpenDir opens a directory of the host. Close it when no instance uses it any more.
func OpenDir(name string) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open directory to mount: %w", err)
	}
	return &Dir{root}, nil
}

// Close closes the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Open implements FS.
func (d *Dir) Open(name string, how Flag) (File, error) {
	// A pipe without a writer must not block the open, nor a device be touched by it.
	mode := syscall.O_NONBLOCK
	switch {
	case how&(Read|Write) == Read|Write:
		mode |= os.O_RDWR
	case how&Write != 0:
		mode |= os.O_WRONLY
	}
	for _, f := range [...]struct {
		flag Flag
		mode int
	}{{Create, os.O_CREATE}, {Exclusive, os.O_EXCL}, {Truncate, os.O_TRUNC}} {
		if how&f.flag != 0 {
			mode |= f.mode
		}
	}
	stat := d.root.Stat
	if how&NoFollow != 0 {
		stat = d.root.Lstat
	}
	switch fi, err := stat(name); {
	case err == nil && fi.Mode()&fs.ModeSymlink != 0:
		return nil, ELOOP
	case err == nil && !fi.IsDir() && how&Directory != 0:
		return nil, ENOTDIR
	case err == nil && fi.IsDir() && how&(Write|Create|Truncate) != 0:
		return nil, EISDIR
	case err == nil && !fi.IsDir() && !fi.Mode().IsRegular():
		return nil, EACCES
	case err != nil && (how&Create == 0 || !errors.Is(err, fs.ErrNotExist)):
		return nil, err
	}
	f, err := d.root.OpenFile(name, mode, 0o644)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.IsDir() && !fi.Mode().IsRegular() {
		f.Close()
		return nil, EACCES
	}
	return &dirFile{f, name}, nil
}

// Stat implements FS.
func (d *Dir) Stat(name string) (Info, error) {
	fi, err := d.root.Stat(name)
	return infoOf(fi, name), err
}

// Lstat implements FS.
func (d *Dir) Lstat(name string) (Info, error) {
	fi, err := d.root.Lstat(name)
	return infoOf(fi, name), err
}

// Readlink implements FS.
func (d *Dir) Readlink(name string) (string, error) { return d.root.Readlink(name) }

// Mkdir implements FS.
func (d *Dir) Mkdir(name string) error { return d.root.Mkdir(name, 0o755) }

// Unlink implements FS.
func (d *Dir) Unlink(name string) error {
	if fi, err := d.root.Lstat(name); err == nil && fi.IsDir() {
		return EISDIR
	}
	return d.root.Remove(name)
}

// Rmdir implements FS.
func (d *Dir) Rmdir(name string) error {
	if fi, err := d.root.Lstat(name); err == nil && !fi.IsDir() {
		return ENOTDIR
	}
	return d.root.Remove(name)
}

// Rename implements FS.
func (d *Dir) Rename(from, to string) error {
	if from == to { // Go refuses it for directories, POSIX does not
		_, err := d.root.Lstat(from)
		return err
	}
	// Neither does Go replace an empty directory.
	old, err := d.root.Lstat(from)
	if target, e := d.root.Lstat(to); err == nil && e == nil && old.IsDir() && target.IsDir() && !strings.HasPrefix(to, from+"/") {
		if err := d.root.Remove(to); err != nil {
			return err
		}
	}
	return d.root.Rename(from, to)
}

// SetTimes implements FS.
func (d *Dir) SetTimes(name string, accessed, modified int64) error {
	fi, err := d.root.Stat(name)
	if err != nil {
		return err
	}
	at, mt := fi.ModTime(), fi.ModTime()
	if accessed >= 0 {
		at = unixTime(accessed)
	}
	if modified >= 0 {
		mt = unixTime(modified)
	}
	return d.root.Chtimes(name, at, mt)
}

// infoOf translates what the host says. All times are that of the last change of the content. The inode is a hash of the name: programs compare it to find out whether two
// names are one file, and the host's numbers are nobody's business.
func infoOf(fi fs.FileInfo, name string) Info {
	if fi == nil {
		return Info{}
	}
	mt := fi.ModTime().UnixNano()
	return Info{Type: typeOf(fi.Mode()), Inode: nameHash(name), Size: fi.Size(), Accessed: mt, Modified: mt, Changed: mt}
}

func typeOf(m fs.FileMode) FileType {
	switch {
	case m.IsRegular():
		return TypeRegular
	case m.IsDir():
		return TypeDirectory
	case m&fs.ModeSymlink != 0:
		return TypeSymlink
	}
	return TypeUnknown
}

// A dirFile is an open file of the host.
type dirFile struct {
	*os.File
	name string
}

func (f *dirFile) Stat() (Info, error) {
	fi, err := f.File.Stat()
	return infoOf(fi, f.name), err
}

func (f *dirFile) ReadDir() ([]Entry, error) {
	if _, err := f.File.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	list, err := f.File.ReadDir(-1)
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	entries := make([]Entry, len(list))
	for i, e := range list {
		entries[i] = Entry{e.Name(), typeOf(e.Type()), nameHash(path.Join(f.name, e.Name()))}
	}
	return entries, err
}

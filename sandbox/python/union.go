package python

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"chorale/sandbox"
)

// A union is one file system made of several, and of the directories that lead to them. The interpreter remembers mounts from
// its boot, so that those of a program can only be below one of them.
type union struct {
	mounts []sandbox.Mount // nested ones first
}

// newUnion returns a union of the mounts, whose paths are absolute and clean.
func newUnion(mounts []sandbox.Mount) *union {
	u := &union{slices.Clone(mounts)}
	slices.SortStableFunc(u.mounts, func(a, b sandbox.Mount) int { return cmp.Compare(len(b.Path), len(a.Path)) })
	return u
}

// A place is where a name leads: a name in a mount, or a directory on the way to some, for which fs is nil.
type place struct {
	fs       sandbox.FS
	name     string
	number   int // of the mount
	readOnly bool
}

func (u *union) find(name string) (place, error) {
	full := "/" + name
	if name == "." {
		full = "/"
	}
	onTheWay := full == "/"
	for i, m := range u.mounts {
		switch below, ok := strings.CutPrefix(full, m.Path); {
		case ok && below == "":
			return place{m.FS, ".", i, m.ReadOnly}, nil
		case ok && below[0] == '/':
			return place{m.FS, below[1:], i, m.ReadOnly}, nil
		case strings.HasPrefix(m.Path, full+"/"):
			onTheWay = true
		}
	}
	if onTheWay {
		return place{}, nil
	}
	return place{}, sandbox.ENOENT
}

// change finds what may be changed.
func (u *union) change(name string) (place, error) {
	p, err := u.find(name)
	if err == sandbox.ENOENT || err == nil && (p.fs == nil || p.readOnly || p.name == ".") {
		err = sandbox.EROFS
	}
	return p, err
}

// inode keeps the numbers of different mounts apart: programs compare them to find out whether two names are one file.
func (p place) inode(n uint64) uint64 { return bits.RotateLeft64(n, 8) ^ uint64(p.number+1) }

func (p place) info(i sandbox.Info, err error) (sandbox.Info, error) {
	i.Inode = p.inode(i.Inode)
	return i, err
}

// wayInfo describes a directory on the way.
var wayInfo = sandbox.Info{Type: sandbox.TypeDirectory, Inode: 1}

// Open implements sandbox.FS.
func (u *union) Open(name string, how sandbox.Flag) (sandbox.File, error) {
	const changes = sandbox.Write | sandbox.Create | sandbox.Truncate
	p, err := u.find(name)
	switch {
	case err != nil && how&sandbox.Create != 0, err == nil && p.readOnly && how&changes != 0:
		return nil, sandbox.EROFS
	case err != nil:
		return nil, err
	case p.fs == nil && how&changes != 0:
		return nil, sandbox.EISDIR
	case p.fs == nil:
		return wayFile{u, name}, nil
	}
	f, err := p.fs.Open(p.name, how)
	if err != nil {
		return nil, err
	}
	if w, ok := f.(sandbox.Waiter); ok {
		return unionWaiter{unionFile{f, p}, w}, nil
	}
	return unionFile{f, p}, nil
}

// Stat implements sandbox.FS.
func (u *union) Stat(name string) (sandbox.Info, error) {
	p, err := u.find(name)
	if err != nil || p.fs == nil {
		return wayInfo, err
	}
	return p.info(p.fs.Stat(p.name))
}

// Lstat implements sandbox.FS.
func (u *union) Lstat(name string) (sandbox.Info, error) {
	p, err := u.find(name)
	if err != nil || p.fs == nil {
		return wayInfo, err
	}
	return p.info(p.fs.Lstat(p.name))
}

// Readlink implements sandbox.FS.
func (u *union) Readlink(name string) (string, error) {
	p, err := u.find(name)
	switch {
	case err != nil:
		return "", err
	case p.fs == nil:
		return "", sandbox.EINVAL
	}
	return p.fs.Readlink(p.name)
}

// Mkdir implements sandbox.FS.
func (u *union) Mkdir(name string) error {
	if _, err := u.Lstat(name); err == nil {
		return sandbox.EEXIST
	}
	p, err := u.change(name)
	if err != nil {
		return err
	}
	return p.fs.Mkdir(p.name)
}

// Unlink implements sandbox.FS.
func (u *union) Unlink(name string) error {
	p, err := u.change(name)
	if err != nil {
		return err
	}
	return p.fs.Unlink(p.name)
}

// Rmdir implements sandbox.FS.
func (u *union) Rmdir(name string) error {
	p, err := u.change(name)
	if err != nil {
		return err
	}
	return p.fs.Rmdir(p.name)
}

// Rename implements sandbox.FS. From one mount to another it fails, as between disks, and programs copy instead.
func (u *union) Rename(from, to string) error {
	a, err := u.change(from)
	if err != nil {
		return err
	}
	b, err := u.change(to)
	switch {
	case err != nil:
		return err
	case a.number != b.number:
		return sandbox.EXDEV
	}
	return a.fs.Rename(a.name, b.name)
}

// SetTimes implements sandbox.FS.
func (u *union) SetTimes(name string, accessed, modified int64) error {
	p, err := u.change(name)
	if err != nil {
		return err
	}
	return p.fs.SetTimes(p.name, accessed, modified)
}

// A unionFile is an open file of a mount.
type unionFile struct {
	sandbox.File
	p place
}

func (f unionFile) Stat() (sandbox.Info, error) { return f.p.info(f.File.Stat()) }

func (f unionFile) ReadDir() ([]sandbox.Entry, error) {
	list, err := f.File.ReadDir()
	list = slices.Clone(list)
	for i := range list {
		list[i].Inode = f.p.inode(list[i].Inode)
	}
	return list, err
}

// A unionWaiter is a unionFile that is a sandbox.Waiter.
type unionWaiter struct {
	unionFile
	w sandbox.Waiter
}

func (f unionWaiter) Ready() <-chan struct{} { return f.w.Ready() }

// A wayFile is an open directory on the way to mounts.
type wayFile struct {
	u    *union
	name string
}

func (wayFile) ReadAt([]byte, int64) (int, error)  { return 0, sandbox.EISDIR }
func (wayFile) WriteAt([]byte, int64) (int, error) { return 0, sandbox.EISDIR }
func (wayFile) Stat() (sandbox.Info, error)        { return wayInfo, nil }
func (wayFile) Truncate(int64) error               { return sandbox.EISDIR }
func (wayFile) Sync() error                        { return nil }
func (wayFile) Close() error                       { return nil }

func (f wayFile) ReadDir() ([]sandbox.Entry, error) {
	prefix := "/"
	if f.name != "." {
		prefix += f.name + "/"
	}
	var list []sandbox.Entry
	for i, m := range f.u.mounts {
		below, ok := strings.CutPrefix(m.Path, prefix)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(below, "/")
		list = append(list, sandbox.Entry{Name: name, Type: sandbox.TypeDirectory, Inode: place{number: i}.inode(1)})
	}
	slices.SortFunc(list, func(a, b sandbox.Entry) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(list, func(a, b sandbox.Entry) bool { return a.Name == b.Name }), nil
}

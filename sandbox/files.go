package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// An OpenFile is one entry of a guest's file table.
type OpenFile struct {
	FD     int32
	Path   string // absolute, as the guest sees it; "stdin", "stdout" and "stderr" for the streams
	Offset int64
	Mount  bool // one of Config.Mounts itself
}

// A fileTable maps descriptors to files: 0 to 2 are the streams, then come the mounts, then what the guest opens.
type fileTable struct {
	open           map[int32]*descriptor
	maxOpen        int // beside streams and mounts
	nMounts        int
	stdin          *input
	stdout, stderr *output
	mounts         []Mount
}

// A descriptor is an open file or a stream. Exactly one of file, in and out is set.
type descriptor struct {
	file   File
	in     *input
	out    *output
	mount  Mount
	device uint64 // number of the mount
	name   string // below the mount
	how    Flag
	append bool
	root   bool // a mount itself
	offset int64
	list   []Entry // of a directory, from the last read at its start
}

const firstMount = 3

func newFileTable(c Config) (*fileTable, error) {
	t := &fileTable{}
	return t, t.configure(c)
}

// configure puts other streams and mounts into the table. Files of mounts stay open, and streams that the guest has closed
// are open again unless their numbers are taken.
func (t *fileTable) configure(c Config) error {
	t.stdin = &input{r: c.Stdin}
	t.stdout = &output{name: "stdout", w: c.Stdout, limit: c.Limits.Output}
	t.stderr = &output{name: "stderr", w: c.Stderr, limit: c.Limits.Output}
	t.maxOpen = c.Limits.Files
	if t.open == nil || !slices.Equal(t.mounts, c.Mounts) {
		return t.reset(c.Mounts)
	}
	for fd, d := range t.streams() {
		if old := t.open[fd]; old == nil || old.file == nil {
			t.open[fd] = d
		}
	}
	return nil
}

func (t *fileTable) streams() map[int32]*descriptor {
	return map[int32]*descriptor{0: {in: t.stdin, how: Read}, 1: {out: t.stdout, how: Write}, 2: {out: t.stderr, how: Write}}
}

// reset closes everything and opens streams and mounts anew.
func (t *fileTable) reset(mounts []Mount) error {
	err := t.close()
	t.mounts, t.nMounts = mounts, len(mounts)
	t.open = t.streams()
	for i, m := range mounts {
		if !path.IsAbs(m.Path) || path.Clean(m.Path) != m.Path || m.FS == nil {
			return fmt.Errorf("mount %q: the path must be absolute and clean, and there must be a file system", m.Path)
		}
		f, e := m.FS.Open(".", Directory)
		if e != nil {
			return errors.Join(err, fmt.Errorf("mount %s: %w", m.Path, e))
		}
		t.open[firstMount+int32(i)] = &descriptor{file: f, mount: m, device: uint64(i) + 1, name: ".", root: true}
	}
	return err
}

// begin starts a call: each has its own output limit.
func (t *fileTable) begin() {
	t.stdout.written, t.stdout.cut, t.stderr.written, t.stderr.cut = 0, 0, 0, 0
}

func (t *fileTable) cut() (stdout, stderr int64) { return t.stdout.cut, t.stderr.cut }

func (t *fileTable) close() error {
	var err error
	for _, d := range t.open {
		err = errors.Join(err, d.close())
	}
	t.open = nil
	return err
}

func (t *fileTable) list() []OpenFile {
	var out []OpenFile
	for _, fd := range slices.Sorted(maps.Keys(t.open)) {
		d := t.open[fd]
		out = append(out, OpenFile{FD: fd, Path: d.path(), Offset: d.offset, Mount: d.root})
	}
	return out
}

// add puts an open file at the lowest free number.
func (t *fileTable) add(d *descriptor) (int32, error) {
	if len(t.open) >= firstMount+t.nMounts+t.maxOpen {
		return 0, EMFILE
	}
	fd := int32(firstMount)
	for t.open[fd] != nil {
		fd++
	}
	t.open[fd] = d
	return fd, nil
}

func (d *descriptor) path() string {
	switch {
	case d.in != nil:
		return "stdin"
	case d.out != nil:
		return d.out.name
	}
	return path.Join(d.mount.Path, d.name)
}

func (d *descriptor) close() error {
	if d.file == nil {
		return nil
	}
	return d.file.Close()
}

// info describes the file, with the device that its mount stands for.
func (d *descriptor) info() (Info, error) {
	if d.file == nil {
		return Info{Type: TypeUnknown}, nil // like a pipe: not a terminal
	}
	return d.file.Stat()
}

func (d *descriptor) read(p []byte) (int, error) {
	n, err := d.file.ReadAt(p, d.offset)
	d.offset += int64(n)
	return n, endOfFile(n, err)
}

// endOfFile makes of io.ReaderAt's errors those of a read, where the end is zero bytes and no error.
func endOfFile(n int, err error) error {
	if n > 0 || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (d *descriptor) write(p []byte) (int, error) {
	if d.append {
		info, err := d.file.Stat()
		if err != nil {
			return 0, err
		}
		d.offset = info.Size
	}
	n, err := d.file.WriteAt(p, d.offset)
	d.offset += int64(n)
	if n > 0 {
		err = nil // a short write; the next one meets the error again
	}
	return n, err
}

// resolve makes a name below the mount of a guest's path, which is relative to the directory d and must not leave it.
// Cleaning is lexical: "link/.." is ".", whatever the link points to.
func (d *descriptor) resolve(guestPath string) (name string, how Flag, err error) {
	switch {
	case d.file == nil:
		return "", 0, ENOTDIR
	case guestPath == "":
		return "", 0, ENOENT
	case len(guestPath) > 4096:
		return "", 0, ENAMETOOLONG
	case strings.IndexByte(guestPath, 0) >= 0:
		return "", 0, EINVAL
	case path.IsAbs(guestPath):
		return "", 0, ENOTCAPABLE
	}
	clean := path.Clean(guestPath)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", 0, ENOTCAPABLE
	}
	if strings.HasSuffix(guestPath, "/") {
		how = Directory
	}
	return path.Join(d.name, clean), how, nil
}

// An output passes bytes on up to a limit, and counts what it drops: the guest sees every write succeed.
type output struct {
	name         string
	w            io.Writer
	limit        int64
	written, cut int64
}

func (o *output) write(p []byte) int {
	n := min(int64(len(p)), o.limit-o.written)
	if n > 0 {
		if _, err := o.w.Write(p[:n]); err != nil {
			n = 0 // a host that does not listen is no concern of the guest
		}
	}
	o.written += max(n, 0)
	o.cut += int64(len(p)) - max(n, 0)
	return len(p)
}

// An input reads from the host's reader in a goroutine, so that a read that blocks does not hold the guest's limits up.
// At most one read is under way; what it brings when nobody waits any more is for the next reader.
type input struct {
	r       io.Reader
	rest    []byte
	pending chan inputResult // of the read under way
	err     error
}

type inputResult struct {
	data []byte
	err  error
}

const inputBytes = 64 << 10

// read fills p with what is there, waiting for the first byte with wait.
func (i *input) read(p []byte, wait func(<-chan inputResult) (inputResult, error)) (int, error) {
	if i.r == nil || len(p) == 0 {
		return 0, nil
	}
	if r, ok := i.r.(*bytes.Reader); ok { // it never blocks, and a megabyte is read in one piece
		n, _ := r.Read(p)
		return n, nil
	}
	if len(i.rest) == 0 && i.err == nil {
		if i.pending == nil {
			i.pending = make(chan inputResult, 1) // the reader never waits for us
			go func(r io.Reader, done chan<- inputResult) {
				buf := make([]byte, inputBytes)
				n, err := r.Read(buf)
				done <- inputResult{buf[:n], err}
			}(i.r, i.pending)
		}
		got, err := wait(i.pending)
		if err != nil {
			return 0, err
		}
		i.pending, i.rest, i.err = nil, got.data, got.err
	}
	n := copy(p, i.rest)
	i.rest = i.rest[n:]
	if n == 0 && i.err != nil && !errors.Is(i.err, io.EOF) {
		return 0, EIO
	}
	return n, nil
}

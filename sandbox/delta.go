package sandbox

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// deltaPageBytes is the size of the pieces of memory that a Delta holds. It does not depend on the platform.
const deltaPageBytes = 4096

// A Delta is in what the state of an instance differs from an image: pages of memory, globals, and the file table. It is
// immutable and can be applied any number of times, in other processes too, to forks of an image with the same hash.
//
// Files are kept as what leads to them: mount, name, flags and offset. Applying a Delta opens them again; one that was
// deleted or renamed while it was open, or cannot be opened any more, is closed for the guest.
type Delta struct {
	image   [sha256.Size]byte
	size    uint64 // of the memory, in bytes
	globals []uint64
	pages   []uint32 // numbers of pages, ascending
	data    []byte   // of the pages, XORed with the image: what did not change is zero
	files   []savedFile
}

// A savedFile is one entry of the file table.
type savedFile struct {
	fd     int32
	kind   fileKind
	mount  uint32 // number of the mount, of a mount or file
	name   string // of a file, below the mount
	how    Flag
	append bool
	offset int64
}

type fileKind uint8

const (
	savedStdin fileKind = iota
	savedStdout
	savedStderr
	savedMount
	savedOpen
	nSavedKinds
)

// Image is the hash of the image that the delta belongs to.
func (d *Delta) Image() [sha256.Size]byte { return d.image }

// Bytes is how much memory the pages of the delta take, uncompressed.
func (d *Delta) Bytes() int64 { return int64(len(d.data)) }

// Size is how many bytes of linear memory an instance has after the delta was applied.
func (d *Delta) Size() uint64 { return d.size }

// Delta compares the instance, between two calls, with an image, usually the one that it was forked from: then on Linux
// only the pages that were written are looked at.
func (in *Instance) Delta(img *Image) (*Delta, error) {
	if err := in.enter(); err != nil {
		return nil, err
	}
	defer in.mu.Unlock()
	if img.module != in.m.hash {
		return nil, errors.New("delta: the image belongs to another module")
	}
	if in.m.fixed != "" {
		return nil, fmt.Errorf("delta: the module %s, whose effect a delta cannot hold", in.m.fixed)
	}
	mem := in.memory()
	d := &Delta{image: img.hash, size: uint64(len(mem)), files: in.files.save()}
	if d.size < img.size {
		return nil, errors.New("delta: the memory is smaller than the image")
	}
	for _, g := range in.globals {
		d.globals = append(d.globals, g.Get())
	}
	img.mu.RLock()
	defer img.mu.RUnlock()
	if img.backing == nil {
		return nil, fmt.Errorf("delta: %w", errImageClosed)
	}
	if in.linear == nil {
		return d, nil
	}
	in.linear.region.written(img.backing, d.size, func(from, to uint64) {
		for at := from; at < to; at += deltaPageBytes {
			if !bytes.Equal(mem[at:at+deltaPageBytes], img.backing.page(at)) {
				d.pages = append(d.pages, uint32(at/deltaPageBytes))
			}
		}
	})
	d.data = make([]byte, len(d.pages)*deltaPageBytes)
	for i, p := range d.pages {
		at := uint64(p) * deltaPageBytes
		subtle.XORBytes(d.data[i*deltaPageBytes:], mem[at:at+deltaPageBytes], img.backing.page(at))
	}
	return d, nil
}

var zeroPage [deltaPageBytes]byte // never written

// page is what the image has at a page of deltas.
func (b *backing) page(at uint64) []byte {
	if at >= uint64(len(b.data)) {
		return zeroPage[:]
	}
	return b.data[at:][:deltaPageBytes]
}

// Apply brings an instance that was just forked from the image, or reset to it, to the state that the delta describes.
// It fails for a memory above the instance's limit. After an error the instance must be closed.
func (in *Instance) Apply(img *Image, d *Delta) error {
	if err := in.enter(); err != nil {
		return err
	}
	defer in.mu.Unlock()
	switch {
	case d.image != img.hash:
		return errors.New("apply delta: it belongs to another image")
	case d.size < img.size:
		return errors.New("apply delta: its memory is smaller than the image's")
	case in.pristine != img:
		return errors.New("apply delta: the instance is not in the state of the image")
	case len(d.globals) != len(in.globals):
		return fmt.Errorf("apply delta: it has %d globals, the module %d", len(d.globals), len(in.globals))
	case d.size > 0 && in.mem == nil:
		return errors.New("apply delta: the module has no memory")
	}
	in.pristine = nil
	if in.mem != nil {
		if _, ok := in.mem.Grow(uint32((d.size - img.size) / pageBytes)); !ok {
			return fmt.Errorf("apply delta: it needs %d bytes of memory, which the limit of %d or the host forbids", d.size, in.linear.limit)
		}
	}
	mem := in.memory()
	for i, p := range d.pages {
		page := mem[uint64(p)*deltaPageBytes:][:deltaPageBytes]
		subtle.XORBytes(page, page, d.data[i*deltaPageBytes:][:deltaPageBytes])
	}
	for i, g := range in.globals {
		g.Set(d.globals[i])
	}
	if err := in.files.restore(d.files); err != nil {
		return fmt.Errorf("apply delta: %w", err)
	}
	return nil
}

// save lists the table, lowest descriptor first.
func (t *fileTable) save() []savedFile {
	var out []savedFile
	for _, fd := range slices.Sorted(maps.Keys(t.open)) {
		d := t.open[fd]
		s := savedFile{fd: fd, kind: savedOpen, name: d.name, how: d.how, append: d.append, offset: d.offset}
		switch {
		case d.in != nil:
			s = savedFile{fd: fd, kind: savedStdin}
		case d.out == t.stdout:
			s = savedFile{fd: fd, kind: savedStdout}
		case d.out != nil:
			s = savedFile{fd: fd, kind: savedStderr}
		case d.root:
			s = savedFile{fd: fd, kind: savedMount, mount: uint32(d.device - 1)}
		default:
			s.mount = uint32(d.device - 1)
		}
		out = append(out, s)
	}
	return out
}

// restore makes the table what save listed, as far as files can be opened.
func (t *fileTable) restore(list []savedFile) error {
	if err := t.reset(t.mounts); err != nil {
		return err
	}
	fresh := t.open
	t.open, t.nMounts = map[int32]*descriptor{}, 0
	for _, s := range list {
		var d *descriptor
		switch s.kind {
		case savedStdin, savedStdout, savedStderr:
			d = fresh[int32(s.kind)]
		case savedMount:
			if s.mount < uint32(len(t.mounts)) {
				d = fresh[firstMount+int32(s.mount)]
				delete(fresh, firstMount+int32(s.mount))
				t.nMounts++
			}
		case savedOpen:
			d = t.reopen(s)
		}
		if d != nil {
			t.open[s.fd] = d
		}
	}
	var err error
	for _, d := range fresh {
		if d.root { // the guest has closed it
			err = errors.Join(err, d.close())
		}
	}
	return err
}

// reopen opens a file of a mount again; nil if that is impossible.
func (t *fileTable) reopen(s savedFile) *descriptor {
	if s.mount >= uint32(len(t.mounts)) || len(t.open) >= firstMount+len(t.mounts)+t.maxOpen {
		return nil
	}
	m := t.mounts[s.mount]
	if m.ReadOnly && s.how&Write != 0 {
		return nil
	}
	f, err := m.FS.Open(s.name, s.how)
	if err != nil {
		return nil
	}
	return &descriptor{file: f, mount: m, device: uint64(s.mount) + 1, name: s.name, how: s.how, append: s.append, offset: s.offset}
}

// deltaMagic begins a stored delta; its last byte is the version of the form.
const deltaMagic = "CHORDLT\x01"

// AppendBinary implements encoding.BinaryAppender. The form compresses well and is neither compressed nor authenticated:
// who can write it decides what the guest does, within its limits.
func (d *Delta) AppendBinary(b []byte) ([]byte, error) {
	b = slices.Grow(b, len(d.data)+5*len(d.pages)+64*len(d.files)+128)
	b = append(b, deltaMagic...)
	b = append(b, d.image[:]...)
	b = binary.AppendUvarint(b, d.size)
	b = binary.AppendUvarint(b, uint64(len(d.globals)))
	for _, g := range d.globals {
		b = binary.AppendUvarint(b, g)
	}
	b = binary.AppendUvarint(b, uint64(len(d.files)))
	for _, f := range d.files {
		b = binary.AppendUvarint(b, uint64(f.fd))
		b = append(b, byte(f.kind))
		if f.kind < savedMount {
			continue
		}
		b = binary.AppendUvarint(b, uint64(f.mount))
		if f.kind != savedOpen {
			continue
		}
		appending := byte(0)
		if f.append {
			appending = 1
		}
		b = append(b, byte(f.how), appending)
		b = binary.AppendUvarint(b, uint64(f.offset))
		b = binary.AppendUvarint(b, uint64(len(f.name)))
		b = append(b, f.name...)
	}
	b = binary.AppendUvarint(b, uint64(len(d.pages)))
	next := uint32(0)
	for _, p := range d.pages {
		b = binary.AppendUvarint(b, uint64(p-next)) // a gap
		next = p + 1
	}
	return append(b, d.data...), nil
}

// MarshalBinary implements encoding.BinaryMarshaler, see AppendBinary.
func (d *Delta) MarshalBinary() ([]byte, error) { return d.AppendBinary(nil) }

// ParseDelta reads the form that AppendBinary writes, and keeps p. What is damaged so that it could not be applied is
// refused.
func ParseDelta(p []byte) (*Delta, error) {
	r := deltaReader{rest: p}
	out := &Delta{}
	if string(r.bytes(len(deltaMagic))) != deltaMagic {
		return nil, errors.New("read delta: it is not a delta of this version")
	}
	copy(out.image[:], r.bytes(sha256.Size))
	out.size = r.uvarint(maxMemoryBytes)
	if out.size%pageBytes != 0 {
		r.failed = true
	}
	out.globals = make([]uint64, r.count(maxGlobals))
	for i := range out.globals {
		out.globals[i] = r.uvarint(1<<64 - 1)
	}
	for range r.count(1 << 20) {
		out.files = append(out.files, r.file())
	}
	out.pages = make([]uint32, r.count(int(out.size/deltaPageBytes)))
	next := uint64(0)
	for i := range out.pages {
		next += r.uvarint(maxMemoryBytes)
		if next >= out.size/deltaPageBytes {
			r.failed = true
			break
		}
		out.pages[i] = uint32(next)
		next++
	}
	out.data = r.rest
	if r.failed || len(out.data) != len(out.pages)*deltaPageBytes {
		return nil, errors.New("read delta: it is damaged or cut short")
	}
	return out, nil
}

// A deltaReader takes a stored delta apart. After a failure it returns zeros.
type deltaReader struct {
	rest   []byte
	failed bool
}

func (r *deltaReader) bytes(n int) []byte {
	if n > len(r.rest) {
		r.failed = true
		r.rest = nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *deltaReader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *deltaReader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > limit {
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count is the length of a list, of which every element takes a byte at least.
func (r *deltaReader) count(limit int) int {
	n := r.uvarint(uint64(limit))
	if n > uint64(len(r.rest)) {
		r.failed = true
		return 0
	}
	return int(n)
}

func (r *deltaReader) file() savedFile {
	f := savedFile{fd: int32(r.uvarint(1<<31 - 1)), kind: fileKind(r.byte())}
	if f.kind >= savedMount {
		f.mount = uint32(r.uvarint(1<<32 - 1))
	}
	if f.kind == savedOpen {
		f.how = Flag(r.byte()) & (Read | Write | Directory | NoFollow)
		f.append = r.byte() != 0
		f.offset = int64(r.uvarint(maxFileOffset))
		f.name = string(r.bytes(int(r.uvarint(4096))))
		r.failed = r.failed || !fs.ValidPath(f.name)
	}
	r.failed = r.failed || f.kind >= nSavedKinds
	return f
}

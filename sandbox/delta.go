package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

const (
	// deltaPageBytes is the size of the pieces of memory that are compared first. It does not depend on the platform.
	deltaPageBytes = 4096
	// wordBytes is the size of the pieces that a Delta holds. New words compress twice as well as what they are XORed with
	// the old ones, and five times as well as whole pages: most of what a guest writes are numbers and addresses.
	wordBytes = 4
)

// A Delta is in what the state of an instance differs from an image: words of memory, globals, and the file table. It is
// immutable and can be applied any number of times, in other processes too, to forks of an image with the same hash.
//
// Files are kept as what leads to them: mount, name, flags and offset. Applying a Delta opens them again; one that was
// deleted or renamed while it was open, or cannot be opened any more, is closed for the guest.
type Delta struct {
	image   [sha256.Size]byte
	size    uint64 // of the memory, in bytes
	globals []uint64
	runs    []run  // of words that differ, ascending
	data    []byte // these words
	touched int64  // bytes of the pages that they are in
	files   []savedFile
}

// A run is a number of words after a gap of words that are those of the image.
type run struct{ gap, n uint32 }

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

// Bytes is how much memory an instance has of its own after the delta was applied: that of the pages that differ.
func (d *Delta) Bytes() int64 { return d.touched }

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
	end := uint64(0) // of the last run, in words
	in.linear.region.written(img.backing, d.size, func(from, to uint64) {
		for at := from; at < to; at += deltaPageBytes {
			end = d.compare(mem[at:at+deltaPageBytes], img.backing.page(at), at/wordBytes, end)
		}
	})
	return d, nil
}

// compare adds the words of a page that begins at the word at.
func (d *Delta) compare(page, old []byte, at, end uint64) uint64 {
	if bytes.Equal(page, old) {
		return end
	}
	d.touched += deltaPageBytes
	for i := 0; i < deltaPageBytes; i += wordBytes {
		if binary.LittleEndian.Uint32(page[i:]) == binary.LittleEndian.Uint32(old[i:]) {
			continue
		}
		if w := at + uint64(i/wordBytes); w == end && len(d.runs) > 0 {
			d.runs[len(d.runs)-1].n++
		} else {
			d.runs = append(d.runs, run{uint32(w - end), 1})
		}
		end = at + uint64(i/wordBytes) + 1
		d.data = append(d.data, page[i:i+wordBytes]...)
	}
	return end
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
	at, data := uint64(0), d.data
	for _, r := range d.runs {
		at += uint64(r.gap) * wordBytes
		n := copy(mem[at:at+uint64(r.n)*wordBytes], data)
		at, data = at+uint64(n), data[n:]
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
const deltaMagic = "CHORDLT\x02"

// AppendBinary implements encoding.BinaryAppender. The form compresses well and is neither compressed nor authenticated:
// who can write it decides what the guest does, within its limits.
func (d *Delta) AppendBinary(b []byte) ([]byte, error) {
	b = slices.Grow(b, len(d.data)+10*len(d.runs)+64*len(d.files)+128)
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
	b = binary.AppendUvarint(b, uint64(len(d.runs)))
	for _, r := range d.runs {
		b = binary.AppendUvarint(b, uint64(r.gap))
		b = binary.AppendUvarint(b, uint64(r.n))
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
	words := out.readRuns(&r)
	out.data = r.rest
	if r.failed || uint64(len(out.data)) != words*wordBytes {
		return nil, errors.New("read delta: it is damaged or cut short")
	}
	return out, nil
}

// readRuns reads the runs, which must lie in the memory, and returns how many words they have.
func (d *Delta) readRuns(r *deltaReader) (words uint64) {
	d.runs = make([]run, r.count(int(d.size/wordBytes)))
	at, page := uint64(0), uint64(0) // the end of the run before, in bytes, and of the pages that are counted
	for i := range d.runs {
		gap, n := r.uvarint(d.size/wordBytes), r.uvarint(d.size/wordBytes)
		from := at + gap*wordBytes
		at = from + n*wordBytes
		if n == 0 || at > d.size {
			r.failed = true
			return 0
		}
		d.runs[i] = run{uint32(gap), uint32(n)}
		words += n
		from = max(from/deltaPageBytes*deltaPageBytes, page)
		page = (at + deltaPageBytes - 1) / deltaPageBytes * deltaPageBytes
		d.touched += int64(page - min(from, page))
	}
	return words
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

package sandbox

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// imageMagic begins a stored image; its last byte is the version of the form.
const imageMagic = "CHORIMG\x01"

// imageHead is what follows the magic, in little-endian order; the globals come after it, then the content of the memory
// without the zeros at its end.
type imageHead struct {
	Module, Hash  [sha256.Size]byte
	Size, Content uint64 // bytes
	Globals       uint32
}

// maxGlobals is far above what modules have.
const maxGlobals = 1 << 16

// WriteTo implements io.WriterTo, in the form that ReadImage reads.
func (img *Image) WriteTo(w io.Writer) (int64, error) {
	img.mu.RLock()
	defer img.mu.RUnlock()
	if img.backing == nil {
		return 0, fmt.Errorf("write image: %w", errImageClosed)
	}
	content := img.backing.content()
	head := []byte(imageMagic)
	head, err := binary.Append(head, binary.LittleEndian,
		imageHead{img.module, img.hash, img.size, uint64(len(content)), uint32(len(img.globals))})
	if err == nil {
		head, err = binary.Append(head, binary.LittleEndian, img.globals)
	}
	if err != nil {
		return 0, fmt.Errorf("write image: %w", err)
	}
	n, err := w.Write(head)
	written := int64(n)
	if err == nil {
		n, err = w.Write(content)
		written += int64(n)
	}
	if err != nil {
		return written, fmt.Errorf("write image: %w", err)
	}
	return written, nil
}

// ReadImage reads what WriteTo wrote, to the end of r, and checks it against its hash: a damaged, cut or longer one is
// refused. The hash finds damage, not malice: who can write a stored image decides what guests do.
func ReadImage(r io.Reader) (*Image, error) {
	img, err := readImage(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it is cut short")
	}
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	return img, nil
}

func readImage(r io.Reader) (*Image, error) {
	magic := make([]byte, len(imageMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return nil, err
	}
	if string(magic) != imageMagic {
		return nil, errors.New("it is not a stored image of this version")
	}
	var head imageHead
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil {
		return nil, err
	}
	switch {
	case head.Size > maxMemoryBytes || head.Size%pageBytes != 0 || head.Content > head.Size || head.Content%deltaPageBytes != 0:
		return nil, fmt.Errorf("it is damaged: %d bytes of content in a memory of %d", head.Content, head.Size)
	case head.Globals > maxGlobals:
		return nil, fmt.Errorf("it is damaged: %d globals", head.Globals)
	}
	img := &Image{module: head.Module, size: head.Size, globals: make([]uint64, head.Globals)}
	if err := binary.Read(r, binary.LittleEndian, img.globals); err != nil {
		return nil, err
	}
	var err error
	if img.backing, err = readBacking(r, int64(head.Content)); err != nil {
		return nil, err
	}
	if n, _ := io.CopyN(io.Discard, r, 1); n > 0 {
		return nil, errors.Join(errors.New("it is damaged: more follows its end"), img.Close())
	}
	if img.seal(); img.hash != head.Hash {
		return nil, errors.Join(errors.New("it is damaged: its hash is another"), img.Close())
	}
	return img, nil
}

// seal computes the hash.
func (img *Image) seal() {
	h := sha256.New()
	h.Write(img.module[:])
	binary.Write(h, binary.LittleEndian, img.size)
	binary.Write(h, binary.LittleEndian, img.globals)
	h.Write(img.backing.content())
	h.Sum(img.hash[:0])
}

// content is the memory without the zeros at its end, in whole pages of deltas: it does not depend on the platform.
func (b *backing) content() []byte {
	n := (trimmed(b.data) + deltaPageBytes - 1) / deltaPageBytes * deltaPageBytes
	return b.data[:n]
}

// Save stores the image in a file that only its owner can read, replacing one that is there at once.
func (img *Image) Save(name string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".image-") // mode 0600
	if err != nil {
		return fmt.Errorf("save image: %w", err)
	}
	_, err = img.WriteTo(f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("save image: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// LoadImage reads a file that Save wrote, as ReadImage does. A file that belongs to another user, or that others can
// write or read, is refused. The error wraps fs.ErrNotExist when there is none.
func LoadImage(name string) (*Image, error) {
	fi, err := os.Lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("load image: %w", err)
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("load image: %s is not a regular file", name)
	case runtime.GOOS != "windows" && fi.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("load image: %s has mode %04o: guests begin with what it says, so it must be 0600", name, fi.Mode().Perm())
	case !ownedByUs(fi):
		return nil, fmt.Errorf("load image: %s belongs to another user", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("load image: %w", err)
	}
	defer f.Close()
	img, err := ReadImage(f)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	return img, nil
}

//go:build !linux || !(amd64 || arm64) || portablememory

package sandbox

import "io"

// A region is one linear memory on the Go heap. Forking and resetting copy everything. The build tag selects it on Linux
// too, for its tests.
type region struct {
	buf []byte
}

func newRegion(capBytes uint64, image *backing) (*region, error) {
	r := &region{}
	if image != nil {
		r.buf = append(r.buf, image.data...)
	}
	return r, nil
}

func (r *region) slice(size uint64) []byte {
	if grow := int(size) - len(r.buf); grow > 0 {
		r.buf = append(r.buf, make([]byte, grow)...)
	}
	return r.buf[:size:size]
}

func (r *region) free() { r.buf = nil }

// reset makes the first size bytes equal to the image followed by zeros.
func (r *region) reset(image *backing, size uint64) error {
	clear(r.buf[copy(r.buf[:size], image.data):size])
	return nil
}

// written calls visit with everything.
func (r *region) written(_ *backing, size uint64, visit func(from, to uint64)) { visit(0, size) }

// inUse is everything.
func (r *region) inUse(size uint64) int64 { return int64(size) }

// A backing is the content of an image.
type backing struct {
	data []byte
}

func newBacking(content []byte) (*backing, error) {
	n := (trimmed(content) + deltaPageBytes - 1) / deltaPageBytes * deltaPageBytes
	return &backing{append([]byte(nil), content[:n]...)}, nil
}

// readBacking takes the next n bytes of r.
func readBacking(r io.Reader, n int64) (*backing, error) {
	data, err := io.ReadAll(io.LimitReader(r, n)) // n may be a lie
	if err == nil && int64(len(data)) < n {
		err = io.ErrUnexpectedEOF
	}
	return &backing{data}, err
}

func (b *backing) free() { b.data = nil }

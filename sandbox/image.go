package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
)

// A linearMemory is what the engine takes a guest's memory from. It never grows beyond its limit, and gives memory out
// without moving it where the platform can.
type linearMemory struct {
	region *region
	limit  uint64
	size   uint64
	peak   uint64
	grow   func(bytes int64) bool // asked before it grows, if not nil
}

// Reallocate implements the engine's interface; nil makes the guest's memory.grow fail.
func (l *linearMemory) Reallocate(size uint64) []byte {
	if size > l.limit || size > l.size && l.grow != nil && !l.grow(int64(size-l.size)) {
		return nil
	}
	l.size = size
	l.peak = max(l.peak, size)
	return l.region.slice(size)
}

// Free implements the engine's interface.
func (l *linearMemory) Free() { l.region.free() }

// An Image is the state of an instance between two calls: linear memory and mutable globals, not open files. It is
// immutable, belongs to one Module and is safe for concurrent use.
type Image struct {
	module  [sha256.Size]byte
	size    uint64 // of the memory, in bytes
	globals []uint64
	hash    [sha256.Size]byte

	mu      sync.RWMutex // held for reading while backing is in use
	backing *backing     // nil after Close
}

// ErrGrown says that a memory became larger than the image: memories cannot shrink, so a new fork must be made.
var ErrGrown = errors.New("memory has grown since the image was captured")

// Capture copies the state of an instance. It fails for modules whose state is not all in memory and numeric globals.
func (in *Instance) Capture() (*Image, error) {
	if err := in.enter(); err != nil {
		return nil, err
	}
	defer in.mu.Unlock()
	if in.m.fixed != "" {
		return nil, fmt.Errorf("capture: the module %s, whose effect an image cannot hold", in.m.fixed)
	}
	img := &Image{module: in.m.hash, globals: make([]uint64, len(in.globals))}
	for i, g := range in.globals {
		img.globals[i] = g.Get()
	}
	content := in.memory()
	img.size = uint64(len(content))
	var err error
	if img.backing, err = newBacking(content); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	img.seal()
	return img, nil
}

// Hash identifies the content, the module included.
func (img *Image) Hash() [sha256.Size]byte { return img.hash }

// Module is the hash of the module that the image belongs to.
func (img *Image) Module() [sha256.Size]byte { return img.module }

// Bytes is the size of the memory.
func (img *Image) Bytes() uint64 { return img.size }

// Close frees the image. Instances that were forked from it live on and cannot be reset any more.
func (img *Image) Close() error {
	img.mu.Lock()
	defer img.mu.Unlock()
	if img.backing != nil {
		img.backing.free()
		img.backing = nil
	}
	return nil
}

var errImageClosed = errors.New("image is closed")

// Fork returns an instance in the state of the image; neither start nor initialization code runs. On Linux the memory
// is mapped copy-on-write and costs only the pages that the guest writes.
func (m *Module) Fork(ctx context.Context, img *Image, c Config) (*Instance, error) {
	if img.module != m.hash || len(img.globals) != len(m.globals) {
		return nil, errors.New("fork: the image belongs to another module")
	}
	img.mu.RLock()
	defer img.mu.RUnlock()
	if img.backing == nil {
		return nil, fmt.Errorf("fork: %w", errImageClosed)
	}
	in, err := m.open(ctx, c, img)
	if err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	return in, nil
}

// Reset brings the instance back to the state of the image and closes its files except the mounts'. On Linux it copies
// back the pages that were written. After ErrGrown, or any other error, the instance must be closed.
func (in *Instance) Reset(img *Image) error {
	if err := in.enter(); err != nil {
		return err
	}
	defer in.mu.Unlock()
	in.pristine = nil
	if img.module != in.m.hash {
		return errors.New("reset: the image belongs to another module")
	}
	if uint64(len(in.memory())) != img.size {
		return fmt.Errorf("reset: %w", ErrGrown)
	}
	img.mu.RLock()
	defer img.mu.RUnlock()
	if img.backing == nil {
		return fmt.Errorf("reset: %w", errImageClosed)
	}
	if in.linear != nil {
		if err := in.linear.region.reset(img.backing, img.size); err != nil {
			return fmt.Errorf("reset: %w", err)
		}
		in.linear.peak = img.size
	}
	for i, g := range in.globals {
		g.Set(img.globals[i])
	}
	if err := in.files.reset(in.cfg.Mounts); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	in.pristine = img
	return nil
}

// Private is how many bytes of memory the instance has for itself: what it wrote since it was forked, not counting what it
// shares with its image. Where the platform does not tell, it is the size of the memory.
func (in *Instance) Private() (int64, error) {
	if err := in.enter(); err != nil {
		return 0, err
	}
	defer in.mu.Unlock()
	if in.linear == nil {
		return 0, nil
	}
	return in.linear.region.inUse(in.linear.size), nil
}

// trimmed is the length of b without the zeros at its end.
func trimmed(b []byte) int {
	const step = 4096
	var zeros [step]byte
	n := len(b)
	for n >= step && bytes.Equal(b[n-step:n], zeros[:]) {
		n -= step
	}
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return n
}

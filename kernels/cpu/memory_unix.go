//go:build linux || darwin || freebsd || netbsd || openbsd

package cpu

import (
	"fmt"
	"syscall"
	"unsafe"
)

// A Memory is a large array of float32 outside the garbage collector's heap, so that gigabytes of it neither delay
// collections nor take time or pages before they are written. It begins as zeros.
type Memory struct {
	// Floats is the array. It must not be used after Free.
	Floats  []float32
	mapping []byte
}

// NewMemory reserves n float32. Free must be called.
func NewMemory(n int) (*Memory, error) {
	if n == 0 {
		return new(Memory), nil
	}
	b, err := syscall.Mmap(-1, 0, 4*n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of memory: %w", 4*n, err)
	}
	// Sound: a mapping begins on a page, its length is that of n elements, and it lives until Free.
	return &Memory{Floats: unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n), mapping: b}, nil
}

// Free returns the memory to the system. It is idempotent.
func (m *Memory) Free() error {
	b := m.mapping
	m.Floats, m.mapping = nil, nil
	if b == nil {
		return nil
	}
	return syscall.Munmap(b)
}

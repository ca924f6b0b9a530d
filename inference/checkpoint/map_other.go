//go:build !unix && !windows

package checkpoint

import (
	"fmt"
	"io"
	"os"
)

// mapOpened reads the first size bytes of f, where there is no mapping of files.
func mapOpened(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data = make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, nil, fmt.Errorf("read %d bytes: %w", size, err)
	}
	return data, func() error { return nil }, nil
}

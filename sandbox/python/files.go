package python

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"chorale/sandbox"
)

// A File is a file of a session.
type File struct {
	Path     string // absolute and clean, as the guest sees it
	Data     []byte // nil in lists
	Size     int64
	Modified time.Time
	MIME     string // of images that a cell showed
}

// The directories that a session begins with. Code runs in the first.
const (
	DataDir = "/mnt/data"
	TempDir = "/tmp"
)

// sessionDirs are there from the beginning, parents first.
var sessionDirs = []string{"lib", "mnt", "mnt/data", "tmp"}

// newFiles makes what a new session sees at the root. The libraries are mounted over the empty directories.
func newFiles(maxBytes int64, maxFiles int) (*sandbox.Mem, error) {
	m := sandbox.NewMem(maxBytes, maxFiles)
	for _, name := range sessionDirs {
		if err := m.Mkdir(name); err != nil {
			return nil, fmt.Errorf("limits of disk (%d bytes) and files (%d) are too small: %w", maxBytes, maxFiles, err)
		}
	}
	return m, nil
}

// fileName is the name of a path in the session's files.
func fileName(p string) (string, error) {
	name, absolute := strings.CutPrefix(p, "/")
	if !absolute || !fs.ValidPath(name) || name == "." {
		return "", fmt.Errorf("path %q of a session's file must be absolute and clean", p)
	}
	return name, nil
}

// WriteFile puts a file into the session, with the directories that it needs.
func (s *Session) WriteFile(p string, data []byte) error {
	return writeFile(s.files, File{Path: p, Data: data})
}

func writeFile(m *sandbox.Mem, f File) error {
	name, err := fileName(f.Path)
	if err == nil {
		err = m.WriteFile(name, f.Data)
	}
	if err == nil && !f.Modified.IsZero() {
		err = m.SetTimes(name, -1, f.Modified.UnixNano())
	}
	if errors.Is(err, sandbox.ENOSPC) {
		return fmt.Errorf("write %s: the session's files are at their limit: %w", f.Path, err)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

// ReadFile returns a file of the session. The error wraps fs.ErrNotExist when it is not there.
func (s *Session) ReadFile(p string) (File, error) {
	name, err := fileName(p)
	if err != nil {
		return File{}, err
	}
	f, err := readFile(s.files, name)
	if err != nil {
		return File{}, fmt.Errorf("read %s: %w", p, err)
	}
	return f, nil
}

func readFile(m *sandbox.Mem, name string) (File, error) {
	info, err := m.Stat(name)
	if err != nil {
		return File{}, err
	}
	b, err := m.ReadFile(name)
	return File{Path: "/" + name, Data: b, Size: int64(len(b)), Modified: time.Unix(0, info.Modified)}, err
}

// RemoveFile takes a file away. The error wraps fs.ErrNotExist when it is not there.
func (s *Session) RemoveFile(p string) error {
	name, err := fileName(p)
	if err != nil {
		return err
	}
	if err := s.files.Unlink(name); err != nil {
		return fmt.Errorf("remove %s: %w", p, err)
	}
	return nil
}

// List returns the files of the session without their content, by path.
func (s *Session) List() ([]File, error) {
	var list []File
	err := walk(s.files, ".", func(name string, info sandbox.Info) error {
		if info.Type == sandbox.TypeRegular {
			list = append(list, File{Path: "/" + name, Size: info.Size, Modified: time.Unix(0, info.Modified)})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return list, nil
}

// walk visits everything below a directory, parents first.
func walk(m *sandbox.Mem, dir string, visit func(name string, info sandbox.Info) error) error {
	f, err := m.Open(dir, sandbox.Directory)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir()
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		info, err := m.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a cell that runs has removed it
		}
		if err == nil {
			err = visit(name, info)
		}
		if err == nil && info.Type == sandbox.TypeDirectory {
			err = walk(m, name, visit)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

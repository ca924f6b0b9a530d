package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// A Store keeps the values of one plugin. It is safe for concurrent use. Errors wrap ErrKey for a key that cannot be
// one, fs.ErrNotExist for one that is not there, and ErrFull for what does not fit. Callers and the Store do not share
// slices.
type Store interface {
	Get(key string) ([]byte, error)
	Set(key string, value []byte) error
	Delete(key string) error
	// Keys are all keys, sorted.
	Keys() ([]string, error)
	// Fits says whether a value of that size could be set now.
	Fits(key string, size int64) error
}

// Errors of a Store.
var (
	ErrKey  = errors.New("a key must have 1 to 80 bytes of UTF-8, no slash, no control characters, and no dot at the beginning")
	ErrFull = errors.New("the store is full")
)

// maxKeyBytes keeps the names of files below the 255 bytes of common file systems, three for each.
const maxKeyBytes = 80

// StoreLimits bound a Store. Zeros stand for the defaults.
type StoreLimits struct {
	Bytes int64 // of all keys and values
	Keys  int
	Value int64 // bytes of one value
}

// The defaults of StoreLimits.
const (
	DefaultStoreBytes = 16 << 20
	DefaultStoreKeys  = 1000
	DefaultStoreValue = 1 << 20
)

func checkKey(key string) error {
	if key == "" || len(key) > maxKeyBytes || key[0] == '.' || strings.Contains(key, "/") ||
		!utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return fmt.Errorf("key %.100q: %w", key, ErrKey)
	}
	return nil
}

// A ledger knows what is in a store, and what may be.
type ledger struct {
	limits StoreLimits
	sizes  map[string]int64 // of values
	bytes  int64
}

func newLedger(l StoreLimits) ledger {
	if l.Bytes <= 0 {
		l.Bytes = DefaultStoreBytes
	}
	if l.Keys <= 0 {
		l.Keys = DefaultStoreKeys
	}
	if l.Value <= 0 {
		l.Value = DefaultStoreValue
	}
	return ledger{limits: l, sizes: map[string]int64{}}
}

func (l *ledger) fits(key string, size int64) error {
	if err := checkKey(key); err != nil {
		return err
	}
	old, there := l.sizes[key]
	grown := size - old
	if !there {
		grown += int64(len(key))
	}
	switch {
	case size > l.limits.Value:
		return fmt.Errorf("key %q: %w: a value of %d bytes, at most %d", key, ErrFull, size, l.limits.Value)
	case !there && len(l.sizes) >= l.limits.Keys:
		return fmt.Errorf("key %q: %w: %d keys", key, ErrFull, l.limits.Keys)
	case grown > 0 && l.bytes+grown > l.limits.Bytes:
		return fmt.Errorf("key %q: %w: %d bytes in keys and values", key, ErrFull, l.limits.Bytes)
	}
	return nil
}

func (l *ledger) set(key string, size int64) {
	l.remove(key)
	l.sizes[key] = size
	l.bytes += size + int64(len(key))
}

func (l *ledger) remove(key string) {
	if old, ok := l.sizes[key]; ok {
		l.bytes -= old + int64(len(key))
		delete(l.sizes, key)
	}
}

func (l *ledger) check(key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if _, ok := l.sizes[key]; !ok {
		return fmt.Errorf("key %q: %w", key, fs.ErrNotExist)
	}
	return nil
}

func (l *ledger) keys() []string { return slices.Sorted(maps.Keys(l.sizes)) }

// MemStore is a Store that ends with the process.
type MemStore struct {
	mu     sync.Mutex // guards everything
	ledger ledger
	values map[string][]byte
}

// NewMemStore returns an empty store.
func NewMemStore(l StoreLimits) *MemStore {
	return &MemStore{ledger: newLedger(l), values: map[string][]byte{}}
}

// Get implements Store.
func (s *MemStore) Get(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ledger.check(key); err != nil {
		return nil, err
	}
	return slices.Clone(s.values[key]), nil
}

// Set implements Store.
func (s *MemStore) Set(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ledger.fits(key, int64(len(value))); err != nil {
		return err
	}
	s.ledger.set(key, int64(len(value)))
	s.values[key] = slices.Clone(value)
	return nil
}

// Delete implements Store.
func (s *MemStore) Delete(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ledger.check(key); err != nil {
		return err
	}
	s.ledger.remove(key)
	delete(s.values, key)
	return nil
}

// Keys implements Store.
func (s *MemStore) Keys() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.keys(), nil
}

// Fits implements Store.
func (s *MemStore) Fits(key string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.fits(key, size)
}

// DirStore is a Store in a directory, a file for each value, which nobody else may use meanwhile. A value is there as a
// whole or not at all: it is written to another file, which then takes its place. Bytes of a key other than small
// letters, digits, "-", "_" and "." are percent-encoded, so that file systems which ignore case keep keys apart.
type DirStore struct {
	root *os.Root

	mu     sync.Mutex // guards everything below and the files, also while they are written
	ledger ledger
	serial int // of temporary files
}

// temporary begins the names of files that are being written. Keys never begin with a dot.
const temporary = ".new-"

// OpenDirStore opens the store in a directory, which is made if it is not there, for its owner alone. What is above the
// limits already stays and can be read. Files of other names are an error, except those that begin with a dot.
func OpenDirStore(dir string, l StoreLimits) (*DirStore, error) {
	fail := func(err error) (*DirStore, error) { return nil, fmt.Errorf("open key-value store: %w", err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fail(err)
	}
	s := &DirStore{root: root, ledger: newLedger(l)}
	if err := s.scan(); err != nil {
		root.Close()
		return fail(fmt.Errorf("%s: %w", dir, err))
	}
	return s, nil
}

func (s *DirStore) scan() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) {
			if err := s.root.Remove(e.Name()); err != nil { // a process ended while it wrote
				return err
			}
		}
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		key, ok := keyOf(e.Name())
		info, err := e.Info()
		switch {
		case err != nil:
			return err
		case !ok || !info.Mode().IsRegular():
			return fmt.Errorf("%q is no value: the directory must hold nothing else", e.Name())
		}
		s.ledger.set(key, info.Size())
	}
	return nil
}

func fileOf(key string) string {
	var b strings.Builder
	for i := range len(key) {
		if c := key[i]; c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// keyOf is the key that fileOf gives a name for.
func keyOf(file string) (string, bool) {
	var b strings.Builder
	for rest := file; rest != ""; {
		plain, hex, encoded := strings.Cut(rest, "%")
		b.WriteString(plain)
		if rest = hex; !encoded {
			break
		}
		if len(hex) < 2 {
			return "", false
		}
		c, err := strconv.ParseUint(hex[:2], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		rest = hex[2:]
	}
	key := b.String()
	return key, checkKey(key) == nil && fileOf(key) == file
}

// Close closes the directory.
func (s *DirStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.root.Close()
}

// Get implements Store.
func (s *DirStore) Get(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ledger.check(key); err != nil {
		return nil, err
	}
	return s.root.ReadFile(fileOf(key))
}

// Set implements Store.
func (s *DirStore) Set(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ledger.fits(key, int64(len(value))); err != nil {
		return err
	}
	s.serial++
	name := temporary + strconv.Itoa(s.serial)
	err := s.write(name, value)
	if err == nil {
		err = s.root.Rename(name, fileOf(key))
	}
	if err != nil {
		return errors.Join(err, s.root.Remove(name))
	}
	s.ledger.set(key, int64(len(value)))
	return nil
}

func (s *DirStore) write(name string, value []byte) error {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	// Without it a crash of the machine could leave the new name with no content.
	return errors.Join(err, f.Sync(), f.Close())
}

// Delete implements Store.
func (s *DirStore) Delete(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ledger.check(key); err != nil {
		return err
	}
	if err := s.root.Remove(fileOf(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.ledger.remove(key)
	return nil
}

// Keys implements Store.
func (s *DirStore) Keys() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.keys(), nil
}

// Fits implements Store.
func (s *DirStore) Fits(key string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.fits(key, size)
}

package host_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"chorale/plugins/host"
)

func openStore(t testing.TB, dir string, l host.StoreLimits) *host.DirStore {
	t.Helper()
	s, err := host.OpenDirStore(dir, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Both stores must do the same.
func TestStores(t *testing.T) {
	t.Parallel()
	limits := host.StoreLimits{Bytes: 100, Keys: 4, Value: 60}
	for name, s := range map[string]host.Store{"memory": host.NewMemStore(limits), "directory": openStore(t, filepath.Join(t.TempDir(), "new", "kv"), limits)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			value := []byte("value")
			if err := s.Set("Ä b%", value); err != nil {
				t.Fatal(err)
			}
			value[0] = 'x'
			got, err := s.Get("Ä b%")
			if string(got) != "value" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			got[0] = 'y'
			if got, _ := s.Get("Ä b%"); string(got) != "value" {
				t.Errorf("shared with the caller: %q", got)
			}
			if err := s.Delete("Ä b%"); err != nil {
				t.Error(err)
			}
			for what, err := range map[string]error{
				"get": func() error { _, err := s.Get("none"); return err }(), "delete": s.Delete("none"),
			} {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s of what is not there: %v", what, err)
				}
			}
			for _, key := range []string{"", ".", "..", "../x", "a/b", "/a", ".hidden", "a\x00", "a\nb", "\xff", strings.Repeat("k", 81)} {
				_, err := s.Get(key)
				for _, err := range []error{err, s.Set(key, nil), s.Delete(key), s.Fits(key, 0)} {
					if !errors.Is(err, host.ErrKey) {
						t.Errorf("key %q: %v", key, err)
					}
				}
			}
			for _, c := range []struct {
				key  string
				size int
				fits bool
			}{
				{"a", 61, false}, {"a", 60, true}, {"b", 39, false}, {"b", 38, true}, {"c", 0, false}, {"b", 20, true}, {"B", 0, true}, {"b", 18, true}, {"c.", 0, true}, {"d", 0, false},
				{"a", 0, true}, {"e", 0, false},
			} {
				fits, err := s.Fits(c.key, int64(c.size)), s.Set(c.key, make([]byte, c.size))
				if (err == nil) != c.fits || (fits == nil) != c.fits || err != nil && !errors.Is(err, host.ErrFull) {
					t.Errorf("%s of %d bytes: %v, %v", c.key, c.size, fits, err)
				}
			}
			if keys, err := s.Keys(); fmt.Sprint(keys) != "[B a b c.]" || err != nil {
				t.Errorf("%q, %v", keys, err)
			}
		})
	}
}

func TestValuesSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := []string{"a", "A", "aa", "ä", "with space", "%41", "con", "a.b", "x%", strings.Repeat("Ü", 40)}
	s := openStore(t, dir, host.StoreLimits{})
	for _, k := range keys {
		if err := s.Set(k, []byte("of "+k)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, ".new-7"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, host.StoreLimits{Keys: 2, Bytes: 20})
	got, err := s.Keys()
	if want := slices.Sorted(slices.Values(keys)); !slices.Equal(got, want) || err != nil {
		t.Errorf("keys %q, %v; want %q", got, err, want)
	}
	for _, k := range keys {
		if v, err := s.Get(k); string(v) != "of "+k || err != nil {
			t.Errorf("%q is %q, %v", k, v, err)
		}
	}
	if err := s.Set("more", nil); !errors.Is(err, host.ErrFull) {
		t.Errorf("a key above the limit: %v", err)
	}
	if err := s.Set("a", []byte("b")); err != nil {
		t.Errorf("a smaller value: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, _ := e.Info()
		if strings.HasPrefix(e.Name(), ".") || strings.ToLower(e.Name()) != e.Name() || info.Mode() != 0o600 {
			t.Errorf("file %q, %v", e.Name(), info.Mode())
		}
	}
}

func TestDirectoryOfAStoreIsChecked(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"UPPER", "a b", "%4", "%zz", "%41%", "%61"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := host.OpenDirStore(dir, host.StoreLimits{}); err == nil || !strings.Contains(err.Error(), "is no value") {
			t.Errorf("file %q: %v", name, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	jail := filepath.Join(dir, "jail")
	os.Mkdir(jail, 0o700)
	if err := os.Symlink("../secret", filepath.Join(jail, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := host.OpenDirStore(jail, host.StoreLimits{}); err == nil {
		t.Error("a link is taken for a value")
	}
	if _, err := host.OpenDirStore(filepath.Join(dir, "secret"), host.StoreLimits{}); err == nil {
		t.Error("a file is taken for a directory")
	}
}

// Whoever reads while others write sees one of the values, whole.
func TestValuesAreWhole(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir(), host.StoreLimits{})
	if err := s.Set("k", []byte(strings.Repeat("0", 5000))); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 10 {
				if err := s.Set("k", []byte(strings.Repeat(fmt.Sprint(i), 5000))); err != nil {
					t.Error(err)
				}
				v, err := s.Get("k")
				if err != nil || len(v) != 5000 || strings.Trim(string(v), string(v[:1])) != "" {
					t.Errorf("%d bytes, %v", len(v), err)
				}
			}
		})
	}
	all.Wait()
}

package plugins

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"

	"chorale/plugins/host"
)

// stores has one store for each plugin, which its versions and grants share: a store wants a folder for itself.
type stores struct {
	dir string // "" = in memory

	mu     sync.Mutex // guards what follows
	byName map[string]*quotaStore
}

// A quotaStore has the quota that it was opened with.
type quotaStore struct {
	host.Store
	bytes int64
	close func() error
	last  []func() error // of stores with other quotas, which calls may still use
}

func newStores(dir string) *stores { return &stores{dir: dir, byName: map[string]*quotaStore{}} }

// open returns the store of a plugin. With another quota it is opened anew; calls under way go on with the old one.
func (s *stores) open(plugin string, bytes int64) (host.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byName[plugin]
	if old != nil && old.bytes == bytes {
		return old.Store, nil
	}
	limits := host.StoreLimits{Bytes: bytes, Value: bytes}
	next := &quotaStore{bytes: bytes, close: func() error { return nil }}
	if old != nil {
		next.last = append(old.last, old.close)
	}
	if s.dir == "" {
		next.Store = host.NewMemStore(limits)
	} else {
		// The registry has no two names that differ by case only.
		d, err := host.OpenDirStore(filepath.Join(s.dir, strings.ToLower(plugin)), limits)
		if err != nil {
			return nil, err
		}
		next.Store, next.close = d, d.Close
	}
	s.byName[plugin] = next
	return next.Store, nil
}

func (s *stores) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, st := range s.byName {
		for _, c := range append(st.last, st.close) {
			err = errors.Join(err, c())
		}
	}
	s.byName = map[string]*quotaStore{}
	return err
}

package containers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"chorale/server/api"
	"chorale/server/store"
)

// A lane is a container in use, with those who wait for it.
type lane struct {
	queue []chan struct{} // in order; closed when it is one's turn
}

// inUse reports whether a response uses the container, or waits for it.
func (s *Service) inUse(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[id] != nil
}

// A Lease is the right to use a container, for one response and one goroutine. It ends with Release, and with the process.
type Lease struct {
	s     *Service
	id    string
	state *store.State
	asked string                       // the container's memory limit, as clients write it
	base  map[string][sha256.Size]byte // what the container was known to hold, by path; the memory has the path ""
	ended bool
}

// A Turn is a place in the queue of those who want to use a container, for one goroutine at a time. It ends with Leave, or by
// becoming a Lease.
type Turn struct {
	s     *Service
	id    string
	ready chan struct{} // closed when it is there; nil: at once
	ended bool
}

// Queue takes the next place in the container's queue, in which at most Options.MaxWaiting wait. It does not wait itself. The
// error is an *api.Error, or the context's when it ends first.
func (s *Service) Queue(ctx context.Context, id string) (*Turn, error) {
	// First, so that ids that do not exist queue nobody up.
	if c, err := s.o.Store.UseContainer(ctx, id, s.limits); err != nil || c.Expired {
		if err == nil {
			err = &store.ExpiredError{ID: id}
		}
		return nil, s.publicError(err, id)
	}
	ready, err := s.enqueue(id)
	if err != nil {
		return nil, err
	}
	return &Turn{s: s, id: id, ready: ready}, nil
}

// Wait waits until no other response uses the container, and takes it; the Turn has ended then, also if there is an error,
// which is an *api.Error, or the context's when it ends first.
func (t *Turn) Wait(ctx context.Context) (*Lease, error) {
	if t.ended {
		return nil, fmt.Errorf("wait for container %s: the turn has ended", t.id)
	}
	if t.ready != nil {
		select {
		case <-t.ready:
		case <-ctx.Done():
			t.Leave()
			return nil, ctx.Err()
		}
	}
	c, st, err := t.s.o.Store.ContainerState(ctx, t.id, t.s.limits)
	if err != nil {
		t.Leave()
		return nil, t.s.publicError(err, t.id)
	}
	t.ended = true
	return &Lease{s: t.s, id: t.id, state: st, asked: c.MemoryLimit, base: digests(st)}, nil
}

// Leave gives the place up. It is idempotent, and does nothing to a Lease.
func (t *Turn) Leave() {
	if t.ended {
		return
	}
	t.ended = true
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	l := t.s.lanes[t.id]
	if i := slices.Index(l.queue, t.ready); t.ready != nil && i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		return
	}
	t.s.next(t.id) // it was there already
}

// Acquire is Queue and Wait.
func (s *Service) Acquire(ctx context.Context, id string) (*Lease, error) {
	turn, err := s.Queue(ctx, id)
	if err != nil {
		return nil, err
	}
	return turn.Wait(ctx)
}

// New makes a container for one response, which begins with a copy of the state, nil for nothing, and takes it. It expires
// like others, and earlier when there is no more room for new ones. The error is an *api.Error, or the context's when it
// ends first.
func (s *Service) New(ctx context.Context, spec api.ContainerSpec, st *store.State) (*Lease, error) {
	if err := check(spec, ""); err != nil {
		return nil, err
	}
	if st == nil {
		st = &store.State{}
	}
	c := s.newContainer(autoName, spec)
	c.Auto = true
	l := &Lease{s: s, id: c.ID, asked: c.MemoryLimit}
	change, base, err := l.diff(st)
	if err != nil {
		return nil, err
	}
	if _, err := s.enqueue(c.ID); err != nil { // nobody else knows the id
		return nil, err
	}
	if _, err := s.o.Store.CreateContainer(ctx, c, change.Put, s.limits); err != nil {
		s.leave(c.ID)
		return nil, s.publicError(err, c.ID)
	}
	s.count(func(stats *Stats) { stats.Auto++ })
	l.base, l.state = base, &store.State{ContainerID: c.ID, Memory: st.Memory, Files: st.Files}
	return l, nil
}

// Copy returns what the container holds now, whether or not a response uses it. The error is an *api.Error, or the context's
// when it ends first.
func (s *Service) Copy(ctx context.Context, id string) (*store.State, error) {
	_, st, err := s.o.Store.ContainerState(ctx, id, s.limits)
	if err != nil {
		return nil, s.publicError(err, id)
	}
	return st, nil
}

// enqueue takes the next place in the container's queue. The channel is closed when its turn has come; it is nil if that is
// now.
func (s *Service) enqueue(id string) (ready chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[id]
	switch {
	case l == nil:
		s.lanes[id] = &lane{}
		return nil, nil
	case len(l.queue) >= s.o.MaxWaiting:
		s.stats.Refused++
		return nil, &api.Error{Status: 429, Type: "rate_limit_error", Code: "container_busy", Param: "container_id",
			Message: fmt.Sprintf("Container '%s' is in use, and %d responses wait for it already.", id, s.o.MaxWaiting)}
	}
	ready = make(chan struct{})
	l.queue = append(l.queue, ready)
	return ready, nil
}

// leave lets the next one have the container.
func (s *Service) leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next(id)
}

// next needs the lock.
func (s *Service) next(id string) {
	l := s.lanes[id]
	if len(l.queue) == 0 {
		delete(s.lanes, id)
		return
	}
	close(l.queue[0])
	l.queue = l.queue[1:]
}

// ContainerID is the id of the container.
func (l *Lease) ContainerID() string { return l.id }

// MaxMemory is how many bytes of memory the container's interpreter may use; 0 when it asks for no less than interpreters may
// use in any case.
func (l *Lease) MaxMemory() int64 {
	if asked := memoryLimits[l.asked]; asked < l.s.o.MaxMemory {
		return asked
	}
	return 0
}

// State is what the container held when the lease began, files that no client sees included. Its memory is nil when no
// interpreter has used it yet. It must not be changed.
func (l *Lease) State() *store.State { return l.state }

// Save makes the container hold the state: files that differ from what was saved last, or from State before that, are put
// into it, and those that are gone are removed; what clients have done to other files stays. A file of the state that
// changed, or that is new, counts as the model's. It can be called repeatedly. On an error the container is as before: it may
// be full, or have been deleted in the meantime, which is an *api.Error.
func (l *Lease) Save(ctx context.Context, st *store.State) error {
	if l.ended {
		return fmt.Errorf("save container %s: its lease has ended", l.id)
	}
	change, base, err := l.diff(st)
	if err != nil {
		return err
	}
	if err := l.s.o.Store.ChangeContainer(ctx, l.id, change, l.s.limits); err != nil {
		return l.s.publicError(err, l.id)
	}
	l.base = base
	l.s.count(func(stats *Stats) { stats.Saves++ })
	return nil
}

// Files returns the files that clients see, at most as many as a container may have.
func (l *Lease) Files(ctx context.Context) ([]api.ContainerFile, error) {
	list, err := l.s.Files(ctx, l.id, api.Page{Limit: l.s.o.MaxFiles, Order: "asc"})
	if err != nil {
		return nil, err
	}
	return list.Data, nil
}

// Release ends the lease. It is idempotent.
func (l *Lease) Release() {
	if !l.ended {
		l.ended = true
		l.s.leave(l.id)
	}
}

// diff says what has to be done so that the container holds the state, and what it holds then.
func (l *Lease) diff(st *store.State) (store.Change, map[string][sha256.Size]byte, error) {
	var change store.Change
	base := digests(st)
	put := func(f store.File) {
		if old, known := l.base[f.Path]; known && old == base[f.Path] {
			return
		}
		n := store.NewFile{Data: f.Data, ContainerFile: store.ContainerFile{Path: f.Path, MIME: f.MIME, Modified: f.Modified}}
		if shown(f.Path) {
			n.ID, n.Source = l.s.newID("cfile"), api.SourceAssistant
		}
		change.Put = append(change.Put, n)
	}
	for _, f := range st.Files {
		if f.Path == "" {
			return change, nil, fmt.Errorf("save container %s: a file of the state has no path", l.id)
		}
		put(f)
	}
	if st.Memory != nil {
		put(store.File{Data: st.Memory})
	}
	for path := range l.base {
		if _, kept := base[path]; !kept {
			change.Remove = append(change.Remove, path)
		}
	}
	return change, base, nil
}

func digests(st *store.State) map[string][sha256.Size]byte {
	out := make(map[string][sha256.Size]byte, len(st.Files)+1)
	for _, f := range st.Files {
		out[f.Path] = sha256.Sum256(f.Data)
	}
	if st.Memory != nil {
		out[""] = sha256.Sum256(st.Memory)
	}
	return out
}

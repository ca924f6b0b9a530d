package mcp

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	protocol "github.com/mark3labs/mcp-go/mcp"
	library "github.com/mark3labs/mcp-go/server"
)

// A session is one of the older revisions, in which a client introduces itself once.
type session struct {
	owner  owner
	ctx    context.Context // ends with the session; its requests end with it
	cancel context.CancelFunc

	// The lock of sessions guards what follows.
	used     time.Time
	requests int     // being answered
	listener *stream // of notifications; nil = none
}

// sessions are those that have not expired.
type sessions struct {
	max    int
	idle   time.Duration
	forget func(id string) // tells the library; called without the lock

	mu    sync.Mutex // guards what follows
	byID  map[string]*session
	ended uint64 // that made place or have expired
}

// makeRoom makes sure that there may be one more. It ends the session that was unused for longest, if possible one of the same
// owner, so that a caller who leaves sessions behind harms only himself.
func (t *sessions) makeRoom(o owner) bool {
	t.mu.Lock()
	if len(t.byID) < t.max {
		t.mu.Unlock()
		return true
	}
	var oldest string
	for id, s := range t.byID {
		if s.requests > 0 {
			continue
		}
		was := t.byID[oldest]
		if was == nil || (s.owner == o) != (was.owner == o) && s.owner == o || (s.owner == o) == (was.owner == o) && s.used.Before(was.used) {
			oldest = id
		}
	}
	if oldest != "" {
		t.ended++
	}
	t.mu.Unlock()
	return oldest != "" && t.remove(oldest)
}

// add begins a session.
func (t *sessions) add(o owner) (id string) {
	id = "mcp_" + strings.ToLower(rand.Text())
	ctx, cancel := context.WithCancel(context.Background())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[id] = &session{owner: o, ctx: ctx, cancel: cancel, used: time.Now()}
	return id
}

// acquire returns a session of the owner for a request, whose end must be told to release.
func (t *sessions) acquire(id string, o owner) (*session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[id]
	if s == nil || s.owner != o {
		return nil, false
	}
	s.requests++
	s.used = time.Now()
	return s, true
}

func (t *sessions) release(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.requests--
	s.used = time.Now()
}

// has says whether there is such a session.
func (t *sessions) has(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id] != nil
}

// remove ends a session with its requests. It is false when there was none.
func (t *sessions) remove(id string) bool {
	t.mu.Lock()
	s := t.byID[id]
	delete(t.byID, id)
	t.mu.Unlock()
	if s == nil {
		return false
	}
	s.cancel()
	t.forget(id)
	return true
}

// expired are the ids of sessions that are unused for too long at a time, whose zero value stands for the end of time.
func (t *sessions) expired(now time.Time) (ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, s := range t.byID {
		if now.IsZero() || s.requests == 0 && now.Sub(s.used) >= t.idle {
			ids = append(ids, id)
		}
	}
	if !now.IsZero() {
		t.ended += uint64(len(ids))
	}
	return ids
}

func (t *sessions) count() (n int, ended uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID), t.ended
}

// listen makes st the stream on which the session gets notifications, and ends the one before: a client that comes again has
// lost it, even if we have not noticed.
func (t *sessions) listen(s *session, st *stream) {
	t.mu.Lock()
	before := s.listener
	s.listener = st
	t.mu.Unlock()
	if before != nil {
		before.cancel()
	}
}

// unlisten is the end of such a stream.
func (t *sessions) unlisten(s *session, st *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.listener == st {
		s.listener = nil
	}
}

// listeners are the streams of all sessions.
func (t *sessions) listeners() (all []*stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byID {
		if s.listener != nil {
			all = append(all, s.listener)
		}
	}
	return all
}

// forget makes the library forget a session. It has no other way than a request for it.
func (s *Server) forget(id string) {
	s.transport.Handle(discard{http.Header{}}, &library.HTTPRequest{Method: http.MethodDelete, Context: context.Background(),
		Header: http.Header{protocol.HeaderSessionID: {id}}})
}

// A discard is the writer of an answer that nobody reads.
type discard struct{ h http.Header }

func (d discard) Header() http.Header       { return d.h }
func (discard) WriteHeader(int)             {}
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Flush()                      {}
func (discard) CanStream() bool             { return false }

// A resolver finds for the library who keeps the ids of sessions.
type resolver struct{ s *Server }

// ResolveSessionIdManager implements server.SessionIdManagerResolver. The request is nil when none is the reason.
func (r resolver) ResolveSessionIdManager(req *http.Request) library.SessionIdManager {
	m := keeper{s: r.s}
	if req != nil {
		m.owner = ownerOf(req)
	}
	return m
}

// A keeper keeps the ids of one owner's sessions. The gate has checked all but new ones already.
type keeper struct {
	s     *Server
	owner owner
}

// Generate implements server.SessionIdManager.
func (k keeper) Generate() string { return k.s.sessions.add(k.owner) }

// Validate implements server.SessionIdManager.
func (k keeper) Validate(id string) (terminated bool, err error) {
	if !k.s.sessions.has(id) {
		return false, errors.New("no such session")
	}
	return false, nil
}

// Terminate implements server.SessionIdManager; sessions.remove is what ends one.
func (k keeper) Terminate(string) (notAllowed bool, err error) { return false, nil }

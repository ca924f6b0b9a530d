package mcp

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"chorale/toolhost"
)

// A state is a session of a tool: what its calls have left behind, for the next one.
type state struct {
	owner owner
	tool  string
	busy  chan struct{} // capacity 1: whoever has put something in may use saved
	saved *toolhost.State

	// The lock of states guards what follows.
	bytes int64
	used  time.Time
	calls int // that use it or wait for it
}

// states are those that have not expired.
type states struct {
	l Limits

	mu    sync.Mutex // guards what follows
	byID  map[string]*state
	bytes int64
	ended uint64 // by expiry
}

// create begins a session of a tool. The error is for the model.
func (t *states) create(tool string, o owner) (id string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := 0
	for _, s := range t.byID {
		if s.owner == o {
			own++
		}
	}
	if own >= t.l.StatesOfKey || len(t.byID) >= t.l.States {
		return "", fmt.Errorf("there are too many sessions already: close one that is not needed, or wait until one expires, %v after its last use", t.l.StateIdle)
	}
	id = tool + "_" + strings.ToLower(rand.Text())
	t.byID[id] = &state{owner: o, tool: tool, busy: make(chan struct{}, 1), used: time.Now()}
	return id, nil
}

// find returns a session of the tool that is the owner's; the lock is held.
func (t *states) find(id, tool string, o owner) (*state, error) {
	s := t.byID[id]
	if s == nil || s.owner != o || s.tool != tool {
		return nil, fmt.Errorf("there is no such session: it was closed, or has expired after %v without a call. Create one with %s and the action create",
			t.l.StateIdle, sessionTool(tool))
	}
	return s, nil
}

// acquire waits until the session is the caller's alone. The first error is for the model, the second that of ctx.
func (t *states) acquire(ctx context.Context, id, tool string, o owner) (s *state, unknown, ended error) {
	t.mu.Lock()
	if s, unknown = t.find(id, tool, o); unknown == nil {
		s.calls++
	}
	t.mu.Unlock()
	if unknown != nil {
		return nil, unknown, nil
	}
	select {
	case s.busy <- struct{}{}:
		return s, nil, nil
	case <-ctx.Done():
		t.leave(s)
		return nil, nil, context.Cause(ctx)
	}
}

func (t *states) leave(s *state) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.calls--
	s.used = time.Now()
}

// release is the end of using a session.
func (t *states) release(s *state) {
	<-s.busy
	t.leave(s)
}

// keep stores what a call has left behind, while the session is the caller's. The error is for the model: it is too much.
func (t *states) keep(id string, s *state, saved *toolhost.State) error {
	size := int64(len(saved.Memory))
	for _, f := range saved.Files {
		size += int64(len(f.Data))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[id] != s {
		return nil // it was closed meanwhile
	}
	if t.bytes+size-s.bytes > t.l.StateBytes {
		return fmt.Errorf("all sessions together may hold %d MiB", t.l.StateBytes>>20)
	}
	t.bytes += size - s.bytes
	s.bytes, s.saved = size, saved
	return nil
}

// close ends a session. The error is for the model.
func (t *states) close(id, tool string, o owner) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.find(id, tool, o)
	if err == nil {
		t.remove(id, s)
	}
	return err
}

// remove forgets a session; the lock is held.
func (t *states) remove(id string, s *state) {
	delete(t.byID, id)
	t.bytes -= s.bytes
}

// expire ends the sessions that are unused for too long.
func (t *states) expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, s := range t.byID {
		if s.calls == 0 && now.Sub(s.used) >= t.l.StateIdle {
			t.remove(id, s)
			t.ended++
		}
	}
}

func (t *states) count() (n int, bytes int64, ended uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID), t.bytes, t.ended
}

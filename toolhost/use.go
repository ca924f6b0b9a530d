package toolhost

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// A use is an instance, open or to be opened, with its place. While the session waits for an entry into the tool,
// instance and placed belong to that entry's goroutine.
type use struct {
	entry    *entry
	loaded   bool   // state is what the caller has for the tool
	state    *State // to begin with, if not nil; of an open instance, what it began with or saved last
	answered bool   // a call has ended well
	lost     bool   // an earlier instance of the session broke
	note     string // what the model must be told with the next result

	instance Instance // nil: not open
	placed   bool     // it has a place among the open ones
}

// load gets the state that the first instance begins with.
func (s *Session) load(ctx context.Context, u *use) (err error) {
	if _, resumes := u.entry.tool.(Resumer); u.loaded || !resumes || s.o.Load == nil {
		return nil
	}
	u.state, err = s.o.Load(ctx, u.entry.spec.Name)
	u.loaded = err == nil
	return err
}

// successor is what stands in for a use whose instance broke. It begins with the files that are known, but not with a memory,
// which may be what broke the instance.
func (u *use) successor() *use {
	next := &use{entry: u.entry, loaded: true, lost: true, note: u.note}
	if u.answered || u.state != nil {
		next.note = "The tool had to be started again: what earlier calls left in it is lost."
	}
	if u.state != nil {
		next.state = &State{Files: u.state.Files}
	}
	return next
}

// errNoPlace says that all instances that may be open are.
var errNoPlace = errors.New("too many instances of the tool are open")

// open opens the instance, if it is not open yet, as soon as there is a place. note is what the model must know of it.
func (u *use) open(ctx context.Context) (note string, err error) {
	if u.instance != nil {
		return "", nil
	}
	select {
	case u.entry.places <- struct{}{}:
		u.placed = true
	case <-ctx.Done():
		return "", errNoPlace
	}
	if resumer, ok := u.entry.tool.(Resumer); ok && u.state != nil {
		u.instance, err = resumer.Resume(ctx, *u.state)
		var unusable *StateError
		if !errors.As(err, &unusable) {
			return "", err
		}
		u.entry.countUnusable()
		note = "What earlier calls left in the tool cannot be restored, so it starts afresh: " + unusable.Reason + "."
	}
	if u.instance == nil {
		u.instance, err = u.entry.tool.Open(ctx)
		return note, err
	}
	return note, nil
}

// close closes the instance and gives its place back, however long that takes.
func (u *use) close() (struct{}, error) {
	defer func() {
		if u.placed {
			u.placed = false
			<-u.entry.places
		}
	}()
	if u.instance == nil {
		return struct{}{}, nil
	}
	instance := u.instance
	u.instance = nil
	return struct{}{}, instance.Close()
}

// close closes a use, which is no more the caller's, without waiting longer than the grace period.
func (s *Session) close(u *use) {
	if u.instance == nil && !u.placed {
		return
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var err error
	if s.within(ended, u, func() { _, err = guarded(u.close) }) && err != nil {
		s.o.Logger.Warn("tool not closed", "response_id", s.o.ID, "tool", u.entry.spec.Name, "err", err)
	}
}

// within runs work, which enters the use's tool, on a goroutine of its own and waits for it until ctx and a grace period
// are over. If it returns false, that was too short: the use and whatever work writes to belong to the goroutine now,
// which closes the use when it comes back.
func (s *Session) within(ctx context.Context, u *use, work func()) bool {
	e := u.entry
	done := make(chan struct{})
	settled := false // guarded by e.mu; whoever sets it owns the use
	go func() {
		work()
		e.mu.Lock()
		late := settled
		settled = true
		e.mu.Unlock()
		if !late {
			close(done)
			return
		}
		_, _ = guarded(u.close) // the session that would hear of an error is gone
		e.mu.Lock()
		e.back()
		e.mu.Unlock()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	grace := time.NewTimer(s.o.Limits.Grace)
	defer grace.Stop()
	select {
	case <-done:
		return true
	case <-grace.C:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if settled {
		return true
	}
	settled = true
	e.hang()
	return false
}

// guarded turns a panic of f into an error.
func guarded[T any](f func() (T, error)) (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p, debug.Stack()}
		}
	}()
	return f()
}

// A panicError is a panic of a tool.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("%v: %v", ErrPanic, e.value) }
func (e *panicError) Unwrap() error { return ErrPanic }

// Package python is the tool python: code that the model writes, run by sandboxed interpreters.
//
// It owns what the tool says to the model: output as a notebook shows it, and in words whatever else became of a call, how
// much of it was cut, and what was lost. The interpreters, their limits and snapshots are sandbox/python's, calls and
// deadlines toolhost's, and where a state is stored whose it is. A Tool is safe for concurrent use.
//
// An instance is a session: variables and files stay from call to call. Its limits are a little below those of toolhost, so
// that it is the interpreter that ends a call or cuts its output, with more to say about it, and keeps its state if it can.
package python

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	cpython "chorale/sandbox/python"
	"chorale/toolhost"
)

// Defaults of Options.Limits, where they differ from those of the sandbox.
const (
	DefaultWall   = 115 * time.Second // toolhost gives up at 120 s
	DefaultSoft   = 110 * time.Second
	DefaultOutput = 30 << 10  // toolhost cuts at 32 KiB
	DefaultDisk   = 160 << 20 // somewhat more than a container holds
	DefaultFiles  = 1_000     // as many as a container holds
)

// Options configure a Tool.
type Options struct {
	// Pool returns the pool that sessions are of, which stays the caller's to close. It may wait until there is one; its error
	// fails the call. It is required.
	Pool      func(ctx context.Context) (*cpython.Pool, error)
	Limits    cpython.Limits // of a session; zeros are the defaults above, then the sandbox's
	MaxOpen   int            // sessions at a time; 0 = toolhost's default
	Stateless bool           // every call gets an interpreter of its own
}

// A Tool is the tool.
type Tool struct{ o Options }

// New returns the tool.
func New(o Options) (*Tool, error) {
	if o.Pool == nil {
		return nil, errors.New("python tool: Pool is required")
	}
	l := &o.Limits
	if l.Wall == 0 {
		l.Wall = DefaultWall
	}
	if l.Soft == 0 {
		l.Soft = min(DefaultSoft, l.Wall-l.Wall/12)
	}
	if l.Output == 0 {
		l.Output = DefaultOutput
	}
	if l.Disk == 0 {
		l.Disk = DefaultDisk
	}
	if l.Files == 0 {
		l.Files = DefaultFiles
	}
	return &Tool{o}, nil
}

// Spec returns a tool without functions, which takes raw code. The description is for the stateless one; for the other there
// is a text that models were trained with.
func (t *Tool) Spec() toolhost.Spec {
	s := toolhost.Spec{Name: "python", Independent: t.o.Stateless, MaxOpen: t.o.MaxOpen}
	if t.o.Stateless {
		s.Description = fmt.Sprintf("Use this tool to execute Python code in your chain of thought. The code will not be shown to the "+
			"user.\n\nSend a message containing Python code to python and you get what it printed, and the value of its last "+
			"expression. Every message runs in a new interpreter: variables, imports and files of earlier ones are gone, so "+
			"send all the code that is needed each time. Code is stopped after %v. There is no internet access.",
			t.o.Limits.Soft)
	}
	return s
}

// Open starts a session.
func (t *Tool) Open(ctx context.Context) (toolhost.Instance, error) { return t.open(ctx, t.o.Limits) }

func (t *Tool) open(ctx context.Context, limits cpython.Limits) (*instance, error) {
	pool, err := t.o.Pool(ctx)
	if err != nil {
		return nil, err
	}
	s, err := pool.Acquire(ctx, cpython.SessionOptions{Limits: limits})
	if err != nil {
		return nil, err
	}
	return &instance{t, s}, nil
}

// Resume starts a session that goes on from the state. If that cannot be used, the session has its files all the same.
func (t *Tool) Resume(ctx context.Context, state toolhost.State) (toolhost.Instance, error) {
	files := make([]cpython.File, len(state.Files))
	for i, f := range state.Files {
		files[i] = cpython.File{Path: f.Path, Data: f.Data, Modified: f.Modified}
	}
	limits := t.o.Limits
	if most := state.MaxMemory; most > 0 {
		if limits.Memory == 0 {
			limits.Memory = cpython.DefaultMemory
		}
		limits.Memory = min(limits.Memory, most)
	}
	if state.Memory == nil {
		return t.openWith(ctx, files, limits)
	}
	pool, err := t.o.Pool(ctx)
	if err != nil {
		return nil, err
	}
	s, err := pool.Restore(ctx, state.Memory, files, cpython.SessionOptions{Limits: limits})
	var unusable *cpython.SnapshotError
	if errors.As(err, &unusable) {
		in, err := t.openWith(ctx, files, limits)
		if err != nil {
			return nil, err
		}
		return in, stateError(state, unusable)
	}
	if err != nil {
		return nil, err
	}
	return &instance{t, s}, nil
}

// stateError says to the model what is wrong with a state. An empty memory, in contrast to none, stands for variables that
// could not be kept.
func stateError(state toolhost.State, err *cpython.SnapshotError) *toolhost.StateError {
	reason := "variables are lost, since "
	switch {
	case len(state.Memory) == 0:
		reason += "they could not be kept"
	case err.Reason == cpython.SnapshotOtherImage, err.Reason == cpython.SnapshotUnknown:
		reason += "they are from another version of the interpreter"
	case err.Reason == cpython.SnapshotTooLarge:
		reason += "they need more memory than there is"
	default:
		reason += "what was stored of them is damaged"
	}
	if len(state.Files) > 0 {
		reason += "; files are still there"
	}
	return &toolhost.StateError{Reason: reason}
}

// openWith starts a session with files.
func (t *Tool) openWith(ctx context.Context, files []cpython.File, limits cpython.Limits) (toolhost.Instance, error) {
	in, err := t.open(ctx, limits)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := in.session.WriteFile(f.Path, f.Data); err != nil {
			return nil, errors.Join(err, in.Close())
		}
	}
	return in, nil
}

// An instance is a session.
type instance struct {
	tool    *Tool
	session *cpython.Session
}

// Call runs code.
func (in *instance) Call(ctx context.Context, c toolhost.Call) (toolhost.Result, error) {
	r, err := in.session.Exec(ctx, cpython.Cell{Code: c.Input})
	if err != nil {
		return toolhost.Result{}, err
	}
	result := toolhost.Result{Text: in.tool.text(r), Failed: r.Status != cpython.OK && (r.Status != cpython.Exit || r.ExitCode != 0)}
	for _, f := range r.Images {
		result.Files = append(result.Files, toolhost.File{Path: f.Path, MIME: f.MIME, Data: f.Data, Modified: f.Modified})
	}
	return result, nil
}

// Save returns a snapshot and the files.
func (in *instance) Save(context.Context) (toolhost.State, error) {
	memory, files, err := in.session.Snapshot()
	if err != nil {
		return toolhost.State{}, err
	}
	state := toolhost.State{Memory: memory, Files: make([]toolhost.File, len(files))}
	for i, f := range files {
		state.Files[i] = toolhost.File{Path: f.Path, MIME: f.MIME, Data: f.Data, Modified: f.Modified}
	}
	return state, nil
}

// Close ends the session.
func (in *instance) Close() error { return in.session.Close() }

// text is what the model reads: the output, and a line in brackets for each thing that it does not say.
func (t *Tool) text(r cpython.Result) string {
	var notes []string
	switch r.Status {
	case cpython.Interrupted:
		notes = append(notes, fmt.Sprintf("The code was interrupted after %v.", t.o.Limits.Soft))
	case cpython.Killed:
		notes = append(notes, fmt.Sprintf("The code was stopped after %v.", t.o.Limits.Wall))
	case cpython.OutOfMemory:
		notes = append(notes, "The code needed more memory than it may have.")
	case cpython.Crashed:
		notes = append(notes, "The interpreter crashed.")
	case cpython.Exit:
		notes = append(notes, fmt.Sprintf("The code ended with exit code %d.", r.ExitCode))
	case cpython.OK, cpython.Error:
	default:
		panic(fmt.Sprintf("python tool: status %v", r.Status))
	}
	if r.Lost && !t.o.Stateless {
		notes = append(notes, "The interpreter had to be started again: all variables and imports are lost, files are still there.")
	}
	for _, f := range r.Images {
		notes = append(notes, fmt.Sprintf("The picture %s was drawn. You cannot see it; the user may.", f.Path[strings.LastIndex(f.Path, "/")+1:]))
	}
	if r.Output == "" && len(notes) == 0 {
		notes = append(notes, "The code ran and printed nothing. Use print() to see values.")
	}
	lines := make([]string, 0, len(notes)+1)
	if output := strings.TrimSuffix(r.Output, "\n"); output != "" {
		lines = append(lines, output)
	}
	for _, note := range notes {
		lines = append(lines, "["+note+"]")
	}
	return strings.Join(lines, "\n")
}

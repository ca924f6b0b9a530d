package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"chorale/plugins/host"
	"chorale/sandbox"
)

// A Call is one use of a tool.
type Call struct {
	Tool  string
	Input json.RawMessage // the arguments, an object; empty: {}
	// Files are what the plugin finds in /in: Path is the name below it, clean and relative. More than Limits.FileBytes of
	// them, names and 256 bytes for each included, fail the call.
	Files []File
	// Progress gets what the plugin says about its progress, from any goroutine; fraction is 0..1, or negative when it is not
	// known. It may be nil.
	Progress func(message string, fraction float64)
	// Record gets what the host's services below /host say to the plugin; Replay says it again instead of them. Both may be
	// nil, and are for tests.
	Record, Replay *host.Tape
}

// A Result is what a call gave.
type Result struct {
	Text         string          // for the model; of a failure, why
	Structured   json.RawMessage // the result as JSON, for output json and mcp
	Files        []File          // images and other content, and what was written to /out
	Failed       bool            // the plugin's failure or a limit: Text says so
	BadArguments bool            // it failed because of the arguments; other ones may do
	Log          string          // the end of what the plugin logged
	Wall         time.Duration   // without waiting for a place
	Memory       int64           // bytes of linear memory at most
	Fuel         int64           // units of sandbox.Limits
}

// A File is a file of a call or of a result.
type File struct {
	Path, MIME string
	Data       []byte
	Modified   time.Time
}

// ErrUnknownTool is wrapped by the error for a tool that the plugin does not have.
var ErrUnknownTool = errors.New("the plugin has no such tool")

// A BusyError says that a call was not begun because as many as may were running and waiting.
type BusyError struct {
	Plugin         string
	Running, Queue int64 // the limits
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("plugin %s is busy: %d calls are running and %d are waiting, which are its limits of concurrency and queue",
		e.Plugin, e.Running, e.Queue)
}

// Why calls are stopped, beside the reasons of the sandbox.
var (
	errTimeout = errors.New("the time is up")
	errOutput  = errors.New("too much output")
)

// Call checks the arguments, waits for a place, and runs the tool on an instance. What went wrong in the plugin, a limit
// included, is a Result that says so. An error is a *BusyError, ErrUnknownTool, ErrClosed, the cause of ctx, or the host's
// failure.
func (p *Plugin) Call(ctx context.Context, c Call) (Result, error) {
	t := p.tools[c.Tool]
	if t == nil {
		names := strings.Join(slices.Sorted(maps.Keys(p.tools)), ", ")
		return Result{}, fmt.Errorf("plugin %s: %w as %q; it has %s", p.manifest.Name, ErrUnknownTool, c.Tool, names)
	}
	if len(c.Input) == 0 {
		c.Input = json.RawMessage("{}")
	}
	if err := t.input.check(c.Input); err != nil {
		r := Result{Failed: true, BadArguments: true, Text: "The arguments are wrong: " + err.Error()}
		p.counts.add(r)
		return r, nil
	}
	s, err := p.enter()
	if err != nil {
		return Result{}, fmt.Errorf("plugin %s: %w", p.manifest.Name, err)
	}
	defer s.calls.Done()
	if err := s.gate.enter(ctx, &p.counts); err != nil {
		p.counts.refused.Add(1)
		if errors.Is(err, errFull) {
			err = &BusyError{p.manifest.Name, s.limits.Concurrency, s.limits.Queue}
		}
		return Result{}, err
	}
	defer s.gate.leave(&p.counts)
	r, err := s.call(ctx, t, c)
	if err != nil {
		return Result{}, fmt.Errorf("plugin %s: %w", p.manifest.Name, err)
	}
	p.counts.add(r)
	return r, nil
}

func (c *counters) add(r Result) {
	c.calls.Add(1)
	c.duration.Add(uint64(r.Wall))
	switch {
	case r.BadArguments:
		c.badArguments.Add(1)
	case r.Failed:
		c.failed.Add(1)
	}
}

// A work is a call under way.
type work struct {
	s      *grantee
	tool   *tool
	input  []byte
	host   *host.FS
	stdout *collector
	log    *tail
	tmp    *sandbox.Mem
	in     *sandbox.Mem
	out    *sandbox.Mem
	usage  sandbox.Usage
}

// An answer is how a guest ended by itself.
type answer struct {
	status verdict
	output string // of a success: the result, as the tool's output kind says
	reason string // of a failure
}

type verdict int

const (
	succeeded verdict = iota
	badArguments
	failed
)

func (s *grantee) call(ctx context.Context, t *tool, c Call) (Result, error) {
	timeout := time.Duration(s.limits.TimeoutMS) * time.Millisecond
	ctx, cancel := context.WithDeadlineCause(ctx, time.Now().Add(timeout), errTimeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w := s.work(stop, c)
	w.tool, w.input = t, c.Input
	if r, err := w.put(c.Files); err != nil || r.Failed {
		return r, err
	}
	began := time.Now()
	a, err := s.runner.run(ctx, w)
	wall := time.Since(began)
	if err != nil {
		if a, err = w.end(err); err != nil {
			return Result{}, err
		}
		s.plugin.counts.stopped.Add(1)
	}
	r := w.result(a)
	r.Wall, r.Memory, r.Fuel = wall, w.usage.Memory, w.usage.Fuel
	r.Log = w.log.String()
	if l := s.plugin.options.Logger; l != nil && r.Log != "" {
		l.Debug("plugin log", "tool", s.plugin.manifest.Name, "function", t.Name, "text", r.Log)
	}
	return r, nil
}

// work is what a call needs from the host.
func (s *grantee) work(stop context.CancelCauseFunc, c Call) *work {
	log := &tail{limit: int(s.limits.LogBytes)}
	return &work{
		s:      s,
		stdout: &collector{limit: int(s.limits.OutputBytes), full: stop},
		log:    log,
		host: host.New(host.Options{
			Client: s.client, KV: s.kv, Log: func(line string) { log.Write([]byte(line + "\n")) }, Progress: c.Progress,
			Limits: host.Limits{LogBytes: int(s.limits.LogBytes)}, Record: c.Record, Replay: c.Replay,
		}),
		tmp: sandbox.NewMem(s.limits.FileBytes, maxFiles),
		in:  sandbox.NewMem(s.limits.FileBytes, maxFiles),
		out: sandbox.NewMem(s.limits.FileBytes, maxFiles),
	}
}

const (
	maxFiles = 256 // in each of /tmp, /in and /out
	maxOpen  = 64  // files and directories
)

// config is what the guest sees. The mounts stand in the same order for every call, since guests remember them by number.
func (w *work) config(name string) sandbox.Config {
	l := w.s.limits
	mounts := []sandbox.Mount{
		{Path: "/tmp", FS: w.tmp}, {Path: "/in", FS: w.in, ReadOnly: true}, {Path: "/out", FS: w.out}, {Path: "/host", FS: w.host},
	}
	return sandbox.Config{
		Limits: sandbox.Limits{
			Memory: l.MemoryBytes, Wall: time.Duration(l.TimeoutMS) * time.Millisecond, Files: maxOpen,
			Output: maxLimit, // the writers have limits of their own
		},
		Args: []string{w.s.plugin.manifest.Name, name}, Env: w.s.rights.env, Mounts: append(mounts, w.s.mounts...),
		Stdout: w.stdout, Stderr: w.log,
	}
}

// end says how a guest ended that did not answer. What is not the guest's fault stays an error.
func (w *work) end(err error) (answer, error) {
	l := w.s.limits
	fail := func(format string, args ...any) (answer, error) {
		return answer{status: failed, reason: fmt.Sprintf(format, args...)}, nil
	}
	var stop *sandbox.StopError
	var trap *sandbox.TrapError
	var exit *sandbox.ExitError
	var refused *refusedError
	switch {
	case errors.Is(err, errOutput):
		return fail("It was stopped because its output has more than %d bytes (limit output_bytes).", l.OutputBytes)
	case errors.Is(err, errTimeout), errors.Is(err, sandbox.ErrTime), errors.Is(err, sandbox.ErrFuel):
		return fail("It was stopped because it took longer than %d ms (limit timeout_ms).", l.TimeoutMS)
	case errors.As(err, &stop):
		return answer{}, stop.Reason
	case errors.As(err, &trap) && w.usage.Memory >= l.MemoryBytes/pageBytes*pageBytes:
		return fail("It crashed (%s) after it had taken all of its %d bytes of memory (limit memory_bytes).", trap.Reason, l.MemoryBytes)
	case errors.As(err, &trap):
		return fail("It crashed: %s.", trap.Reason)
	case errors.As(err, &exit):
		return fail("It ended itself with code %d.", exit.Code)
	case errors.As(err, &refused):
		return fail("It was stopped: %v.", refused)
	}
	return answer{}, err
}

const pageBytes = 65536

// maxLogTold is how much of the log the model sees of a failure.
const maxLogTold = 2 << 10

// result makes of an answer what the model and the client get.
func (w *work) result(a answer) Result {
	if a.status != succeeded {
		r := Result{Failed: true, BadArguments: a.status == badArguments, Text: a.reason}
		if log := w.log.last(maxLogTold); log != "" {
			r.Text = strings.TrimSpace(r.Text + "\n" + log)
		}
		return r
	}
	r, err := w.tool.interpret(a.output)
	if err != nil {
		return Result{Failed: true, Text: "The plugin's result is wrong: " + err.Error()}
	}
	files, err := written(w.out)
	if err != nil {
		return Result{Failed: true, Text: "The plugin's files in /out cannot be read: " + err.Error()}
	}
	r.Files = append(r.Files, files...)
	return r
}

// interpret reads a result as the manifest declares it.
func (t *tool) interpret(output string) (Result, error) {
	switch t.Kind {
	case OutputText:
		if !utf8.ValidString(output) { // eight times faster than the other
			output = strings.ToValidUTF8(output, "\uFFFD")
		}
		return Result{Text: output}, nil
	case OutputJSON:
		text := strings.TrimSpace(output)
		structured := json.RawMessage(text)
		if err := t.checkOutput(structured); err != nil {
			return Result{}, err
		}
		return Result{Text: text, Structured: structured}, nil
	case OutputMCP:
		return t.interpretMCP([]byte(output))
	}
	panic("plugins: unknown output kind " + string(t.Kind)) // Manifest.check allows no other
}

func (t *tool) checkOutput(p []byte) error {
	if t.output == nil {
		if !json.Valid(p) {
			return fmt.Errorf("it is no JSON: %.60q", p)
		}
		return nil
	}
	if err := t.output.check(p); err != nil {
		return fmt.Errorf("it does not fit the output_schema: %w", err)
	}
	return nil
}

// put puts the files of a call into /in. Too many of them are a result that says so.
func (w *work) put(files []File) (Result, error) {
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return Result{}, fmt.Errorf("file %q: its path must be relative and clean", f.Path)
		}
		err := w.in.WriteFile(f.Path, f.Data)
		if err == nil && !f.Modified.IsZero() {
			err = w.in.SetTimes(f.Path, -1, f.Modified.UnixNano())
		}
		switch {
		case errors.Is(err, sandbox.ENOSPC):
			return Result{Failed: true, Text: fmt.Sprintf("The files are too many or too large: the tool takes %d bytes (limit file_bytes) and %d files.",
				w.s.limits.FileBytes, maxFiles)}, nil
		case err != nil:
			return Result{}, fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	return Result{}, nil
}

// written returns the files of a directory and what is below it.
func written(out *sandbox.Mem) ([]File, error) {
	if _, n := out.Usage(); n == 0 {
		return nil, nil
	}
	var files []File
	dirs := []string{"."}
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		d, err := out.Open(dir, sandbox.Directory)
		if err != nil {
			return nil, err
		}
		entries, err := d.ReadDir()
		if err := errors.Join(err, d.Close()); err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name)
			if e.Type == sandbox.TypeDirectory {
				dirs = append(dirs, name)
				continue
			}
			data, err := out.ReadFile(name)
			if err != nil {
				return nil, err
			}
			info, err := out.Stat(name)
			if err != nil {
				return nil, err
			}
			files = append(files, File{Path: "/out/" + name, MIME: mimeType(name, data), Data: data, Modified: time.Unix(0, info.Modified)})
		}
	}
	return files, nil
}

func mimeType(name string, data []byte) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return http.DetectContentType(data)
}

// largePiece is how long a piece of a result is that is worth room for another.
const largePiece = 64 << 10

// A collector keeps a result, and stops the guest when it becomes too long.
type collector struct {
	limit int
	full  context.CancelCauseFunc
	b     strings.Builder
}

func (c *collector) Write(p []byte) (int, error) {
	if c.b.Len()+len(p) > c.limit {
		c.full(errOutput)
		return len(p), nil
	}
	if c.b.Len() == 0 && len(p) >= largePiece { // more may come, and growing then would copy it
		c.b.Grow(min(c.limit, len(p)+len(p)/4))
	}
	return c.b.Write(p)
}

// A tail keeps the end of a log.
type tail struct {
	limit int
	mu    sync.Mutex
	b     []byte // at most twice the limit
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[max(0, len(p)-t.limit):]...)
	if len(t.b) > 2*t.limit {
		t.b = append(t.b[:0], t.b[len(t.b)-t.limit:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.last(t.limit) }

// last is the end of the log as text, from the beginning of a line if there is one.
func (t *tail) last(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.b
	if len(b) > n {
		b = b[len(b)-n:]
		if i := strings.IndexByte(string(b), '\n'); i >= 0 && i < len(b)-1 {
			b = b[i+1:]
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(b), "\uFFFD"))
}

// A gate lets so many calls run at the same time, and so many wait.
type gate struct {
	places  chan struct{} // capacity: calls that may run
	queue   int64
	waiting atomic.Int64
}

var errFull = errors.New("the queue is full")

func newGate(running, queue int64) *gate {
	return &gate{places: make(chan struct{}, max(1, running)), queue: queue}
}

func (g *gate) enter(ctx context.Context, c *counters) error {
	select {
	case g.places <- struct{}{}:
		c.running.Add(1)
		return nil
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > g.queue {
		return errFull
	}
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	select {
	case g.places <- struct{}{}:
		c.running.Add(1)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gate) leave(c *counters) {
	c.running.Add(-1)
	<-g.places
}

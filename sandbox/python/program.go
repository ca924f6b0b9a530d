package python

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"chorale/sandbox"
)

// A Program is a file of Python, compiled, whose runs share nothing. It is safe for concurrent use.
type Program struct {
	p            *Pool
	file, source string
	code         string // marshalled, in base64
}

// A SyntaxError says that a program cannot be compiled, and where.
type SyntaxError struct{ Text string }

func (e *SyntaxError) Error() string { return e.Text }

// compileMemory is what compiling may take beside the interpreter.
const compileMemory = 128 << 20

// Compile compiles a program; file is its name in tracebacks. A program that is wrong is a *SyntaxError.
func (p *Pool) Compile(ctx context.Context, file string, source []byte) (*Program, error) {
	source = bytes.TrimPrefix(source, []byte("\uFEFF"))
	if !utf8.Valid(source) {
		return nil, &SyntaxError{file + " is no UTF-8 text"}
	}
	if len(source) > maxCodeBytes {
		return nil, &SyntaxError{fmt.Sprintf("%s has %d bytes, at most %d are allowed", file, len(source), maxCodeBytes)}
	}
	g := &Program{p: p, file: file, source: string(source)}
	a, _, err := g.do(ctx, sandbox.Config{Limits: sandbox.Limits{Memory: compileMemory}}, program{})
	switch {
	case err != nil:
		return nil, fmt.Errorf("compile %s: %w", file, err)
	case a.Error != nil:
		return nil, &SyntaxError{a.Error.Message}
	case a.Status != "ok" || a.Value == "":
		return nil, fmt.Errorf("compile %s: the interpreter says %q", file, a.Status)
	}
	g.code = a.Value
	return g, nil
}

// Run runs the program from its beginning in a pristine interpreter and returns its exit code. It gets streams, arguments,
// mounts and limits of c; c.Limits.Memory, and the memory of the usage, are beside what the interpreter itself has. The working
// directory is /tmp, if that is there. The error is that of sandbox.Instance.Call, or ErrBusy.
func (g *Program) Run(ctx context.Context, c sandbox.Config) (code uint32, u sandbox.Usage, err error) {
	a, u, err := g.do(ctx, c, program{Code: g.code, Argv: append([]string{}, c.Args...)})
	var exit *sandbox.ExitError
	switch {
	case errors.As(err, &exit): // os._exit
		return exit.Code, u, nil
	case errors.Is(err, errNoRoom) && c.Stderr != nil:
		io.WriteString(c.Stderr, "MemoryError\n")
		return 1, u, nil
	case err != nil:
		return 0, u, err
	case a.Status == "error":
		return 1, u, nil
	}
	return uint32(a.ExitCode), u, nil
}

// Close frees the program. Runs may go on.
func (g *Program) Close() error { return nil }

// do compiles or runs the program in an interpreter that is given back afterwards.
func (g *Program) do(ctx context.Context, c sandbox.Config, q program) (a answer, u sandbox.Usage, err error) {
	own := int64(g.p.img.state.Bytes())
	s, err := g.p.open(ctx, SessionOptions{Limits{Memory: min(own+c.Limits.Memory, g.p.o.MaxSession)}})
	if err != nil {
		return a, u, err
	}
	defer s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, err := s.interpreter(ctx)
	if err != nil {
		return a, u, err
	}
	c.Mounts = append([]sandbox.Mount{{Path: "/", FS: newUnion(c.Mounts)}}, g.p.img.libs...)
	c.Limits.Fuel, c.Grow = maxFuel, s.grow
	if err := sl.in.Configure(c); err != nil {
		return a, u, err
	}
	s.running.Store(sl)
	defer s.running.Store(nil)
	if s.closed.Load() { // Close may have come too early to see running
		return a, u, ErrClosed
	}
	q.File, q.Source = g.file, g.source
	a, u, err = sl.exec(ctx, request{Seed: newSeed(), Program: &q})
	u.Memory = max(0, u.Memory-own)
	if err == nil { // what the program had is not kept by an interpreter that waits for the next
		err = sl.in.Configure(sandbox.Config{Mounts: g.p.img.mounts(g.p.idle)})
	}
	if err != nil {
		s.drop()
	}
	return a, u, err
}

// A program is what py_exec takes in place of a cell: without Code it is compiled, else run.
type program struct {
	File   string   `json:"file"`
	Source string   `json:"source"`
	Code   string   `json:"code,omitempty"`
	Argv   []string `json:"argv,omitempty"`
}

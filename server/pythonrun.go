package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"chorale/sandbox/python"
)

func newPython(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name:      "python",
		Usage:     "run Python in the sandbox that models get",
		ArgsUsage: "[SCRIPT|- [ARGUMENT...]]",
		Description: `The interpreter is CPython, compiled into this program: it sees no files of this machine, no network and no environment,
and what it writes is gone when it ends, but for files that --get saves. Its own files are in /mnt/data. Without a script it
reads cells from the terminal; Ctrl-C stops a cell, Ctrl-D ends.

   chorale python                                     a prompt
   chorale python -c 'print(2**100)'                  a line
   chorale python --put table.csv report.py table.csv a script with a file
   chorale python --get ./out plot.py                 what it wrote to /mnt/data, and its figures, land in ./out`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "c", Usage: "run `CODE`"},
			&cli.BoolFlag{Name: "i", Usage: "read cells from standard input even if it is no terminal"},
			&cli.StringSliceFlag{Name: "put", Usage: "copy `FILE` to /mnt/data first; may be repeated", TakesFile: true},
			&cli.StringFlag{Name: "get", Usage: "afterwards copy figures and new files of /mnt/data to the folder `DIR`", TakesFile: true},
			&cli.DurationFlag{Name: "timeout", Usage: "stop a cell after `TIME`", Value: python.DefaultWall, Validator: func(d time.Duration) error {
				if d <= 0 {
					return fmt.Errorf("it is %v; it must be more than 0", d)
				}
				return nil
			}},
			&cli.IntFlag{Name: "memory-mib", Usage: "give the interpreter `N` MiB", Value: python.DefaultMemory >> 20, Validator: func(n int) error {
				if n < 1 {
					return fmt.Errorf("it is %d; it must be 1 or more", n)
				}
				return nil
			}},
			&cli.StringFlag{Name: "cache-dir", Value: defaultCacheDir(), Usage: "`DIRECTORY` of what can be made again, such as compiled code", TakesFile: true, Sources: cfg.sources("cache-dir")},
			&cli.StringSliceFlag{Name: "package", Usage: "put the folder or zip at `PATH` on sys.path; may be repeated", TakesFile: true},
		},
		DisableSliceFlagSeparator: true,
		StopOnNthArg:              new(1), // what follows the script is the script's
		ArgValidator:              func(context.Context, *cli.Command) error { return nil },
		Action: func(ctx context.Context, c *cli.Command) (err error) {
			code, argv, err := pythonSource(c, std)
			if err != nil {
				return err
			}
			p := &pythonRun{std: std, lines: bufio.NewReader(std.in)}
			defer func() {
				if failed := p.close(); failed != nil {
					err = errors.Join(err, failed)
				}
			}()
			if err := p.open(ctx, c); err != nil {
				return err
			}
			if code == nil {
				err = p.prompt(ctx)
			} else {
				err = p.script(ctx, *code, argv)
			}
			if dir := c.String("get"); dir != "" {
				if failed := p.save(dir); failed != nil {
					err = errors.Join(err, failed)
				}
			}
			return err
		},
	}
}

// pythonSource is the code to run and sys.argv; nil code stands for the prompt.
func pythonSource(c *cli.Command, std stdio) (code *string, argv []string, err error) {
	script := c.Args().First()
	switch {
	case c.IsSet("c"):
		text := c.String("c")
		return &text, append([]string{"-c"}, c.Args().Slice()...), nil
	case script == "" && (c.Bool("i") || isTerminal(std.in)):
		return nil, []string{""}, nil
	case script == "" || script == "-":
		text, err := io.ReadAll(std.in)
		if err != nil {
			return nil, nil, fmt.Errorf("read the script from standard input: %w", err)
		}
		code := string(text)
		return &code, append([]string{"-"}, c.Args().Tail()...), nil
	default:
		text, err := os.ReadFile(script)
		if err != nil {
			return nil, nil, fmt.Errorf("read the script: %w", err)
		}
		code := string(text)
		return &code, c.Args().Slice(), nil
	}
}

// A pythonRun is one use of the command.
type pythonRun struct {
	std     stdio
	session *python.Session
	checker *python.Session // says whether what was typed is complete; only at a prompt
	lines   *bufio.Reader
	before  map[string][]byte // what --put brought, by path
	shown   []python.File     // figures
	closers []func() error
}

func (p *pythonRun) open(ctx context.Context, c *cli.Command) error {
	img, err := python.Boot(ctx, python.BootOptions{CacheDir: pythonCache(c.String("cache-dir")), Packages: c.StringSlice("package")})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, img.Close)
	memory := int64(c.Int("memory-mib")) << 20
	pool, err := python.NewPool(img, python.PoolOptions{Slots: 1, MaxSession: memory, MaxMemory: memory + python.DefaultMemory})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, pool.Close)
	wall := c.Duration("timeout")
	if p.session, err = pool.Acquire(ctx, python.SessionOptions{Limits: python.Limits{Wall: wall, Soft: wall - wall/10, Memory: memory}}); err != nil {
		return err
	}
	if p.checker, err = pool.Acquire(ctx, python.SessionOptions{}); err != nil {
		return err
	}
	p.before = map[string][]byte{}
	for _, name := range c.StringSlice("put") {
		data, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("--put: %w", err)
		}
		inside := path.Join(python.DataDir, filepath.Base(name))
		if err := p.session.WriteFile(inside, data); err != nil {
			return fmt.Errorf("--put %s: %w", name, err)
		}
		p.before[inside] = data
	}
	return nil
}

// close frees what open made; sessions end with their pool.
func (p *pythonRun) close() error {
	var errs []error
	for _, c := range slices.Backward(p.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// script runs code as a program: without showing the value of a last expression. A program that fails is an error.
func (p *pythonRun) script(ctx context.Context, code string, argv []string) error {
	r, err := p.exec(ctx, "import sys; sys.argv = "+pythonList(argv))
	if err == nil && r.Status == python.OK {
		r, err = p.exec(ctx, code+"\npass")
	}
	switch {
	case err != nil:
		return err
	case r.Status == python.OK:
		return nil
	case r.Status == python.Exit:
		return exitWith(r.ExitCode)
	default:
		if note := ending(r); note != "" {
			fmt.Fprintln(p.std.err, note)
		}
		return exitWith(exitFailure)
	}
}

// prompt reads cells until the input ends.
func (p *pythonRun) prompt(ctx context.Context) error {
	fmt.Fprintln(p.std.out, "CPython in a sandbox. Ctrl-C stops a cell, Ctrl-D ends. Files are in "+python.DataDir+".")
	var cell strings.Builder
	for {
		fmt.Fprint(p.std.out, map[bool]string{true: ">>> ", false: "... "}[cell.Len() == 0])
		line, err := p.lines.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			fmt.Fprintln(p.std.out)
			return nil
		} else if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read standard input: %w", err)
		}
		cell.WriteString(line)
		code := cell.String()
		if strings.TrimSpace(code) == "" {
			cell.Reset()
			continue
		}
		if more, err := p.incomplete(ctx, code); err != nil {
			return err
		} else if more {
			continue
		}
		cell.Reset()
		r, err := p.exec(ctx, code)
		if err != nil {
			return err
		}
		if r.Status == python.Exit {
			return exitWith(r.ExitCode)
		}
		if note := ending(r); note != "" {
			fmt.Fprintln(p.std.out, note)
		}
	}
}

// incomplete asks an interpreter apart whether more lines are needed, by the rules of Python's own prompt.
func (p *pythonRun) incomplete(ctx context.Context, code string) (bool, error) {
	r, err := p.checker.Exec(ctx, python.Cell{Code: "import codeop\ntry:\n    more = codeop.compile_command(" + pythonString(strings.TrimSuffix(code, "\n")) +
		", '<cell>', 'single') is None\nexcept Exception:\n    more = False\nmore"})
	return r.Value == "True", err
}

// exec runs a cell, prints what it prints, and keeps its figures. Ctrl-C stops the cell.
func (p *pythonRun) exec(ctx context.Context, code string) (python.Result, error) {
	interrupts := make(chan os.Signal, 1) // as signal.Notify asks for
	signal.Notify(interrupts, os.Interrupt)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-interrupts:
				p.session.Interrupt()
			case <-done:
				return
			}
		}
	}()
	defer func() {
		signal.Stop(interrupts)
		close(done)
	}()
	out := bufio.NewWriter(p.std.out)
	r, err := p.session.Exec(ctx, python.Cell{Code: code, Stdin: oneLine{p.lines}, Stream: func(text []byte) {
		_, _ = out.Write(text) // a reader that has gone ends the program by SIGPIPE
		_ = out.Flush()
	}})
	for _, f := range r.Images {
		fmt.Fprintf(p.std.err, "[figure %s, %s]\n", path.Base(f.Path), f.MIME)
	}
	p.shown = append(p.shown, r.Images...)
	return r, err
}

// oneLine reads a line at a time, so that what a cell asks for does not take the cells after it.
type oneLine struct{ r *bufio.Reader }

func (l oneLine) Read(b []byte) (n int, err error) {
	for n < len(b) && err == nil && (n == 0 || b[n-1] != '\n') {
		if b[n], err = l.r.ReadByte(); err == nil {
			n++
		}
	}
	return n, err
}

// ending says what a user should know of how a cell ended and the output does not tell.
func ending(r python.Result) string {
	switch {
	case r.Status == python.Killed:
		return fmt.Sprintf("The cell was stopped after %v; variables are lost, files are not.", r.Wall.Round(time.Millisecond))
	case r.Lost:
		return fmt.Sprintf("The interpreter ended (%v); variables are lost, files are not.", r.Status)
	default:
		return ""
	}
}

// save copies figures, and files of /mnt/data that are new or changed, to a folder.
func (p *pythonRun) save(dir string) error {
	files, err := p.session.List()
	if err != nil {
		return fmt.Errorf("--get: %w", err)
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Path, python.DataDir+"/") {
			continue
		}
		if f, err = p.session.ReadFile(f.Path); err != nil {
			return fmt.Errorf("--get: %w", err)
		}
		if data, ok := p.before[f.Path]; !ok || !bytes.Equal(data, f.Data) {
			p.shown = append(p.shown, f)
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("--get: %w", err)
	}
	root, err := os.OpenRoot(dir) // names come from the sandbox
	if err != nil {
		return fmt.Errorf("--get: %w", err)
	}
	defer func() { _ = root.Close() }() // opened for names only
	for i, f := range p.shown {
		name, inData := strings.CutPrefix(f.Path, python.DataDir+"/")
		if !inData {
			name = fmt.Sprintf("figure-%d%s", i+1, path.Ext(f.Path))
		}
		if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
			return fmt.Errorf("--get: %w", err)
		}
		if err := root.WriteFile(name, f.Data, 0o666); err != nil {
			return fmt.Errorf("--get: %w", err)
		}
	}
	return nil
}

// pythonString is s as a Python string; JSON's strings are Python's too, but for lone surrogates, which Go strings lack.
func pythonString(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

func pythonList(s []string) string {
	quoted := make([]string, len(s))
	for i, item := range s {
		quoted[i] = pythonString(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"

	"chorale/plugins"
	"chorale/sandbox/python"
	"chorale/sandbox/quickjs"
)

// scripts are the interpreters of plugins that are one file of Python or JavaScript. That of JavaScript starts with the
// first such plugin.
type scripts struct {
	python func(ctx context.Context) (*python.Pool, error) // waits for it
	cache  string                                          // of JavaScript's native code; "" = none

	mu     sync.Mutex // guards what follows
	engine *quickjs.Engine
	ends   []func() error // of what was started
}

// errPythonOff is why a plugin in Python cannot be loaded.
var errPythonOff = errors.New("it is written in Python, which this server does not run (--python=false, or an MCP server in its place)")

// newScripts uses the server's Python, nil where it is off.
func newScripts(p *interpreter, cacheDir string) *scripts {
	s := &scripts{cache: scriptCache(cacheDir), python: func(context.Context) (*python.Pool, error) { return nil, errPythonOff }}
	if p != nil {
		s.python = p.wait
	}
	return s
}

// newLazyScripts starts Python with the first plugin that needs it.
func newLazyScripts(ctx context.Context, cacheDir string) *scripts {
	s := &scripts{cache: scriptCache(cacheDir)}
	start := sync.OnceValue(func() *interpreter {
		p := startPython(ctx, pythonOptions{enabled: true, cacheDir: pythonCache(cacheDir)}, slog.New(slog.DiscardHandler))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ends = append(s.ends, p.close)
		return p
	})
	s.python = func(ctx context.Context) (*python.Pool, error) { return start().wait(ctx) }
	return s
}

// scriptCache is JavaScript's part of the cache directory; "" = none.
func scriptCache(dir string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "quickjs")
}

// interpreters are the two as plugins use them.
func (s *scripts) interpreters() map[string]plugins.Interpreter {
	return map[string]plugins.Interpreter{
		plugins.EndingPython: func(ctx context.Context, file string, source []byte) (plugins.Script, error) {
			pool, err := s.python(ctx)
			if err != nil {
				return nil, err
			}
			return pool.Compile(ctx, file, source)
		},
		plugins.EndingJavaScript: func(ctx context.Context, file string, source []byte) (plugins.Script, error) {
			engine, err := s.javascript(ctx)
			if err != nil {
				return nil, err
			}
			return engine.Compile(ctx, file, source)
		},
	}
}

// javascript is the engine, which takes a second to compile where the cache does not have it.
func (s *scripts) javascript(ctx context.Context) (*quickjs.Engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil {
		engine, err := quickjs.Open(ctx, quickjs.Options{CacheDir: s.cache})
		if err != nil {
			return nil, err
		}
		s.engine, s.ends = engine, append(s.ends, engine.Close)
	}
	return s.engine, nil
}

// close ends what was started. All scripts must be closed.
func (s *scripts) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, end := range s.ends {
		err = errors.Join(err, end())
	}
	s.ends, s.engine = nil, nil
	return err
}

// Package quickjs runs JavaScript in the sandbox: scripts that are compiled once and start within a millisecond.
//
// It owns the engine's image, what a script finds beside the language (lib/prelude.js), compiled scripts and their runs. It
// does not know models, tools or requests, nor how the engine is built (see build).
//
// An Engine and a Script are safe for concurrent use.
//
// # Design
//
// The engine, QuickJS, boots once and its memory becomes a sandbox.Image. A script is compiled, not evaluated, in a fork of
// it, and the memory of that fork becomes the script's image. A run is a fork of that: it evaluates the module from its top,
// with the clock, random numbers and files of the run, and shares nothing with other runs. Recursion without end is a
// RangeError, because the engine's own limit is below that of the sandbox.
//
// # What a script is
//
// A module of ECMAScript 2025 whose exports are the tools. A run calls the export with the name of the tool, which is
// argument 1 of the program, or else the default export, with the arguments, parsed from the JSON on standard input, and
// {tool: NAME}. What it returns, or the promise that it returns becomes, goes to standard output: a string as it is,
// anything else as JSON. A BadArguments that it throws ends the run with code 2, anything else with 1, and a
// description with the places in the script on standard error. Top-level await works; imports do not: a script is one file.
//
// Beside the language there are console, which writes to standard error whatever the method, fetch with Headers and
// Response (through the file /host/http of package plugins/host; no streams and no AbortSignal), timers, TextEncoder and
// TextDecoder (UTF-8), atob and btoa, crypto.getRandomValues and randomUUID, performance.now, the class BadArguments,
// and an object chorale with
//
//	readFile(path)              a Uint8Array
//	readText(path)              a string
//	writeFile(path, data)       data is a string or bytes
//	readDir(path)               names
//	config(name)                a setting of the operator, null without it
//	progress(message, fraction) shown to the user; log(text) goes to the operator's log
//	kv.get(k), kv.set(k, v), kv.delete(k), kv.keys()   values that outlive the run; get gives null for none
package quickjs

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"chorale/sandbox"
)

//go:embed artefact/quickjs.wasm.zst artefact/manifest.json lib/prelude.js
var embedded embed.FS

const (
	moduleFile  = "quickjs.wasm.zst"
	maxUnpacked = 16 << 20 // bytes; a multiple of what the engine has
)

// Options are the settings of Open.
type Options struct {
	CacheDir string // a private directory for native code; empty: none is kept, and every start takes a second
}

// An Engine compiles scripts.
type Engine struct {
	module *sandbox.Module
	state  *sandbox.Image // with the prelude
}

// bootLimits bound what happens before a script runs.
var bootLimits = sandbox.Limits{Memory: 256 << 20, Wall: 10 * time.Second}

// bootTime is what the engine sees of the clock before a script runs.
var bootTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// Open makes native code of the embedded engine and boots it. Close the engine.
func Open(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{}
	if err := e.open(ctx, o); err != nil {
		return nil, fmt.Errorf("boot quickjs: %w", errors.Join(err, e.Close()))
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context, o Options) error {
	wasm, err := unpack(moduleFile)
	if err != nil {
		return err
	}
	// A twentieth of a second; the artefact so does not depend on the version of the rewriter.
	if wasm, err = sandbox.Instrument(wasm); err != nil {
		return err
	}
	prelude, err := embedded.ReadFile("lib/prelude.js")
	if err != nil {
		return err
	}
	if e.module, err = sandbox.Compile(ctx, wasm, sandbox.Options{CacheDir: o.CacheDir}); err != nil {
		return err
	}
	var said strings.Builder
	in, err := e.module.Instantiate(ctx, bootConfig(&said))
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := in.Call(ctx, "_initialize"); err != nil {
		return err
	}
	at, err := put(ctx, in, prelude)
	if err != nil {
		return err
	}
	r, err := in.Call(ctx, "js_boot", at, uint64(len(prelude)))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s", err, said.String())
	case r[0] != 0:
		text, err := message(ctx, in)
		return errors.Join(err, fmt.Errorf("the prelude does not run: %s", text))
	}
	e.state, err = in.Capture()
	return err
}

func bootConfig(said *strings.Builder) sandbox.Config {
	return sandbox.Config{
		Limits: bootLimits, Stderr: said,
		Now:    func() time.Time { return bootTime },
		Random: rand.NewChaCha8([32]byte([]byte("one image for all who boot alike"))),
	}
}

// Close frees the engine. All scripts must be closed.
func (e *Engine) Close() error {
	var err error
	if e.state != nil {
		err = e.state.Close()
	}
	if e.module != nil {
		err = errors.Join(err, e.module.Close())
	}
	return err
}

// A SyntaxError says that a script cannot be compiled, and where.
type SyntaxError struct{ Text string }

func (e *SyntaxError) Error() string { return e.Text }

// A Script is a compiled script.
type Script struct {
	engine *Engine
	state  *sandbox.Image
}

// Compile compiles a module; file is its name in the places of errors. A script that is wrong is a *SyntaxError. Close the
// script.
func (e *Engine) Compile(ctx context.Context, file string, source []byte) (*Script, error) {
	var said strings.Builder
	in, err := e.module.Fork(ctx, e.state, bootConfig(&said))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	name, err := put(ctx, in, []byte(file))
	if err != nil {
		return nil, err
	}
	text, err := put(ctx, in, source)
	if err != nil {
		return nil, err
	}
	r, err := in.Call(ctx, "js_load", name, text, uint64(len(source)))
	switch {
	case err != nil:
		return nil, fmt.Errorf("compile %s: %w", file, err)
	case r[0] != 0:
		text, err := message(ctx, in)
		if err != nil {
			return nil, err
		}
		return nil, syntaxError(text)
	}
	s := &Script{engine: e}
	if s.state, err = in.Capture(); err != nil {
		return nil, err
	}
	return s, nil
}

// syntaxError puts the place before the text: the engine has it as the first line of a stack.
func syntaxError(text string) *SyntaxError {
	what, where, _ := strings.Cut(text, "\n")
	where, _, _ = strings.Cut(strings.TrimSpace(where), "\n")
	if where = strings.TrimPrefix(where, "at "); where != "" {
		what = where + ": " + what
	}
	return &SyntaxError{what}
}

// Run runs the script and returns its exit code. It gets everything of c; c.Limits.Memory, and the memory of the usage, are
// beside what the engine itself has. The error is that of sandbox.Instance.Call.
func (s *Script) Run(ctx context.Context, c sandbox.Config) (code uint32, u sandbox.Usage, err error) {
	own := int64(s.state.Bytes())
	if c.Limits.Memory > 0 {
		c.Limits.Memory += own
	}
	in, err := s.engine.module.Fork(ctx, s.state, c)
	if err != nil {
		return 0, u, err
	}
	defer in.Close()
	r, err := in.Call(ctx, "js_run")
	u = in.Usage()
	u.Memory = max(0, u.Memory-own)
	if err != nil {
		return 0, u, err
	}
	return uint32(r[0]), u, nil
}

// Close frees the script. No run may be under way.
func (s *Script) Close() error { return s.state.Close() }

// put copies bytes into the guest, with a zero behind them.
func put(ctx context.Context, in *sandbox.Instance, p []byte) (at uint64, err error) {
	r, err := in.Call(ctx, "js_alloc", uint64(len(p)+1))
	if err != nil {
		return 0, err
	}
	if at = r[0]; at == 0 {
		return 0, fmt.Errorf("the engine has no room for %d bytes", len(p))
	}
	return at, in.WriteMemory(uint32(at), append(p[:len(p):len(p)], 0))
}

// message is what the engine says about a failure.
func message(ctx context.Context, in *sandbox.Instance) (string, error) {
	var n [2]uint32
	for i, name := range [...]string{"js_message_ptr", "js_message_len"} {
		r, err := in.Call(ctx, name)
		if err != nil {
			return "", err
		}
		n[i] = uint32(r[0])
	}
	b := make([]byte, n[1])
	err := in.ReadMemory(b, n[0])
	return strings.ToValidUTF8(string(b), "\uFFFD"), err
}

// unpack checks an embedded file against the manifest and decompresses it.
func unpack(name string) ([]byte, error) {
	data, err := embedded.ReadFile(path.Join("artefact", name))
	if err != nil {
		return nil, err
	}
	m, err := readManifest()
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != m.Outputs[name].SHA256 {
		return nil, fmt.Errorf("embedded %s: SHA-256 is %x, the manifest says %q", name, sum, m.Outputs[name].SHA256)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(data, nil)
}

// A manifest says what the artefact was made of and with. build/build.sh writes it.
type manifest struct {
	QuickJS string // version
	Sources []struct{ Name, SHA256, From string }
	Recipe  map[string]string // SHA-256 by name, of the files in build
	Tools   map[string]string
	Flags   string
	Outputs map[string]struct {
		Bytes  int64
		SHA256 string
	}
}

func readManifest() (m manifest, err error) {
	data, err := embedded.ReadFile("artefact/manifest.json")
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		err = fmt.Errorf("manifest: %w", err)
	}
	return m, err
}

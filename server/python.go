package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"chorale/sandbox/python"
	pythontool "chorale/toolhost/python"
)

// pythonFlags say whether models may run code, and how much of the machine that gets.
func pythonFlags(cfg *config) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "python", Value: true, Usage: "run the code of the tool code_interpreter in a sandbox", Sources: cfg.sources("python")},
		&cli.StringFlag{Name: "cache-dir", Value: defaultCacheDir(), Usage: "`DIRECTORY` of what can be made again, such as compiled code", TakesFile: true, Sources: cfg.sources("cache-dir")},
		&cli.StringSliceFlag{Name: "python-package", Usage: "let code import from the directory or zip file `PATH` too; may be repeated", TakesFile: true, Sources: cfg.sources("python-package")},
		&cli.IntFlag{Name: "python-sessions", Usage: "run the code of `N` responses at the same time; others wait", DefaultText: "the sandbox's limit", Sources: cfg.sources("python-sessions"), Validator: notNegative},
		&cli.IntFlag{Name: "python-session-mib", Usage: "let an interpreter use `N` MiB at most; containers may ask for less", DefaultText: "256", Sources: cfg.sources("python-session-mib"), Validator: notNegative},
		&cli.IntFlag{Name: "python-mib", Usage: "let all interpreters together use `N` MiB", DefaultText: "the sandbox's limit", Sources: cfg.sources("python-mib"), Validator: notNegative},
		&cli.BoolFlag{Name: "python-stateless", Usage: "run every call in an interpreter of its own, and say so to the model", Sources: cfg.sources("python-stateless")},
	}
}

// pythonOptions are what Python runs with; zero values are the defaults of the packages.
type pythonOptions struct {
	enabled, stateless           bool
	cacheDir                     string // "" = none
	packages                     []string
	sessions, sessionMiB, allMiB int
	key                          []byte // from which the one that authenticates snapshots is derived; nil = a new one
}

// sessionMemory is how many bytes an interpreter may use.
func (o *pythonOptions) sessionMemory() int64 {
	if o.sessionMiB == 0 {
		return python.DefaultMemory
	}
	return int64(o.sessionMiB) << 20
}

// defaultCacheDir is where programs keep what they can make again; "" = nowhere.
func defaultCacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "chorale")
}

// newPythonOptions reads the flags.
func newPythonOptions(c *cli.Command, sealKey []byte) pythonOptions {
	return pythonOptions{
		cacheDir: pythonCache(c.String("cache-dir")), enabled: c.Bool("python"), stateless: c.Bool("python-stateless"), packages: c.StringSlice("python-package"),
		sessions: c.Int("python-sessions"), sessionMiB: c.Int("python-session-mib"), allMiB: c.Int("python-mib"), key: sealKey,
	}
}

// pythonCache is Python's part of the cache directory; "" = none.
func pythonCache(dir string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "python")
}

// An interpreter is Python, which starts beside the rest of the server: until it is there, calls wait for it.
type interpreter struct {
	cancel context.CancelFunc
	ready  chan struct{} // closed when the fields below are set
	image  *python.Image
	pool   *python.Pool
	err    error
}

// startPython begins to start Python. A failure is logged, and is that of every call.
func startPython(ctx context.Context, o pythonOptions, log *slog.Logger) *interpreter {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &interpreter{cancel: cancel, ready: make(chan struct{})}
	go func() {
		defer close(p.ready)
		began := time.Now()
		if p.err = p.start(ctx, o, log); p.err == nil {
			log.Info("python is ready", "duration", time.Since(began))
		} else if ctx.Err() == nil {
			log.Error("python cannot be used: every call of it will fail", "err", p.err)
		}
	}()
	return p
}

func (p *interpreter) start(ctx context.Context, o pythonOptions, log *slog.Logger) (err error) {
	p.image, err = python.Boot(ctx, python.BootOptions{CacheDir: o.cacheDir, Packages: o.packages, Logger: log})
	if err != nil {
		return err
	}
	p.pool, err = python.NewPool(p.image, python.PoolOptions{
		MaxLive: o.sessions, MaxMemory: int64(o.allMiB) << 20, MaxSession: int64(o.sessionMiB) << 20, Key: snapshotKey(o.key), Logger: log})
	return err
}

// snapshotKey is the key of Python's snapshots, so that the one of the data directory has one purpose only.
func snapshotKey(key []byte) []byte {
	if key == nil {
		return nil
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte("python snapshots"))
	return h.Sum(nil)
}

// tool returns the tool of it.
func (p *interpreter) tool(o pythonOptions) (*pythontool.Tool, error) {
	return pythontool.New(pythontool.Options{
		Pool: p.wait, Stateless: o.stateless, MaxOpen: o.sessions, Limits: python.Limits{Memory: int64(o.sessionMiB) << 20}})
}

// wait returns the pool as soon as there is one.
func (p *interpreter) wait(ctx context.Context) (*python.Pool, error) {
	select {
	case <-p.ready:
		return p.pool, p.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// close ends Python, or its start. All sessions must have ended.
func (p *interpreter) close() error {
	p.cancel()
	<-p.ready
	var errs []error
	if p.pool != nil {
		errs = append(errs, p.pool.Close())
	}
	if p.image != nil {
		errs = append(errs, p.image.Close())
	}
	return errors.Join(errs...)
}

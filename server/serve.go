package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"chorale/server/httpd"
)

func newServe(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "answer POST /v1/responses over HTTP",
		Description: `Serves until SIGTERM or SIGINT, then lets running responses finish. Any client of the OpenAI Responses API can use it:

   chorale serve
   curl http://127.0.0.1:8000/v1/responses -d '{"input":"Hello!"}'

   chorale serve --model ./gpt-oss-20b --listen 0.0.0.0:8000 --api-key-file keys.txt
   chorale serve --listen 127.0.0.1:0 --ready-file address.txt    any free port, for scripts`,
		Flags: slices.Concat(modelFlags(cfg), pythonFlags(cfg), pluginsFlags(cfg), browserFlags(cfg), []cli.Flag{searchFlag(cfg)}, mcpServeFlags(cfg), mcpServersFlags(cfg), []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8000", Usage: "`ADDRESS` to listen on; port 0 is any free one", Sources: cfg.sources("listen")},
			&cli.StringFlag{Name: "ready-file", Usage: "write the address to `FILE` once requests are answered", TakesFile: true},
			&cli.StringFlag{Name: "data-dir", Value: defaultDataDir(), Usage: "`DIRECTORY` of stored responses", TakesFile: true, Sources: cfg.sources("data-dir")},
			&cli.DurationFlag{Name: "store-max-age", Value: 30 * 24 * time.Hour, Usage: "forget responses that were not used for `TIME`", Sources: cfg.sources("store-max-age")},
			&cli.IntFlag{Name: "store-max-mib", Value: 1024, Usage: "forget the oldest responses beyond `N` MiB", Sources: cfg.sources("store-max-mib")},
			&cli.StringSliceFlag{Name: "api-key", Usage: "accept the bearer token `KEY`; may be repeated; without keys everybody may call", Sources: cfg.sources("api-key")},
			&cli.StringFlag{Name: "api-key-file", Usage: "accept the bearer tokens in `FILE`, one a line", TakesFile: true, Sources: cfg.sources("api-key-file")},
			&cli.StringSliceFlag{Name: "cors-origin", Usage: "let pages of `ORIGIN` call, as https://app.example, or * for all; may be repeated", Sources: cfg.sources("cors-origin")},
			&cli.IntFlag{Name: "max-body-mib", Value: 32, Usage: "refuse request bodies above `N` MiB", Sources: cfg.sources("max-body-mib")},
			&cli.DurationFlag{Name: "keepalive", Value: 15 * time.Second, Usage: "send a keepalive event after `TIME` of silence in a stream", Sources: cfg.sources("keepalive")},
			&cli.DurationFlag{Name: "drain-timeout", Value: 30 * time.Second, Usage: "at the end, cancel responses that still run after `TIME`", Sources: cfg.sources("drain-timeout")},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json, on standard error", Sources: cfg.sources("log-format"), Validator: oneOf("text", "json")},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "debug, info, warn or error", Sources: cfg.sources("log-level"), Validator: oneOf("debug", "info", "warn", "error")},
		}),
		Action: func(ctx context.Context, c *cli.Command) error {
			ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process without waiting
			return serve(ctx, c, cfg, newLogger(c, std.err))
		},
	}
}

func oneOf(allowed ...string) func(string) error {
	return func(s string) error {
		for _, a := range allowed {
			if s == a {
				return nil
			}
		}
		return fmt.Errorf("it is %q; it must be one of %s", s, strings.Join(allowed, ", "))
	}
}

func newLogger(c *cli.Command, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.String("log-level"))) // the flag's validator knows the same names
	o := &slog.HandlerOptions{Level: level}
	if c.String("log-format") == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// serve runs until ctx ends. The address is taken first, so that a second server on it fails before it loads anything.
func serve(ctx context.Context, c *cli.Command, cfg *config, log *slog.Logger) error {
	keys, err := apiKeys(c)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.String("listen"))
	if err != nil {
		return listenError(c.String("listen"), err)
	}
	defer l.Close()
	ready := c.String("ready-file")
	if err := os.Remove(ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old ready file: %w", err) // whoever waits for it must not read an old address
	}
	o := newStackOptions(c)
	o.storeMaxAge, o.storeMaxMiB, o.log = c.Duration("store-max-age"), c.Int("store-max-mib"), log
	if o.store, o.sealKey, err = openDataDir(c.String("data-dir")); err != nil {
		return err
	}
	o.python = newPythonOptions(c, o.sealKey)
	if o.plugins, err = newPluginsOptions(c); err != nil {
		return err
	}
	o.mcp = newMCPOptions(c)
	if o.servers, err = newMCPServersOptions(c, cfg); err != nil {
		return err
	}
	if o.browser, err = newBrowserOptions(c); err != nil {
		return err
	}
	o.browser.warm = true
	o.http = httpd.Options{
		APIKeys: keys, AllowOrigins: c.StringSlice("cors-origin"), MaxBodyBytes: int64(c.Int("max-body-mib")) << 20,
		KeepAlive: c.Duration("keepalive"), DrainTimeout: c.Duration("drain-timeout"),
	}
	s, err := openStack(ctx, o)
	if err != nil {
		return err
	}
	if len(keys) == 0 && !isLoopback(l.Addr()) {
		log.Warn("everybody who reaches this address may use the model: there are no API keys", "addr", l.Addr().String())
	}
	if s.model.demo {
		log.Warn("serving the small built-in demonstration model; --model DIR serves another", "model", s.model.id)
	}
	if err := writeReadyFile(ready, l.Addr()); err != nil {
		return errors.Join(err, s.close())
	}
	log.Info("serving", "addr", l.Addr().String(), "model", s.model.id, "version", buildVersion(), "data_dir", c.String("data-dir"))
	err = s.server.Serve(ctx, l)
	log.Info("stopped")
	return errors.Join(err, s.close())
}

// listenError says the usual reasons plainly.
func listenError(address string, err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: the address is in use; is another server running? --listen 127.0.0.1:0 takes any free port", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: not permitted; ports below 1024 need privileges", address)
	case errors.As(err, &op):
		return fmt.Errorf("listen on %s: %w", address, op.Err)
	default:
		return fmt.Errorf("listen on %s: %w", address, err)
	}
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// writeReadyFile writes the address whole or not at all, since a script may be polling for it.
func writeReadyFile(path string, a net.Addr) error {
	if path == "" {
		return nil
	}
	part := path + ".part"
	if err := os.WriteFile(part, []byte(a.String()+"\n"), 0o644); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}

// apiKeys are those of the flags and of the file; empty lines and lines that begin with # do not count.
func apiKeys(c *cli.Command) ([]string, error) {
	keys, path := c.StringSlice("api-key"), c.String("api-key-file")
	if path == "" {
		return keys, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read API keys: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	found := len(keys)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read API keys: %w", err)
	}
	if len(keys) == found {
		return nil, fmt.Errorf("read API keys: %s holds none; without the flag everybody may call", path)
	}
	return keys, nil
}

// defaultDataDir is where programs keep state: the XDG state directory on Unix, the user's configuration elsewhere.
func defaultDataDir() string {
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "chorale")
	}
	if home, err := os.UserHomeDir(); err == nil && runtime.GOOS != "windows" && runtime.GOOS != "darwin" {
		return filepath.Join(home, ".local", "state", "chorale")
	}
	if dir, err := os.UserConfigDir(); err == nil {
		return filepath.Join(dir, "chorale")
	}
	return "chorale-data"
}

// openDataDir makes the data directory, for its owner alone, and returns what lies in it: the path of the responses, and
// the key by which reasoning is sealed for clients, which has to be the same after a restart.
func openDataDir(dir string) (store string, sealKey []byte, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make data directory: %w", err)
	}
	path := filepath.Join(dir, "seal.key")
	sealKey, err = os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		sealKey = make([]byte, sealKeyBytes)
		_, _ = rand.Read(sealKey) // never fails
		err = os.WriteFile(path, sealKey, 0o600)
	case err == nil && len(sealKey) != sealKeyBytes:
		err = fmt.Errorf("%s has %d bytes, want %d; without the file a new key is made", path, len(sealKey), sealKeyBytes)
	}
	if err != nil {
		return "", nil, fmt.Errorf("open data directory: %w", err)
	}
	return filepath.Join(dir, "responses.db"), sealKey, nil
}

const sealKeyBytes = 32

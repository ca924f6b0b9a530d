package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"chorale/inference/tokenizer"
	"chorale/toolhost"
	"chorale/toolhost/browser"
	"chorale/toolhost/browser/fetch"
	"chorale/toolhost/browser/page"
	"chorale/toolhost/egress"
)

// browserFlags say whether models may read pages, and of what.
func browserFlags(cfg *config) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "browser", Value: true, Usage: "read pages for the tool web_search", Sources: cfg.sources("browser")},
		&cli.StringFlag{Name: "browser-render", Value: string(fetch.Auto), Usage: "open pages in Chromium: auto (those that need their scripts), never or always", Sources: cfg.sources("browser-render"), Validator: oneOf(string(fetch.Auto), string(fetch.Never), string(fetch.Always))},
		&cli.StringFlag{Name: "chromium", Usage: "Chromium is at `PATH`; - is none", DefaultText: "where it usually is", TakesFile: true, Sources: cfg.sources("chromium")},
		&cli.BoolFlag{Name: "chromium-no-sandbox", Usage: "run Chromium without its own sandbox, where the kernel does not allow it", Sources: cfg.sources("chromium-no-sandbox")},
		&cli.StringSliceFlag{Name: "browser-allow", Usage: "let pages reach what the `RULE` says, beside public addresses, as 'http://wiki.example at 10.0.0.7'; may be repeated", Sources: cfg.sources("browser-allow")},
		&cli.BoolFlag{Name: "browser-ar5iv", Usage: "read papers of arxiv.org at ar5iv.org, where they are HTML", Sources: cfg.sources("browser-ar5iv")},
	}
}

// browserOptions are what the browser runs with.
type browserOptions struct {
	enabled, ar5iv bool
	warm           bool // Chromium is started before it is needed
	fetch          fetch.Options
	search         []string // backends
}

func newBrowserOptions(c *cli.Command) (o browserOptions, err error) {
	o = browserOptions{enabled: c.Bool("browser"), ar5iv: c.Bool("browser-ar5iv"), search: c.StringSlice("search"), fetch: fetch.Options{
		Render: fetch.Mode(c.String("browser-render")), Chrome: c.String("chromium"), NoSandbox: c.Bool("chromium-no-sandbox"),
		UserAgent: strings.Replace(fetch.DefaultUserAgent, "Chorale", "Chorale/"+buildVersion(), 1)}}
	o.fetch.Policy, err = egress.ParsePolicy("--browser-allow", strings.Join(c.StringSlice("browser-allow"), "\n"))
	return o, err
}

// open returns the tool and what closes it. Without a searcher it cannot search.
func (o browserOptions) open(ctx context.Context, t *tokenizer.Tokenizer, find *searcher, log *slog.Logger) (toolhost.Tool, func() error, error) {
	o.fetch.Logger = log
	f, err := fetch.New(o.fetch)
	if err != nil {
		return nil, nil, err
	}
	options := browser.Options{Fetch: func() browser.Session { return session{f.Session()} }, Tokens: tokensOf(t), Ar5iv: o.ar5iv, Logger: log}
	closeSearch := func() error { return nil }
	if find != nil {
		if closeSearch, err = find.open(&options); err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
	}
	tool, err := browser.New(options)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close(), closeSearch())
	}
	warming, cancel := context.WithCancel(ctx)
	switch s := f.Status(); {
	case o.fetch.Render == fetch.Never:
	case s.Chrome.Path == "":
		log.Warn("pages are read without running their scripts", "reason", s.Chrome.Reason)
	case o.warm:
		go func() { // beside the rest, so that the first page does not wait for it
			if err := f.Warm(warming); err != nil && warming.Err() == nil {
				log.Warn("Chromium cannot be started, pages are read without running their scripts", "err", err)
			}
		}()
	}
	return tool, func() error {
		cancel()
		return errors.Join(f.Close(), closeSearch())
	}, nil
}

// tokensOf finds tokens in text for the browser, whose views are as long as the model was trained to read.
func tokensOf(t *tokenizer.Tokenizer) func(text string, n int) int {
	return func(text string, n int) int {
		ids := t.Encode(nil, text)
		if n >= len(ids) {
			return -1
		}
		var before []byte
		for _, id := range ids[:n] {
			before = t.AppendToken(before, id)
		}
		return len(before)
	}
}

// A session fetches for the browser.
type session struct{ *fetch.Session }

// Get implements browser.Session.
func (s session) Get(ctx context.Context, url string) (*page.Document, error) {
	d, err := s.Session.Get(ctx, url)
	if err != nil {
		return nil, err
	}
	return (*page.Document)(d), nil
}

// browseTimeout is how long the command waits for a page.
const browseTimeout = time.Minute

func newBrowse(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name:         "browse",
		Usage:        "show a page as the model sees it",
		ArgsUsage:    "URL",
		ArgValidator: func(context.Context, *cli.Command) error { return nil },
		Description: `Prints the page as the tool browser does, with the lines that the model cites and the links that it opens.

   chorale browse https://example.com
   chorale browse --screenshot page.png https://example.com      and keep a picture of it
   chorale browse --find cats https://example.com                where it says something
   chorale browse --browser-allow 'http://127.0.0.1:8080' http://127.0.0.1:8080/`,
		Flags: append(browserFlags(cfg),
			&cli.IntFlag{Name: "from", Usage: "begin at line `N`", Validator: notNegative},
			&cli.IntFlag{Name: "lines", Usage: "show `N` lines", DefaultText: "what the model gets, about 1024 tokens", Validator: notNegative},
			&cli.StringFlag{Name: "find", Usage: "show where the page says `TEXT`"},
			&cli.BoolFlag{Name: "source", Usage: "show the source of the page"},
			&cli.StringFlag{Name: "screenshot", Usage: "write a picture of the page to the PNG `FILE`, with Chromium", TakesFile: true},
		),
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Len() != 1 {
				return errors.New("browse needs one URL, like https://example.com")
			}
			ctx, cancel := context.WithTimeout(ctx, browseTimeout)
			defer cancel()
			return browse(ctx, c, c.Args().First(), std)
		},
	}
}

func browse(ctx context.Context, c *cli.Command, url string, std stdio) (err error) {
	o, err := newBrowserOptions(c)
	if err != nil {
		return err
	}
	if path := c.String("screenshot"); path != "" {
		if err := screenshot(ctx, o, url, path); err != nil {
			return err
		}
	}
	t, err := tokenizer.O200kHarmony()
	if err != nil {
		return err
	}
	tool, done, err := o.open(ctx, t, nil, slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	in, err := tool.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	calls := []toolhost.Call{pageCall("open", map[string]any{"id": url, "loc": c.Int("from"), "num_lines": lines(c.Int("lines")), "view_source": c.Bool("source")})}
	if text := c.String("find"); text != "" {
		calls = append(calls, pageCall("find", map[string]any{"pattern": text}))
	}
	var last toolhost.Result
	for _, call := range calls {
		if last, err = in.Call(ctx, call); err != nil {
			return err
		}
		if last.Failed {
			return errors.New(last.Text)
		}
	}
	_, err = fmt.Fprintln(std.out, last.Text)
	return err
}

// pageCall is a call of the tool.
func pageCall(function string, arguments map[string]any) toolhost.Call {
	input, err := json.Marshal(arguments)
	if err != nil {
		panic(err) // strings, numbers and truths always can be written
	}
	return toolhost.Call{Function: function, Input: string(input), Progress: func(string, float64) {}}
}

// lines is num_lines of the tool, for which -1 is what it thinks right.
func lines(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// screenshot writes a picture of the page.
func screenshot(ctx context.Context, o browserOptions, url, path string) (err error) {
	f, err := fetch.New(o.fetch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := f.Session()
	defer func() { err = errors.Join(err, s.Close()) }()
	png, err := s.Screenshot(ctx, url)
	if err != nil {
		return err
	}
	return os.WriteFile(path, png, 0o644)
}

// checkBrowser finds out how pages are read, and starts Chromium if there is one.
func checkBrowser(ctx context.Context, o browserOptions) (found string, err error) {
	f, err := fetch.New(o.fetch)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if o.fetch.Render == fetch.Never {
		return "pages are read without running their scripts, as configured", nil
	}
	if s := f.Status(); s.Chrome.Path == "" {
		return "pages are read without running their scripts: " + s.Chrome.Reason, nil
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, browseTimeout)
	defer cancel()
	if err := f.Warm(ctx); err != nil {
		return "", err
	}
	s, sandbox := f.Status().Chrome, "its sandbox on"
	if !s.Sandbox {
		sandbox = "its sandbox OFF"
	}
	return fmt.Sprintf("%s at %s, %s, started in %v", s.Version, s.Path, sandbox, time.Since(began).Round(time.Millisecond)), nil
}

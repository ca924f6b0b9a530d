package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"chorale/plugins"
	"chorale/plugins/host"
	"chorale/plugins/kit"
)

// defaultPluginDir is where commands look for installed plugins.
const defaultPluginDir = "plugins.d"

func newPlugin(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name:  "plugin",
		Usage: "write, test and install plugins: WebAssembly modules and scripts as tools",
		Description: `A plugin is a program that reads JSON and prints a result, compiled to WASI, with a manifest beside it; or a script, one
file of Python or JavaScript.
plugins/GUIDE.md leads from nothing to a tested one in ten minutes.

   chorale plugin new --lang go hello                     begin one in the folder hello
   chorale plugin test hello/hello.wasm                   run the examples of its manifest
   chorale plugin run hello.wasm greet '{"name":"Ada"}'   call a tool
   chorale plugin install hello.wasm --dir plugins.d      put it where a server finds it`,
		Commands: []*cli.Command{
			newPluginNew(std), newPluginInspect(cfg, std), newPluginRun(cfg, std), newPluginTest(cfg, std), newPluginBench(cfg, std),
			newPluginAttach(std), newPluginSign(std), newPluginVerify(std), newPluginInstall(std), newPluginPush(std), newPluginList(std),
		},
	}
}

// words makes a validator for a command that takes so many words, at least and at most; names stand in its message.
func words(least, most int, names string) cli.ArgValidatorFunc {
	return func(_ context.Context, c *cli.Command) error {
		switch n := c.Args().Len(); {
		case n < least:
			return fmt.Errorf("%s takes %s", c.FullName(), names)
		case n > most:
			return fmt.Errorf("%s: unexpected argument %q; it takes %s", c.FullName(), c.Args().Get(most), names)
		}
		return nil
	}
}

func newPluginNew(std stdio) *cli.Command {
	return &cli.Command{
		Name: "new", Usage: "begin a plugin in a new folder", ArgsUsage: "NAME", ArgValidator: words(1, 1, "NAME"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "lang", Usage: "`LANGUAGE` to write it in: " + strings.Join(kit.Languages(), ", "), Required: true, Validator: func(s string) error {
				if !slices.Contains(kit.Languages(), s) {
					return fmt.Errorf("it is %q; it must be one of %s", s, strings.Join(kit.Languages(), ", "))
				}
				return nil
			}},
			&cli.StringFlag{Name: "dir", Usage: "write to `FOLDER`", DefaultText: "NAME", TakesFile: true},
		},
		Action: func(_ context.Context, c *cli.Command) error {
			name, folder := c.Args().First(), c.String("dir")
			if folder == "" {
				folder = name
			}
			files, err := kit.New(folder, name, c.String("lang"))
			if err != nil {
				return err
			}
			fmt.Fprintf(std.out, "%s: %s\n\nNext:\n  cd %s\n", folder, strings.Join(files, " "), folder)
			if _, script := plugins.Stem(files[0]); script && len(files) == 1 {
				fmt.Fprintf(std.out, "  chorale plugin test %s\n", files[0])
				return nil
			}
			fmt.Fprintf(std.out, "  ./build.sh\n  chorale plugin test %s.wasm\n", name)
			return nil
		},
	}
}

// runFlags are those of commands that run a plugin.
func runFlags(cfg *config) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "grants", Usage: "grant what `FILE` of the operator says", TakesFile: true},
		&cli.BoolFlag{Name: "trust", Usage: "grant the requests and the storage that the manifest asks for"},
		&cli.StringSliceFlag{Name: "mount", Usage: "grant a directory that the manifest asks for: `PATH=DIRECTORY`, again for more"},
		&cli.StringFlag{Name: "cache-dir", Value: defaultCacheDir(), Usage: "`DIRECTORY` of compiled code", TakesFile: true, Sources: cfg.sources("cache-dir")},
	}
}

// tapeFlags are those of commands that can do without a network.
func tapeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "record", Usage: "write what the network and the storage say to `TAPE`", TakesFile: true},
		&cli.StringFlag{Name: "replay", Usage: "answer from `TAPE` instead of the network and the storage", TakesFile: true},
	}
}

// readTapes reads the tape of --replay or, if a module is given, the one beside it.
func readTapes(c *cli.Command, module string) (tapes kit.Tapes, err error) {
	name, record := c.String("replay"), c.String("record")
	switch {
	case name != "" && record != "":
		return tapes, errors.New("--record and --replay exclude each other")
	case record != "":
		tapes.Record = host.NewTape()
	case name != "":
		tapes.Replay, err = os.ReadFile(name)
	case module != "" && !c.Bool("live"):
		stem, _ := plugins.Stem(module)
		tapes.Replay, err = os.ReadFile(stem + kit.TapeSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return tapes, err
}

// writeTape writes what was recorded.
func writeTape(c *cli.Command, tapes kit.Tapes) (err error) {
	if tapes.Record == nil {
		return nil
	}
	f, err := os.Create(c.String("record"))
	if err != nil {
		return err
	}
	_, err = tapes.Record.WriteTo(f)
	return errors.Join(err, f.Close())
}

// An openedPlugin is a plugin with the interpreters that it may need.
type openedPlugin struct {
	*plugins.Plugin
	scripts *scripts
}

func (p *openedPlugin) Close() error { return errors.Join(p.Plugin.Close(), p.scripts.close()) }

// openPlugin loads the plugin that the first word names, with what the flags grant.
func openPlugin(ctx context.Context, c *cli.Command) (*openedPlugin, *plugins.Grant, error) {
	scripts := newLazyScripts(ctx, c.String("cache-dir"))
	o := plugins.Options{HostVersion: buildVersion(), Interpreters: scripts.interpreters()}
	if dir := c.String("cache-dir"); dir != "" {
		o.CacheDir = filepath.Join(dir, "plugins")
	}
	opened, err := plugins.Open(ctx, c.Args().First(), o)
	if err != nil {
		return nil, nil, errors.Join(err, scripts.close())
	}
	p := &openedPlugin{opened, scripts}
	g, err := grantOf(opened, c)
	if err == nil {
		err = p.SetGrant(ctx, g)
	}
	if err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return p, g, nil
}

func grantOf(p *plugins.Plugin, c *cli.Command) (*plugins.Grant, error) {
	mounts := map[string]string{}
	for _, m := range c.StringSlice("mount") {
		at, directory, ok := strings.Cut(m, "=")
		if !ok {
			return nil, fmt.Errorf("--mount is %q; it must be PATH=DIRECTORY", m)
		}
		mounts[at] = directory
	}
	file, trust := c.String("grants"), c.Bool("trust")
	switch {
	case file != "" && (trust || len(mounts) > 0):
		return nil, errors.New("--grants says all that is granted; it goes with neither --trust nor --mount")
	case trust || len(mounts) > 0:
		g, err := kit.Trust(p, mounts)
		if err == nil && !trust {
			g.Net, g.KVBytes = nil, 0
		}
		return g, err
	case file == "":
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	all, err := grantsDecoder(file, c.String("config"))(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	g, ok := all[p.Manifest().Name]
	if !ok {
		return nil, fmt.Errorf("%s grants nothing to a plugin %q", file, p.Manifest().Name)
	}
	return &g, nil
}

func newPluginInspect(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name: "inspect", DisableSliceFlagSeparator: true, Usage: "show what a plugin is, and what it asks for and gets", ArgsUsage: "FILE", ArgValidator: words(1, 1, "FILE"),
		Flags: runFlags(cfg),
		Action: func(ctx context.Context, c *cli.Command) (err error) {
			p, _, err := openPlugin(ctx, c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.Close()) }()
			return inspectPlugin(p.Plugin, c.Args().First(), std.out)
		},
	}
}

func inspectPlugin(p *plugins.Plugin, file string, out io.Writer) error {
	s, err := plugins.ReadSource(file)
	if err != nil {
		return err
	}
	i, err := s.Inspect()
	if err != nil {
		return err
	}
	m := p.Manifest()
	fmt.Fprintf(out, "%s %s: %s\n", m.Name, m.Version, m.Description)
	mode := ""
	if i.ABI == plugins.ABIReactor {
		mode = ", instance " + string(cmp.Or(m.Instance, plugins.InstanceFresh))
	}
	fmt.Fprintf(out, "module: %s%s, %d bytes, ready in %v\n", i.ABI, mode, len(s.Wasm), p.CompileTime().Round(time.Microsecond))
	imported := make([]string, 0, len(i.Imports))
	for module, names := range i.Imports {
		imported = append(imported, fmt.Sprintf("%s (%d functions)", module, len(names)))
	}
	slices.Sort(imported)
	if len(imported) > 0 {
		fmt.Fprintf(out, "imports: %s\n", strings.Join(imported, ", "))
	}
	fmt.Fprintln(out, "tools:")
	for _, t := range m.Tools {
		fmt.Fprintf(out, "  %s: %s (output %s, %d examples)\n", t.Name, t.Description, t.Kind, len(t.Examples))
	}
	fmt.Fprint(out, p.Effective())
	l := p.Effective().Limits
	_, err = fmt.Fprintf(out, "limits: %d MiB memory, %d ms, %d KiB output, %d KiB log, %d KiB files, %d requests, %d KiB from them, %d calls at once, %d waiting\n",
		l.MemoryBytes>>20, l.TimeoutMS, l.OutputBytes>>10, l.LogBytes>>10, l.FileBytes>>10, l.HTTPRequests, l.HTTPBytes>>10, l.Concurrency, l.Queue)
	return err
}

// callOf makes a call of the words behind the file; "-" stands for standard input.
func callOf(c *cli.Command, std stdio) (plugins.Call, error) {
	call := plugins.Call{Tool: c.Args().Get(1), Input: json.RawMessage("{}")}
	switch text := c.Args().Get(2); text {
	case "":
	case "-":
		p, err := io.ReadAll(std.in)
		if err != nil {
			return call, fmt.Errorf("read arguments: %w", err)
		}
		call.Input = p
	default:
		call.Input = json.RawMessage(text)
	}
	return call, nil
}

func newPluginRun(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name: "run", DisableSliceFlagSeparator: true, Usage: "call a tool of a plugin", ArgsUsage: "FILE TOOL [JSON|-]", ArgValidator: words(2, 3, "FILE TOOL [JSON|-]"),
		Description: `The limits are those of a server. The result goes to standard output, the plugin's log to standard error; files of the
result are written with --files. The exit status is 1 when the call fails.

   chorale plugin run units.wasm convert '{"value": 1, "from": "mi", "to": "km"}'
   chorale plugin run weather.wasm now --trust '{"latitude": 59.9, "longitude": 10.8}'
   chorale plugin run csv.wasm describe --mount /data=./tables '{"file": "sales.csv"}'
   chorale plugin run diff.js texts --in old.txt --in new.txt '{"old": {"file": "old.txt"}, "new": {"file": "new.txt"}}'`,
		Flags: append(slices.Concat(runFlags(cfg), tapeFlags()),
			&cli.StringSliceFlag{Name: "in", Usage: "attach `FILE`, which the plugin finds in /in; again for more", TakesFile: true},
			&cli.StringFlag{Name: "files", Usage: "write files of the result into `FOLDER`", TakesFile: true}),
		Action: func(ctx context.Context, c *cli.Command) (err error) {
			call, err := callOf(c, std)
			if err != nil {
				return err
			}
			if call.Files, err = attached(c.StringSlice("in")); err != nil {
				return err
			}
			p, _, err := openPlugin(ctx, c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.Close()) }()
			call.Progress = func(message string, fraction float64) {
				fmt.Fprintf(std.err, "progress: %s %.0f %%\n", message, 100*max(fraction, 0))
			}
			tapes, err := readTapes(c, "")
			if err != nil {
				return err
			}
			if tapes.Replay != nil {
				if call.Replay, err = host.ReadTape(bytes.NewReader(tapes.Replay)); err != nil {
					return fmt.Errorf("%s: %w", c.String("replay"), err)
				}
			}
			call.Record = tapes.Record
			r, err := p.Call(ctx, call)
			if err != nil {
				return err
			}
			if err := writeTape(c, tapes); err != nil {
				return err
			}
			return showResult(r, c.String("files"), std)
		},
	}
}

// attached reads the files of a call. They go by their names, without folders.
func attached(names []string) ([]plugins.File, error) {
	var files []plugins.File
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("--in: %w", err)
		}
		files = append(files, plugins.File{Path: filepath.Base(name), Data: data})
	}
	return files, nil
}

func showResult(r plugins.Result, folder string, std stdio) error {
	if r.Failed {
		return errors.New(r.Text)
	}
	if r.Log != "" {
		fmt.Fprintln(std.err, strings.TrimRight(r.Log, "\n"))
	}
	fmt.Fprintln(std.out, strings.TrimRight(r.Text, "\n"))
	for i, f := range r.Files {
		if folder == "" {
			fmt.Fprintf(std.err, "file %s, %s, %d bytes; --files FOLDER writes it\n", f.Path, f.MIME, len(f.Data))
			continue
		}
		// What a plugin calls its file leads nowhere but into the folder.
		name := filepath.Base(filepath.FromSlash(f.Path))
		if f.Path == "" || name == "." || name == ".." || name == string(filepath.Separator) {
			name = fmt.Sprintf("file-%d", i+1)
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), f.Data, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "wrote %s\n", filepath.Join(folder, name))
	}
	return nil
}

func newPluginTest(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name: "test", DisableSliceFlagSeparator: true, Usage: "run the examples of a plugin's manifest, and try it with faults", ArgsUsage: "FILE", ArgValidator: words(1, 1, "FILE"),
		Description: `Every example of the manifest is called with the limits of a server, and its result compared with what the example says:
output (the JSON), text, contains or error. Results are checked against output_schema in any case. Examples that say none of that
must give what the golden results FILE.golden.json have, if they lie beside the module; --update writes them. Then each tool is
called with nothing granted, with too little memory, with one millisecond of time, with a network that times out or never answers
(if it asks for one), and with arguments that are wrong: it may fail then, but must say why, and arguments must not crash it.

Requests are answered from the tape FILE.tape.json, if there is one beside the module. Make it with

   chorale plugin test --trust --record weather.tape.json weather.wasm`,
		Flags: append(slices.Concat(runFlags(cfg), tapeFlags()),
			&cli.BoolFlag{Name: "live", Usage: "use the network although there is a tape beside the module"},
			&cli.BoolFlag{Name: "update", Usage: "write what examples give, that say nothing of their result, to FILE.golden.json"},
			&cli.BoolFlag{Name: "faults", Usage: "try faults too", Value: true}),
		Action: func(ctx context.Context, c *cli.Command) (err error) {
			p, grant, err := openPlugin(ctx, c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.Close()) }()
			tapes, err := readTapes(c, c.Args().First())
			if err != nil {
				return err
			}
			golden, err := readGolden(c)
			if err != nil {
				return err
			}
			checks, err := kit.Examples(ctx, p.Plugin, tapes, golden)
			if err != nil {
				return err
			}
			if err := errors.Join(writeTape(c, tapes), writeGolden(c, golden, std.out)); err != nil {
				return err
			}
			if len(checks) == 0 {
				return errors.New("the manifest has no examples; add some to its tools (\"examples\": [{\"input\": {…}, \"text\": \"…\"}])")
			}
			if c.Bool("faults") {
				faults, err := kit.Faults(ctx, p.Plugin, grant, tapes)
				if err != nil {
					return err
				}
				checks = append(checks, faults...)
			}
			return showChecks(checks, std.out)
		},
	}
}

func goldenName(c *cli.Command) string {
	stem, _ := plugins.Stem(c.Args().First())
	return stem + kit.GoldenSuffix
}

// readGolden reads the golden results beside the module, nil if there are none.
func readGolden(c *cli.Command) (*kit.Golden, error) {
	if c.Bool("update") {
		return kit.LearnGolden(), nil
	}
	f, err := os.Open(goldenName(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	golden, err := kit.ReadGolden(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", f.Name(), err)
	}
	return golden, err
}

// writeGolden writes what was learnt.
func writeGolden(c *cli.Command, golden *kit.Golden, out io.Writer) error {
	if !c.Bool("update") {
		return nil
	}
	f, err := os.Create(goldenName(c))
	if err != nil {
		return err
	}
	_, err = golden.WriteTo(f)
	if err = errors.Join(err, f.Close()); err == nil {
		fmt.Fprintf(out, "%s: %d results\n", f.Name(), golden.Len())
	}
	return err
}

func showChecks(checks []kit.Check, out io.Writer) error {
	failed := 0
	for _, c := range checks {
		mark, note := "ok  ", c.Note
		if c.Err != nil {
			mark, note = "FAIL", "\n     "+strings.ReplaceAll(c.Err.Error(), "\n", "\n     ")
			failed++
		}
		fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%s %s: %s (%v) %s", mark, c.Tool, c.Name, c.Wall.Round(time.Microsecond), note), " "))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(checks))
	}
	_, err := fmt.Fprintf(out, "%d checks passed\n", len(checks))
	return err
}

func newPluginBench(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name: "bench", DisableSliceFlagSeparator: true, Usage: "measure calls of a plugin", ArgsUsage: "FILE [TOOL [JSON|-]]", ArgValidator: words(1, 3, "FILE [TOOL [JSON|-]]"),
		Description: `Without a tool, the first example of each tool that is to succeed is measured. Requests are answered from the tape of --replay or
FILE.tape.json, if there is one beside the module, so that the plugin is measured and not the network.`,
		Flags: append(runFlags(cfg),
			&cli.StringFlag{Name: "replay", Usage: "answer from `TAPE` instead of the network and the storage", TakesFile: true},
			&cli.BoolFlag{Name: "live", Usage: "use the network although there is a tape beside the module"},
			&cli.IntFlag{Name: "calls", Usage: "make at least `N` calls", Value: 100, Validator: notNegative},
			&cli.DurationFlag{Name: "time", Usage: "go on for `DURATION`", Value: time.Second}),
		Action: func(ctx context.Context, c *cli.Command) (err error) {
			p, _, err := openPlugin(ctx, c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, p.Close()) }()
			calls, err := benchCalls(p.Plugin, c, std)
			if err != nil {
				return err
			}
			tapes, err := readTapes(c, c.Args().First())
			if err != nil {
				return err
			}
			fmt.Fprintf(std.out, "ready in %v\n", p.CompileTime().Round(time.Microsecond))
			for _, call := range calls {
				m, err := kit.Bench(ctx, p.Plugin, kit.Load{Call: call, Tapes: tapes, Calls: c.Int("calls"), Least: c.Duration("time")})
				if err != nil {
					return fmt.Errorf("%s: %w", call.Tool, err)
				}
				micro := func(d time.Duration) time.Duration { return d.Round(time.Microsecond) }
				fmt.Fprintf(std.out, "%s: %d calls, first %v, p50 %v, p95 %v, max %v, %.0f calls/s, %d KiB memory\n",
					call.Tool, m.Calls, micro(m.First), micro(m.P50), micro(m.P95), micro(m.Max), m.PerSecond, m.Memory>>10)
			}
			return nil
		},
	}
}

func benchCalls(p *plugins.Plugin, c *cli.Command, std stdio) ([]plugins.Call, error) {
	if c.Args().Len() > 1 {
		call, err := callOf(c, std)
		return []plugins.Call{call}, err
	}
	var calls []plugins.Call
	for _, t := range p.Manifest().Tools {
		if i := slices.IndexFunc(t.Examples, func(e plugins.Example) bool { return e.Error == "" }); i >= 0 {
			calls = append(calls, plugins.Call{Tool: t.Name, Input: t.Examples[i].Input})
		}
	}
	if len(calls) == 0 {
		return nil, errors.New("the manifest has no examples; name a tool and its arguments")
	}
	return calls, nil
}

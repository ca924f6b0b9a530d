package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/cpu"

	"chorale/inference/harmony"
	"chorale/inference/tokenizer"
	"chorale/plugins"
	"chorale/sandbox/python"
)

func newDoctor(cfg *config, std stdio) *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "check this machine and what a server would use",
		Description: `Prints one line a check, and ends with exit status 1 when one of them failed.

   chorale doctor
   chorale doctor --model ./gpt-oss-20b`,
		Flags: append(slices.Concat(pythonFlags(cfg), pluginsFlags(cfg), browserFlags(cfg)),
			&cli.StringFlag{Name: "model", Usage: "check the model at `PATH` too", TakesFile: true, Sources: cfg.sources("model")},
			&cli.StringFlag{Name: "data-dir", Value: defaultDataDir(), Usage: "`DIRECTORY` of stored responses", TakesFile: true, Sources: cfg.sources("data-dir")},
		),
		Action: func(ctx context.Context, c *cli.Command) error {
			path := c.String("model")
			checks := []check{
				{"build", func() (string, error) {
					return fmt.Sprintf("%s %s %s/%s", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH), nil
				}},
				{"cpu", checkCPU},
				{"memory", checkMemory},
				{"tokenizer", checkTokenizer},
				{"built-in model", func() (string, error) { return checkModel("") }},
				{"data directory", func() (string, error) { return checkDataDir(c.String("data-dir")) }},
			}
			if o := newPythonOptions(c, nil); o.enabled {
				checks = append(checks, check{"python", func() (string, error) { return checkPython(ctx, o) }})
			}
			o, err := newPluginsOptions(c)
			if o.dir != "" || err != nil {
				checks = append(checks, check{"plugins", func() (string, error) { return checkPlugins(ctx, o, err) }})
			}
			if o, err := newBrowserOptions(c); o.enabled || err != nil {
				checks = append(checks, check{"browser", func() (string, error) {
					if err != nil {
						return "", err
					}
					return checkBrowser(ctx, o)
				}})
			}
			if path != "" {
				checks = append(checks, check{"model", func() (string, error) { return checkModel(path) }})
			}
			return examine(checks, std)
		},
	}
}

// A check finds out one thing; its error is something that keeps a server from working.
type check struct {
	name string
	find func() (string, error)
}

func examine(checks []check, std stdio) error {
	failed := 0
	for _, c := range checks {
		found, err := c.find()
		mark := "ok  "
		if err != nil {
			mark, found = "FAIL", err.Error()
			failed++
		}
		fmt.Fprintf(std.out, "%s %-15s %s\n", mark, c.name, found)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(checks))
	}
	return nil
}

func checkCPU() (string, error) {
	features := []string{fmt.Sprintf("%d CPUs", runtime.NumCPU())}
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avx512f", cpu.X86.HasAVX512F}, {"avx512bw", cpu.X86.HasAVX512BW},
		{"avx512vnni", cpu.X86.HasAVX512VNNI}, {"asimd", cpu.ARM64.HasASIMD}, {"asimddp", cpu.ARM64.HasASIMDDP}, {"sve", cpu.ARM64.HasSVE},
	} {
		if f.has {
			features = append(features, f.name)
		}
	}
	return strings.Join(features, " "), nil
}

func checkMemory() (string, error) {
	total, available := memory()
	if total == 0 {
		return "not known on " + runtime.GOOS, nil
	}
	return fmt.Sprintf("%s, %s available", size(total), size(available)), nil
}

// memory is the machine's memory in bytes, or 0 where there is no /proc/meminfo.
func memory() (total, available int64) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if _, err := fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &kib); err == nil {
			total = kib << 10
		}
		if _, err := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); err == nil {
			available = kib << 10
		}
	}
	return total, available
}

// size is a number of bytes for people.
func size(bytes int64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

func checkTokenizer() (string, error) {
	t, err := tokenizer.O200kHarmony() // compares the embedded table with its checksum
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("o200k_harmony, %d ids, checksum right", t.Vocab()), nil
}

// checkModel reads what a server would read, and compares the weights with the memory.
func checkModel(path string) (found string, err error) {
	m, err := openModel(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, m.checkpoint.Close()) }()
	weights, err := m.load()
	if err != nil {
		return "", err
	}
	if _, err := harmony.NewCodec(m.tokenizer); err != nil {
		return "", err
	}
	bytes := m.checkpoint.Bytes()
	if total, _ := memory(); total > 0 && bytes > total {
		return "", fmt.Errorf("%s: %s of weights do not fit into %s of memory", m.id, size(bytes), size(total))
	}
	found = fmt.Sprintf("%s: %v, %s, %d layers, %d token ids", m.id, m.checkpoint.Layout(), size(bytes), weights.Config.Layers, m.tokenizer.Vocab())
	data, ok, err := m.checkpoint.TokenizerJSON()
	if err == nil && ok {
		found += fmt.Sprintf(", tokenizer.json sha256 %x", sha256.Sum256(data))
	}
	return found, err
}

// checkPython starts Python as a server would, and runs something.
func checkPython(ctx context.Context, o pythonOptions) (found string, err error) {
	began := time.Now()
	p := startPython(ctx, o, slog.New(slog.DiscardHandler))
	defer func() { err = errors.Join(err, p.close()) }()
	pool, err := p.wait(ctx)
	if err != nil {
		return "", err
	}
	ready := time.Since(began)
	s, err := pool.Acquire(ctx, python.SessionOptions{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	r, err := s.Exec(ctx, python.Cell{Code: "import platform; print(platform.python_version())"})
	if err == nil && r.Status != python.OK {
		err = fmt.Errorf("code ends in %v: %s", r.Status, r.Output)
	}
	return fmt.Sprintf("CPython %s in the sandbox, ready after %v", strings.TrimSpace(r.Output), ready.Round(time.Millisecond)), err
}

// checkPlugins loads the plugins of the folder as a server would. wrong is what is wrong with the options.
func checkPlugins(ctx context.Context, o pluginsOptions, wrong error) (found string, err error) {
	if wrong != nil {
		return "", wrong
	}
	files, err := filepath.Glob(filepath.Join(o.dir, "[^.]*"))
	scripts := newLazyScripts(ctx, o.cacheDir)
	defer func() { err = errors.Join(err, scripts.close()) }()
	var ready []string
	for _, file := range files {
		if _, ok := plugins.Stem(file); !ok {
			continue
		}
		p, failed := plugins.Open(ctx, file, plugins.Options{CacheDir: o.cache, HostVersion: buildVersion(), Interpreters: scripts.interpreters()})
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", filepath.Base(file), failed))
			continue
		}
		ready = append(ready, p.Manifest().Name+" "+p.Manifest().Version)
		err = errors.Join(err, p.Close())
	}
	return fmt.Sprintf("%d in %s: %s", len(ready), o.dir, strings.Join(ready, ", ")), err
}

func checkDataDir(dir string) (string, error) {
	if _, _, err := openDataDir(dir); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "doctor-*")
	if err != nil {
		return "", fmt.Errorf("not writable: %w", err)
	}
	return dir + " is writable", errors.Join(f.Close(), os.Remove(f.Name()))
}

package plugins_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"chorale/plugins"
)

// median reports the median time of the calls beside the mean, which a busy machine spoils.
func median(b *testing.B, f func()) {
	var times []time.Duration
	for b.Loop() {
		began := time.Now()
		f()
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
}

// A fresh instance of a small C program for every call.
func BenchmarkCommand(b *testing.B) {
	m := manifest("hello")
	m.Tools[0].Input = json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}`)
	m.Tools[0].Output = json.RawMessage(`{"type":"object","properties":{"greeting":{"type":"string"}}}`)
	p := load(b, source(b, "program", m), plugins.Options{})
	works(b, p, "hello", `{"name":"Ada"}`, `{"greeting":"Hello, Ada"}`)
	median(b, func() { call(b, p, "hello", `{"name":"Ada"}`) })
}

// The modes of a C reactor.
func BenchmarkReactor(b *testing.B) {
	for _, mode := range []plugins.InstanceMode{plugins.InstanceFresh, plugins.InstanceReset, plugins.InstanceReuse} {
		b.Run(string(mode), func(b *testing.B) {
			m := manifest("count")
			m.Instance = mode
			p := load(b, source(b, "reactor", m), plugins.Options{})
			median(b, func() { call(b, p, "count", `{}`) })
		})
	}
}

// A Go runtime that is reset after every call.
func BenchmarkGoReactor(b *testing.B) {
	p := load(b, goReactor(b), plugins.Options{})
	median(b, func() { call(b, p, "say", `{"text":"Ada"}`) })
}

// One MiB in and out of a program.
func BenchmarkPayload(b *testing.B) {
	m := manifest("echo")
	m.Limits.OutputBytes = 2 << 20
	p := load(b, source(b, "program", m), plugins.Options{})
	input := `{"text":"` + strings.Repeat("some text. ", 1<<20/11) + `"}`
	b.SetBytes(int64(2 * len(input)))
	median(b, func() { call(b, p, "echo", input) })
}

// A call of an Extism plugin.
func BenchmarkExtism(b *testing.B) {
	p := load(b, source(b, "extism", manifest("echo")), plugins.Options{})
	median(b, func() { call(b, p, "echo", `{"name":"Ada"}`) })
}

// Loading a Go program of 3 MB whose native code is in the cache, as a restart does.
func BenchmarkLoadCached(b *testing.B) {
	s := goReactor(b)
	o := plugins.Options{CacheDir: b.TempDir() + "/cache"}
	load(b, s, o)
	b.ReportMetric(float64(len(s.Wasm))/1e6, "MB")
	median(b, func() {
		p, err := plugins.Load(b.Context(), s, o)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	})
}

// From a new file in the folder, written just now, to the first answer of the new version, as a registry looks by default.
func BenchmarkReload(b *testing.B) {
	dir := b.TempDir()
	r, err := plugins.NewRegistry(plugins.RegistryOptions{Dir: dir, Plugin: plugins.Options{CacheDir: cacheDir}})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	version := 0
	median(b, func() {
		version++
		text, err := json.Marshal(versioned(fmt.Sprintf("1.0.%d", version), "count"))
		if err != nil {
			b.Fatal(err)
		}
		wasm, err := plugins.Attach(fixture(b, "program.wasm"), text)
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(dir+"/new", wasm, 0o644), os.Rename(dir+"/new", dir+"/p.wasm")); err != nil {
			b.Fatal(err)
		}
		for {
			_, next := r.Changes()
			if p, err := r.Plugin("p"); err == nil && p.Manifest().Version == fmt.Sprintf("1.0.%d", version) {
				break
			}
			<-next
		}
		if res, err := r.Call(b.Context(), "p", plugins.Call{Tool: "count"}); err != nil || res.Text != "1" {
			b.Fatal(res, err)
		}
	})
}

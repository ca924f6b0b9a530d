//go:build unix

package chrome_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"chorale/toolhost/browser/chrome"
)

// The name and password of every context at the test's proxy.
const (
	user     = "someone"
	password = "secret"
)

// newProxy is a proxy that answers requests itself, as if it were the host.
func newProxy(t testing.TB, mux http.Handler) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") == "" {
			w.Header().Set("Proxy-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func newBrowser(t testing.TB, mux http.Handler, limits chrome.Limits) *chrome.Browser {
	t.Helper()
	if _, err := chrome.Find(""); err != nil {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "chrome") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	b := chrome.New(chrome.Options{
		Path: os.Getenv("CHROME_PATH"), Proxy: newProxy(t, mux), NoSandbox: os.Getenv("CHROME_NO_SANDBOX") != "", Limits: limits,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	t.Cleanup(func() {
		pid := b.Status().PID
		for range 2 {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		until(t, "the end of its processes", func() bool { return len(group(pid)) == 0 })
	})
	return b
}

func page(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) }
}

func open(t testing.TB, c *chrome.Context, path string) string {
	t.Helper()
	p, err := c.Render(t.Context(), "http://a.example"+path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p.HTML
}

// group lists the processes of a group, by what they are.
func group(pid int) map[int]string {
	list := map[int]string{}
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range all {
		stat, _ := os.ReadFile(file)
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(f) < 3 || f[2] != strconv.Itoa(pid) || f[0] == "Z" || pid == 0 {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		list[id] = "browser"
		if _, kind, ok := strings.Cut(string(line), "--type="); ok {
			list[id], _, _ = strings.Cut(kind, "\x00")
			list[id], _, _ = strings.Cut(list[id], " ")
		}
	}
	return list
}

// until waits for something that happens elsewhere.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick, stop := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-stop:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func linux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
}

func TestProcess(t *testing.T) {
	linux(t)
	t.Setenv("CHORALE_CANARY", "a key")
	mux := http.NewServeMux()
	mux.HandleFunc("/", page("<p>x"))
	b := newBrowser(t, mux, chrome.Limits{})
	c := b.Context(user, password)
	open(t, c, "/")
	s := b.Status()
	list := group(s.PID)
	renderers := 0
	for pid, kind := range list {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && strings.Contains(string(env), "CANARY") {
			t.Errorf("the %s process has our environment", kind)
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if strings.Contains(string(status), "\nUid:\t0\t") {
			t.Errorf("the %s process runs as root", kind)
		}
		if kind != "renderer" {
			continue
		}
		renderers++
		// 2 is SECCOMP_MODE_FILTER.
		if !strings.Contains(string(status), "\nSeccomp:\t2") && s.Sandbox {
			t.Errorf("a renderer has no filter for system calls: %s", status)
		}
	}
	if renderers == 0 {
		t.Errorf("no renderer among %v", list)
	}
	if s.Memory < 10<<20 || s.Memory > 4<<30 {
		t.Errorf("memory is %d", s.Memory)
	}
}

// TestDeath kills a process that has a Chromium; the test program is that process as well.
func TestDeath(t *testing.T) {
	linux(t)
	if address := os.Getenv("CHORALE_TEST_PROXY"); address != "" {
		b := chrome.New(chrome.Options{Proxy: address, NoSandbox: os.Getenv("CHROME_NO_SANDBOX") != ""})
		if err := b.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d\n", b.Status().PID)
		select {}
	}
	newBrowser(t, http.NotFoundHandler(), chrome.Limits{}) // skips without Chromium, and is not started
	cmd := exec.Command(os.Args[0], "-test.run=^TestDeath$")
	cmd.Env = append(os.Environ(), "CHORALE_TEST_PROXY="+newProxy(t, http.NotFoundHandler()))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscanf(out, "pid %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	if len(group(pid)) < 2 {
		t.Fatalf("group of %d has %v", pid, group(pid))
	}
	cmd.Process.Kill()
	cmd.Wait()
	until(t, "the end of Chromium", func() bool { return len(group(pid)) == 0 })
}

func TestCrash(t *testing.T) {
	linux(t)
	mux := http.NewServeMux()
	asked := make(chan struct{}, 100)
	var b *chrome.Browser
	kill := func(kind string) {
		for pid, k := range group(b.Status().PID) {
			if k == kind {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	hang := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "<p>x")
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		<-r.Context().Done()
	}
	times := 0
	mux.HandleFunc("/once", func(w http.ResponseWriter, r *http.Request) {
		if times++; times > 1 {
			io.WriteString(w, "<p>the second time")
			return
		}
		hang(w, r)
	})
	mux.HandleFunc("/always", hang)
	mux.HandleFunc("/ok", page("<p>fine"))
	b = newBrowser(t, mux, chrome.Limits{})
	c := b.Context(user, password)
	open(t, c, "/ok")

	go func() { <-asked; kill("browser") }()
	if html := open(t, c, "/once"); !strings.Contains(html, "the second time") {
		t.Errorf("got %s", html)
	}
	go func() {
		for range 2 {
			<-asked
			kill("browser")
		}
	}()
	if _, err := c.Render(t.Context(), "http://a.example/always"); !errors.Is(err, chrome.ErrCrashed) {
		t.Errorf("killed twice: %v", err)
	}
	go func() { <-asked; kill("renderer") }()
	if _, err := c.Render(t.Context(), "http://a.example/always"); !errors.Is(err, chrome.ErrCrashed) {
		t.Errorf("killed renderer: %v", err)
	}
	if html := open(t, c, "/ok"); !strings.Contains(html, "fine") {
		t.Errorf("got %s", html)
	}
	if s := b.Status(); s.Crashes != 3 || s.Starts != 4 {
		t.Errorf("status is %+v, want 3 crashes and 4 starts", s)
	}
}

func TestHang(t *testing.T) {
	linux(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", page("<p>fine"))
	b := newBrowser(t, mux, chrome.Limits{Hang: 300 * time.Millisecond})
	c := b.Context(user, password)
	open(t, c, "/ok")
	syscall.Kill(b.Status().PID, syscall.SIGSTOP)
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err := c.Render(ctx, "http://a.example/ok"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a Chromium that is stopped: %v", err)
	}
	until(t, "the end of a Chromium that hangs", func() bool { return b.Status().Crashes == 1 })
	if html := open(t, c, "/ok"); !strings.Contains(html, "fine") {
		t.Errorf("got %s", html)
	}
}

func TestContexts(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", page(`<script>document.write(document.cookie || "none"); document.cookie = "a=b"</script>`))
	b := newBrowser(t, mux, chrome.Limits{Contexts: 2})
	var list []*chrome.Context
	for range 3 {
		list = append(list, b.Context(user, password))
	}
	for _, step := range []struct {
		context int
		want    string
	}{{0, "none"}, {1, "none"}, {0, "a=b"}, {2, "none"}, {0, "a=b"}, {1, "none"}, {2, "none"}} {
		if html := open(t, list[step.context], "/"); !strings.Contains(html, step.want) {
			t.Errorf("context %d: %s, want %s", step.context, html, step.want)
		}
		if n := b.Status().Contexts; n > 2 {
			t.Errorf("%d contexts", n)
		}
	}
	list[2].Close()
	list[2].Close()
	if n := b.Status().Contexts; n != 1 {
		t.Errorf("%d contexts after one was closed", n)
	}
	if _, err := list[2].Render(t.Context(), "http://a.example/"); !errors.Is(err, chrome.ErrClosed) {
		t.Errorf("a closed context: %v", err)
	}
	// More at a time than may be open.
	done := make(chan error)
	for range 6 {
		go func() {
			c := b.Context(user, password)
			defer c.Close()
			_, err := c.Render(t.Context(), "http://a.example/")
			done <- err
		}()
	}
	for range 6 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestReplaced(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", page("<p>x"))
	t.Run("after pages", func(t *testing.T) {
		b := newBrowser(t, mux, chrome.Limits{Pages: 2})
		c := b.Context(user, password)
		for range 5 {
			open(t, c, "/")
		}
		if s := b.Status(); s.Starts < 2 || s.Crashes != 0 || s.Pages != 5 {
			t.Errorf("status is %+v", s)
		}
	})
	t.Run("for its memory", func(t *testing.T) {
		linux(t)
		b := newBrowser(t, mux, chrome.Limits{Memory: 1 << 20})
		c := b.Context(user, password)
		open(t, c, "/")
		until(t, "the end of a Chromium that has grown", func() bool { return !b.Status().Running })
		open(t, c, "/")
		if s := b.Status(); s.Starts != 2 || s.Crashes != 0 {
			t.Errorf("status is %+v", s)
		}
	})
	t.Run("when idle", func(t *testing.T) {
		b := newBrowser(t, mux, chrome.Limits{Idle: 300 * time.Millisecond})
		c := b.Context(user, password)
		open(t, c, "/")
		until(t, "the end of a Chromium without work", func() bool { return !b.Status().Running })
		open(t, c, "/")
		if s := b.Status(); s.Starts != 2 || s.Crashes != 0 {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestCloseWhileBusy(t *testing.T) {
	mux := http.NewServeMux()
	asked := make(chan struct{}, 1)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	b := newBrowser(t, mux, chrome.Limits{})
	failed := make(chan error)
	go func() {
		_, err := b.Context(user, password).Render(t.Context(), "http://a.example/")
		failed <- err
	}()
	<-asked
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, chrome.ErrClosed) {
		t.Errorf("a page that was being opened: %v", err)
	}
	if err := b.Start(t.Context()); !errors.Is(err, chrome.ErrClosed) {
		t.Errorf("start of a closed browser: %v", err)
	}
}

func TestRefusedURLs(t *testing.T) {
	b := newBrowser(t, http.NotFoundHandler(), chrome.Limits{})
	for _, url := range []string{"file:///etc/passwd", "data:text/html,x", "view-source:http://a.example/", "chrome://version",
		"javascript:1", "about:blank", "", "FILE://x/y"} {
		var load *chrome.LoadError
		if _, err := b.Context(user, password).Render(t.Context(), url); !errors.As(err, &load) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if b.Status().Starts != 0 {
		t.Error("Chromium was started for them")
	}
}

func TestCannotStart(t *testing.T) {
	t.Parallel()
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "chromium")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		// Another user has to reach it.
		for dir := filepath.Dir(path); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			os.Chmod(dir, 0o755)
		}
		return path
	}
	for _, tt := range []struct{ name, path, part string }{
		{"none", "-", "switched off"},
		{"not there", "/nonexistent/chromium", "/nonexistent/chromium"},
		{"ends", script("echo something is missing >&2; exit 1"), "something is missing"},
		{"is not tried again at once", script("echo this is process $$ >&2; exit 1"), "this is process"},
		{"says nothing", script("exit 1"), "start "},
		{"no sandbox", script("echo 'FATAL: No usable sandbox!' >&2; exit 1"), "user namespaces"},
		{"does not answer", script("exec sleep 1000"), "start "},
		{"speaks another language", script("echo no json >&4; exec sleep 1000"), "start "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := chrome.New(chrome.Options{Path: tt.path, Proxy: "127.0.0.1:9", Limits: chrome.Limits{Start: 500 * time.Millisecond}})
			defer b.Close()
			err := b.Start(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.part) {
				t.Errorf("error is %v, want %q", err, tt.part)
			}
			if again := b.Start(t.Context()); again == nil || again.Error() != err.Error() {
				t.Errorf("the second time: %v, want %v", again, err)
			}
			if s := b.Status(); s.Running || !strings.Contains(s.Reason, tt.part) || b.Available() == (s.Path == "") {
				t.Errorf("status is %+v", s)
			}
		})
	}
}

func BenchmarkStart(b *testing.B) {
	br := newBrowser(b, http.NotFoundHandler(), chrome.Limits{})
	br.Close()
	for b.Loop() {
		one := newBrowser(b, http.NotFoundHandler(), chrome.Limits{})
		if err := one.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		one.Close()
		b.StartTimer()
	}
}

const scripted = `<title>x</title><div id=root></div><script>
	for (let i = 0; i < 500; i++) { const p = document.createElement("p"); p.textContent = "Paragraph " + i; root.append(p) }</script>`

func BenchmarkPage(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", page(scripted))
	br := newBrowser(b, mux, chrome.Limits{Pages: 1 << 30})
	c := br.Context(user, password)
	open(b, c, "/")
	for b.Loop() {
		open(b, c, "/")
	}
}

func mebibytes(b *chrome.Browser) float64 { return float64(b.Status().Memory) / (1 << 20) }

// BenchmarkSixContexts reports memory with one context after it was closed, with six open, and with these closed.
func BenchmarkSixContexts(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", page(scripted))
	br := newBrowser(b, mux, chrome.Limits{Pages: 1 << 30})
	c := br.Context(user, password)
	open(b, c, "/")
	c.Close()
	before, during := mebibytes(br), 0.0
	for b.Loop() {
		var six []*chrome.Context
		for range 6 {
			six = append(six, br.Context(user, password))
			open(b, six[len(six)-1], "/")
		}
		during = mebibytes(br)
		for _, c := range six {
			c.Close()
		}
	}
	// Chromium closes contexts one after another, so another one comes behind them.
	open(b, br.Context(user, password), "/")
	b.ReportMetric(before, "before-MiB")
	b.ReportMetric(during, "six-MiB")
	b.ReportMetric(mebibytes(br), "after-MiB")
}

// BenchmarkSessions opens a page in a new context each time, and reports memory after the first and the last one.
func BenchmarkSessions(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", page(scripted))
	br := newBrowser(b, mux, chrome.Limits{Pages: 1 << 30})
	once := func() {
		c := br.Context(user, password)
		open(b, c, "/")
		c.Close()
	}
	once()
	first := mebibytes(br)
	for b.Loop() {
		once()
	}
	b.ReportMetric(first, "first-MiB")
	b.ReportMetric(mebibytes(br), "last-MiB")
}

package host_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"chorale/plugins/host"
	"chorale/sandbox"
	"chorale/toolhost/egress"
)

func TestGuestsMatchTheirManifest(t *testing.T) {
	t.Parallel()
	lines, err := os.ReadFile("testdata/MANIFEST")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if got := sha256.Sum256(b); err != nil || hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s is not what MANIFEST says (%v): run testdata/build.sh", name, err)
		}
	}
}

func compile(wasm []byte, err error) (*sandbox.Module, error) {
	if err != nil {
		return nil, err
	}
	if wasm, err = sandbox.Instrument(wasm); err != nil {
		return nil, err
	}
	return sandbox.Compile(context.Background(), wasm, sandbox.Options{})
}

// The guests live as long as the test process.
var (
	cGuest  = sync.OnceValues(func() (*sandbox.Module, error) { return compile(os.ReadFile("testdata/fetch.wasm")) })
	goGuest = sync.OnceValues(func() (*sandbox.Module, error) {
		dir, err := os.MkdirTemp("", "guest")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		name := filepath.Join(dir, "guest.wasm")
		build := exec.Command("go", "build", "-o", name, "./testdata/guest")
		build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, errors.New(string(out))
		}
		return compile(os.ReadFile(name))
	})
)

func runGuest(ctx context.Context, t *testing.T, guest func() (*sandbox.Module, error), fs *host.FS, args ...string) (string, error) {
	t.Helper()
	m, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	in, err := m.Instantiate(ctx, sandbox.Config{
		Args: append([]string{"guest"}, args...), Stdout: &out, Stderr: &out, Mounts: []sandbox.Mount{{Path: "/host", FS: fs}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	code, err := in.Run(ctx)
	if code != 0 {
		t.Errorf("%v: exit code %d: %s", args, code, &out)
	}
	return out.String(), err
}

func TestGuestInC(t *testing.T) {
	t.Parallel()
	origin, c := serve(t, egress.Options{}, echo)
	var lines, progress []string
	kv := host.NewMemStore(host.StoreLimits{})
	o := host.Options{Client: c, KV: kv, Log: func(s string) { lines = append(lines, s) }, Progress: func(m string, f float64) { progress = append(progress, m) }}
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"system calls", []string{"calls", origin + "/x"}, []string{`{"status":200,`, `GET /x [] \"\" 0`}},
		{"stdio", []string{"stdio", origin + "/y"}, []string{`POST /y [] \"1\" 1`, `POST /y [] \"2\" 1`}},
		{"denied", []string{"calls", "http://169.254.169.254/latest/meta-data"}, []string{`{"error":{"code":"denied","message":"GET http://169.254.169.254/latest/meta-data is denied: no rule allows the host`, `"rule":"GET http://169.254.169.254"}}`}},
		{"first count", []string{"count", "n"}, []string{"1\n"}},
		{"second count", []string{"count", "n"}, []string{"2\n"}},
	} {
		out, err := runGuest(t.Context(), t, cGuest, host.New(o), c.args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) || err != nil {
				t.Errorf("%s: %s (%v), want %s", c.name, out, err, want)
			}
		}
	}
	if v, err := kv.Get("n"); string(v) != "2" || err != nil || strings.Join(lines, "|") != "counted to 1|counted to 2" || len(progress) != 2 {
		t.Errorf("value %q (%v), log %q, progress %q", v, err, lines, progress)
	}
}

func TestGuestInGo(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	all.Add(2)
	origin, c := serve(t, egress.Options{}, func(w http.ResponseWriter, r *http.Request) {
		all.Done()
		all.Wait() // both requests are under way
		echo(w, r)
	})
	out, err := runGuest(t.Context(), t, goGuest, host.New(host.Options{Client: c}), origin+"/1", origin+"/2")
	if want := "200 GET /1 [1 2] \"\" 0\n200 GET /2 [1 2] \"\" 0\n[- http - log - progress] <nil>\n"; out != want || err != nil {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

// A guest that is stopped while it waits for an answer takes its request with it.
func TestGuestThatWaitsIsStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan struct{})
	origin, c := serve(t, egress.Options{}, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		close(gone)
	})
	if _, err := runGuest(ctx, t, cGuest, host.New(host.Options{Client: c}), "calls", origin); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-gone
}

func BenchmarkRequest(b *testing.B) {
	origin, c := serve(b, egress.Options{Limits: egress.Limits{Requests: -1, Bytes: -1}}, echo)
	f := open(b, host.New(host.Options{Client: c}), "http", rw)
	request := []byte(`{"url":"` + origin + `"}`)
	buf := make([]byte, 4096)
	for b.Loop() {
		f.WriteAt(request, 0)
		if _, err := f.ReadAt(buf, 0); err != nil {
			b.Fatal(err)
		}
	}
}

package kit_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chorale/plugins"
	"chorale/plugins/kit"
	"chorale/sandbox/quickjs"
)

// units is the module of an example, and manifest its manifest.
func units(t testing.TB) (wasm, manifest []byte) {
	t.Helper()
	wasm, err := os.ReadFile("../examples/units/units.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = os.ReadFile("../examples/units/units.json"); err != nil {
		t.Fatal(err)
	}
	return wasm, manifest
}

// withExamples loads units with other examples of its tool convert.
func withExamples(t testing.TB, examples string) *plugins.Plugin {
	t.Helper()
	wasm, text := units(t)
	m, err := plugins.DecodeManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	m.Tools = m.Tools[:1]
	m.Tools[0].Examples = nil
	if err := json.Unmarshal([]byte(examples), &m.Tools[0].Examples); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	s, err := plugins.NewSource("units", wasm, text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plugins.Load(t.Context(), s, plugins.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestExamples(t *testing.T) {
	t.Parallel()
	const input = `"input": {"value": 1, "from": "km", "to": "m"}`
	for _, test := range []struct{ name, example, want string }{
		{"only success is asked for", `{` + input + `}`, ""},
		{"the same JSON, written otherwise", `{` + input + `, "output": {"unit": "m", "dimension": "length", "value": 1e3}}`, ""},
		{"other JSON", `{` + input + `, "output": {"value": 1001, "unit": "m", "dimension": "length"}}`, `"value":1000,`},
		{"contains", `{` + input + `, "contains": "1000"}`, ""},
		{"does not contain", `{` + input + `, "contains": "1001"}`, `there is no "1001"`},
		{"the text", `{` + input + `, "text": "{\"value\":1000,\"unit\":\"m\",\"dimension\":\"length\"}\n"}`, ""},
		{"another text", `{` + input + `, "text": "1000 m"}`, "want 1000 m"},
		{"fails and must not", `{"input": {"value": 1, "from": "km", "to": "kg"}}`, "it fails: "},
		{"must fail and does", `{"input": {"value": 1, "from": "km", "to": "kg"}, "error": "do not convert"}`, ""},
		{"must fail in another way", `{"input": {"value": 1, "from": "km", "to": "kg"}, "error": "sing"}`, `it must fail with "sing"`},
		{"must fail and does not", `{` + input + `, "error": "no"}`, "it must fail with"},
		{"arguments that do not fit", `{"input": {"value": "1"}, "error": "arguments are wrong"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			checks, err := kit.Examples(t.Context(), withExamples(t, "["+test.example+"]"), kit.Tapes{}, nil)
			if err != nil || len(checks) != 1 {
				t.Fatalf("%d checks, %v", len(checks), err)
			}
			got := checks[0].Err
			if (got == nil) != (test.want == "") || got != nil && !strings.Contains(got.Error(), test.want) {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

func TestFaultsGiveTheGrantBack(t *testing.T) {
	t.Parallel()
	p := withExamples(t, `[{"input": {"value": 1, "from": "km", "to": "m"}}]`)
	grant := &plugins.Grant{SHA256: p.Hash()}
	if err := p.SetGrant(t.Context(), grant); err != nil {
		t.Fatal(err)
	}
	checks, err := kit.Faults(t.Context(), p, grant, kit.Tapes{})
	if err != nil || len(checks) != 4 {
		t.Fatalf("%d checks, %v", len(checks), err)
	}
	for _, c := range checks {
		if c.Err != nil || c.Note == "" {
			t.Errorf("%s: %q, %v", c.Name, c.Note, c.Err)
		}
	}
	if !p.Effective().Approved || p.Effective().Limits.TimeoutMS == 1 {
		t.Errorf("the grant is now %v", p.Effective())
	}
}

func TestBench(t *testing.T) {
	t.Parallel()
	p := withExamples(t, `[]`)
	call := plugins.Call{Tool: "convert", Input: json.RawMessage(`{"value": 1, "from": "km", "to": "m"}`)}
	m, err := kit.Bench(t.Context(), p, kit.Load{Call: call, Calls: 20})
	if err != nil || m.Calls != 20 || m.P50 <= 0 || m.P50 > m.P95 || m.P95 > m.Max || m.PerSecond <= 0 || m.Memory == 0 {
		t.Errorf("%+v, %v", m, err)
	}
	call.Input = json.RawMessage(`{}`)
	if _, err := kit.Bench(t.Context(), p, kit.Load{Call: call, Calls: 1}); err == nil || !strings.Contains(err.Error(), "value") {
		t.Errorf("a call that fails gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	call.Input = json.RawMessage(`{"value": 1, "from": "km", "to": "m"}`)
	if _, err := kit.Bench(ctx, p, kit.Load{Call: call, Calls: 1 << 40, Least: time.Hour}); err == nil {
		t.Error("a cancelled context does not end it")
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, language := range kit.Languages() {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "new")
			files, err := kit.New(folder, "hello", language)
			if err != nil {
				t.Fatal(err)
			}
			wanted := []string{"README.md", "build.sh", "hello.json"}
			if language == "js" || language == "py" {
				wanted = []string{"hello." + language}
			}
			for _, want := range wanted {
				if !slices.Contains(files, want) {
					t.Errorf("there is no %s in %v", want, files)
				}
			}
			for _, f := range files {
				text, err := os.ReadFile(filepath.Join(folder, f))
				if err != nil || strings.Contains(string(text), "{{") {
					t.Errorf("%s is not filled in: %v", f, err)
				}
			}
			if _, err := kit.New(folder, "hello", language); err == nil || !strings.Contains(err.Error(), "is not empty") && !errors.Is(err, fs.ErrExist) {
				t.Errorf("a second one in the same folder gives %v", err)
			}
		})
	}
	if _, err := kit.New(t.TempDir(), "hello", "cobol"); err == nil || !strings.Contains(err.Error(), "as, c, go, js, py, rust") {
		t.Errorf("an unknown language gives %v", err)
	}
	if _, err := kit.New(t.TempDir(), "../x", "c"); err == nil || !strings.Contains(err.Error(), "name") {
		t.Errorf("a name that is none gives %v", err)
	}
}

// TestNewBuilds is the way of an author: new, build, test. Each language needs its compiler.
// TestNewScripts: a new script passes its own examples as it is.
func TestNewScripts(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if _, err := kit.New(folder, "hello", "js"); err != nil {
		t.Fatal(err)
	}
	if _, err := kit.New(folder, "salut", "py"); err != nil { // beside the other: a folder of plugins will do
		t.Fatal(err)
	}
	engine, err := quickjs.Open(t.Context(), quickjs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	p, err := plugins.Open(t.Context(), filepath.Join(folder, "hello.js"), plugins.Options{Interpreters: map[string]plugins.Interpreter{
		plugins.EndingJavaScript: func(ctx context.Context, file string, source []byte) (plugins.Script, error) {
			return engine.Compile(ctx, file, source)
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	checks, err := kit.Examples(t.Context(), p, kit.Tapes{}, nil)
	if err != nil || len(checks) != 2 || checks[0].Err != nil || checks[1].Err != nil {
		t.Errorf("%v, %v", checks, err)
	}
	all, err := kit.List(folder)
	if err != nil || len(all) != 2 || all[0].Manifest == nil || all[1].Manifest == nil || all[1].ABI != plugins.ABIScript {
		t.Errorf("%+v, %v", all, err)
	}
	in, err := kit.Install(t.Context(), kit.InstallOptions{Folder: folder + "/plugins.d", From: filepath.Join(folder, "salut.py")})
	if err != nil || in.Manifest.Name != "salut" || in.Hash != all[1].Hash {
		t.Errorf("%+v, %v", in, err)
	}
	if _, err := kit.Install(t.Context(), kit.InstallOptions{Folder: folder + "/plugins.d", From: filepath.Join(folder, "salut.py"), SHA256: in.Hash}); err == nil || !strings.Contains(err.Error(), "plugin attach") {
		t.Errorf("a script with a digest: %v", err)
	}
}

func TestNewBuilds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		language string
		variable string
		compiler []string // that may be there, best first
	}{
		{"go", "GO", []string{"go"}},
		{"c", "CC", []string{"clang-22", "clang"}},
		{"rust", "RUSTC", []string{"rustc"}},
		{"as", "ASC", []string{"asc"}},
	} {
		t.Run(test.language, func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				t.Skip("compiles")
			}
			compiler := os.Getenv(test.variable)
			for _, c := range test.compiler {
				if _, err := exec.LookPath(c); err == nil && compiler == "" {
					compiler = c
				}
			}
			folder := filepath.Join(t.TempDir(), "new")
			if _, err := kit.New(folder, "hello", test.language); err != nil {
				t.Fatal(err)
			}
			build := exec.CommandContext(t.Context(), "./build.sh")
			build.Dir, build.Env = folder, append(os.Environ(), test.variable+"="+compiler)
			if out, err := build.CombinedOutput(); err != nil {
				missing := "the compiler for " + test.language + " does not build for WASI here"
				if test.language == "go" || slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "compilers") {
					t.Fatalf("%s: %v\n%s", missing, err, out)
				}
				t.Skip(missing)
			}
			p, err := plugins.Open(t.Context(), filepath.Join(folder, "hello.wasm"), plugins.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			checks, err := kit.Examples(t.Context(), p, kit.Tapes{}, nil)
			if err != nil || len(checks) != 2 || checks[0].Err != nil || checks[1].Err != nil {
				t.Errorf("%v, %v", checks, err)
			}
		})
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	open := func(name string) *plugins.Plugin {
		p, err := plugins.Open(t.Context(), "../examples/"+name+"/"+name+".wasm", plugins.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	weather, image := open("weather"), open("image")
	g, err := kit.Trust(weather, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := weather.SetGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if list := weather.Effective().Permissions; len(list) != 1 || list[0].Missing != "" {
		t.Errorf("%+v", list)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "a.gif"), []byte("GIF89a\x05\x00\x07\x00\x00\x00\x00;"), 0o600); err != nil {
		t.Fatal(err)
	}
	if g, err = kit.Trust(image, map[string]string{"/images": folder}); err != nil {
		t.Fatal(err)
	}
	if err := image.SetGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	r, err := image.Call(t.Context(), plugins.Call{Tool: "inspect", Input: json.RawMessage(`{"file": "a.gif"}`)})
	if err != nil || r.Failed || !strings.Contains(r.Text, `"width":5,"height":7`) {
		t.Errorf("%s, %v", r.Text, err)
	}
	if _, err := kit.Trust(image, map[string]string{"/etc": "/etc"}); err == nil || !strings.Contains(err.Error(), "/etc") {
		t.Errorf("a directory that nobody asked for gives %v", err)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	// The example of RFC 7693, appendix A, and lengths around a block, from Python's hashlib.
	for text, want := range map[string]string{
		"abc":                    "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
		"":                       "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce",
		strings.Repeat("a", 128): "fc6c71f688f43ea7d60817478808f3cac753e61571865c95adbc2d9122c943a76b92c2cb1047ef3fe7bf6e436ec1d0a99a9e5b216780bf7fed9d7ca91d3a8f3b",
		strings.Repeat("a", 129): "55e6e0eb418149a8af92fd9ddc99254781b2f522a131b4f4d984404b71a00e1167b8124d5dcddd4c6977b299392335d6edd303da6d344d74bbef2d38101b232b",
		strings.Repeat("a", 300): "a2ff3040eda405b929c2fc2fd93e8add6ac3bb5369b679bae170ac6956863ca006285f132a868000fc3fae5bc696e5d17fe3fddfb4a342876c40451184742986",
	} {
		got := kit.Blake2b512([]byte(text))
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("%d bytes: %x", len(text), got)
		}
	}
}

package main

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

const unitsPlugin = "../plugins/examples/units/units.wasm"

func TestPluginCommands(t *testing.T) {
	t.Parallel()
	wrongGrants := writeFile(t, "grants.json", `{"units": {"sha256": "abc"}}`)
	otherGrants := writeFile(t, "other.json", `{}`)
	component := writeFile(t, "component.wasm", "\x00asm\x0d\x00\x01\x00")
	cache := t.TempDir()
	for _, test := range []struct {
		name, in string
		args     []string
		code     int
		want     string // part of what is printed
	}{
		{"run", "", []string{"run", unitsPlugin, "convert", `{"value": 1, "from": "km", "to": "m"}`}, 0, `{"value":1000,`},
		{"run with arguments from standard input", `{"value": 1, "from": "km", "to": "m"}`, []string{"run", unitsPlugin, "convert", "-"}, 0, `{"value":1000,`},
		{"run without arguments", "", []string{"run", unitsPlugin, "list_units"}, 0, "mass: kg (kilogram)"},
		{"a call that fails", "", []string{"run", unitsPlugin, "convert", `{"value": 1, "from": "km", "to": "kg"}`}, exitFailure, "do not convert"},
		{"a script with files", "", []string{"run", "--in", "../plugins/GUIDE.md", "../plugins/examples/diff/diff.js", "texts", `{"old": {"file": "GUIDE.md"}, "new": {"file": "GUIDE.md"}}`}, 0, "The texts are equal."},
		{"a file that is not there", "", []string{"run", "--in", "/none", "../plugins/examples/diff/diff.js", "texts"}, exitFailure, "--in: "},
		{"a script in Python", "", []string{"test", "../plugins/examples/dates/dates.py"}, 0, "checks passed"},
		{"what a script is", "", []string{"inspect", "../plugins/examples/dates/dates.py"}, 0, "module: script"},
		{"arguments that do not fit", "", []string{"run", unitsPlugin, "convert", `{"value": "x"}`}, exitFailure, "value"},
		{"a tool that is not there", "", []string{"run", unitsPlugin, "pray"}, exitFailure, "convert, list_units"},
		{"no tool", "", []string{"run", unitsPlugin}, exitUsage, "takes FILE TOOL [JSON|-]"},
		{"a word too many", "", []string{"run", unitsPlugin, "convert", "{}", "please"}, exitUsage, `"please"`},
		{"test", "", []string{"test", unitsPlugin}, 0, "18 checks passed"},
		{"inspect", "", []string{"inspect", unitsPlugin}, 0, "module: command"},
		{"bench", "", []string{"bench", "--calls", "5", "--time", "0s", unitsPlugin}, 0, "convert: 5 calls"},
		{"bench with a tape", "", []string{"bench", "--calls", "5", "--time", "0s", "../plugins/examples/weather/weather.wasm"}, 0, "forecast: 5 calls"},
		{"bench without its tape", "", []string{"bench", "--live", "../plugins/examples/weather/weather.wasm"}, exitFailure, "the call fails"},
		{"a component", "", []string{"inspect", component}, exitFailure, "wasm32-wasip1"},
		{"grants that are wrong", "", []string{"inspect", "--grants", wrongGrants, unitsPlugin}, exitFailure, "units.sha256"},
		{"grants without the plugin", "", []string{"inspect", "--grants", otherGrants, unitsPlugin}, exitFailure, `grants nothing to a plugin "units"`},
		{"grants and trust", "", []string{"inspect", "--trust", "--grants", otherGrants, unitsPlugin}, exitFailure, "neither --trust nor --mount"},
		{"a mount that nobody asked for", "", []string{"inspect", "--mount", "/data=.", unitsPlugin}, exitFailure, "asks for no directory /data"},
		{"a mount without a directory", "", []string{"inspect", "--mount", "/data", unitsPlugin}, exitFailure, "PATH=DIRECTORY"},
		{"record and replay", "", []string{"run", "--record", "a", "--replay", "b", unitsPlugin, "convert"}, exitFailure, "exclude each other"},
		{"an unknown language", "", []string{"new", "--lang", "cobol", "x"}, exitUsage, "as, c, go, js, py, rust"},
		{"a public key that is none", "", []string{"verify", "--key", "/none.pub", unitsPlugin}, exitFailure, "the line of a public key"},
		{"a secret key that is none", "", []string{"sign", "--key", wrongGrants, unitsPlugin}, exitFailure, "--new-key"},
		{"a URL without a digest", "", []string{"install", "https://127.0.0.1/x.wasm"}, exitFailure, "sha256 is missing"},
		{"nobody who must have signed", "", []string{"verify", unitsPlugin}, exitFailure, "name who must have signed"},
		{"a root without an identity", "", []string{"install", "--sigstore-root", wrongGrants, unitsPlugin}, exitFailure, "anybody can sign"},
		{"an identity without a root", "", []string{"verify", "--sigstore-issuer", "https://x", "--sigstore-subject", "y", unitsPlugin}, exitFailure, "needed together"},
		{"a root that is none", "", []string{"verify", "--sigstore-root", wrongGrants, "--sigstore-issuer", "https://x", "--sigstore-subject", "y", unitsPlugin}, exitFailure, "mediaType"},
		{"a user without a password", "", []string{"install", "--registry-user", "me", unitsPlugin}, exitFailure, "--registry-password-file are needed together"},
		{"a rule that is none", "", []string{"install", "--allow", "ftp://x", unitsPlugin}, exitFailure, "--allow"},
		{"a registry that is not listed", "", []string{"push", unitsPlugin, "oci://127.0.0.1:1/units"}, exitFailure, "is denied"},
		{"plain http", "", []string{"install", "http://127.0.0.1:1/units.wasm"}, exitFailure, "https URLs and oci://"},
		{"a word for list", "", []string{"list", "plugins.d"}, exitUsage, `"plugins.d"`},
		{"a folder that is not there", "", []string{"list", "--dir", "/none"}, exitFailure, "/none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"plugin"}, test.args...)
			switch test.args[0] {
			case "run", "test", "inspect", "bench":
				args = append([]string{"plugin", test.args[0], "--cache-dir", cache}, test.args[1:]...)
			}
			code, stdout, stderr := execute(test.in, args...)
			if code != test.code || !strings.Contains(stdout+stderr, test.want) {
				t.Errorf("exit %d, stdout %q, stderr %q; want %d and %q", code, stdout, stderr, test.code, test.want)
			}
		})
	}
}

// TestPluginKeyIsNotOverwritten: nobody could sign for the old key again.
func TestPluginKeyIsNotOverwritten(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if code, _, stderr := execute("", "plugin", "sign", "--key", key, "--new-key"); code != 0 {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	if fi, err := os.Stat(key); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("the secret key's file: %v, %v", fi, err)
	}
	if code, _, stderr := execute("", "plugin", "sign", "--key", key, "--new-key"); code != exitFailure || !strings.Contains(stderr, "exists") {
		t.Errorf("a second key: exit %d, %q", code, stderr)
	}
}

// TestPluginGolden writes golden results, and is stopped by others.
func TestPluginGolden(t *testing.T) {
	t.Parallel()
	folder, cache := t.TempDir(), t.TempDir()
	putPlugin(t, folder, "units", `, "text": "force: N (newton) lbf (pound-force)"`, "")
	run := func(args ...string) (int, string) {
		code, stdout, stderr := execute("", append([]string{"plugin", "test", "--cache-dir", cache, "--faults=false", filepath.Join(folder, "units.wasm")}, args...)...)
		return code, stdout + stderr
	}
	golden := filepath.Join(folder, "units.golden.json")
	if code, out := run("--update"); code != 0 || !strings.Contains(out, golden+": 1 results") {
		t.Fatalf("exit %d, %s", code, out)
	}
	if code, out := run(); code != 0 {
		t.Errorf("exit %d, %s", code, out)
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden, []byte(strings.Replace(string(text), "newton", "dyne", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := run(); code != exitFailure || !strings.Contains(out, "golden text: got  force: N (newton)") {
		t.Errorf("with another result: exit %d, %s", code, out)
	}
	if err := os.WriteFile(golden, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := run(); code != exitFailure || !strings.Contains(out, golden+": golden results: ") {
		t.Errorf("with a file that is none: exit %d, %s", code, out)
	}
}

// TestPluginRegistry pushes a plugin to a registry without TLS, which must be listed, and installs it from there.
func TestPluginRegistry(t *testing.T) {
	t.Parallel()
	hub := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(hub.Close)
	ref, folder := "oci://"+hub.Listener.Addr().String()+"/tools/units:1.0.0", filepath.Join(t.TempDir(), "plugins.d")
	code, pinned, stderr := execute("", "plugin", "push", "--allow", hub.URL, unitsPlugin, ref)
	if code != 0 || !strings.Contains(pinned, "/tools/units@sha256:") {
		t.Fatalf("exit %d, %q, %s", code, pinned, stderr)
	}
	for _, from := range []string{ref, strings.TrimSpace(pinned)} {
		code, stdout, stderr := execute("", "plugin", "install", "--allow", hub.URL, "--dir", folder, from)
		if code != 0 || !strings.Contains(stdout, "units 1.0.0, sha256 ") || !strings.Contains(stdout, "from "+pinned) {
			t.Errorf("%s: exit %d, %q, %s", from, code, stdout, stderr)
		}
	}
	if code, _, stderr := execute("", "plugin", "install", "--dir", folder, ref); code != exitFailure || !strings.Contains(stderr, `to allow it, add the rule`) {
		t.Errorf("not listed: exit %d, %s", code, stderr)
	}
}

// TestPluginGuide does what plugins/GUIDE.md says, as a reader would: blocks of code that name a file become that file,
// and commands must print what stands below them.
func TestPluginGuide(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the guide is written for a shell")
	}
	guide, err := os.ReadFile("../plugins/GUIDE.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs("../plugins/examples")
	if err != nil {
		t.Fatal(err)
	}
	bin := command(t).Path
	r := &reader{t: t, dir: t.TempDir(), env: append(os.Environ(), "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"), "EXAMPLES="+examples)}
	block := regexp.MustCompile("(?ms)^```(\\S+) ?(\\S*)\n(.*?)^```$")
	for _, m := range block.FindAllStringSubmatch(string(guide), -1) {
		language, file, text := m[1], m[2], m[3]
		switch {
		case file != "":
			if err := os.WriteFile(filepath.Join(r.dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		case language == "console":
			r.console(text)
		}
	}
	if r.commands < 15 {
		t.Errorf("only %d commands were found in the guide", r.commands)
	}
}

// A reader follows a guide.
type reader struct {
	t        *testing.T
	dir      string
	env      []string
	commands int
}

// console runs the lines that begin with $ and compares what they print with the lines below.
func (r *reader) console(text string) {
	r.t.Helper()
	for _, part := range strings.Split("\n"+text, "\n$ ")[1:] {
		line, want, _ := strings.Cut(part, "\n")
		r.commands++
		if folder, ok := strings.CutPrefix(line, "cd "); ok {
			r.dir = filepath.Join(r.dir, folder)
			continue
		}
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir, cmd.Env = r.dir, r.env
		got, err := cmd.CombinedOutput()
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(want)), "…", ".*")
		if err != nil || !regexp.MustCompile(`(?s)^`+pattern+`$`).Match([]byte(strings.TrimSpace(string(got)))) {
			r.t.Fatalf("$ %s\n%s\n%v; the guide says\n%s", line, got, err, want)
		}
	}
}

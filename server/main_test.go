package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// execute runs one command line with the given standard input.
func execute(in string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"chorale"}, args...), stdio{strings.NewReader(in), &out, &errs})
	return code, out.String(), errs.String()
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsageErrorsExitWithTwo(t *testing.T) {
	t.Parallel()
	nested := writeFile(t, "nested.yaml", "listen:\n  port: 1\n")
	unknown := writeFile(t, "unknown.yaml", "listen: 127.0.0.1:0\nlissten: x\n")
	broken := writeFile(t, "broken.yaml", "listen: [\n")
	twice := writeFile(t, "twice.yaml", "threads: 1\nthreads: 2\n")
	wrong := writeFile(t, "wrong.yaml", "threads: many\n")
	tests := []struct {
		name string
		args []string
		want string // part of the message
	}{
		{"unknown command", []string{"serv"}, `did you mean "serve"`},
		{"unknown subcommand", []string{"tokens", "encrypt"}, "encrypt"},
		{"argument that nobody takes", []string{"version", "please"}, `"please"`},
		{"unknown flag", []string{"serve", "--port", "1"}, "port"},
		{"number that is none", []string{"serve", "--threads", "x"}, "threads"},
		{"negative number", []string{"serve", "--threads", "-1"}, "0 or more"},
		{"word outside of its list", []string{"tokens", "encode", "--special", "some"}, "all or none"},
		{"log level", []string{"serve", "--log-level", "loud"}, "debug, info, warn, error"},
		{"missing flag", []string{"logits"}, "tokens"},
		{"form of a function", []string{"chat", "--function", "f"}, "get_weather(city"},
		{"no such file", []string{"serve", "--config", "/nowhere.yaml"}, "/nowhere.yaml"},
		{"unknown key", []string{"serve", "--config", unknown}, `unknown key "lissten"`},
		{"keys below a key", []string{"serve", "--config", nested}, `"listen"`},
		{"not YAML", []string{"serve", "--config", broken}, "broken.yaml"},
		{"key twice", []string{"serve", "--config", twice}, "threads"},
		{"wrong value in the file", []string{"serve", "--config", wrong}, `key "threads" of ` + wrong},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := execute("", test.args...)
			if code != exitUsage || !strings.Contains(stderr, test.want) {
				t.Errorf("exit %d, stderr %q; want %d and %q", code, stderr, exitUsage, test.want)
			}
			if stdout != "" {
				t.Errorf("stdout %q, want nothing", stdout)
			}
		})
	}
}

func TestFailuresExitWithOne(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		args     []string
		want     string
	}{
		{"ids that are not JSON", "1,2", []string{"tokens", "decode"}, "JSON array"},
		{"two arrays", "[1] [2]", []string{"tokens", "decode"}, "at byte 5"},
		{"id beyond the table", "[1,201089]", []string{"tokens", "decode"}, "element 1 is 201089"},
		{"negative id", "[-1]", []string{"tokens", "decode"}, "element 0 is -1"},
		{"id that is no integer", "[1.5]", []string{"tokens", "decode"}, "integers"},
		{"model that is not there", "", []string{"tokens", "encode", "--model", "/nowhere"}, "/nowhere"},
		{"package that is not there", "", []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--python-package", "/nowhere/p.zip"}, "/nowhere/p.zip"},
		{"case that is not JSON", "{", []string{"harmony", "render"}, "case 1"},
		{"case that cannot be rendered", "{}", []string{"harmony", "render"}, "1 cases"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if code, _, stderr := execute(test.in, test.args...); code != exitFailure || !strings.Contains(stderr, test.want) {
				t.Errorf("exit %d, stderr %q; want %d and %q", code, stderr, exitFailure, test.want)
			}
		})
	}
}

func TestSettingsComeFromFlagThenEnvironmentThenFile(t *testing.T) {
	fromFlag, fromEnv, fromFile := t.TempDir(), t.TempDir(), t.TempDir()
	file := writeFile(t, "chorale.yaml", "data-dir: "+fromFile+"\n")
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	steps := []struct {
		name, env, want string
		args            []string
	}{
		{"default", "", filepath.Join(os.Getenv("XDG_STATE_HOME"), "chorale"), nil},
		{"file", "", fromFile, []string{"--config", file}},
		{"environment over file", fromEnv, fromEnv, []string{"--config", file}},
		{"flag over both", fromEnv, fromFlag, []string{"--config", file, "--data-dir", fromFlag}},
	}
	for _, s := range steps {
		if s.env != "" {
			t.Setenv("CHORALE_DATA_DIR", s.env)
		}
		_, stdout, stderr := execute("", append([]string{"doctor", "--python=false"}, s.args...)...)
		if !strings.Contains(stdout, s.want+" is writable") {
			t.Errorf("%s: want %s in\n%s%s", s.name, s.want, stdout, stderr)
		}
	}
}

func TestEveryKeyOfTheFileIsAFlagOfServe(t *testing.T) {
	t.Parallel()
	cfg := newConfig()
	var flags []string
	for _, f := range newServe(cfg, stdio{}).Flags {
		flags = append(flags, f.Names()[0])
	}
	for key := range cfg.known {
		if !slices.Contains(flags, key) {
			t.Errorf("key %s is no flag", key)
		}
	}
}

func TestTokensThereAndBack(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, special, ids string }{
		{"words", "Hello world", "none", "[13225,2375]"},
		{"nothing", "", "none", "[]"},
		{"a last newline counts", "Hello world\n", "none", ""},
		{"special as text", "<|end|>", "none", ""},
		{"special as a token", "<|end|>", "all", "[200007]"},
		{"the id beyond the model's rows", "<|endofprompt|>", "all", ""},
		{"bytes that are not UTF-8", "a\xff\xfeb", "none", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, ids, stderr := execute(test.text, "tokens", "encode", "--special", test.special)
			if code != 0 || test.ids != "" && strings.TrimSpace(ids) != test.ids {
				t.Fatalf("encode: exit %d, %q, %s; want %s", code, ids, stderr, test.ids)
			}
			if code, text, stderr := execute(ids, "tokens", "decode"); code != 0 || text != test.text {
				t.Errorf("decode %s: exit %d, %q, %s; want %q", ids, code, text, stderr, test.text)
			}
		})
	}
	if _, text, _ := execute("[200006,13225,200007]", "tokens", "decode", "--special", "none"); text != "Hello" {
		t.Errorf("decode without special tokens: %q, want Hello", text)
	}
}

func TestHarmonyConvertsEveryCaseOfTheInput(t *testing.T) {
	t.Parallel()
	const render = `{"conversation":{"messages":[{"role":"user","content":"Hi"}]}}`
	code, out, stderr := execute(render+"\n{\"mode\":\"upside down\"}\n"+render, "harmony", "render")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitFailure || len(lines) != 3 || lines[0] != lines[2] || !strings.HasPrefix(lines[1], `{"error":`) {
		t.Fatalf("exit %d, stderr %s, lines %q", code, stderr, lines)
	}
	var rendered struct {
		Text   string
		Tokens []int32
	}
	if err := json.Unmarshal([]byte(lines[0]), &rendered); err != nil || rendered.Text != "<|start|>user<|message|>Hi<|end|><|start|>assistant" {
		t.Errorf("rendered %+v, %v", rendered, err)
	}
	code, out, stderr = execute(`{"role":"assistant","text":"<|channel|>final<|message|>Hi<|return|>"}`, "harmony", "parse")
	var parsed struct {
		Messages []struct{ Role, Channel string }
		State    string
	}
	if err := json.Unmarshal([]byte(out), &parsed); code != 0 || err != nil || len(parsed.Messages) != 1 || parsed.Messages[0].Channel != "final" {
		t.Errorf("exit %d, stderr %s, parsed %s, %v", code, stderr, out, err)
	}
}

func TestHelpIsForStrangers(t *testing.T) {
	t.Parallel()
	_, root, _ := execute("", "--help")
	for _, command := range strings.Fields("serve chat tokens harmony logits doctor version completion") {
		if !strings.Contains(root, "\n   "+command) {
			t.Errorf("chorale --help does not list %s:\n%s", command, root)
		}
		if command == "version" || command == "completion" {
			continue
		}
		code, help, stderr := execute("", command, "--help")
		if code != 0 || stderr != "" || !strings.Contains(help, "\n   ") || !strings.Contains(help, "chorale "+command) {
			t.Errorf("chorale %s --help has no example: exit %d\n%s%s", command, code, help, stderr)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "pwsh"} {
		if code, out, stderr := execute("", "completion", shell); code != 0 || len(out) < 100 {
			t.Errorf("%s: exit %d, %d bytes, %s", shell, code, len(out), stderr)
		}
	}
}

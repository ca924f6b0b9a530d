package main

import (
	"strings"
	"testing"

	"chorale/plugins"
)

const grantsHash = "4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c4f0c"

func TestGrantsInYAML(t *testing.T) {
	t.Parallel()
	const text = `# what plugins get
weather:
  sha256: ` + grantsHash + `
  net:
    - GET https://api.example.com/v1/**
  secrets: {key: account}
  kv_bytes: 65_536
  config: {units: metric, days: 3, exact: true}
  limits:
    timeout_ms: 0x100
`
	check := func(name string, g plugins.Grants, err error) {
		t.Helper()
		w := g["weather"]
		if err != nil || len(g) != 1 || w.SHA256 != grantsHash || len(w.Net) != 1 || w.Secrets["key"] != "account" || w.KVBytes != 65536 ||
			w.Limits.TimeoutMS != 256 || string(w.Config) != `{"units":"metric","days":3,"exact":true}` {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
	g, err := grantsDecoder("grants.yaml", "")([]byte(text))
	check("a file", g, err)
	inConfig := "listen: 127.0.0.1:8000\nplugin-grants:\n  " + strings.ReplaceAll(text, "\n", "\n  ")
	g, err = grantsDecoder("chorale.yaml", "chorale.yaml")([]byte(inConfig))
	check("the configuration", g, err)
	for name, text := range map[string]string{"empty": "", "a comment": "# nothing", "another key": "listen: x"} {
		if g, err := grantsDecoder("c.yaml", "c.yaml")([]byte(text)); err != nil || len(g) != 0 {
			t.Errorf("%s: %v, %v", name, g, err)
		}
	}
	if _, err := grantsDecoder("grants.json", "c.yaml")([]byte(text)); err == nil || !strings.Contains(err.Error(), "invalid JSON") {
		t.Errorf("YAML in a JSON file: %v", err)
	}
}

func TestGrantsInYAMLErrors(t *testing.T) {
	t.Parallel()
	const ok = "weather:\n  sha256: " + grantsHash + "\n"
	for _, test := range []struct{ name, text, want string }{
		{"no YAML", "weather: [", "plugin grants: "},
		{"a list", "- weather", "is an array, want an object"},
		{"an unknown key", ok + "  network: []\n", "line 3: plugin grants: weather.network: is unknown here; known are sha256, net"},
		{"a key twice", ok + "  kv_bytes: 1\n  net: []\n  kv_bytes: 2\n", "line 5: plugin grants: weather.kv_bytes: is there twice"},
		{"a plugin twice", ok + ok, "line 3: plugin grants: weather: is there twice"},
		{"a hash that is a number", "weather:\n  sha256: 1234\n", "line 2: plugin grants: weather.sha256: is 1234, want a string"},
		{"no hash", "# first\nweather:\n  net: []\n", "line 2: plugin grants: weather.sha256: "},
		{"a rule", ok + "  net:\n    - GET https://a.example\n    - b.example\n", "line 5: plugin grants: weather.net[1]: "},
		{"a limit", ok + "  limits:\n    queue: -1\n", "line 4: plugin grants: weather.limits.queue: is -1"},
		{"a folder", ok + "  fs:\n    /data.d: data\n", "line 4: plugin grants: weather.fs./data.d: "},
		{"a fraction", ok + "  kv_bytes: 1.5\n", "line 3: plugin grants: weather.kv_bytes: is 1.5, want a whole number"},
		{"no number", ok + "  kv_bytes: .nan\n", "line 3: "},
		{"an alias", ok + "  env: &e {A: b}\nother: *e\n", "line 4: \"e\": write the value again"},
		{"a merge", ok + "  <<: {net: []}\n", "line 3: the key \"<<\" must be a string"},
		{"a date", ok + "  env:\n    DAY: 2026-11-23\n", "line 4: "},
		{"a key that is a number", ok + "  env:\n    1: one\n", "line 4: the key \"1\" must be a string"},
	} {
		if g, err := grantsDecoder("grants.yml", "")([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; want %q", test.name, g, err, test.want)
		}
	}
}

func FuzzGrantsInYAML(f *testing.F) {
	f.Add("weather:\n  sha256: " + grantsHash + "\n  net: [x]\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		if g, err := yamlGrants([]byte(text), ""); err != nil && g != nil {
			t.Errorf("%v beside %v", g, err)
		}
	})
}

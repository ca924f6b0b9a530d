package plugins_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"chorale/plugins"
	"chorale/toolhost/egress"
)

func TestDecodeGrantsErrors(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0a", 32)
	with := func(members string) string { return fmt.Sprintf(`{"weather": {"sha256": %q, %s}}`, hash, members) }
	if g, err := plugins.DecodeGrants([]byte(with(`"net": ["GET https://a.example/**"], "limits": {"queue": 1}`))); err != nil || g["weather"].Limits.Queue != 1 {
		t.Errorf("got %+v, %v", g, err)
	}
	for _, c := range []struct{ name, grants, want string }{
		{"array", `[]`, "is an array, want an object"},
		{"no hash", `{"weather": {}}`, `weather.sha256: "" is no SHA-256`},
		{"hash in capitals", `{"weather": {"sha256": "` + strings.Repeat("AB", 32) + `"}}`, "weather.sha256"},
		{"any hash", `{"weather": {"sha256": "*"}}`, "weather.sha256"},
		{"plugin twice", `{"a": {"sha256": "` + hash + `"}, "a": {"sha256": "` + hash + `"}}`, "a: is there twice"},
		{"unknown key", with(`"network": []`), "weather.network: is unknown here; known are sha256, net"},
		{"wrong type", with(`"net": "https://a.example"`), "weather.net: is \"https://a.example\", want an array"},
		{"rule", with(`"net": ["a.example"]`), "weather.net[0]: "},
		{"relative directory", with(`"fs": {"/data": "data"}`), "weather.fs./data: "},
		{"zero byte", with(`"env": {"A": "\u0000"}`), "weather.env.A: "},
		{"kv", with(`"kv_bytes": -1`), "weather.kv_bytes: is -1"},
		{"limit", with(`"limits": {"queue": -1}`), "weather.limits.queue: is -1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if g, err := plugins.DecodeGrants([]byte(c.grants)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want %q", g, err, c.want)
			}
		})
	}
}

// asking is a manifest that asks for everything, with the URL for net.
func asking(url string, tools ...string) *plugins.Manifest {
	m := manifest(tools...)
	_, host, _ := strings.Cut(url, "://")
	host, _, _ = strings.Cut(host, "/")
	m.Permissions = plugins.Permissions{
		Net:     []plugins.NetPermission{{URL: url, Methods: []string{"GET", "POST"}, Reason: "asks there"}},
		Secrets: []plugins.SecretPermission{{Name: "key", Host: host, Header: "Authorization", Format: "Bearer {secret}", Reason: "has an account"}},
		KV:      &plugins.KVPermission{Bytes: 1000, Reason: "counts"},
		FS: []plugins.FSPermission{
			{Path: "/data", Reason: "reads"}, {Path: "/work", Access: "write", Reason: "writes"},
		},
		Env: []plugins.EnvPermission{{Name: "TZ", Reason: "is there"}, {Name: "LANG", Reason: "speaks"}},
	}
	m.Config = json.RawMessage(`{"type": "object", "properties": {"units": {"enum": ["metric", "imperial"]}, "n": {"type": "integer"}}}`)
	return m
}

// What a plugin has is what it asks for and is granted, and what is missing is said so that it can be copied.
func TestEffective(t *testing.T) {
	t.Parallel()
	s := source(t, "program", asking("https://api.example.com/v1/**", "self"))
	dir := t.TempDir()
	for _, c := range []struct {
		name    string
		grant   *plugins.Grant
		granted string // of the kinds, "-" for nothing
		missing string
	}{
		{"no grant", nil, "-|-|-|-|-|-|-|-", `"p.net" to ["GET,POST https://api.example.com/v1/**"]`},
		{"other content", &plugins.Grant{SHA256: strings.Repeat("0", 64), Env: map[string]string{"TZ": "UTC"}}, "-|-|-|-|-|-|-|-", `"p.env" to {"TZ":"VALUE"}`},
		{"nothing of it", &plugins.Grant{SHA256: s.Hash()}, "-|-|-|-|-|-|-|-", `"p.kv_bytes" to 1000`},
		{"more than it asks for", &plugins.Grant{
			SHA256: s.Hash(), Net: []string{"https://*.example.com"}, Secrets: map[string]string{"key": "account", "other": "account"}, KVBytes: 5000,
			FS: map[string]string{"/data": dir, "/etc": "/etc", "/work": dir}, Env: map[string]string{"TZ": "UTC", "LANG": "C", "PATH": "/"},
			Config: json.RawMessage(`{"units": "metric", "n": 3}`),
		}, "GET,POST https://api.example.com/v1/**|the host's account|1000 bytes|" + dir + " to read|" + dir + " to write|TZ|LANG|n, units", ""},
		{"less than it asks for", &plugins.Grant{SHA256: s.Hash(), Net: []string{"GET https://api.example.com/v1/now"}, KVBytes: 10},
			"GET https://api.example.com/v1/now|-|10 bytes|-|-|-|-|-", `"p.kv_bytes" to 1000`},
		{"something else", &plugins.Grant{SHA256: s.Hash(), Net: []string{"https://*.com/v1/now"}},
			"what the rules of the grant allow of it|-|-|-|-|-|-|-", `"p.net"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := load(t, s, plugins.Options{Grant: c.grant, Secrets: func(string) (string, bool) { return "canary-value", true }})
			e := p.Effective()
			var granted []string
			for _, p := range e.Permissions {
				if p.Granted == "" {
					p.Granted = "-"
				}
				granted = append(granted, p.Granted)
			}
			if got := strings.Join(granted, "|"); got != c.granted {
				t.Errorf("got  %s\nwant %s", got, c.granted)
			}
			text := e.String()
			if !strings.Contains(text, c.missing) || c.missing == "" && strings.Contains(text, "to grant it") {
				t.Errorf("got %s\nwant %q in it", text, c.missing)
			}
			for _, want := range []string{"asks there", "has an account", "counts", "reads", "speaks"} {
				if !strings.Contains(text, want) {
					t.Errorf("the reason %q is missing in %s", want, text)
				}
			}
			if strings.Contains(text, "canary") {
				t.Errorf("a secret is in %s", text)
			}
		})
	}
}

func TestGrantErrors(t *testing.T) {
	t.Parallel()
	s := source(t, "program", asking("https://api.example.com/v1/**", "self"))
	p := load(t, s, plugins.Options{Secrets: func(name string) (string, bool) { return "a", name == "short" }})
	for _, c := range []struct {
		name  string
		grant plugins.Grant
		want  string
	}{
		{"config that does not fit", plugins.Grant{Config: json.RawMessage(`{"units": 1}`)}, "grant.config: does not fit the plugin's config_schema: units"},
		{"config key that is no file", plugins.Grant{Config: json.RawMessage(`{"../x": 1}`)}, `the key "../x"`},
		{"secret that is not there", plugins.Grant{Secrets: map[string]string{"key": "none"}}, `secrets.key: the host has no secret "none"`},
		{"secret that is none", plugins.Grant{Secrets: map[string]string{"key": "short"}}, "value: 1 bytes"},
		{"directory that is not there", plugins.Grant{FS: map[string]string{"/data": "/nowhere/at/all"}}, "grant.fs./data"},
		{"rule that is none", plugins.Grant{Net: []string{"nonsense"}}, "net[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.grant.SHA256 = s.Hash()
			if err := p.SetGrant(t.Context(), &c.grant); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			works(t, p, "self", `{}`, "2 p self") // as before
		})
	}
}

// Limits are what is asked for within the ceilings, which a grant may move.
func TestEffectiveLimits(t *testing.T) {
	t.Parallel()
	m := manifest("self")
	m.Limits = plugins.Limits{MemoryBytes: 1 << 30, TimeoutMS: 20, Queue: 5}
	s := source(t, "program", m)
	got := load(t, s, plugins.Options{}).Effective().Limits
	if got.MemoryBytes != 256<<20 || got.TimeoutMS != 20 || got.Queue != 5 || got.Concurrency != 8 || got.OutputBytes != 1<<20 {
		t.Errorf("without a grant: %+v", got)
	}
	p := load(t, s, plugins.Options{
		Ceilings: plugins.Limits{Concurrency: 2, TimeoutMS: 10},
		Grant:    &plugins.Grant{SHA256: s.Hash(), Limits: plugins.Limits{MemoryBytes: 512 << 20, Queue: 1}},
	})
	if got := p.Effective().Limits; got.MemoryBytes != 512<<20 || got.TimeoutMS != 10 || got.Queue != 1 || got.Concurrency != 2 {
		t.Errorf("with a grant: %+v", got)
	}
}

// Everything that was granted is there, and everything else is not.
func TestGranted(t *testing.T) {
	t.Parallel()
	data, work, outside := t.TempDir(), t.TempDir(), t.TempDir()
	for name, content := range map[string]string{data + "/a.txt": "content", outside + "/secret": "not for plugins"} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{data + "/link": outside + "/secret", data + "/dir": outside} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	s := source(t, "program", asking("https://api.example.com/", "self", "show", "write", "visit", "list"))
	grant := &plugins.Grant{
		SHA256: s.Hash(), KVBytes: 500, FS: map[string]string{"/data": data, "/work": work}, Env: map[string]string{"TZ": "UTC", "PATH": "/"},
		Config: json.RawMessage(`{"units": "metric", "n": 3}`),
	}
	p := load(t, s, plugins.Options{Grant: grant})
	works(t, p, "self", `{}`, "2 p self TZ=UTC")
	works(t, p, "show", `{"path":"/config/units"}`, "metric")
	works(t, p, "show", `{"path":"/config/n"}`, "3")
	works(t, p, "show", `{"path":"/data/a.txt"}`, "content")
	works(t, p, "write", `{"path":"/work/b.txt"}`, "wrote\n")
	if b, err := os.ReadFile(filepath.Join(work, "b.txt")); err != nil || string(b) != "written" {
		t.Errorf("the written file: %q, %v", b, err)
	}
	for _, want := range []string{"1", "2", "3"} {
		works(t, p, "visit", `{}`, want)
	}
	fails(t, p, "write", `{"path":"/data/b.txt"}`, "Read-only")
	fails(t, p, "write", `{"path":"/config/units"}`, "Read-only")
	for _, path := range []string{"/data/link", "/data/dir/secret", "/data/../secret", "/work/../../etc/passwd"} {
		if r := call(t, p, "show", fmt.Sprintf(`{"path":%q}`, path)); !r.Failed || strings.Contains(r.Text, "not for plugins") {
			t.Errorf("%s: got %q", path, r.Text)
		}
	}
	if err := p.SetGrant(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	works(t, p, "self", `{}`, "2 p self")
	fails(t, p, "show", `{"path":"/data/a.txt"}`, "/data/a.txt")
	fails(t, p, "show", `{"path":"/config/units"}`, "/config/units")
	fails(t, p, "visit", `{}`, "/host/kv/visits")
}

// backend is a server whose every request is counted.
func backend(t *testing.T) (url string, requests *atomic.Int64, auth *atomic.Value) {
	t.Helper()
	requests, auth = &atomic.Int64{}, &atomic.Value{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		auth.Store(r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/v1/away":
			http.Redirect(w, r, "/v2/other", http.StatusFound)
		case "/v1/mirror":
			fmt.Fprint(w, r.Header.Get("Authorization"))
		default:
			fmt.Fprint(w, "it is sunny")
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, requests, auth
}

const canary = "canary-4f0cb1c2"

func secrets(name string) (string, bool) { return canary, name == "account" }

// Requests follow the rules of manifest and grant, also behind redirects; secrets reach the server and nobody else.
func TestRequests(t *testing.T) {
	t.Parallel()
	url, requests, auth := backend(t)
	request := func(path string) string { return fmt.Sprintf(`{"url":%q}`, url+path) }
	for _, module := range []string{"program", "extism"} {
		t.Run(module, func(t *testing.T) {
			s := source(t, module, asking(url+"/v1/**", "http"))
			var seen []egress.Record
			o := plugins.Options{Secrets: secrets, Record: func(plugin string, r egress.Record) {
				if plugin != "p" {
					t.Errorf("a request of %q", plugin)
				}
				seen = append(seen, r)
			}}
			p := load(t, s, o)
			denied := func(path string, want ...string) {
				t.Helper()
				before := requests.Load()
				r := call(t, p, "http", request(path))
				for _, w := range append(want, "denied") {
					if !strings.Contains(r.Text, w) {
						t.Errorf("%s: got %q, want %q in it", path, r.Text, w)
					}
				}
				if requests.Load() != before {
					t.Errorf("%s: the request was made", path)
				}
			}
			host := strings.TrimPrefix(url, "http://")
			denied("/v1/now", "grant for plugin p")
			grant := plugins.Grant{SHA256: s.Hash(), Net: []string{"GET " + url + "/v1/**"}, Secrets: map[string]string{"key": "account"}}
			if err := p.SetGrant(t.Context(), &grant); err != nil {
				t.Fatal(err)
			}
			r := call(t, p, "http", request("/v1/now"))
			if r.Failed || !strings.Contains(r.Text, "it is sunny") {
				t.Errorf("got %+v", r)
			}
			if got := auth.Load(); got != "Bearer "+canary {
				t.Errorf("the server got %q", got)
			}
			r = call(t, p, "http", request("/v1/mirror"))
			if r.Failed || strings.Contains(r.Text+r.Log, canary) {
				t.Errorf("the secret came back: %+v", r)
			}
			denied("/v2/other", "permissions.net of the manifest of plugin p")
			r = call(t, p, "http", request("/v1/away"))
			if !strings.Contains(r.Text, "denied") || strings.Contains(r.Text, "sunny") {
				t.Errorf("a redirect out of the rules: %q", r.Text)
			}
			if r := call(t, p, "http", fmt.Sprintf(`{"url":"http://user@%s/v1/now"}`, host)); strings.Contains(r.Text, "sunny") {
				t.Errorf("a URL with a user: %q", r.Text)
			}
			if len(seen) < 4 {
				t.Errorf("%d requests were recorded", len(seen))
			}
			if text := fmt.Sprintf("%+v %+v", seen, p.Effective()); strings.Contains(text, canary) {
				t.Error("the secret is in a record")
			}
		})
	}
}

func TestTell(t *testing.T) {
	t.Parallel()
	p := load(t, source(t, "program", manifest("tell")), plugins.Options{})
	var told string
	r, err := p.Call(t.Context(), plugins.Call{Tool: "tell", Progress: func(m string, f float64) { told += fmt.Sprint(m, f) }})
	if err != nil || r.Failed || r.Log != "a line" || told != "half way0.5" {
		t.Errorf("got %+v, %v, told %q", r, err, told)
	}
}

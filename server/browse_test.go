package main

import (
	"bytes"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// site serves two pages on loopback, and the second again as one that its script writes.
func site(t *testing.T) string {
	t.Helper()
	pages := map[string]string{
		"/":     `<title>Cats</title><h1>Cats</h1><p>Cats purr softly.</p><p>See <a href="/dogs">dogs</a>.</p>`,
		"/dogs": `<title>Dogs</title><p>Dogs bark loudly at night.</p>`,
		"/app":  `<title>App</title><div id="root"></div><script>document.getElementById("root").textContent = "Dogs bark in a script."</script>`,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if body, ok := pages[r.URL.Path]; ok {
			w.Write([]byte(body))
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestWebSearch lets the built-in model open a page and cite it, in a browser that may reach the test's own site and nothing
// else of this machine.
func TestWebSearch(t *testing.T) {
	t.Parallel()
	url, other := site(t), site(t)
	p := start(t, "--python=false", "--chromium", "-", "--browser-allow", url)
	ask := func(question string, more ...map[string]any) *result {
		request := map[string]any{"input": question, "temperature": 0, "max_output_tokens": 500, "tools": []any{map[string]any{"type": "web_search"}}}
		for _, m := range more {
			for k, v := range m {
				request[k] = v
			}
		}
		return p.create(request)
	}
	r := ask("What does " + url + "/dogs say?")
	calls := r.items("web_search_call")
	if len(calls) != 1 || calls[0]["status"] != "completed" {
		t.Fatalf("output %v", r.Output)
	}
	if action := calls[0]["action"].(map[string]any); action["type"] != "open_page" || action["url"] != url+"/dogs" {
		t.Errorf("action %v", action)
	}
	content := r.items("message")[0]["content"].([]any)[0].(map[string]any)
	text, notes := content["text"].(string), content["annotations"].([]any)
	if !strings.Contains(text, "Dogs bark loudly at night.") || len(notes) != 1 {
		t.Fatalf("answer %v", content)
	}
	note := notes[0].(map[string]any)
	cited := string([]rune(text)[int(note["start_index"].(float64)):int(note["end_index"].(float64))])
	if note["type"] != "url_citation" || note["url"] != url+"/dogs" || note["title"] != "Dogs" || !strings.HasSuffix(cited, "("+url+"/dogs))") {
		t.Errorf("annotation %v of %q", note, cited)
	}
	for _, forbidden := range []string{other + "/dogs", "http://169.254.169.254/latest"} {
		if calls := ask("Open " + forbidden).items("web_search_call"); len(calls) == 0 || calls[0]["status"] != "failed" {
			t.Errorf("%s: calls %v", forbidden, calls)
		}
	}
	if r := ask("Open "+url+"/dogs", map[string]any{"tools": []any{map[string]any{"type": "web_search", "filters": map[string]any{
		"allowed_domains": []string{"example.com"}}}}}); !slices.ContainsFunc(r.items("web_search_call"), func(c map[string]any) bool { return c["status"] == "failed" }) {
		t.Errorf("filtered: %v", r.Output)
	}
}

func TestBrowse(t *testing.T) {
	t.Parallel()
	url := site(t)
	for name, tt := range map[string]struct {
		args []string
		want string
		fail bool
	}{
		"page":       {[]string{"--browser-allow", url, url}, "L4: Cats purr softly.", false},
		"lines":      {[]string{"--browser-allow", url, "--from", "4", "--lines", "1", url}, "**viewing lines [4 - 4] of 6**\n\nL4: Cats purr softly.\n", false},
		"find":       {[]string{"--browser-allow", url, "--find", "purr", url}, "match at L4", false},
		"source":     {[]string{"--browser-allow", url, "--source", url}, "<h1>Cats</h1>", false},
		"no scripts": {[]string{"--browser-allow", url, "--browser-render", "never", url + "/app"}, "[0] App", false},
		"private":    {[]string{url}, "loopback address", true},
		"file":       {[]string{"file:///etc/passwd"}, "only http and https", true},
		"missing":    {[]string{"--browser-allow", url, url + "/none"}, "404", true},
		"no URL":     {nil, "needs one URL", true},
		"bad rule":   {[]string{"--browser-allow", "ftp://x", url}, "--browser-allow", true},
		"bad mode":   {[]string{"--browser-render", "often", url}, "auto, never, always", true},
		"past end":   {[]string{"--browser-allow", url, "--from", "99", url}, "99", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := command(t, append([]string{"browse", "--chromium", "-"}, tt.args...)...).CombinedOutput()
			if (err != nil) != tt.fail || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v\n%s\nwant %q", err, out, tt.want)
			}
		})
	}
}

// TestBrowseWithChromium runs a page's script, and takes a picture.
func TestBrowseWithChromium(t *testing.T) {
	t.Parallel()
	if out, err := command(t, "doctor", "--python=false", "--data-dir", t.TempDir()).CombinedOutput(); err != nil || bytes.Contains(out, []byte("without running")) {
		if slices.Contains(strings.Split(os.Getenv("REQUIRE"), ","), "chrome") {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Skip("there is no Chromium")
	}
	url := site(t)
	picture := filepath.Join(t.TempDir(), "page.png")
	out, err := command(t, "browse", "--browser-allow", url, "--screenshot", picture, url+"/app").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Dogs bark in a script.") {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	if config, err := png.DecodeConfig(bytes.NewReader(data)); err != nil || config.Width < 800 || config.Height < 100 {
		t.Errorf("%+v, %v", config, err)
	}
}

// TestSearch lets the built-in model search a folder of documents and open the first result.
func TestSearch(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "cats.html"), []byte("<title>About Cats</title><p>Cats purr softly at night.</p>"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--python=false", "--chromium", "-", "--search", "corpus="+folder, "--log-level", "info")
	r := p.create(map[string]any{"input": "Search for cats", "temperature": 0, "max_output_tokens": 500, "include": []string{"web_search_call.action.sources"},
		"tools": []any{map[string]any{"type": "web_search"}}})
	calls := r.items("web_search_call")
	if len(calls) == 0 || calls[0]["status"] != "completed" {
		t.Fatalf("output %v", r.Output)
	}
	action := calls[0]["action"].(map[string]any)
	if sources, ok := action["sources"].([]any); action["type"] != "search" || action["query"] != "cats" || !ok || len(sources) != 1 {
		t.Errorf("action %v", action)
	}
	if len(calls) < 2 || calls[1]["status"] != "completed" || calls[1]["action"].(map[string]any)["type"] != "open_page" {
		t.Errorf("calls %v", calls)
	}
	for spec, want := range map[string]string{"altavista": "it must be searxng=URL", "brave": "BRAVE_API_KEY", "corpus=" + folder + "/none": "none", "plugin=": "plugin=NAME.TOOL"} {
		cmd := command(t, "serve", "--listen", "127.0.0.1:0", "--python=false", "--data-dir", t.TempDir(), "--search", spec)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s; want %q", spec, err, out, want)
		}
	}
}

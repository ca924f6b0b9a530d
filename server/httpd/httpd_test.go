package httpd_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"chorale/server/httpd"
)

// errorBody is OpenAI's shape; the pointers tell null from absent.
type errorBody struct {
	Error *struct {
		Message string           `json:"message"`
		Type    string           `json:"type"`
		Param   *json.RawMessage `json:"param"`
		Code    *string          `json:"code"`
	} `json:"error"`
}

func newServer(t *testing.T, o httpd.Options) *httpd.Server {
	t.Helper()
	if o.Responses == nil {
		o.Responses = newBackend(t, settings{}).service
	}
	s, err := httpd.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// do sends one request; headers are "Name: value".
func do(s http.Handler, method, path string, body io.Reader, headers ...string) *http.Response {
	r := httptest.NewRequest(method, path, body)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

func TestEveryErrorHasOpenAIsShape(t *testing.T) {
	t.Parallel()
	const create = "/v1/responses"
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code, message            string // message: a part that must occur
	}{
		{"unknown route", "GET", "/v1/nothing", "", nil, 404, "unknown_url", "GET /v1/nothing"},
		{"unknown route at the root", "GET", "/", "", nil, 404, "unknown_url", "GET /"},
		{"responses without v1", "POST", "/responses", "{}", nil, 404, "unknown_url", "/responses"},
		{"path that is not UTF-8", "GET", "/v1/%ff%fe", "", nil, 404, "unknown_url", "Unknown"},
		{"wrong method", "PUT", create, "{}", nil, 405, "method_not_allowed", "POST"},
		{"wrong method, other mount", "PUT", "/openresponses/v1/responses", "{}", nil, 405, "method_not_allowed", "POST"},
		{"empty body", "POST", create, "", nil, 400, "invalid_json", "byte 0"},
		{"not JSON", "POST", create, "model=x", nil, 400, "invalid_json", "JSON"},
		{"JSON cut off", "POST", create, `{"model":`, nil, 400, "invalid_json", "byte 9"},
		{"not UTF-8", "POST", create, "{\"input\":\"\xff\"}", nil, 400, "invalid_json", "UTF-8"},
		{"wrong type", "POST", create, `{"model":1}`, nil, 400, "invalid_type", "string"},
		{"a form", "POST", create, "a=b", []string{"Content-Type: application/x-www-form-urlencoded"}, 400, "invalid_json", "JSON"},
		{"text", "POST", create, "{}", []string{"Content-Type: text/plain"}, 415, "", "application/json"},
		{"multipart", "POST", create, "{}", []string{"Content-Type: multipart/form-data; boundary=x"}, 415, "", "application/json"},
		{"page of another origin", "POST", create, "{}", []string{"Origin: https://evil.example"}, 403, "origin_not_allowed", "origins"},
		{"page of another site", "DELETE", create + "/resp_1", "", []string{"Sec-Fetch-Site: cross-site"}, 403, "origin_not_allowed", "origins"},
		{"malformed content type", "POST", create, "{}", []string{"Content-Type: ;;;"}, 415, "", "application/json"},
		{"other charset", "POST", create, "{}", []string{"Content-Type: application/json; charset=latin-1"}, 415, "", "latin-1"},
		{"zstd", "POST", create, "{}", []string{"Content-Encoding: zstd"}, 415, "", `"zstd"`},
		{"two encodings", "POST", create, "{}", []string{"Content-Encoding: gzip, gzip"}, 415, "", "gzip, gzip"},
		{"gzip that is none", "POST", create, "{                }", []string{"Content-Encoding: gzip"}, 400, "", "gzip"},
		{"gzip cut off", "POST", create, zipped(`{"model":"m"}`)[:20], []string{"Content-Encoding: gzip"}, 400, "", "early"},
		{"body one byte too large", "POST", create, `"` + strings.Repeat("x", 1024), nil, 413, "", "1024 bytes"},
		{"gzip bomb", "POST", create, zipped(strings.Repeat(" ", 1<<20)), []string{"Content-Encoding: gzip"}, 413, "", "1024 bytes"},
		{"limit that is no number", "GET", create + "/resp_1/input_items?limit=x", "", nil, 400, "invalid_value", "limit"},
		{"limit zero", "GET", create + "/resp_1/input_items?limit=0", "", nil, 400, "invalid_value", "limit"},
		{"limit too large", "GET", create + "/resp_1/input_items?limit=101", "", nil, 400, "invalid_value", "limit"},
		{"unknown order", "GET", create + "/resp_1/input_items?order=up", "", nil, 400, "invalid_value", "order"},
		{"resumed stream", "GET", create + "/resp_1?stream=true", "", nil, 400, "unsupported_parameter", "background"},
		{"unknown model", "GET", "/v1/models/gpt-none", "", nil, 404, "model_not_found", "gpt-none"},
	}
	s := newServer(t, httpd.Options{MaxBodyBytes: 1024})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res := do(s, test.method, test.path, strings.NewReader(test.body), test.headers...)
			checkError(t, res, test.status, test.code, test.message)
		})
	}
}

func checkError(t *testing.T, res *http.Response, status int, code, message string) {
	t.Helper()
	data, _ := io.ReadAll(res.Body)
	if res.StatusCode != status {
		t.Fatalf("status %d, want %d; body %s", res.StatusCode, status, data)
	}
	var body errorBody
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil || body.Error == nil {
		t.Fatalf("body %s is not in OpenAI's shape: %v", data, err)
	}
	if body.Error.Type == "" || !strings.Contains(body.Error.Message, message) {
		t.Errorf("error %s, want a type and %q in the message", data, message)
	}
	if got := body.Error.Code; code == "" && got != nil || code != "" && (got == nil || *got != code) {
		t.Errorf("error %s, want code %q", data, code)
	}
	if !strings.Contains(string(data), `"param":`) {
		t.Errorf("error %s has no param", data)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q, want application/json", ct)
	}
	if res.Header.Get("X-Request-Id") == "" {
		t.Error("no X-Request-Id")
	}
}

func TestBodiesThatReachTheService(t *testing.T) {
	t.Parallel()
	// The service answers "unknown model": the body was read and decoded.
	const body = `{"model":"gpt-none","input":"hello"}`
	tests := []struct {
		name, body string
		headers    []string
	}{
		{"no content type", body, nil},
		{"JSON", body, []string{"Content-Type: application/json"}},
		{"JSON with charset", body, []string{"Content-Type: application/json; charset=UTF-8"}},
		{"curl -d", body, []string{"Content-Type: application/x-www-form-urlencoded"}},
		{"page of the same origin", body, []string{"Origin: http://example.com", "Sec-Fetch-Site: same-origin"}},
		{"JSON by suffix", body, []string{"Content-Type: application/vnd.api+json"}},
		{"identity", body, []string{"Content-Encoding: identity"}},
		{"gzip", zipped(body), []string{"Content-Encoding: gzip"}},
		{"exactly the limit", body + strings.Repeat(" ", 1024-len(body)), nil},
	}
	s := newServer(t, httpd.Options{MaxBodyBytes: 1024})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res := do(s, "POST", "/v1/responses", strings.NewReader(test.body), test.headers...)
			checkError(t, res, 400, "model_not_found", "gpt-none")
		})
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, header string
		want               int
	}{
		{"first key", "/v1/models", "Authorization: Bearer alpha", 200},
		{"second key", "/v1/models", "Authorization: Bearer beta", 200},
		{"scheme in lower case", "/v1/models", "Authorization: bearer beta", 200},
		{"no key", "/v1/models", "", 401},
		{"wrong key", "/v1/models", "Authorization: Bearer gamma", 401},
		{"prefix of a key", "/v1/models", "Authorization: Bearer alph", 401},
		{"two keys", "/v1/models", "Authorization: Bearer alpha beta", 401},
		{"other scheme", "/v1/models", "Authorization: Basic alpha", 401},
		{"scheme only", "/v1/models", "Authorization: Bearer", 401},
		{"key only", "/v1/models", "Authorization: alpha", 401},
		{"unknown route", "/v1/none", "", 401},
		{"metrics", "/metrics", "", 401},
		{"health is open", "/health", "", 200},
	}
	s := newServer(t, httpd.Options{APIKeys: []string{"alpha", "beta"}, Metrics: http.NotFoundHandler()})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			res := do(s, "GET", test.path, nil, test.header)
			if test.want == 401 {
				checkError(t, res, 401, "invalid_api_key", "API key")
			} else if res.StatusCode != test.want {
				t.Errorf("status %d, want %d", res.StatusCode, test.want)
			}
		})
	}
}

func TestEmptyAPIKeyIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := httpd.New(httpd.Options{Responses: newBackend(t, settings{}).service, APIKeys: []string{"a", ""}}); err == nil {
		t.Error("an empty key would let everybody in, and was accepted")
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := newServer(t, httpd.Options{})
	for name, id := range map[string]string{"uuid": "0b9c1f4e-4a52-4b6e-9d0f-1c2d3e4f5a6b", "longest": strings.Repeat("a", 128)} {
		if got := do(s, "GET", "/health", nil, "X-Request-Id: "+id).Header.Get("X-Request-Id"); got != id {
			t.Errorf("%s: got %q, want the client's", name, got)
		}
	}
	for name, id := range map[string]string{"none": "", "too long": strings.Repeat("a", 129), "a forged line": "a\tb", "not ASCII": "é"} {
		if got := do(s, "GET", "/health", nil, "X-Request-Id: "+id).Header.Get("X-Request-Id"); got == id || !strings.HasPrefix(got, "req_") {
			t.Errorf("%s: got %q, want a new one", name, got)
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	preflight := []string{"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization"}
	tests := []struct {
		name    string
		allowed []string
		method  string
		headers []string
		status  int
		origin  string // allowed
	}{
		{"off", nil, "GET", []string{"Origin: http://a"}, 401, ""},
		{"allowed", []string{"http://a"}, "GET", []string{"Origin: http://a", "Authorization: Bearer k"}, 200, "http://a"},
		{"any", []string{"*"}, "GET", []string{"Origin: http://b", "Authorization: Bearer k"}, 200, "http://b"},
		{"refused page still sees why", []string{"http://a"}, "GET", []string{"Origin: http://a"}, 401, "http://a"},
		{"other origin", []string{"http://a"}, "GET", []string{"Origin: http://ab", "Authorization: Bearer k"}, 200, ""},
		{"preflight carries no key", []string{"http://a"}, "OPTIONS", append(preflight, "Origin: http://a"), 204, "http://a"},
		{"post of an allowed page", []string{"http://a"}, "POST", []string{"Origin: http://a", "Sec-Fetch-Site: cross-site"}, 401, "http://a"},
		{"post of another page", []string{"http://a"}, "POST", []string{"Origin: http://b", "Authorization: Bearer k"}, 403, ""},
		{"preflight of another origin", []string{"http://a"}, "OPTIONS", append(preflight, "Origin: http://b"), 401, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, httpd.Options{AllowOrigins: test.allowed, APIKeys: []string{"k"}})
			res := do(s, test.method, "/v1/models", nil, test.headers...)
			if got := res.Header.Get("Access-Control-Allow-Origin"); res.StatusCode != test.status || got != test.origin {
				t.Errorf("status %d, origin %q; want %d, %q", res.StatusCode, got, test.status, test.origin)
			}
			if test.status == 204 && res.Header.Get("Access-Control-Allow-Headers") != "authorization" {
				t.Errorf("headers %v", res.Header)
			}
		})
	}
}

func TestModels(t *testing.T) {
	t.Parallel()
	s := newServer(t, httpd.Options{})
	var list struct {
		Object string
		Data   []struct{ ID, Object string }
		Models []map[string]any
	}
	if err := json.NewDecoder(do(s, "GET", "/v1/models?client_version=1.2.3", nil).Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if list.Object != "list" || len(list.Data) != 1 || list.Data[0].ID != "test-model" || list.Data[0].Object != "model" {
		t.Errorf("data %+v", list)
	}
	if len(list.Models) != 1 {
		t.Fatalf("models %v", list.Models)
	}
	// The members without a default in codex-rs/protocol/src/openai_models.rs; one that is missing loses the whole list.
	for _, field := range strings.Fields(`slug display_name supported_reasoning_levels shell_type visibility supported_in_api priority
		base_instructions supports_reasoning_summaries support_verbosity truncation_policy supports_parallel_tool_calls
		experimental_supported_tools`) {
		if list.Models[0][field] == nil {
			t.Errorf("models[0] has no %s", field)
		}
	}
	for _, id := range []string{"test-model", "alias", "openai/alias", "openai%2Falias"} {
		if res := do(s, "GET", "/v1/models/"+id, nil); res.StatusCode != 200 {
			t.Errorf("model %s: status %d", id, res.StatusCode)
		}
	}
}

func TestAccessLogHasNoText(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newServer(t, httpd.Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	do(s, "POST", "/v1/responses?secret=query", strings.NewReader(`{"model":"gpt-none","input":"my secret"}`),
		"Authorization: Bearer secret-key", "X-Request-Id: abc")
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatalf("log is not one JSON line: %v\n%s", err, log.String())
	}
	if line["msg"] != "request" || line["request_id"] != "abc" || line["route"] != "/v1/responses" || line["status"] != 400.0 {
		t.Errorf("log line %v", line)
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("log holds what the client sent: %s", log.String())
	}
}

func TestPanicIsAnAnswerAndALogLine(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newServer(t, httpd.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken on purpose") })})
	checkError(t, do(s, "GET", "/metrics", nil), 500, "", "internal error")
	if !strings.Contains(log.String(), "broken on purpose") || !strings.Contains(log.String(), "stack=") {
		t.Errorf("log: %s", log.String())
	}
	stats := s.Stats()
	if stats.InFlight != 0 || len(stats.Routes) != 1 || stats.Routes[0].Status != 500 {
		t.Errorf("stats %+v", stats)
	}
}

func TestPanicInTheMiddleBreaksTheConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t, httpd.Options{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic("broken on purpose")
	})})
	web := httptest.NewServer(s)
	defer web.Close()
	res, err := http.Get(web.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if data, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("the client read %q and saw no error", data)
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	s := newServer(t, httpd.Options{})
	for range 2 {
		do(s, "GET", "/health", nil)
	}
	do(s, "GET", "/made/up/1", nil)
	do(s, "GET", "/made/up/2", nil)
	got := s.Stats()
	if len(got.Routes) != 2 || got.Routes[0].Route != "/health" || got.Routes[0].Requests != 2 ||
		got.Routes[1].Route != "unmatched" || got.Routes[1].Requests != 2 || got.Routes[1].Status != 404 {
		t.Errorf("stats %+v", got)
	}
}

// TestMCP is answered by the handler, with every method, behind the keys; without one there is no such route.
func TestMCP(t *testing.T) {
	t.Parallel()
	reached := ""
	s := newServer(t, httpd.Options{APIKeys: []string{"k"}, AllowOrigins: []string{"http://a"}, MCP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached += r.Method + " "
		if _, ok := w.(http.Flusher); !ok {
			t.Error("events cannot be flushed")
		}
	})})
	for _, method := range []string{"POST", "GET", "DELETE", "PUT", "OPTIONS"} {
		if res := do(s, method, "/mcp", nil); res.StatusCode != 401 {
			t.Errorf("%s without a key: status %d, want 401", method, res.StatusCode)
		}
		if res := do(s, method, "/mcp", nil, "Authorization: Bearer k"); res.StatusCode != 200 {
			t.Errorf("%s: status %d, want 200", method, res.StatusCode)
		}
	}
	if reached != "POST GET DELETE PUT OPTIONS " {
		t.Errorf("the handler got %s", reached)
	}
	res := do(s, "POST", "/mcp", nil, "Authorization: Bearer k", "Origin: http://a")
	if got := res.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "Mcp-Session-Id") {
		t.Errorf("pages may read %q, not the session", got)
	}
	checkError(t, do(newServer(t, httpd.Options{}), "POST", "/mcp", nil), 404, "unknown_url", "")
}

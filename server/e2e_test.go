package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long the tests wait for what another process does; it is no measure of speed.
const patience = time.Minute

// buildDir is where the binary of this run of the tests lies; TestMain makes it.
var buildDir string

// builtBinary builds chorale once, as make build does.
var builtBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "chorale")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "chorale-e2e-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if testing.Short() {
		t.Skip("the binary is not built in short mode")
	}
	path, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	return cmd
}

// A process is a running chorale serve.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	data   string // directory
	env    []string
	log    bytes.Buffer
	exited chan error // capacity 1, the exit
}

// start runs chorale serve with the built-in model until the test ends.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, data: t.TempDir(), exited: make(chan error, 1)}
	p.launch(args...)
	return p
}

func (p *process) launch(args ...string) {
	p.t.Helper()
	ready := filepath.Join(p.t.TempDir(), "ready")
	if !slices.Contains(args, "--python") {
		args = append(args, "--python=false") // it takes a while to compile
	}
	p.cmd = command(p.t, append([]string{"serve", "--listen", "127.0.0.1:0", "--ready-file", ready, "--data-dir", p.data,
		"--log-level", "warn"}, args...)...)
	p.cmd.Env = append(p.cmd.Env, p.env...)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd := p.cmd
	go func() { p.exited <- cmd.Wait() }()
	p.t.Cleanup(func() {
		cmd.Process.Kill()
		if p.t.Failed() {
			p.t.Logf("log of the server:\n%s", &p.log)
		}
	})
	eventually(p.t, "the ready file", func() bool {
		address, err := os.ReadFile(ready)
		p.url = "http://" + strings.TrimSpace(string(address))
		return err == nil
	})
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// wait returns the exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case err := <-p.exited:
		p.exited <- err
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		return 0
	case <-time.After(patience):
		p.t.Fatal("the server does not end")
		return 0
	}
}

// A result is the part of a response that the tests look at.
type result struct {
	ID                string `json:"id"`
	Status            string `json:"status"`
	Model             string `json:"model"`
	IncompleteDetails struct {
		Reason string
	} `json:"incomplete_details"`
	Output []map[string]any `json:"output"`
	Usage  struct {
		InputTokens  int `json:"input_tokens"`
		OutputTokens int `json:"output_tokens"`
	} `json:"usage"`
}

func (r *result) items(kind string) (found []map[string]any) {
	for _, item := range r.Output {
		if item["type"] == kind {
			found = append(found, item)
		}
	}
	return found
}

func (r *result) text() string {
	var text strings.Builder
	for _, m := range r.items("message") {
		for _, part := range m["content"].([]any) {
			text.WriteString(part.(map[string]any)["text"].(string))
		}
	}
	return text.String()
}

// request sends a body as it is and returns status and answer.
func (p *process) request(method, path, body string) (int, []byte) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, data
}

// create answers fields, at temperature 0 so that a test repeats.
func (p *process) create(fields map[string]any) *result {
	p.t.Helper()
	return p.decode(p.request("POST", "/v1/responses", body(fields)))
}

func (p *process) decode(status int, data []byte) *result {
	p.t.Helper()
	r := &result{}
	if err := json.Unmarshal(data, r); err != nil || status != 200 {
		p.t.Fatalf("status %d, %v: %s", status, err, data)
	}
	return r
}

func body(fields map[string]any) string {
	all := map[string]any{"temperature": 0}
	for k, v := range fields {
		all[k] = v
	}
	data, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// An event is one server-sent event as it came.
type event struct {
	name, data string
}

// stream opens a stream; next returns its events until there are no more.
func (p *process) stream(ctx context.Context, fields map[string]any) (next func() (event, bool)) {
	p.t.Helper()
	fields["stream"] = true
	req, err := http.NewRequestWithContext(ctx, "POST", p.url+"/v1/responses", strings.NewReader(body(fields)))
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { res.Body.Close() })
	if ct := res.Header.Get("Content-Type"); res.StatusCode != 200 || ct != "text/event-stream" {
		p.t.Fatalf("status %d, Content-Type %q", res.StatusCode, ct)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 16<<20)
	return func() (e event, more bool) {
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "event: "):
				e.name = line[len("event: "):]
			case strings.HasPrefix(line, "data: "):
				e.data = line[len("data: "):]
			case line == "" && e.data != "":
				return e, true
			}
		}
		return e, false
	}
}

// metric reads one number of the metrics page; a metric that is not there is 0.
func (p *process) metric(name string) string {
	p.t.Helper()
	_, page := p.request("GET", "/metrics", "")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(page)
	if m == nil {
		return "0"
	}
	return string(m[1])
}

var weather = map[string]any{
	"type": "function", "name": "get_weather", "description": "Current weather of a city",
	"parameters": map[string]any{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}},
		"required": []string{"city"}, "additionalProperties": false},
}

const weatherQuestion = "What is the weather in Lisbon?"

func TestStreamAndJSONSayTheSame(t *testing.T) {
	t.Parallel()
	p := start(t)
	whole := p.create(map[string]any{"input": "Hello!"})
	if whole.Status != "completed" || strings.TrimSpace(whole.text()) == "" || len(whole.items("reasoning")) == 0 {
		t.Fatalf("response %+v", whole)
	}
	var names []string
	var text, thought strings.Builder
	var final *result
	next := p.stream(t.Context(), map[string]any{"input": "Hello!"})
	for e, more := next(); more; e, more = next() {
		if e.data == "[DONE]" {
			names = append(names, e.data)
			continue
		}
		var body struct {
			Type           string
			Delta          string
			SequenceNumber int `json:"sequence_number"`
			Response       *result
		}
		if err := json.Unmarshal([]byte(e.data), &body); err != nil {
			t.Fatalf("event %s: %v", e.data, err)
		}
		if body.Type != e.name || body.SequenceNumber != len(names) {
			t.Errorf("event %d is named %s and says %s", len(names), e.name, e.data)
		}
		names = append(names, e.name)
		switch e.name {
		case "response.output_text.delta":
			text.WriteString(body.Delta)
		case "response.reasoning_text.delta":
			thought.WriteString(body.Delta)
		case "response.completed":
			final = body.Response
		}
	}
	if len(names) < 3 || names[0] != "response.created" || names[len(names)-2] != "response.completed" || names[len(names)-1] != "[DONE]" {
		t.Fatalf("events %q", names)
	}
	if text.String() != whole.text() || final.text() != whole.text() {
		t.Errorf("streamed %q, then %q, as JSON %q", &text, final.text(), whole.text())
	}
	if thought.String() != final.items("reasoning")[0]["content"].([]any)[0].(map[string]any)["text"] {
		t.Errorf("reasoning streamed as %q, then %v", &thought, final.items("reasoning"))
	}
	if whole.Usage != final.Usage || whole.Usage.InputTokens == 0 || whole.Usage.OutputTokens == 0 {
		t.Errorf("usage %+v and %+v", whole.Usage, final.Usage)
	}
}

func TestFunctionCallRoundTrips(t *testing.T) {
	t.Parallel()
	p := start(t)
	first := p.create(map[string]any{"input": weatherQuestion, "tools": []any{weather}})
	calls := first.items("function_call")
	if len(calls) != 1 || calls[0]["name"] != "get_weather" {
		t.Fatalf("output %v", first.Output)
	}
	var arguments map[string]any
	if err := json.Unmarshal([]byte(calls[0]["arguments"].(string)), &arguments); err != nil || arguments["city"] != "Lisbon" {
		t.Errorf("arguments %v, %v", calls[0]["arguments"], err)
	}
	output := map[string]any{"type": "function_call_output", "call_id": calls[0]["call_id"], "output": `{"temperature": "17 degrees"}`}

	t.Run("by previous_response_id", func(t *testing.T) {
		r := p.create(map[string]any{"previous_response_id": first.ID, "input": []any{output}, "tools": []any{weather}})
		if !strings.Contains(r.text(), "17") {
			t.Errorf("answer %q, want the result in it", r.text())
		}
	})
	t.Run("stateless", func(t *testing.T) {
		input := []any{map[string]any{"role": "user", "content": weatherQuestion}}
		for _, item := range first.Output {
			input = append(input, item)
		}
		r := p.create(map[string]any{"input": append(input, output), "tools": []any{weather}, "store": false})
		if !strings.Contains(r.text(), "17") {
			t.Errorf("answer %q, want the result in it", r.text())
		}
		if status, _ := p.request("GET", "/v1/responses/"+r.ID, ""); status != 404 {
			t.Errorf("a response with store false is found: status %d", status)
		}
	})
}

func TestResponsesSurviveAKill(t *testing.T) {
	t.Parallel()
	p := start(t)
	before := p.create(map[string]any{"input": "Hello!"})
	p.cmd.Process.Kill()
	p.wait()
	p.exited = make(chan error, 1)
	p.launch()
	after := p.decode(p.request("GET", "/v1/responses/"+before.ID, ""))
	if after.text() != before.text() || after.Status != "completed" {
		t.Errorf("after the kill %+v, before %+v", after, before)
	}
	next := p.create(map[string]any{"input": "Who are you?", "previous_response_id": before.ID})
	if next.Status != "completed" || next.Usage.InputTokens <= before.Usage.InputTokens {
		t.Errorf("continued %+v, before %+v", next, before)
	}
}

// TestCodeInterpreter lets the built-in model compute with real Python, and looks at what that leaves: the container and its
// files, what the response is continued with after a kill, counters, and an audit record without contents.
func TestCodeInterpreter(t *testing.T) {
	t.Parallel()
	p := start(t, "--python", "--log-level", "info")
	ask := func(fields map[string]any) *result {
		fields["tools"] = []any{map[string]any{"type": "code_interpreter", "container": map[string]any{"type": "auto"}}}
		fields["include"] = []string{"code_interpreter_call.outputs"}
		return p.create(fields)
	}
	r := ask(map[string]any{"input": "What is 12345 * 6789?"})
	calls := r.items("code_interpreter_call")
	if len(calls) != 1 || !strings.Contains(fmt.Sprint(calls[0]["outputs"]), "83810205") || !strings.Contains(r.text(), "83810205") {
		t.Fatalf("output %v", r.Output)
	}
	if status, data := p.request("GET", "/v1/containers/"+calls[0]["container_id"].(string)+"/files", ""); status != 200 {
		t.Errorf("files of the container: status %d, %s", status, data)
	}
	for _, want := range []string{`chorale_tool_call_seconds_count{tool="python"} 1`, `chorale_tool_failures_total{reason="result",tool="python"} 0`} {
		if _, page := p.request("GET", "/metrics", ""); !strings.Contains(string(page), want+"\n") {
			t.Errorf("the metrics have no line %s", want)
		}
	}
	p.cmd.Process.Kill()
	p.wait()
	p.exited = make(chan error, 1)
	p.launch("--python", "--log-level", "info")
	if next := ask(map[string]any{"input": "Hello!", "previous_response_id": r.ID}); next.Status != "completed" {
		t.Errorf("continued %+v", next)
	}
	if log := p.log.String(); !strings.Contains(log, "tool=python") || strings.Contains(log, "6789") {
		t.Errorf("log of the tool:\n%s", log)
	}
}

func TestDoctorRunsPython(t *testing.T) {
	t.Parallel()
	out, err := command(t, "doctor").CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^ok   python +CPython 3\.\d+\.\d+ in the sandbox`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPythonCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	p := start(t, "--python=false")
	status, data := p.request("POST", "/v1/responses", body(map[string]any{"input": "Hello!", "tools": []any{map[string]any{"type": "code_interpreter"}}}))
	if status != 200 || !strings.Contains(string(data), `"Tools of type \"code_interpreter\" are not supported by this server`) {
		t.Errorf("status %d, %s", status, data)
	}
}

func TestTerminationDrains(t *testing.T) {
	t.Parallel()
	p := start(t)
	next := p.stream(t.Context(), map[string]any{"input": "Hello!", "reasoning": map[string]any{"effort": "high"}})
	if e, _ := next(); e.name != "response.created" {
		t.Fatalf("first event %v", e)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	var names []string
	for e, more := next(); more; e, more = next() {
		names = append(names, e.name)
	}
	if !slices.Contains(names, "response.completed") {
		t.Errorf("the running response did not finish: %q", names)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := http.Get(p.url + "/health"); err == nil {
		t.Error("the address still answers")
	}
}

func TestDeadClientStopsGeneration(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, stream := range []bool{true, false} {
		t.Run(fmt.Sprintf("stream %v", stream), func(t *testing.T) {
			cancelled := p.metric(`chorale_engine_generations_total{reason="cancelled"}`)
			ctx, hangUp := context.WithCancel(t.Context())
			fields := map[string]any{"input": strings.Repeat("Hello! ", 300), "stream": stream}
			req, _ := http.NewRequestWithContext(ctx, "POST", p.url+"/v1/responses", strings.NewReader(body(fields)))
			go http.DefaultClient.Do(req)
			eventually(t, "the generation", func() bool { return p.metric("chorale_responses_running") == "1" })
			hangUp()
			eventually(t, "its end", func() bool { return p.metric("chorale_responses_running") == "0" })
			if now := p.metric(`chorale_engine_generations_total{reason="cancelled"}`); now == cancelled {
				t.Errorf("cancelled generations: %s, as before", now)
			}
		})
	}
}

func TestTwoHundredAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t)
	request := body(map[string]any{"input": "Hello!", "max_output_tokens": 24})
	thought := func(r *result) string { return fmt.Sprint(r.items("reasoning")[0]["content"]) }
	want := thought(p.decode(p.request("POST", "/v1/responses", request)))
	var group sync.WaitGroup
	failures := make(chan string, 200) // at most one each
	for i := range 200 {
		group.Go(func() {
			res, err := http.Post(p.url+"/v1/responses", "application/json", strings.NewReader(request))
			if err != nil {
				failures <- err.Error()
				return
			}
			defer res.Body.Close()
			data, _ := io.ReadAll(res.Body)
			var r result
			if err := json.Unmarshal(data, &r); err != nil || res.StatusCode != 200 || thought(&r) != want {
				failures <- fmt.Sprintf("request %d: status %d, %s, want %q", i, res.StatusCode, data, want)
			}
		})
	}
	group.Wait()
	close(failures)
	for f := range failures {
		t.Error(f)
	}
}

func TestWrongRequestsNameTheMistake(t *testing.T) {
	t.Parallel()
	p := start(t)
	tests := []struct {
		name, body  string
		status      int
		param, code string
	}{
		{"not JSON", `{"input":`, 400, "", "invalid_json"},
		{"an array", `[]`, 400, "", "invalid_type"},
		{"no input", `{}`, 400, "input", "missing_required_parameter"},
		{"wrong type", `{"input":7}`, 400, "input", "invalid_type"},
		{"wrong type inside", `{"input":[{"role":"user","content":[{"type":"input_text","text":7}]}]}`, 400, "input[0].content[0].text", "invalid_type"},
		{"temperature", `{"input":"x","temperature":3}`, 400, "temperature", "decimal_above_max_value"},
		{"unknown model", `{"model":"gpt-none","input":"x"}`, 400, "model", "model_not_found"},
		{"missing call_id", `{"input":[{"type":"function_call_output","output":"x"}]}`, 400, "input[0].call_id", "missing_required_parameter"},
		{"unknown previous response", `{"input":"x","previous_response_id":"resp_0"}`, 400, "previous_response_id", "previous_response_not_found"},
		{"a string of 11 MB", `{"input":"` + strings.Repeat("x", 11<<20) + `"}`, 400, "input", "string_above_max_length"},
		{"more than the body limit", `{"input":"` + strings.Repeat("x", 40<<20) + `"}`, 413, "", ""},
		{"longer than the context", `{"input":"` + strings.Repeat("word ", 1<<20) + `"}`, 400, "input", "context_length_exceeded"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, data := p.request("POST", "/v1/responses", test.body)
			var e struct {
				Error struct{ Type, Code, Param, Message string }
			}
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatalf("%v: %.300s", err, data)
			}
			if status != test.status || e.Error.Param != test.param || e.Error.Code != test.code || e.Error.Message == "" {
				t.Errorf("status %d, error %+v; want %d, param %q, code %q", status, e.Error, test.status, test.param, test.code)
			}
		})
	}
	if status, _ := p.request("POST", "/v1/responses", `{"input":[{"type":"from_the_future","x":1},{"role":"user","content":"Hello!"}],"tools":[{"type":"teleport"}],"max_output_tokens":16}`); status != 200 {
		t.Errorf("unknown item and tool types: status %d, want 200", status)
	}
}

func TestMalformedHTTPIsNoServerError(t *testing.T) {
	t.Parallel()
	p := start(t)
	for name, head := range map[string]string{
		"header without a colon": "GET /health HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n",
		"control characters":     "GET /health HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
		"no host":                "GET /health HTTP/1.1\r\n\r\n",
		"wrong length":           "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
		"header of a megabyte":   "GET /health HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"not HTTP":               "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\r\n\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, head) // the server may answer and hang up before it has read all
		line, _ := bufio.NewReader(c).ReadString('\n')
		c.Close()
		if !strings.HasPrefix(line, "HTTP/1.1 4") {
			t.Errorf("%s: answered %q, want a 4xx", name, line)
		}
	}
	if status, _ := p.request("GET", "/health", ""); status != 200 {
		t.Errorf("health: status %d", status)
	}
}

func TestKeysLimitsAndLogOfTheConfiguration(t *testing.T) {
	t.Parallel()
	keys := writeFile(t, "keys", "# two people\nalpha\n\nbeta\n")
	config := writeFile(t, "chorale.yaml", "api-key-file: "+keys+"\nlog-format: json\nmax-body-mib: 1\n")
	p := start(t, "--config", config, "--log-level", "debug")
	if status, data := p.request("GET", "/v1/models", ""); status != 401 || !bytes.Contains(data, []byte("invalid_api_key")) {
		t.Errorf("without a key: status %d, %s", status, data)
	}
	for _, key := range []string{"alpha", "beta"} {
		req, _ := http.NewRequest("POST", p.url+"/v1/responses", strings.NewReader(`"`+strings.Repeat("secret", 1<<20)))
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 413 {
			t.Errorf("body of 6 MiB with key %s: status %d, want 413", key, res.StatusCode)
		}
	}
	p.cmd.Process.Signal(os.Interrupt)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(p.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("log line is not JSON: %s", line)
		}
	}
	if log := p.log.String(); strings.Contains(log, "secret") || strings.Contains(log, "alpha") {
		t.Errorf("log holds a key or a prompt:\n%s", log)
	}
}

func TestFailuresOfServeAreOneLine(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() }) // after the parallel subtests
	file := writeFile(t, "file", "")
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"address in use", []string{"--listen", taken.Addr().String()}, "address is in use"},
		{"no address", []string{"--listen", "nonsense"}, "nonsense"},
		{"no model", []string{"--model", "/nowhere"}, "/nowhere"},
		{"a model that is none", []string{"--model", file}, file},
		{"a model without its tokenizer", []string{"--model", filepath.Join(parityData, "bf16")}, "embedding only 300 rows"},
		{"data directory is a file", []string{"--data-dir", file}, file},
		{"empty key file", []string{"--api-key-file", file}, "holds none"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir()}, test.args...)...)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("%v, want exit code 1: %s", err, out)
			}
			if strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), test.want) {
				t.Errorf("output %q, want one line with %q", out, test.want)
			}
		})
	}
}

func TestChatThroughAPipe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		args     []string
		want     []string // in this order
	}{
		{"two turns", "Hello!\nWho are you?\n", nil, []string{"[reasoning] ", "\n", "[reasoning] "}},
		{"function answered by the user", weatherQuestion + "\n17 degrees\n", []string{"--function", "get_weather(city)"},
			[]string{"calls get_weather {", "Lisbon", "17"}},
		{"hidden reasoning", "Hello!", []string{"--hide-reasoning", "--effort", "low"}, []string{"\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, append([]string{"chat"}, test.args...)...)
			cmd.Stdin = strings.NewReader(test.in)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			rest := string(out)
			for _, part := range test.want {
				_, after, found := strings.Cut(rest, part)
				if !found {
					t.Fatalf("output %q, want %q in this order", out, test.want)
				}
				rest = after
			}
		})
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestContainersSurviveAKill uploads a file, kills the server, and reads it from the next one.
func TestContainersSurviveAKill(t *testing.T) {
	t.Parallel()
	p := start(t)
	var made struct{ ID, Status string }
	decode := func(status int, data []byte) {
		t.Helper()
		if err := json.Unmarshal(data, &made); err != nil || status != 200 {
			t.Fatalf("status %d, %v: %s", status, err, data)
		}
	}
	status, data := p.request("POST", "/v1/containers", `{"name":"n"}`)
	if decode(status, data); !bytes.Contains(data, []byte(`"memory_limit":"256m"`)) {
		t.Errorf("container %s", data)
	}
	path := "/v1/containers/" + made.ID
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", "a.csv")
	if err != nil {
		t.Fatal(err)
	}
	part.Write([]byte("1,2"))
	w.Close()
	res, err := http.Post(p.url+path+"/files", w.FormDataContentType(), &form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || res.StatusCode != 200 {
		t.Fatalf("upload: status %d, %v", res.StatusCode, err)
	}
	p.cmd.Process.Kill()
	p.wait()
	p.exited = make(chan error, 1)
	p.launch()
	if status, data := p.request("GET", path+"/files/"+made.ID+"/content", ""); status != 200 || string(data) != "1,2" {
		t.Errorf("after the kill: status %d, %q", status, data)
	}
	if n := p.metric("chorale_containers"); n != "1" {
		t.Errorf("%s containers on the page of metrics", n)
	}
	if status, _ := p.request("DELETE", path, ""); status != 200 {
		t.Errorf("delete: status %d", status)
	}
	if n := p.metric("chorale_containers_bytes"); n != "0" {
		t.Errorf("%s bytes are left", n)
	}
}

// gmpy2 is a module that the interpreter looks for when it boots. It makes print count, in a variable and in a file, and one
// result take for ever.
const gmpy2 = `import builtins
printed, runs = builtins.print, []
def show(*values):
    if type(values[0]) is not int or values[0] < 1000:
        return printed(*values)
    runs.append(values[0])
    with open("/mnt/data/runs.txt", "a") as f:
        f.write("run\n")
    while values[0] == 12345 * 6789:
        pass
    printed(*values, "in run", len(runs), "of", len(open("/mnt/data/runs.txt").readlines()))
if printed.__name__ != "show":  # it is looked for twice
    builtins.print = show
raise ImportError("this is all")
`

// TestInterpretersSurviveAKill kills the server in the middle of a cell. What is stored goes on from what was saved last, with
// variables and files: a container by its id, and a response by previous_response_id.
func TestInterpretersSurviveAKill(t *testing.T) {
	t.Parallel()
	packages := t.TempDir()
	if err := os.WriteFile(filepath.Join(packages, "gmpy2.py"), []byte(gmpy2), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"--python", "--python-package", packages}
	p := start(t, arguments...)
	status, data := p.request("POST", "/v1/containers", `{"name":"n"}`)
	var made struct{ ID string }
	if err := json.Unmarshal(data, &made); err != nil || status != 200 {
		t.Fatalf("status %d, %v: %s", status, err, data)
	}
	ask := func(question string, container any, previous string) map[string]any {
		fields := map[string]any{"input": question, "include": []string{"code_interpreter_call.outputs"},
			"tools": []any{map[string]any{"type": "code_interpreter", "container": container}}}
		if previous != "" {
			fields["previous_response_id"] = previous
		}
		return fields
	}
	run := func(container any, previous, want string) *result {
		t.Helper()
		r := p.create(ask("What is 4321 * 1234?", container, previous))
		logs := fmt.Sprint([]any{map[string]any{"type": "logs", "logs": "5332114 in run " + want}})
		if calls := r.items("code_interpreter_call"); len(calls) != 1 || fmt.Sprint(calls[0]["outputs"]) != logs {
			t.Errorf("output %v, want run %s", r.Output, want)
		}
		return r
	}
	auto := map[string]any{"type": "auto"}
	first := run(auto, "", "1 of 1")
	run(made.ID, "", "1 of 1")
	for _, fields := range []map[string]any{ask("What is 12345 * 6789?", made.ID, ""), ask("What is 12345 * 6789?", auto, first.ID)} {
		next := p.stream(t.Context(), fields)
		for e, more := next(); e.name != "response.code_interpreter_call.interpreting"; e, more = next() {
			if !more {
				t.Fatal("the model ran no code")
			}
		}
	}
	eventually(t, "both cells", func() bool { return p.metric(`chorale_tool_instances{state="open",tool="python"}`) == "2" })
	p.cmd.Process.Kill()
	p.wait()
	p.exited = make(chan error, 1)
	p.launch(arguments...)
	run(made.ID, "", "2 of 2")
	second := run(auto, first.ID, "2 of 2")
	run(auto, second.ID, "3 of 3")
	run(auto, first.ID, "2 of 2")
}

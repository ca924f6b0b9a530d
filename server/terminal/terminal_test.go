package terminal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"chorale/server/terminal"
)

// A scene is what the server does with one request.
type scene struct {
	status int      // 0 = 200
	events []string // data of each, or the body of another status
	hang   bool     // after the events, until the client is gone
}

const (
	think  = `{"type":"response.reasoning_text.delta","delta":"hmm"}`
	say    = `{"type":"response.output_text.delta","delta":"hello"}`
	added  = `{"type":"response.output_item.added","item":{"type":"function_call","name":"f"}}`
	args   = `{"type":"response.function_call_arguments.delta","delta":"{\"a\":1}"}`
	done   = `{"type":"response.completed","response":{"id":"resp_1"}}`
	called = `{"type":"response.completed","response":{"id":"resp_1","output":[{"type":"function_call","name":"f","call_id":"call_1"}]}}`
)

// play serves the scenes one by one and returns what the client sent.
func play(t *testing.T, o terminal.Options, scenes ...scene) (requests []map[string]any, out, errs string, err error) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request map[string]any
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != "/v1/responses" {
			t.Errorf("request to %s: %v", r.URL, err)
		}
		request["key"] = r.Header.Get("Authorization")
		requests = append(requests, request)
		s := scenes[min(len(requests), len(scenes))-1]
		if s.status != 0 {
			w.WriteHeader(s.status)
			io.WriteString(w, s.events[0])
			return
		}
		for _, e := range s.events {
			fmt.Fprintf(w, "event: x\ndata: %s\n\n", e)
		}
		http.NewResponseController(w).Flush()
		if s.hang {
			<-r.Context().Done()
		}
	}))
	defer web.Close()
	var outBuffer, errBuffer bytes.Buffer
	o.Out, o.Err, o.URL = io.MultiWriter(&outBuffer, outOf(o)), &errBuffer, web.URL
	err = terminal.Run(t.Context(), o)
	return requests, outBuffer.String(), errBuffer.String(), err
}

func outOf(o terminal.Options) io.Writer {
	if o.Out == nil {
		return io.Discard
	}
	return o.Out
}

func TestTurnsFollowEachOther(t *testing.T) {
	t.Parallel()
	requests, out, _, err := play(t, terminal.Options{In: strings.NewReader("one\n\n  \ntwo"), APIKey: "k",
		Request: map[string]any{"instructions": "be kind"}}, scene{events: []string{think, say, done}})
	if err != nil || len(requests) != 2 {
		t.Fatalf("%d requests, %v", len(requests), err)
	}
	if out != "[reasoning] hmm\nhello\n[reasoning] hmm\nhello\n" {
		t.Errorf("output %q", out)
	}
	for i, want := range []map[string]any{
		{"input": "one", "stream": true, "instructions": "be kind", "key": "Bearer k"},
		{"input": "two", "stream": true, "instructions": "be kind", "key": "Bearer k", "previous_response_id": "resp_1"},
	} {
		if fmt.Sprint(requests[i]) != fmt.Sprint(want) {
			t.Errorf("request %d is %v, want %v", i, requests[i], want)
		}
	}
}

func TestTheUserAnswersFunctionCalls(t *testing.T) {
	t.Parallel()
	requests, out, _, err := play(t, terminal.Options{In: strings.NewReader("go\n42\n")},
		scene{events: []string{think, added, args, called}}, scene{events: []string{say, done}})
	if err != nil || len(requests) != 2 || out != "[reasoning] hmm\ncalls f {\"a\":1}\nhello\n" {
		t.Fatalf("%d requests, output %q, %v", len(requests), out, err)
	}
	if got := fmt.Sprint(requests[1]["input"]); got != "[map[call_id:call_1 output:42 type:function_call_output]]" {
		t.Errorf("second input %s", got)
	}
}

func TestLookOfAnAnswer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		o         terminal.Options
		scene     scene
		out, errs string
	}{
		{"dim in a terminal", terminal.Options{Interactive: true}, scene{events: []string{think, say, done}},
			"> \x1b[2mhmm\x1b[0m\nhello\n> \n", ""},
		{"hidden reasoning", terminal.Options{HideReasoning: true}, scene{events: []string{think, say, done}}, "hello\n", ""},
		{"control characters", terminal.Options{}, scene{events: []string{`{"type":"response.output_text.delta","delta":"a\u001b[2Jb\tc\nd"}`, done}},
			"a[2Jb\tc\nd\n", ""},
		{"incomplete", terminal.Options{}, scene{events: []string{say,
			`{"type":"response.incomplete","response":{"id":"r","incomplete_details":{"reason":"max_output_tokens"}}}`}},
			"hello\n", "(incomplete: max_output_tokens)\n"},
		{"code that runs", terminal.Options{}, scene{events: []string{`{"type":"response.output_item.added","item":{"type":"code_interpreter_call"}}`,
			`{"type":"response.code_interpreter_call_code.delta","delta":"print(1)"}`,
			`{"type":"response.output_item.done","item":{"type":"code_interpreter_call","outputs":[{"type":"logs","logs":"1\n\u001b[2J"},{"type":"image","url":"data:"}]}}`, say, done}},
			"runs print(1)\nprints 1\n[2J\na picture came out\nhello\n", ""},
		{"events of the future", terminal.Options{}, scene{events: []string{`{"type":"keepalive"}`, `{"type":"new","delta":"x"}`, say, done}}, "hello\n", ""},
		{"an error does not end a dialogue", terminal.Options{Interactive: true}, scene{events: []string{say, `{"type":"error","message":"no"}`}},
			"> hello\n> \n", "error: no\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.o.In = strings.NewReader("Hi\n")
			_, out, errs, err := play(t, test.o, test.scene)
			if err != nil || out != test.out || errs != test.errs {
				t.Errorf("out %q, err %q, %v; want %q, %q", out, errs, err, test.out, test.errs)
			}
		})
	}
}

func TestErrorsEndAScript(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		scene scene
		want  string
	}{
		{"refused", scene{status: 400, events: []string{`{"error":{"message":"bad effort"}}`}}, "bad effort"},
		{"not our server", scene{status: 502, events: []string{"<html>"}}, "502"},
		{"error event", scene{events: []string{`{"type":"error","message":"no"}`}}, "no"},
		{"failed", scene{events: []string{`{"type":"response.failed","response":{"error":{"message":"broken"}}}`}}, "broken"},
		{"cut off", scene{events: []string{say}}, "ended before"},
		{"broken event", scene{events: []string{"{"}}, "broken event"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, _, _, err := play(t, terminal.Options{In: strings.NewReader("a\nb\n")}, test.scene); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

// whenWritten calls once the text has been written.
type whenWritten struct {
	text string
	call func()
}

func (w whenWritten) Write(p []byte) (int, error) {
	if string(p) == w.text {
		w.call()
	}
	return len(p), nil
}

func TestInterruptStopsTheAnswerAndThenTheChat(t *testing.T) {
	t.Parallel()
	interrupts := make(chan os.Signal, 1)
	in, typed := io.Pipe()
	go io.WriteString(typed, "tell me\n")
	prompts := 0
	out := io.MultiWriter(
		whenWritten{"hello", func() { interrupts <- os.Interrupt }},
		whenWritten{"> ", func() {
			if prompts++; prompts == 2 {
				interrupts <- os.Interrupt
			}
		}})
	requests, text, errs, err := play(t, terminal.Options{In: in, Out: out, Interactive: true, Interrupts: interrupts},
		scene{events: []string{say}, hang: true})
	if err != nil || len(requests) != 1 || text != "> hello\n> \n" || errs != "" {
		t.Errorf("%d requests, output %q, errors %q, %v", len(requests), text, errs, err)
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	err := terminal.Run(context.Background(), terminal.Options{In: strings.NewReader("x"), Out: io.Discard, Err: io.Discard, URL: "http://127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("error %v, want the address in it", err)
	}
}

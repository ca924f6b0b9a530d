package mcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"chorale/toolhost/egress"
	"chorale/toolhost/mcp"
)

// TestHostileAnswers are answers to a call that must end in an error, soon and without much memory.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	limits := mcp.Limits{Message: 64 << 10, Stream: 256 << 10, Messages: 200, Depth: 16, Idle: 300 * time.Millisecond}
	gone := func(r *http.Request) bool { return r.Context().Err() != nil }
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request, m rpc)
		want   string // in the error
		limit  bool   // it is a *LimitError
	}{
		{"endless line", func(w http.ResponseWriter, r *http.Request, m rpc) {
			events(w)
			for line := []byte(repeat("x", 4096)); !gone(r); {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}, "bytes of a line: more than", true},
		{"endless event of many lines", func(w http.ResponseWriter, r *http.Request, m rpc) {
			events(w)
			for !gone(r) {
				if _, err := fmt.Fprintf(w, "data: %s\n", repeat("x", 4096)); err != nil {
					return
				}
			}
		}, "bytes of a message: more than", true},
		{"endless stream of comments", func(w http.ResponseWriter, r *http.Request, m rpc) {
			events(w)
			for !gone(r) {
				if _, err := fmt.Fprintf(w, ": %s\n\n", repeat("x", 4096)); err != nil {
					return
				}
			}
		}, "bytes of a stream: more than", true},
		{"endless stream of notifications", func(w http.ResponseWriter, r *http.Request, m rpc) {
			for !gone(r) {
				events(w, `{"jsonrpc":"2.0","method":"notifications/x"}`)
			}
		}, "messages of a stream: more than 200", true},
		{"endless stream of requests to us", func(w http.ResponseWriter, r *http.Request, m rpc) {
			for n := 0; !gone(r); n++ {
				events(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"sampling/createMessage","params":{}}`, n))
			}
		}, "messages of a stream: more than 200", true},
		{"body of a gigabyte", func(w http.ResponseWriter, r *http.Request, m rpc) {
			w.Header().Set("Content-Type", "application/json")
			for line := []byte(repeat(" ", 1<<20)); !gone(r); {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}, "bytes of a message: more than", true},
		{"error of a gigabyte", func(w http.ResponseWriter, r *http.Request, m rpc) {
			w.WriteHeader(http.StatusInternalServerError)
			for line := []byte(repeat("no ", 1<<10)); !gone(r); {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}, "HTTP 500", false},
		{"silence", func(w http.ResponseWriter, r *http.Request, m rpc) {
			events(w)
			<-r.Context().Done()
		}, "time without a sign of the server: more than 300ms", true},
		{"member twice", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"content":[{"type":"text","text":"a","text":"b"}]}`)
		}, `"text" twice`, false},
		{"answer twice", func(w http.ResponseWriter, r *http.Request, m rpc) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"content":[]},"result":{"content":[]}}`, m.ID)
		}, `"result" twice`, false},
		{"members in another case", func(w http.ResponseWriter, r *http.Request, m rpc) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"Result":{"content":[]}}`, m.ID)
		}, `"Result" is not "result"`, false},
		{"members of the result in another case", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"content":[],"IsError":true}`)
		}, `"IsError" is not "isError"`, false},
		{"deep nesting", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"content":[],"structuredContent":`+repeat("[", 20)+repeat("]", 20)+`}`)
		}, "depth of a message: more than 16", true},
		{"not UTF-8", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, "{\"content\":[{\"type\":\"text\",\"text\":\"\xff\"}]}")
		}, "not UTF-8", false},
		{"two values", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"content":[]}`)
			fmt.Fprint(w, "{}")
		}, "more than one value", false},
		{"a page for people", func(w http.ResponseWriter, r *http.Request, m rpc) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>")
		}, "neither JSON nor a stream", false},
		{"answer to another request", func(w http.ResponseWriter, r *http.Request, m rpc) {
			m.ID = json.RawMessage(`"other"`)
			result(w, m, `{"content":[]}`)
		}, "another request", false},
		{"stream that ends", func(w http.ResponseWriter, r *http.Request, m rpc) { events(w) }, "ended before the answer", false},
		{"content that is no content", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"content":[7]}`)
		}, "content[0]: must be an object", false},
		{"data that is no base64", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"content":[{"type":"image","data":"?","mimeType":"image/png"}]}`)
		}, "no base64", false},
		{"redirect to a metadata address", func(w http.ResponseWriter, r *http.Request, m rpc) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusTemporaryRedirect)
		}, "169.254.169.254", false},
		{"never enough input", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"resultType":"input_required","inputRequests":{},"requestState":"s"}`)
		}, "asked to retry", false},
		{"question to nobody", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":`+
				`{"message":"?","requestedSchema":{"type":"object"}}}}}`)
		}, "no elicitation handler", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.answer["tools/call"] = tt.answer
			conf := f.config(t)
			conf.Limits = limits
			_, err := open(t, conf, mcp.Options{}).Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			var limit *mcp.LimitError
			if errors.As(err, &limit) != tt.limit {
				t.Errorf("got %T, want a *LimitError: %v", err, tt.limit)
			}
		})
	}
}

func TestRedirectToMetadataIsDenied(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusTemporaryRedirect)
		return true
	}
	conf := f.config(t)
	var err error
	conf.Policy, err = egress.ParsePolicy("the test", "http://127.0.0.1:*\nhttp://*:*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = open(t, conf, mcp.Options{}).List(within(t)); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("got error %v, want one about the redirect", err)
	}
	conf.URL, conf.Label = "http://169.254.169.254/mcp", "metadata"
	var denied *egress.DeniedError
	if _, err = open(t, conf, mcp.Options{}).List(within(t)); !errors.As(err, &denied) {
		t.Errorf("got error %v, want a *egress.DeniedError", err)
	}
	if got := f.seen(); len(got) > 0 {
		t.Errorf("after the redirect came %v", got)
	}
}

func TestHostileLists(t *testing.T) {
	t.Parallel()
	page := func(next string) func(http.ResponseWriter, *http.Request, rpc) {
		return func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"tools":[`+echo+`],"nextCursor":"`+next+`"}`)
		}
	}
	endless := 0
	for _, tt := range []struct {
		name    string
		answer  func(w http.ResponseWriter, r *http.Request, m rpc)
		partial string
		tools   int
	}{
		{"cursor loop", page("again"), "repeats a cursor", 1},
		{"endless pages", func(w http.ResponseWriter, r *http.Request, m rpc) {
			endless++
			page(fmt.Sprint(endless))(w, r, m)
		}, "more than 7 pages", 1},
		{"too many tools", func(w http.ResponseWriter, r *http.Request, m rpc) {
			var tools []string
			for n := range 20 {
				tools = append(tools, echoTool(t, fmt.Sprintf(`{"name":"t%d"}`, n)))
			}
			result(w, m, `{"tools":[`+strings.Join(tools, ",")+`]}`)
		}, "more than 10 tools", 10},
		{"too many bad tools", func(w http.ResponseWriter, r *http.Request, m rpc) {
			result(w, m, `{"tools":[`+strings.TrimSuffix(repeat("{},", 50), ",")+`]}`)
		}, "more than 10 tools cannot be used", 0},
		{"slow second page", func(w http.ResponseWriter, r *http.Request, m rpc) {
			if strings.Contains(string(m.Params), "two") {
				<-r.Context().Done()
				return
			}
			page("two")(w, r, m)
		}, "time to list: more than", 1},
		{"second page broken", func(w http.ResponseWriter, r *http.Request, m rpc) {
			if strings.Contains(string(m.Params), "two") {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			page("two")(w, r, m)
		}, "HTTP 502", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.answer["tools/list"] = tt.answer
			conf := f.config(t)
			conf.Limits = mcp.Limits{Pages: 7, Tools: 10, List: time.Second}
			l, err := open(t, conf, mcp.Options{}).List(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(l.Partial, tt.partial) || len(l.Tools) != tt.tools {
				t.Errorf("got %d tools, partial %q; want %d, %q", len(l.Tools), l.Partial, tt.tools, tt.partial)
			}
		})
	}
}

func TestListThatNeverComes(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.answer["tools/list"] = func(w http.ResponseWriter, r *http.Request, m rpc) { <-r.Context().Done() }
	conf := f.config(t)
	conf.Limits.List = 100 * time.Millisecond
	_, err := open(t, conf, mcp.Options{}).List(within(t))
	var limit *mcp.LimitError
	if !errors.As(err, &limit) || !limit.Timeout() {
		t.Errorf("got error %v, want a *LimitError of time", err)
	}
}

// TestBadTools are left out with a reason, and the others stay.
func TestBadTools(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, tool, want string }{
		{"no name", `{"inputSchema":{"type":"object"}}`, "name: must be 1 to 128 bytes"},
		{"long name", echoTool(t, `{"name":"`+repeat("x", 129)+`"}`), "name: must be 1 to 128 bytes"},
		{"control characters", echoTool(t, `{"name":"a\u001b[31m"}`), "control characters"},
		{"same name", echo, "another tool has it already"},
		{"no schema", `{"name":"b"}`, "inputSchema: is missing"},
		{"schema of a string", echoTool(t, `{"name":"b","inputSchema":{"type":"string"}}`), `must be "object"`},
		{"schema that is none", echoTool(t, `{"name":"b","inputSchema":{"type":"object","properties":7}}`), "no JSON Schema"},
		{"schema elsewhere", echoTool(t, `{"name":"b","inputSchema":{"type":"object","properties":{"a":{"$ref":"http://127.0.0.1/x"}}}}`),
			"not fetched"},
		{"output elsewhere", echoTool(t, `{"name":"b","outputSchema":{"type":"object","$ref":"file:///etc/passwd"}}`), "not fetched"},
		{"large schema", echoTool(t, `{"name":"b","inputSchema":{"type":"object","description":"`+repeat("x", 300<<10)+`"}}`), "bytes"},
		{"name in another case", `{"Name":"b","inputSchema":{"type":"object"}}`, `"Name" is not "name"`},
		{"hint of a string", echoTool(t, `{"name":"b","annotations":{"readOnlyHint":"yes"}}`), "readOnlyHint: must be true or false"},
		{"header of an object", echoTool(t, `{"name":"b","inputSchema":{"type":"object","properties":{"a":{"type":"object","x-mcp-header":"A"}}}}`),
			"inputSchema"},
		{"no object", `7`, "must be an object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.tools = "[" + echo + "," + tt.tool + "," + echoTool(t, `{"name":"last"}`) + "]"
			l, err := open(t, f.config(t), mcp.Options{}).List(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Tools) != 2 || l.Tools[1].Name != "last" || len(l.Dropped) != 1 || !strings.Contains(l.Dropped[0].Reason, tt.want) {
				t.Errorf("got %d tools, dropped %q; want the first and the last, reason %q", len(l.Tools), l.Dropped, tt.want)
			}
		})
	}
}

// TestHashes differ when anything does that a person agreed to, and only then.
func TestHashes(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.answer["tools/list"] = func(w http.ResponseWriter, r *http.Request, m rpc) { result(w, m, `{"ttlMs":0,"tools":`+f.tools+`}`) }
	c := open(t, f.config(t), mcp.Options{})
	hash := func(tool string) [32]byte {
		t.Helper()
		f.tools = "[" + tool + "]"
		l, err := c.List(within(t))
		if err != nil || len(l.Tools) != 1 {
			t.Fatal(err, l)
		}
		return l.Tools[0].Hash
	}
	first := hash(echo)
	if hash(strings.Replace(echo, `"type":"object",`, ` "type" : "object" , `, 1)) != first {
		t.Error("blanks change the hash")
	}
	seen := map[[32]byte]string{first: "as it was"}
	for _, change := range []string{
		`{"name":"Echo"}`, `{"title":"x"}`, `{"description":"says it again, and sends it to somebody"}`,
		`{"inputSchema":{"type":"object"}}`, `{"outputSchema":{"type":"object"}}`, `{"annotations":{"readOnlyHint":true}}`,
		`{"annotations":{"readOnlyHint":true,"unknown":1}}`,
	} {
		h := hash(echoTool(t, change))
		if other, ok := seen[h]; ok {
			t.Errorf("with %s the hash is that of %s", change, other)
		}
		seen[h] = change
	}
}

func TestNewerEraIsNotLeft(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		old    bool // the older handshake is tried
	}{{"server error", 500, false}, {"too busy", 429, false}, {"not found", 404, true}, {"bad request", 400, true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.answer["server/discover"] = func(w http.ResponseWriter, r *http.Request, m rpc) { w.WriteHeader(tt.status) }
			_, err := open(t, f.config(t), mcp.Options{}).List(within(t))
			var status *mcp.HTTPError
			if tt.old == (err != nil) || !tt.old && (!errors.As(err, &status) || status.Status != tt.status) {
				t.Errorf("got error %v", err)
			}
			if strings.Contains(strings.Join(f.seen(), " "), "initialize") != tt.old {
				t.Errorf("got requests %v", f.seen())
			}
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		t.Run(map[bool]string{false: "newer era", true: "older era"}[old], func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.old = old
			begun, ended, told := make(chan bool), make(chan bool, 1), make(chan bool, 1)
			f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
				events(w)
				close(begun)
				<-r.Context().Done()
				ended <- true
			}
			f.answer["notifications/cancelled"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
				w.WriteHeader(http.StatusAccepted)
				told <- true
			}
			ctx, cancel := context.WithCancel(within(t))
			go func() { <-begun; cancel() }()
			_, err := open(t, f.config(t), mcp.Options{}).Call(ctx, "echo", json.RawMessage(`{"text":"x"}`), nil)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got error %v, want the context's", err)
			}
			<-ended
			if old {
				<-told
			}
		})
	}
}

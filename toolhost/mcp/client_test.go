package mcp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/toolhost"
	"chorale/toolhost/mcp"
)

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		c    mcp.Config
		want string
	}{
		{"no label", mcp.Config{URL: "http://a.example"}, "Label"},
		{"neither", mcp.Config{Label: "a"}, "exactly one"},
		{"both", mcp.Config{Label: "a", URL: "http://a.example", Command: []string{"x"}}, "exactly one"},
		{"file", mcp.Config{Label: "a", URL: "file:///etc/passwd"}, "URL"},
		{"user in URL", mcp.Config{Label: "a", URL: "http://u:p@a.example"}, "URL"},
		{"environment of a URL", mcp.Config{Label: "a", URL: "http://a.example", Env: map[string]string{"A": "b"}}, "Env"},
		{"header of a command", mcp.Config{Label: "a", Command: []string{"x"}, Header: map[string]string{"A": "b"}}, "Header"},
		{"no command", mcp.Config{Label: "a", Command: []string{""}}, "Command"},
		{"header name", mcp.Config{Label: "a", URL: "http://a.example", Header: map[string]string{"A b": key}}, "no name of a header"},
		{"header value", mcp.Config{Label: "a", URL: "http://a.example", Header: map[string]string{"A": key + "\n"}}, "control characters"},
		{"header of the protocol", mcp.Config{Label: "a", URL: "http://a.example", Header: map[string]string{"mcp-method": "x"}}, "belongs to"},
		{"two tokens", mcp.Config{Label: "a", URL: "http://a.example", Authorization: key, Header: map[string]string{"authorization": "x"}}, "only one"},
		{"variable", mcp.Config{Label: "a", Command: []string{"x"}, Env: map[string]string{"A=B": key}}, "Env"},
		{"nobody to ask", mcp.Config{Label: "a", URL: "http://a.example", OAuth: &mcp.OAuth{}}, "OAuth.Authorize"},
		{"negative", mcp.Config{Label: "a", URL: "http://a.example", Limits: mcp.Limits{Depth: -1}}, "Limits.Depth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := mcp.New(tt.c, mcp.Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), key) {
				t.Errorf("got error %v, want one with %q and no secret", err, tt.want)
			}
		})
	}
}

func TestEras(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		old          bool
		era, version string
		requests     []string // of two lists and a call with a new connection between
	}{
		{"newer", false, "modern", "2026-07-28", []string{"server/discover", "tools/list", "tools/call"}},
		{"older", true, "legacy", "2025-11-25",
			[]string{"server/discover", "initialize", "notifications/initialized", "tools/list", "tools/call", "DELETE"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.old = tt.old
			c := open(t, f.config(t), mcp.Options{})
			l, err := c.List(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if l.Era != tt.era || l.Version != tt.version || l.Server.Name != "fake" {
				t.Errorf("got %s %s of %+v, want %s %s", l.Era, l.Version, l.Server, tt.era, tt.version)
			}
			if r, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); err != nil || r.Text() != "done" {
				t.Errorf("got %v, %v", r, err)
			}
			c.Close()
			if got := f.seen(); !slices.Equal(got, tt.requests) {
				t.Errorf("got requests %v, want %v", got, tt.requests)
			}
			if _, err := c.List(within(t)); !errors.Is(err, mcp.ErrClosed) {
				t.Errorf("after Close: got error %v", err)
			}
		})
	}
}

// TestForgottenSession is opened again, in the era that is known by now, and the call is made once more.
func TestForgottenSession(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.old = true
	c := open(t, f.config(t), mcp.Options{})
	if _, err := c.List(within(t)); err != nil {
		t.Fatal(err)
	}
	calls := 0
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		if calls++; calls == 1 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		result(w, m, `{"content":[]}`)
	}
	if _, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"tools/list", "tools/call", "initialize", "notifications/initialized", "tools/list", "tools/call"}
	if got := f.seen(); !slices.Equal(got[3:], want) {
		t.Errorf("got requests %v, want %v", got[3:], want)
	}
}

// TestForgottenSessionOfMany is noticed by many calls at once, and all are made.
func TestForgottenSessionOfMany(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.old = true
	var mu sync.Mutex
	good, sessions := "s1", 1
	f.answer["initialize"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Mcp-Session-Id", fmt.Sprintf("s%d", sessions))
		good = fmt.Sprintf("s%d", sessions)
		sessions++
		result(w, m, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"fake","version":"1"}}`)
	}
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Mcp-Session-Id") != good {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		result(w, m, `{"content":[]}`)
	}
	conf := f.config(t)
	conf.Trusted = true
	f.tools = "[" + echoTool(t, `{"annotations":{"readOnlyHint":true}}`) + "]"
	c := open(t, conf, mcp.Options{})
	if _, err := c.List(within(t)); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	good = "none"
	mu.Unlock()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if sessions != 3 {
		t.Errorf("got %d sessions, want 2", sessions-1)
	}
}

// TestCallAs is made only with the definition that was seen.
func TestCallAs(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.answer["tools/list"] = func(w http.ResponseWriter, r *http.Request, m rpc) { result(w, m, `{"ttlMs":0,"tools":`+f.tools+`}`) }
	c := open(t, f.config(t), mcp.Options{})
	l, err := c.List(within(t))
	if err != nil {
		t.Fatal(err)
	}
	call := func() error {
		_, err := c.CallAs(within(t), "echo", l.Tools[0].Hash, json.RawMessage(`{"text":"x"}`), nil)
		return err
	}
	if err := call(); err != nil {
		t.Error(err)
	}
	f.tools = "[" + echoTool(t, `{"description":"says it to somebody else"}`) + "]"
	if _, err := c.List(within(t)); err != nil {
		t.Fatal(err)
	}
	var changed *mcp.ChangedError
	if err := call(); !errors.As(err, &changed) {
		t.Errorf("got error %v, want a *ChangedError", err)
	}
}

// TestTimes are limits that the other tests do not hit.
func TestTimes(t *testing.T) {
	t.Parallel()
	hang := func(w http.ResponseWriter, r *http.Request, m rpc) { <-r.Context().Done() }
	call := func(t *testing.T, f *fake, l mcp.Limits) (*mcp.Client, error) {
		conf := f.config(t)
		conf.Limits = l
		c := open(t, conf, mcp.Options{})
		_, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
		return c, err
	}
	t.Run("the question for the era is not answered", func(t *testing.T) {
		t.Parallel()
		f := serve(t)
		f.answer["server/discover"] = hang
		if _, err := call(t, f, mcp.Limits{Probe: 100 * time.Millisecond}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a call lasts too long", func(t *testing.T) {
		t.Parallel()
		f := serve(t)
		f.answer["tools/call"] = hang
		if _, err := call(t, f, mcp.Limits{Call: 200 * time.Millisecond}); err == nil || err.Error() != "time of a call: more than 200ms" {
			t.Errorf("got error %v", err)
		}
	})
	t.Run("a list is too old", func(t *testing.T) {
		t.Parallel()
		f := serve(t)
		c, err := call(t, f, mcp.Limits{Cache: time.Nanosecond})
		if _, again := c.List(within(t)); err != nil || again != nil {
			t.Fatal(err, again)
		}
		if got := f.seen(); len(got) != 4 || got[3] != "tools/list" {
			t.Errorf("got %v, want a second list", got)
		}
	})
}

// TestRepeats: a call whose answer was lost is made again only where that does no harm.
func TestRepeats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, annotations string
		trusted           bool
		calls             int
	}{
		{"nothing said", `{}`, true, 1},
		{"idempotent and trusted", `{"idempotentHint":true}`, true, 2},
		{"reads only and trusted", `{"readOnlyHint":true}`, true, 2},
		{"idempotent in its own words", `{"idempotentHint":true}`, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.tools = "[" + echoTool(t, `{"annotations":`+tt.annotations+`}`) + "]"
			var mu sync.Mutex
			calls := 0
			f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				events(w) // and no answer
			}
			conf := f.config(t)
			conf.Trusted = tt.trusted
			if _, err := open(t, conf, mcp.Options{}).Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); err == nil {
				t.Error("got no error")
			}
			mu.Lock()
			defer mu.Unlock()
			if calls != tt.calls {
				t.Errorf("got %d calls, want %d", calls, tt.calls)
			}
		})
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	changed := func(w http.ResponseWriter, r *http.Request, m rpc) {
		events(w, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`,
			fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[]}}`, m.ID))
	}
	for _, tt := range []struct {
		name, ttl string
		call      func(http.ResponseWriter, *http.Request, rpc)
		lists     int // of List, Call, List
	}{
		{"holds", ``, nil, 1},
		{"holds as long as the server says", `,"ttlMs":60000`, nil, 1},
		{"does not hold", `,"ttlMs":0`, nil, 2},
		{"has changed", ``, changed, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.answer["tools/list"] = func(w http.ResponseWriter, r *http.Request, m rpc) { result(w, m, `{"tools":`+f.tools+tt.ttl+`}`) }
			if tt.call != nil {
				f.answer["tools/call"] = tt.call
			}
			c := open(t, f.config(t), mcp.Options{})
			_, err1 := c.List(within(t))
			_, err2 := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
			_, err3 := c.List(within(t))
			if err := errors.Join(err1, err2, err3); err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, m := range f.seen() {
				if m == "tools/list" {
					n++
				}
			}
			if n != tt.lists {
				t.Errorf("got %d lists, want %d", n, tt.lists)
			}
		})
	}
}

// TestListen hears of a change while nothing is called, in both eras.
func TestListen(t *testing.T) {
	t.Parallel()
	const change = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
	for _, old := range []bool{false, true} {
		t.Run(map[bool]string{false: "newer era", true: "older era"}[old], func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.old = old
			stream := func(w http.ResponseWriter, r *http.Request, m rpc) {
				events(w, change)
				<-r.Context().Done()
			}
			f.answer["GET"], f.answer["subscriptions/listen"] = stream, stream
			heard := make(chan mcp.Notification, 8)
			conf := f.config(t)
			conf.Listen = true
			c := open(t, conf, mcp.Options{Notify: func(n mcp.Notification) { heard <- n }})
			if _, err := c.List(within(t)); err != nil {
				t.Fatal(err)
			}
			select {
			case n := <-heard:
				if n.Kind != "list_changed" || n.Label != "fake" {
					t.Errorf("got %+v", n)
				}
			case <-within(t).Done():
				t.Error("heard nothing")
			}
			c.Close() // also while the stream is open
		})
	}
}

func TestProgressAndLogs(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		var p struct {
			Meta map[string]json.RawMessage `json:"_meta"`
		}
		json.Unmarshal(m.Params, &p)
		progress := func(token, rest string) string {
			return `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + token + `,` + rest + `}}`
		}
		token := string(p.Meta["progressToken"])
		events(w, progress(token, `"progress":1,"total":4,"message":"first"`), progress(token, `"progress":2`),
			progress(`"other"`, `"progress":9`), progress(token, `"progress":9,"total":4`),
			`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","data":"hot\u001b[31m"}}`,
			fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[],"_meta":{"parent":%s}}}`, m.ID, p.Meta["traceparent"]))
	}
	var got []string
	logs := make(chan mcp.Notification, 1)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	c := open(t, f.config(t), mcp.Options{
		Notify: func(n mcp.Notification) { logs <- n },
		Trace:  func(context.Context) (string, string) { return parent, "" },
	})
	r, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), func(m string, n float64) { got = append(got, fmt.Sprint(m, n)) })
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"first0.25", "-1", "1"}; !slices.Equal(got, want) {
		t.Errorf("got progress %q, want %q", got, want)
	}
	if !strings.Contains(string(r.Meta), parent) {
		t.Errorf("got _meta %s, want the trace's parent", r.Meta)
	}
	if n := <-logs; n.Kind != "log" || n.Level != "warning" || n.Message != "hot[31m" {
		t.Errorf("got %+v", n)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	f := serve(t)
	var got json.RawMessage
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		var p struct {
			Arguments json.RawMessage `json:"arguments"`
		}
		json.Unmarshal(m.Params, &p)
		got = p.Arguments
		result(w, m, `{"content":[]}`)
	}
	c := open(t, f.config(t), mcp.Options{})
	for _, tt := range []struct{ name, arguments, want, sent string }{
		{"good", `{"text":"a"}`, "", `{"text":"a"}`},
		{"large number stays", `{"text":"a","n":12345678901234567890}`, "", `{"text":"a","n":12345678901234567890}`},
		{"optional null", `{"text":"a","loud":null}`, "", `{"text":"a"}`},
		{"none", ``, "missing property 'text'", ""},
		{"wrong type", `{"text":7}`, "text: got number, want string", ""},
		{"required null", `{"text":null}`, "text: got null, want string", ""},
		{"twice", `{"text":"a","text":"b"}`, `"text" twice`, ""},
		{"no JSON", `{"text":`, "too early", ""},
		{"no object", `[]`, "got array, want object", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got = nil
			_, err := c.Call(within(t), "echo", json.RawMessage(tt.arguments), nil)
			var wrong *mcp.ArgumentsError
			switch {
			case tt.want == "" && (err != nil || string(got) != tt.sent):
				t.Errorf("got %s, error %v; want %s", got, err, tt.sent)
			case tt.want != "" && (!errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.want) || got != nil):
				t.Errorf("got error %v, sent %s; want an *ArgumentsError with %q", err, got, tt.want)
			}
		})
	}
	if _, err := c.Call(within(t), "other", nil, nil); !errors.Is(err, mcp.ErrUnknown) {
		t.Errorf("unknown tool: got error %v", err)
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, result, text, note string }{
		{"every kind", `{"content":[{"type":"text","text":"a"},{"type":"image","data":"AAAA","mimeType":"image/png"},` +
			`{"type":"audio","data":"AAAA","mimeType":"audio/wav"},{"type":"resource","resource":{"uri":"file:///x","mimeType":"text/plain","text":"b"}},` +
			`{"type":"resource","resource":{"uri":"file:///y","blob":"AAAA"}},` +
			`{"type":"resource_link","uri":"file:///z","name":"z","description":"last"},{"type":"hologram","x":1}],"structuredContent":{"n":1}}`,
			"a\n[image image/png, 3 bytes]\n[audio audio/wav, 3 bytes]\n[resource text/plain file:///x]\nb\n[resource file:///y, 3 bytes]\n" +
				"[link file:///z: z, last]\n[content of type \"hologram\"]\n{\"type\":\"hologram\",\"x\":1}", ""},
		{"structured only", `{"content":[],"structuredContent":{"n":12345678901234567890}}`, `{"n":12345678901234567890}`, ""},
		{"structured that does not fit", `{"content":[],"structuredContent":{"n":"x"}}`, "", "n: got string, want number"},
		{"structured that is missing", `{"content":[{"type":"text","text":"a"}]}`, "", "no structured form"},
		{"failed without structured", `{"content":[{"type":"text","text":"no"}],"isError":true}`, "no", ""},
		{"text too long", `{"content":[{"type":"text","text":"` + repeat("x", 2000) + `"}],"structuredContent":{"n":1}}`, "", "text cut, "},
		{"image too large", `{"content":[{"type":"image","data":"` + repeat("AAAA", 1000) + `","mimeType":"image/png"}],"structuredContent":{"n":1}}`,
			"", "image of 3000 bytes left out"},
		{"structured too large", `{"content":[],"structuredContent":{"n":1,"x":"` + repeat("x", 2000) + `"}}`, "", "structured result of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			f.tools = "[" + echoTool(t, `{"outputSchema":{"type":"object","properties":{"n":{"type":"number"}}}}`) + "]"
			f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) { result(w, m, tt.result) }
			conf := f.config(t)
			conf.Limits.Result = 1000
			r, err := open(t, conf, mcp.Options{}).Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.note == "" && (r.Text() != tt.text || len(r.Notes) > 0) {
				t.Errorf("got text\n%s\nwant\n%s\nnotes %q", r.Text(), tt.text, r.Notes)
			}
			if tt.note != "" && (len(r.Notes) != 1 || !strings.Contains(r.Notes[0], tt.note) || !strings.Contains(r.Text(), "[Note: ")) {
				t.Errorf("got notes %q, want one with %q", r.Notes, tt.note)
			}
			if r.Failed != (tt.name == "failed without structured") {
				t.Errorf("got failed: %v", r.Failed)
			}
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	f := serve(t)
	long := repeat("x", 100)
	var tools []string
	names := []string{"plain", "a.b", "a/b", "a_b", "größe", long, long + "y"}
	for _, n := range names {
		tools = append(tools, echoTool(t, `{"name":"`+n+`"}`))
	}
	f.tools = "[" + strings.Join(tools, ",") + "]"
	l, err := open(t, f.config(t), mcp.Options{}).List(within(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"plain", "a_b", "a_b_2", "a_b_3", "gr__e", repeat("x", 64), repeat("x", 62) + "_2"}
	for i, tool := range l.Tools {
		back, ok := l.ByFunction(want[i])
		if tool.Function != want[i] || !ok || back.Name != names[i] {
			t.Errorf("%s: got function %s, which is %q; want %s", names[i], tool.Function, back.Name, want[i])
		}
	}
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.tools = "[" + echoTool(t, `{"annotations":{"title":"T","readOnlyHint":true,"include_in_prompt":false}}`) + "]"
	l, err := open(t, f.config(t), mcp.Options{}).List(within(t))
	if err != nil {
		t.Fatal(err)
	}
	a := l.Tools[0].Annotations
	if !l.Tools[0].Hidden || a == nil || a.Title != "T" || a.ReadOnly == nil || !*a.ReadOnly || a.Destructive != nil {
		t.Errorf("got %+v, hidden %v", a, l.Tools[0].Hidden)
	}
}

// TestCloseEndsCalls that wait for a server, and whoever connects.
func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"server/discover", "tools/list", "tools/call"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			f := serve(t)
			begun := make(chan bool, 1)
			f.answer[method] = func(w http.ResponseWriter, r *http.Request, m rpc) {
				begun <- true
				<-r.Context().Done()
			}
			c := open(t, f.config(t), mcp.Options{})
			go func() { <-begun; c.Close() }()
			if _, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); !errors.Is(err, mcp.ErrClosed) {
				t.Errorf("got error %v, want ErrClosed", err)
			}
		})
	}
}

// TestSecrets are in no error, result, notification or log, whatever the server sends back.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const header = "header-canary-1234"
	f := serve(t)
	back := "Authorization: Bearer " + key + " X-Key: " + header
	answers := map[string]func(http.ResponseWriter, *http.Request, rpc){
		"text": func(w http.ResponseWriter, r *http.Request, m rpc) {
			if r.Header.Get("Authorization") != "Bearer "+key || r.Header.Get("X-Key") != header {
				t.Error("the secrets were not sent")
			}
			result(w, m, `{"content":[{"type":"text","text":"`+back+`"}],"structuredContent":{"`+key+`":"`+key+`"}}`)
		},
		"error": func(w http.ResponseWriter, r *http.Request, m rpc) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":%q,"data":%q}}`, m.ID, back, back)
		},
		"status": func(w http.ResponseWriter, r *http.Request, m rpc) { http.Error(w, back, 500) },
		"challenge": func(w http.ResponseWriter, r *http.Request, m rpc) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+back+`", scope="`+key+`"`)
			w.WriteHeader(401)
		},
		"log": func(w http.ResponseWriter, r *http.Request, m rpc) {
			events(w, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"`+back+`"}}`)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request, m rpc) {
			http.Redirect(w, r, "http://127.0.0.1:1/?"+url.QueryEscape(back), http.StatusTemporaryRedirect)
		},
	}
	for name, a := range answers {
		t.Run(name, func(t *testing.T) {
			var logs bytes.Buffer
			var told []string
			f.answer["tools/call"] = a
			conf := f.config(t)
			conf.Authorization, conf.Header = key, map[string]string{"X-Key": header}
			c := open(t, conf, mcp.Options{
				Logger: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
				Notify: func(n mcp.Notification) { told = append(told, fmt.Sprint(n)) },
			})
			r, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
			all := fmt.Sprintf("%+v %#v %v %s %q", r, err, err, logs.String(), told)
			if r != nil {
				all += r.Text() + string(r.Structured)
			}
			for _, secret := range []string{key, header} {
				if strings.Contains(all, secret) {
					t.Errorf("%s is in %s", secret, all)
				}
			}
		})
	}
}

func TestUnauthorized(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="x", Bearer scope="read write", resource_metadata="http://x.example/"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	_, err := open(t, f.config(t), mcp.Options{}).List(within(t))
	var auth *mcp.AuthError
	if !errors.As(err, &auth) || auth.Scope != "read write" || auth.Status != 401 {
		t.Errorf("got error %v, want an *AuthError with the scope", err)
	}
}

// TestLegacy is HTTP+SSE, which is used only with the operator's leave.
func TestLegacy(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, endpoint string) *fake {
		f := serve(t)
		stream := make(chan string, 8)
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.Method == http.MethodGet && r.URL.Path == "/mcp":
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprintf(w, "event: endpoint\ndata: %s\n\n", endpoint)
				w.(http.Flusher).Flush()
				for {
					select {
					case s := <-stream:
						events(w, s)
					case <-r.Context().Done():
						return true
					}
				}
			case r.URL.Path == "/mcp":
				w.WriteHeader(http.StatusMethodNotAllowed)
				return true
			}
			var m rpc
			if json.NewDecoder(r.Body).Decode(&m) == nil && m.ID != nil {
				answer := `{"content":[{"type":"text","text":"done"}]}`
				switch m.Method {
				case "initialize":
					answer = `{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"old","version":"1"}}`
				case "tools/list":
					answer = `{"tools":` + f.tools + `}`
				}
				stream <- fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, answer)
			}
			w.WriteHeader(http.StatusAccepted)
			return true
		}
		return f
	}
	t.Run("not allowed", func(t *testing.T) {
		t.Parallel()
		var status *mcp.HTTPError
		if _, err := open(t, start(t, "/messages").config(t), mcp.Options{}).List(within(t)); !errors.As(err, &status) {
			t.Errorf("got error %v, want a *HTTPError", err)
		}
	})
	t.Run("allowed", func(t *testing.T) {
		t.Parallel()
		conf := start(t, "/messages?session=1").config(t)
		conf.Legacy = true
		c := open(t, conf, mcp.Options{})
		r, err := c.Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
		if err != nil || r.Text() != "done" {
			t.Fatal(r, err)
		}
		if l, err := c.List(within(t)); err != nil || l.Version != "2024-11-05" {
			t.Errorf("got %+v, %v", l, err)
		}
	})
	t.Run("endpoint elsewhere", func(t *testing.T) {
		t.Parallel()
		conf := start(t, "http://169.254.169.254/").config(t)
		conf.Legacy = true
		if _, err := open(t, conf, mcp.Options{}).List(within(t)); err == nil || !strings.Contains(err.Error(), "another origin") {
			t.Errorf("got error %v", err)
		}
	})
}

func TestTool(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.tools = "[" + echo + "," + echoTool(t, `{"name":"pic.ture"}`) + "," + echoTool(t, `{"name":"third"}`) + "]"
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		if strings.Contains(string(m.Params), "pic.ture") {
			result(w, m, `{"content":[{"type":"image","data":"AAAA","mimeType":"image/png"}],"structuredContent":{"a":1}}`)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	c := open(t, f.config(t), mcp.Options{})
	l, err := c.List(within(t))
	if err != nil {
		t.Fatal(err)
	}
	set, err := toolhost.NewSet(mcp.NewTool(c, l, []string{"echo", "pic.ture"}))
	if err != nil {
		t.Fatal(err)
	}
	if spec, _ := set.Spec("fake"); len(spec.Functions) != 2 || spec.Functions[1].Name != "pic_ture" {
		t.Errorf("got %+v", spec)
	}
	s := set.NewSession(toolhost.SessionOptions{})
	defer s.Close()
	out := s.Do(within(t), []toolhost.Call{
		{Tool: "fake", Function: "pic_ture", Input: `{"text":"x"}`}, {Tool: "fake", Function: "echo", Input: `{"text":"x"}`},
		{Tool: "fake", Function: "echo", Input: `{}`},
	})
	if o := out[0]; o.Failed || len(o.Files) != 1 || o.Files[0].MIME != "image/png" || string(o.Structured) != `{"a":1}` {
		t.Errorf("picture: got %+v", o)
	}
	for i, want := range []string{"HTTP 503", "Correct them"} {
		if o := out[i+1]; !o.Failed || o.Err != nil || !strings.Contains(o.Text, want) {
			t.Errorf("got %+v, want a failure with %q", o, want)
		}
	}
}

// TestResume is the older era's way to wait: the stream ends, and its rest is asked for.
func TestResume(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.old = true
	var id json.RawMessage
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		id = m.ID
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "id: 7\nretry: 1\ndata:\n\n")
	}
	f.answer["GET"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		if got := r.Header.Get("Last-Event-ID"); got != "7" {
			t.Errorf("got Last-Event-ID %q, want 7", got)
		}
		events(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"late"}]}}`, id))
	}
	r, err := open(t, f.config(t), mcp.Options{}).Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil)
	if err != nil || r.Text() != "late" {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		var p struct {
			Arguments struct{ Text string } `json:"arguments"`
		}
		json.Unmarshal(m.Params, &p)
		result(w, m, fmt.Sprintf(`{"content":[{"type":"text","text":%q}]}`, p.Arguments.Text))
	}
	http := open(t, f.config(t), mcp.Options{})
	pipe := open(t, mcp.Config{Command: peer(t, "server-everything")}, mcp.Options{})
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			c, arguments, want := http, fmt.Sprintf(`{"text":"%d"}`, n), fmt.Sprint(n)
			if n%2 == 1 {
				c, arguments, want = pipe, fmt.Sprintf(`{"message":"%d"}`, n), fmt.Sprintf("Echo: %d", n)
			}
			r, err := c.Call(within(t), "echo", json.RawMessage(arguments), nil)
			if err != nil || r.Text() != want {
				t.Errorf("got %v, %v; want %s", r, err, want)
			}
		})
	}
	wg.Wait()
}

// TestIdleIsNotTotal: a call lasts longer than Limits.Idle while the server says that it works.
func TestIdleIsNotTotal(t *testing.T) {
	t.Parallel()
	f := serve(t)
	f.answer["tools/call"] = func(w http.ResponseWriter, r *http.Request, m rpc) {
		events(w)
		for tick, n := time.NewTicker(50*time.Millisecond), 0; n < 30; n++ {
			<-tick.C
			fmt.Fprint(w, ": I am here\n")
			w.(http.Flusher).Flush()
		}
		events(w, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[]}}`, m.ID))
	}
	conf := f.config(t)
	conf.Limits.Idle = time.Second
	if _, err := open(t, conf, mcp.Options{}).Call(within(t), "echo", json.RawMessage(`{"text":"x"}`), nil); err != nil {
		t.Error(err)
	}
}

package mcp_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chorale/server/mcp"
	"chorale/toolhost"
)

func code(code, session string) map[string]any {
	if session == "" {
		return map[string]any{"code": code}
	}
	return map[string]any{"code": code, "session": session}
}

func TestSessionsOfTools(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, python()), nil)
	eras(t, h, func(t *testing.T, h *host) {
		a, b := h.open("python"), h.open("python")
		for i, c := range []struct{ code, session, want string }{
			{"1", "", "1"}, {"2", "", "2"}, {"3", a, "3"}, {"4", a, "34"}, {"5", b, "5"}, {"6", a, "346"}, {"break", a, ""}, {"7", a, "3467"},
		} {
			got := h.call("python", code(c.code, c.session))
			if c.want != "" && got.text() != c.want || got.IsError != (c.want == "") {
				t.Errorf("call %d: %q, failed %v; want %q", i, got.text(), got.IsError, c.want)
			}
			if c.want == "" && !strings.Contains(got.text(), "as it was") {
				t.Errorf("call %d: %q does not say what became of the session", i, got.text())
			}
		}
		if got := h.as("other").call2("python", code("8", b)); !got.IsError || !strings.Contains(got.text(), "no such session") {
			t.Errorf("another key uses the session: %q", got.text())
		}
		if got := h.as("other").call2("python_session", map[string]any{"action": "close", "session": b}); !got.IsError {
			t.Errorf("another key closes the session: %q", got.text())
		}
		if got := h.call("python_session", map[string]any{"action": "close", "session": b}); got.IsError {
			t.Errorf("close: %q", got.text())
		}
		if got := h.call("python", code("9", b)); !got.IsError {
			t.Errorf("a closed session goes on: %q", got.text())
		}
	})
}

// call2 is call with a session of the older revisions of its own, since those belong to keys too.
func (h *host) call2(name string, arguments any) *result {
	h.t.Helper()
	if h.session != "" {
		return h.legacy(h.key).call(name, arguments)
	}
	return h.call(name, arguments)
}

func TestLimitsOfSessionsOfTools(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, python()), func(o *mcp.Options) { o.Limits.StatesOfKey, o.Limits.States, o.Limits.StateBytes = 2, 3, 10 })
	a, b := h.open("python"), h.open("python")
	create := map[string]any{"action": "create"}
	if got := h.call("python_session", create); !got.IsError || !strings.Contains(got.text(), "too many sessions") {
		t.Errorf("a third session of the key: %q", got.text())
	}
	c := h.as("other").open("python")
	if got := h.as("third").call("python_session", create); !got.IsError {
		t.Errorf("a fourth session: %q", got.text())
	}
	h.call("python", code("123456", a))
	if got := h.call("python", code("12345", b)); got.IsError || !strings.HasPrefix(got.text(), "12345\n[") {
		t.Errorf("more than all may hold: %q, want the result and a note", got.text())
	}
	if got := h.call("python", code("1234", b)); got.text() != "1234" {
		t.Errorf("exactly what all may hold: %q", got.text())
	}
	if got := h.s.Stats(); got.States != 3 || got.Bytes != 10 {
		t.Errorf("stats %+v, want 3 states of 10 bytes", got)
	}
	h.call("python_session", map[string]any{"action": "close", "session": a})
	if got := h.as("other").call("python", code("123456", c)); got.text() != "123456" {
		t.Errorf("after another was closed: %q", got.text())
	}
}

// TestCallsOfOneSession run one after the other, and none is lost.
func TestCallsOfOneSession(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, python()), nil)
	id := h.open("python")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			h := *h
			h.call("python", code("x", id))
		})
	}
	wg.Wait()
	if got := h.call("python", code("", id)); got.text() != strings.Repeat("x", 20) {
		t.Errorf("the session has %q", got.text())
	}
}

// TestExpiry moves the clock.
func TestExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, err := toolhost.NewSet(python())
		if err != nil {
			t.Fatal(err)
		}
		s, err := mcp.New(mcp.Options{Tools: func() *toolhost.Set { return set }, Limits: mcp.Limits{StateIdle: 10 * time.Minute, SessionIdle: 30 * time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		session := ""
		ask := func(method string, params map[string]any) (int, string) {
			body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(context.Background(), "POST", "http://localhost/mcp", strings.NewReader(string(body)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Mcp-Session-Id", session)
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			if id := w.Header().Get("Mcp-Session-Id"); id != "" {
				session = id
			}
			return w.Code, w.Body.String()
		}
		ask("initialize", map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "t", "version": "1"}})
		_, answer := ask("tools/call", map[string]any{"name": "python_session", "arguments": map[string]any{"action": "create"}})
		var created struct {
			Result struct {
				StructuredContent struct{ Session string }
			}
		}
		if err := json.Unmarshal([]byte(answer), &created); err != nil {
			t.Fatal(err)
		}
		call := func(code string) string {
			_, answer := ask("tools/call", map[string]any{"name": "python", "arguments": map[string]any{"code": code, "session": created.Result.StructuredContent.Session}})
			return answer
		}
		for range 3 { // every use counts
			time.Sleep(9 * time.Minute)
			if got := call("x"); strings.Contains(got, "no such session") {
				t.Fatalf("expired too early: %s", got)
			}
		}
		time.Sleep(11 * time.Minute)
		if got := call("x"); !strings.Contains(got, "no such session") {
			t.Errorf("the session of the tool has not expired: %s", got)
		}
		time.Sleep(31 * time.Minute)
		if status, answer := ask("tools/list", nil); status != 404 {
			t.Errorf("status %d behind the end of the session, want 404: %s", status, answer)
		}
		if got := s.Stats(); got.Sessions != 0 || got.States != 0 || got.Expired != 2 {
			t.Errorf("stats %+v, want 2 that have expired", got)
		}
	})
}

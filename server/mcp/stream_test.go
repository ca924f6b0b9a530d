package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/server/mcp"
	"chorale/toolhost"
)

// patience is how long the tests wait for what must happen; it is no measure of speed.
const patience = 30 * time.Second

// soon waits for something.
func soon[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
	}
	return v
}

// TestNotificationsComeBeforeTheResult reports progress up to the moment of the result, again and again: a queue that somebody
// else empties would lose some.
func TestNotificationsComeBeforeTheResult(t *testing.T) {
	t.Parallel()
	const reports, calls = 20, 100
	h := serve(t, newBox(t, plugin("p", func(_ context.Context, c toolhost.Call) (toolhost.Result, error) {
		for i := range reports {
			c.Progress(fmt.Sprint("step ", i), float64(i+1)/reports)
		}
		return toolhost.Result{Text: "done"}, nil
	}, toolhost.Function{Name: "f"})), nil)
	eras(t, h, func(t *testing.T, h *host) {
		for range calls {
			all := messages(t, h.post(t.Context(), "tools/call", map[string]any{"name": "p_f"}))
			if len(all) != reports+1 || all[reports].Result == nil {
				t.Fatalf("%d messages, want %d and the result: %+v", len(all), reports, all)
			}
			before := -1.0
			for i, m := range all[:reports] {
				value, _ := m.Params["progress"].(float64)
				if m.Method != "notifications/progress" || m.Params["progressToken"] != "p" || m.Params["message"] != fmt.Sprint("step ", i) || value <= before {
					t.Fatalf("notification %d: %+v behind %g", i, m, before)
				}
				before = value
			}
		}
	})
}

// TestProgressGrows whatever tools report, from any goroutine, and is limited.
func TestProgressGrows(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, plugin("p", func(_ context.Context, c toolhost.Call) (toolhost.Result, error) {
		for _, f := range []float64{0, -1, 0.5, 0.2, 2, -1, 1} {
			c.Progress("m", f)
		}
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() { c.Progress(strings.Repeat("long ", 1000), -1) })
		}
		wg.Wait()
		return toolhost.Result{}, nil
	}, toolhost.Function{Name: "f"})), func(o *mcp.Options) { o.Limits.Notifications = 25 })
	all := messages(t, h.post(t.Context(), "tools/call", map[string]any{"name": "p_f"}))
	before := -1.0
	for _, m := range all[:len(all)-1] {
		value, _ := m.Params["progress"].(float64)
		text, _ := m.Params["message"].(string)
		if value <= before || len(text) > 2000 {
			t.Errorf("progress %g behind %g, message of %d bytes", value, before, len(text))
		}
		before = value
	}
	if len(all) != 26 {
		t.Errorf("%d messages, want 25 and the result", len(all))
	}
}

// A hanging tool tells when it begins and why it ended.
func hanging() (tool *tool, began chan struct{}, ended chan error) {
	began, ended = make(chan struct{}, 100), make(chan error, 100)
	return plugin("p", func(ctx context.Context, _ toolhost.Call) (toolhost.Result, error) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return toolhost.Result{}, ctx.Err()
	}, toolhost.Function{Name: "f"}), began, ended
}

func TestClientsThatGoAwayCancel(t *testing.T) {
	t.Parallel()
	tool, began, ended := hanging()
	h := serve(t, newBox(t, tool), nil)
	eras(t, h, func(t *testing.T, h *host) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		r := h.request(ctx, "tools/call", map[string]any{"name": "p_f"})
		go func() {
			_, err := http.DefaultClient.Do(r)
			done <- err
		}()
		soon(t, "the call", began)
		cancel()
		soon(t, "the end of the call", ended)
		if err := soon(t, "the client", done); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestCancelled takes a call back by its id: one's own in an older revision, and nobody's in the newest.
func TestCancelled(t *testing.T) {
	t.Parallel()
	tool, began, ended := hanging()
	h := serve(t, newBox(t, tool), nil)
	for _, victim := range []*host{h.legacy("sesame"), h} {
		r := victim.request(t.Context(), "tools/call", map[string]any{"name": "p_f"})
		id := victim.id
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := http.DefaultClient.Do(r); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		soon(t, "the call", began)
		others := []*host{h.legacy("sesame"), h.legacy("other"), h, h.as("other")}
		for _, o := range others {
			res := o.post(t.Context(), "notifications/cancelled", map[string]any{"requestId": id})
			res.Body.Close()
			if res.StatusCode != 202 {
				t.Errorf("status %d, want 202", res.StatusCode)
			}
		}
		select {
		case <-ended:
			t.Fatal("somebody else has cancelled the call")
		default:
		}
		if victim.modern {
			h.s.Drain() // does not end calls
			r.Body.Close()
			break
		}
		victim.post(t.Context(), "notifications/cancelled", map[string]any{"requestId": id}).Body.Close()
		soon(t, "the end of the call", ended)
		soon(t, "the answer", done)
	}
}

// TestListChanged is told in both eras, only when there is something new, and again to streams that replace others.
func TestListChanged(t *testing.T) {
	t.Parallel()
	f := toolhost.Function{Name: "f"}
	b := newBox(t, plugin("a", says(""), f))
	h := serve(t, b, nil)
	heard := make(chan string, 100)
	listen := func(era string, r *http.Request) (opened chan struct{}) {
		opened = make(chan struct{})
		res := h.do(r)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s: status %d, %s", era, res.StatusCode, res.Header.Get("Content-Type"))
		}
		go func() {
			defer res.Body.Close()
			if era == "legacy" {
				close(opened)
			}
			for m := range stream(t, res) {
				if m.Method == "notifications/subscriptions/acknowledged" {
					close(opened)
				} else {
					heard <- era + " " + m.Method
				}
			}
		}()
		return opened
	}
	l := h.legacy("sesame")
	first := h.do(l.raw(t.Context(), "GET", ""))
	soon(t, "the legacy stream", listen("legacy", l.raw(t.Context(), "GET", "")))
	if _, err := io.Copy(io.Discard, first.Body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream that was replaced: %v", err)
	}
	soon(t, "the modern stream", listen("modern", h.request(t.Context(), "subscriptions/listen", map[string]any{"notifications": map[string]any{"toolsListChanged": true}})))
	b.put(t, plugin("a", says("same"), f)) // nothing that a client sees
	b.put(t, plugin("a", says(""), f), plugin("b", says(""), f))
	got := map[string]int{}
	for len(got) < 2 {
		got[soon(t, "the news", heard)]++
	}
	for era, n := range got {
		if !strings.HasSuffix(era, " notifications/tools/list_changed") || n != 1 {
			t.Errorf("heard %v", got)
		}
	}
	if n := len(h.names()); n != 2 {
		t.Errorf("%d tools, want 2", n)
	}
	if s := h.s.Stats(); s.Streams != 2 {
		t.Errorf("%d streams, want 2", s.Streams)
	}
	select {
	case more := <-heard:
		t.Errorf("heard once more: %s", more)
	default:
	}
}

// TestKeepAlive lets a client that waits hear something.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	tool, _, _ := hanging()
	h := serve(t, newBox(t, tool), func(o *mcp.Options) { o.Limits.KeepAlive = time.Millisecond })
	eras(t, h, func(t *testing.T, h *host) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		res := h.do(h.request(ctx, "tools/call", map[string]any{"name": "p_f"}))
		defer res.Body.Close()
		sign := make([]byte, len(": waiting\n\n")*2)
		if _, err := io.ReadFull(res.Body, sign); err != nil || string(sign) != ": waiting\n\n: waiting\n\n" {
			t.Errorf("%q, %v", sign, err)
		}
	})
	r := h.request(t.Context(), "tools/list", nil)
	r.Header.Set("Accept", "application/json")
	if all := messages(t, h.do(r)); len(all) != 1 {
		t.Errorf("a client without events gets %+v", all)
	}
}

// TestSlowReader gives a client up that reads nothing of a large answer.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	h := serve(t, newBox(t, plugin("p", func(_ context.Context, c toolhost.Call) (toolhost.Result, error) {
		data := make([]byte, 4<<20)
		return toolhost.Result{Files: []toolhost.File{{Path: "f", Data: data}}}, nil
	}, toolhost.Function{Name: "f"})), func(o *mcp.Options) { o.Limits.WriteTimeout = 50 * time.Millisecond })
	var conns []net.Conn
	for range 5 {
		r := h.request(t.Context(), "tools/call", map[string]any{"name": "p_f"})
		conn, err := net.Dial("tcp", r.URL.Host)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
	}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(patience)
	for s := h.s.Stats(); s.Calls < 5 || s.InFlight > 0; s = h.s.Stats() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%+v", s)
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
}

package mcp

// Inside the package: the gate and the reader of events have no surface of their own, and a fuzzer wants many messages
// a second.

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	want := Limits{
		Connect: 30 * time.Second, Probe: 5 * time.Second, List: 30 * time.Second, Call: 10 * time.Minute, Idle: 2 * time.Minute,
		Cache: 5 * time.Minute, Backoff: time.Second, Close: time.Second, Message: 8 << 20, Stream: 64 << 20, Messages: 10000,
		Result: 4 << 20, Depth: 64, Tools: 512, Pages: 100, Schema: 256 << 10, Stderr: 8 << 10,
	}
	if got := (Limits{}).complete(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := want.complete(); got != want {
		t.Errorf("what is set changes to %+v", got)
	}
}

// TestTail keeps the end of what is written to it, however that comes.
func TestTail(t *testing.T) {
	t.Parallel()
	for _, parts := range [][]string{{"abcdefghij"}, {"abcde", "fghij"}, {"abcdefgh", "i", "j"}} {
		k := &tail{most: 4}
		for _, p := range parts {
			if n, err := k.Write([]byte(p)); n != len(p) || err != nil {
				t.Errorf("write %q: got %d, %v", p, n, err)
			}
		}
		if got := k.String(); got != "… ghij" {
			t.Errorf("%q: got %q", parts, got)
		}
	}
}

func FuzzGate(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`, `{"a":1,"a":2}`, `{"a":{"b":[{"c":1,"c":2}]}}`, `[[[[[[[[[[]]]]]]]]]]`,
		`{"a":"a","b":{"a":"b"}}`, `{"a\u0000":1,"a":2}`, `{"Result":1}`, "{\"a\":\"\xff\"}", `{} {}`, `{"a":`, `"a"`, `1e999`, ``,
		`{"jsonrpc":"2.0","method":"x","params":{}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}`,
	} {
		f.Add([]byte(s))
	}
	limits := Limits{Depth: 8, Message: 1 << 16}.complete()
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := checkJSON(raw, limits)
		v, _ := decode(raw) // with numbers as they are written: 1e999 is JSON
		valid := json.Valid(raw) && utf8.Valid(raw)
		if err == nil && !valid {
			t.Fatalf("accepts what is no JSON: %q", raw)
		}
		if valid {
			members, depth := count(v, 0)
			if good := members == written(raw) && depth <= limits.Depth; good != (err == nil) && len(raw) < 1<<16 {
				t.Fatalf("got error %v for %q with %d members of %d, depth %d", err, raw, members, written(raw), depth)
			}
		}
		m, err := read(raw, limits)
		if err == nil && m.method == "" && (m.result == nil) == (m.err == nil) {
			t.Fatalf("neither a request nor an answer: %q", raw)
		}
	})
}

// count counts the members of objects, and how deep a value is.
func count(v any, depth int) (members, deepest int) {
	var inner []any
	switch v := v.(type) {
	case map[string]any:
		members = len(v)
		for _, x := range v {
			inner = append(inner, x)
		}
	case []any:
		inner = v
	default:
		return 0, depth
	}
	deepest = depth + 1
	for _, x := range inner {
		n, d := count(x, depth+1)
		members, deepest = members+n, max(deepest, d)
	}
	return members, deepest
}

// written counts the colons outside of strings: the members as they are written.
func written(raw []byte) (n int) {
	quoted := false
	for i := 0; i < len(raw); i++ {
		switch {
		case quoted && raw[i] == '\\':
			i++
		case raw[i] == '"':
			quoted = !quoted
		case !quoted && raw[i] == ':':
			n++
		}
	}
	return n
}

func FuzzEvents(f *testing.F) {
	for _, s := range []string{
		"data: a\n\n", "data: a\r\ndata:b\r\n\r\n", "event: x\nid: 1\nretry: 5\n\n", ": c\n\ndata\n\n", "data: a", "id: \x00\n\n", "retry: -1\n\n\n",
		strings.Repeat("x", 1100) + "\n",
	} {
		f.Add([]byte(s))
	}
	limits := Limits{Message: 1 << 10, Stream: 1 << 12}.complete()
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newEventReader(bytes.NewReader(raw), limits, nil)
		for {
			ev, err := r.next()
			if int64(len(ev.data)) > limits.Message+1 || ev.retry < 0 || ev.retry > maxRetry || bytes.ContainsAny([]byte(ev.id), "\n\x00") {
				t.Fatalf("got %+v", ev)
			}
			var over *LimitError
			if err == io.EOF || errors.As(err, &over) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzChallenge(f *testing.F) {
	for _, s := range []string{
		`Bearer realm="a", scope="b c"`, `Basic realm="x", Bearer error=insufficient_scope`, `Bearer`, `Bearer a="\"b\\"`, `,,=,`, `Bearer a=`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name := range challenges(map[string][]string{"Www-Authenticate": {s}}) {
			if name == "" || name != strings.ToLower(name) {
				t.Fatalf("got a parameter %q of %q", name, s)
			}
		}
	})
}

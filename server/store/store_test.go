package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/server/api"
	"chorale/server/store"
)

// record is a response with one input item, a reasoning item, a hidden message and an answer of size characters.
func record(id, previous string, size int) *store.Record {
	answer := &api.Message{ID: "msg_" + id, Status: "completed", Role: "assistant",
		Content: []api.Part{api.OutputText{Text: strings.Repeat("x", size)}}}
	thought := &api.Reasoning{ID: "rs_" + id, Summary: []api.Part{}, Status: "completed",
		Content: []api.Part{api.ReasoningText{Text: "hm"}}}
	r := &store.Record{
		Response: &api.Response{ID: id, Object: "response", Status: "completed", Metadata: map[string]string{"k": "v"},
			Output: []api.Item{thought, answer}, Tools: []api.Tool{}},
		Input: []api.Item{&api.Message{ID: "in_" + id, Role: "user", Content: []api.Part{api.InputText{Text: "hi"}}}},
		Turn: []store.Message{
			{Item: thought, Tokens: []int32{200006, 1, 2}}, {Tokens: []int32{7, 8}}, {Item: answer},
		},
		Tokenizer: "t",
	}
	if previous != "" {
		r.Response.PreviousResponseID = &previous
	}
	return r
}

// clock is a time that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func open(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	if o.Path == "" {
		o.Path = ":memory:"
	}
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *store.Store, records ...*store.Record) {
	t.Helper()
	for _, r := range records {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// has reports whether the response is there, and fails for any error but not found.
func has(t *testing.T, s *store.Store, id string) bool {
	t.Helper()
	_, err := s.Get(t.Context(), id)
	var missing *store.NotFoundError
	if err != nil && !errors.As(err, &missing) {
		t.Fatal(err)
	}
	return err == nil
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := api.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestChainReturnsWhatWasPut(t *testing.T) {
	t.Parallel()
	for _, path := range []string{":memory:", filepath.Join(t.TempDir(), "odd ?#%41 name.db")} {
		s := open(t, store.Options{Path: path})
		first, second := record("resp_1", "", 3), record("resp_2", "resp_1", 4)
		put(t, s, first, second)
		if path != ":memory:" {
			s.Close()
			s = open(t, store.Options{Path: path})
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("file: %v, %v; want it under its own name and private", info, err)
			}
		}
		got, err := s.Chain(t.Context(), "resp_2")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 {
			t.Fatalf("got %d records, want 2", len(got))
		}
		for i, want := range []*store.Record{first, second} {
			if g, w := encode(t, got[i].Response), encode(t, want.Response); g != w {
				t.Errorf("response %d: got %s, want %s", i, g, w)
			}
			if g, w := encode(t, got[i].Input), encode(t, want.Input); g != w {
				t.Errorf("input %d: got %s, want %s", i, g, w)
			}
			if g, w := encode(t, got[i].Turn), encode(t, want.Turn); g != w {
				t.Errorf("turn %d: got %s, want %s", i, g, w)
			}
			if got[i].Turn[2].Tokens != nil {
				t.Errorf("unknown tokens came back as %v", got[i].Turn[2].Tokens)
			}
		}
		if one, err := s.Get(t.Context(), "resp_2"); err != nil || encode(t, one) != encode(t, second.Response) {
			t.Errorf("get: got %s, %v", encode(t, one), err)
		}
	}
}

func TestNotFoundNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := open(t, store.Options{})
	put(t, s, record("a", "", 1), record("b", "a", 1), record("c", "b", 1))
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, want string
		call       func() error
	}{
		{"get", "x", func() error { _, err := s.Get(t.Context(), "x"); return err }},
		{"delete", "x", func() error { return s.Delete(t.Context(), "x") }},
		{"delete twice", "a", func() error { return s.Delete(t.Context(), "a") }},
		{"chain from nothing", "x", func() error { _, err := s.Chain(t.Context(), "x"); return err }},
		{"chain with a deleted beginning", "a", func() error { _, err := s.Chain(t.Context(), "c"); return err }},
		{"item", "msg_x", func() error { _, _, err := s.Item(t.Context(), "msg_x"); return err }},
		{"item of a deleted response", "msg_a", func() error { _, _, err := s.Item(t.Context(), "msg_a"); return err }},
		{"input items", "x", func() error { _, err := s.InputItems(t.Context(), "x", api.Page{}); return err }},
		{"input items after an item elsewhere", "in_c", func() error {
			_, err := s.InputItems(t.Context(), "b", api.Page{After: "in_c"})
			return err
		}},
	}
	for _, tt := range tests {
		var missing *store.NotFoundError
		if err := tt.call(); !errors.As(err, &missing) || missing.ID != tt.want {
			t.Errorf("%s: got %v, want not found %q", tt.name, err, tt.want)
		}
	}
	if !has(t, s, "c") {
		t.Error("a response is gone because an older one was deleted")
	}
}

func TestItem(t *testing.T) {
	t.Parallel()
	s := open(t, store.Options{})
	put(t, s, record("a", "", 1))
	m, tokenizer, err := s.Item(t.Context(), "rs_a")
	if err != nil || tokenizer != "t" || !reflect.DeepEqual(m.Tokens, []int32{200006, 1, 2}) || api.Kind(m.Item) != "reasoning" {
		t.Errorf("got %v %q %v", m, tokenizer, err)
	}
	if m, _, err := s.Item(t.Context(), "in_a"); err != nil || m.Tokens != nil || api.Kind(m.Item) != "message" {
		t.Errorf("input item: got %v %v", m, err)
	}
}

func TestInputItemsPages(t *testing.T) {
	t.Parallel()
	s := open(t, store.Options{})
	r := record("r", "", 1)
	r.Input = nil
	for i := range 25 {
		r.Input = append(r.Input, &api.Message{ID: fmt.Sprintf("m%02d", i), Role: "user",
			Content: []api.Part{api.InputText{Text: "hi"}}})
	}
	empty := record("empty", "", 1)
	empty.Input = nil
	put(t, s, r, empty)
	tests := []struct {
		name        string
		id          string
		page        api.Page
		first, last string
		n           int
		more        bool
	}{
		{"default is the newest twenty", "r", api.Page{}, "m24", "m05", 20, true},
		{"rest of the default", "r", api.Page{After: "m05"}, "m04", "m00", 5, false},
		{"ascending", "r", api.Page{Order: "asc", Limit: 3}, "m00", "m02", 3, true},
		{"ascending after", "r", api.Page{Order: "asc", Limit: 3, After: "m02"}, "m03", "m05", 3, true},
		{"exactly the rest", "r", api.Page{Order: "asc", Limit: 5, After: "m19"}, "m20", "m24", 5, false},
		{"one more than the rest", "r", api.Page{Order: "asc", Limit: 6, After: "m19"}, "m20", "m24", 5, false},
		{"after the last", "r", api.Page{Order: "asc", After: "m24"}, "", "", 0, false},
		{"no items", "empty", api.Page{}, "", "", 0, false},
	}
	for _, tt := range tests {
		list, err := s.InputItems(t.Context(), tt.id, tt.page)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		first, last := "", ""
		if list.FirstID != nil {
			first, last = *list.FirstID, *list.LastID
		}
		if first != tt.first || last != tt.last || len(list.Data) != tt.n || list.HasMore != tt.more {
			t.Errorf("%s: got %d items %s..%s, more %v; want %d items %s..%s, more %v",
				tt.name, len(list.Data), first, last, list.HasMore, tt.n, tt.first, tt.last, tt.more)
		}
	}
}

func TestEvictionByAge(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	c := &clock{time.Unix(1_000_000, 0)}
	o := store.Options{Path: path, MaxAge: time.Hour, Now: c.now}
	s := open(t, o)
	put(t, s, record("root", "", 1), record("lonely", "", 1))
	c.t = c.t.Add(40 * time.Minute)
	put(t, s, record("child", "root", 1)) // uses root
	c.t = c.t.Add(40 * time.Minute)
	put(t, s, record("new", "", 1))
	for id, want := range map[string]bool{"root": true, "child": true, "lonely": false, "new": true} {
		if has(t, s, id) != want {
			t.Errorf("after put: %s is there: %v, want %v", id, !want, want)
		}
	}
	s.Close()
	c.t = c.t.Add(59 * time.Minute)
	s = open(t, o)
	for id, want := range map[string]bool{"root": false, "child": false, "new": true} {
		if has(t, s, id) != want {
			t.Errorf("after open: %s is there: %v, want %v", id, !want, want)
		}
	}
}

func TestEvictionBySize(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	c := &clock{time.Unix(1_000_000, 0)}
	s := open(t, store.Options{Path: path, MaxBytes: 100_000, Now: c.now})
	const n = 16
	for i := range n {
		c.t = c.t.Add(time.Second)
		previous := ""
		if i == 9 {
			previous = "r0" // keeps the oldest alive
		}
		put(t, s, record(fmt.Sprintf("r%d", i), previous, 8_000))
	}
	present := func() (ids []string) {
		for i := range n {
			if id := fmt.Sprintf("r%d", i); has(t, s, id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	got := present()
	if want := []string{"r0", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	err := s.Put(t.Context(), record("big", "", 200_000))
	if err == nil || !strings.Contains(err.Error(), "100000") || !strings.Contains(err.Error(), path) {
		t.Errorf("a response larger than all: got %v, want an error with the limit and the file", err)
	}
	if after := present(); !reflect.DeepEqual(after, got) {
		t.Errorf("a refused response threw out others: %v left", after)
	}
	s.Close()
	s = open(t, store.Options{Path: path, MaxBytes: 20_000, Now: c.now})
	if got := present(); !reflect.DeepEqual(got, []string{"r14", "r15"}) {
		t.Errorf("opened with a smaller limit: got %v, want the two newest", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	execute(t, foreign, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
	newer := filepath.Join(dir, "newer.db")
	open(t, store.Options{Path: newer}).Close()
	execute(t, newer, "PRAGMA user_version = 99")
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, bytes.Repeat([]byte("not a database "), 300), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged.db")
	s := open(t, store.Options{Path: damaged})
	put(t, s, record("r", "", 100_000))
	s.Close()
	data, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[100:20_000])
	if err := os.WriteFile(damaged, data, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, want string }{
		{"another program's database", foreign, "another program"},
		{"schema of a newer version", newer, "version 99"},
		{"text", text, "not a SQLite database"},
		{"damaged pages", damaged, "damaged"},
		{"a directory", dir, "directory"},
		{"missing directory", filepath.Join(dir, "none", "s.db"), "no such file"},
		{"no path", "", "path"},
	}
	for _, tt := range tests {
		before, _ := os.ReadFile(tt.path)
		s, err := store.Open(t.Context(), store.Options{Path: tt.path})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("%s: got %v, want an error with %q that names the file", tt.name, err, tt.want)
		}
		if after, _ := os.ReadFile(tt.path); !bytes.Equal(before, after) {
			t.Errorf("%s: the file was changed", tt.name)
		}
	}
}

// execute runs a statement on a database without our package.
func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestPutTwiceIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t, store.Options{})
	put(t, s, record("r", "", 1))
	if err := s.Put(t.Context(), record("r", "", 2)); err == nil {
		t.Error("the second response of one id was accepted")
	}
	if got, err := s.Get(t.Context(), "r"); err != nil || encode(t, got) != encode(t, record("r", "", 1).Response) {
		t.Errorf("got %s, %v; want the first one", encode(t, got), err)
	}
}

// TestKilledProcess puts responses in another process and kills it as soon as it says that Put has returned.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	if path := os.Getenv("STORE_TEST_PUT"); path != "" {
		put(t, open(t, store.Options{Path: path}), record("r", "", 50_000), record("s", "r", 50_000))
		fmt.Println("stored")
		select {}
	}
	path := filepath.Join(t.TempDir(), "s.db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), "STORE_TEST_PUT="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, len("stored"))
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "stored" {
		t.Errorf("the process said %q, %v", said, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if chain, err := open(t, store.Options{Path: path}).Chain(t.Context(), "s"); err != nil || len(chain) != 2 {
		t.Errorf("got %d responses, %v; want both", len(chain), err)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	// Two stores on one file stand for two processes.
	stores := []*store.Store{open(t, store.Options{Path: path}), open(t, store.Options{Path: path})}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			s, other := stores[g%2], stores[(g+1)%2]
			for i := range 10 {
				id := fmt.Sprintf("r%d_%d", g, i)
				if err := s.Put(context.Background(), record(id, "", 2_000)); err != nil {
					t.Error(err)
					return
				}
				if _, err := other.Chain(context.Background(), id); err != nil {
					t.Errorf("not visible after put: %v", err)
				}
				if i%2 == 1 {
					if err := other.Delete(context.Background(), id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for g := range 8 {
		for i := range 10 {
			if id := fmt.Sprintf("r%d_%d", g, i); has(t, stores[0], id) != (i%2 == 0) {
				t.Errorf("%s is there: %v", id, i%2 != 0)
			}
		}
	}
}

func TestCancelledPutLeavesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, store.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, record("r", "", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context canceled", err)
	}
	if has(t, s, "r") {
		t.Error("the response was stored")
	}
	put(t, s, record("r", "", 1))
}

func BenchmarkPut(b *testing.B) {
	s, err := store.Open(b.Context(), store.Options{Path: filepath.Join(b.TempDir(), "s.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	i := 0
	for b.Loop() {
		i++
		if err := s.Put(b.Context(), record(fmt.Sprint(i), "", 2_000)); err != nil {
			b.Fatal(err)
		}
	}
}

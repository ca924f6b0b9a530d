package store_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"chorale/server/api"
	"chorale/server/store"
)

// plenty are limits that nothing here meets.
var plenty = store.Limits{Containers: 1 << 20, Files: 1 << 20, ContainerBytes: 1 << 40, Bytes: 1 << 40}

func withState(r *store.Record, st *store.State) *store.Record {
	r.States = map[string]*store.State{"python": st}
	return r
}

func file(path, data string) store.File {
	return store.File{Path: path, MIME: "text/plain", Data: []byte(data), Modified: time.Unix(12, 34)}
}

func TestStateIsThatOfTheNearestResponse(t *testing.T) {
	t.Parallel()
	for _, path := range []string{":memory:", filepath.Join(t.TempDir(), "s.db")} {
		s := open(t, store.Options{Path: path})
		full := &store.State{ContainerID: "cntr_1", Memory: []byte("memory"),
			Files: []store.File{file("/mnt/data/a", "a"), file("/mnt/data/b", "same"), file("/tmp/c", "same"), file("/tmp/empty", "")}}
		bare := &store.State{ContainerID: "cntr_2"}
		put(t, s, record("none", "", 1), withState(record("a", "none", 1), full), record("b", "a", 1), record("c", "b", 1),
			withState(record("branch", "b", 1), bare), withState(record("emptied", "a", 1), &store.State{Memory: []byte{}}))
		tests := []struct {
			id   string
			want *store.State
		}{
			{"none", nil}, {"a", full}, {"b", full}, {"c", full}, {"branch", bare}, {"emptied", &store.State{Memory: []byte{}}},
		}
		for _, tt := range tests {
			got, err := s.State(t.Context(), tt.id, "python")
			if err != nil || !equalStates(got, tt.want) {
				t.Errorf("%s: got %+v, %v; want %+v", tt.id, got, err, tt.want)
			}
		}
		var missing *store.NotFoundError
		if _, err := s.State(t.Context(), "x", "python"); !errors.As(err, &missing) || missing.ID != "x" {
			t.Errorf("of no response: %v", err)
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got, err := s.State(t.Context(), "c", "python"); got != nil || err != nil {
			t.Errorf("after the response with the state was deleted: %+v, %v", got, err)
		}
		if got, err := s.State(t.Context(), "branch", "python"); !equalStates(got, bare) || err != nil {
			t.Errorf("of a branch after its beginning was deleted: %+v, %v", got, err)
		}
	}
}

// equalStates tells nil memory from empty memory, as the Store does, and times only by what they mean.
func equalStates(a, b *store.State) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.ContainerID != b.ContainerID || !reflect.DeepEqual(a.Memory, b.Memory) || len(a.Files) != len(b.Files) {
		return false
	}
	for i, f := range a.Files {
		g := b.Files[i]
		if f.Path != g.Path || f.MIME != g.MIME || !bytes.Equal(f.Data, g.Data) || !f.Modified.Equal(g.Modified) {
			return false
		}
	}
	return true
}

func TestStatesThatAreRefused(t *testing.T) {
	t.Parallel()
	s := open(t, store.Options{MaxBytes: 10_000})
	for name, tt := range map[string]struct {
		state *store.State
		want  string
	}{
		"path twice": {&store.State{Files: []store.File{file("/a", "1"), file("/a", "2")}}, `"/a"`},
		"no path":    {&store.State{Files: []store.File{file("", "1")}}, "no path"},
		"too large":  {&store.State{Memory: make([]byte, 10_000)}, "10000"},
	} {
		if err := s.Put(t.Context(), withState(record("r", "", 1), tt.state)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %s", name, err, tt.want)
		}
		if has(t, s, "r") {
			t.Errorf("%s: the response is there", name)
		}
	}
}

// TestStatesCountForEviction puts states that share a file: it counts once, and goes with the last one that has it.
func TestStatesCountForEviction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	c := &clock{time.Unix(1_000_000, 0)}
	s := open(t, store.Options{Path: path, MaxBytes: 100_000, Now: c.now})
	shared := string(make([]byte, 50_000))
	for i := range 8 {
		c.t = c.t.Add(time.Second)
		put(t, s, withState(record(fmt.Sprint(i), "", 1), &store.State{
			Memory: []byte(strings.Repeat(fmt.Sprint(i), 8_000)), Files: []store.File{file("/mnt/data/a", shared)}}))
	}
	for i := range 8 {
		if got, want := has(t, s, fmt.Sprint(i)), i >= 3; got != want {
			t.Errorf("response %d is there: %v, want %v", i, got, want)
		}
	}
	s.Close()
	db := raw(t, path)
	if n := query(t, db, "SELECT count(*) FROM blobs"); n != 6 {
		t.Errorf("%d blobs, want one of each response and the shared one", n)
	}
	checkBooks(t, db)
}

// raw opens a database without our package.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// query returns the number that a query returns.
func query(t *testing.T, db *sql.DB, text string) (n int64) {
	t.Helper()
	if err := db.QueryRow(text).Scan(&n); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return n
}

// checkBooks compares what the triggers have counted with what is there.
func checkBooks(t *testing.T, db *sql.DB) {
	t.Helper()
	for name, text := range map[string]string{
		"blobs whose count of states is wrong":     "SELECT count(*) FROM blobs b WHERE responses <> (SELECT count(*) FROM tool_state_files WHERE blob = b.id)",
		"blobs whose count of containers is wrong": "SELECT count(*) FROM blobs b WHERE containers <> (SELECT count(*) FROM container_files WHERE blob = b.id)",
		"blobs that nothing refers to":             "SELECT count(*) FROM blobs WHERE responses + containers = 0",
		"blobs without data, or of another size": `SELECT count(*) FROM blobs b WHERE NOT EXISTS
			(SELECT 1 FROM blob_data d WHERE d.id = b.id AND length(d.data) = b.bytes)`,
		"data without a blob": "SELECT count(*) FROM blob_data WHERE id NOT IN (SELECT id FROM blobs)",
		"files without a blob": `SELECT count(*) FROM (SELECT blob FROM tool_state_files UNION ALL SELECT blob FROM container_files)
			WHERE blob NOT IN (SELECT id FROM blobs)`,
		"states without a response":     "SELECT count(*) FROM tool_states WHERE response NOT IN (SELECT id FROM responses)",
		"files without a container":     "SELECT count(*) FROM container_files WHERE container NOT IN (SELECT id FROM containers)",
		"files of an expired container": "SELECT count(*) FROM container_files JOIN containers c ON c.id = container WHERE expired",
		"bytes of responses miscounted": `SELECT (SELECT bytes FROM usage WHERE owner = 'responses') -
			(SELECT coalesce(sum(bytes), 0) FROM responses) - (SELECT coalesce(sum(bytes), 0) FROM blobs WHERE responses > 0)`,
		"bytes of containers miscounted": `SELECT (SELECT bytes FROM usage WHERE owner = 'containers') -
			(SELECT coalesce(sum(bytes), 0) FROM blobs WHERE containers > 0)`,
	} {
		if n := query(t, db, text); n != 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
}

// TestRandomOperations does whatever the Store can do in random order, and checks its books after each step.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			path := filepath.Join(t.TempDir(), "s.db")
			c := &clock{time.Unix(1_000_000, 0)}
			s := open(t, store.Options{Path: path, MaxBytes: 40_000, MaxAge: time.Hour, Now: c.now})
			db := raw(t, path)
			l := store.Limits{Containers: 6, Files: 6, ContainerBytes: 6_000, Bytes: 12_000,
				InUse: func(id string) bool { return id == "cntr_0" }}
			content := func() []byte { return bytes.Repeat([]byte{byte('a' + r.IntN(6))}, r.IntN(2_000)) }
			response := func() string { return fmt.Sprintf("r%d", r.IntN(20)) }
			container := func() string { return fmt.Sprintf("cntr_%d", r.IntN(12)) }
			newFile := func() store.NewFile {
				f := store.NewFile{Data: content(), ContainerFile: store.ContainerFile{Path: fmt.Sprintf("/mnt/data/%d", r.IntN(8))}}
				if r.IntN(3) > 0 {
					f.ID = fmt.Sprintf("cfile_%d", r.Uint64())
				}
				return f
			}
			for step := range 250 {
				c.t = c.t.Add(time.Duration(r.IntN(120)) * time.Second)
				var err error
				operation := r.IntN(8)
				switch operation {
				case 0, 1:
					n := r.IntN(20)
					rec := record(fmt.Sprintf("r%d", n), fmt.Sprintf("r%d", r.IntN(n+1)-1), r.IntN(500)) // an older one, or none
					if r.IntN(4) > 0 {
						rec.States = map[string]*store.State{"python": {Memory: content(), Files: []store.File{{Path: "/1", Data: content()}, {Path: "/2", Data: content()}}}}
					}
					err = s.Put(t.Context(), rec)
				case 2:
					err = s.Delete(t.Context(), response())
				case 3:
					_, err = s.CreateContainer(t.Context(), store.Container{ID: container(), TTL: time.Duration(r.IntN(20)+1) * time.Minute,
						Auto: r.IntN(2) == 0}, []store.NewFile{newFile()}, l)
				case 4, 5:
					err = s.ChangeContainer(t.Context(), container(), store.Change{Remove: []string{fmt.Sprintf("/mnt/data/%d", r.IntN(8))},
						Put: []store.NewFile{newFile(), newFile()}}, l)
				case 6:
					err = s.DeleteContainer(t.Context(), container())
				case 7:
					id := container()
					files, _, listed := s.ContainerFiles(t.Context(), id, api.Page{}, l)
					if err = listed; len(files) > 0 {
						err = s.DeleteContainerFile(t.Context(), id, files[0].ID, l)
					}
				}
				checkBooks(t, db)
				if t.Failed() {
					t.Fatalf("after step %d, operation %d, which returned %v", step, operation, err)
				}
			}
		})
	}
}

// TestMigration opens a file that was made before there were states and containers (version 1 of the schema), by putting
// record("a", "", 3) and record("b", "a", 4).
func TestMigration(t *testing.T) {
	t.Parallel()
	old, err := os.ReadFile("testdata/version1.db")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s.db")
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	db := raw(t, path)
	if n := query(t, db, "PRAGMA user_version"); n != 1 {
		t.Fatalf("the file has version %d", n)
	}
	c := &clock{time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)} // a day after it was made
	s := open(t, store.Options{Path: path, Now: c.now})
	checkBooks(t, db)
	for id, want := range map[string]*store.Record{"a": record("a", "", 3), "b": record("b", "a", 4)} {
		if got, err := s.Get(t.Context(), id); err != nil || encode(t, got) != encode(t, want.Response) {
			t.Errorf("%s: got %s, %v", id, encode(t, got), err)
		}
	}
	st := &store.State{Memory: []byte("m")}
	put(t, s, withState(record("c", "b", 1), st))
	if _, err := s.CreateContainer(t.Context(), store.Container{ID: "cntr_1", TTL: time.Hour}, nil, plenty); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, store.Options{Path: path, Now: c.now})
	if got, err := s.State(t.Context(), "c", "python"); err != nil || !equalStates(got, st) {
		t.Errorf("after opening again: %+v, %v", got, err)
	}
	checkBooks(t, db)
}

// BenchmarkPutState puts responses of a chain that leave a small memory of their own and a large file that all share.
func BenchmarkPutState(b *testing.B) {
	s, err := store.Open(b.Context(), store.Options{Path: filepath.Join(b.TempDir(), "s.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	shared, memory, i := file("/mnt/data/a", string(make([]byte, 1<<20))), make([]byte, 30<<10), 0
	b.SetBytes(int64(len(memory) + len(shared.Data)))
	for b.Loop() {
		i++
		copy(memory, fmt.Sprint(i))
		if err := s.Put(b.Context(), withState(record(fmt.Sprint(i), "", 2_000), &store.State{Memory: memory, Files: []store.File{shared}})); err != nil {
			b.Fatal(err)
		}
		if _, err := s.State(b.Context(), fmt.Sprint(i), "python"); err != nil {
			b.Fatal(err)
		}
	}
}

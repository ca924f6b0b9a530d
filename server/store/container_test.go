package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"chorale/server/api"
	"chorale/server/store"
)

func newFile(id, path, data string) store.NewFile {
	return store.NewFile{Data: []byte(data), ContainerFile: store.ContainerFile{ID: id, Path: path, MIME: "text/plain", Source: "user"}}
}

func create(t *testing.T, s *store.Store, c store.Container, files ...store.NewFile) {
	t.Helper()
	if c.TTL == 0 {
		c.TTL = time.Hour
	}
	if _, err := s.CreateContainer(t.Context(), c, files, plenty); err != nil {
		t.Fatal(err)
	}
}

func TestContainerKeepsFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	c := &clock{time.Unix(1_000_000, 0)}
	s := open(t, store.Options{Path: path, Now: c.now})
	create(t, s, store.Container{ID: "c", Name: "n", MemoryLimit: "4g", TTL: time.Hour, Auto: true}, newFile("f1", "/mnt/data/a", "one"))
	c.t = c.t.Add(time.Minute)
	scratch := newFile("", "/tmp/x", "scratch")
	memory := store.NewFile{Data: []byte("memory")}
	change := store.Change{Remove: []string{"/mnt/data/none"},
		Put: []store.NewFile{newFile("f2", "/mnt/data/a", "two"), newFile("f3", "/mnt/data/b", ""), scratch, memory}}
	if err := s.ChangeContainer(t.Context(), "c", change, plenty); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, store.Options{Path: path, Now: c.now})

	files, more, err := s.ContainerFiles(t.Context(), "c", api.Page{Order: "asc"}, plenty)
	var got []string
	for _, f := range files {
		got = append(got, fmt.Sprintf("%s %s %d %s %s %d", f.ID, f.Path, f.Bytes, f.MIME, f.Source, f.Created.Unix()))
	}
	want := []string{"f2 /mnt/data/a 3 text/plain user 1000060", "f3 /mnt/data/b 0 text/plain user 1000060"}
	if err != nil || more || !reflect.DeepEqual(got, want) {
		t.Errorf("files %q, more %v, %v; want %q", got, more, err, want)
	}
	if f, err := s.ContainerFileData(t.Context(), "c", "f2", plenty); err != nil || string(f.Data) != "two" || f.Path != "/mnt/data/a" {
		t.Errorf("data %+v, %v", f, err)
	}
	con, st, err := s.ContainerState(t.Context(), "c", plenty)
	if err != nil || con.Name != "n" || con.MemoryLimit != "4g" || con.TTL != time.Hour || !con.Auto || con.Created.Unix() != 1_000_000 ||
		string(st.Memory) != "memory" || len(st.Files) != 3 || string(st.Files[2].Data) != "scratch" || st.ContainerID != "c" {
		t.Errorf("state %+v of %+v, %v", st, con, err)
	}
	for name, err := range map[string]error{
		"delete of a file":          s.DeleteContainerFile(t.Context(), "c", "f3", plenty),
		"delete of the container":   s.DeleteContainer(t.Context(), "c"),
		"nothing, to end the table": nil,
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	db := raw(t, path)
	checkBooks(t, db)
	if n := query(t, db, "SELECT count(*) FROM blobs"); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}

func TestContainerNotFound(t *testing.T) {
	t.Parallel()
	s := open(t, store.Options{})
	create(t, s, store.Container{ID: "c"}, newFile("f", "/mnt/data/a", "x"))
	create(t, s, store.Container{ID: "d"}, newFile("g", "/mnt/data/a", "x"))
	tests := []struct {
		name, want string
		call       func() error
	}{
		{"get", "x", func() error { _, err := s.UseContainer(t.Context(), "x", plenty); return err }},
		{"state", "x", func() error { _, _, err := s.ContainerState(t.Context(), "x", plenty); return err }},
		{"change", "x", func() error { return s.ChangeContainer(t.Context(), "x", store.Change{}, plenty) }},
		{"delete", "x", func() error { return s.DeleteContainer(t.Context(), "x") }},
		{"files", "x", func() error { _, _, err := s.ContainerFiles(t.Context(), "x", api.Page{}, plenty); return err }},
		{"file of no container", "x", func() error { _, err := s.ContainerFile(t.Context(), "x", "f", plenty); return err }},
		{"file of another container", "g", func() error { _, err := s.ContainerFile(t.Context(), "c", "g", plenty); return err }},
		{"data of another container's file", "g", func() error { _, err := s.ContainerFileData(t.Context(), "c", "g", plenty); return err }},
		{"delete another container's file", "g", func() error { return s.DeleteContainerFile(t.Context(), "c", "g", plenty) }},
		{"files after another container's file", "g", func() error {
			_, _, err := s.ContainerFiles(t.Context(), "c", api.Page{After: "g"}, plenty)
			return err
		}},
		{"containers after nothing", "x", func() error {
			_, _, err := s.Containers(t.Context(), "", "", api.Page{After: "x"}, plenty)
			return err
		}},
	}
	for _, tt := range tests {
		var missing *store.NotFoundError
		if err := tt.call(); !errors.As(err, &missing) || missing.ID != tt.want {
			t.Errorf("%s: got %v, want not found %q", tt.name, err, tt.want)
		}
	}
	if _, err := s.ContainerFile(t.Context(), "d", "g", plenty); err != nil {
		t.Error(err)
	}
}

func TestContainersPages(t *testing.T) {
	t.Parallel()
	s := open(t, store.Options{})
	for i := range 25 {
		create(t, s, store.Container{ID: fmt.Sprintf("c%02d", i), Owner: "me", Name: []string{"even", "odd"}[i%2]})
		create(t, s, store.Container{ID: fmt.Sprintf("other %d", i), Owner: []string{"you", ""}[i%2], Name: "odd"})
	}
	tests := []struct {
		name, filter string
		page         api.Page
		first, last  string
		n            int
		more         bool
	}{
		{"newest twenty", "", api.Page{}, "c24", "c05", 20, true},
		{"the rest", "", api.Page{After: "c05"}, "c04", "c00", 5, false},
		{"ascending", "", api.Page{Order: "asc", Limit: 3, After: "c02"}, "c03", "c05", 3, true},
		{"of a name", "odd", api.Page{Order: "asc", Limit: 2}, "c01", "c03", 2, true},
		{"of no name", "none", api.Page{}, "", "", 0, false},
		{"after somebody else's", "", api.Page{After: "other 1"}, "", "", -1, false},
		{"exactly the rest", "odd", api.Page{Limit: 12}, "c23", "c01", 12, false},
	}
	for _, tt := range tests {
		list, more, err := s.Containers(t.Context(), "me", tt.filter, tt.page, plenty)
		var missing *store.NotFoundError
		if tt.n < 0 && errors.As(err, &missing) && missing.ID == tt.page.After {
			continue
		}
		first, last := "", ""
		if len(list) > 0 {
			first, last = list[0].ID, list[len(list)-1].ID
		}
		if err != nil || first != tt.first || last != tt.last || len(list) != tt.n || more != tt.more {
			t.Errorf("%s: got %d %s..%s, more %v, %v; want %d %s..%s, more %v", tt.name, len(list), first, last, more, err,
				tt.n, tt.first, tt.last, tt.more)
		}
	}
}

func TestContainersExpire(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	c := &clock{time.Unix(1_000_000, 0)}
	s, db := open(t, store.Options{Path: path, Now: c.now}), raw(t, path)
	for _, id := range []string{"idle", "used", "leased", "long"} {
		ttl := 10 * time.Minute
		if id == "long" {
			ttl = time.Hour
		}
		create(t, s, store.Container{ID: id, TTL: ttl}, newFile("f_"+id, "/mnt/data/a", id))
	}
	leased := plenty
	leased.InUse = func(id string) bool { return id == "leased" }
	status := func() (expired []string) {
		list, _, err := s.Containers(t.Context(), "", "", api.Page{Order: "asc"}, leased)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			if c.Expired {
				expired = append(expired, c.ID)
			}
		}
		return expired
	}
	c.t = c.t.Add(10*time.Minute - 1)
	if _, err := s.UseContainer(t.Context(), "used", leased); err != nil || status() != nil {
		t.Fatalf("expired before their time: %v, %v", status(), err)
	}
	c.t = c.t.Add(1)
	if got := status(); !reflect.DeepEqual(got, []string{"idle"}) {
		t.Errorf("expired %v, want idle only", got)
	}
	var expired *store.ExpiredError
	if _, _, err := s.ContainerState(t.Context(), "idle", leased); !errors.As(err, &expired) || expired.ID != "idle" {
		t.Errorf("state before it was cleared away: %v", err)
	}
	if n := query(t, db, "SELECT count(*) FROM container_files"); n != 4 {
		t.Errorf("%d files; nothing has cleared them away yet", n)
	}
	if err := s.ExpireContainers(t.Context(), leased); err != nil {
		t.Fatal(err)
	}
	if n := query(t, db, "SELECT count(*) FROM container_files"); n != 3 {
		t.Errorf("%d files, want those of the others", n)
	}
	checkBooks(t, db)
	for name, err := range map[string]error{
		"change": s.ChangeContainer(t.Context(), "idle", store.Change{}, leased),
		"delete": s.DeleteContainerFile(t.Context(), "idle", "f_idle", leased),
	} {
		if !errors.As(err, &expired) {
			t.Errorf("%s of an expired container: %v", name, err)
		}
	}
	if con, err := s.UseContainer(t.Context(), "idle", leased); err != nil || !con.Expired || con.Active.Unix() != 1_000_000 {
		t.Errorf("an expired container came back by looking at it: %+v, %v", con, err)
	}
	if err := s.ExpireContainers(t.Context(), plenty); err != nil { // the leased one is not in use any more
		t.Fatal(err)
	}
	if n := query(t, db, "SELECT count(*) FROM containers WHERE expired"); n != 2 {
		t.Errorf("%d expired containers, want idle and leased", n)
	}
	c.t = c.t.Add(24 * time.Hour)
	if err := s.ExpireContainers(t.Context(), plenty); err != nil {
		t.Fatal(err)
	}
	if n := query(t, db, "SELECT count(*) FROM containers"); n != 2 {
		t.Errorf("%d containers are left, want the two that expired within the last day", n)
	}
	checkBooks(t, db)
}

// TestExpiredContainersAreForgotten has more of them than are kept: those that were used last stay.
func TestExpiredContainersAreForgotten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	c := &clock{time.Unix(1_000_000, 0)}
	s, db := open(t, store.Options{Path: path, Now: c.now}), raw(t, path)
	if _, err := db.Exec(`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10007)
		INSERT INTO containers SELECT i, 'c' || i, '', '', '', 0, 0, ? + i, 0, 1 FROM n`, c.t.UnixNano()); err != nil {
		t.Fatal(err)
	}
	create(t, s, store.Container{ID: "live"})
	if n := query(t, db, "SELECT count(*) FROM containers"); n != 10_001 {
		t.Errorf("%d containers, want 10,000 expired ones and the new one", n)
	}
	if n := query(t, db, "SELECT min(position) FROM containers"); n != 8 {
		t.Errorf("the oldest is number %d, want 8", n)
	}
}

func TestContainerLimits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	c := &clock{time.Unix(1_000_000, 0)}
	s, db := open(t, store.Options{Path: path, Now: c.now}), raw(t, path)
	l := store.Limits{Containers: 3, Files: 2, ContainerBytes: 100, Bytes: 200, InUse: func(id string) bool { return id == "busy" }}
	make := func(id string, auto bool, files ...store.NewFile) error {
		c.t = c.t.Add(time.Second)
		_, err := s.CreateContainer(t.Context(), store.Container{ID: id, TTL: time.Hour, Auto: auto}, files, l)
		return err
	}
	change := func(id string, files ...store.NewFile) error {
		return s.ChangeContainer(t.Context(), id, store.Change{Put: files}, l)
	}
	hundred := func(c string) string { return strings.Repeat(c, 100) }
	wants := func(name string, err error, limit string, most, want int64) {
		t.Helper()
		var e *store.LimitError
		if !errors.As(err, &e) || *e != (store.LimitError{Limit: limit, Max: most, Want: want}) {
			t.Errorf("%s: got %v, want limit %s of %d met by %d", name, err, limit, most, want)
		}
		checkBooks(t, db)
	}
	ok := func(name string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkBooks(t, db)
	}
	ok("first", make("a", false))
	wants("file too many", change("a", newFile("1", "/1", ""), newFile("2", "/2", ""), newFile("3", "/3", "")), "files", 2, 3)
	wants("byte too many", change("a", newFile("1", "/1", hundred("x")), newFile("2", "/2", "x")), "container bytes", 100, 101)
	ok("files exactly, and a memory", change("a", newFile("1", "/1", ""), newFile("2", "/2", ""), newFile("", "", "m")))
	ok("emptied", s.ChangeContainer(t.Context(), "a", store.Change{Remove: []string{"/1", "/2", ""}}, l))
	ok("exactly full", change("a", newFile("1", "/1", hundred("x"))))
	ok("replaced", change("a", newFile("2", "/1", hundred("y"))))
	ok("auto", make("busy", true, newFile("3", "/1", hundred("y")))) // the same content is no more bytes
	ok("auto", make("old", true, newFile("4", "/1", hundred("z"))))
	ok("auto ones that are not in use make room for bytes", change("busy", newFile("5", "/1", "w")))
	ok("auto", make("older", true))
	c.t = c.t.Add(time.Second)
	if _, err := s.UseContainer(t.Context(), "older", l); err != nil {
		t.Error(err)
	}
	ok("and for containers of clients", make("b", false))
	for id, want := range map[string]bool{"a": false, "busy": false, "old": true, "older": true, "b": false} {
		if con, err := s.UseContainer(t.Context(), id, l); err != nil || con.Expired != want {
			t.Errorf("%s has expired: %v, %v; want %v", id, con.Expired, err, want)
		}
	}
	wants("container too many", make("c", true), "containers", 3, 4)
	wants("byte too many in all", change("b", newFile("6", "/1", hundred("v"))), "bytes", 200, 201)
	ok("all exactly full", change("b", newFile("6", "/1", hundred("v")[1:])))
	wants("byte too many in all", change("busy", newFile("7", "/2", "u")), "bytes", 200, 201)
	if u, err := s.ContainerUsage(t.Context()); err != nil || u != (store.ContainerUsage{Containers: 3, Bytes: 200}) {
		t.Errorf("usage %+v, %v", u, err)
	}
}

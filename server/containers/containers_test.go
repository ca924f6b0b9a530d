package containers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chorale/server/api"
	"chorale/server/containers"
	"chorale/server/store"
)

// clock is a time that tests set.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{time.Unix(1_000_000, 0)} }

func newStore(t *testing.T, path string, c *clock) *store.Store {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// newService is a service over a store in memory, unless the options have one.
func newService(t *testing.T, o containers.Options) *containers.Service {
	t.Helper()
	if o.Store == nil {
		o.Store = newStore(t, ":memory:", newClock())
	}
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := containers.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *containers.Service) string {
	t.Helper()
	c, err := s.Create(t.Context(), "", &api.ContainerRequest{Name: "n"})
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func upload(t *testing.T, s *containers.Service, id, name, data string) *api.ContainerFile {
	t.Helper()
	f, err := s.Upload(t.Context(), id, containers.Upload{Name: name, Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func acquire(t *testing.T, s *containers.Service, id string) *containers.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func save(t *testing.T, l *containers.Lease, st *store.State) {
	t.Helper()
	if err := l.Save(t.Context(), st); err != nil {
		t.Fatal(err)
	}
}

// wantError checks status, code and a part of the message.
func wantError(t *testing.T, name string, err error, status int, code, message string) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Status != status || e.Code != code || !strings.Contains(e.Message, message) {
		t.Errorf("%s: got %v, want status %d, code %q and %q in the message", name, err, status, code, message)
	}
}

// listing is each file as "path source content", in the order of their making.
func listing(t *testing.T, s *containers.Service, id string) (out []string) {
	t.Helper()
	list, err := s.Files(t.Context(), id, api.Page{Order: "asc", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list.Data {
		c, err := s.Content(t.Context(), id, f.ID)
		if err != nil || c.File != f || f.Bytes != int64(len(c.Data)) || f.ContainerID != id || f.Object != "container.file" {
			t.Errorf("content of %+v: %+v, %v", f, c, err)
		}
		out = append(out, f.Path+" "+f.Source+" "+string(c.Data))
	}
	return out
}

func TestCreate(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	spec := func(c api.ContainerSpec) *api.ContainerRequest {
		return &api.ContainerRequest{Name: "n", ContainerSpec: c}
	}
	want := api.Container{Object: "container", CreatedAt: 1_000_000, LastActiveAt: 1_000_000, Status: "running", Name: "n", MemoryLimit: "1g",
		ExpiresAfter: api.ExpiresAfter{Anchor: "last_active_at", Minutes: 20}, NetworkPolicy: api.NetworkPolicy{Type: "disabled"}}
	more := want
	more.MemoryLimit, more.ExpiresAfter.Minutes = "4g", 1440
	tests := []struct {
		name    string
		request *api.ContainerRequest
		want    api.Container // or
		param   string        // of the error
		message string
	}{
		{"nothing asked for", spec(api.ContainerSpec{}), want, "", ""},
		{"everything asked for", &api.ContainerRequest{Name: "n", ExpiresMinutes: 1440,
			ContainerSpec: api.ContainerSpec{MemoryLimit: "4g", NetworkPolicy: "disabled", FileIDs: []string{}}}, more, "", ""},
		{"expires too late", &api.ContainerRequest{Name: "n", ExpiresMinutes: 1441}, want, "expires_after.minutes", "<= 1440"},
		{"files of the files API", spec(api.ContainerSpec{FileIDs: []string{"file-1"}}), want, "file_ids", "Upload to"},
		{"more memory than 32 bits", spec(api.ContainerSpec{MemoryLimit: "16g"}), want, "memory_limit", "4g"},
		{"network", spec(api.ContainerSpec{NetworkPolicy: "allowlist"}), want, "network_policy", "no network"},
		{"skills", spec(api.ContainerSpec{Skills: true}), want, "skills", "none"},
	}
	for _, tt := range tests {
		got, err := s.Create(t.Context(), "", tt.request)
		if tt.param != "" {
			wantError(t, tt.name, err, 400, map[bool]string{true: "integer_above_max_value", false: "unsupported_parameter"}[tt.request.ExpiresMinutes > 0], tt.message)
			if e := (*api.Error)(nil); errors.As(err, &e) && e.Param != tt.param {
				t.Errorf("%s: param %q", tt.name, e.Param)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(got.ID, "cntr_") {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
			continue
		}
		again, err := s.Get(t.Context(), got.ID)
		if err != nil || *again != *got {
			t.Errorf("%s: got %+v, %v; created %+v", tt.name, again, err, got)
		}
		if got.ID = ""; *got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, *got, tt.want)
		}
	}
	if err := s.Check(api.ContainerSpec{Skills: true}, "tools[0].container."); err == nil || !strings.HasPrefix(err.Error(), "tools[0].container.skills: ") {
		t.Errorf("check: %v", err)
	}
}

func TestUploadPaths(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	id := create(t, s)
	long := strings.Repeat("n", 255)
	tests := []struct{ name, want string }{ // no path: refused
		{"a.csv", "/mnt/data/a.csv"},
		{"folder/a.csv", "/mnt/data/a.csv"},
		{`C:\Users\me\a.csv`, "/mnt/data/a.csv"},
		{"../../etc/passwd", "/mnt/data/passwd"},
		{`..\a`, "/mnt/data/a"},
		{"größe 図.csv", "/mnt/data/größe 図.csv"},
		{".hidden", "/mnt/data/.hidden"},
		{"...", "/mnt/data/..."},
		{long, "/mnt/data/" + long},
		{long + "n", ""},
		{"", ""}, {".", ""}, {"..", ""}, {"a/..", ""}, {"a/", ""}, {`a\`, ""},
		{"a\x00b", ""}, {"a\nb", ""}, {"\xff", ""}, {"a\u0085b", ""},
	}
	for _, tt := range tests {
		f, err := s.Upload(t.Context(), id, containers.Upload{Name: tt.name})
		if tt.want == "" {
			wantError(t, fmt.Sprintf("%q", tt.name), err, 400, "invalid_value", "255 bytes")
		} else if err != nil || f.Path != tt.want || f.Source != "user" || !strings.HasPrefix(f.ID, "cfile_") {
			t.Errorf("%q: got %+v, %v; want %q", tt.name, f, err, tt.want)
		}
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	id := create(t, s)
	tests := []struct{ name, claimed, data, want string }{
		{"a", "text/x-mine", "x", "text/x-mine"},
		{"a.html", "", "x", "text/html; charset=utf-8"},
		{"a", "not a type", "<html>", "text/html; charset=utf-8"},
		{"a", "nonsense", "\x89PNG\r\n\x1a\n", "image/png"},
		{"a", "text/plain\r\nX-Evil: 1", "x", "text/plain; charset=utf-8"},
		{"a", "", "", "text/plain; charset=utf-8"},
		{"a.unknown-extension", "", "\x00\x01", "application/octet-stream"},
		{"a", "text/plain; x=" + strings.Repeat("y", 300), "\x00", "application/octet-stream"},
	}
	for _, tt := range tests {
		f, err := s.Upload(t.Context(), id, containers.Upload{Name: tt.name, MIME: tt.claimed, Data: []byte(tt.data)})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := s.Content(t.Context(), id, f.ID); err != nil || c.MIME != tt.want {
			t.Errorf("%q as %q: got %v, %v; want %q", tt.data, tt.claimed, c, err, tt.want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	ten := make([]byte, 10)
	put := func(s *containers.Service, id, name string, data []byte) error {
		_, err := s.Upload(t.Context(), id, containers.Upload{Name: name, Data: data})
		return err
	}
	tests := []struct {
		name, code, message string
		status              int
		options             containers.Options
		fits, exceeds       func(s *containers.Service, id string) error
	}{
		{"bytes of a file", "file_too_large", "10 bytes", 413, containers.Options{MaxFileBytes: 10},
			func(s *containers.Service, id string) error { return put(s, id, "a", ten) },
			func(s *containers.Service, id string) error { return put(s, id, "a", append(ten, 1)) }},
		{"bytes of a container", "container_full", "at most 20 bytes, and this would make 21", 400, containers.Options{MaxContainerBytes: 20},
			func(s *containers.Service, id string) error {
				return errors.Join(put(s, id, "a", ten), put(s, id, "b", ten))
			},
			func(s *containers.Service, id string) error { return put(s, id, "c", ten[:1]) }},
		{"bytes of a container, by a response", "container_full", "20 bytes", 400, containers.Options{MaxContainerBytes: 20},
			func(s *containers.Service, id string) error { return put(s, id, "a", ten) },
			func(s *containers.Service, id string) error {
				l := acquire(t, s, id)
				defer l.Release()
				return l.Save(t.Context(), &store.State{Memory: append(ten, 1), Files: l.State().Files})
			}},
		{"files of a container", "container_full", "at most 2 files, and this would make 3", 400, containers.Options{MaxFiles: 2},
			func(s *containers.Service, id string) error {
				return errors.Join(put(s, id, "a", ten), put(s, id, "b", ten))
			},
			func(s *containers.Service, id string) error { return put(s, id, "c", nil) }},
		{"bytes of all containers", "container_storage_full", "at most 15 bytes, and this would make 16", 400, containers.Options{MaxBytes: 15},
			func(s *containers.Service, id string) error {
				return errors.Join(put(s, create(t, s), "a", ten), put(s, id, "b", ten)) // the same content counts once
			},
			func(s *containers.Service, id string) error { return put(s, id, "c", []byte("sixsix")) }},
		{"containers", "container_limit_reached", "at most 2 containers", 400, containers.Options{MaxContainers: 2},
			func(s *containers.Service, id string) error { create(t, s); return nil },
			func(s *containers.Service, _ string) error {
				_, err := s.Create(t.Context(), "", &api.ContainerRequest{Name: "n"})
				return err
			}},
		{"responses that wait", "container_busy", "1 responses wait", 429, containers.Options{MaxWaiting: 1},
			func(s *containers.Service, id string) error {
				l := acquire(t, s, id)
				ctx, cancel := context.WithCancel(t.Context())
				turn := make(chan *containers.Lease, 1)
				go func() {
					second, _ := s.Acquire(ctx, id)
					turn <- second
				}()
				for s.Stats().Waiting == 0 { // until the second one waits
					runtime.Gosched()
				}
				t.Cleanup(func() { cancel(); <-turn; l.Release() })
				return nil
			},
			func(s *containers.Service, id string) error { _, err := s.Acquire(t.Context(), id); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, tt.options)
			id := create(t, s)
			if err := tt.fits(s, id); err != nil {
				t.Errorf("within the limit: %v", err)
			}
			wantError(t, "above the limit", tt.exceeds(s, id), tt.status, tt.code, tt.message)
			if got := s.Stats().Refused; got != 1 {
				t.Errorf("%d refused", got)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	db, log := newStore(t, ":memory:", newClock()), slog.New(slog.DiscardHandler)
	for name, o := range map[string]containers.Options{
		"no store":            {Logger: log},
		"no logger":           {Store: db},
		"expiry of seconds":   {Store: db, Logger: log, Expiry: time.Second},
		"expiry above most":   {Store: db, Logger: log, Expiry: time.Hour, MaxExpiry: time.Minute},
		"negative containers": {Store: db, Logger: log, MaxContainers: -1},
		"negative file bytes": {Store: db, Logger: log, MaxFileBytes: -1},
		"negative waiting":    {Store: db, Logger: log, MaxWaiting: -1},
	} {
		if _, err := containers.New(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), "containers: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestNotFoundAndExpired(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newService(t, containers.Options{Store: newStore(t, ":memory:", c)})
	id, other := create(t, s), create(t, s)
	f, g := upload(t, s, id, "a", "x"), upload(t, s, other, "a", "x")
	type call = func(id, file string) error
	calls := map[string]call{
		"get":   func(id, _ string) error { _, err := s.Get(t.Context(), id); return err },
		"files": func(id, _ string) error { _, err := s.Files(t.Context(), id, api.Page{}); return err },
		"upload": func(id, _ string) error {
			_, err := s.Upload(t.Context(), id, containers.Upload{Name: "n"})
			return err
		},
		"file":        func(id, file string) error { _, err := s.File(t.Context(), id, file); return err },
		"content":     func(id, file string) error { _, err := s.Content(t.Context(), id, file); return err },
		"delete file": func(id, file string) error { return s.DeleteFile(t.Context(), id, file) },
		"acquire": func(id, _ string) error {
			l, err := s.Acquire(t.Context(), id)
			if err == nil {
				l.Release()
			}
			return err
		},
		"delete": func(id, _ string) error { return s.Delete(t.Context(), id) },
	}
	for name, call := range calls {
		wantError(t, name+" of no container", call("cntr_x", f.ID), 404, "container_not_found", "'cntr_x'")
	}
	for _, name := range []string{"file", "content", "delete file"} {
		wantError(t, name+" of another container", calls[name](id, g.ID), 404, "container_file_not_found", g.ID)
	}
	_, err := s.Files(t.Context(), id, api.Page{After: g.ID})
	wantError(t, "page after another container's file", err, 400, "invalid_value", g.ID)
	_, err = s.List(t.Context(), "", "", api.Page{After: "cntr_x"})
	wantError(t, "page after no container", err, 400, "invalid_value", "cntr_x")

	c.t = c.t.Add(20 * time.Minute)
	delete(calls, "get")
	remove := calls["delete"]
	delete(calls, "delete")
	for name, call := range calls {
		wantError(t, name+" of an expired container", call(id, f.ID), 404, "container_expired", id)
	}
	if got, err := s.Get(t.Context(), id); err != nil || got.Status != "expired" || got.LastActiveAt != 1_000_000 {
		t.Errorf("an expired container: %+v, %v", got, err)
	}
	if list, err := s.List(t.Context(), "", "", api.Page{}); err != nil || len(list.Data) != 2 || list.Data[0].Status != "expired" {
		t.Errorf("a list of expired containers: %+v, %v", list, err)
	}
	if err := remove(id, ""); err != nil {
		t.Errorf("delete of an expired container: %v", err)
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	empty, err := s.List(t.Context(), "", "", api.Page{})
	if err != nil || empty.Data == nil || empty.FirstID != nil || empty.LastID != nil || empty.HasMore || empty.Object != "list" {
		t.Errorf("of nothing: %+v, %v", empty, err)
	}
	ids := []string{create(t, s), create(t, s), create(t, s)}
	page, err := s.List(t.Context(), "", "n", api.Page{Limit: 2})
	if err != nil || !page.HasMore || *page.FirstID != ids[2] || *page.LastID != ids[1] || len(page.Data) != 2 {
		t.Errorf("first page: %+v, %v", page, err)
	}
	page, err = s.List(t.Context(), "", "n", api.Page{Limit: 2, After: ids[1]})
	if err != nil || page.HasMore || len(page.Data) != 1 || page.Data[0].ID != ids[0] {
		t.Errorf("second page: %+v, %v", page, err)
	}
	if page, err := s.List(t.Context(), "", "m", api.Page{}); err != nil || len(page.Data) != 0 {
		t.Errorf("of another name: %+v, %v", page, err)
	}
	files, err := s.Files(t.Context(), ids[0], api.Page{})
	if err != nil || files.Data == nil || files.FirstID != nil {
		t.Errorf("files of an empty container: %+v, %v", files, err)
	}
	a, b := upload(t, s, ids[0], "a", ""), upload(t, s, ids[0], "b", "")
	files, err = s.Files(t.Context(), ids[0], api.Page{Limit: 1, Order: "asc"})
	if err != nil || !files.HasMore || *files.FirstID != a.ID || *files.LastID != a.ID || files.Data[0] != *a {
		t.Errorf("first page of files: %+v, %v", files, err)
	}
	files, err = s.Files(t.Context(), ids[0], api.Page{Limit: 1, Order: "asc", After: a.ID})
	if err != nil || files.HasMore || len(files.Data) != 1 || files.Data[0] != *b {
		t.Errorf("second page of files: %+v, %v", files, err)
	}
}

// TestListShowsOnesOwn: everybody may use a container who knows its id, and learns it only from whom it belongs to.
func TestListShowsOnesOwn(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	made := map[string]string{}
	for _, owner := range []string{"", "me", "you"} {
		c, err := s.Create(t.Context(), owner, &api.ContainerRequest{Name: "n"})
		if err != nil {
			t.Fatal(err)
		}
		made[owner] = c.ID
		if _, err := s.Get(t.Context(), c.ID); err != nil {
			t.Error(err)
		}
	}
	for owner, id := range made {
		if list, err := s.List(t.Context(), owner, "", api.Page{}); err != nil || len(list.Data) != 1 || list.Data[0].ID != id {
			t.Errorf("list of %q: %+v, %v", owner, list, err)
		}
	}
	_, err := s.List(t.Context(), "me", "", api.Page{After: made["you"]})
	wantError(t, "page after somebody else's", err, 400, "invalid_value", made["you"])
}

func TestUploadReplaces(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	id := create(t, s)
	first, second := upload(t, s, id, "a", "one"), upload(t, s, id, "a", "two")
	if got := listing(t, s, id); !reflect.DeepEqual(got, []string{"/mnt/data/a user two"}) {
		t.Errorf("files %q", got)
	}
	_, err := s.Content(t.Context(), id, first.ID)
	wantError(t, "the first one", err, 404, "container_file_not_found", first.ID)
	if err := s.DeleteFile(t.Context(), id, second.ID); err != nil || listing(t, s, id) != nil {
		t.Errorf("after deleting: %q, %v", listing(t, s, id), err)
	}
}

func file(path, data string) store.File { return store.File{Path: path, Data: []byte(data)} }

func TestLeaseSavesWhatChanged(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	id := create(t, s)
	kept, changed, removed := upload(t, s, id, "kept", "1"), upload(t, s, id, "changed", "1"), upload(t, s, id, "removed", "1")
	unseen := upload(t, s, id, "unseen", "1")
	l := acquire(t, s, id)
	if st := l.State(); st.Memory != nil || len(st.Files) != 4 || st.ContainerID != id || l.ContainerID() != id {
		t.Fatalf("state %+v of %s", st, l.ContainerID())
	}
	// While the response runs, a client uploads, replaces and deletes.
	upload(t, s, id, "uploaded", "2")
	upload(t, s, id, "changed", "2")
	replaced := upload(t, s, id, "kept", "2")
	if err := s.DeleteFile(t.Context(), id, unseen.ID); err != nil {
		t.Fatal(err)
	}
	st := &store.State{Memory: []byte("m"), Files: []store.File{file("/mnt/data/kept", "1"), file("/mnt/data/changed", "3"),
		file("/mnt/data/unseen", "1"), file("/mnt/data/sub/new", "3"), file("/tmp/scratch", "4"), file("/mnt/data/\xff", "5"), file("/mnt/data", "6")}}
	save(t, l, st)
	want := []string{"/mnt/data/uploaded user 2", "/mnt/data/kept user 2", "/mnt/data/changed assistant 3", "/mnt/data/sub/new assistant 3"}
	if got := listing(t, s, id); !reflect.DeepEqual(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if files, err := l.Files(t.Context()); err != nil || len(files) != 4 || files[1] != *replaced {
		t.Errorf("files of the lease: %+v, %v", files, err)
	}
	save(t, l, st) // nothing has changed since
	if got := listing(t, s, id); !reflect.DeepEqual(got, want) {
		t.Errorf("saved again: %q, want %q", got, want)
	}
	l.Release()
	l.Release()
	if err := l.Save(t.Context(), st); err == nil {
		t.Error("saved after the end of the lease")
	}
	for name, f := range map[string]*api.ContainerFile{"kept": kept, "changed": changed, "removed": removed} {
		if _, err := s.File(t.Context(), id, f.ID); err == nil {
			t.Errorf("%s: its old id still means something", name)
		}
	}
	l = acquire(t, s, id)
	defer l.Release()
	var paths []string
	for _, f := range l.State().Files {
		paths = append(paths, f.Path+" "+string(f.Data))
	}
	wantPaths := []string{"/mnt/data 6", "/mnt/data/changed 3", "/mnt/data/kept 2", "/mnt/data/sub/new 3", "/mnt/data/uploaded 2", "/mnt/data/\xff 5", "/tmp/scratch 4"}
	if string(l.State().Memory) != "m" || !reflect.DeepEqual(paths, wantPaths) {
		t.Errorf("next state: memory %q, files %q; want %q", l.State().Memory, paths, wantPaths)
	}
	save(t, l, &store.State{})
	if got := listing(t, s, id); got != nil {
		t.Errorf("after saving nothing: %q", got)
	}
}

func TestSaveAfterDelete(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	id := create(t, s)
	l := acquire(t, s, id)
	defer l.Release()
	if err := s.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	wantError(t, "save", l.Save(t.Context(), &store.State{Memory: []byte("m")}), 404, "container_not_found", id)
}

func TestStateWithoutAPath(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	bad := &store.State{Files: []store.File{file("", "x")}}
	if _, err := s.New(t.Context(), api.ContainerSpec{}, bad); err == nil {
		t.Error("a new container took it")
	}
	l := acquire(t, s, create(t, s))
	defer l.Release()
	if err := l.Save(t.Context(), bad); err == nil {
		t.Error("a container took it")
	}
}

// TestMemory holds what clients are told of memory against what interpreters of a server may have.
func TestMemory(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mib         int64 // 0 = the default
		asked, want string
		bound       int64 // 0 = that of the server
	}{
		{0, "4g", "4g", 0}, {4096, "4g", "4g", 0}, {2048, "4g", "2g", 0}, {1536, "4g", "1536m", 0}, {1024, "4g", "1g", 0},
		{4096, "1g", "1g", 1 << 30}, {4096, "", "1g", 1 << 30}, {1025, "1g", "1g", 1 << 30}, {1024, "1g", "1g", 0},
		{1023, "1g", "1023m", 0}, {256, "", "256m", 0}, {256, "4g", "256m", 0},
	} {
		s := newService(t, containers.Options{MaxMemory: tt.mib << 20})
		c, err := s.Create(t.Context(), "", &api.ContainerRequest{Name: "n", ContainerSpec: api.ContainerSpec{MemoryLimit: tt.asked}})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Get(t.Context(), c.ID); err != nil || c.MemoryLimit != tt.want || again.MemoryLimit != tt.want {
			t.Errorf("%d MiB, asked for %q: got %s, then %+v, %v; want %s", tt.mib, tt.asked, c.MemoryLimit, again, err, tt.want)
		}
		l, err := s.Acquire(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.MaxMemory(); got != tt.bound {
			t.Errorf("%d MiB, asked for %q: a bound of %d bytes, want %d", tt.mib, tt.asked, got, tt.bound)
		}
		l.Release()
	}
}

func TestAutoContainersBranch(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{})
	fresh := func(st *store.State) *containers.Lease {
		l, err := s.New(t.Context(), api.ContainerSpec{MemoryLimit: "4g"}, st)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	root := fresh(nil)
	if st := root.State(); st.Memory != nil || st.Files != nil || st.ContainerID != root.ContainerID() {
		t.Errorf("first state %+v", st)
	}
	left := &store.State{ContainerID: root.ContainerID(), Memory: []byte("m"), Files: []store.File{file("/mnt/data/a", "1")}}
	save(t, root, left)
	root.Release()
	for i := range 2 {
		branch := fresh(left)
		if st := branch.State(); string(st.Memory) != "m" || len(st.Files) != 1 || st.ContainerID == left.ContainerID {
			t.Errorf("branch %d begins with %+v", i, st)
		}
		if got := listing(t, s, branch.ContainerID()); !reflect.DeepEqual(got, []string{"/mnt/data/a assistant 1"}) {
			t.Errorf("branch %d begins with %q", i, got)
		}
		save(t, branch, &store.State{Files: []store.File{file("/mnt/data/a", fmt.Sprint("branch ", i))}})
		branch.Release()
	}
	if got := listing(t, s, root.ContainerID()); !reflect.DeepEqual(got, []string{"/mnt/data/a assistant 1"}) {
		t.Errorf("the root has changed: %q", got)
	}
	list, err := s.List(t.Context(), "", "auto", api.Page{})
	if err != nil || len(list.Data) != 3 {
		t.Errorf("list %+v, %v", list, err)
	}
	if st := s.Stats(); st.Auto != 3 || st.Saves != 3 || st.Containers != 3 || st.Bytes != int64(len("m1branch 0branch 1")) || st.Leased != 0 {
		t.Errorf("stats %+v", st)
	}
	_, err = s.New(t.Context(), api.ContainerSpec{NetworkPolicy: "allowlist"}, nil)
	wantError(t, "network", err, 400, "unsupported_parameter", "network")
}

// TestAutoContainersMakeRoom: responses are never refused for want of containers while old ones of others can go.
func TestAutoContainersMakeRoom(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{MaxContainers: 3})
	mine := create(t, s)
	held, err := s.New(t.Context(), api.ContainerSpec{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for range 4 {
		l, err := s.New(t.Context(), api.ContainerSpec{}, &store.State{Memory: []byte("m")})
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
		if last != "" {
			_, err := s.Files(t.Context(), last, api.Page{})
			wantError(t, "the one before", err, 404, "container_expired", last)
		}
		last = l.ContainerID()
	}
	for _, id := range []string{mine, held.ContainerID(), last} {
		if _, err := s.Files(t.Context(), id, api.Page{}); err != nil {
			t.Error(err)
		}
	}
	create(t, s)
	_, err = s.New(t.Context(), api.ContainerSpec{}, nil)
	wantError(t, "all in use, or clients' own", err, 400, "container_limit_reached", "3 containers")
	if st := s.Stats(); st.Leased != 1 {
		t.Errorf("a refused container is still leased: %+v", st)
	}
}

func TestLeasesQueueUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, containers.Options{})
		id := create(t, s)
		first := acquire(t, s, id)
		var order []int
		ctx, cancel := context.WithCancelCause(t.Context())
		for i := range 4 {
			go func() {
				wait := t.Context()
				if i == 1 {
					wait = ctx
				}
				l, err := s.Acquire(wait, id)
				if i == 1 {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("a waiter whose context has ended: %v", err)
					}
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				if got, want := string(l.State().Memory), fmt.Sprint(order[:len(order)-1]); got != want {
					t.Errorf("%d sees memory %q, want what the one before has saved, %q", i, got, want)
				}
				save(t, l, &store.State{Memory: fmt.Append(nil, order)})
				l.Release()
			}()
			synctest.Wait()
		}
		if st := s.Stats(); st.Waiting != 4 || st.Leased != 1 {
			t.Errorf("stats %+v", st)
		}
		cancel(errors.New("gone"))
		synctest.Wait()
		save(t, first, &store.State{Memory: []byte("[]")})
		first.Release()
		synctest.Wait()
		if !reflect.DeepEqual(order, []int{0, 2, 3}) {
			t.Errorf("order %v", order)
		}
		if st := s.Stats(); st.Waiting != 0 || st.Leased != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestLeasesUnderLoad has many take, give up and release at once: never two at a time, and nothing is left over.
func TestLeasesUnderLoad(t *testing.T) {
	t.Parallel()
	s := newService(t, containers.Options{MaxWaiting: 64})
	id := create(t, s)
	var holders, taken int // of the holder
	done := make(chan struct{})
	for i := range 32 {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := range 20 {
				ctx, cancel := context.WithCancel(context.Background())
				if (i+n)%3 == 0 {
					go cancel()
				}
				l, err := s.Acquire(ctx, id)
				if err == nil {
					if holders++; holders != 1 {
						t.Errorf("%d hold the container", holders)
					}
					taken++
					holders--
					l.Release()
				}
				cancel()
			}
		}()
	}
	for range 32 {
		<-done
	}
	if st := s.Stats(); st.Leased != 0 || st.Waiting != 0 || taken == 0 {
		t.Errorf("stats %+v after %d leases", st, taken)
	}
	acquire(t, s, id).Release()
}

func TestLeaseKeepsContainerAlive(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newService(t, containers.Options{Store: newStore(t, ":memory:", c)})
	id := create(t, s)
	l := acquire(t, s, id)
	c.t = c.t.Add(time.Hour)
	create(t, s) // clears away
	if got, err := s.Get(t.Context(), id); err != nil || got.Status != "running" {
		t.Errorf("in use: %+v, %v", got, err)
	}
	c.t = c.t.Add(time.Hour)
	save(t, l, &store.State{Memory: []byte("m")})
	l.Release()
	c.t = c.t.Add(20*time.Minute - 1)
	acquire(t, s, id).Release()
	c.t = c.t.Add(20 * time.Minute)
	_, err := s.Acquire(t.Context(), id)
	wantError(t, "after its time", err, 404, "container_expired", id)
}

// TestCrash opens a store whose process has died while a lease was held: the lease is gone, what was saved is there, and
// what has expired in the meantime is cleared away.
func TestCrash(t *testing.T) {
	t.Parallel()
	path, c := filepath.Join(t.TempDir(), "s.db"), newClock()
	before := newStore(t, path, c)
	s := newService(t, containers.Options{Store: before})
	id, idle := create(t, s), create(t, s)
	upload(t, s, idle, "a", "gone")
	l := acquire(t, s, id)
	save(t, l, &store.State{Memory: []byte("m")})
	before.Close()

	c.t = c.t.Add(10 * time.Minute)
	s = newService(t, containers.Options{Store: newStore(t, path, c)})
	if l := acquire(t, s, id); !bytes.Equal(l.State().Memory, []byte("m")) {
		t.Errorf("state %+v", l.State())
	}
	c.t = c.t.Add(10 * time.Minute)
	s = newService(t, containers.Options{Store: newStore(t, path, c)})
	if st := s.Stats(); st.Containers != 1 || st.Bytes != 1 {
		t.Errorf("stats %+v, want the container that was used and its byte", st)
	}
}

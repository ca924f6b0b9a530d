package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"chorale/server/api"
)

// Of expired containers nothing but this fact is left, which can be found for a while and of the latest only.
const (
	expiredAge = 24 * time.Hour
	maxExpired = 10_000
)

// A Container is a state that lives on by itself, for TTL after the last use.
type Container struct {
	ID, Name    string
	Owner       string // of the client that made it, "" for no one in particular
	MemoryLimit string // as clients write it
	Auto        bool   // made for one response: it has to go before those that clients made
	TTL         time.Duration
	Created     time.Time // set by CreateContainer
	Active      time.Time // of the last use; set by the Store
	Expired     bool      // nothing of it is left but this; set by the Store
}

// A ContainerFile describes a file of a container without its contents.
type ContainerFile struct {
	ID       string    // "" = no client sees it
	Path     string    // "" = the memory
	MIME     string    // "" = not known
	Source   string    // who made it
	Bytes    int64     // set by the Store
	Created  time.Time // set by the Store
	Modified time.Time
}

// A NewFile is a file with its contents.
type NewFile struct {
	ContainerFile
	Data []byte
}

// A Change of a container's files happens as a whole or not at all.
type Change struct {
	Remove []string  // paths; those that are not there are ignored
	Put    []NewFile // in the place of files of the same path
}

// Limits are what containers may hold. All of them are checked before a change is made; 0 allows nothing.
type Limits struct {
	Containers     int                  // that have not expired
	Files          int                  // of a container, those that no client sees included, its memory not
	ContainerBytes int64                // of a container, its memory included
	Bytes          int64                // of all containers together, equal files counted once
	InUse          func(id string) bool // containers that must not expire now; must not call the Store
}

// A LimitError says which of the Limits something would exceed.
type LimitError struct {
	Limit     string // "containers", "files", "container bytes" or "bytes"
	Max, Want int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%d %s are too many; the limit is %d", e.Want, e.Limit, e.Max)
}

// An ExpiredError says that a container has expired.
type ExpiredError struct{ ID string }

func (e *ExpiredError) Error() string { return fmt.Sprintf("the container %q has expired", e.ID) }

// CreateContainer adds a container with the files. Containers that were made for one response, the longest unused first,
// expire early where they are in the way of a limit. The error is a *LimitError when that does not suffice.
func (s *Store) CreateContainer(ctx context.Context, c Container, files []NewFile, l Limits) (Container, error) {
	c.Created = s.now()
	c.Active, c.Expired = c.Created, false
	err := s.write(ctx, func(tx *sql.Tx) error {
		if err := s.expire(ctx, tx, l); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO containers (id, name, owner, memory_limit, auto, created, active, ttl)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, c.ID, c.Name, c.Owner, c.MemoryLimit, c.Auto, c.Created.UnixNano(), c.Active.UnixNano(),
			int64(c.TTL)); err != nil {
			return err
		}
		if err := s.change(ctx, tx, c.ID, Change{Put: files}); err != nil {
			return err
		}
		return makeRoom(ctx, tx, c.ID, l)
	})
	return c, s.wrap("put container into", err)
}

// ExpireContainers lets all containers expire that were not used for their TTL, and forgets those that have expired long
// ago. CreateContainer and ChangeContainer do it too.
func (s *Store) ExpireContainers(ctx context.Context, l Limits) error {
	return s.wrap("expire containers of", s.write(ctx, func(tx *sql.Tx) error { return s.expire(ctx, tx, l) }))
}

func (s *Store) expire(ctx context.Context, tx *sql.Tx, l Limits) error {
	now := s.now()
	due, err := texts(tx.QueryContext(ctx, "SELECT id FROM containers WHERE expired = 0 AND active + ttl <= ?", now.UnixNano()))
	if err != nil {
		return err
	}
	for _, id := range due {
		if l.inUse(id) {
			continue
		}
		if err := expireOne(ctx, tx, id); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM containers WHERE expired = 1 AND active + ttl <= ?",
		now.Add(-expiredAge).UnixNano()); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM containers WHERE position IN
		(SELECT position FROM containers WHERE expired = 1 ORDER BY active DESC LIMIT -1 OFFSET ?)`, maxExpired)
	return err
}

func (l Limits) inUse(id string) bool { return l.InUse != nil && l.InUse(id) }

func expireOne(ctx context.Context, tx *sql.Tx, id string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM container_files WHERE container = ?", id); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE containers SET expired = 1 WHERE id = ?", id)
	return err
}

// makeRoom checks the limits after a change of the container id, and lets others expire that were made for one response.
func makeRoom(ctx context.Context, tx *sql.Tx, id string, l Limits) error {
	var files, bytes int64
	if err := tx.QueryRowContext(ctx, `SELECT count(nullif(path, '')), coalesce(sum(bytes), 0) FROM container_files
		WHERE container = ?`, id).Scan(&files, &bytes); err != nil {
		return err
	}
	switch {
	case files > int64(l.Files):
		return &LimitError{"files", int64(l.Files), files}
	case bytes > l.ContainerBytes:
		return &LimitError{"container bytes", l.ContainerBytes, bytes}
	}
	var victims []string // not known yet
	for {
		over, err := exceeded(ctx, tx, l)
		if over == nil || err != nil {
			return err
		}
		if victims == nil {
			victims, err = texts(tx.QueryContext(ctx,
				"SELECT id FROM containers WHERE expired = 0 AND auto AND id <> ? ORDER BY active", id))
			if err != nil {
				return err
			}
			victims = slices.DeleteFunc(victims, l.inUse)
		}
		if len(victims) == 0 {
			return over
		}
		if err := expireOne(ctx, tx, victims[0]); err != nil {
			return err
		}
		victims = victims[1:]
	}
}

// exceeded returns the limit of all containers together that is exceeded, or nil.
func exceeded(ctx context.Context, tx *sql.Tx, l Limits) (*LimitError, error) {
	var n int64
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM containers WHERE expired = 0").Scan(&n); err != nil {
		return nil, err
	}
	bytes, err := usage(ctx, tx, ownerContainers)
	switch {
	case err != nil:
		return nil, err
	case n > int64(l.Containers):
		return &LimitError{"containers", int64(l.Containers), n}, nil
	case bytes > l.Bytes:
		return &LimitError{"bytes", l.Bytes, bytes}, nil
	}
	return nil, nil
}

// texts reads the only column of a query.
func texts(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []string{}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// UseContainer returns a container, and counts that as a use unless it has expired. The error is a *NotFoundError when
// there is none.
func (s *Store) UseContainer(ctx context.Context, id string, l Limits) (c Container, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		c, err = s.use(ctx, tx, id, l)
		return err
	})
	return c, s.wrap("get container from", err)
}

func (s *Store) use(ctx context.Context, tx *sql.Tx, id string, l Limits) (Container, error) {
	c, err := s.scanContainer(tx.QueryRowContext(ctx, "SELECT "+containerColumns+" FROM containers WHERE id = ?", id), l)
	if err = notFound(err, id); err != nil || c.Expired {
		return c, err
	}
	c.Active = s.now()
	_, err = tx.ExecContext(ctx, "UPDATE containers SET active = ? WHERE id = ?", c.Active.UnixNano(), id)
	return c, err
}

const containerColumns = "id, name, owner, memory_limit, auto, created, active, ttl, expired"

func (s *Store) scanContainer(row interface{ Scan(...any) error }, l Limits) (c Container, err error) {
	var created, active, ttl int64
	err = row.Scan(&c.ID, &c.Name, &c.Owner, &c.MemoryLimit, &c.Auto, &created, &active, &ttl, &c.Expired)
	c.Created, c.Active, c.TTL = timeOf(created), timeOf(active), time.Duration(ttl)
	if !s.now().Before(c.Active.Add(c.TTL)) && !l.inUse(c.ID) {
		c.Expired = true // whether or not anybody has cleared it away
	}
	return c, err
}

// Containers returns a page of an owner's containers, expired ones included, in the order of their making, and whether
// there are more. With a name it returns those of that name only. It does not count as a use. The error is a
// *NotFoundError with the id page.After.
func (s *Store) Containers(ctx context.Context, owner, name string, page api.Page, l Limits) (list []Container, more bool, err error) {
	w := where{"owner = ? AND (? = '' OR name = ?)", []any{owner, name, name}}
	more, err = s.page(ctx, "containers", containerColumns, w, page, func(rows *sql.Rows) error {
		c, err := s.scanContainer(rows, l)
		list = append(list, c)
		return err
	})
	return list, more, s.wrap("get containers from", err)
}

// A where is a condition with its arguments.
type where struct {
	condition string
	args      []any
}

// page reads the rows of a page of a table that has the columns id and position, and says whether there are more.
func (s *Store) page(ctx context.Context, table, columns string, w where, p api.Page, read func(*sql.Rows) error) (more bool, err error) {
	if p.Limit <= 0 {
		p.Limit = 20
	}
	order, from := "position > ? ORDER BY position", int64(-1)
	if p.Order != "asc" {
		order, from = "position < ? ORDER BY position DESC", 1<<62
	}
	if p.After != "" {
		err := s.db.QueryRowContext(ctx, "SELECT position FROM "+table+" WHERE id = ? AND "+w.condition,
			append([]any{p.After}, w.args...)...).Scan(&from)
		if errors.Is(err, sql.ErrNoRows) {
			return false, &NotFoundError{p.After}
		}
		if err != nil {
			return false, err
		}
	}
	rows, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM "+table+" WHERE "+w.condition+" AND "+order+" LIMIT ?",
		append(slices.Clone(w.args), from, p.Limit+1)...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n == p.Limit {
			return true, nil
		}
		if err := read(rows); err != nil {
			return false, err
		}
	}
	return false, rows.Err()
}

// DeleteContainer removes a container with its files, expired or not. The error is a *NotFoundError when there is none.
func (s *Store) DeleteContainer(ctx context.Context, id string) error {
	return s.wrap("delete container from", s.write(ctx, func(tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, "DELETE FROM containers WHERE id = ?", id))
		if err == nil && n == 0 {
			err = &NotFoundError{id}
		}
		return err
	}))
}

// ContainerState returns a container with all that it holds, and counts as a use. The error is a *NotFoundError when
// there is none, and an *ExpiredError when nothing of it is left.
func (s *Store) ContainerState(ctx context.Context, id string, l Limits) (Container, *State, error) {
	c, err := s.useNow(ctx, id, l)
	st := &State{ContainerID: id}
	if err == nil {
		err = readState(ctx, s.db, st, `SELECT path, mime, modified, data FROM container_files
			JOIN blob_data ON blob_data.id = blob WHERE container = ? ORDER BY path`, id)
	}
	if err != nil {
		return Container{}, nil, s.wrap("get container from", err)
	}
	return c, st, nil
}

// useLive is use, of a container that must not have expired.
func (s *Store) useLive(ctx context.Context, tx *sql.Tx, id string, l Limits) (Container, error) {
	c, err := s.use(ctx, tx, id, l)
	if err == nil && c.Expired {
		err = &ExpiredError{id}
	}
	return c, err
}

// useNow is useLive in a transaction of its own, so that contents are read beside the writers.
func (s *Store) useNow(ctx context.Context, id string, l Limits) (c Container, err error) {
	err = s.write(ctx, func(tx *sql.Tx) (err error) {
		c, err = s.useLive(ctx, tx, id, l)
		return err
	})
	return c, err
}

// ChangeContainer changes the files of a container, sets what the Store sets in change, and counts as a use. The error is a *NotFoundError, an *ExpiredError
// or a *LimitError.
func (s *Store) ChangeContainer(ctx context.Context, id string, change Change, l Limits) error {
	return s.wrap("change container of", s.write(ctx, func(tx *sql.Tx) error {
		if err := s.expire(ctx, tx, l); err != nil {
			return err
		}
		if _, err := s.useLive(ctx, tx, id, l); err != nil {
			return err
		}
		if err := s.change(ctx, tx, id, change); err != nil {
			return err
		}
		return makeRoom(ctx, tx, id, l)
	}))
}

func (s *Store) change(ctx context.Context, tx *sql.Tx, id string, change Change) error {
	remove := func(path string) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM container_files WHERE container = ? AND path = ?", id, path)
		return err
	}
	for _, path := range change.Remove {
		if err := remove(path); err != nil {
			return err
		}
	}
	for i := range change.Put {
		f := &change.Put[i]
		f.Created, f.Bytes = s.now(), int64(len(f.Data))
		if err := remove(f.Path); err != nil {
			return err
		}
		blob, err := putBlob(ctx, tx, f.Data)
		if err != nil {
			return err
		}
		shown := sql.NullString{String: f.ID, Valid: f.ID != ""}
		if _, err := tx.ExecContext(ctx, `INSERT INTO container_files (id, container, path, mime, source, bytes, created, modified, blob)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, shown, id, f.Path, f.MIME, f.Source, f.Bytes, f.Created.UnixNano(),
			nanoseconds(f.Modified), blob); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	return nil
}

// ContainerFiles returns a page of the files of a container that clients see, in the order of their making, and whether
// there are more. It counts as a use. The error is a *NotFoundError with the id of the container or page.After, or an
// *ExpiredError.
func (s *Store) ContainerFiles(ctx context.Context, id string, page api.Page, l Limits) (list []ContainerFile, more bool, err error) {
	if _, err = s.useNow(ctx, id, l); err == nil {
		more, err = s.page(ctx, "container_files", fileColumns, where{"container = ? AND id IS NOT NULL", []any{id}}, page,
			func(rows *sql.Rows) error {
				f, err := scanFile(rows)
				list = append(list, f)
				return err
			})
	}
	return list, more, s.wrap("get files from", err)
}

const fileColumns = "coalesce(container_files.id, ''), path, mime, source, bytes, created, modified"

func scanFile(row interface{ Scan(...any) error }, more ...any) (f ContainerFile, err error) {
	var created, modified int64
	err = row.Scan(append([]any{&f.ID, &f.Path, &f.MIME, &f.Source, &f.Bytes, &created, &modified}, more...)...)
	f.Created, f.Modified = timeOf(created), timeOf(modified)
	return f, err
}

// ContainerFile returns a file of a container without its contents, and counts as a use. The error is a *NotFoundError
// with the id of the container or of the file, or an *ExpiredError.
func (s *Store) ContainerFile(ctx context.Context, container, id string, l Limits) (f ContainerFile, err error) {
	if _, err = s.useNow(ctx, container, l); err == nil {
		f, err = scanFile(s.db.QueryRowContext(ctx, "SELECT "+fileColumns+
			" FROM container_files WHERE container = ? AND id = ?", container, id))
	}
	return f, s.wrap("get file from", notFound(err, id))
}

// ContainerFileData returns a file of a container with its contents, and counts as a use. The errors are those of
// ContainerFile.
func (s *Store) ContainerFileData(ctx context.Context, container, id string, l Limits) (f NewFile, err error) {
	if _, err = s.useNow(ctx, container, l); err == nil {
		f.ContainerFile, err = scanFile(s.db.QueryRowContext(ctx, "SELECT "+fileColumns+`, data FROM container_files
			JOIN blob_data ON blob_data.id = blob WHERE container = ? AND container_files.id = ?`, container, id), &f.Data)
	}
	return f, s.wrap("get file from", notFound(err, id))
}

func notFound(err error, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return &NotFoundError{id}
	}
	return err
}

// DeleteContainerFile removes a file of a container, and counts as a use. The errors are those of ContainerFile.
func (s *Store) DeleteContainerFile(ctx context.Context, container, id string, l Limits) error {
	return s.wrap("delete file from", s.write(ctx, func(tx *sql.Tx) error {
		if _, err := s.useLive(ctx, tx, container, l); err != nil {
			return err
		}
		n, err := affected(tx.ExecContext(ctx, "DELETE FROM container_files WHERE container = ? AND id = ?", container, id))
		if err == nil && n == 0 {
			err = &NotFoundError{id}
		}
		return err
	}))
}

// ContainerUsage counts what containers hold now.
type ContainerUsage struct {
	Containers int   // that have not expired
	Bytes      int64 // equal files counted once
}

// ContainerUsage returns what containers hold now.
func (s *Store) ContainerUsage(ctx context.Context) (u ContainerUsage, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM containers WHERE expired = 0), bytes
		FROM usage WHERE owner = ?`, ownerContainers).Scan(&u.Containers, &u.Bytes)
	return u, s.wrap("get from", err)
}

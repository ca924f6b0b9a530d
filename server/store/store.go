// Package store keeps finished responses in a SQLite file, so that they can be read, continued and deleted later.
//
// It owns the file, its schema and what is thrown out of it when. It knows no model and no HTTP; what the stored tokens
// mean is its callers' business. A Store is safe for concurrent use: readers run beside each other and beside the one
// writer, and several processes may share a file.
//
// A response that Put has accepted survives the death of the process: the journal is a write-ahead log, and a commit
// has been handed to the operating system when Put returns (synchronous=NORMAL). Only a crash of the machine itself
// can lose the last commits, never the file; an fsync for each response would buy that too, at several milliseconds of
// the disk for every one, which is not worth it for data with an expiry date. There is no background work: what is too
// old or too much goes when something is put and when the file is opened.
package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"chorale/server/api"
)

// applicationID marks a SQLite file as ours: "Chor" in ASCII.
const applicationID = 0x43686f72

// migrations lead from schema version i to i+1; user_version of the file counts those that were applied. A file of a
// released version is never changed by editing a line, only by adding one.
//
// items.part: 0 = input, 1 = what the model wrote. items.body is null for a message that no client sees.
var migrations = []string{`
CREATE TABLE responses (
	id TEXT PRIMARY KEY,
	previous TEXT NOT NULL,
	created INTEGER NOT NULL,
	used INTEGER NOT NULL,
	bytes INTEGER NOT NULL,
	tokenizer TEXT NOT NULL,
	body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX responses_by_use ON responses (used, created);
CREATE TABLE items (
	response TEXT NOT NULL REFERENCES responses ON DELETE CASCADE,
	part INTEGER NOT NULL,
	position INTEGER NOT NULL,
	id TEXT NOT NULL,
	body BLOB,
	tokens BLOB,
	PRIMARY KEY (response, part, position)
) WITHOUT ROWID;
CREATE INDEX items_by_id ON items (id);
`}

const (
	partInput = 0
	partTurn  = 1
)

// A NotFoundError says that there is no response, or no item, with the id.
type NotFoundError struct{ ID string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("nothing is stored under the id %q", e.ID) }

// Options configure a Store.
type Options struct {
	Path     string           // of the file; ":memory:" keeps everything in memory until Close
	MaxAge   time.Duration    // since the last use; 0 = 30 days, as OpenAI keeps responses
	MaxBytes int64            // of stored content, which the file exceeds by some percent; 0 = 1 GiB
	Now      func() time.Time // nil = time.Now
}

// A Record is one response as it is stored.
type Record struct {
	Response *api.Response
	Input    []api.Item // what this request added, each with an id
	// Turn is what the model wrote, in order: every item of Response.Output, and between them messages without an
	// item that only the model sees.
	Turn []Message
	// Tokenizer names the meaning of the tokens; tokens of another name are of no use.
	Tokenizer string
}

// A Message is one message of the model or of a tool.
type Message struct {
	Item   api.Item // nil: not shown to clients
	Tokens []int32  // exactly as they stand in the sequence, the start token included; nil = not known
}

// A Store is an open file.
type Store struct {
	db       *sql.DB
	path     string
	maxAge   time.Duration
	maxBytes int64
	now      func() time.Time

	// writing makes writers queue up here instead of polling for SQLite's lock, and guards bytes.
	writing sync.Mutex
	bytes   int64 // sum of responses.bytes
}

// Open opens the file or creates it, readable for its owner only, brings its schema up to date and throws out what has
// expired. The error names the file when it is damaged, of another program or of a newer version.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{path: o.Path, maxAge: o.MaxAge, maxBytes: o.MaxBytes, now: o.Now}
	if s.maxAge == 0 {
		s.maxAge = 30 * 24 * time.Hour
	}
	if s.maxBytes == 0 {
		s.maxBytes = 1 << 30
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.path == "" || s.maxAge < 0 || s.maxBytes < 0 {
		return nil, fmt.Errorf("store: got path %q, age %v, size %d; want a path and no negative limits",
			s.path, s.maxAge, s.maxBytes)
	}
	if err := s.open(ctx); err != nil {
		if s.db != nil {
			s.db.Close()
		}
		return nil, s.wrap("open", err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	var err error
	if s.path == ":memory:" {
		if s.db, err = sql.Open("sqlite", "file::memory:?_pragma=foreign_keys(1)&_txlock=immediate"); err != nil {
			return err
		}
		s.db.SetMaxOpenConns(1) // every connection would have a database of its own
	} else {
		if err := s.inspect(ctx); err != nil {
			return err
		}
		if s.db, err = sql.Open("sqlite", s.dsn("_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"+
			"&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&_txlock=immediate")); err != nil {
			return err
		}
		s.db.SetMaxOpenConns(8)
		s.db.SetMaxIdleConns(8)
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		if err := migrate(ctx, tx); err != nil {
			return err
		}
		if err := s.count(ctx, tx); err != nil {
			return err
		}
		return s.evict(ctx, tx, "")
	})
}

// inspect creates the file, or refuses one that is not ours before anything is written to it.
func (s *Store) inspect(ctx context.Context) error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", s.dsn("_pragma=busy_timeout(10000)"))
	if err != nil {
		return err
	}
	defer db.Close()
	var application, version, objects int
	row := db.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`)
	if err := row.Scan(&application, &version, &objects); err != nil {
		return err
	}
	switch {
	case objects == 0 && application == 0:
		return nil
	case application != applicationID:
		return errors.New("it is a database of another program; choose another file")
	case version > len(migrations):
		return fmt.Errorf("its schema has version %d and this program knows versions up to %d; use a newer program",
			version, len(migrations))
	}
	return nil
}

func (s *Store) dsn(parameters string) string {
	return "file:" + (&url.URL{Path: filepath.ToSlash(s.path)}).EscapedPath() + "?" + parameters
}

func migrate(ctx context.Context, tx *sql.Tx) error {
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	for ; version < len(migrations); version++ {
		if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
			return fmt.Errorf("migrate to version %d: %w", version+1, err)
		}
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d",
		applicationID, version))
	return err
}

// Close closes the file. It is idempotent.
func (s *Store) Close() error { return s.wrap("close", s.db.Close()) }

// Put stores a new response and throws out what is too old or too much. The responses that it continues count as used.
func (s *Store) Put(ctx context.Context, r *Record) error {
	rows, bytes, err := encode(r)
	if err != nil {
		return s.wrap("put", err)
	}
	if bytes > s.maxBytes {
		return s.wrap("put", fmt.Errorf("the response has %d bytes and all together may have %d", bytes, s.maxBytes))
	}
	body, previous := rows[0].body, ""
	if r.Response.PreviousResponseID != nil {
		previous = *r.Response.PreviousResponseID
	}
	now := s.now().UnixNano()
	return s.wrap("put", s.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)",
			r.Response.ID, previous, now, now, bytes, r.Tokenizer, body); err != nil {
			return err
		}
		for _, row := range rows[1:] {
			if _, err := tx.ExecContext(ctx, "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)",
				r.Response.ID, row.part, row.position, row.id, row.body, row.tokens); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `WITH RECURSIVE chain (id, previous) AS (
				SELECT id, previous FROM responses WHERE id = ?
				UNION ALL SELECT r.id, r.previous FROM responses r JOIN chain ON r.id = chain.previous)
			UPDATE responses SET used = ? WHERE id IN (SELECT id FROM chain)`, previous, now); err != nil {
			return err
		}
		s.bytes += bytes
		return s.evict(ctx, tx, r.Response.ID)
	}))
}

// evict deletes what has not been used for too long, and then the longest unused until the rest is small enough. The
// response keep stays.
func (s *Store) evict(ctx context.Context, tx *sql.Tx, keep string) error {
	if err := s.remove(ctx, tx, "DELETE FROM responses WHERE used < ? AND id <> ? RETURNING bytes",
		s.now().Add(-s.maxAge).UnixNano(), keep); err != nil {
		return err
	}
	for s.bytes > s.maxBytes {
		before := s.bytes
		if err := s.remove(ctx, tx, `DELETE FROM responses WHERE id = (SELECT id FROM responses WHERE id <> ?
			ORDER BY used, created LIMIT 1) RETURNING bytes`, keep); err != nil {
			return err
		}
		if s.bytes == before { // another process has deleted what we still counted
			return s.count(ctx, tx)
		}
	}
	return nil
}

func (s *Store) count(ctx context.Context, tx *sql.Tx) error {
	return tx.QueryRowContext(ctx, "SELECT coalesce(sum(bytes), 0) FROM responses").Scan(&s.bytes)
}

// remove runs a DELETE that returns the bytes of each deleted response.
func (s *Store) remove(ctx context.Context, tx *sql.Tx, statement string, args ...any) error {
	rows, err := tx.QueryContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var bytes int64
		if err := rows.Scan(&bytes); err != nil {
			return err
		}
		s.bytes -= bytes
	}
	return rows.Err()
}

// Delete removes a response with its items. The error is a *NotFoundError when there is none.
func (s *Store) Delete(ctx context.Context, id string) error {
	return s.wrap("delete", s.write(ctx, func(tx *sql.Tx) error {
		before := s.bytes
		err := s.remove(ctx, tx, "DELETE FROM responses WHERE id = ? RETURNING bytes", id)
		if err == nil && s.bytes == before {
			return &NotFoundError{id}
		}
		return err
	}))
}

// write runs f in a transaction of its own.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	before := s.bytes
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err = f(tx); err == nil {
		err = tx.Commit()
	}
	if err != nil {
		s.bytes = before
		return errors.Join(err, rollback(tx))
	}
	return nil
}

func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// wrap names the file, and says what a code of SQLite means.
func (s *Store) wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	var failure *sqlite.Error
	if errors.As(err, &failure) {
		switch failure.Code() & 0xff {
		case sqlite3.SQLITE_NOTADB:
			err = fmt.Errorf("it is not a SQLite database; choose another file: %w", err)
		case sqlite3.SQLITE_CORRUPT:
			err = fmt.Errorf("it is damaged; move it away to start with an empty one: %w", err)
		}
	}
	return fmt.Errorf("%s store %s: %w", operation, s.path, err)
}

// A row is one line of items; the first one of a record stands for the response itself.
type row struct {
	part, position int
	id             string
	body, tokens   []byte
}

func encode(r *Record) (rows []row, bytes int64, err error) {
	withoutOutput := *r.Response
	withoutOutput.Output = []api.Item{} // they are rows of their own
	add := func(part, position int, m Message) {
		line := row{part: part, position: position, tokens: encodeTokens(m.Tokens)}
		if m.Item != nil && err == nil {
			line.id = api.ID(m.Item)
			line.body, err = api.Encode(m.Item)
		}
		rows = append(rows, line)
	}
	body, err := api.Encode(&withoutOutput)
	rows = append(rows, row{body: body})
	for i, item := range r.Input {
		add(partInput, i, Message{Item: item})
	}
	for i, m := range r.Turn {
		add(partTurn, i, m)
	}
	for _, line := range rows {
		bytes += int64(len(line.body) + len(line.tokens))
	}
	return rows, bytes, err
}

func encodeTokens(tokens []int32) []byte {
	if tokens == nil {
		return nil
	}
	out := make([]byte, 0, 4*len(tokens))
	for _, t := range tokens {
		out = binary.LittleEndian.AppendUint32(out, uint32(t))
	}
	return out
}

func decodeTokens(data []byte) []int32 {
	if data == nil {
		return nil
	}
	out := make([]int32, len(data)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out
}

func decodeResponse(body []byte) (*api.Response, error) {
	r := new(api.Response)
	if err := json.Unmarshal(body, r); err != nil {
		return nil, fmt.Errorf("read a stored response: %w", err)
	}
	return r, nil
}

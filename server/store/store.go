// Package store keeps finished responses, what their tools left behind, and containers in a SQLite file.
//
// It owns the file, its schema and what is thrown out of it when. It knows no model, no tool and no HTTP; what the stored
// tokens, states and files mean is its callers' business. A Store is safe for concurrent use: readers run beside each
// other and beside the one writer, and several processes may share a file.
//
// Contents of files are kept once, however many states and containers hold them: a row of blobs counts who does, by
// triggers, so that no way of deleting, a cascade included, forgets one or leaves one behind. Nothing but State,
// ContainerState and ContainerFile reads contents.
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
//
// usage.bytes is what responses and containers hold, each blob once for either. blobs.responses and blobs.containers count
// the rows of state_files and container_files with it; the columns are no foreign keys, since those would need an index
// of each table by blob. Data is a table of its own, since counting rewrites the row of blobs. In both tables of files the
// empty path is the memory; container_files.id is null for what no client sees. created, active, modified: Unix nanoseconds;
// ttl: nanoseconds.
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
`, `
CREATE TABLE usage (
	owner TEXT PRIMARY KEY,
	bytes INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO usage SELECT 'responses', coalesce(sum(bytes), 0) FROM responses UNION ALL VALUES ('containers', 0);
CREATE TRIGGER response_added AFTER INSERT ON responses BEGIN
	UPDATE usage SET bytes = bytes + NEW.bytes WHERE owner = 'responses';
END;
CREATE TRIGGER response_removed AFTER DELETE ON responses BEGIN
	UPDATE usage SET bytes = bytes - OLD.bytes WHERE owner = 'responses';
END;

CREATE TABLE blobs (
	id INTEGER PRIMARY KEY,
	hash BLOB NOT NULL UNIQUE,
	bytes INTEGER NOT NULL,
	responses INTEGER NOT NULL DEFAULT 0,
	containers INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE blob_data (
	id INTEGER PRIMARY KEY,
	data BLOB NOT NULL
);
CREATE TRIGGER blob_removed AFTER DELETE ON blobs BEGIN
	DELETE FROM blob_data WHERE id = OLD.id;
END;
CREATE TRIGGER blob_responses AFTER UPDATE OF responses ON blobs WHEN (OLD.responses = 0) <> (NEW.responses = 0) BEGIN
	UPDATE usage SET bytes = bytes + iif(NEW.responses = 0, -NEW.bytes, NEW.bytes) WHERE owner = 'responses';
END;
CREATE TRIGGER blob_containers AFTER UPDATE OF containers ON blobs WHEN (OLD.containers = 0) <> (NEW.containers = 0) BEGIN
	UPDATE usage SET bytes = bytes + iif(NEW.containers = 0, -NEW.bytes, NEW.bytes) WHERE owner = 'containers';
END;

CREATE TABLE states (
	response TEXT PRIMARY KEY REFERENCES responses ON DELETE CASCADE,
	container TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE state_files (
	response TEXT NOT NULL REFERENCES states ON DELETE CASCADE,
	path TEXT NOT NULL,
	mime TEXT NOT NULL,
	modified INTEGER NOT NULL,
	blob INTEGER NOT NULL,
	PRIMARY KEY (response, path)
) WITHOUT ROWID;
CREATE TRIGGER state_file_added AFTER INSERT ON state_files BEGIN
	UPDATE blobs SET responses = responses + 1 WHERE id = NEW.blob;
END;
CREATE TRIGGER state_file_removed AFTER DELETE ON state_files BEGIN
	UPDATE blobs SET responses = responses - 1 WHERE id = OLD.blob;
	DELETE FROM blobs WHERE id = OLD.blob AND responses = 0 AND containers = 0;
END;

CREATE TABLE containers (
	position INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL,
	owner TEXT NOT NULL,
	memory_limit TEXT NOT NULL,
	auto INTEGER NOT NULL,
	created INTEGER NOT NULL,
	active INTEGER NOT NULL,
	ttl INTEGER NOT NULL,
	expired INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX containers_by_use ON containers (expired, active);
CREATE TABLE container_files (
	position INTEGER PRIMARY KEY,
	id TEXT UNIQUE,
	container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
	path TEXT NOT NULL,
	mime TEXT NOT NULL,
	source TEXT NOT NULL,
	bytes INTEGER NOT NULL,
	created INTEGER NOT NULL,
	modified INTEGER NOT NULL,
	blob INTEGER NOT NULL,
	UNIQUE (container, path)
);
CREATE TRIGGER container_file_added AFTER INSERT ON container_files BEGIN
	UPDATE blobs SET containers = containers + 1 WHERE id = NEW.blob;
END;
CREATE TRIGGER container_file_removed AFTER DELETE ON container_files BEGIN
	UPDATE blobs SET containers = containers - 1 WHERE id = OLD.blob;
	DELETE FROM blobs WHERE id = OLD.blob AND responses = 0 AND containers = 0;
END;
`, `
CREATE TABLE tool_states (
	response TEXT NOT NULL REFERENCES responses ON DELETE CASCADE,
	tool TEXT NOT NULL,
	container TEXT NOT NULL,
	PRIMARY KEY (response, tool)
) WITHOUT ROWID;
CREATE TABLE tool_state_files (
	response TEXT NOT NULL,
	tool TEXT NOT NULL,
	path TEXT NOT NULL,
	mime TEXT NOT NULL,
	modified INTEGER NOT NULL,
	blob INTEGER NOT NULL,
	PRIMARY KEY (response, tool, path),
	FOREIGN KEY (response, tool) REFERENCES tool_states ON DELETE CASCADE
) WITHOUT ROWID;
INSERT INTO tool_states SELECT response, 'python', container FROM states;
INSERT INTO tool_state_files SELECT response, 'python', path, mime, modified, blob FROM state_files;
DROP TRIGGER state_file_removed;
DROP TABLE state_files;
DROP TABLE states;
CREATE TRIGGER tool_state_file_added AFTER INSERT ON tool_state_files BEGIN
	UPDATE blobs SET responses = responses + 1 WHERE id = NEW.blob;
END;
CREATE TRIGGER tool_state_file_removed AFTER DELETE ON tool_state_files BEGIN
	UPDATE blobs SET responses = responses - 1 WHERE id = OLD.blob;
	DELETE FROM blobs WHERE id = OLD.blob AND responses = 0 AND containers = 0;
END;
`}

const (
	partInput = 0
	partTurn  = 1
)

// A NotFoundError says that there is no response, item, container or file with the id.
type NotFoundError struct{ ID string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("nothing is stored under the id %q", e.ID) }

// Options configure a Store.
type Options struct {
	Path     string           // of the file; ":memory:" keeps everything in memory until Close
	MaxAge   time.Duration    // since the last use; 0 = 30 days, as OpenAI keeps responses
	MaxBytes int64            // of responses and their states, which the file exceeds by some percent; 0 = 1 GiB
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
	// States are what the tools that were used in this response left behind, by their names. Only Put looks at them:
	// Store.State reads them.
	States map[string]*State
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

	// writing makes writers queue up here instead of polling for SQLite's lock. It guards nothing else.
	writing sync.Mutex
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

// MaxBytes is Options.MaxBytes, with its default.
func (s *Store) MaxBytes() int64 { return s.maxBytes }

// Close closes the file. It is idempotent.
func (s *Store) Close() error { return s.wrap("close", s.db.Close()) }

// Put stores a new response and throws out what is too old or too much. The responses that it continues count as used.
func (s *Store) Put(ctx context.Context, r *Record) error {
	rows, bytes, err := encode(r)
	if err != nil {
		return s.wrap("put", err)
	}
	total := bytes
	for _, st := range r.States {
		total += st.bytes()
	}
	if total > s.maxBytes {
		return s.wrap("put", fmt.Errorf("the response has %d bytes and all together may have %d", total, s.maxBytes))
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
		for tool, st := range r.States {
			if err := putState(ctx, tx, r.Response.ID, tool, st); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `WITH RECURSIVE chain (id, previous) AS (
				SELECT id, previous FROM responses WHERE id = ?
				UNION ALL SELECT r.id, r.previous FROM responses r JOIN chain ON r.id = chain.previous)
			UPDATE responses SET used = ? WHERE id IN (SELECT id FROM chain)`, previous, now); err != nil {
			return err
		}
		return s.evict(ctx, tx, r.Response.ID)
	}))
}

// evict deletes what has not been used for too long, and then the longest unused until the rest is small enough. The
// response keep stays.
func (s *Store) evict(ctx context.Context, tx *sql.Tx, keep string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM responses WHERE used < ? AND id <> ?",
		s.now().Add(-s.maxAge).UnixNano(), keep); err != nil {
		return err
	}
	for {
		bytes, err := usage(ctx, tx, ownerResponses)
		if err != nil || bytes <= s.maxBytes {
			return err
		}
		n, err := affected(tx.ExecContext(ctx, `DELETE FROM responses WHERE id = (SELECT id FROM responses WHERE id <> ?
			ORDER BY used, created LIMIT 1)`, keep))
		if err != nil || n == 0 {
			return err
		}
	}
}

// Owners of what is stored, in the table usage.
const (
	ownerResponses  = "responses"
	ownerContainers = "containers"
)

// usage returns the bytes that an owner holds.
func usage(ctx context.Context, tx *sql.Tx, owner string) (bytes int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT bytes FROM usage WHERE owner = ?", owner).Scan(&bytes)
	return bytes, err
}

// affected returns how many rows a statement has changed, triggers and cascades not counted.
func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Delete removes a response with its items and its state. The error is a *NotFoundError when there is none.
func (s *Store) Delete(ctx context.Context, id string) error {
	return s.wrap("delete", s.write(ctx, func(tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, "DELETE FROM responses WHERE id = ?", id))
		if err == nil && n == 0 {
			return &NotFoundError{id}
		}
		return err
	}))
}

// write runs f in a transaction of its own.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err = f(tx); err == nil {
		err = tx.Commit()
	}
	if err != nil {
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

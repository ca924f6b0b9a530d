package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// A State is what a tool leaves behind: what an interpreter remembers, and its files.
type State struct {
	ContainerID string // of the container that was used; "" = none
	Memory      []byte // opaque; nil = none
	Files       []File
}

// A File is a file of a State.
type File struct {
	Path     string // absolute, as the tool sees it; each path once
	MIME     string // "" = not known
	Data     []byte
	Modified time.Time
}

// memoryPath is the path under which the memory of a state stands among its files.
const memoryPath = ""

// bytes is the size of the contents.
func (st *State) bytes() (n int64) {
	for _, f := range st.Files {
		n += int64(len(f.Data))
	}
	return n + int64(len(st.Memory))
}

// contents are the files, and the memory as one of them.
func (st *State) contents() []File {
	if st.Memory == nil {
		return st.Files
	}
	return append([]File{{Path: memoryPath, Data: st.Memory}}, st.Files...)
}

// add takes a file, or the memory, that was read.
func (st *State) add(f File) {
	if f.Path == memoryPath {
		st.Memory = f.Data
		return
	}
	st.Files = append(st.Files, f)
}

func putState(ctx context.Context, tx *sql.Tx, response, tool string, st *State) error {
	if _, err := tx.ExecContext(ctx, "INSERT INTO tool_states VALUES (?, ?, ?)", response, tool, st.ContainerID); err != nil {
		return err
	}
	for _, f := range st.Files {
		if f.Path == memoryPath {
			return errors.New("a file of the state has no path")
		}
	}
	for _, f := range st.contents() {
		blob, err := putBlob(ctx, tx, f.Data)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO tool_state_files VALUES (?, ?, ?, ?, ?, ?)",
			response, tool, f.Path, f.MIME, nanoseconds(f.Modified), blob); err != nil {
			return fmt.Errorf("file %q of the state: %w", f.Path, err)
		}
	}
	return nil
}

// putBlob stores the contents unless they are there. Until a row of files refers to them in the same transaction, nothing
// holds them.
func putBlob(ctx context.Context, tx *sql.Tx, data []byte) (id int64, err error) {
	hash := sha256.Sum256(data)
	err = tx.QueryRowContext(ctx, "SELECT id FROM blobs WHERE hash = ?", hash[:]).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	err = tx.QueryRowContext(ctx, "INSERT INTO blobs (hash, bytes) VALUES (?, ?) RETURNING id", hash[:], len(data)).Scan(&id)
	if err != nil {
		return 0, err
	}
	if data == nil {
		data = []byte{} // nil would be NULL
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO blob_data VALUES (?, ?)", id, data)
	return id, err
}

// State returns the state that the tool left in the response: its own, or when the tool was not used in it, that of the
// nearest one of the responses that it continues. It is nil when there is none, or when the search ends at a response that is
// gone. The error is a *NotFoundError when there is no response with the id.
func (s *Store) State(ctx context.Context, id, tool string) (*State, error) {
	st, err := s.state(ctx, id, tool)
	return st, s.wrap("get from", err)
}

func (s *Store) state(ctx context.Context, id, tool string) (*State, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	var exists bool
	if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM responses WHERE id = ?)", id).Scan(&exists); err != nil {
		return nil, err
	}
	if !exists {
		return nil, &NotFoundError{id}
	}
	st := &State{}
	var owner string
	err = tx.QueryRowContext(ctx, `WITH RECURSIVE chain (id, previous, depth) AS (
			SELECT id, previous, 0 FROM responses WHERE id = ?
			UNION ALL SELECT r.id, r.previous, depth + 1 FROM responses r JOIN chain ON r.id = chain.previous)
		SELECT response, container FROM chain JOIN tool_states ON response = chain.id AND tool = ? ORDER BY depth LIMIT 1`, id, tool).
		Scan(&owner, &st.ContainerID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return st, readState(ctx, tx, st, `SELECT path, mime, modified, data FROM tool_state_files JOIN blob_data ON id = blob
		WHERE response = ? AND tool = ? ORDER BY path`, owner, tool)
}

// A querier is the database, or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readState reads path, mime, modified and data of each file.
func readState(ctx context.Context, db querier, st *State, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var f File
		var modified int64
		if err := rows.Scan(&f.Path, &f.MIME, &modified, &f.Data); err != nil {
			return err
		}
		if f.Data == nil {
			f.Data = []byte{} // what is stored is never nil
		}
		f.Modified = timeOf(modified)
		st.add(f)
	}
	return rows.Err()
}

// nanoseconds and timeOf keep the zero time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

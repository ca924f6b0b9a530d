package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"chorale/server/api"
)

// Get returns a stored response. The error is a *NotFoundError when there is none.
func (s *Store) Get(ctx context.Context, id string) (*api.Response, error) {
	records, err := s.records(ctx, id, 1)
	if err != nil {
		return nil, s.wrap("get from", err)
	}
	return records[0].Response, nil
}

// Chain returns the response and all that it continues, oldest first. The error is a *NotFoundError with the id of the
// one that is missing, which is an older one when it has been deleted or thrown out.
func (s *Store) Chain(ctx context.Context, id string) ([]Record, error) {
	records, err := s.records(ctx, id, -1)
	return records, s.wrap("get from", err)
}

// records reads a response and what it continues, at most limit of them (-1 = all), oldest first, as of one moment.
func (s *Store) records(ctx context.Context, id string, limit int) ([]Record, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	const chain = `WITH RECURSIVE chain (id, previous, depth) AS (
			SELECT id, previous, 0 FROM responses WHERE id = ?
			UNION ALL SELECT r.id, r.previous, depth + 1 FROM responses r JOIN chain ON r.id = chain.previous
			LIMIT ?) `
	rows, err := tx.QueryContext(ctx, chain+
		"SELECT previous, tokenizer, body FROM chain JOIN responses USING (id, previous) ORDER BY depth DESC", id, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var records []Record
	missing := id
	for rows.Next() {
		var r Record
		var previous string
		var body []byte
		if err := rows.Scan(&previous, &r.Tokenizer, &body); err != nil {
			return nil, err
		}
		if r.Response, err = decodeResponse(body); err != nil {
			return nil, err
		}
		if len(records) == 0 {
			missing = previous
		}
		records = append(records, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if missing != "" && (limit < 0 || len(records) == 0) {
		return nil, &NotFoundError{missing}
	}
	return records, readItems(ctx, tx, records, chain, id, limit)
}

// readItems fills in the input and the turn of each record.
func readItems(ctx context.Context, tx *sql.Tx, records []Record, chain, id string, limit int) error {
	rows, err := tx.QueryContext(ctx, chain+`SELECT depth, part, body, tokens FROM chain
		JOIN items ON items.response = chain.id ORDER BY depth DESC, part, position`, id, limit)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var depth, part int
		var body, tokens []byte
		if err := rows.Scan(&depth, &part, &body, &tokens); err != nil {
			return err
		}
		m, err := decodeMessage(body, tokens)
		if err != nil {
			return err
		}
		r := &records[len(records)-1-depth]
		if part == partInput {
			r.Input = append(r.Input, m.Item)
			continue
		}
		r.Turn = append(r.Turn, m)
		if m.Item != nil {
			r.Response.Output = append(r.Response.Output, m.Item)
		}
	}
	return rows.Err()
}

func decodeMessage(body, tokens []byte) (Message, error) {
	m := Message{Tokens: decodeTokens(tokens)}
	if body == nil {
		return m, nil
	}
	var err error
	if m.Item, err = api.DecodeItem(body); err != nil {
		return m, fmt.Errorf("read a stored item: %w", err)
	}
	return m, nil
}

// Item returns a stored item of any response, and the name of the tokenizer that its tokens belong to. The error is a
// *NotFoundError when there is none.
func (s *Store) Item(ctx context.Context, id string) (m Message, tokenizer string, err error) {
	var body, tokens []byte
	err = s.db.QueryRowContext(ctx, `SELECT items.body, tokens, tokenizer FROM items
		JOIN responses ON responses.id = items.response
		WHERE items.id = ? AND items.body IS NOT NULL ORDER BY part DESC, used DESC LIMIT 1`, id).
		Scan(&body, &tokens, &tokenizer)
	if errors.Is(err, sql.ErrNoRows) {
		err = &NotFoundError{id}
	}
	if err == nil {
		m, err = decodeMessage(body, tokens)
	}
	return m, tokenizer, s.wrap("get from", err)
}

// InputItems returns a page of the items that a response's request brought. The error is a *NotFoundError with the id
// of the response or of page.After.
func (s *Store) InputItems(ctx context.Context, id string, page api.Page) (*api.List[api.Item], error) {
	list, err := s.inputItems(ctx, id, page)
	return list, s.wrap("get from", err)
}

func (s *Store) inputItems(ctx context.Context, id string, page api.Page) (*api.List[api.Item], error) {
	if page.Limit <= 0 {
		page.Limit = 20
	}
	var exists bool
	if err := s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM responses WHERE id = ?)", id).
		Scan(&exists); err != nil {
		return nil, err
	}
	if !exists {
		return nil, &NotFoundError{id}
	}
	// A position counts up from 0, so that -1 is before the first and a huge one behind the last.
	query, from := "position > ? ORDER BY position", int64(-1)
	if page.Order != "asc" {
		query, from = "position < ? ORDER BY position DESC", 1<<62
	}
	if page.After != "" {
		err := s.db.QueryRowContext(ctx, "SELECT position FROM items WHERE response = ? AND part = ? AND id = ?",
			id, partInput, page.After).Scan(&from)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, &NotFoundError{page.After}
		}
		if err != nil {
			return nil, err
		}
	}
	rows, err := s.db.QueryContext(ctx, "SELECT body FROM items WHERE response = ? AND part = ? AND "+query+" LIMIT ?",
		id, partInput, from, page.Limit+1)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := &api.List[api.Item]{Object: "list", Data: []api.Item{}}
	for rows.Next() {
		if len(list.Data) == page.Limit {
			list.HasMore = true
			break
		}
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, err
		}
		m, err := decodeMessage(body, nil)
		if err != nil {
			return nil, err
		}
		list.Data = append(list.Data, m.Item)
	}
	if n := len(list.Data); n > 0 {
		first, last := api.ID(list.Data[0]), api.ID(list.Data[n-1])
		list.FirstID, list.LastID = &first, &last
	}
	return list, rows.Err()
}

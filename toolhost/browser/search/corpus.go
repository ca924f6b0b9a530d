package search

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"time"
	"unicode"

	"chorale/toolhost/browser/page"

	_ "modernc.org/sqlite" // the driver
)

// Scheme is that of the addresses of a corpus's documents: corpus://NAME/PATH.
const Scheme = "corpus"

// CorpusOptions configure a Corpus. Zeros are the defaults.
type CorpusOptions struct {
	Name    string        // of [a-z0-9-], the host in addresses; "" = "docs"
	Dir     string        // with .html, .htm, .md, .txt and .pdf files, in folders of any depth
	Refresh time.Duration // how old what is known of the folder may be at a search; 0 = 10 s
	Files   int           // that are indexed; 0 = 20,000, further ones are left out
	Bytes   int64         // of a file; 0 = 16 MiB, larger ones are left out
}

// A Corpus is a folder of documents that are searched for their words. The index is in memory, is built at the first search, and
// follows the folder: at a search, files that are new, gone or changed in size or time are read. Links out of the folder are
// not followed.
type Corpus struct {
	o    CorpusOptions
	root *os.Root
	db   *sql.DB

	mu      sync.Mutex // guards indexing
	checked time.Time
}

// OpenCorpus returns the corpus of a folder. Close it.
func OpenCorpus(o CorpusOptions) (*Corpus, error) {
	if o.Name == "" {
		o.Name = "docs"
	}
	if strings.Trim(o.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, fmt.Errorf("corpus name %q: want lower-case letters, digits and hyphens", o.Name)
	}
	if o.Refresh == 0 {
		o.Refresh = 10 * time.Second
	}
	if o.Files == 0 {
		o.Files = 20_000
	}
	if o.Bytes == 0 {
		o.Bytes = 16 << 20
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("corpus %s: %w", o.Name, err)
	}
	db, err := sql.Open("sqlite", ":memory:")
	if err == nil {
		db.SetMaxOpenConns(1) // another connection would be another database
		_, err = db.Exec(`CREATE TABLE files (id INTEGER PRIMARY KEY, path TEXT UNIQUE, size INTEGER, changed INTEGER);
			CREATE VIRTUAL TABLE texts USING fts5(title, body, tokenize = "porter unicode61 remove_diacritics 2")`)
	}
	if err != nil {
		return nil, fmt.Errorf("corpus %s: index: %w", o.Name, errors.Join(err, root.Close()))
	}
	return &Corpus{o: o, root: root, db: db}, nil
}

// Name is the name of the corpus.
func (c *Corpus) Name() string { return "corpus " + c.o.Name }

// Close frees the index.
func (c *Corpus) Close() error { return errors.Join(c.db.Close(), c.root.Close()) }

// Search returns the documents that have all words of the query, or else some, best first: a rank by BM25 in which the title
// counts four times.
func (c *Corpus) Search(ctx context.Context, q Query) ([]Result, error) {
	if err := c.refresh(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &Error{Backend: c.Name(), Reason: "cannot be indexed: " + err.Error(), Err: err}
	}
	words := queryWords(q.Text)
	if len(words) == 0 {
		return nil, nil
	}
	results, err := c.match(ctx, strings.Join(words, " "), q)
	if err == nil && len(results) < q.top() && len(words) > 1 {
		var some []Result
		some, err = c.match(ctx, strings.Join(words, " OR "), q)
		results = append(results, some...)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &Error{Backend: c.Name(), Reason: "cannot be searched: " + err.Error(), Err: err}
	}
	return filter(results, q), nil
}

// maxWords is the most words of a query that are looked for.
const maxWords = 32

// queryWords are the words of a query, quoted, so that nothing in them means anything to the index.
func queryWords(text string) []string {
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) })
	for i, w := range words {
		words[i] = `"` + w + `"`
	}
	return words[:min(len(words), maxWords)]
}

func (c *Corpus) match(ctx context.Context, match string, q Query) (results []Result, err error) {
	rows, err := c.db.QueryContext(ctx, `SELECT path, title, snippet(texts, 1, '', '', ' ... ', 32) FROM texts
		JOIN files ON files.id = texts.rowid WHERE texts MATCH ? ORDER BY bm25(texts, 4.0, 1.0), path LIMIT ?`, match, q.top())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var r Result
		if err := rows.Scan(&name, &r.Title, &r.Snippet); err != nil {
			return nil, err
		}
		r.URL = c.address(name)
		results = append(results, r)
	}
	return results, rows.Err()
}

func (c *Corpus) address(name string) string {
	return (&url.URL{Scheme: Scheme, Host: c.o.Name, Path: "/" + name}).String()
}

// Document returns the document at an address of the corpus. The error says why there is none, in words for the model.
func (c *Corpus) Document(_ context.Context, address string) (*page.Document, error) {
	u, err := url.Parse(address)
	name := ""
	if err == nil {
		name = strings.TrimPrefix(path.Clean(u.Path), "/")
	}
	if err != nil || u.Scheme != Scheme || u.Host != c.o.Name || !indexed(name) {
		return nil, fmt.Errorf("there is no such document in the corpus %s", c.o.Name)
	}
	data, err := c.read(name)
	if err != nil {
		return nil, fmt.Errorf("there is no such document in the corpus %s", c.o.Name)
	}
	d := &page.Document{URL: c.address(name), Requested: address, MIME: types[strings.ToLower(path.Ext(name))], Body: data}
	if d.MIME == "text/plain" || d.MIME == "text/markdown" { // which have no title of their own
		d.Title = firstOf(heading(name, string(data)), titleOf(name))
	}
	return d, nil
}

var types = map[string]string{ // read only
	".html": "text/html", ".htm": "text/html", ".md": "text/markdown", ".txt": "text/plain", ".pdf": "application/pdf",
}

// indexed reports whether a file is one of those that are read. What begins with a dot is not.
func indexed(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") {
			return false
		}
	}
	return types[strings.ToLower(path.Ext(name))] != ""
}

func (c *Corpus) read(name string) ([]byte, error) {
	info, err := c.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > c.o.Bytes {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", name, c.o.Bytes)
	}
	return c.root.ReadFile(name)
}

// refresh brings the index up to date, if it may be old.
func (c *Corpus) refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.checked.IsZero() && time.Since(c.checked) < c.o.Refresh {
		return nil
	}
	known, err := c.known(ctx)
	if err != nil {
		return err
	}
	interrupt := ctx.Err // what was read until then is kept, so that the next search goes on from there
	ctx = context.WithoutCancel(ctx)
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	left := c.o.Files
	err = fs.WalkDir(c.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case interrupt() != nil:
			return fs.SkipAll
		case err != nil && name == ".":
			return err
		case err != nil:
			return nil // a folder that cannot be read
		case d.IsDir() && name != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !d.Type().IsRegular() || !indexed(name):
			return nil
		}
		if left--; left < 0 {
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil {
			return nil // it is gone meanwhile
		}
		f, ok := known[name]
		delete(known, name)
		if ok && f.size == info.Size() && f.changed == info.ModTime().UnixNano() {
			return nil
		}
		if ok {
			if err := forget(ctx, tx, f.id); err != nil {
				return err
			}
		}
		return c.index(ctx, tx, name, info)
	})
	if err != nil {
		return err
	}
	if err := interrupt(); err != nil {
		return errors.Join(err, tx.Commit())
	}
	for _, f := range known {
		if err := forget(ctx, tx, f.id); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	c.checked = time.Now()
	return nil
}

// A knownFile is one that is in the index.
type knownFile struct{ id, size, changed int64 }

func (c *Corpus) known(ctx context.Context) (map[string]knownFile, error) {
	rows, err := c.db.QueryContext(ctx, `SELECT path, id, size, changed FROM files`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	known := map[string]knownFile{}
	for rows.Next() {
		var name string
		var f knownFile
		if err := rows.Scan(&name, &f.id, &f.size, &f.changed); err != nil {
			return nil, err
		}
		known[name] = f
	}
	return known, rows.Err()
}

func forget(ctx context.Context, tx *sql.Tx, id int64) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM texts WHERE rowid = ?; DELETE FROM files WHERE id = ?`, id, id)
	return err
}

// index adds a file. One that cannot be read has no text, so that it is not tried again at every search.
func (c *Corpus) index(ctx context.Context, tx *sql.Tx, name string, info fs.FileInfo) error {
	title, body := titleOf(name), ""
	if data, err := c.read(name); err == nil {
		d := page.Document{URL: c.address(name), MIME: types[strings.ToLower(path.Ext(name))], Body: data}
		if p, err := page.Read(d, page.Limits{}); err == nil {
			_, body, _ = strings.Cut(strings.TrimPrefix(p.Text, "\n"), "\n")
			body = page.StripLinks(body)
			title = firstOf(ownTitle(p, c.o.Name), heading(name, body), title)
		}
	}
	r, err := tx.ExecContext(ctx, `INSERT INTO files (path, size, changed) VALUES (?, ?, ?)`, name, info.Size(), info.ModTime().UnixNano())
	if err != nil {
		return err
	}
	id, err := r.LastInsertId()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO texts (rowid, title, body) VALUES (?, ?, ?)`, id, title, body)
	return err
}

// ownTitle is the title that a document gives itself.
func ownTitle(p *page.Page, name string) string {
	if p.Title == name { // the host, for want of one
		return ""
	}
	return p.Title
}

// heading is the first line of a document in Markdown, if it is a heading.
func heading(name, body string) string {
	line, _, _ := strings.Cut(body, "\n")
	if title, ok := strings.CutPrefix(line, "# "); ok && strings.EqualFold(path.Ext(name), ".md") {
		return strings.TrimSpace(title)
	}
	return ""
}

// titleOf makes a title of a file name.
func titleOf(name string) string {
	return strings.NewReplacer("_", " ", "-", " ").Replace(strings.TrimSuffix(path.Base(name), path.Ext(name)))
}

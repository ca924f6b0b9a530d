package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// A Tape is what the host said to guests in one or more calls, kept to be said again: tests of a plugin then need no
// network and no store, and find the world as it was.
//
// As Options.Record it gets every request of /host/http with its answer, errors included, and of /host/kv every value
// as it was when it was first asked for. As Options.Replay it answers in place of both. An equal request (method, URL,
// header and body) gets the answer that it had, the second one the second answer and so on; one that is not on the tape
// gets the error "replay", and nothing ever reaches the network. Keys begin with what the tape has; one that it knows
// nothing of fails with EIO. Missed tells both. Values that are written live as long as the tape.
//
// A tape holds what was sent and received, except for secrets, which are added and masked behind it.
type Tape struct {
	mu     sync.Mutex // guards everything below
	http   []exchange
	played []bool             // by index of http
	kv     map[string]*[]byte // nil: the key was not there
	all    bool               // every key that there was is in kv
	missed []string
	store  *MemStore // when it replays: what keys have now
	fault  fault
}

// A fault is how requests fail on a tape that replays.
type fault int

const (
	faultNone    fault = iota
	faultTimeout       // each gets the error
	faultSilence       // none is ever answered
)

// TimeOut makes the tape answer every request with the error "timeout", for tests of that. Keys that it does not know are not there.
func (t *Tape) TimeOut() { t.fail(faultTimeout) }

// Silence makes the tape answer no request any more: guests wait until they are stopped. Keys that it does not know are not there.
func (t *Tape) Silence() { t.fail(faultSilence) }

func (t *Tape) fail(f fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault, t.all = f, true
}

type exchange struct {
	Request request `json:"request"`
	Answer  answer  `json:"answer"`
}

// tapeVersion is that of the file's format.
const tapeVersion = 1

// NewTape returns an empty tape.
func NewTape() *Tape { return &Tape{kv: map[string]*[]byte{}} }

// A tapeFile is the form of a tape in JSON.
type tapeFile struct {
	Version int                   `json:"version"`
	HTTP    []exchange            `json:"http"`
	KV      map[string]*tapeValue `json:"kv"`       // null: not there
	AllKeys bool                  `json:"all_keys"` // there were no others
}

type tapeValue struct {
	Text   *string `json:"text,omitempty"`
	Base64 []byte  `json:"base64,omitempty"`
}

// WriteTo implements io.WriterTo. It writes JSON that can be read and edited.
func (t *Tape) WriteTo(w io.Writer) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	file := tapeFile{Version: tapeVersion, HTTP: t.http, KV: map[string]*tapeValue{}, AllKeys: t.all}
	for key, value := range t.kv {
		switch {
		case value == nil:
			file.KV[key] = nil
		case utf8.Valid(*value):
			text := string(*value)
			file.KV[key] = &tapeValue{Text: &text}
		default:
			file.KV[key] = &tapeValue{Base64: *value}
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(file); err != nil {
		return 0, fmt.Errorf("write tape: %w", err)
	}
	return b.WriteTo(w)
}

// ReadTape reads what WriteTo wrote.
func ReadTape(r io.Reader) (*Tape, error) {
	var file tapeFile
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("read tape: %w", err)
	}
	if file.Version != tapeVersion {
		return nil, fmt.Errorf("read tape: version %d, want %d", file.Version, tapeVersion)
	}
	t := NewTape()
	t.http, t.all = file.HTTP, file.AllKeys
	for i, x := range t.http {
		if (x.Answer.Status == 0) == (x.Answer.Error == nil) {
			return nil, fmt.Errorf("read tape: http[%d].answer: must be a response or an error", i)
		}
	}
	for key, value := range file.KV {
		if err := checkKey(key); err != nil {
			return nil, fmt.Errorf("read tape: kv: %w", err)
		}
		switch {
		case value == nil:
			t.kv[key] = nil
		case value.Text != nil:
			data := []byte(*value.Text)
			t.kv[key] = &data
		default:
			t.kv[key] = &value.Base64
		}
	}
	return t, nil
}

// Missed tells, a line each, what guests wanted that was not on the tape.
func (t *Tape) Missed() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.missed)
}

// record makes requests and keeps their answers.
func (t *Tape) record(do func(request) *answer) func(request) *answer {
	return func(r request) *answer {
		a := do(r)
		if r.ctx.Err() != nil {
			return a // nobody has seen it
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.http = append(t.http, exchange{r, *a})
		return a
	}
}

// play answers a request from the tape.
func (t *Tape) play(r request) *answer {
	t.mu.Lock()
	fault := t.fault
	t.mu.Unlock()
	switch fault {
	case faultTimeout:
		return failed(codeTimeout, "%s %s: no answer came in time", r.Method, r.URL)
	case faultSilence:
		<-r.ctx.Done() // its file was closed, or the call has ended
		return failed(codeTimeout, "%v", r.ctx.Err())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.played) != len(t.http) {
		t.played = make([]bool, len(t.http))
	}
	for i, x := range t.http {
		if !t.played[i] && x.Request.equal(r) {
			t.played[i] = true
			return &x.Answer
		}
	}
	url, _, _ := strings.Cut(r.URL, "?")
	what := fmt.Sprintf("the request %s %s", r.Method, url)
	if slices.ContainsFunc(t.http, func(x exchange) bool { return x.Request.equal(r) }) {
		what += ", so often"
	}
	t.missed = append(t.missed, what)
	return failed(codeReplay, "%s is not on the tape: record again", what)
}

// equal compares what is sent.
func (r request) equal(o request) bool {
	return r.Method == o.Method && r.URL == o.URL && bytes.Equal(r.body(), o.body()) &&
		reflect.DeepEqual(r.header(), o.header())
}

// header has names in lower case.
func (r request) header() map[string][]string {
	h := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		h[strings.ToLower(name)] = append(h[strings.ToLower(name)], r.Headers[name]...)
	}
	return h
}

// A recordingStore keeps on a tape what the store had when it was first asked.
type recordingStore struct {
	Store
	t *Tape
}

func (s *recordingStore) touch(key string) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if _, ok := s.t.kv[key]; ok || s.t.all {
		return
	}
	value, err := s.Store.Get(key)
	switch {
	case err == nil:
		s.t.kv[key] = &value
	case errors.Is(err, fs.ErrNotExist):
		s.t.kv[key] = nil
	}
}

func (s *recordingStore) Get(key string) ([]byte, error) {
	s.touch(key)
	return s.Store.Get(key)
}

func (s *recordingStore) Set(key string, value []byte) error {
	s.touch(key)
	return s.Store.Set(key, value)
}

func (s *recordingStore) Delete(key string) error {
	s.touch(key)
	return s.Store.Delete(key)
}

func (s *recordingStore) Keys() ([]string, error) {
	keys, err := s.Store.Keys()
	for _, key := range keys {
		s.touch(key)
	}
	if err == nil {
		s.t.mu.Lock()
		s.t.all = true
		s.t.mu.Unlock()
	}
	return keys, err
}

// A replayingStore is a store of the tape's values.
type replayingStore struct{ t *Tape }

// values is the store, if the tape knows about a key, or about all.
func (s *replayingStore) values(key string, all bool) (*MemStore, error) {
	if err := checkKey(key); err != nil && !all {
		return nil, err
	}
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.store == nil {
		// It is known what fits.
		t.store = NewMemStore(StoreLimits{Bytes: math.MaxInt64, Keys: math.MaxInt, Value: math.MaxInt64})
		for key, value := range t.kv {
			if value == nil {
				continue
			}
			if err := t.store.Set(key, *value); err != nil {
				return nil, err
			}
		}
	}
	if _, ok := t.kv[key]; ok && !all || t.all {
		return t.store, nil
	}
	what := fmt.Sprintf("the key %q", key)
	if all {
		what = "the list of keys"
	}
	t.missed = append(t.missed, what)
	return nil, fmt.Errorf("%s is not on the tape: record again", what)
}

func (s *replayingStore) Get(key string) ([]byte, error) {
	m, err := s.values(key, false)
	if err != nil {
		return nil, err
	}
	return m.Get(key)
}

func (s *replayingStore) Set(key string, value []byte) error {
	m, err := s.values(key, false)
	if err != nil {
		return err
	}
	return m.Set(key, value)
}

func (s *replayingStore) Delete(key string) error {
	m, err := s.values(key, false)
	if err != nil {
		return err
	}
	return m.Delete(key)
}

func (s *replayingStore) Keys() ([]string, error) {
	m, err := s.values("", true)
	if err != nil {
		return nil, err
	}
	return m.Keys()
}

func (s *replayingStore) Fits(key string, size int64) error {
	m, err := s.values(key, false)
	if err != nil {
		return err
	}
	return m.Fits(key, size)
}

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"sync"
	"time"

	protocol "github.com/mark3labs/mcp-go/mcp"
)

// A stream is the answer to one request. The library writes to it as to any HTTP response. Notifications may come at any time
// before the end: the first one makes the answer a stream of events, and what the library writes as JSON later is its last event.
// So the order is the one of the calls here, and nothing is lost between two goroutines.
type stream struct {
	w      http.ResponseWriter
	conn   *http.ResponseController
	cancel context.CancelFunc // ends the request
	events bool               // the client takes events
	l      *Limits

	mu      sync.Mutex  // guards what follows, and writing
	pending http.Header // as the library wants it
	begun   bool        // the status and the header are written
	asEvent bool        // as those of events
	silence *time.Timer // until the next sign of life
	err     error       // the first failure of the connection; nothing is written after it
	closed  bool
}

func newStream(w http.ResponseWriter, cancel context.CancelFunc, events bool, l *Limits) *stream {
	st := &stream{w: w, conn: http.NewResponseController(w), cancel: cancel, events: events, l: l, pending: http.Header{}}
	st.mu.Lock()
	defer st.mu.Unlock()
	if events {
		st.silence = time.AfterFunc(l.KeepAlive, st.keepAlive)
	}
	return st
}

// Header implements server.HTTPResponseWriter.
func (st *stream) Header() http.Header { return st.pending }

// CanStream implements server.HTTPResponseWriter.
func (st *stream) CanStream() bool { return st.events }

// WriteHeader implements server.HTTPResponseWriter.
func (st *stream) WriteHeader(status int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.begin(status)
}

// begin writes the header, once; the lock is held.
func (st *stream) begin(status int) {
	if st.begun || st.closed {
		return
	}
	st.begun = true
	h := st.w.Header()
	for name, values := range st.pending {
		h[name] = values
	}
	if st.asEvent = h.Get("Content-Type") == "text/event-stream"; st.asEvent {
		h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	} else if st.silence != nil {
		st.silence.Stop()
	}
	h.Set("Cache-Control", "no-store")
	h.Del("Connection") // the library's, which is wrong for HTTP/2
	st.deadline()
	st.w.WriteHeader(status)
}

// beginEvents begins a stream of events whatever the library will say; the lock is held.
func (st *stream) beginEvents() {
	if !st.begun {
		st.w.Header().Set("Content-Type", "text/event-stream")
		saved := st.pending
		st.pending = nil
		st.begin(http.StatusOK)
		st.pending = saved
	}
}

// Write implements server.HTTPResponseWriter. The library writes whole events, or one JSON message.
func (st *stream) Write(p []byte) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.begin(http.StatusOK)
	if st.asEvent && st.pending.Get("Content-Type") != "text/event-stream" {
		return len(p), st.send(frame(plain(p)))
	}
	if err := st.send(plain(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush implements server.HTTPResponseWriter.
func (st *stream) Flush() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.flush()
}

// notify sends a notification, if the client takes any and its answer has not ended.
func (st *stream) notify(method string, params any) error {
	note, err := json.Marshal(struct {
		JSONRPC string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
	}{protocol.JSONRPC_VERSION, method, params})
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.events || st.closed || st.begun && !st.asEvent {
		return nil
	}
	st.beginEvents()
	return st.send(frame(note))
}

// keepAlive sends a comment, which also finds out whether the client is still there.
func (st *stream) keepAlive() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.begun && !st.asEvent {
		return
	}
	st.beginEvents()
	_ = st.send([]byte(": waiting\n\n"))
}

// chunk is how many bytes a client must take within the deadline.
const chunk = 64 << 10

// send writes; the lock is held. A failure ends the request.
func (st *stream) send(p []byte) error {
	for len(p) > 0 && st.err == nil && !st.closed {
		part := p[:min(len(p), chunk)]
		p = p[len(part):]
		st.deadline()
		_, err := st.w.Write(part)
		st.fail(err)
	}
	if st.asEvent {
		st.flush()
		if st.silence != nil && !st.closed {
			st.silence.Reset(st.l.KeepAlive)
		}
	}
	return st.err
}

func (st *stream) flush() {
	if st.begun && st.err == nil && !st.closed {
		st.deadline()
		st.fail(st.conn.Flush())
	}
}

func (st *stream) deadline() {
	_ = st.conn.SetWriteDeadline(time.Now().Add(st.l.WriteTimeout)) // a test's recorder has none
}

func (st *stream) fail(err error) {
	if err != nil && st.err == nil {
		st.err = err
		st.cancel()
	}
}

// close returns when nothing is being written and nothing will be.
func (st *stream) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closed = true
	if st.silence != nil {
		st.silence.Stop()
	}
}

// goType is what the library says of a member of the wrong type.
var goType = regexp.MustCompile(`json: cannot unmarshal (\w+) into Go (?:struct field \S*?(params\.\S+)|value) of type \S+`)

// plain takes the names of Go's types out of an answer that is an error, and leaves other messages as they are.
func plain(p []byte) []byte {
	if len(p) > 4<<10 || !goType.Match(p) {
		return p
	}
	var m struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(p, &m) != nil || m.Error == nil {
		return p
	}
	m.Error.Message = goType.ReplaceAllString(m.Error.Message, "$2 is of the wrong type: $1")
	text, err := json.Marshal(m)
	if err != nil {
		return p
	}
	return append(text, '\n')
}

// frame makes an event of one JSON message.
func frame(p []byte) []byte {
	return append(append([]byte("event: message\ndata: "), bytes.TrimRight(p, "\n")...), "\n\n"...)
}

type streamKey struct{}

// notify sends a notification within the answer to the request that ctx is of. The library calls what handles a request with
// nothing else that leads back to it.
func notify(ctx context.Context, method string, params any) error {
	st, ok := ctx.Value(streamKey{}).(*stream)
	if !ok {
		return nil
	}
	return st.notify(method, params)
}

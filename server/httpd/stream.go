package httpd

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
	"chorale/server/responses"
)

// stream sends every event of a run as it happens and closes the connection after the last, which is what the Codex CLI
// waits for. stop ends the run; it is called when the client is gone or takes nothing any more.
func (s *Server) stream(c echo.Context, run *responses.Run, stop context.CancelFunc) error {
	h, dialect := c.Response().Header(), dialectOf(c)
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set(echo.HeaderCacheControl, "no-cache")
	h.Set(echo.HeaderConnection, "close")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	c.Response().WriteHeader(http.StatusOK)
	w := &eventWriter{w: c.Response(), conn: http.NewResponseController(c.Response()), stop: stop, dialect: dialect,
		keepAlive: s.o.KeepAlive, writeTimeout: s.o.WriteTimeout}
	defer w.close()
	for e := range run.Events() {
		if err := w.event(e); err != nil {
			s.o.Logger.Debug("client is gone", "err", err, "request_id", h.Get(headerRequestID))
			return nil
		}
	}
	w.done()
	return nil
}

// An eventWriter writes server-sent events, one flush each, and a keepalive when there was none for a while.
type eventWriter struct {
	w            http.ResponseWriter
	conn         *http.ResponseController
	stop         context.CancelFunc
	dialect      api.Dialect
	keepAlive    time.Duration
	writeTimeout time.Duration

	mu       sync.Mutex // guards all below, and writing
	buf      []byte
	sequence int         // number of the last event
	silence  *time.Timer // fires when the next keepalive is due; nil before the first event
	err      error       // first failure of the connection; nothing is written after it
	closed   bool
}

func (w *eventWriter) event(e api.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sequence = api.Sequence(e)
	return w.send(e)
}

// keepalive is a data event for OpenAI's clients, since the Codex CLI resets its idle timer for parsed events only; it
// repeats the last sequence number, because it is not part of the response. Open Responses knows no such event and gets a
// comment.
func (w *eventWriter) keepalive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
	case w.dialect == api.OpenAI:
		_ = w.send(&api.KeepAlive{Head: api.Head{Type: api.EventKeepAlive, SequenceNumber: w.sequence}})
	default:
		w.buf = append(w.buf[:0], ": keepalive\n\n"...)
		_ = w.flush()
	}
}

// send writes one event; the lock is held.
func (w *eventWriter) send(e api.Event) (err error) {
	w.buf = append(w.buf[:0], "event: "...)
	w.buf = append(w.buf, api.EventName(e, w.dialect)...)
	w.buf = append(w.buf, "\ndata: "...)
	if w.buf, err = api.EncodeEvent(w.buf, e, w.dialect); err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	w.buf = append(w.buf, "\n\n"...)
	return w.flush()
}

// flush sends the buffer; the lock is held. A failure ends the run, which may be busy with a long silence.
func (w *eventWriter) flush() error {
	if w.err != nil {
		return w.err
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.writeTimeout)) // a test's recorder has none
	if _, w.err = w.w.Write(w.buf); w.err == nil {
		w.err = w.conn.Flush()
	}
	if w.err != nil {
		w.stop()
		return w.err
	}
	if w.silence == nil {
		w.silence = time.AfterFunc(w.keepAlive, w.keepalive)
	}
	w.silence.Reset(w.keepAlive)
	return nil
}

// done sends what ends a stream in both dialects; OpenAI's SDKs know it though OpenAI does not send it here.
func (w *eventWriter) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf[:0], "data: [DONE]\n\n"...)
	w.flush()
}

// close returns when no keepalive is being written and none will be.
func (w *eventWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.silence != nil {
		w.silence.Stop()
	}
}

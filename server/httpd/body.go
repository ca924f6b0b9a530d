package httpd

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
)

// readBody returns the whole body of a JSON request, decompressed. The error is an *api.Error that the client can act on.
func (s *Server) readBody(c echo.Context) ([]byte, error) {
	r := c.Request()
	if err := checkContentType(r.Header.Get(echo.HeaderContentType)); err != nil {
		return nil, err
	}
	// A deadline of the connection, not of the request: it must be gone before generation, which may take longer.
	conn := http.NewResponseController(c.Response())
	_ = conn.SetReadDeadline(time.Now().Add(s.o.BodyTimeout)) // not supported: a test's recorder
	data, err := s.readLimited(r)
	if err != nil {
		return nil, s.bodyError(err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	return data, nil
}

// readLimited stops one byte after the limit, so that neither a long body nor a small gzip bomb becomes a large
// allocation.
func (s *Server) readLimited(r *http.Request) ([]byte, error) {
	body, err := decompress(r.Body, r.Header.Get(echo.HeaderContentEncoding))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(body, s.o.MaxBodyBytes+1))
	if err == nil && int64(len(data)) > s.o.MaxBodyBytes {
		drop(r.Body, s.o.MaxBodyBytes)
		return nil, errTooLarge
	}
	return data, err
}

// drop reads what is left of a body above the limit, within reason: a client that is still sending would see a reset
// connection instead of the answer.
func drop(body io.Reader, limit int64) { _, _ = io.CopyN(io.Discard, body, 4*limit) }

var errTooLarge = errors.New("request body too large")

// checkContentType accepts JSON by any of its names, no name at all, and what curl -d says when nobody told it better; if
// that is a form after all, the decoder will say so.
func checkContentType(header string) error {
	if header == "" || header == echo.MIMEApplicationForm {
		return nil
	}
	mediaType, params, err := mime.ParseMediaType(header)
	switch charset := strings.ToLower(params["charset"]); {
	case err != nil, mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json"):
		return unsupported("Content-Type is %q; the body must be application/json.", header)
	case charset != "" && charset != "utf-8" && charset != "utf8" && charset != "us-ascii":
		return unsupported("The charset of Content-Type is %q; JSON is UTF-8.", charset)
	}
	return nil
}

func unsupported(format, value string) error {
	return &api.Error{Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Message: fmt.Sprintf(format, value)}
}

func decompress(body io.Reader, encoding string) (io.Reader, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		return gzip.NewReader(body)
	default:
		return nil, unsupported("Content-Encoding %q is not supported; send the body uncompressed or as gzip.", encoding)
	}
}

func (s *Server) bodyError(err error) error {
	var known *api.Error
	e := &api.Error{Status: http.StatusBadRequest, Type: "invalid_request_error"}
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, errTooLarge):
		e.Status = http.StatusRequestEntityTooLarge
		e.Message = fmt.Sprintf("The request body is larger than %d bytes, the most that this server reads.", s.o.MaxBodyBytes)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		e.Message = "Content-Encoding is gzip, but the body is not valid gzip data."
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.Status = http.StatusRequestTimeout
		e.Message = fmt.Sprintf("The request body did not arrive within %v.", s.o.BodyTimeout)
	default:
		e.Message = "The request body ended early."
	}
	return e
}

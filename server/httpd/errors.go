package httpd

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
)

// retryAfterSeconds is what a client is told to wait when the queue is full.
const retryAfterSeconds = "1"

// writeError answers err in OpenAI's shape. It is the one place where errors become statuses. Nothing is written when the
// answer has begun.
func (s *Server) writeError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	e := s.apiError(err, c)
	if e.Status == http.StatusTooManyRequests {
		c.Response().Header().Set(echo.HeaderRetryAfter, retryAfterSeconds)
	}
	if err := s.writeJSON(c, e.Status, e); err != nil {
		s.o.Logger.Debug("error was not delivered", "err", err)
	}
}

func (s *Server) apiError(err error, c echo.Context) *api.Error {
	var known *api.Error
	var routing *echo.HTTPError
	r := c.Request()
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &routing) && routing.Code == http.StatusNotFound:
		return &api.Error{Status: http.StatusNotFound, Type: "invalid_request_error", Code: "unknown_url",
			Message: fmt.Sprintf("Unknown request URL: %s %s.", r.Method, r.URL.Path)}
	case errors.As(err, &routing) && routing.Code == http.StatusMethodNotAllowed:
		return &api.Error{Status: http.StatusMethodNotAllowed, Type: "invalid_request_error", Code: "method_not_allowed",
			Message: fmt.Sprintf("Not allowed to %s on %s; allowed: %s.", r.Method, r.URL.Path, c.Response().Header().Get(echo.HeaderAllow))}
	default:
		s.o.Logger.Error("request failed", "err", err, "request_id", c.Response().Header().Get(headerRequestID))
		return &api.Error{Status: http.StatusInternalServerError, Type: "server_error",
			Message: "The server had an internal error; its log has the details under this request id."}
	}
}

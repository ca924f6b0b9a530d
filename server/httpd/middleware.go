package httpd

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
)

const (
	pathHealth         = "/health"
	openResponsesMount = "/openresponses"
	headerDialect      = "OpenResponses-Version"
	headerRequestID    = "X-Request-Id"
	maxRequestID       = 128
	exposedHeaders     = headerRequestID + ", Mcp-Session-Id" // that pages of other origins may read
)

// observe surrounds every request: it names it, answers what the handler returned as an error, survives a panic, counts,
// and writes the one line of the access log.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start, id := time.Now(), requestID(c.Request())
		c.Response().Header().Set(headerRequestID, id)
		s.counter.begin()
		aborted := s.protect(c, next)
		route := c.Path()
		if route == "" {
			route = "unmatched" // not the client's path: it would make a metric per typo
		}
		elapsed := time.Since(start)
		s.counter.end(route, c.Response().Status, elapsed)
		s.o.Logger.Info("request", "method", c.Request().Method, "route", route, "status", c.Response().Status,
			"bytes", c.Response().Size, "duration", elapsed, "remote", c.Request().RemoteAddr, "request_id", id)
		if aborted {
			panic(http.ErrAbortHandler) // the client must see a broken stream, not a short answer
		}
		return nil
	}
}

// protect runs next and answers its error. It reports whether it panicked after bytes were sent.
func (s *Server) protect(c echo.Context, next echo.HandlerFunc) (aborted bool) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		s.o.Logger.Error("request panicked", "err", fmt.Sprint(r), "stack", string(debug.Stack()),
			"request_id", c.Response().Header().Get(headerRequestID))
		aborted = c.Response().Committed
		s.writeError(&api.Error{Status: http.StatusInternalServerError, Type: "server_error",
			Message: "The server had an internal error; its log has the details under this request id."}, c)
	}()
	if err := next(c); err != nil {
		s.writeError(err, c)
	}
	return false
}

// requestID is the client's own id where it is a harmless word, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get(headerRequestID)
	harmless := func(c rune) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune("-_.:", c)
	}
	if id == "" || len(id) > maxRequestID || strings.ContainsFunc(id, func(c rune) bool { return !harmless(c) }) {
		return "req_" + strings.ToLower(rand.Text())
	}
	return id
}

// authenticate compares digests, all of them and in constant time, so that timing tells neither a key nor its length.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if len(s.keys) == 0 || c.Path() == pathHealth {
			return next(c)
		}
		scheme, key := bearer(c.Request())
		digest, match := sha256.Sum256([]byte(key)), 0
		for i := range s.keys {
			match |= subtle.ConstantTimeCompare(s.keys[i][:], digest[:])
		}
		if match == 1 && strings.EqualFold(scheme, "Bearer") {
			return next(c)
		}
		c.Response().Header().Set(echo.HeaderWWWAuthenticate, "Bearer")
		message := "The API key is not one that this server accepts."
		if key == "" {
			message = "An API key is required: send it as \"Authorization: Bearer KEY\"."
		}
		return &api.Error{Status: http.StatusUnauthorized, Type: "invalid_request_error", Code: "invalid_api_key", Message: message}
	}
}

// bearer returns the two parts of the Authorization header.
func bearer(r *http.Request) (scheme, key string) {
	scheme, key, _ = strings.Cut(r.Header.Get(echo.HeaderAuthorization), " ")
	return scheme, strings.TrimSpace(key)
}

// cors lets pages of the allowed origins call, and answers their preflight requests, which carry no key. Pages of other
// origins may not even send what they could not read the answer of: a server on loopback has no other protection from the
// web sites that its user visits.
func (s *Server) cors(next echo.HandlerFunc) echo.HandlerFunc {
	sameOrigin := http.NewCrossOriginProtection()
	return func(c echo.Context) error {
		r, h := c.Request(), c.Response().Header()
		origin := r.Header.Get(echo.HeaderOrigin)
		if len(s.o.AllowOrigins) > 0 {
			h.Add(echo.HeaderVary, echo.HeaderOrigin)
		}
		if origin == "" || !slices.Contains(s.o.AllowOrigins, "*") && !slices.Contains(s.o.AllowOrigins, origin) {
			if sameOrigin.Check(r) != nil {
				return &api.Error{Status: http.StatusForbidden, Type: "invalid_request_error", Code: "origin_not_allowed",
					Message: "Pages of other origins may not call this server."}
			}
			return next(c)
		}
		h.Set(echo.HeaderAccessControlAllowOrigin, origin)
		h.Set(echo.HeaderAccessControlExposeHeaders, exposedHeaders)
		if r.Method != http.MethodOptions || r.Header.Get(echo.HeaderAccessControlRequestMethod) == "" {
			return next(c)
		}
		h.Set(echo.HeaderAccessControlAllowMethods, "GET, POST, DELETE")
		h.Set(echo.HeaderAccessControlAllowHeaders, r.Header.Get(echo.HeaderAccessControlRequestHeaders))
		h.Set(echo.HeaderAccessControlMaxAge, "600")
		return c.NoContent(http.StatusNoContent)
	}
}

// dialectOf is the dialect that a request asks for, by mount or by header.
func dialectOf(c echo.Context) api.Dialect {
	version := c.Request().Header.Get(headerDialect)
	if version != "" {
		c.Response().Header().Set(headerDialect, version)
	}
	if version != "" || strings.HasPrefix(c.Path(), openResponsesMount+"/") {
		return api.OpenResponses
	}
	return api.OpenAI
}

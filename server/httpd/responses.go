package httpd

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
	"chorale/server/responses"
)

func (s *Server) health(c echo.Context) error {
	return s.writeJSON(c, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) createResponse(c echo.Context) error {
	body, err := s.readBody(c)
	if err != nil {
		return err
	}
	request, err := api.DecodeRequest(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	run, err := s.o.Responses.Create(ctx, request)
	if err != nil {
		return err
	}
	if request.Stream != nil && *request.Stream {
		return s.stream(c, run, cancel)
	}
	return s.answer(c, run)
}

// statusClientGone is nginx's name for a request whose client hung up; nobody sees it but log and metrics.
const statusClientGone = 499

// answer is the JSON form of a response: the last of its events.
func (s *Server) answer(c echo.Context, run *responses.Run) error {
	var response *api.Response
	for e := range run.Events() {
		response, _ = api.Terminal(e)
	}
	switch {
	case response == nil:
		c.Response().Status = statusClientGone
		return nil
	case response.Status == api.Failed && response.Error != nil:
		// Not a 200 with a status inside: programs that do not look there would take it for an empty answer.
		return &api.Error{Status: http.StatusInternalServerError, Type: "server_error", Code: response.Error.Code,
			Message: response.Error.Message}
	default:
		return s.writeJSON(c, http.StatusOK, response)
	}
}

func (s *Server) getResponse(c echo.Context) error {
	if stream := c.QueryParam("stream"); stream != "" && stream != "false" {
		return api.BadRequest("unsupported_parameter", "stream",
			"Only responses that were created in the background can be streamed again, and this server has none.")
	}
	r, err := s.o.Responses.Get(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, r)
}

func (s *Server) deleteResponse(c echo.Context) error {
	id := c.Param("id")
	if err := s.o.Responses.Delete(c.Request().Context(), id); err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, api.Deletion{ID: id, Object: "response", Deleted: true})
}

func (s *Server) listInputItems(c echo.Context) error {
	page, err := readPage(c)
	if err != nil {
		return err
	}
	list, err := s.o.Responses.InputItems(c.Request().Context(), c.Param("id"), page)
	if err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, list)
}

// cancelResponse always refuses: only background responses can be cancelled, and there are none. A foreground response
// ends when its client hangs up.
func (s *Server) cancelResponse(c echo.Context) error {
	if _, err := s.o.Responses.Get(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	return api.BadRequest("", "response_id", "Cannot cancel a response that was not created in the background; close its connection instead.")
}

// writeJSON sends v whole. A client that does not take it within WriteTimeout is given up.
func (s *Server) writeJSON(c echo.Context, status int, v any) error {
	data, err := api.Encode(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(s.o.WriteTimeout)) // a test's recorder has none
	return c.Blob(status, echo.MIMEApplicationJSON, data)
}

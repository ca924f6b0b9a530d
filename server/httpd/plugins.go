package httpd

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
)

// listPlugins shows operators all versions of plugins and what they have, those that cannot be loaded included.
func (s *Server) listPlugins(c echo.Context) error {
	list := &api.List[api.Plugin]{Object: "list", Data: s.o.Plugins()}
	if n := len(list.Data); n > 0 {
		list.FirstID, list.LastID = &list.Data[0].ID, &list.Data[n-1].ID
	} else {
		list.Data = []api.Plugin{}
	}
	return s.writeJSON(c, http.StatusOK, list)
}

// getPlugin shows the version that calls go to, or the only one there is.
func (s *Server) getPlugin(c echo.Context) error {
	all, id := s.o.Plugins(), c.Param("id")
	i := slices.IndexFunc(all, func(p api.Plugin) bool { return p.ID == id })
	if i < 0 {
		return &api.Error{Status: http.StatusNotFound, Type: "invalid_request_error", Code: "plugin_not_found", Param: "id",
			Message: fmt.Sprintf("There is no plugin '%s'.", id)}
	}
	return s.writeJSON(c, http.StatusOK, all[i])
}

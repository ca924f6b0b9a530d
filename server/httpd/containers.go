package httpd

import (
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
)

func (s *Server) routeContainers(g *echo.Group) {
	g.POST("/containers", s.createContainer)
	g.GET("/containers", s.listContainers)
	g.GET("/containers/:id", s.getContainer)
	g.DELETE("/containers/:id", s.deleteContainer)
	g.POST("/containers/:id/files", s.createContainerFile)
	g.GET("/containers/:id/files", s.listContainerFiles)
	g.GET("/containers/:id/files/:file", s.getContainerFile)
	g.GET("/containers/:id/files/:file/content", s.getContainerFileContent)
	g.DELETE("/containers/:id/files/:file", s.deleteContainerFile)
}

// owner tells clients by their keys, if there are several of them: then one does not see what another has made.
func (s *Server) owner(c echo.Context) string {
	if len(s.keys) < 2 {
		return ""
	}
	_, key := bearer(c.Request())
	digest := sha256.Sum256([]byte(key))
	return hex.EncodeToString(digest[:8])
}

func (s *Server) createContainer(c echo.Context) error {
	body, err := s.readBody(c)
	if err != nil {
		return err
	}
	request, err := api.DecodeContainerRequest(body)
	if err != nil {
		return err
	}
	container, err := s.o.Containers.Create(c.Request().Context(), s.owner(c), request)
	if err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, container)
}

func (s *Server) listContainers(c echo.Context) error {
	page, err := readPage(c)
	if err != nil {
		return err
	}
	list, err := s.o.Containers.List(c.Request().Context(), s.owner(c), c.QueryParam("name"), page)
	if err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, list)
}

func (s *Server) getContainer(c echo.Context) error {
	container, err := s.o.Containers.Get(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, container)
}

func (s *Server) deleteContainer(c echo.Context) error {
	id := c.Param("id")
	if err := s.o.Containers.Delete(c.Request().Context(), id); err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, api.Deletion{ID: id, Object: "container.deleted", Deleted: true})
}

// createContainerFile takes a file as a form, or as JSON the id of a file of the files API, which this server does not have.
func (s *Server) createContainerFile(c echo.Context) error {
	header := c.Request().Header.Get(echo.HeaderContentType)
	switch kind, _, _ := mime.ParseMediaType(header); kind {
	case echo.MIMEMultipartForm:
	case echo.MIMEApplicationJSON:
		return s.refuseFileID(c)
	default:
		drop(c.Request().Body, s.o.Containers.MaxFileBytes())
		return unsupported("Content-Type is %q; send the file as 'file' in multipart/form-data.", header)
	}
	upload, err := s.readUpload(c)
	if err != nil {
		return err
	}
	file, err := s.o.Containers.Upload(c.Request().Context(), c.Param("id"), *upload)
	if err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, file)
}

func (s *Server) refuseFileID(c echo.Context) error {
	body, err := s.readBody(c)
	if err != nil {
		return err
	}
	if _, err := api.DecodeContainerFileRequest(body); err != nil {
		return err
	}
	return noFilesAPI()
}

func noFilesAPI() error {
	return api.BadRequest("unsupported_parameter", "file_id",
		"Unsupported 'file_id': this server has no files API. Send the file itself as 'file' in multipart/form-data.")
}

func (s *Server) listContainerFiles(c echo.Context) error {
	page, err := readPage(c)
	if err != nil {
		return err
	}
	list, err := s.o.Containers.Files(c.Request().Context(), c.Param("id"), page)
	if err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, list)
}

func (s *Server) getContainerFile(c echo.Context) error {
	file, err := s.o.Containers.File(c.Request().Context(), c.Param("id"), c.Param("file"))
	if err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, file)
}

func (s *Server) deleteContainerFile(c echo.Context) error {
	id := c.Param("file")
	if err := s.o.Containers.DeleteFile(c.Request().Context(), c.Param("id"), id); err != nil {
		return err
	}
	return s.writeJSON(c, http.StatusOK, api.Deletion{ID: id, Object: "container.file.deleted", Deleted: true})
}

// contentChunk is how much of a file has to go out within WriteTimeout.
const contentChunk = 256 << 10 // bytes

// getContainerFileContent sends a file that anybody may have written, the model included. Its type is told, but a browser
// that is led to it saves it and runs nothing of it, and pages of other sites cannot use it as an image or a script.
func (s *Server) getContainerFileContent(c echo.Context) error {
	content, err := s.o.Containers.Content(c.Request().Context(), c.Param("id"), c.Param("file"))
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, content.MIME)
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(content.Data)))
	h.Set(echo.HeaderContentDisposition, attachment(path.Base(content.File.Path)))
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderContentSecurityPolicy, "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set(echo.HeaderCacheControl, "no-store")
	c.Response().WriteHeader(http.StatusOK)
	conn := http.NewResponseController(c.Response())
	for chunk := range slices.Chunk(content.Data, contentChunk) {
		_ = conn.SetWriteDeadline(time.Now().Add(s.o.WriteTimeout)) // a test's recorder has none
		if _, err := c.Response().Write(chunk); err != nil {
			s.o.Logger.Debug("client is gone", "err", err, "request_id", h.Get(headerRequestID))
			return nil
		}
	}
	return nil
}

func attachment(name string) string {
	if value := mime.FormatMediaType("attachment", map[string]string{"filename": name}); value != "" {
		return value
	}
	return "attachment"
}

// readPage reads the parameters of a list.
func readPage(c echo.Context) (api.Page, error) {
	page := api.Page{After: c.QueryParam("after"), Order: c.QueryParam("order")}
	if page.Order != "" && page.Order != "asc" && page.Order != "desc" {
		return page, api.BadRequest("invalid_value", "order", "Invalid value for 'order': %q. Supported values are: 'asc' and 'desc'.", page.Order)
	}
	if limit := c.QueryParam("limit"); limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil || n < 1 || n > 100 {
			return page, api.BadRequest("invalid_value", "limit", "Invalid value for 'limit': %q. Expected an integer from 1 to 100.", limit)
		}
		page.Limit = n
	}
	return page, nil
}

package httpd

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
	"chorale/server/containers"
)

const (
	// formOverhead is what a form may have besides the file: boundaries, headers and other fields, in bytes.
	formOverhead = 64 << 10
	maxFormParts = 16
)

// readUpload reads the file of a form, and no more of it than a file may have. The error is an *api.Error.
func (s *Server) readUpload(c echo.Context) (*containers.Upload, error) {
	r := c.Request()
	conn := http.NewResponseController(c.Response())
	_ = conn.SetReadDeadline(time.Now().Add(s.o.BodyTimeout)) // not supported: a test's recorder
	body, err := decompress(r.Body, r.Header.Get(echo.HeaderContentEncoding))
	if err != nil {
		return nil, s.bodyError(err)
	}
	most := s.o.Containers.MaxFileBytes()
	source := &source{r: body, left: most + formOverhead}
	upload, err := readForm(source, r.Header.Get(echo.HeaderContentType), most)
	if source.err != nil {
		err = source.err // whatever the form's parser has made of it
	}
	var known *api.Error
	switch {
	case errors.Is(err, errTooLarge):
		drop(r.Body, most)
		err = s.o.Containers.FileTooLarge()
	case err != nil && source.err == nil && !errors.As(err, &known):
		err = api.BadRequest("invalid_multipart", "", "The request body is not valid multipart/form-data: it ends early or is malformed.")
	case err != nil:
		err = s.bodyError(err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	return upload, err
}

// A source is a body of which no more than left bytes may be read. It keeps its first failure.
type source struct {
	r    io.Reader
	left int64
	err  error // never io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 {
		s.err = errTooLarge
		return 0, s.err
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// readForm returns the part "file", which must have a file name.
func readForm(body io.Reader, contentType string, most int64) (upload *containers.Upload, err error) {
	_, parameters, _ := mime.ParseMediaType(contentType)
	if parameters["boundary"] == "" {
		return nil, api.BadRequest("invalid_multipart", "", "Content-Type is multipart/form-data without a boundary.")
	}
	for form, n := multipart.NewReader(body, parameters["boundary"]), 0; ; n++ {
		part, err := form.NextPart()
		switch {
		case err == io.EOF: // itself; wrapped, it says that the form is cut off
			if upload == nil {
				err = api.BadRequest("missing_required_parameter", "file", "Missing required parameter: 'file'.")
				return nil, err
			}
			return upload, nil
		case err != nil:
			return nil, err
		case n == maxFormParts:
			return nil, api.BadRequest("invalid_multipart", "", "The form has more than %d parts.", maxFormParts)
		case part.FormName() == "file_id":
			return nil, noFilesAPI()
		case part.FormName() != "file":
			continue
		case upload != nil:
			return nil, api.BadRequest("invalid_value", "file", "The form has more than one 'file'.")
		case part.FileName() == "":
			return nil, api.BadRequest("invalid_value", "file", "The form's 'file' has no file name.")
		}
		data, err := io.ReadAll(io.LimitReader(part, most+1))
		switch {
		case err != nil:
			return nil, err
		case int64(len(data)) > most:
			return nil, errTooLarge
		}
		upload = &containers.Upload{Name: part.FileName(), MIME: part.Header.Get(echo.HeaderContentType), Data: data}
	}
}

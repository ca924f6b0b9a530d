package containers

import (
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"chorale/server/api"
)

// Limits of paths, those of Linux.
const (
	maxNameBytes = 255
	maxPathBytes = 4095
)

// dataDir is where clients' files are, as the model was trained to expect.
const dataDir = "/mnt/data/"

// uploadPath is where an uploaded file goes. Folders in the name are those of the client's disk and are dropped. The error
// is an *api.Error.
func uploadPath(name string) (string, error) {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	p := dataDir + name
	if !shown(p) {
		return "", api.BadRequest("invalid_value", "file", "Invalid file name: expected 1 to %d bytes of UTF-8 without control "+
			"characters, other than '.' and '..'.", maxNameBytes)
	}
	return p, nil
}

// shown reports whether clients see the file: whether it lies below /mnt/data, under a path that means the same to
// everybody.
func shown(p string) bool {
	rest, below := strings.CutPrefix(p, dataDir)
	if !below || len(p) > maxPathBytes || path.Clean(p) != p || !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl) {
		return false
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || len(part) > maxNameBytes {
			return false
		}
	}
	return true
}

// contentType is the type that was claimed, if it is one, or what name and content suggest.
func contentType(claimed, p string, data []byte) string {
	if kind, parameters, err := mime.ParseMediaType(claimed); err == nil && strings.Contains(kind, "/") && len(claimed) <= maxNameBytes {
		if clean := mime.FormatMediaType(kind, parameters); clean != "" {
			return clean
		}
	}
	if byName := mime.TypeByExtension(path.Ext(p)); byName != "" {
		return byName
	}
	return http.DetectContentType(data)
}

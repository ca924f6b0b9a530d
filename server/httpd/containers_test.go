package httpd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"

	"chorale/server/containers"
	"chorale/server/httpd"
	"chorale/server/store"
)

// newContainers is a server with containers, which is told the time by the clock unless it is nil.
func newContainers(t testing.TB, o containers.Options, clock *time.Time, keys ...string) http.Handler {
	t.Helper()
	now := time.Now
	if clock != nil {
		now = func() time.Time { return *clock }
	}
	db, err := store.Open(t.Context(), store.Options{Path: ":memory:", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	o.Store, o.Logger = db, slog.New(slog.DiscardHandler)
	service, err := containers.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := httpd.New(httpd.Options{Responses: newBackend(t, settings{}).service, Containers: service, MaxBodyBytes: 1024, APIKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call decodes the answer, which must be one of status 200.
func call(t testing.TB, s http.Handler, method, path, body string, headers ...string) map[string]any {
	t.Helper()
	res := do(s, method, path, strings.NewReader(body), headers...)
	data, _ := io.ReadAll(res.Body)
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s %s: status %d, %s", method, path, res.StatusCode, data)
	}
	return out
}

func newContainer(t testing.TB, s http.Handler) (id string) {
	t.Helper()
	return call(t, s, "POST", "/v1/containers", `{"name":"n"}`)["id"].(string)
}

const boundary = "XXX"

// form is a multipart form of one part: "header: value" lines and what is in it.
func form(headers, content string) string {
	return "--" + boundary + "\r\n" + headers + "\r\n\r\n" + content + "\r\n--" + boundary + "--\r\n"
}

const formType = "Content-Type: multipart/form-data; boundary=" + boundary

func fileForm(name, content string) string {
	return form(`Content-Disposition: form-data; name="file"; filename="`+name+`"`, content)
}

func TestContainersAndFiles(t *testing.T) {
	t.Parallel()
	for _, mount := range []string{"/v1", "/openresponses/v1"} {
		s := newContainers(t, containers.Options{}, nil)
		c := call(t, s, "POST", mount+"/containers", `{"name":"n","memory_limit":"4g","expires_after":{"anchor":"last_active_at","minutes":5}}`)
		id := c["id"].(string)
		path := mount + "/containers/" + id
		if got := call(t, s, "GET", path, ""); !reflect.DeepEqual(got, c) && got["last_active_at"] == c["last_active_at"] {
			t.Errorf("got %v, created %v", got, c)
		}
		want := map[string]any{"object": "container", "name": "n", "status": "running", "memory_limit": "4g",
			"expires_after": map[string]any{"anchor": "last_active_at", "minutes": 5.0}, "network_policy": map[string]any{"type": "disabled"}}
		for k, v := range want {
			if !reflect.DeepEqual(c[k], v) {
				t.Errorf("%s is %v, want %v", k, c[k], v)
			}
		}
		f := call(t, s, "POST", path+"/files", fileForm("a.csv", "1,2"), formType)
		file := f["id"].(string)
		if f["object"] != "container.file" || f["path"] != "/mnt/data/a.csv" || f["bytes"] != 3.0 || f["source"] != "user" || f["container_id"] != id {
			t.Errorf("file %v", f)
		}
		if got := call(t, s, "GET", path+"/files/"+file, ""); !reflect.DeepEqual(got, f) {
			t.Errorf("got %v, uploaded %v", got, f)
		}
		for _, list := range []string{mount + "/containers?name=n&limit=1&order=asc", path + "/files?limit=1"} {
			got := call(t, s, "GET", list, "")
			if got["object"] != "list" || got["has_more"] != false || got["first_id"] == nil || len(got["data"].([]any)) != 1 {
				t.Errorf("%s: %v", list, got)
			}
		}
		res := do(s, "GET", path+"/files/"+file+"/content", nil)
		if data, _ := io.ReadAll(res.Body); string(data) != "1,2" || res.StatusCode != 200 {
			t.Errorf("content %q", data)
		}
		if got := call(t, s, "DELETE", path+"/files/"+file, ""); !reflect.DeepEqual(got, map[string]any{"id": file, "object": "container.file.deleted", "deleted": true}) {
			t.Errorf("deleted %v", got)
		}
		checkError(t, do(s, "GET", path+"/files/"+file+"/content", nil), 404, "container_file_not_found", file)
		if got := call(t, s, "DELETE", path, ""); !reflect.DeepEqual(got, map[string]any{"id": id, "object": "container.deleted", "deleted": true}) {
			t.Errorf("deleted %v", got)
		}
		checkError(t, do(s, "DELETE", path, nil), 404, "container_not_found", id)
	}
}

func TestWithoutContainers(t *testing.T) {
	t.Parallel()
	checkError(t, do(newServer(t, httpd.Options{}), "GET", "/v1/containers", nil), 404, "unknown_url", "/v1/containers")
}

func TestContainerErrors(t *testing.T) {
	t.Parallel()
	const json, list = "Content-Type: application/json", "/v1/containers"
	s := newContainers(t, containers.Options{MaxFileBytes: 100, MaxContainers: 1}, nil)
	files := list + "/" + newContainer(t, s) + "/files"
	file := `Content-Disposition: form-data; name="file"; filename="a"`
	many := strings.Repeat("--XXX\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n", 17)
	tests := []struct {
		name, method, path, body string
		header                   string
		status                   int
		code, message            string
	}{
		{"no name", "POST", list, `{}`, json, 400, "missing_required_parameter", "'name'"},
		{"empty name", "POST", list, `{"name":""}`, json, 400, "invalid_value", "'name'"},
		{"long name", "POST", list, `{"name":"` + strings.Repeat("n", 257) + `"}`, json, 400, "string_above_max_length", "256"},
		{"unknown memory", "POST", list, `{"name":"n","memory_limit":"2g"}`, json, 400, "invalid_value", "'64g'"},
		{"other anchor", "POST", list, `{"name":"n","expires_after":{"anchor":"created_at","minutes":5}}`, json, 400, "invalid_value", "last_active_at"},
		{"no minutes", "POST", list, `{"name":"n","expires_after":{"anchor":"last_active_at"}}`, json, 400, "missing_required_parameter", "minutes"},
		{"zero minutes", "POST", list, `{"name":"n","expires_after":{"anchor":"last_active_at","minutes":0}}`, json, 400, "integer_below_min_value", ">= 1"},
		{"file ids", "POST", list, `{"name":"n","file_ids":["file-1"]}`, json, 400, "unsupported_parameter", "files API"},
		{"network", "POST", list, `{"name":"n","network_policy":{"type":"allowlist","allowed_domains":["x"]}}`, json, 400, "unsupported_parameter", "network"},
		{"not JSON", "POST", list, `name=n`, json, 400, "invalid_json", "JSON"},
		{"body too large", "POST", list, `{"name":"` + strings.Repeat("n", 2000) + `"}`, json, 413, "", "1024 bytes"},
		{"container too many", "POST", list, `{"name":"n"}`, json, 400, "container_limit_reached", "at most 1 containers"},
		{"unknown order", "GET", list + "?order=up", "", "", 400, "invalid_value", "order"},
		{"limit of 101", "GET", list + "?limit=101", "", "", 400, "invalid_value", "limit"},
		{"after nothing", "GET", list + "?after=cntr_x", "", "", 400, "invalid_value", "cntr_x"},
		{"files after nothing", "GET", files + "?after=cfile_x", "", "", 400, "invalid_value", "cfile_x"},
		{"no container", "GET", list + "/cntr_x", "", "", 404, "container_not_found", "cntr_x"},
		{"odd id", "GET", list + "/%2e%2e%2f%00", "", "", 404, "container_not_found", "not found"},
		{"files of no container", "GET", list + "/cntr_x/files", "", "", 404, "container_not_found", "cntr_x"},
		{"upload to no container", "POST", list + "/cntr_x/files", fileForm("a", "x"), formType, 404, "container_not_found", "cntr_x"},
		{"no file", "GET", files + "/cfile_x", "", "", 404, "container_file_not_found", "cfile_x"},
		{"delete of no file", "DELETE", files + "/cfile_x", "", "", 404, "container_file_not_found", "cfile_x"},
		{"wrong method", "PUT", list, "{}", json, 405, "method_not_allowed", "POST"},

		{"file id", "POST", files, `{"file_id":"file-1"}`, json, 400, "unsupported_parameter", "files API"},
		{"neither file nor file id", "POST", files, `{}`, json, 400, "missing_required_parameter", "file_id"},
		{"file id in a form", "POST", files, form(`Content-Disposition: form-data; name="file_id"`, "file-1"), formType, 400, "unsupported_parameter", "files API"},
		{"bare bytes", "POST", files, "1,2", "Content-Type: text/csv", 415, "", "multipart/form-data"},
		{"no content type", "POST", files, "1,2", "", 415, "", "multipart/form-data"},
		{"no boundary", "POST", files, fileForm("a", "x"), "Content-Type: multipart/form-data", 400, "invalid_multipart", "boundary"},
		{"other boundary", "POST", files, fileForm("a", "x"), formType + "Y", 400, "invalid_multipart", "ends early"},
		{"nothing", "POST", files, "", formType, 400, "invalid_multipart", "ends early"},
		{"cut off in the header", "POST", files, fileForm("a", "x")[:30], formType, 400, "missing_required_parameter", "'file'"},
		{"cut off in the file", "POST", files, strings.TrimSuffix(fileForm("a", "x"), "--XXX--\r\n"), formType, 400, "invalid_multipart", "ends early"},
		{"cut off after the file", "POST", files, strings.TrimSuffix(fileForm("a", "x"), "--\r\n"), formType, 400, "invalid_multipart", "ends early"},
		{"form without parts", "POST", files, "--XXX--\r\n", formType, 400, "missing_required_parameter", "'file'"},
		{"form without the file", "POST", files, form(`Content-Disposition: form-data; name="purpose"`, "x"), formType, 400, "missing_required_parameter", "'file'"},
		{"file without a name", "POST", files, form(`Content-Disposition: form-data; name="file"`, "x"), formType, 400, "invalid_value", "no file name"},
		{"file that is a folder", "POST", files, fileForm("..", "x"), formType, 400, "invalid_value", "file name"},
		{"two files", "POST", files, strings.TrimSuffix(fileForm("a", "x"), "--XXX--\r\n") + fileForm("b", "x"), formType, 400, "invalid_value", "more than one"},
		{"parts too many", "POST", files, many + "--XXX--\r\n", formType, 400, "invalid_multipart", "16 parts"},
		{"file a byte too large", "POST", files, fileForm("a", strings.Repeat("x", 101)), formType, 413, "file_too_large", "100 bytes"},
		{"file far too large", "POST", files, fileForm("a", strings.Repeat("x", 1<<20)), formType, 413, "file_too_large", "100 bytes"},
		{"other field far too large", "POST", files, form(`Content-Disposition: form-data; name="x"`, strings.Repeat("x", 1<<20)), formType, 413, "file_too_large", "100 bytes"},
		{"header far too large", "POST", files, form(file+"\r\nX: "+strings.Repeat("x", 1<<20), "x"), formType, 413, "file_too_large", "100 bytes"},
		{"endless preamble", "POST", files, strings.Repeat("x\r\n", 1<<18), formType, 413, "file_too_large", "100 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkError(t, do(s, tt.method, tt.path, strings.NewReader(tt.body), tt.header), tt.status, tt.code, tt.message)
		})
	}
	if got := call(t, s, "GET", files, ""); len(got["data"].([]any)) != 0 {
		t.Errorf("something was stored: %v", got)
	}
}

func TestUploads(t *testing.T) {
	t.Parallel()
	s := newContainers(t, containers.Options{MaxFileBytes: 100}, nil)
	files := "/v1/containers/" + newContainer(t, s) + "/files"
	purpose := "--XXX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nx\r\n"
	tests := []struct {
		name, body string
		headers    []string
		path       string
		bytes      float64
	}{
		{"exactly the limit", fileForm("full", strings.Repeat("x", 100)), []string{formType}, "/mnt/data/full", 100},
		{"empty", fileForm("empty", ""), []string{formType}, "/mnt/data/empty", 0},
		{"gzip", zipped(fileForm("zipped", "x")), []string{formType, "Content-Encoding: gzip"}, "/mnt/data/zipped", 1},
		{"another field before it", purpose + fileForm("later", "x"), []string{formType}, "/mnt/data/later", 1},
		{"folders of the client", fileForm("../../etc/passwd", "x"), []string{formType}, "/mnt/data/passwd", 1},
		{"name in RFC 5987", form(`Content-Disposition: form-data; name="file"; filename*=UTF-8''gr%C3%B6%C3%9Fe`, "x"), []string{formType}, "/mnt/data/größe", 1},
		{"looks like a boundary", fileForm("dashes", "--XX\r\n--YYY--\r\n"), []string{formType}, "/mnt/data/dashes", 15},
	}
	for _, tt := range tests {
		if f := call(t, s, "POST", files, tt.body, tt.headers...); f["path"] != tt.path || f["bytes"] != tt.bytes {
			t.Errorf("%s: %v, want %s of %v bytes", tt.name, f, tt.path, tt.bytes)
		}
	}
}

// TestKeysListTheirOwn: with several keys a list has what was made under the same key; a server of one user has no owners,
// so that a new key shows what was made before.
func TestKeysListTheirOwn(t *testing.T) {
	t.Parallel()
	const path = "/v1/containers"
	for _, tt := range []struct {
		keys []string
		want int
	}{{[]string{"alpha", "beta"}, 1}, {[]string{"alpha"}, 2}} {
		s := newContainers(t, containers.Options{}, nil, tt.keys...)
		for _, key := range []string{"alpha", tt.keys[len(tt.keys)-1]} {
			call(t, s, "POST", path, `{"name":"`+key+`"}`, "Authorization: Bearer "+key)
		}
		list := call(t, s, "GET", path, "", "Authorization: bearer  alpha ")["data"].([]any)
		if len(list) != tt.want || list[0].(map[string]any)["name"] != "alpha" {
			t.Errorf("with the keys %q: %v", tt.keys, list)
		}
		checkError(t, do(s, "GET", path, nil), 401, "invalid_api_key", "required")
	}
}

// TestUploadThatBreaksOff sends forms whose connection fails in the middle.
func TestUploadThatBreaksOff(t *testing.T) {
	t.Parallel()
	s := newContainers(t, containers.Options{}, nil)
	files := "/v1/containers/" + newContainer(t, s) + "/files"
	whole := fileForm("a", "some content")
	for at := range whole {
		body := io.MultiReader(strings.NewReader(whole[:at]), failing{})
		checkError(t, do(s, "POST", files, body, formType), 400, "", "ended early")
	}
	bad := zipped(whole)
	checkError(t, do(s, "POST", files, strings.NewReader(bad[:len(bad)-4]), formType, "Content-Encoding: gzip"), 400, "", "ended early")
	checkError(t, do(s, "POST", files, strings.NewReader("no gzip, not at all"), formType, "Content-Encoding: gzip"), 400, "", "gzip")
	if got := call(t, s, "GET", files, ""); len(got["data"].([]any)) != 0 {
		t.Errorf("something was stored: %v", got)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// TestContentIsHarmless reads back files that a browser would run if it were let.
func TestContentIsHarmless(t *testing.T) {
	t.Parallel()
	s := newContainers(t, containers.Options{}, nil)
	files := "/v1/containers/" + newContainer(t, s) + "/files"
	const script = "<script>alert(1)</script>"
	tests := []struct{ name, claimed, kind, disposition string }{
		{"page.html", "text/html", "text/html", "attachment; filename=page.html"},
		{"picture.svg", "image/svg+xml", "image/svg+xml", "attachment; filename=picture.svg"},
		{"none", "", "text/html; charset=utf-8", "attachment; filename=none"},
		{`quo\"te;.txt`, "text/plain", "text/plain", `attachment; filename="quo\"te;.txt"`},
		{"größe.txt", "text/plain", "text/plain", "attachment; filename*=utf-8''gr%C3%B6%C3%9Fe.txt"},
		{"odd", "text/html; =", "text/html; charset=utf-8", "attachment; filename=odd"},
	}
	for _, tt := range tests {
		headers := `Content-Disposition: form-data; name="file"; filename="` + tt.name + `"`
		if tt.claimed != "" {
			headers += "\r\nContent-Type: " + tt.claimed
		}
		f := call(t, s, "POST", files, form(headers, script), formType)
		res := do(s, "GET", files+"/"+f["id"].(string)+"/content", nil)
		data, _ := io.ReadAll(res.Body)
		if string(data) != script {
			t.Errorf("%s: content %q", tt.name, data)
		}
		for header, want := range map[string]string{
			"Content-Type": tt.kind, "Content-Disposition": tt.disposition, "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "default-src 'none'; sandbox", "Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control": "no-store", "Content-Length": fmt.Sprint(len(script)),
		} {
			if got := res.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, header, got, want)
			}
		}
	}
}

func TestExpiredContainer(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	s := newContainers(t, containers.Options{}, &now)
	path := "/v1/containers/" + newContainer(t, s)
	f := call(t, s, "POST", path+"/files", fileForm("a", "x"), formType)
	now = now.Add(20 * time.Minute)
	if got := call(t, s, "GET", path, ""); got["status"] != "expired" {
		t.Errorf("container %v", got)
	}
	checkError(t, do(s, "GET", path+"/files", nil), 404, "container_expired", "expired")
	checkError(t, do(s, "GET", path+"/files/"+f["id"].(string)+"/content", nil), 404, "container_expired", "expired")
	checkError(t, do(s, "POST", path+"/files", strings.NewReader(fileForm("a", "x")), formType), 404, "container_expired", "Create a new one")
}

// TestLargeFileOverTheWire is larger than what fits into the buffers of a connection, both ways.
func TestLargeFileOverTheWire(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newContainers(t, containers.Options{MaxFileBytes: 8 << 20}, nil))
	defer server.Close()
	post := func(path, kind string, body io.Reader) (int, map[string]any) {
		res, err := http.Post(server.URL+path, kind, body)
		check(t, err)
		defer res.Body.Close()
		var out map[string]any
		check(t, json.NewDecoder(res.Body).Decode(&out))
		return res.StatusCode, out
	}
	_, c := post("/v1/containers", "application/json", strings.NewReader(`{"name":"n"}`))
	files := "/v1/containers/" + c["id"].(string) + "/files"
	content := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	for extra, want := range []int{200, 413} {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="file"; filename="large"`}})
		check(t, err)
		part.Write(append(content, make([]byte, extra)...))
		check(t, w.Close())
		status, f := post(files, w.FormDataContentType(), &body)
		if status != want {
			t.Fatalf("%d bytes too many: status %d, %v", extra, status, f)
		}
		if status != 200 {
			continue
		}
		res, err := http.Get(server.URL + files + "/" + f["id"].(string) + "/content")
		check(t, err)
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	}
}

// FuzzUpload sends forms of any kind: the answer is a file below /mnt/data whose content comes back, or a client's error.
func FuzzUpload(f *testing.F) {
	f.Add(fileForm("a", "x"), boundary, "")
	f.Add(fileForm(`../\"..`, "x"), boundary, "gzip")
	f.Add(form("Content-Disposition: form-data; name=file; filename*=utf-8''%00", "x"), boundary, "")
	f.Add(form("Content-Disposition: form-data; name=file; filename=a\r\nContent-Type: text/html; x=\"\\\"\"", "x"), boundary, "")
	f.Add(form("Content-Disposition: form-data; name=file; filename=a\r\nContent-Transfer-Encoding: quoted-printable", "=3D=\r\n"), boundary, "")
	f.Add("--\r\n\r\n----\r\n", "", "identity")
	s := newContainers(f, containers.Options{MaxFileBytes: 1000, MaxContainerBytes: 1 << 30, MaxFiles: 1 << 20}, nil)
	files := "/v1/containers/" + newContainer(f, s) + "/files"
	f.Fuzz(func(t *testing.T, body, boundary, encoding string) {
		res := do(s, "POST", files, strings.NewReader(body), "Content-Type: multipart/form-data; boundary="+boundary, "Content-Encoding: "+encoding)
		data, _ := io.ReadAll(res.Body)
		if res.StatusCode >= 400 && res.StatusCode < 500 {
			return
		}
		var file struct {
			ID, Path string
			Bytes    int
		}
		if err := json.Unmarshal(data, &file); err != nil || res.StatusCode != 200 {
			t.Fatalf("status %d: %s", res.StatusCode, data)
		}
		name, below := strings.CutPrefix(file.Path, "/mnt/data/")
		if !below || name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00\r\n") || len(name) > 255 {
			t.Errorf("path %q", file.Path)
		}
		res = do(s, "GET", files+"/"+file.ID+"/content", nil)
		content, _ := io.ReadAll(res.Body)
		if len(content) != file.Bytes || len(content) > 1000 || !strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment") ||
			strings.ContainsAny(res.Header.Get("Content-Disposition")+res.Header.Get("Content-Type"), "\r\n\x00") {
			t.Errorf("content of %d bytes with headers %v, file %+v", len(content), res.Header, file)
		}
	})
}

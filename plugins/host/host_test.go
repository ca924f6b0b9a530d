package host_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"chorale/plugins/host"
	"chorale/sandbox"
	"chorale/toolhost/egress"
)

const (
	rw     = sandbox.Read | sandbox.Write
	create = rw | sandbox.Create
)

// serve starts a server and returns its origin, and a client whose policy allows it.
func serve(t testing.TB, o egress.Options, h http.HandlerFunc) (string, *egress.Client) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	rule, err := egress.ParseRule(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Policy = egress.NewPolicy("the test", rule)
	c, err := egress.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s.URL, c
}

func open(t testing.TB, fs *host.FS, name string, how sandbox.Flag) sandbox.File {
	t.Helper()
	f, err := fs.Open(name, how)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// An answer is what guests read.
type answer struct {
	Status     int
	URL        string
	Headers    map[string]string
	Body       *string
	BodyBase64 []byte `json:"body_base64"`
	Error      *struct{ Code, Message, Rule string }
}

// ask writes a request and reads its answer, in small pieces.
func ask(t testing.TB, f sandbox.File, request string) answer {
	t.Helper()
	for i := 0; i < len(request); i += 1000 {
		if _, err := f.WriteAt([]byte(request[i:min(i+1000, len(request))]), int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	var a answer
	text := read(t, f)
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return a
}

func read(t testing.TB, f sandbox.File) string {
	t.Helper()
	if w, ok := f.(sandbox.Waiter); ok {
		<-w.Ready()
	}
	var text strings.Builder
	for at := int64(0); ; {
		p := make([]byte, 100)
		n, err := f.ReadAt(p, at)
		at += int64(n)
		text.Write(p[:n])
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// echo answers with the request.
func echo(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/binary":
		w.Write([]byte{0xff, 0, 1})
		return
	case "/twice":
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.WriteHeader(404)
		return
	case "/redirect":
		http.Redirect(w, r, "/landed", http.StatusFound)
		return
	case "/away":
		http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		return
	case "/long":
		w.Write(make([]byte, 2000))
		return
	}
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %q %d", r.Method, r.URL, r.Header["X-A"], body, r.ContentLength)
}

func TestRequests(t *testing.T) {
	t.Parallel()
	origin, c := serve(t, egress.Options{Limits: egress.Limits{ResponseBody: 1000}}, echo)
	f := open(t, host.New(host.Options{Client: c}), "http", rw)
	for _, c := range []struct{ name, request, want string }{
		{"url alone", `{"url": "ORIGIN/x?y=1"}`, `200 GET /x?y=1 [] "" 0`},
		{"white space around", "\n {\"url\": \"ORIGIN\"}\n\n", `200 GET / [] "" 0`},
		{"text body", `{"method":"POST","url":"ORIGIN","body":"täxt"}`, `200 POST / [] "täxt" 5`},
		{"empty body", `{"method":"PUT","url":"ORIGIN","body":""}`, `200 PUT / [] "" 0`},
		{"binary body", `{"method":"POST","url":"ORIGIN","body_base64":"/wAB"}`, `200 POST / [] "\xff\x00\x01" 3`},
		{"header", `{"url":"ORIGIN","headers":{"x-a":"1"}}`, `200 GET / [1] "" 0`},
		{"headers", `{"url":"ORIGIN","headers":{"X-A":["1","2"]}}`, `200 GET / [1 2] "" 0`},
		{"binary response", `{"url":"ORIGIN/binary"}`, `200 base64 /wAB`},
		{"error status and several values", `{"url":"ORIGIN/twice"}`, `404 a=1, b=2`},
		{"redirect", `{"url":"ORIGIN/redirect"}`, `200 GET /landed [] "" 0`},
		{"nothing", " \n", "bad_request write a request before"},
		{"no JSON", "GET /", "bad_request the request is no JSON"},
		{"array", "[]", "bad_request the request is no JSON"},
		{"two objects", `{"url":"ORIGIN"}{"url":"ORIGIN"}`, "bad_request there is something behind"},
		{"unknown field", `{"url":"ORIGIN","timeout":1}`, `bad_request the request is no JSON object as it should be: unknown field "timeout"`},
		{"wrong type", `{"url":1}`, "bad_request the request is no JSON"},
		{"wrong header", `{"url":"ORIGIN","headers":{"a":1}}`, "bad_request the request is no JSON object as it should be: the value of a header"},
		{"header null", `{"url":"ORIGIN","headers":{"a":null}}`, "200 GET"},
		{"wrong base64", `{"url":"ORIGIN","body_base64":"?"}`, "bad_request the request is no JSON"},
		{"no url", `{"method":"GET"}`, "bad_request url: missing"},
		{"two bodies", `{"url":"ORIGIN","body":"","body_base64":"AA=="}`, "bad_request body_base64: "},
		{"bad url", `{"url":"http://0x7f.1/"}`, "bad_request url: host: "},
		{"bad scheme", `{"url":"file:///etc/passwd"}`, "bad_request url: scheme: "},
		{"bad method", `{"method":"GET / HTTP/1.1\r\nX: y\r\n","url":"ORIGIN"}`, "bad_request method: "},
		{"injection into a header", `{"url":"ORIGIN","headers":{"a":"b\r\nc: d"}}`, "bad_request header a: "},
		{"injection into a name", `{"url":"ORIGIN","headers":{"a\r\nb":"c"}}`, "bad_request header: "},
		{"denied host", `{"method":"PUT","url":"https://example.com/x?secret=1"}`, `denied PUT https://example.com/x is denied: no rule allows the host; to allow it, add the rule "PUT https://example.com" to the test (rule PUT https://example.com)`},
		{"denied redirect", `{"url":"ORIGIN/away"}`, `denied GET http://169.254.169.254/ (redirected by ORIGIN/away)`},
		{"too long", `{"url":"ORIGIN/long"}`, "limit limit of response body reached: 1000 bytes"},
	} {
		c.request, c.want = strings.ReplaceAll(c.request, "ORIGIN", origin), strings.ReplaceAll(c.want, "ORIGIN", origin)
		a := ask(t, f, c.request) // one file for all, one after the other
		got := fmt.Sprint(a.Status, " ", a.Headers["set-cookie"])
		switch {
		case a.Error != nil:
			got = a.Error.Code + " " + a.Error.Message
			if a.Error.Rule != "" {
				got += " (rule " + a.Error.Rule + ")"
			}
		case a.Body != nil && *a.Body != "":
			got = fmt.Sprint(a.Status, " ", *a.Body)
		case a.BodyBase64 != nil:
			got = fmt.Sprint(a.Status, " base64 ", base64.StdEncoding.EncodeToString(a.BodyBase64))
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
		if a.Error == nil && (a.Headers["date"] == "" || !strings.HasPrefix(a.URL, origin)) {
			t.Errorf("%s: header %v, URL %s", c.name, a.Headers, a.URL)
		}
		if rest := read(t, f); rest != "" {
			t.Errorf("%s: behind the end: %q", c.name, rest)
		}
	}
	if err := f.Truncate(0); err != nil {
		t.Error(err)
	}
	if info, err := f.Stat(); err != nil || info.Size != 0 || info.Type != sandbox.TypeRegular {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestRequestsFailInWords(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	origin, c := serve(t, egress.Options{Limits: egress.Limits{Total: 20 * time.Millisecond, Requests: 2}}, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	fs := host.New(host.Options{Client: c})
	for _, want := range []string{"timeout limit of total time", "timeout limit of total time", "limit limit of requests reached: 2"} {
		if a := ask(t, open(t, fs, "http", rw), `{"url":"`+origin+`"}`); a.Error == nil || !strings.HasPrefix(a.Error.Code+" "+a.Error.Message, want) {
			t.Errorf("%+v, want %s", a.Error, want)
		}
	}
	// Another call counts anew.
	if a := ask(t, open(t, host.New(host.Options{Client: c}), "http", rw), `{"url":"`+origin+`"}`); a.Error == nil || a.Error.Code != "timeout" {
		t.Errorf("%+v", a.Error)
	}
	dead := httptest.NewServer(nil)
	dead.Close()
	rule, _ := egress.ParseRule(dead.URL)
	c, _ = egress.New(egress.Options{Policy: egress.NewPolicy("", rule)})
	if a := ask(t, open(t, host.New(host.Options{Client: c}), "http", rw), `{"url":"`+dead.URL+`"}`); a.Error == nil || a.Error.Code != "unreachable" {
		t.Errorf("%+v", a.Error)
	}
}

func TestRequestLimit(t *testing.T) {
	t.Parallel()
	origin, c := serve(t, egress.Options{}, echo)
	f := open(t, host.New(host.Options{Client: c, Limits: host.Limits{Request: 100}}), "http", rw)
	if _, err := f.WriteAt(make([]byte, 101), 0); !errors.Is(err, sandbox.EFBIG) {
		t.Error(err)
	}
	if a := ask(t, f, `{"url":"`+origin+`"}`); a.Status != 200 {
		t.Errorf("afterwards: %+v", a.Error)
	}
}

// However many files a guest opens, the host keeps no more than the limit for it.
func TestWhatOpenFilesHold(t *testing.T) {
	t.Parallel()
	origin, c := serve(t, egress.Options{}, func(w http.ResponseWriter, r *http.Request) { w.Write(bytes.Repeat([]byte("x"), 600)) })
	kv := host.NewMemStore(host.StoreLimits{})
	kv.Set("large", make([]byte, 900))
	fs := host.New(host.Options{Client: c, KV: kv, Limits: host.Limits{Held: 1000}})
	request := []byte(`{"url":"` + origin + `"}`)
	for range 3 { // what is closed, and what was read over, is free again
		a, b, d := open(t, fs, "http", rw), open(t, fs, "http", rw), open(t, fs, "kv/small", create)
		if x := ask(t, a, string(request)); x.Status != 200 {
			t.Errorf("the first: %+v", x.Error)
		}
		if x := ask(t, b, string(request)); x.Error == nil || x.Error.Code != "limit" {
			t.Errorf("an answer beside another: %+v", x)
		}
		if _, err := b.WriteAt(make([]byte, 600), 0); !errors.Is(err, sandbox.ENOSPC) {
			t.Errorf("a request beside the answer: %v", err)
		}
		if _, err := d.WriteAt(make([]byte, 600), 0); !errors.Is(err, sandbox.ENOSPC) {
			t.Errorf("a value beside the answer: %v", err)
		}
		if _, err := fs.Open("kv/large", sandbox.Read); !errors.Is(err, sandbox.ENOSPC) {
			t.Errorf("a value that is read beside the answer: %v", err)
		}
		if x := ask(t, a, string(request)); x.Status != 200 {
			t.Errorf("again: %+v", x.Error)
		}
		for _, f := range []sandbox.File{a, b, d} {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		f := open(t, fs, "kv/large", rw)
		if _, err := open(t, fs, "http", rw).WriteAt(make([]byte, 101), 0); !errors.Is(err, sandbox.ENOSPC) {
			t.Errorf("a request beside the value: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRequestsRunAtTheSameTime(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	all.Add(3)
	origin, c := serve(t, egress.Options{}, func(w http.ResponseWriter, r *http.Request) {
		all.Done()
		all.Wait() // none is answered before all have come
	})
	fs := host.New(host.Options{Client: c})
	var files []sandbox.File
	for range 3 {
		f := open(t, fs, "http", rw)
		f.WriteAt([]byte(`{"url":"`+origin+`"}`), 0)
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for _, f := range files {
		if text := read(t, f); !strings.HasPrefix(text, `{"status":200`) {
			t.Error(text)
		}
	}
}

func TestCloseEndsTheRequest(t *testing.T) {
	t.Parallel()
	came, gone := make(chan struct{}), make(chan struct{})
	origin, c := serve(t, egress.Options{}, func(w http.ResponseWriter, r *http.Request) {
		close(came)
		<-r.Context().Done()
		close(gone)
	})
	f := open(t, host.New(host.Options{Client: c}), "http", rw)
	f.WriteAt([]byte(`{"url":"`+origin+`"}`), 0)
	f.Sync()
	<-came
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	<-gone
}

func TestTree(t *testing.T) {
	t.Parallel()
	_, c := serve(t, egress.Options{}, echo)
	kv := host.NewMemStore(host.StoreLimits{})
	if err := kv.Set("key", []byte("value")); err != nil {
		t.Fatal(err)
	}
	full, bare := host.New(host.Options{Client: c, KV: kv}), host.New(host.Options{})
	list := func(fs *host.FS, name string) string {
		entries, err := open(t, fs, name, sandbox.Directory).ReadDir()
		var names []string
		for _, e := range entries {
			info, err := fs.Lstat(strings.TrimPrefix(name+"/"+e.Name, "./"))
			if err != nil || info.Type != e.Type {
				t.Errorf("%s: %+v, %v", e.Name, info, err)
			}
			names = append(names, e.Name)
		}
		return fmt.Sprint(names, err)
	}
	for _, c := range []struct {
		fs         *host.FS
		name, want string
	}{{full, ".", "[http kv log progress]<nil>"}, {bare, ".", "[log progress]<nil>"}, {full, "kv", "[key]<nil>"}} {
		if got := strings.ReplaceAll(list(c.fs, c.name), " <", "<"); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	err := func(_ any, err error) error { return err }
	for name, c := range map[string]struct {
		got  error
		want sandbox.Errno
	}{
		"no such service":          {err(full.Open("x", sandbox.Read)), sandbox.ENOENT},
		"make a service":           {err(full.Open("x", create)), sandbox.EPERM},
		"http without a client":    {err(bare.Open("http", rw)), sandbox.ENOENT},
		"kv without a store":       {err(bare.Open("kv/a", create)), sandbox.EPERM},
		"http only for reading":    {err(full.Open("http", sandbox.Read)), sandbox.EACCES},
		"http only for writing":    {err(full.Open("http", sandbox.Write)), sandbox.EACCES},
		"http as a folder":         {err(full.Open("http", sandbox.Directory)), sandbox.ENOTDIR},
		"http exclusively":         {err(full.Open("http", create|sandbox.Exclusive)), sandbox.EEXIST},
		"write to a folder":        {err(full.Open("kv", sandbox.Write)), sandbox.EISDIR},
		"below a file":             {err(full.Stat("http/x")), sandbox.ENOENT},
		"folder below kv":          {err(full.Open("kv/a/b", create)), sandbox.EINVAL},
		"value as a folder":        {err(full.Open("kv/key", sandbox.Directory)), sandbox.ENOTDIR},
		"value exclusively":        {err(full.Open("kv/key", create|sandbox.Exclusive)), sandbox.EEXIST},
		"no such value":            {err(full.Open("kv/none", rw)), sandbox.ENOENT},
		"no such value's metadata": {err(full.Stat("kv/none")), sandbox.ENOENT},
		"hidden key":               {err(full.Open("kv/.x", create)), sandbox.EINVAL},
		"long key":                 {err(full.Open("kv/"+strings.Repeat("k", 81), create)), sandbox.EINVAL},
		"key with a zero":          {err(full.Open("kv/a\x00", create)), sandbox.EINVAL},
		"key that is no text":      {err(full.Open("kv/\xff", create)), sandbox.EINVAL},
		"link":                     {err(full.Readlink("http")), sandbox.EINVAL},
		"link that is not there":   {err(full.Readlink("x")), sandbox.ENOENT},
		"make a folder":            {full.Mkdir("kv/folder"), sandbox.EPERM},
		"make what is there":       {full.Mkdir("kv"), sandbox.EEXIST},
		"remove http":              {full.Unlink("http"), sandbox.EPERM},
		"remove kv as a file":      {full.Unlink("kv"), sandbox.EISDIR},
		"remove kv":                {full.Rmdir("kv"), sandbox.EPERM},
		"remove http as a folder":  {full.Rmdir("http"), sandbox.ENOTDIR},
		"remove what is not there": {full.Unlink("kv/none"), sandbox.ENOENT},
		"rename http":              {full.Rename("http", "kv/x"), sandbox.EPERM},
		"rename out of kv":         {full.Rename("kv/key", "x"), sandbox.EPERM},
		"rename to a bad key":      {full.Rename("kv/key", "kv/.x"), sandbox.EINVAL},
		"times":                    {full.SetTimes("http", 1, 1), 0},
		"times of nothing":         {full.SetTimes("x", 1, 1), sandbox.ENOENT},
	} {
		if c.want == 0 && c.got != nil || c.want != 0 && !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if value, err := kv.Get("key"); string(value) != "value" || err != nil {
		t.Errorf("the value is %q, %v", value, err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		limits host.Limits
		writes []string
		want   string
	}{
		{"lines", host.Limits{}, []string{"one\ntwo\r\n", "\n", "thr", "ee\nlast"}, "one|two|three|last"},
		{"no text", host.Limits{}, []string{"a\xffb\n"}, "a\uFFFDb"},
		{"long line", host.Limits{}, []string{strings.Repeat("x", host.MaxLine+1) + "y\nz\n"}, strings.Repeat("x", host.MaxLine) + "|xy|z"},
		{"too many lines", host.Limits{LogLines: 2}, []string{"a\nb\nc\nd\n"}, "a|b|the log of this call is full, the rest is dropped"},
		{"too many bytes", host.Limits{LogBytes: 5}, []string{"abcd\nb\nc\n"}, "abcd|the log of this call is full, the rest is dropped"},
	} {
		var got []string
		fs := host.New(host.Options{Limits: c.limits, Log: func(line string) { got = append(got, line) }})
		f := open(t, fs, "log", sandbox.Write|sandbox.Create|sandbox.Truncate)
		for _, w := range c.writes {
			if n, err := f.WriteAt([]byte(w), 0); n != len(w) || err != nil {
				t.Errorf("%s: wrote %d, %v", c.name, n, err)
			}
		}
		if err := f.Close(); err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%s: %.200q, %v, want %.200q", c.name, got, err, c.want)
		}
	}
	if _, err := open(t, host.New(host.Options{}), "log", rw).ReadAt(make([]byte, 1), 0); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var got []string
	fs := host.New(host.Options{Limits: host.Limits{Progress: 4}, Progress: func(m string, f float64) { got = append(got, fmt.Sprintf("%s %v", m, f)) }})
	f := open(t, fs, "progress", sandbox.Write)
	for _, bad := range []string{"half\n", "[]\n", `{"message":1}` + "\n", `{"fraction":2}` + "\n", `{"fraction":-1}` + "\n", `{"percent":3}` + "\n", "{}{}\n"} {
		if _, err := f.WriteAt([]byte(bad), 0); !errors.Is(err, sandbox.EINVAL) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{`{"message":"a"}` + "\n" + `{"fraction"`, ":0.5}\n{}\n", `{"message":"` + strings.Repeat("ü", 600) + "x\"}\n", `{"message":"too many"}` + "\n"} {
		if _, err := f.WriteAt([]byte(good), 0); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if want := "a -1| 0.5| -1|" + strings.Repeat("ü", 512) + " -1"; strings.Join(got, "|") != want {
		t.Errorf("got %q", got)
	}
	f.WriteAt([]byte("half"), 0)
	if err := f.Close(); !errors.Is(err, sandbox.EINVAL) {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	kv := host.NewMemStore(host.StoreLimits{Bytes: 50, Keys: 3, Value: 30})
	fs := host.New(host.Options{KV: kv, Limits: host.Limits{OpenValue: 20}})
	get := func(key string) string {
		v, err := kv.Get(key)
		if err != nil {
			return "none"
		}
		return string(v)
	}
	write := func(f sandbox.File, s string, at int64) {
		t.Helper()
		if _, err := f.WriteAt([]byte(s), at); err != nil {
			t.Error(err)
		}
	}
	f := open(t, fs, "kv/a", create)
	write(f, "hello", 2)
	old := open(t, fs, "kv/a", create) // nothing is there yet
	if got := get("a") + read(t, old); got != "none" {
		t.Errorf("before it is closed: %q", got)
	}
	if err := f.Sync(); err != nil || get("a") != "\x00\x00hello" {
		t.Errorf("synced: %q, %v", get("a"), err)
	}
	write(f, "x", 0)
	f.Truncate(3)
	if info, _ := f.Stat(); info.Size != 3 {
		t.Errorf("size %d", info.Size)
	}
	if err := f.Close(); err != nil || get("a") != "x\x00h" {
		t.Errorf("closed: %q, %v", get("a"), err)
	}
	write(old, "last wins", 0)
	if err := old.Close(); err != nil || get("a") != "last wins" {
		t.Errorf("the other: %q, %v", get("a"), err)
	}
	if err := open(t, fs, "kv/a", sandbox.Read).Close(); err != nil || get("a") != "last wins" {
		t.Errorf("read: %q, %v", get("a"), err)
	}
	if err := open(t, fs, "kv/a", rw|sandbox.Truncate).Close(); err != nil || get("a") != "" {
		t.Errorf("emptied: %q, %v", get("a"), err)
	}
	if err := open(t, fs, "kv/empty", create).Close(); err != nil || get("empty") != "" {
		t.Errorf("made: %q, %v", get("empty"), err)
	}
	f = open(t, fs, "kv/a", rw)
	for name, err := range map[string]error{
		"write beyond the limit":    func() error { _, err := f.WriteAt([]byte("x"), 20); return err }(),
		"far beyond the limit":      func() error { _, err := f.WriteAt([]byte("x"), 1<<40); return err }(),
		"truncate beyond the limit": f.Truncate(21),
	} {
		if !errors.Is(err, sandbox.ENOSPC) {
			t.Errorf("%s: %v", name, err)
		}
	}
	write(f, strings.Repeat("x", 20), 0)
	f.Close()
	f = open(t, fs, "kv/b", create)
	if _, err := f.WriteAt(make([]byte, 20), 0); err != nil { // 1+20+5+1+20 = 47 bytes
		t.Error(err)
	}
	g := open(t, fs, "kv/empty", rw)
	if _, err := g.WriteAt(make([]byte, 10), 0); err != nil { // it still fits
		t.Error(err)
	}
	if err := errors.Join(f.Close(), g.Close()); !errors.Is(err, sandbox.ENOSPC) || len(get("b")) != 20 || get("empty") != "" {
		t.Errorf("two that fit alone: %v, %q %q", err, get("b"), get("empty"))
	}
	if _, err := fs.Open("kv/d", create); !errors.Is(err, sandbox.ENOSPC) {
		t.Errorf("a key too many: %v", err)
	}
	if err := fs.Rename("kv/b", "kv/a"); err != nil || get("b") != "none" || get("a") != strings.Repeat("\x00", 20) {
		t.Errorf("renamed: %q %q, %v", get("b"), get("a"), err)
	}
	if err := fs.Rename("kv/a", "kv/a"); err != nil || len(get("a")) != 20 {
		t.Errorf("renamed to itself: %q, %v", get("a"), err)
	}
	if err := fs.Rename("kv/a", "kv/"+strings.Repeat("l", 60)); !errors.Is(err, sandbox.ENOSPC) || len(get("a")) != 20 {
		t.Errorf("renamed to what does not fit: %q, %v", get("a"), err)
	}
	if err := fs.Unlink("kv/a"); err != nil || get("a") != "none" {
		t.Errorf("removed: %q, %v", get("a"), err)
	}
}

func TestServicesAreSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	origin, c := serve(t, egress.Options{}, echo)
	var mu sync.Mutex
	lines := 0
	kv := host.NewMemStore(host.StoreLimits{})
	fs := host.New(host.Options{Client: c, KV: kv, Log: func(string) { mu.Lock(); lines++; mu.Unlock() }})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			f := open(t, fs, "http", rw)
			for j := range 5 {
				if a := ask(t, f, fmt.Sprintf(`{"url":"%s/%d/%d"}`, origin, i, j)); a.Body == nil || !strings.Contains(*a.Body, fmt.Sprintf("/%d/%d ", i, j)) {
					t.Errorf("%+v", a)
				}
			}
			v := open(t, fs, fmt.Sprintf("kv/%d", i), create)
			v.WriteAt([]byte("x"), 0)
			v.Close()
			open(t, fs, "log", sandbox.Write).WriteAt([]byte("x\n"), 0)
		})
	}
	all.Wait()
	if keys, _ := kv.Keys(); len(keys) != 8 || lines != 8 {
		t.Errorf("%d keys, %d lines", len(keys), lines)
	}
}

func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		`{"method":"POST","url":"https://a.example/x","headers":{"a":"b","c":["d"]},"body":"x"}`, `{"url":"http://127.0.0.1","body_base64":"AA=="}`, "[]", "{}{}", `{"URL":1}`,
	} {
		f.Add([]byte(s))
	}
	c, err := egress.New(egress.Options{}) // allows nothing
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		file := open(t, host.New(host.Options{Client: c}), "http", rw)
		if a := ask(t, file, string(request)); a.Error == nil || a.Error.Code != "bad_request" && a.Error.Code != "denied" && a.Error.Code != "limit" || a.Error.Message == "" {
			t.Errorf("%+v", a)
		}
	})
}

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"chorale/sandbox"
	"chorale/toolhost/egress"
)

// A request is what a guest writes to /host/http.
type request struct {
	Method     string            `json:"method,omitempty"`
	URL        string            `json:"url"`
	Headers    map[string]values `json:"headers,omitempty"`
	Body       *string           `json:"body,omitempty"`
	BodyBase64 []byte            `json:"body_base64,omitempty"`

	ctx context.Context // ends with the file: a request is made for one use of it
}

// values are those of one header: a string, or an array of strings.
type values []string

func (v *values) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*v = values{one}
		return nil
	}
	var many []string
	if json.Unmarshal(b, &many) != nil || many == nil {
		return errors.New("the value of a header must be a string or an array of strings")
	}
	*v = many
	return nil
}

// An answer is what a guest reads: a response, or an error and nothing else.
type answer struct {
	Status     int               `json:"status,omitempty"`
	URL        string            `json:"url,omitempty"`
	Headers    map[string]string `json:"headers,omitzero"`
	Body       *string           `json:"body,omitempty"`
	BodyBase64 []byte            `json:"body_base64,omitempty"`
	Error      *failure          `json:"error,omitempty"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Rule    string `json:"rule,omitempty"`
}

// The codes of failures.
const (
	codeBadRequest  = "bad_request"
	codeDenied      = "denied"
	codeLimit       = "limit"
	codeTimeout     = "timeout"
	codeUnreachable = "unreachable"
	codeReplay      = "replay"
)

func failed(code, format string, args ...any) *answer {
	return &answer{Error: &failure{Code: code, Message: fmt.Sprintf(format, args...)}}
}

// parseRequest reads what a guest wrote. Unknown fields are mistakes that would go unnoticed.
func parseRequest(text []byte) (request, error) {
	var r request
	if len(bytes.TrimSpace(text)) == 0 {
		return r, errors.New("write a request before you read: {\"url\": \"https://…\"}")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("the request is no JSON object as it should be: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("there is something behind the JSON object of the request")
	}
	switch {
	case r.URL == "":
		return r, errors.New("url: missing")
	case r.Body != nil && r.BodyBase64 != nil:
		return r, errors.New("body_base64: there is a body already")
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	return r, nil
}

func (r request) body() []byte {
	if r.Body != nil {
		return []byte(*r.Body)
	}
	return r.BodyBase64
}

// doer makes requests with a client.
func doer(c *egress.Client) func(request) *answer {
	return func(r request) *answer {
		a, err := do(c, r)
		if err != nil {
			return explain(err)
		}
		return a
	}
}

func do(c *egress.Client, r request) (*answer, error) {
	u, err := egress.ParseURL(r.URL)
	if err != nil {
		return nil, &egress.RequestError{Err: err}
	}
	header := http.Header{}
	for name, list := range r.Headers {
		header[name] = append(header[name], list...)
	}
	req := (&http.Request{Method: r.Method, URL: u, Header: header}).WithContext(r.ctx)
	if body := r.body(); len(body) > 0 {
		req.ContentLength = int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
	}
	resp, err := c.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	out := &answer{Status: resp.StatusCode, URL: resp.Request.URL.String(), Headers: map[string]string{}}
	for name, list := range resp.Header {
		out.Headers[strings.ToLower(name)] = strings.ToValidUTF8(strings.Join(list, ", "), "\uFFFD")
	}
	if utf8.Valid(body) {
		text := string(body)
		out.Body = &text
	} else {
		out.BodyBase64 = body
	}
	return out, nil
}

// explain makes an answer of an error.
func explain(err error) *answer {
	var bad *egress.RequestError
	var denied *egress.DeniedError
	var limit *egress.LimitError
	switch {
	case errors.As(err, &bad):
		return failed(codeBadRequest, "%v", bad)
	case errors.As(err, &denied):
		a := failed(codeDenied, "%v", denied)
		a.Error.Rule = denied.Rule
		return a
	case errors.As(err, &limit) && strings.HasSuffix(limit.Limit, "time"), errors.Is(err, context.DeadlineExceeded):
		return failed(codeTimeout, "%v", err)
	case errors.As(err, &limit):
		return failed(codeLimit, "%v", limit)
	}
	return failed(codeUnreachable, "%v", err)
}

// An httpFile is one open /host/http. It implements sandbox.Waiter.
type httpFile struct {
	fs   *FS
	info sandbox.Info

	mu      sync.Mutex // guards everything below
	request []byte     // as far as it was written
	flight  *flight    // the request that was sent; a write ends it and begins the next
}

// A flight is a request under way and its answer.
type flight struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when text is there
	text   []byte        // what was not read
	held   int
}

func newHTTPFile(f *FS, info sandbox.Info) *httpFile { return &httpFile{fs: f, info: info} }

// send makes the request that was written, unless it was made. The caller holds mu.
func (f *httpFile) send() *flight {
	if f.flight != nil {
		return f.flight
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &flight{cancel: cancel, done: make(chan struct{})}
	f.flight = x
	text := f.request
	f.request = nil
	go func() {
		defer close(x.done)
		a := f.fs.answer(ctx, text)
		f.fs.hold(-len(text))
		if x.text = encode(a); !f.fs.hold(len(x.text)) {
			const text = "the answer is too large beside what other open files hold: %d bytes, at most %d"
			x.text = encode(failed(codeLimit, text, len(x.text), f.fs.limits.Held))
			return
		}
		x.held = len(x.text)
	}()
	return x
}

func (f *FS) answer(ctx context.Context, text []byte) *answer {
	r, err := parseRequest(text)
	if err != nil {
		return failed(codeBadRequest, "%v", err)
	}
	r.ctx = ctx
	return f.http(r)
}

func encode(a *answer) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(a); err != nil {
		panic(err) // strings, numbers and bytes always can
	}
	return b.Bytes()
}

// end gives the request up, if there is one, and waits for it. The caller holds mu.
func (f *httpFile) end() {
	if f.flight != nil {
		f.flight.cancel()
		<-f.flight.done
		f.fs.hold(-f.flight.held)
	}
	f.flight = nil
}

// forget drops a request that was not sent. The caller holds mu.
func (f *httpFile) forget() {
	f.fs.hold(-len(f.request))
	f.request = nil
}

// WriteAt implements sandbox.File. It appends to the request, or begins the next one.
func (f *httpFile) WriteAt(p []byte, _ int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flight != nil && len(p) > 0 {
		f.end()
	}
	if len(f.request)+len(p) > f.fs.limits.Request {
		f.forget()
		return 0, sandbox.EFBIG
	}
	if !f.fs.hold(len(p)) {
		f.forget()
		return 0, sandbox.ENOSPC
	}
	f.request = append(f.request, p...)
	return len(p), nil
}

// Ready implements sandbox.Waiter: the first read sends the request.
func (f *httpFile) Ready() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.send().done
}

// ReadAt implements sandbox.File. It goes on where the last read ended.
func (f *httpFile) ReadAt(p []byte, _ int64) (int, error) {
	<-f.Ready()
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.send()
	if len(x.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, x.text)
	x.text = x.text[n:]
	return n, nil
}

// Sync implements sandbox.File: it sends the request and does not wait.
func (f *httpFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.request) > 0 {
		f.send()
	}
	return nil
}

// Close implements sandbox.File. It ends a request under way.
func (f *httpFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end()
	f.forget()
	return nil
}

// Stat implements sandbox.File. The size is 0, as of other files that are made while they are read.
func (f *httpFile) Stat() (sandbox.Info, error)       { return f.info, nil }
func (f *httpFile) Truncate(int64) error              { return nil }
func (f *httpFile) ReadDir() ([]sandbox.Entry, error) { return nil, sandbox.ENOTDIR }

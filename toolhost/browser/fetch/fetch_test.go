package fetch_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chorale/toolhost/browser/fetch"
	"chorale/toolhost/egress"
)

// public is the address that every name of a web has.
var public = netip.MustParseAddr("93.184.216.34")

// secureHost is one that Chromium trusts like https, so that pages have what only these get.
const secureHost = "app.localhost"

// A web is an internet whose every host is one test server, and a secret on loopback that nobody may reach.
type web struct {
	mux     *http.ServeMux
	secret  string       // host:port
	reached atomic.Int64 // connections to the secret, TCP and UDP
	lookup  func(ctx context.Context, name string) ([]netip.Addr, error)
	address string // of the test server
}

func newWeb(t testing.TB) *web {
	t.Helper()
	w := &web{mux: http.NewServeMux()}
	server := httptest.NewServer(w.mux)
	t.Cleanup(server.Close)
	w.address = server.Listener.Addr().String()
	w.lookup = func(_ context.Context, name string) ([]netip.Addr, error) {
		switch name = strings.TrimSuffix(name, "."); {
		case strings.HasSuffix(name, "rebound.example"):
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		case strings.HasSuffix(name, "mixed.example"):
			return []netip.Addr{public, netip.MustParseAddr("127.0.0.1")}, nil
		case strings.HasSuffix(name, "mapped.example"):
			return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
		case strings.HasSuffix(name, ".example"), name == "www.example.com", name == secureHost:
			return []netip.Addr{public}, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.secret = l.Addr().String()
	p, err := net.ListenPacket("udp", w.secret)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			w.reached.Add(1)
			go func() {
				c.SetDeadline(time.Now().Add(time.Second))
				c.Read(make([]byte, 1024))
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nAccess-Control-Allow-Origin: *\r\n\r\nSECRET")
				c.Close()
			}()
		}
		done <- struct{}{}
	}()
	go func() {
		for b := make([]byte, 2048); ; {
			if _, _, err := p.ReadFrom(b); err != nil {
				break
			}
			w.reached.Add(1)
		}
		done <- struct{}{}
	}()
	t.Cleanup(func() {
		l.Close()
		p.Close()
		<-done
		<-done
		if n := w.reached.Load(); n != 0 {
			t.Errorf("%d connections or packets have reached the secret", n)
		}
	})
	return w
}

// dial leads every public address to the test server, and what else was let through to where it is.
func (w *web) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if strings.HasPrefix(address, public.String()+":") {
		address = w.address
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (w *web) page(path, typ, body string) {
	w.mux.HandleFunc(path, func(rw http.ResponseWriter, _ *http.Request) {
		if typ != "" {
			rw.Header().Set("Content-Type", typ)
		}
		io.WriteString(rw, body)
	})
}

func (w *web) fetcher(t testing.TB, change func(*fetch.Options)) *fetch.Fetcher {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	o := fetch.Options{Render: fetch.Never, Lookup: w.lookup, Dial: w.dial, Logger: log}
	if change != nil {
		change(&o)
	}
	f, err := fetch.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (w *web) session(t testing.TB, change func(*fetch.Options)) *fetch.Session {
	t.Helper()
	s := w.fetcher(t, change).Session()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func wantError(t *testing.T, err error, kind fetch.Kind, part string) {
	t.Helper()
	var e *fetch.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T), want an *Error", err, err)
	}
	if e.Kind != kind || !strings.Contains(e.Message, part) {
		t.Errorf("error is %q: %q, want %q with %q", e.Kind, e.Message, kind, part)
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	w.page("/html", "text/html; charset=ISO-8859-1", "<p>caf\xe9")
	w.page("/sniffed", "application/octet-stream", "<!doctype html><p>x")
	w.page("/pdf", "application/octet-stream", "%PDF-1.7\n")
	w.page("/wrong", "text/html", "%PDF-1.7\n")
	w.page("/plainpdf", "text/plain", "%PDF-1.7\n")
	w.page("/json", "application/json", `{"a":1}`)
	w.page("/feed", "application/atom+xml", `<feed/>`)
	w.page("/csv", "text/csv", "a,b\n1,2\n")
	w.page("/empty", "", "")
	w.page("/broken", "text/html;;;", "<p>x")
	w.mux.Handle("/old", http.RedirectHandler("/html", http.StatusMovedPermanently))
	w.mux.Handle("/other", http.RedirectHandler("//b.example/json?q=1#part", http.StatusTemporaryRedirect))
	w.page("/meta", "text/html", `<meta http-equiv="refresh" content="0; url=/csv">`)
	for _, tt := range []struct{ path, url, mime, charset, body string }{
		{"/html#frag", "/html", "text/html", "iso-8859-1", "<p>caf\xe9"},
		{"/sniffed", "/sniffed", "text/html", "", "<!doctype html><p>x"},
		{"/pdf", "/pdf", "application/pdf", "", "%PDF-1.7\n"},
		{"/wrong", "/wrong", "application/pdf", "", "%PDF-1.7\n"},
		{"/plainpdf", "/plainpdf", "application/pdf", "", "%PDF-1.7\n"},
		{"/json", "/json", "application/json", "", `{"a":1}`},
		{"/feed", "/feed", "application/atom+xml", "", "<feed/>"},
		{"/csv", "/csv", "text/csv", "", "a,b\n1,2\n"},
		{"/empty", "/empty", "text/plain", "", ""},
		{"/broken", "/broken", "text/html", "", "<p>x"},
		{"/old", "/html", "text/html", "iso-8859-1", "<p>caf\xe9"},
		{"/other", "http://b.example/json?q=1", "application/json", "", `{"a":1}`},
		{"/meta", "/csv", "text/csv", "", "a,b\n1,2\n"},
	} {
		t.Run(strings.Trim(tt.path, "/"), func(t *testing.T) {
			asked := "http://a.example" + tt.path
			d, err := w.session(t, nil).Get(t.Context(), asked)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(tt.url, "/") {
				tt.url = "http://a.example" + tt.url
			}
			if d.URL != tt.url || d.Requested != asked || d.MIME != tt.mime || d.Charset != tt.charset ||
				string(d.Body) != tt.body || d.Status != 200 || d.Rendered || d.Truncated {
				t.Errorf("got %+v with body %q, want %+v", d, d.Body, tt)
			}
		})
	}
}

func TestGetEncodings(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	want := "<p>" + strings.Repeat("compressed ", 100)
	packed := func(name string) []byte {
		var b bytes.Buffer
		var z io.WriteCloser
		switch name {
		case "gzip", "twice":
			z = gzip.NewWriter(&b)
		case "deflate":
			z = zlib.NewWriter(&b)
		default:
			b.WriteString(want)
			return b.Bytes()
		}
		io.WriteString(z, want)
		z.Close()
		return b.Bytes()
	}
	w.mux.HandleFunc("/{name}", func(rw http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		rw.Header().Set("Content-Type", "text/html")
		rw.Header().Set("Content-Encoding", name)
		rw.Write(packed(name))
	})
	for _, name := range []string{"gzip", "deflate", "identity"} {
		d, err := w.session(t, nil).Get(t.Context(), "http://a.example/"+name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if string(d.Body) != want {
			t.Errorf("%s: got %q", name, d.Body)
		}
	}
	_, err := w.session(t, nil).Get(t.Context(), "http://a.example/br")
	wantError(t, err, fetch.Type, "compressed in a way that was not asked for")
}

func TestGetErrors(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	w.mux.HandleFunc("/status/{code}", func(rw http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.PathValue("code"), &code)
		rw.WriteHeader(code)
	})
	w.page("/png", "image/png", "\x89PNG\r\n\x1a\n")
	w.page("/zip", "application/zip", "PK\x03\x04")
	w.page("/exe", "text/plain", "MZ\x00\x00\x01\x02\x03")
	w.page("/video", "video/mp4", "x")
	w.mux.HandleFunc("/loop", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/loop", http.StatusFound) })
	w.mux.HandleFunc("/to", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Location", r.URL.Query().Get("u"))
		rw.WriteHeader(http.StatusFound)
	})
	w.mux.HandleFunc("/hop", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "http://b.example/to?u=http://"+w.secret+"/", http.StatusTemporaryRedirect)
	})
	w.mux.HandleFunc("/meta", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(rw, `<meta http-equiv=refresh content="0;url=http://%s/">`, w.secret)
	})
	w.mux.HandleFunc("/metaloop", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(rw, `<meta http-equiv=refresh content="0;url=/metaloop?%s">`, r.URL.RawQuery+"x")
	})
	_, port, _ := net.SplitHostPort(w.secret)
	for _, tt := range []struct {
		url  string
		kind fetch.Kind
		part string
	}{
		{"", fetch.BadURL, "empty"},
		{"example.com/x", fetch.BadURL, "must begin with https://"},
		{"file:///etc/passwd", fetch.BadURL, `not "file"`},
		{"FILE:/etc/passwd", fetch.BadURL, "only http and https"},
		{"data:text/html,<p>x", fetch.BadURL, `not "data"`},
		{"javascript:alert(1)", fetch.BadURL, `not "javascript"`},
		{"blob:http://a.example/1", fetch.BadURL, `not "blob"`},
		{"chrome://settings", fetch.BadURL, `not "chrome"`},
		{"about:blank", fetch.BadURL, `not "about"`},
		{"ftp://a.example/", fetch.BadURL, `not "ftp"`},
		{"ws://a.example/", fetch.BadURL, `not "ws"`},
		{"view-source:http://a.example/", fetch.BadURL, "ask for the source"},
		{"view-source:file:///etc/passwd", fetch.BadURL, "ask for the source"},
		{"http:/a.example", fetch.BadURL, "host"},
		{"http://", fetch.BadURL, "host"},
		{"http://user:pass@a.example/", fetch.BadURL, "passwords"},
		{"http://a.example@127.0.0.1/", fetch.BadURL, "passwords"},
		{"http://a.example\\@127.0.0.1/", fetch.BadURL, "percent-encoded"},
		{"http://2130706433/", fetch.BadURL, "usual form"},
		{"http://0x7f000001/", fetch.BadURL, "usual form"},
		{"http://0177.0.0.1/", fetch.BadURL, "usual form"},
		{"http://127.1/", fetch.BadURL, "usual form"},
		{"http://[::ffff:127.0.0.1]/", fetch.BadURL, "another spelling"},
		{"http://[fe80::1%25eth0]/", fetch.BadURL, "zone"},
		{"http://127.0.0.1:" + port + "/", fetch.Denied, "loopback"},
		{"http://[::1]:" + port + "/", fetch.Denied, "loopback"},
		{"http://①②⑦.0.0.1:" + port + "/", fetch.Denied, "loopback"},
		{"http://[::127.0.0.1]/", fetch.Denied, "IPv4-compatible"},
		{"http://[64:ff9b::7f00:1]/", fetch.Denied, "NAT64"},
		{"http://169.254.169.254/latest/", fetch.Denied, "metadata"},
		{"http://10.0.0.1/", fetch.Denied, "private"},
		{"http://rebound.example:" + port + "/", fetch.Denied, "loopback"},
		{"http://mixed.example:" + port + "/", fetch.Denied, "loopback"},
		{"http://mapped.example:" + port + "/", fetch.Denied, "loopback"},
		{"http://a.example:25/", fetch.Denied, "port 25"},
		{"http://a.example:6667/", fetch.Denied, "port 6667"},
		{"http://unknown.invalid/", fetch.Network, "there is no host unknown.invalid"},
		{"http://a.example/status/404", fetch.HTTP, "404 (Not Found)"},
		{"http://a.example/status/500", fetch.HTTP, "500 (Internal Server Error)"},
		{"http://a.example/status/304", fetch.HTTP, "304"},
		{"http://a.example/png", fetch.Type, "an image (image/png, 8 bytes)"},
		{"http://a.example/zip", fetch.Type, "a file (application/zip, 4 bytes)"},
		{"http://a.example/exe", fetch.Type, "a file"},
		{"http://a.example/video", fetch.Type, "a video"},
		{"http://a.example/loop", fetch.Network, "more than 10 redirects"},
		{"http://a.example/hop", fetch.Denied, "loopback"},
		{"http://a.example/meta", fetch.Denied, "loopback"},
		{"http://a.example/to?u=file:///etc/passwd", fetch.BadURL, "only http and https"},
		{"http://a.example/to?u=//rebound.example:" + port + "/", fetch.Denied, "loopback"},
		{"http://a.example/to?u=http://a.example:22/", fetch.Denied, "port 22"},
	} {
		_, err := w.session(t, nil).Get(t.Context(), tt.url)
		if err == nil {
			t.Errorf("%s: no error", tt.url)
			continue
		}
		t.Run(strings.ReplaceAll(tt.url, "/", "_"), func(t *testing.T) { wantError(t, err, tt.kind, tt.part) })
	}
	if d, err := w.session(t, nil).Get(t.Context(), "http://a.example/metaloop"); err != nil || len(d.Body) == 0 {
		t.Errorf("pages that refresh for ever: %v", err)
	}
}

func TestGetPrivateRule(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	w.page("/", "text/html", "<p>intranet")
	policy, err := egress.ParsePolicy("test", "http://wiki.rebound.example:* at 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(w.address)
	s := w.session(t, func(o *fetch.Options) { o.Policy = policy })
	if d, err := s.Get(t.Context(), "http://wiki.rebound.example:"+port+"/"); err != nil || string(d.Body) != "<p>intranet" {
		t.Errorf("got %v, %v", d, err)
	}
	_, err = s.Get(t.Context(), "http://other.rebound.example:"+port+"/")
	wantError(t, err, fetch.Denied, "loopback")
}

func TestSource(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	const page = `<meta http-equiv="refresh" content="0;url=/x"><script>x()</script>`
	w.page("/", "text/html", page)
	d, err := w.session(t, nil).Source(t.Context(), "http://a.example/")
	if err != nil || string(d.Body) != page {
		t.Errorf("got %v, %v", d, err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	w.mux.HandleFunc("/endless", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		for block := bytes.Repeat([]byte("endless "), 1024); ; {
			if _, err := rw.Write(block); err != nil {
				return
			}
		}
	})
	w.mux.HandleFunc("/bomb", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		rw.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(rw)
		for block := make([]byte, 1<<20); ; {
			if _, err := z.Write(block); err != nil {
				return
			}
		}
	})
	w.mux.HandleFunc("/drip", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		io.WriteString(rw, "<p>a beginning"+strings.Repeat(" ", 600))
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	w.mux.HandleFunc("/silent", func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.mux.HandleFunc("/short", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "1000000")
		rw.Header().Set("Content-Type", "text/plain")
		io.WriteString(rw, strings.Repeat("cut off ", 100))
	})
	w.page("/ok", "text/plain", strings.Repeat("x", 1000))
	t.Run("a body without an end", func(t *testing.T) {
		t.Parallel()
		s := w.session(t, func(o *fetch.Options) { o.Limits.Body = 100_000 })
		for _, path := range []string{"endless", "bomb"} {
			d, err := s.Get(t.Context(), "http://a.example/"+path)
			if err != nil || len(d.Body) != 100_000 || !d.Truncated {
				t.Errorf("%s: %v, %d bytes", path, err, len(d.Body))
			}
		}
	})
	t.Run("a body that is broken off", func(t *testing.T) {
		t.Parallel()
		d, err := w.session(t, nil).Get(t.Context(), "http://a.example/short")
		if err != nil || len(d.Body) != 800 || !d.Truncated {
			t.Errorf("%+v, %v", d, err)
		}
	})
	t.Run("a body that drips", func(t *testing.T) {
		t.Parallel()
		s := w.session(t, func(o *fetch.Options) { o.Limits.Page = 50 * time.Millisecond })
		d, err := s.Get(t.Context(), "http://a.example/drip")
		if err != nil || !strings.HasPrefix(string(d.Body), "<p>a beginning") || !d.Truncated {
			t.Errorf("%+v, %v", d, err)
		}
		_, err = s.Get(t.Context(), "http://a.example/silent")
		wantError(t, err, fetch.Timeout, "no answer within 50ms")
	})
	t.Run("the time of a session", func(t *testing.T) {
		t.Parallel()
		s := w.session(t, func(o *fetch.Options) { o.Limits.Time = 50 * time.Millisecond })
		_, err := s.Get(t.Context(), "http://a.example/silent")
		wantError(t, err, fetch.Timeout, "no answer within")
		_, err = s.Get(t.Context(), "http://a.example/ok")
		wantError(t, err, fetch.Budget, "time of a session")
	})
	t.Run("requests", func(t *testing.T) {
		t.Parallel()
		s := w.session(t, func(o *fetch.Options) { o.Limits.Requests = 2 })
		for range 2 {
			if _, err := s.Get(t.Context(), "http://a.example/ok"); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Get(t.Context(), "http://a.example/ok")
		wantError(t, err, fetch.Budget, "the limit of requests (2) is reached")
	})
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		s := w.session(t, func(o *fetch.Options) { o.Limits.Bytes = 1500 })
		if _, err := s.Get(t.Context(), "http://a.example/ok"); err != nil {
			t.Fatal(err)
		}
		_, err := s.Get(t.Context(), "http://a.example/ok")
		wantError(t, err, fetch.Budget, "1500 bytes")
	})
}

func TestClosed(t *testing.T) {
	t.Parallel()
	w := newWeb(t)
	began := make(chan struct{})
	w.mux.HandleFunc("/silent", func(rw http.ResponseWriter, r *http.Request) { close(began); <-r.Context().Done() })
	w.page("/ok", "text/plain", "x")
	f := w.fetcher(t, nil)
	s := f.Session()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Get(t.Context(), "http://a.example/silent")
		ended <- err
	}()
	<-began
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	wantError(t, <-ended, fetch.Closed, "session is closed")
	_, err := s.Get(t.Context(), "http://a.example/ok")
	wantError(t, err, fetch.Closed, "session is closed")

	other := f.Session()
	if _, err := other.Get(t.Context(), "http://a.example/ok"); err != nil {
		t.Errorf("another session: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := other.Get(ctx, "http://a.example/ok"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	f.Close()
	_, err = f.Session().Get(t.Context(), "http://a.example/ok")
	wantError(t, err, fetch.Closed, "closed")
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	if _, err := fetch.New(fetch.Options{Render: "sometimes"}); err == nil || !strings.Contains(err.Error(), "render") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkStatic(b *testing.B) {
	w := newWeb(b)
	w.page("/", "text/html", "<script src=/a.js></script>"+strings.Repeat("<p>Some text of a page, with <a href=/x>links</a>.\n", 2000))
	s := w.fetcher(b, func(o *fetch.Options) { o.Limits = fetch.Limits{Requests: 1 << 40, Bytes: 1 << 50, Time: time.Hour} }).Session()
	for b.Loop() {
		if _, err := s.Get(b.Context(), "http://a.example/"); err != nil {
			b.Fatal(err)
		}
	}
}

package egress_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chorale/toolhost/egress"
)

// A world has names and servers: whatever is dialled is recorded and ends at a server on loopback.
type world struct {
	mu      sync.Mutex
	names   map[string][][]string // answers in turn; the last stays
	asked   map[string]int
	dialled []string
	records []egress.Record
	servers map[string]net.Addr // by port, "" for all others
	roots   *x509.CertPool
}

func newWorld(t testing.TB, h http.HandlerFunc) *world {
	w := &world{names: map[string][][]string{}, asked: map[string]int{}, servers: map[string]net.Addr{}, roots: x509.NewCertPool()}
	plain := httptest.NewServer(h)
	quiet := log.New(io.Discard, "", 0)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(h)
	secure.EnableHTTP2, secure.Config.ErrorLog = true, quiet
	secure.StartTLS()
	t.Cleanup(secure.Close)
	w.roots.AddCert(secure.Certificate()) // for example.com, 127.0.0.1 and ::1
	w.servers[""], w.servers["443"] = plain.Listener.Addr(), secure.Listener.Addr()
	for _, name := range []string{"example.com", "other.example", "a.example"} {
		w.names[name] = [][]string{{"93.184.216.34"}}
	}
	return w
}

func (w *world) lookup(_ context.Context, name string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name, full := strings.CutSuffix(name, ".")
	answers := w.names[name]
	if full != strings.Contains(name, ".") || len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, Server: "10.9.9.9:53", IsNotFound: true}
	}
	i := min(w.asked[name], len(answers)-1)
	w.asked[name]++
	var list []netip.Addr
	for _, a := range answers[i] {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, _ := net.SplitHostPort(address)
	w.mu.Lock()
	w.dialled = append(w.dialled, address)
	to := w.servers[port]
	if to == nil {
		to = w.servers[""]
	}
	w.mu.Unlock()
	return (&net.Dialer{}).DialContext(ctx, network, to.String())
}

func (w *world) record(r egress.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
}

// seen returns what was dialled, and the records.
func (w *world) seen() ([]string, []egress.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.dialled...), append([]egress.Record(nil), w.records...)
}

func (w *world) client(t testing.TB, o egress.Options) *egress.Client {
	t.Helper()
	o.Lookup, o.Dial, o.Record, o.RootCAs = w.lookup, w.dial, w.record, w.roots
	c, err := egress.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// get returns the status and body of a response, or what went wrong.
func get(c *egress.Client, url string) (int, string, error) {
	resp, err := c.HTTP().Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func isDenied(err error) bool {
	var d *egress.DeniedError
	return errors.As(err, &d)
}

// limitOf is the limit that an error names.
func limitOf(err error) string {
	var l *egress.LimitError
	if errors.As(err, &l) {
		return l.Limit
	}
	return fmt.Sprint(err)
}

func hello(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello from ", r.Host) }

func TestRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello)
	c := w.client(t, egress.Options{Policy: policy(t, "https://example.com", "http://*.example", "http://127.0.0.1:8080")})
	for url, want := range map[string]string{
		"https://EXAMPLE.com./x?y":     "hello from example.com",
		"http://other.example/":        "hello from other.example",
		"http://127.0.0.1:8080/#hash":  "hello from 127.0.0.1:8080",
		"http://ⓞther.example:80/path": "hello from other.example",
	} {
		if status, body, err := get(c, url); status != 200 || body != want || err != nil {
			t.Errorf("%s: %d %q %v, want %q", url, status, body, err, want)
		}
	}
	for _, url := range []string{"http://example.com/", "https://other.example/", "http://127.0.0.1:8081/", "http://nowhere.test/"} {
		if _, _, err := get(c, url); !isDenied(err) {
			t.Errorf("%s: %v", url, err)
		}
	}
	dialled, records := w.seen()
	for _, a := range dialled {
		if a != "93.184.216.34:443" && a != "93.184.216.34:80" && a != "127.0.0.1:8080" {
			t.Errorf("dialled %s", a)
		}
	}
	denied := 0
	for _, r := range records {
		if r.Err != nil {
			denied++
		} else if r.Status != 200 || r.Received == 0 || r.Address == "" || strings.Contains(r.URL, "?") {
			t.Errorf("record %+v", r)
		}
	}
	if denied != 4 || len(records) != 8 {
		t.Errorf("%d records, %d of denied requests", len(records), denied)
	}
}

func TestAddressesOfNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello)
	w.names["rebind.example"] = [][]string{{"93.184.216.34"}, {"127.0.0.1"}}
	w.names["private.example"] = [][]string{{"10.1.2.3"}}
	w.names["mixed.example"] = [][]string{{"93.184.216.34", "169.254.169.254"}}
	w.names["mapped.example"] = [][]string{{"::ffff:93.184.216.34"}}
	w.names["mappedprivate.example"] = [][]string{{"::ffff:192.168.0.1"}}
	w.names["nat64.example"] = [][]string{{"64:ff9b::5db8:d822"}}
	w.names["zone.example"] = [][]string{{"fe80::1%lo"}}
	w.names["corp.example"] = [][]string{{"10.1.0.7", "10.1.0.8"}}
	w.names["moved.example"] = [][]string{{"10.2.0.7"}}
	w.names["intranet"] = [][]string{{"10.1.0.7"}}
	w.names["empty.example"] = [][]string{{}}
	c := w.client(t, egress.Options{Policy: policy(t, "http://*.example", "http://corp.example at 10.1.0.0/16", "http://moved.example:81 at 10.1.0.0/16", "http://intranet at 10.1.0.0/16")})
	for _, c2 := range []struct{ url, want, rule string }{
		{"http://private.example/", "private.example has the address 10.1.2.3 is a private address", "GET http://private.example at 10.1.2.3"},
		{"http://mixed.example/", "169.254.169.254 is a cloud metadata address", "GET http://mixed.example at 169.254.169.254"},
		{"http://mappedprivate.example/", "192.168.0.1 is a private address", "GET http://mappedprivate.example at 192.168.0.1"},
		{"http://nat64.example/", "a NAT64 address", "GET http://nat64.example at 64:ff9b::5db8:d822"},
		{"http://moved.example:81/", "10.2.0.7 is not in 10.1.0.0/16, where the rule says that the host must be", "GET http://moved.example:81 at 10.2.0.7"},
		{"http://zone.example/", "fe80::1%lo is a link-local address", ""},
	} {
		_, _, err := get(c, c2.url)
		var denied *egress.DeniedError
		if !errors.As(err, &denied) || !strings.Contains(denied.Reason, strings.TrimPrefix(c2.want, "private.example has the address ")) || denied.Rule != c2.rule {
			t.Errorf("%s: %v", c2.url, err)
		}
	}
	for _, url := range []string{"http://mapped.example/", "http://corp.example/", "http://intranet/", "http://rebind.example/"} {
		if _, _, err := get(c, url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"http://empty.example/", "http://missing.example/"} {
		if _, _, err := get(c, url); err == nil || !strings.Contains(err.Error(), "no ") || strings.Contains(err.Error(), "10.9.9.9") {
			t.Errorf("%s: %v", url, err)
		}
	}
	// The name now has another answer: an open connection may be used, a new one may not be made.
	for range 3 {
		c.Session()
		if _, _, err := get(w.client(t, egress.Options{Policy: policy(t, "http://rebind.example")}), "http://rebind.example/"); !isDenied(err) {
			t.Errorf("rebound: %v", err)
		}
	}
	dialled, _ := w.seen()
	for _, a := range dialled {
		if a != "93.184.216.34:80" && a != "10.1.0.7:80" {
			t.Errorf("dialled %s", a)
		}
	}
}

// A host whose first address is dead is reached over the next; all were checked before.
func TestNextAddressIsTried(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello)
	w.names["two.example"] = [][]string{{"2606:4700::1", "93.184.216.34"}}
	dead := errors.New("dead")
	c, err := egress.New(egress.Options{Policy: policy(t, "http://two.example"), Lookup: w.lookup,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[") {
				return nil, dead
			}
			return w.dial(ctx, network, address)
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, body, err := get(c, "http://two.example/"); err != nil || body != "hello from two.example" {
		t.Errorf("%q, %v", body, err)
	}
}

// echo answers with the request as the server saw it.
func echo(w http.ResponseWriter, r *http.Request) {
	if to := r.URL.Query().Get("to"); to != "" {
		status := http.StatusFound
		fmt.Sscan(r.URL.Query().Get("status"), &status)
		w.Header().Set("Location", to)
		w.WriteHeader(status)
		return
	}
	body, _ := io.ReadAll(r.Body)
	header := r.Header.Clone()
	header.Del("User-Agent")
	header.Del("Accept-Encoding")
	header.Del("Content-Length")
	json.NewEncoder(w).Encode(seenRequest{r.Method, r.Host + r.URL.Path, header, string(body)})
}

type seenRequest struct {
	Method, URL string
	Header      http.Header
	Body        string
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, echo)
	w.names["private.example"] = [][]string{{"10.1.2.3"}}
	rules := policy(t, "http://*.example", "https://example.com", "http://example.com", "http://127.0.0.1:9", "GET,POST http://a.example:81/open/**")
	for _, c := range []struct {
		name, method, body, url string
		same                    bool
		want                    string // method, address, whether X-Own and the body have arrived; or an error
	}{
		{"same origin", "GET", "", "http://a.example/?to=/next", false, "GET a.example/next own"},
		{"POST becomes GET", "POST", "text", "http://a.example/?to=/next", false, "GET a.example/next own"},
		{"303 becomes GET", "PUT", "text", "http://a.example/?status=303&to=/next", false, "GET a.example/next own"},
		{"303 of HEAD", "HEAD", "", "http://a.example/?status=303&to=/next", false, "HEAD"},
		{"307 sends the body again", "POST", "text", "http://a.example/?status=307&to=/next", false, "POST a.example/next own text"},
		{"308 sends the body again", "PUT", "text", "http://a.example/?status=308&to=/next", false, "PUT a.example/next own text"},
		{"302 of DELETE", "DELETE", "", "http://a.example/?to=/next", false, "DELETE a.example/next own"},
		{"other origin", "GET", "", "http://a.example/?to=http://other.example/x", false, "GET other.example/x"},
		{"other port is another origin", "GET", "", "http://a.example/?to=http://a.example:81/open/x", false, "GET a.example:81/open/x"},
		{"other path that no rule allows", "GET", "", "http://a.example/?to=http://a.example:81/closed", false, "denied"},
		{"other origin and back", "GET", "", "http://a.example/?to=http://other.example/%3Fto=http://a.example/back", false, "GET a.example/back"},
		{"307 to another origin", "POST", "text", "http://a.example/?status=307&to=http://other.example/x", false, "denied"},
		{"POST to another origin, as GET", "POST", "text", "http://a.example/?to=http://other.example/x", false, "GET other.example/x"},
		{"other origin, only the same allowed", "GET", "", "http://a.example/?to=http://other.example/x", true, "denied"},
		{"same origin, only the same allowed", "GET", "", "http://a.example/?to=//A.example.:80/x", true, "GET a.example/x own"},
		{"http to https", "GET", "", "http://example.com/?to=https://example.com/x", false, "GET example.com/x"},
		{"https to http", "GET", "", "https://example.com/?to=http://example.com/x", false, "denied"},
		{"https to http and back", "GET", "", "https://example.com/?to=http://a.example/%3Fto=https://example.com/", false, "denied"},
		{"metadata", "GET", "", "http://a.example/?to=http://169.254.169.254/latest/", false, "denied"},
		{"loopback", "GET", "", "http://a.example/?to=http://127.0.0.1/", false, "denied"},
		{"private name", "GET", "", "http://a.example/?to=http://private.example/", false, "denied"},
		{"file", "GET", "", "http://a.example/?to=file:///etc/passwd", false, "error"},
		{"user", "GET", "", "http://a.example/?to=http://user:pass@other.example/", false, "error"},
		{"backslashes", "GET", "", "http://a.example/?to=\\\\127.0.0.1\\", false, "error"},
		{"odd address", "GET", "", "http://a.example/?to=http://2130706433/", false, "error"},
		{"for ever", "GET", "", "http://a.example/?to=", false, "GET a.example/ own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cl := w.client(t, egress.Options{Policy: rules, SameOrigin: c.same})
			req, err := http.NewRequest(c.method, c.url, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"X-Own": {"1"}, "Authorization": {"Bearer x"}, "Cookie": {"a=b"}, "Accept": {"text/plain"}}
			resp, err := cl.HTTP().Do(req)
			switch {
			case c.want == "denied" && isDenied(err), c.want == "error" && err != nil && !isDenied(err):
				return
			case err != nil:
				t.Fatalf("%v, want %s", err, c.want)
			}
			defer resp.Body.Close()
			if c.method == "HEAD" {
				if resp.Request.Method != c.want {
					t.Errorf("the last request was a %s", resp.Request.Method)
				}
				return
			}
			var got seenRequest
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			text := got.Method + " " + got.URL
			own := got.Header["X-Own"] != nil
			if own {
				text += " own"
			}
			if got.Body != "" {
				text += " " + got.Body
			}
			if text != c.want || own != (got.Header["Authorization"] != nil) || own != (got.Header["Cookie"] != nil) || got.Header.Get("Accept") != "text/plain" || got.Header["Referer"] != nil {
				t.Errorf("the server saw %s, %v; want %s", text, got.Header, c.want)
			}
		})
	}
	if _, _, err := get(w.client(t, egress.Options{Policy: rules}), "http://a.example/?to=http://10.1.2.3/"); !strings.Contains(fmt.Sprint(err), "redirected by http://a.example/)") {
		t.Errorf("the denial does not say who redirected: %v", err)
	}
	dialled, _ := w.seen()
	for _, a := range dialled {
		if !strings.HasPrefix(a, "93.184.216.34:") {
			t.Errorf("dialled %s", a)
		}
	}
}

func TestRedirectLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/"+r.URL.Path[1:]+"x", http.StatusFound)
	})
	for limit, want := range map[int]int{0: egress.DefaultRedirects + 1, 2: 3} {
		c := w.client(t, egress.Options{Policy: policy(t, "http://a.example"), Limits: egress.Limits{Redirects: limit}}).Session()
		_, _, err := get(c, "http://a.example/")
		if n, _ := c.Usage(); limitOf(err) != "redirects" || int(n) != want {
			t.Errorf("%v after %d requests, want %d", err, n, want)
		}
	}
	c := w.client(t, egress.Options{Policy: policy(t, "http://a.example"), Limits: egress.Limits{Redirects: -1}})
	if status, _, err := get(c, "http://a.example/"); status != http.StatusFound || err != nil {
		t.Errorf("without redirects: %d, %v", status, err)
	}
}

func TestSizeLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			w.Header().Set("Content-Length", "1001")
			w.Write(make([]byte, 1001))
		case "/exact":
			w.Write(make([]byte, 1000))
		case "/endless":
			for r.Context().Err() == nil {
				w.Write(make([]byte, 100))
				w.(http.Flusher).Flush()
			}
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 64 {
				z.Write(make([]byte, 1<<20))
			}
			z.Close()
		case "/header":
			w.Header().Set("X", strings.Repeat("x", 70<<10))
		case "/headers":
			for i := range 5000 {
				w.Header().Set(fmt.Sprintf("X-%d", i), "xxxxxxxxxxxxxxxx")
			}
		case "/post":
			io.Copy(io.Discard, r.Body)
		}
	})
	for _, origin := range []string{"http://example.com", "https://example.com"} {
		c := w.client(t, egress.Options{Policy: policy(t, "http://example.com", "https://example.com"),
			Limits: egress.Limits{ResponseBody: 1000, RequestBody: 1000, RequestHeader: 1000, Bytes: 5000}})
		for path, want := range map[string]string{
			"/long": "response body", "/exact": "<nil>", "/endless": "response body", "/bomb": "response body", "/header": "response header", "/headers": "response header",
		} {
			if _, body, err := get(c, origin+path); limitOf(err) != want && !(err != nil && want == "response header" && strings.HasPrefix(origin, "https")) || len(body) > 1000 {
				// HTTP/2 gives the connection up and has no error for the reason.
				t.Errorf("%s%s: %d bytes, %v; want %s", origin, path, len(body), err, want)
			}
		}
		if resp, err := c.HTTP().Head(origin + "/long"); err != nil {
			t.Errorf("HEAD of something long: %v", err)
		} else {
			resp.Body.Close()
		}
		for name, c2 := range map[string]struct {
			body io.Reader
			want string
		}{
			"length known": {bytes.NewReader(make([]byte, 1001)), "request body"},
			"exact":        {bytes.NewReader(make([]byte, 1000)), "<nil>"},
			"streamed":     {io.MultiReader(bytes.NewReader(make([]byte, 900)), bytes.NewReader(make([]byte, 900))), "request body"},
			"endless":      {endless{}, "request body"},
		} {
			resp, err := c.HTTP().Post(origin+"/post", "text/plain", c2.body)
			if limitOf(err) != c2.want {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil {
				resp.Body.Close()
			}
		}
		req, _ := http.NewRequest("GET", origin, nil)
		req.Header.Set("X", strings.Repeat("x", 1000))
		if _, err := c.HTTP().Do(req); limitOf(err) != "request header" {
			t.Errorf("long header: %v", err)
		}
		if _, _, err := get(c, origin+"/?"+strings.Repeat("x", 1000)); limitOf(err) != "request header" {
			t.Errorf("long URL: %v", err)
		}
		s := c.Session()
		var last error
		for i := 0; i < 6 && last == nil; i++ {
			_, _, last = get(s, origin+"/exact")
		}
		if _, n := s.Usage(); limitOf(last) != "bytes of a session" || n <= 5000 {
			t.Errorf("after %d bytes: %v", n, last)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestRequestLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello)
	c := w.client(t, egress.Options{Policy: policy(t, "http://a.example", "http://*:* at 127.0.0.0/8"), Limits: egress.Limits{Requests: 2}})
	s := c.Session()
	for i := range 4 {
		if _, _, err := get(s, "http://a.example/"); (i < 2) != (err == nil) || err != nil && limitOf(err) != "requests" {
			t.Errorf("request %d: %v", i, err)
		}
		if _, _, err := get(c, "http://a.example/"); err != nil {
			t.Errorf("not counted: %v", err)
		}
	}
	if _, err := s.DialContext(t.Context(), "tcp", "a.example:80"); limitOf(err) != "requests" {
		t.Errorf("tunnel: %v", err)
	}
}

func TestConcurrencyLimit(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		fmt.Fprint(w, "x")
	})
	c := w.client(t, egress.Options{Policy: policy(t, "http://a.example"), Limits: egress.Limits{Concurrent: 2}})
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, _, err := get(c.Session(), "http://a.example/"); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if most.Load() > 2 {
		t.Errorf("%d requests at the same time", most.Load())
	}
	// Open bodies hold their places, and a caller that gives up does not get one.
	var open []*http.Response
	for range 2 {
		resp, err := c.HTTP().Get("http://a.example/")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, resp)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://a.example/", nil)
	if _, err := c.HTTP().Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("third request: %v", err)
	}
	for _, resp := range open {
		resp.Body.Close()
	}
	if _, _, err := get(c, "http://a.example/"); err != nil {
		t.Error(err)
	}
}

// piped makes a client whose connections are pipes to a function, for time that is not real.
func piped(t *testing.T, l egress.Limits, serve func(net.Conn)) (c *egress.Client, stop func()) {
	t.Helper()
	var servers sync.WaitGroup
	c, err := egress.New(egress.Options{
		Policy: policy(t, "http://a.example"), Limits: l,
		Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
		},
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if serve == nil {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			here, there := net.Pipe()
			servers.Go(func() { serve(there) })
			return here, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, func() { c.Close(); servers.Wait() }
}

func TestTimeLimits(t *testing.T) {
	t.Parallel()
	head := func(c net.Conn) { // reads a request
		buf := make([]byte, 4096)
		for got := ""; !strings.Contains(got, "\r\n\r\n"); {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			got += string(buf[:n])
		}
	}
	for _, c := range []struct {
		name, want string
		limit      time.Duration
		serve      func(net.Conn)
	}{
		{"nobody answers the dial", "dial time", egress.DefaultDial, nil},
		{"no header", "response header time", egress.DefaultHeader, func(c net.Conn) { head(c); io.Copy(io.Discard, c) }},
		{"header drips", "response header time", egress.DefaultHeader, func(c net.Conn) {
			head(c)
			for _, b := range []byte("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 1000)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}},
		{"body drips", "total time", egress.DefaultTotal, func(c net.Conn) {
			head(c)
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"); err != nil {
				return
			}
			for {
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cl, stop := piped(t, egress.Limits{}, c.serve)
				defer stop()
				start := time.Now()
				_, _, err := get(cl, "http://a.example/")
				if took := time.Since(start); limitOf(err) != c.want || took < c.limit || took > c.limit+time.Second {
					t.Errorf("%v after %v, want %s after %v", err, took, c.want, c.limit)
				}
			})
		})
	}
}

func TestUnreadBodiesGiveTheirPlaceBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := piped(t, egress.Limits{Concurrent: 1}, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
			c.Close()
		})
		defer stop()
		if _, err := c.HTTP().Get("http://a.example/"); err != nil { // never closed
			t.Fatal(err)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://a.example/", nil)
		if _, err := c.HTTP().Do(req); limitOf(err) != "total time" || time.Since(start) != egress.DefaultTotal {
			t.Errorf("while the place was taken: %v after %v", err, time.Since(start))
		}
		if _, body, err := get(c, "http://a.example/"); body != "hello" || err != nil {
			t.Errorf("afterwards: %q, %v", body, err)
		}
	})
}

func TestHeaderInjection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, echo)
	c := w.client(t, egress.Options{Policy: policy(t, "http://a.example")})
	for _, h := range []http.Header{
		{"X": {"a\r\nHost: b"}}, {"X": {"a\nb"}}, {"X": {"a\rb"}}, {"X": {"a\x00"}}, {"X\r\nY": {"a"}}, {"X: y": {"a"}}, {"": {"a"}}, {"X ": {"a"}}, {"Ü": {"a"}},
	} {
		req, _ := http.NewRequest("GET", "http://a.example/", nil)
		req.Header = h
		if _, err := c.RoundTrip(req); err == nil || !strings.HasPrefix(err.Error(), "header") {
			t.Errorf("%q: %v", h, err)
		}
	}
	req, _ := http.NewRequest("GET", "http://a.example/", nil)
	req.Host = "other.example"
	req.Header = http.Header{"Host": {"b"}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "transfer-encoding": {"chunked"}, "Content-Length": {"5"},
		"Proxy-Authorization": {"x"}, "Te": {"trailers"}, "Accept-Encoding": {"br"}, "Expect": {"100-continue"}, "X-Own": {"kept"}}
	resp, err := c.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got seenRequest
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.URL != "a.example/" || len(got.Header) != 1 || got.Header.Get("X-Own") != "kept" {
		t.Errorf("the server saw %+v, %v", got, err)
	}
}

const canary = `c4nary+/"secret value`

func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			if r.URL.Query().Has("leak") {
				to += "?leak=" + r.Header.Get("X-Key")[len("Key "):]
			}
			w.Header().Set("Location", to)
			w.Header().Set("X-Echo", r.Header.Get("X-Key"))
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("X-Echo", "was "+r.Header.Get("X-Key"))
		w.Header().Add("Trailer", "X-Late")
		// In pieces, so that the secret lies across reads; whole once more, and as a JSON string.
		for _, b := range []byte("<" + r.Header.Get("X-Key") + ">") {
			w.Write([]byte{b})
			w.(http.Flusher).Flush()
		}
		json.NewEncoder(w).Encode(r.Header)
		w.Header().Set("X-Late", r.Header.Get("X-Key"))
	})
	rule := func(s string) egress.Rule { return policy(t, s).Rules()[0] }
	secret := egress.Secret{Name: "weather", Value: canary, Header: "x-key", Template: "Key {}", Audience: rule("https://example.com")}
	c := w.client(t, egress.Options{Policy: policy(t, "https://example.com", "http://*.example", "http://example.com"), Secrets: []egress.Secret{secret}})
	surface := fmt.Sprintf("%v %+v %#v", secret, secret, secret)
	if b, err := json.Marshal(secret); err == nil {
		surface += string(b)
	}
	for _, url := range []string{
		"https://example.com/echo", "https://example.com/?to=https://example.com/echo", "http://other.example/?to=https://example.com/echo", "http://example.com/",
		"https://example.com/?leak&to=https://example.com/", "https://example.com/?to=https://nowhere.test/", "http://other.example/",
	} {
		req, _ := http.NewRequest("GET", url, nil)
		req.Header.Set("X-Key", "own")
		req.Header.Set("Range", "bytes=0-9")
		resp, err := c.HTTP().Do(req)
		surface += fmt.Sprint(err)
		if err != nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		surface += fmt.Sprint(string(body), err, resp.Header, resp.Trailer, resp.Request.Header, resp.Request.URL, resp.Status)
		if got := strings.Contains(string(body), "Key "+strings.Repeat("*", len(canary))); got != strings.HasPrefix(url, "https://example.com/") {
			t.Errorf("%s: secret sent: %v; %q", url, got, body)
		} else if ranged := strings.Contains(string(body), "bytes=0-9"); ranged == got && (got || !strings.Contains(url, "?")) {
			t.Errorf("%s: secret sent: %v, and the range as well: %q", url, got, body)
		}
	}
	_, records := w.seen()
	with := 0
	for _, r := range records {
		surface += fmt.Sprintf("%+v", r)
		if len(r.Secrets) == 1 && r.Secrets[0] == "weather" {
			with++
		}
	}
	if with != 5 {
		t.Errorf("%d records of requests with the secret, want 5", with)
	}
	quoted, _ := json.Marshal(canary)
	for _, form := range []string{canary, string(quoted), "c4nary"} {
		if i := strings.Index(surface, form); i >= 0 {
			t.Errorf("leaked: …%s…", surface[max(0, i-200):min(len(surface), i+100)])
		}
	}
}

func TestSecretsAreChecked(t *testing.T) {
	t.Parallel()
	good := egress.Secret{Name: "n", Value: "12345678", Header: "Authorization", Template: "Bearer {}", Audience: policy(t, "https://example.com").Rules()[0]}
	for want, change := range map[string]func(*egress.Secret){
		"name: ":             func(s *egress.Secret) { s.Name = "" },
		"value: 7 bytes":     func(s *egress.Secret) { s.Value = "1234567" },
		"value: 9000 bytes":  func(s *egress.Secret) { s.Value = strings.Repeat("x", 9000) },
		"value: has control": func(s *egress.Secret) { s.Value = "12345678\r\nX: y" },
		"header: ":           func(s *egress.Secret) { s.Header = "A b" },
		"header: \"host\"":   func(s *egress.Secret) { s.Header = "host" },
		"template: ":         func(s *egress.Secret) { s.Template = "Bearer" },
		"audience: missing":  func(s *egress.Secret) { s.Audience = egress.Rule{} },
		"audience: https://*.example.com must be one": func(s *egress.Secret) { s.Audience = policy(t, "https://*.example.com").Rules()[0] },
		"audience: https://a:* must be one":           func(s *egress.Secret) { s.Audience = policy(t, "https://a:*").Rules()[0] },
		"audience: http://a would":                    func(s *egress.Secret) { s.Audience = policy(t, "http://a").Rules()[0] },
	} {
		bad := good
		change(&bad)
		if _, err := egress.New(egress.Options{Secrets: []egress.Secret{bad}}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "12345678") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, audience := range []string{"https://example.com", "http://127.0.0.1:80", "http://localhost at 127.0.0.1", "GET https://example.com/v1/**"} {
		s := good
		s.Audience = policy(t, audience).Rules()[0]
		if _, err := egress.New(egress.Options{Secrets: []egress.Secret{s}}); err != nil {
			t.Errorf("%s: %v", audience, err)
		}
	}
}

// A server may write what it was sent in the ways that its formats have.
func TestMaskingOfForms(t *testing.T) {
	t.Parallel()
	secret := `a/b<c>&"d"\e ü~+%`
	forms := []string{
		secret, `a\/b<c>&\"d\"\\e ü~+%`, `a/b<c>&\"d\"\\e ü~+%`, `a/b\u003cc\u003e\u0026\"d\"\\e ü~+%`, "a/b&lt;c&gt;&amp;&#34;d&#34;\\e ü~+%",
		"a%2Fb%3Cc%3E%26%22d%22%5Ce+%C3%BC~%2B%25", "a%2Fb%3Cc%3E&%22d%22%5Ce%20%C3%BC~+%25",
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
	}
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, strings.Join(forms, "|")) })
	c := w.client(t, egress.Options{Policy: policy(t, "https://example.com"),
		Secrets: []egress.Secret{{Name: "n", Value: secret, Header: "X", Audience: policy(t, "https://example.com").Rules()[0]}}})
	_, body, err := get(c, "https://example.com/")
	if strings.Trim(body, "*|") != "" || len(body) != len(strings.Join(forms, "|")) || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}

// In base64, what stands before the secret decides how it looks: the word of a template, or a user's name.
func TestMaskingWithinBase64(t *testing.T) {
	t.Parallel()
	secret := "c0ffee?~ do not tell"
	var sent string
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, sent) })
	c := w.client(t, egress.Options{Policy: policy(t, "https://example.com"),
		Secrets: []egress.Secret{{Name: "n", Value: secret, Header: "X", Template: "Bearer {}", Audience: policy(t, "https://example.com").Rules()[0]}}})
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		for _, before := range []string{"", "x", "me", "me:", "user:", "Bearer "} {
			for _, behind := range []string{"", "\n", ", and more"} {
				sent = e.EncodeToString([]byte(before + secret + behind))
				_, body, err := get(c, "https://example.com/")
				// A character at each end may have bits of the secret and of what is beside it.
				if stars := strings.Count(body, "*"); err != nil || len(body) != len(sent) || stars < len(secret)*8/6-1 {
					t.Errorf("%q of %q: %q, %v", sent, before+secret+behind, body, err)
				}
			}
		}
	}
}

// Every split of an echo into two reads must be masked, and nothing else changed.
func TestMaskingAcrossReads(t *testing.T) {
	t.Parallel()
	text := "abc12 abc123456 abcabc12345 12345678 "
	secret := "abc12345"
	for split := range len(text) + 1 {
		w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, text[:split])
			w.(http.Flusher).Flush()
			io.WriteString(w, text[split:])
		})
		c := w.client(t, egress.Options{Policy: policy(t, "https://example.com"),
			Secrets: []egress.Secret{{Name: "n", Value: secret, Header: "X", Audience: policy(t, "https://example.com").Rules()[0]}}})
		_, body, err := get(c, "https://example.com/")
		if want := strings.ReplaceAll(text, secret, strings.Repeat("*", len(secret))); body != want || err != nil {
			t.Errorf("split at %d: %q, %v; want %q", split, body, err, want)
		}
	}
}

// Rules of different reach use different connections, also to one host, and so do clients.
func TestConnectionsAreNotShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	w.names["two.example"] = [][]string{{"10.0.0.1"}}
	c := w.client(t, egress.Options{Policy: policy(t, "http://two.example/a at 10.0.0.0/8", "http://two.example/b at 10.0.0.1", "http://two.example/c")})
	remote := map[string]string{}
	for _, path := range []string{"/a", "/b", "/a", "/b"} {
		_, body, err := get(c, "http://two.example"+path)
		if err != nil || remote[path] != "" && remote[path] != body {
			t.Errorf("%s: %q after %q, %v", path, body, remote[path], err)
		}
		remote[path] = body
	}
	if remote["/a"] == remote["/b"] {
		t.Error("a connection was used under another rule")
	}
	if _, _, err := get(c, "http://two.example/c"); !isDenied(err) {
		t.Errorf("the open connection was used for a rule that would not have made it: %v", err)
	}
	_, body, err := get(w.client(t, egress.Options{Policy: policy(t, "http://two.example/a at 10.0.0.0/8")}), "http://two.example/a")
	if err != nil || body == remote["/a"] {
		t.Errorf("another client: %q, %v", body, err)
	}
	s := c.Session()
	if _, body, err := get(s, "http://two.example/a"); err != nil || body != remote["/a"] {
		t.Errorf("a session has a connection of its own: %q, %v", body, err)
	}
}

func TestProxiesOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	w := newWorld(t, hello)
	if _, _, err := get(w.client(t, egress.Options{Policy: policy(t, "http://a.example")}), "http://a.example/"); err != nil {
		t.Error(err)
	}
}

func TestTunnels(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello)
	w.names["private.example"] = [][]string{{"10.1.2.3"}}
	sink, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			conn, err := sink.Accept()
			if err != nil {
				return
			}
			readers.Go(func() { io.Copy(io.Discard, conn); conn.Close() })
		}
	})
	t.Cleanup(func() { sink.Close(); readers.Wait() })
	w.servers[""], w.servers["443"] = sink.Addr(), sink.Addr()
	c := w.client(t, egress.Options{Policy: policy(t, "https://*.example", "http://a.example", "GET https://b.test", "https://c.test/x", "https://10.0.0.1"),
		Limits: egress.Limits{Concurrent: 1, Bytes: 1000}})
	for address, want := range map[string]string{
		"b.test:443": "methods or paths", "c.test:443": "methods or paths", "d.test:443": "no rule", "a.example:8443": "no rule", "127.0.0.1:443": "no rule",
		"private.example:443": "10.1.2.3 is a private address", "[::1]:443": "no rule",
	} {
		conn, err := c.DialContext(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		if !isDenied(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
	for _, address := range []string{"a.example", "a.example:", "a.example:0", "0x7f.1:443", "[fe80::1%lo]:443", "[::ffff:127.0.0.1]:443", "a.example@b:443", ":443"} {
		if conn, err := c.DialContext(t.Context(), "tcp", address); err == nil || isDenied(err) {
			t.Errorf("%s: %v, %v", address, conn, err)
		}
	}
	if _, err := c.DialContext(t.Context(), "udp", "a.example:443"); err == nil {
		t.Error("udp")
	}
	for _, address := range []string{"10.0.0.1:443", "A.example.:443", "a.example:80"} {
		s := c.Session()
		conn, err := s.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if n, err := conn.Write([]byte(strings.Repeat("x", 1000))); n != 1000 || err != nil {
			t.Errorf("%s: wrote %d, %v", address, n, err)
		}
		_, err = conn.Write([]byte("x"))
		if limitOf(err) != "bytes of a session" {
			t.Errorf("%s: %v", address, err)
		}
		conn.Close()
	}
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		c, err := egress.New(egress.Options{Policy: policy(t, "https://8.8.8.8"), Dial: func(context.Context, string, string) (net.Conn, error) { return here, nil }})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := c.DialContext(t.Context(), "tcp", "8.8.8.8:443")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := conn.Read(make([]byte, 1)); limitOf(err) != "total time" || time.Since(start) != egress.DefaultTotal {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestClosedClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello)
	c := w.client(t, egress.Options{Policy: policy(t, "http://a.example")})
	s := c.Session()
	c.Close()
	c.Close()
	if _, _, err := get(s, "http://a.example/"); !errors.Is(err, egress.ErrClosed) {
		t.Error(err)
	}
}

// What the checks cost beside the request itself.
func BenchmarkRequest(b *testing.B) {
	w := newWorld(b, hello)
	secrets := []egress.Secret{{Name: "n", Value: "12345678", Header: "X", Audience: policy(b, "http://a.example at 93.184.216.34").Rules()[0]}}
	for name, c := range map[string]*http.Client{
		"egress":             w.client(b, egress.Options{Policy: policy(b, "http://a.example")}).HTTP(),
		"egress with secret": w.client(b, egress.Options{Policy: policy(b, "http://a.example"), Secrets: secrets}).HTTP(),
		"standard client":    {Transport: &http.Transport{DialContext: w.dial}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				resp, err := c.Get("http://a.example/")
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}

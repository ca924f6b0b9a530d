package fetch

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// TestProxy talks to the proxy as Chromium does, and as others might who find its port. Its address and the passwords
// are nobody's business, so it is inside of the package.
func TestProxy(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/407":
			w.Header().Set("Proxy-Authenticate", "Basic realm=x")
			w.WriteHeader(407)
		case "/redirect":
			w.Header().Set("Location", "http://127.0.0.1/")
			w.WriteHeader(302)
		case "/cut":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "cut")
		default:
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s auth=%q", r.Method, r.Host, body, r.Header.Get("Proxy-Authorization"))
		}
	}))
	t.Cleanup(origin.Close)
	program, err := os.Executable() // stands for Chromium, and is not started
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(Options{
		Chrome: program,
		Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
			if strings.HasPrefix(name, "rebound") {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, origin.Listener.Addr().String())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Session()
	if _, err := s.chrome(); err != nil {
		t.Fatal(err)
	}
	gone := f.Session()
	if _, err := gone.chrome(); err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, tt := range []struct {
		name, request, user, password string
		status                        int
		part                          string
	}{
		{"a page", "GET http://a.example/x", s.user, s.password, 200, `GET a.example  auth=""`},
		{"a form", "POST http://a.example/x", s.user, s.password, 200, `POST a.example body`},
		{"a redirect is Chromium's", "GET http://a.example/redirect", s.user, s.password, 302, ""},
		{"a host that asks for our password", "GET http://a.example/407", s.user, s.password, 502, ""},
		{"nobody", "GET http://a.example/x", "", "", 407, "one program"},
		{"a wrong password", "GET http://a.example/x", s.user, s.password + "x", 407, ""},
		{"another's password", "GET http://a.example/x", s.user, gone.password, 407, ""},
		{"a session that has ended", "GET http://a.example/x", gone.user, gone.password, 407, ""},
		{"nobody's tunnel", "CONNECT a.example:443", "", "", 407, ""},
		{"loopback", "GET http://127.0.0.1/x", s.user, s.password, 403, "loopback"},
		{"the proxy itself", "GET http://" + f.proxy.address + "/", s.user, s.password, 403, "loopback"},
		{"loopback by name", "GET http://rebound.example/x", s.user, s.password, 403, "loopback"},
		{"a mapped address", "GET http://[::ffff:127.0.0.1]/x", s.user, s.password, 403, "another spelling"},
		{"a tunnel to loopback", "CONNECT 127.0.0.1:443", s.user, s.password, 403, "loopback"},
		{"a tunnel to loopback by name", "CONNECT rebound.example:80", s.user, s.password, 403, "loopback"},
		{"a tunnel to metadata", "CONNECT 169.254.169.254:80", s.user, s.password, 403, "metadata"},
		{"a tunnel to mail", "CONNECT a.example:25", s.user, s.password, 403, "port 25"},
		{"a page of a mail server", "GET http://a.example:25/", s.user, s.password, 403, "port 25"},
		{"another scheme", "GET ftp://a.example/", s.user, s.password, 403, "http URLs"},
		{"https without a tunnel", "GET https://a.example/", s.user, s.password, 403, "http URLs"},
		{"no proxy request", "GET /x", s.user, s.password, 403, "http URLs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", f.proxy.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			method, _, _ := strings.Cut(tt.request, " ")
			req := &http.Request{Header: http.Header{}}
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n", tt.request, "host.example")
			if tt.user != "" {
				req.SetBasicAuth(tt.user, tt.password)
				fmt.Fprintf(conn, "Proxy-Authorization: %s\r\n", req.Header.Get("Authorization"))
			}
			if method == "POST" {
				io.WriteString(conn, "Content-Length: 4\r\n")
			}
			io.WriteString(conn, "\r\n")
			if method == "POST" {
				io.WriteString(conn, "body")
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.part) ||
				(resp.Header.Get("Proxy-Authenticate") != "") != (tt.status == 407) {
				t.Errorf("got %d %q %v, want %d with %q", resp.StatusCode, body, resp.Header, tt.status, tt.part)
			}
		})
	}
	t.Run("a tunnel", func(t *testing.T) {
		conn, err := net.Dial("tcp", f.proxy.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		req := &http.Request{Header: http.Header{}}
		req.SetBasicAuth(s.user, s.password)
		fmt.Fprintf(conn, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: %s\r\n\r\n",
			req.Header.Get("Authorization"))
		r := bufio.NewReader(conn)
		if resp, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"}); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
		io.WriteString(conn, "GET /inside HTTP/1.1\r\nHost: inside.example\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "GET inside.example") {
			t.Errorf("%s, %v", body, err)
		}
		s.Close()
		if _, err := r.ReadByte(); err == nil {
			t.Error("the tunnel is open after its session was closed")
		}
	})
	t.Run("a body that is cut", func(t *testing.T) {
		s := f.Session()
		defer s.Close()
		if _, err := s.chrome(); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", f.proxy.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		req := &http.Request{Header: http.Header{}}
		req.SetBasicAuth(s.user, s.password)
		fmt.Fprintf(conn, "GET http://a.example/cut HTTP/1.1\r\nHost: a.example\r\nProxy-Authorization: %s\r\n\r\n",
			req.Header.Get("Authorization"))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("it looks whole")
		}
	})
}

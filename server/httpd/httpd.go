// Package httpd is the HTTP face of the Responses and Containers APIs.
//
// It owns routes, authentication, limits, request bodies, server-sent events, the shape of error bodies, request ids, the
// access log and the life of connections from listening to draining. It does not know harmony, tokens or storage: it
// decodes a request, hands it to a service and encodes what comes back. A response has one path: streaming
// forwards every event, a JSON answer is the last event's response.
//
// A Server is safe for concurrent use. echo is used for routing only, and none of its types is exported.
package httpd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"chorale/server/api"
	"chorale/server/containers"
	"chorale/server/responses"
)

// Options configure a Server. The zero value of a field means the default that its comment names.
type Options struct {
	Responses  *responses.Service  // required
	Containers *containers.Service // answers /containers; nil: there are no such routes
	Plugins    func() []api.Plugin // answers /plugins, in any order; nil: there are no such routes
	Metrics    http.Handler        // answers GET /metrics; nil: there is no such route
	MCP        http.Handler        // answers /mcp, behind the same keys; nil: there is no such route
	Logger     *slog.Logger        // nil: nothing is logged

	APIKeys      []string // accepted bearer tokens; none: every request is accepted
	AllowOrigins []string // origins that browsers may call from; "*" is all; none: no CORS headers

	MaxBodyBytes int64         // larger request bodies are refused with 413; default 32 MiB
	BodyTimeout  time.Duration // a request body must have arrived within it; default 1 minute
	KeepAlive    time.Duration // a stream that is silent for so long gets a keepalive; default 15 s
	WriteTimeout time.Duration // a client that takes no bytes for so long is given up; default 30 s
	DrainTimeout time.Duration // how long Serve waits for running responses at the end; default 30 s
	OnDrain      func()        // called once when draining begins, to end what would never end by itself; nil: nothing is
}

// A Server answers HTTP requests.
type Server struct {
	o       Options
	started time.Time
	keys    [][sha256.Size]byte
	echo    *echo.Echo
	counter counter
}

// abandonGrace is how long clients have to take the end of a response that was failed at the end of draining.
const abandonGrace = 5 * time.Second

// New returns a Server, or an error that names the wrong option.
func New(o Options) (*Server, error) {
	if o.Responses == nil {
		return nil, errors.New("httpd: Options.Responses is required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.MaxBodyBytes, 32<<20)
	setDefault(&o.BodyTimeout, time.Minute)
	setDefault(&o.KeepAlive, 15*time.Second)
	setDefault(&o.WriteTimeout, 30*time.Second)
	setDefault(&o.DrainTimeout, 30*time.Second)
	s := &Server{o: o, started: time.Now(), echo: echo.New()}
	for i, key := range o.APIKeys {
		if key == "" {
			return nil, fmt.Errorf("httpd: API key %d is empty", i)
		}
		s.keys = append(s.keys, sha256.Sum256([]byte(key)))
	}
	s.route()
	return s, nil
}

func setDefault[T int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// route is the whole surface. The Open Responses dialect has a mount of its own because its compliance suite sends no header.
func (s *Server) route() {
	s.echo.Logger.SetOutput(io.Discard) // what it has to say reaches our log through writeError
	s.echo.HTTPErrorHandler = s.writeError
	s.echo.Use(s.observe, s.cors, s.authenticate)
	s.echo.Match([]string{http.MethodGet, http.MethodHead}, pathHealth, s.health)
	if s.o.Metrics != nil {
		s.echo.GET("/metrics", echo.WrapHandler(s.o.Metrics))
	}
	if s.o.MCP != nil {
		s.echo.Any("/mcp", echo.WrapHandler(s.o.MCP))
	}
	for _, prefix := range []string{"/v1", openResponsesMount + "/v1"} {
		g := s.echo.Group(prefix)
		g.POST("/responses", s.createResponse)
		g.GET("/responses/:id", s.getResponse)
		g.DELETE("/responses/:id", s.deleteResponse)
		g.GET("/responses/:id/input_items", s.listInputItems)
		g.POST("/responses/:id/cancel", s.cancelResponse)
		g.GET("/models", s.listModels)
		g.GET("/models/*", s.getModel) // not :id, for names like openai/gpt-oss-20b
		if s.o.Containers != nil {
			s.routeContainers(g)
		}
		if s.o.Plugins != nil {
			g.GET("/plugins", s.listPlugins)
			g.GET("/plugins/:id", s.getPlugin)
		}
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Serve answers the connections of l until ctx ends, then drains: it accepts nothing new, lets running responses finish
// for Options.DrainTimeout, fails those that are left by closing Options.Responses, and returns nil when all connections
// are closed. It returns earlier, with an error, when l fails. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	hs := &http.Server{
		Handler:           s,
		ErrorLog:          slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	if s.o.OnDrain != nil {
		hs.RegisterOnShutdown(sync.OnceFunc(s.o.OnDrain)) // there may be two shutdowns
	}
	served := make(chan error, 1) // so that the goroutine ends though nobody listens
	go func() { served <- hs.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.o.Logger.Info("draining")
	if err := shutdown(hs, s.o.DrainTimeout); err != nil {
		s.o.Logger.Warn("drain deadline passed, failing responses", "duration", s.o.DrainTimeout)
		s.abandon(hs)
	}
	<-served
	return nil
}

// abandon ends all responses with an event that says so, as far as their clients take it.
func (s *Server) abandon(hs *http.Server) {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.o.Responses.Close(now) // the context's error, as intended
	}()
	if err := shutdown(hs, abandonGrace); err != nil {
		_ = hs.Close()
	}
	<-ended
}

func shutdown(hs *http.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return hs.Shutdown(ctx)
}

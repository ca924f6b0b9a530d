// Package chrome opens pages in a Chromium of its own, one isolated context a session.
//
// It owns the process (one at a time, replaced when it has served many pages or grown, stopped when idle, killed with
// all it has started at Close), how many contexts are open, and when a page has finished. It does not know which
// addresses are allowed: all that Chromium asks for goes to one proxy, which its caller has to provide and which tells
// contexts apart by the user and password that each of them sends. A Browser and its Contexts are safe for concurrent
// use; a Context opens one page after another.
//
// The process is ours and not chromedp's, which speaks the protocol only: its environment is empty, its folder
// private, its pipe has a limit for messages, it runs as an unprivileged user if we are root so that its own sandbox
// works, and the kernel kills it with us. Every page has a tab of its own that is closed behind it, so nothing of a
// page goes on running; the context keeps cookies. Site isolation is off: a context holds nothing that its pages could
// steal from each other, contexts never share a process, and frames then follow the rules of the page that has them.
package chrome

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// Options are the settings of a Browser.
type Options struct {
	Path string // of the program; "" looks for one, "-" is none
	// Proxy is the "host:port" of the proxy that every request goes to.
	Proxy string
	// NoSandbox switches Chromium's own sandbox off, where the kernel does not let it work. A page that exploits
	// Chromium then has what its user has.
	NoSandbox bool
	Limits    Limits
	Logger    *slog.Logger
}

// Limits bound a Browser. Zeros stand for the defaults.
type Limits struct {
	Contexts int           // that are open; the one that was used longest ago is closed for a new one
	Pages    int           // after which the process is replaced
	Memory   int64         // bytes that its processes have for themselves, after which it is replaced (Linux)
	Idle     time.Duration // after which it is stopped
	Start    time.Duration // for it to start
	HTML     int           // characters of a page; what is longer is cut
	Quiet    time.Duration // without requests, after which a loaded page has finished
	Settle   time.Duration // for requests after a page has loaded
}

// The defaults of Limits.
const (
	DefaultContexts = 6
	DefaultPages    = 200
	DefaultMemory   = 2 << 30
	DefaultIdle     = 5 * time.Minute
	DefaultStart    = 20 * time.Second
	DefaultHTML     = 4 << 20
	DefaultQuiet    = 100 * time.Millisecond
	DefaultSettle   = 3 * time.Second
)

func (l Limits) complete() Limits {
	bound(&l.Contexts, DefaultContexts)
	bound(&l.Pages, DefaultPages)
	bound(&l.Memory, DefaultMemory)
	bound(&l.Idle, DefaultIdle)
	bound(&l.Start, DefaultStart)
	bound(&l.HTML, DefaultHTML)
	bound(&l.Quiet, DefaultQuiet)
	bound(&l.Settle, DefaultSettle)
	return l
}

func bound[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// A Status is what a Browser is like.
type Status struct {
	Path     string // of the program, "" without one
	Version  string // such as "HeadlessChrome/156.0.7000.0", once it has been started
	Reason   string // why there is none, or why it could not be started the last time
	Running  bool
	Sandbox  bool   // Chromium's own
	User     string // as whom it runs
	Contexts int    // open
	Pages    int64  // opened since New
	Starts   int64  // of the process since New
	Crashes  int64  // of the process since New, those that we killed because they hung included
	Memory   int64  // bytes that its processes have for themselves
}

// Errors that callers tell apart. All others are about one page.
var (
	// ErrAbsent is in errors of a Browser that has no program.
	ErrAbsent = errors.New("no Chromium")
	// ErrClosed is returned by a Browser or Context that was closed.
	ErrClosed = errors.New("the browser is closed")
	// ErrCrashed says that Chromium ended while it had the page, or that the tab did.
	ErrCrashed = errors.New("Chromium crashed on the page")
	// ErrDownload says that the URL is a file to be saved, which is refused.
	ErrDownload = errors.New("the page is a download")
)

// A LoadError says why Chromium could not load a page.
type LoadError struct{ Code string } // such as "net::ERR_TUNNEL_CONNECTION_FAILED"

func (e *LoadError) Error() string { return "Chromium could not load the page: " + e.Code }

// A Browser is a Chromium that is started when it is needed.
type Browser struct {
	options Options
	limits  Limits
	path    string
	log     *slog.Logger
	slots   chan struct{} // capacity: Limits.Contexts; who opens a page has one

	mu       sync.Mutex // guards what follows, and the fields of contexts and processes that say so
	current  *process
	all      map[*process]bool // that run, with those that were replaced and have users
	starting *start
	open     []*Context // that have a context in current, the one that was used longest ago first
	idle     *time.Timer
	status   Status
	closed   bool
	work     sync.WaitGroup // what goes on without a caller; added to before closed is set
}

// A start is a process that is being started; who waits for it reads it when done is closed.
type start struct {
	done chan struct{}
	p    *process
	err  error
}

// New looks for the program. It starts nothing, and a Browser without one says so in Status and errors.
func New(o Options) *Browser {
	b := &Browser{options: o, limits: o.Limits.complete(), log: o.Logger, all: map[*process]bool{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.slots = make(chan struct{}, b.limits.Contexts)
	path, err := Find(o.Path)
	b.path, b.status.Path, b.status.User, b.status.Sandbox = path, path, identity(), !o.NoSandbox
	if err != nil {
		b.status.Reason = err.Error()
	}
	b.idle = time.AfterFunc(b.limits.Idle, b.stopIdle)
	return b
}

// Available reports whether there is a program.
func (b *Browser) Available() bool { return b.path != "" }

// Status returns what the Browser is like.
func (b *Browser) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Contexts = len(b.open)
	if b.current != nil {
		s.Running, s.Memory = true, groupMemory(b.current.child.pgid())
	}
	return s
}

// Start starts Chromium, so that the first page need not wait for it, and returns when it runs.
func (b *Browser) Start(ctx context.Context) error {
	p, err := b.take(ctx)
	if err != nil {
		return err
	}
	b.release(p)
	return nil
}

// StartSoon starts Chromium without waiting for it.
func (b *Browser) StartSoon() {
	b.background(func() {
		ctx, stop := context.WithTimeout(context.Background(), b.limits.Start)
		defer stop()
		b.Start(ctx) // the next page gets the error
	})
}

// Close ends Chromium and all that it does, and returns when it has ended.
func (b *Browser) Close() error {
	b.mu.Lock()
	b.closed = true
	b.idle.Stop()
	b.current, b.open = nil, nil
	all := slices.Collect(maps.Keys(b.all))
	b.mu.Unlock()
	for _, p := range all {
		p.end()
	}
	b.work.Wait()
	return nil
}

// background runs what nobody waits for but Close.
func (b *Browser) background(run func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.work.Go(run)
	}
}

// take returns the process that serves now, started if need be. The caller releases it.
func (b *Browser) take(ctx context.Context) (*process, error) {
	for {
		b.mu.Lock()
		switch {
		case b.closed:
			b.mu.Unlock()
			return nil, ErrClosed
		case b.path == "":
			defer b.mu.Unlock()
			return nil, fmt.Errorf("%w: %s", ErrAbsent, b.status.Reason)
		case b.current != nil && !b.current.isDead():
			p := b.current
			p.users++
			b.mu.Unlock()
			return p, nil
		}
		s := b.starting
		if s == nil {
			s = &start{done: make(chan struct{})}
			b.starting = s
			b.work.Go(func() { b.begin(s) })
		}
		b.mu.Unlock()
		select {
		case <-s.done:
			if s.err != nil {
				return nil, s.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// begin starts a process and makes it the one that serves.
func (b *Browser) begin(s *start) {
	defer close(s.done)
	p, err := b.startProcess()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.starting = nil
	if err != nil {
		s.err = err
		b.status.Reason = err.Error()
		b.log.Warn("chromium could not be started", "path", b.path, "error", err)
		return
	}
	b.status.Starts++
	b.status.Version, b.status.Reason = p.version, ""
	if b.closed {
		s.err = ErrClosed
		b.work.Go(p.end) // begin is part of work itself, so Close still waits
		return
	}
	b.current, b.open, b.all[p] = p, nil, true
	b.idle.Reset(b.limits.Idle)
	b.log.Info("chromium started", "path", b.path, "version", p.version, "sandbox", b.status.Sandbox)
	b.work.Go(func() {
		<-p.child.gone
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all, p)
		if !p.ending {
			b.status.Crashes++
			b.log.Warn("chromium ended unexpectedly", "output", p.child.out.String())
		}
		if b.current == p {
			b.current, b.open = nil, nil
		}
		p.cancel()
	})
}

// release gives a process back. One that has served enough is ended by the last.
func (b *Browser) release(p *process) {
	b.mu.Lock()
	p.users--
	if b.current == p && (p.pages >= b.limits.Pages || p.spent) {
		b.current, b.open = nil, nil
	}
	over := p.users == 0 && b.current != p
	closed := b.closed
	b.idle.Reset(b.limits.Idle)
	b.mu.Unlock()
	if over && !closed {
		b.background(p.end)
	}
}

func (b *Browser) stopIdle() {
	b.mu.Lock()
	p := b.current
	if b.closed || p == nil || p.users > 0 {
		b.mu.Unlock()
		return
	}
	b.current, b.open = nil, nil
	b.mu.Unlock()
	b.background(p.end)
}

// measure has a process replaced that has grown.
func (b *Browser) measure(p *process) {
	if n := groupMemory(p.child.pgid()); n > b.limits.Memory {
		b.log.Info("chromium is replaced", "memory_bytes", n)
		b.mu.Lock()
		p.spent = true
		b.mu.Unlock()
	}
}

// A process is one run of Chromium.
type process struct {
	child   *child
	ctx     context.Context // of chromedp, without a tab: an object whose life is a process
	cancel  context.CancelFunc
	version string

	// Guarded by Browser.mu.
	users  int  // pages that are being opened
	pages  int  // that were opened
	spent  bool // to be replaced
	ending bool // by us
	mu     *sync.Mutex
}

func (p *process) isDead() bool {
	select {
	case <-p.child.gone:
		return true
	case <-p.ctx.Done():
		return true
	default:
		return false
	}
}

// end kills the process and waits for its end. There is nothing in it to be saved.
func (p *process) end() {
	p.mu.Lock()
	p.ending = true
	p.mu.Unlock()
	p.cancel()
	p.child.kill()
	<-p.child.gone
}

func (b *Browser) startProcess() (*process, error) {
	c, err := launch(b.path, b.flags())
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", b.path, err)
	}
	root, stop := context.WithCancel(context.Background())
	alloc, _ := chromedp.NewAllocatorContext(root, attached{c.conn})
	quiet := func(format string, args ...any) {
		b.log.Debug("chromium protocol", "message", fmt.Sprintf(format, args...))
	}
	ctx, _ := chromedp.NewContext(alloc, chromedp.WithBrowserOption(
		chromedp.WithBrowserLogf(quiet), chromedp.WithBrowserErrorf(quiet)))
	p := &process{child: c, ctx: ctx, cancel: stop, mu: &b.mu}
	timer := time.AfterFunc(b.limits.Start, stop)
	v, err := chromedp.CallBrowser(ctx, browser.GetVersion, cdp.Empty{})
	if !timer.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		stop()
		c.kill()
		<-c.gone
		return nil, startError(b.path, c.out.String(), err)
	}
	p.version = v.Product
	return p, nil
}

// startError says what Chromium said.
func startError(path, output string, err error) error {
	if strings.Contains(output, "No usable sandbox") || strings.Contains(output, "sandbox helper") ||
		strings.Contains(output, "Operation not permitted") && strings.Contains(output, "amespace") {
		return fmt.Errorf("start %s: Chromium cannot make its sandbox here: the kernel must allow user namespaces (or Debian's "+
			"package chromium-sandbox be installed); it can be run without the sandbox by configuration", path)
	}
	lines := strings.Split(output, "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Errorf("start %s: %w: %.300s", path, err, last)
	}
	return fmt.Errorf("start %s: %w", path, err)
}

// flags are what Chromium is started with.
func (b *Browser) flags() []string {
	f := []string{
		"--headless", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--mute-audio",
		"--hide-scrollbars", "--window-size=1280,1024", "--force-color-profile=srgb", "--lang=en-US",

		// The only way out. What asks for no proxy, or does not know the password of a context, gets nowhere; names are
		// resolved by the proxy alone; loopback goes there too, to be refused.
		"--proxy-server=http://" + b.options.Proxy, "--proxy-bypass-list=<-loopback>",
		"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE " + host(b.options.Proxy),
		"--disable-quic", "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
		"--webrtc-ip-handling-policy=disable_non_proxied_udp", "--dns-prefetch-disable", "--no-pings",

		// Chromium's own errands.
		"--disable-background-networking", "--disable-component-update", "--disable-component-extensions-with-background-pages",
		"--disable-domain-reliability", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--disable-breakpad",
		"--disable-crash-reporter", "--disable-client-side-phishing-detection", "--disable-search-engine-choice-screen",
		"--metrics-recording-only", "--no-report-upload", "--safebrowsing-disable-auto-update", "--password-store=basic",
		"--use-mock-keychain", "--no-service-autorun",
		"--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,CertificateTransparencyComponentUpdater," +
			"AutofillServerCommunication,InterestFeedContentSuggestions,NetworkTimeServiceQuerying,Prerender2,SpeculationRules," +
			"WebBluetooth,WebUSB,WebTransport,IsolateOrigins,site-per-process,AsyncDns,DnsOverHttps,NetworkPrediction," +
			"PreloadPages,PrefetchPrivacyChanges,BackForwardCache,AudioServiceOutOfProcess",
		"--disable-blink-features=WebTransport,AutomationControlled",

		// What pages may not do or do not need.
		"--block-new-web-contents", "--deny-permission-prompts", "--disable-notifications", "--disable-speech-api",
		"--disable-gpu", "--disable-3d-apis", "--disable-hang-monitor", "--disable-prompt-on-repost", "--disable-file-system",
		"--disable-site-isolation-trials", "--js-flags=--max-old-space-size=512", "--disk-cache-size=1048576",
		"--autoplay-policy=document-user-activation-required",

		// Tabs that nobody looks at are not slowed down.
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
	}
	if b.options.NoSandbox {
		f = append(f, "--no-sandbox")
	}
	if smallShm() {
		f = append(f, "--disable-dev-shm-usage")
	}
	return append(f, "about:blank")
}

func host(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		return strings.Trim(address[:i], "[]")
	}
	return address
}

// A Context is a profile of its own within the browser: cookies, caches, and a name and password at the proxy.
type Context struct {
	b              *Browser
	user, password string
	turn           chan struct{} // capacity 1: one page at a time

	// Guarded by Browser.mu.
	p      *process
	id     cdp.BrowserContextID
	closed bool
}

// Context returns a context. It is made in the browser when its first page is opened, and made anew, without its
// cookies, after it was closed for another or the process was replaced.
func (b *Browser) Context(user, password string) *Context {
	return &Context{b: b, user: user, password: password, turn: make(chan struct{}, 1)}
}

// Close closes the context in the browser. A page that is being opened fails.
func (c *Context) Close() {
	b := c.b
	b.mu.Lock()
	c.closed = true
	p, id := c.forget()
	b.mu.Unlock()
	if p != nil {
		b.background(func() { p.dispose(id) })
	}
}

// forget takes the context out of the browser's list. The caller holds Browser.mu.
func (c *Context) forget() (*process, cdp.BrowserContextID) {
	c.b.open = slices.DeleteFunc(c.b.open, func(o *Context) bool { return o == c })
	p, id := c.p, c.id
	c.p, c.id = nil, ""
	return p, id
}

// closeTime is for Chromium to close something, which a page cannot prevent; if it takes longer, Chromium hangs.
const closeTime = 10 * time.Second

// dispose closes a context and all its tabs. A Chromium that cannot is killed.
func (p *process) dispose(id cdp.BrowserContextID) {
	ctx, stop := context.WithTimeout(p.ctx, closeTime)
	defer stop()
	_, err := chromedp.CallBrowser(ctx, target.DisposeBrowserContext, target.DisposeBrowserContextParams{BrowserContextID: id})
	if errors.Is(err, context.DeadlineExceeded) {
		p.child.kill()
	}
}

// enter makes the context in a process, closing another one if there are too many. The caller has a slot, so one of the
// others has none and is not in use.
func (c *Context) enter(ctx context.Context, p *process) (cdp.BrowserContextID, error) {
	b := c.b
	b.mu.Lock()
	if c.closed {
		b.mu.Unlock()
		return "", ErrClosed
	}
	if c.p == p {
		b.open = append(slices.DeleteFunc(b.open, func(o *Context) bool { return o == c }), c)
		b.mu.Unlock()
		return c.id, nil
	}
	var old *Context
	if len(b.open) >= b.limits.Contexts {
		if i := slices.IndexFunc(b.open, func(o *Context) bool { return len(o.turn) == 0 }); i >= 0 {
			old = b.open[i]
		}
	}
	var oldID cdp.BrowserContextID
	var oldProcess *process
	if old != nil {
		oldProcess, oldID = old.forget()
	}
	b.mu.Unlock()
	if oldProcess != nil {
		b.background(func() { oldProcess.dispose(oldID) })
	}
	made, err := call(ctx, p, target.CreateBrowserContext, target.CreateBrowserContextParams{
		DisposeOnDetach: yes(), ProxyServer: "http://" + b.options.Proxy, ProxyBypassList: "<-loopback>",
	})
	if err != nil {
		return "", err
	}
	id := made.BrowserContextID
	_, err = call(ctx, p, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorDeny, BrowserContextID: id,
	})
	b.mu.Lock()
	usable := err == nil && !c.closed && b.current == p
	if usable {
		c.p, c.id = p, id
		b.open = append(b.open, c)
	}
	b.mu.Unlock()
	if !usable {
		b.background(func() { p.dispose(id) })
		if err == nil {
			err = errGone // or replaced, or the context closed, which the caller sees
		}
		return "", err
	}
	return id, nil
}

// call runs a command of the browser, until the caller's context ends.
func call[P, R any](ctx context.Context, p *process, c cdp.Command[P, R], params P) (R, error) {
	both, stop := context.WithCancelCause(p.ctx)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
	r, err := chromedp.CallBrowser(both, c, params)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r, err
}

func yes() *bool { v := true; return &v }

package chrome

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/css"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A Page is what a page has become in the browser.
type Page struct {
	URL       string // of the document, after all redirects
	Status    int    // of the HTTP response, 0 if there was none
	MIME      string // of the document
	Title     string
	HTML      string // of the document as it is, shadow trees unfolded
	Truncated bool   // HTML is cut
}

// Render opens a page and returns it when it has loaded and its requests have ended, or when the time that the context
// leaves is almost over, whatever has become of it until then. Only http and https URLs are opened; which of them is for
// the proxy. Errors are ErrAbsent, ErrClosed, ErrCrashed, ErrDownload, a *LoadError or those of the context.
func (c *Context) Render(ctx context.Context, url string) (*Page, error) {
	var p *Page
	err := c.visit(ctx, url, withoutPictures, func(ctx context.Context, t *tab) (err error) {
		p, err = t.read(ctx)
		return err
	})
	return p, err
}

// The most of a page that is in a screenshot.
const (
	pictureWidth  = 1280
	pictureHeight = 8192
)

// Screenshot opens a page as Render does, with its pictures and fonts, and returns what it looks like, as PNG.
func (c *Context) Screenshot(ctx context.Context, url string) ([]byte, *Page, error) {
	var picture []byte
	var p *Page
	err := c.visit(ctx, url, withPictures, func(ctx context.Context, t *tab) error {
		size, err := cdp.Call(ctx, t.target(), page.GetLayoutMetrics, cdp.Empty{})
		if err != nil {
			return err
		}
		clip := &page.Viewport{Width: pictureWidth, Height: pictureHeight, Scale: 1}
		if size.CSSContentSize != nil {
			clip.Height = min(max(size.CSSContentSize.Height, 1), pictureHeight)
		}
		shot, err := cdp.Call(ctx, t.target(), page.CaptureScreenshot, page.CaptureScreenshotParams{
			Format: page.CaptureScreenshotFormatPng, Clip: clip, CaptureBeyondViewport: yes(),
		})
		if err != nil {
			return err
		}
		picture = shot.Data
		p, err = t.read(ctx) // after the picture: reading unfolds shadow trees
		return err
	})
	return picture, p, err
}

type pictures bool

const (
	withPictures    pictures = true
	withoutPictures pictures = false
)

// visit opens a page in a tab, lets something be done with it when it has finished, and closes the tab.
func (c *Context) visit(ctx context.Context, url string, pics pictures, use func(context.Context, *tab) error) error {
	if s, _, _ := strings.Cut(strings.ToLower(url), "://"); s != "http" && s != "https" {
		return &LoadError{"only http and https"}
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case c.b.slots <- struct{}{}:
		defer func() { <-c.b.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for try := 0; ; try++ {
		err := c.visitOnce(ctx, url, pics, use)
		// Another page may have been what crashed the browser.
		if try > 0 || ctx.Err() != nil || !errors.Is(err, errGone) {
			return err
		}
	}
}

// errGone says that the whole process has ended.
var errGone = &goneError{}

type goneError struct{}

func (*goneError) Error() string        { return ErrCrashed.Error() }
func (*goneError) Is(target error) bool { return target == ErrCrashed }

func (c *Context) visitOnce(ctx context.Context, url string, pics pictures, use func(context.Context, *tab) error) error {
	p, err := c.b.take(ctx)
	if err != nil {
		return err
	}
	defer c.b.release(p)
	id, err := c.enter(ctx, p)
	if err == nil {
		err = c.b.withTab(ctx, p, id, func(ctx context.Context, t *tab) error {
			t.pictures, t.user, t.password = pics, c.user, c.password
			if err := t.open(ctx, url); err != nil {
				return err
			}
			return use(ctx, t)
		})
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	c.b.mu.Lock()
	closed := c.closed || c.b.closed
	c.b.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case p.isDead():
		return errGone
	}
	return err
}

// withTab runs something with a new tab, which is closed behind the caller's back.
func (b *Browser) withTab(ctx context.Context, p *process, id cdp.BrowserContextID, use func(context.Context, *tab) error) error {
	b.mu.Lock()
	p.pages++
	b.status.Pages++
	b.mu.Unlock()
	t := &tab{
		limits: b.limits, changed: make(chan struct{}, 1), asked: make(chan struct{}, 1),
		pending: map[network.RequestID]cdp.LoaderID{}, answered: map[fetch.RequestID]bool{},
	}
	parent, drop := context.WithCancel(p.ctx)
	life, cancel := chromedp.NewContext(parent,
		chromedp.WithExistingBrowserContext(id), chromedp.WithListener(t.hear))
	t.life = life
	done := make(chan error, 1)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		drop()
		cancel()
		return ErrClosed
	}
	// Until the tab is closed, which may take Chromium seconds, the process is in use.
	p.users++
	b.work.Go(func() {
		detach := context.AfterFunc(ctx, drop)
		err := chromedp.Do(life) // makes the tab, whose life is then not that of the caller
		if detach() && err == nil {
			err = t.serve(ctx, use)
		}
		done <- err
		b.closeTab(p, life)
		drop()
		cancel()
		b.measure(p)
		b.release(p)
	})
	b.mu.Unlock()
	return <-done
}

// serve runs something with the tab, within the caller's context, and answers what Chromium asks meanwhile.
func (t *tab) serve(ctx context.Context, use func(context.Context, *tab) error) error {
	both, stop := context.WithCancelCause(t.life)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
	t.mu.Lock()
	t.frame = cdp.FrameID(t.target().TargetID) // the main frame has the name of its tab
	t.mu.Unlock()
	answers := make(chan struct{})
	go func() {
		t.answer()
		close(answers)
	}()
	defer func() {
		t.stopAnswering()
		<-answers
	}()
	if at, ok := ctx.Deadline(); ok {
		limited, end := context.WithDeadline(both, at)
		defer end()
		return use(limited, t)
	}
	return use(both, t)
}

// closeTab closes a tab. A Chromium that cannot is killed, which ends whatever hangs.
func (b *Browser) closeTab(p *process, life context.Context) {
	hung := time.AfterFunc(closeTime, func() {
		b.log.Warn("chromium hangs and is killed")
		p.child.kill()
	})
	defer hung.Stop()
	// Other errors are about a tab that is gone, since its context was closed.
	if err := chromedp.Cancel(life); errors.Is(err, context.DeadlineExceeded) && !p.isDead() {
		b.log.Warn("a tab could not be closed, chromium is replaced", "error", err)
		b.mu.Lock()
		p.spent = true
		b.mu.Unlock()
	}
}

// A tab is one page that is being opened.
type tab struct {
	limits         Limits
	pictures       pictures
	user, password string
	life           context.Context // of chromedp: the tab is found through it

	mu       sync.Mutex // guards what follows
	frame    cdp.FrameID
	loader   cdp.LoaderID // of the document that is there
	loaded   bool
	crashed  bool
	status   int
	pending  map[network.RequestID]cdp.LoaderID // with the document that asked
	last     time.Time                          // of anything that was requested or has arrived
	todo     []any                              // events that want an answer
	answered map[fetch.RequestID]bool
	over     bool

	changed chan struct{} // capacity 1: something above has changed
	asked   chan struct{} // capacity 1: todo has grown
}

func (t *tab) target() *chromedp.Target { return chromedp.FromContext(t.life).Target }

// maxPending is how many requests are followed; a page that makes more is not waited for.
const maxPending = 1000

// hear is called with every event, and must not wait.
func (t *tab) hear(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *fetch.EventRequestPaused, *fetch.EventAuthRequired, *page.EventJavascriptDialogOpening:
		t.todo = append(t.todo, event)
		signal(t.asked)
		return
	case *network.EventRequestWillBeSent:
		if len(t.pending) < maxPending && !strings.HasPrefix(e.Request.URL, "data:") {
			t.pending[e.RequestID] = e.LoaderID
		}
		t.last = time.Now()
	case *network.EventDataReceived:
		t.last = time.Now()
		return
	case *network.EventLoadingFinished:
		delete(t.pending, e.RequestID)
		t.last = time.Now()
	case *network.EventLoadingFailed:
		delete(t.pending, e.RequestID)
		t.last = time.Now()
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument && e.FrameID == t.frame && e.Response != nil {
			t.status = int(e.Response.Status)
		}
		if e.Type == network.ResourceTypeEventSource {
			delete(t.pending, e.RequestID) // never ends
		}
	case *page.EventFrameNavigated:
		if e.Frame.ParentID == "" {
			t.frame, t.loader, t.loaded = e.Frame.ID, e.Frame.LoaderID, false
			t.last = time.Now()
			// What the document before was waiting for.
			maps.DeleteFunc(t.pending, func(_ network.RequestID, l cdp.LoaderID) bool { return l != t.loader })
		}
	case *page.EventFrameStoppedLoading:
		// Without a load event, if the page went on to what is no page, such as a download.
		if e.FrameID == t.frame {
			t.loaded, t.last = true, time.Now()
		}
	case *page.EventLifecycleEvent:
		if e.Name == "load" && e.FrameID == t.frame && e.LoaderID == t.loader {
			t.loaded, t.last = true, time.Now()
		}
	case *inspector.EventTargetCrashed:
		t.crashed = true
	default:
		return
	}
	signal(t.changed)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// answer answers what Chromium asks until the tab is closed.
func (t *tab) answer() {
	for {
		t.mu.Lock()
		todo, over := t.todo, t.over
		t.todo = nil
		t.mu.Unlock()
		if over {
			return
		}
		for _, e := range todo {
			t.answerOne(e)
		}
		select {
		case <-t.asked:
		case <-t.life.Done():
			return
		}
	}
}

func (t *tab) stopAnswering() {
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	signal(t.asked)
}

// answerOne answers one event. What cannot be answered is about a request or dialog that is gone.
func (t *tab) answerOne(event any) {
	ctx, stop := context.WithTimeout(t.life, closeTime)
	defer stop()
	switch e := event.(type) {
	case *fetch.EventRequestPaused:
		switch e.ResourceType {
		case network.ResourceTypeImage, network.ResourceTypeMedia, network.ResourceTypeFont:
			if t.pictures == withoutPictures || e.ResourceType == network.ResourceTypeMedia {
				cdp.Call(ctx, t.target(), fetch.FailRequest, fetch.FailRequestParams{
					RequestID: e.RequestID, ErrorReason: network.ErrorReasonBlockedByClient,
				})
				return
			}
		}
		cdp.Call(ctx, t.target(), fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
	case *fetch.EventAuthRequired:
		r := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
		// Only the proxy gets the password, and only once: one that it does not take is not asked for again.
		if e.AuthChallenge != nil && e.AuthChallenge.Source == fetch.AuthChallengeSourceProxy && !t.answered[e.RequestID] {
			t.answered[e.RequestID] = true
			r = &fetch.AuthChallengeResponse{
				Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: t.user, Password: t.password,
			}
		}
		cdp.Call(ctx, t.target(), fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{
			RequestID: e.RequestID, AuthChallengeResponse: r,
		})
	case *page.EventJavascriptDialogOpening:
		cdp.Call(ctx, t.target(), page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{
			Accept: e.Type == page.DialogTypeBeforeunload, // is asked whether to leave
		})
	}
}

// guard runs in every document before its own scripts. It takes away what a page that is only read does not need; the
// layers below hold where a page gets it back.
//
//go:embed guard.js
var guard string

// reader returns the document, in a world of its own where nothing of the page's scripts can change what it finds.
//
//go:embed reader.js
var reader string

// prepare sets up a tab. Events that quote what a page makes are switched off where they are not needed.
func (t *tab) prepare(ctx context.Context) error {
	zero := new(int64)
	kinds := []*fetch.RequestPattern{
		{ResourceType: network.ResourceTypeDocument}, // for the proxy's password
		{ResourceType: network.ResourceTypeImage}, {ResourceType: network.ResourceTypeMedia},
		{ResourceType: network.ResourceTypeFont},
	}
	for _, step := range []struct {
		method string
		params any
	}{
		{runtime.Disable.Method, cdp.Empty{}}, {log.Disable.Method, cdp.Empty{}},
		{css.Disable.Method, cdp.Empty{}}, {dom.Disable.Method, cdp.Empty{}},
		{network.Enable.Method, network.EnableParams{
			MaxTotalBufferSize: zero, MaxResourceBufferSize: zero, MaxPostDataSize: zero,
		}},
		{network.SetBypassServiceWorker.Method, network.SetBypassServiceWorkerParams{Bypass: true}},
		{fetch.Enable.Method, fetch.EnableParams{Patterns: kinds, HandleAuthRequests: yes()}},
		{page.AddScriptToEvaluateOnNewDocument.Method, page.AddScriptToEvaluateOnNewDocumentParams{Source: guard}},
		{page.SetInterceptFileChooserDialog.Method, page.SetInterceptFileChooserDialogParams{Enabled: true, Cancel: yes()}},
	} {
		if err := t.target().Call(ctx, step.method, step.params, nil); err != nil {
			return err
		}
	}
	return nil
}

// reserve is the part of the time that is left for reading a page that has not finished.
const reserve = 5

// open navigates and waits until the page has finished, or most of the time is over.
func (t *tab) open(ctx context.Context, url string) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	loading := ctx
	if end, ok := ctx.Deadline(); ok {
		var stop context.CancelFunc
		left := time.Until(end)
		loading, stop = context.WithTimeout(ctx, left-left/reserve)
		defer stop()
	}
	r, err := cdp.Call(loading, t.target(), page.Navigate, page.NavigateParams{URL: url})
	switch {
	case err != nil && ctx.Err() == nil && loading.Err() != nil:
		return &LoadError{"no answer in time"}
	case err != nil:
		return err
	case r.IsDownload:
		return ErrDownload
	case r.ErrorText != "":
		return &LoadError{r.ErrorText}
	}
	t.wait(loading)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.crashed {
		return ErrCrashed
	}
	return ctx.Err()
}

// wait returns when the document has loaded and nothing was requested for a while, when it has loaded long ago, or when
// the time is over.
func (t *tab) wait(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var since time.Time // has been loaded
	for {
		t.mu.Lock()
		next := time.Duration(-1)
		if !t.loaded {
			since = time.Time{}
		}
		if t.loaded && since.IsZero() {
			since = time.Now()
		}
		if t.loaded {
			next = t.limits.Settle - time.Since(since)
			if len(t.pending) == 0 {
				next = min(next, t.limits.Quiet-time.Since(t.last))
			}
		}
		done := t.crashed || t.loaded && next <= 0
		t.mu.Unlock()
		if done {
			return
		}
		timer.Reset(max(next, 0))
		if next < 0 {
			timer.Stop()
		}
		select {
		case <-timer.C:
		case <-t.changed:
		case <-ctx.Done():
			return
		}
	}
}

// read returns the document. A script that does not end is ended.
func (t *tab) read(ctx context.Context) (*Page, error) {
	p, err := t.evaluate(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	p.Status = t.status
	t.mu.Unlock()
	return p, nil
}

func (t *tab) evaluate(ctx context.Context) (*Page, error) {
	t.mu.Lock()
	frame, busy := t.frame, !t.loaded
	t.mu.Unlock()
	if busy {
		// Waits for no script: it is for those that run now.
		if _, err := cdp.Call(ctx, t.target(), runtime.TerminateExecution, cdp.Empty{}); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	world, err := cdp.Call(ctx, t.target(), page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{
		FrameID: frame, WorldName: "reader",
	})
	if err != nil {
		return nil, err
	}
	most, err := json.Marshal(t.limits.HTML)
	if err != nil {
		return nil, err
	}
	r, err := cdp.Call(ctx, t.target(), runtime.Evaluate, runtime.EvaluateParams{
		Expression: "(" + reader + ")(" + string(most) + ")", ContextID: world.ExecutionContextID, ReturnByValue: yes(),
		Silent: yes(),
	})
	if err != nil {
		return nil, err
	}
	p := &Page{}
	if r.ExceptionDetails != nil || json.Unmarshal(r.Result.Value, p) != nil {
		return nil, &LoadError{"the document cannot be read"}
	}
	return p, nil
}

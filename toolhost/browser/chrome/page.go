package chrome

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
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
		c.b.background(func() { c.b.ping(p) })
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
	hung := time.AfterFunc(b.limits.Hang, func() {
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

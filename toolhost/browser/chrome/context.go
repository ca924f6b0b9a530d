package chrome

import (
	"context"
	"slices"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

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
		b.background(func() { b.dispose(p, id) })
	}
}

// forget takes the context out of the browser's list. The caller holds Browser.mu.
func (c *Context) forget() (*process, cdp.BrowserContextID) {
	c.b.open = slices.DeleteFunc(c.b.open, func(o *Context) bool { return o == c })
	p, id := c.p, c.id
	c.p, c.id = nil, ""
	return p, id
}

// dispose closes a context and all its tabs.
func (b *Browser) dispose(p *process, id cdp.BrowserContextID) {
	b.answers(p, func(ctx context.Context) error {
		_, err := chromedp.CallBrowser(ctx, target.DisposeBrowserContext, target.DisposeBrowserContextParams{BrowserContextID: id})
		return err
	})
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
		b.background(func() { b.dispose(oldProcess, oldID) })
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
		b.background(func() { b.dispose(p, id) })
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

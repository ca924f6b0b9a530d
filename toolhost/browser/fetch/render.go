package fetch

import (
	"context"
	"errors"
	"fmt"

	"chorale/toolhost/browser/chrome"
)

// render opens a page that was fetched over HTTP in Chromium.
func (s *Session) render(ctx context.Context, plain *Document) (*Document, error) {
	c, err := s.chrome()
	if err != nil {
		return nil, err
	}
	s.lastRefused()
	p, err := c.Render(ctx, plain.URL)
	if err != nil {
		return nil, s.renderError(err)
	}
	d := &Document{
		Status: p.Status, MIME: "text/html", Charset: "utf-8", Title: p.Title, Body: []byte(p.HTML), Rendered: true,
		Truncated: p.Truncated,
	}
	if d.URL, err = s.checkRendered(p); err != nil {
		return nil, err
	}
	if int64(len(d.Body)) > s.f.limits.Body {
		d.Body, d.Truncated = d.Body[:s.f.limits.Body], true
	}
	return d, nil
}

// checkRendered looks at where scripts have led a page.
func (s *Session) checkRendered(p *chrome.Page) (string, error) {
	u, err := checkURL(p.URL)
	var bad *Error
	refused := s.lastRefused()
	switch {
	case (err != nil || p.Status >= 400) && refused != nil:
		return "", refused
	case errors.As(err, &bad):
		return "", &Error{Kind: Network, Message: "the page has led the browser to something that cannot be opened", Err: err}
	case p.Status >= 400:
		return "", &Error{Kind: HTTP, Message: fmt.Sprintf("%s answered the browser with status %d%s", u, p.Status,
			statusText(p.Status))}
	}
	return u.String(), nil
}

// chrome returns the session's context of Chromium.
func (s *Session) chrome() (*chrome.Context, error) {
	if s.f.browser == nil || !s.f.browser.Available() {
		reason := "it is switched off"
		if s.f.browser != nil {
			reason = s.f.browser.Status().Reason
		}
		return nil, &Error{Kind: Browser, Message: "this needs a browser, and there is none: " + reason, Err: chrome.ErrAbsent}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.Err() != nil {
		return nil, errClosed
	}
	if s.context == nil {
		s.f.proxy.enter(s)
		s.context = s.f.browser.Context(s.user, s.password)
	}
	return s.context, nil
}

// renderError makes an *Error of what Chromium could not do, but for the ends of contexts.
func (s *Session) renderError(err error) error {
	var load *chrome.LoadError
	e := &Error{Kind: Browser, Message: "the browser could not show the page: " + err.Error(), Err: err}
	switch {
	case errors.As(err, &load):
		if refused := s.lastRefused(); refused != nil {
			return refused
		}
		e.Kind, e.Message = Network, load.Error()
	case errors.Is(err, chrome.ErrDownload):
		e.Kind, e.Message = Type, "the page is a file to be saved, which is not possible here"
	case errors.Is(err, chrome.ErrCrashed), errors.Is(err, chrome.ErrAbsent):
	case errors.Is(err, chrome.ErrClosed):
		return errClosed
	}
	var late *timeError
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) || errors.Is(err, errClosed) {
		return err
	}
	return e
}

// Screenshot opens a page in Chromium, whatever the mode is, and returns a PNG of it for people: 1280 pixels wide, and
// as high as the page, up to 8192. Errors are an *Error.
func (s *Session) Screenshot(ctx context.Context, url string) ([]byte, error) {
	var png []byte
	_, err := s.timed(ctx, url, func(ctx context.Context) (*Document, error) {
		u, err := checkURL(url)
		if err != nil {
			return nil, err
		}
		c, err := s.chrome()
		if err != nil {
			return nil, err
		}
		s.lastRefused()
		picture, p, err := c.Screenshot(ctx, u.String())
		if err != nil {
			return nil, s.renderError(err)
		}
		if _, err := s.checkRendered(p); err != nil {
			return nil, err
		}
		png = picture
		return &Document{}, nil
	})
	return png, err
}

// A Status is what a Fetcher can do.
type Status struct {
	Mode   Mode
	Chrome chrome.Status // Reason says why there is none
}

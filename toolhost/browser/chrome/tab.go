package chrome

import (
	"context"
	_ "embed"
	"encoding/json"
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
	ctx, stop := context.WithTimeout(t.life, t.limits.Hang)
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
	steps := []struct {
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
	}
	// All at once: each answer takes a while, and none depends on another.
	done := make(chan error, len(steps))
	for _, step := range steps {
		go func() { done <- t.target().Call(ctx, step.method, step.params, nil) }()
	}
	var first error
	for range steps {
		if err := <-done; first == nil {
			first = err
		}
	}
	return first
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

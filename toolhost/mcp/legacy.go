package mcp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// A pair is the carrier of HTTP+SSE of 2024-11-05: one stream of events for all that the server says, and a second
// address for what is said to it.
type pair struct {
	*streamable // of the second address
	cancel      context.CancelFunc
	read        chan struct{} // closed when the stream has ended

	mu      sync.Mutex // guards what follows
	waiting map[string]chan *message
	broken  error
}

// openSSE opens the stream at the address of s and waits until the server has said where to send to, which must be of
// the same origin: header fields with secrets go there.
func openSSE(ctx context.Context, s *streamable) (*pair, error) {
	life, cancel := context.WithCancel(withExchange(context.Background(), exchangeOf(ctx)))
	stop := context.AfterFunc(ctx, cancel) // until it is open
	resp, err := s.request(life, http.MethodGet, outgoing{})
	if err == nil && (resp.StatusCode != http.StatusOK || kind(resp) != "text/event-stream") {
		err = s.failure(resp)
		if resp.StatusCode == http.StatusUnauthorized {
			err = authError(resp, s.mask)
		}
		resp.Body.Close()
	}
	if err != nil {
		cancel()
		return nil, ended(ctx, err)
	}
	p := &pair{streamable: s, cancel: cancel, read: make(chan struct{}), waiting: map[string]chan *message{}}
	limits := s.limits
	limits.Stream = 1 << 62 // of a stream that lasts as long as the connection only the parts are limited
	r := newEventReader(resp.Body, limits, nil)
	ev, err := r.next()
	if err == nil {
		err = p.moveTo(ev)
	}
	if err != nil || !stop() {
		cancel()
		resp.Body.Close()
		return nil, ended(ctx, broken(err))
	}
	go func() {
		defer close(p.read)
		defer resp.Body.Close()
		p.fail(p.events(r))
	}()
	return p, nil
}

func (p *pair) moveTo(ev event) error {
	if ev.name != "endpoint" {
		return &InvalidError{fmt.Sprintf("first event %q, not endpoint", ev.name)}
	}
	base, err := url.Parse(p.url)
	if err != nil {
		return err
	}
	to, err := base.Parse(strings.TrimSpace(string(ev.data)))
	if err != nil || to.Scheme != base.Scheme || to.Host != base.Host || to.User != nil {
		return &InvalidError{"an endpoint at another origin"}
	}
	p.url = to.String()
	return nil
}

func (p *pair) events(r *eventReader) error {
	for {
		ev, err := r.next()
		if err != nil {
			return broken(err)
		}
		if len(ev.data) == 0 || ev.name != "" && ev.name != "message" {
			continue
		}
		m, err := read(p.mask.bytes(ev.data), p.limits)
		if err != nil {
			return err
		}
		if m.method != "" || m.id == nil {
			p.got(m)
			continue
		}
		p.mu.Lock()
		wait := p.waiting[string(m.id)]
		delete(p.waiting, string(m.id))
		p.mu.Unlock()
		if wait != nil {
			wait <- m
		}
	}
}

func (p *pair) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = err
	}
	for id, wait := range p.waiting {
		close(wait)
		delete(p.waiting, id)
	}
}

func (p *pair) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken
}

func (p *pair) call(ctx context.Context, out outgoing) (*message, error) {
	wait := make(chan *message, 1)
	p.mu.Lock()
	if p.broken != nil {
		defer p.mu.Unlock()
		return nil, p.broken
	}
	p.waiting[out.id] = wait
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, out.id)
		p.mu.Unlock()
	}()
	if err := p.send(ctx, out); err != nil {
		return nil, err
	}
	select {
	case m, ok := <-wait:
		if !ok {
			return nil, p.alive()
		}
		return m, nil
	case <-ctx.Done():
		return nil, ended(ctx, ctx.Err())
	}
}

func (p *pair) close() {
	p.fail(ErrClosed)
	p.cancel()
	<-p.read
	p.streamable.close()
}

package search

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Link is a backend of a Chain.
type Link struct {
	Backend  Backend
	Interval time.Duration // the least between two queries, as the plans of some engines have it; 0 = none
}

// ChainOptions configure a Chain. Zeros are the defaults, negative values switch off.
type ChainOptions struct {
	Remember time.Duration // how long an answer is taken from memory; 0 = 15 minutes
	Answers  int           // how many are remembered; 0 = 256
	Wait     time.Duration // for the interval of a backend, before the next one is asked; 0 = 3 s
	Rest     time.Duration // how long a backend is not asked that refused or could not be reached; 0 = 30 s
	Logger   *slog.Logger  // hears why a backend was passed over; nil = nobody
}

// A Chain asks backends in their order until one has results.
type Chain struct {
	o     ChainOptions
	links []*link

	mu      sync.Mutex               // guards what follows and next and rests of all links
	answers map[string]*list.Element // of *answer
	recent  *list.List               // the answer that was used last is in front
}

type link struct {
	Link
	next  time.Time // when it may be asked again
	rests time.Time // until when it is passed over
}

type answer struct {
	query   string
	results []Result
	until   time.Time
}

// NewChain returns a backend that asks others. Without any its error is ErrNoBackend.
func NewChain(o ChainOptions, links ...Link) *Chain {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Remember, 15 * time.Minute}, {&o.Wait, 3 * time.Second}, {&o.Rest, 30 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Answers == 0 {
		o.Answers = 256
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Chain{o: o, answers: map[string]*list.Element{}, recent: list.New()}
	for _, l := range links {
		c.links = append(c.links, &link{Link: l})
	}
	return c
}

// Name is the names of the backends in their order.
func (c *Chain) Name() string {
	names := make([]string, len(c.links))
	for i, l := range c.links {
		names[i] = l.Backend.Name()
	}
	return strings.Join(names, ", ")
}

// Search returns the first results that there are. If no backend has any, that is no error unless all of them failed: then the
// error joins what each said.
func (c *Chain) Search(ctx context.Context, q Query) ([]Result, error) {
	if len(c.links) == 0 {
		return nil, ErrNoBackend
	}
	key := cacheKey(q)
	if results, ok := c.recall(key); ok {
		return results, nil
	}
	var failures []error
	for _, l := range c.links {
		results, err := c.ask(ctx, l, q)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			c.o.Logger.Warn("search backend passed over", "backend", l.Backend.Name(), "err", err)
			failures = append(failures, err)
		case len(results) > 0:
			c.remember(key, results)
			return slices.Clone(results), nil
		}
	}
	if len(failures) < len(c.links) {
		return nil, nil
	}
	return nil, &chainError{failures}
}

// A chainError is what all backends said.
type chainError struct{ failures []error }

func (e *chainError) Error() string {
	texts := make([]string, len(e.failures))
	for i, f := range e.failures {
		texts[i] = f.Error()
	}
	return strings.Join(texts, "; ")
}

func (e *chainError) Unwrap() []error { return e.failures }

// ask asks one backend, when its interval allows.
func (c *Chain) ask(ctx context.Context, l *link, q Query) ([]Result, error) {
	c.mu.Lock()
	now := time.Now()
	wait := max(0, l.next.Sub(now))
	resting, long := now.Before(l.rests), wait > c.o.Wait
	if !resting && !long {
		l.next = now.Add(wait + l.Interval)
	}
	c.mu.Unlock()
	switch {
	case resting:
		return nil, &Error{Backend: l.Backend.Name(), Reason: "is left alone for a while, since it failed just now"}
	case long:
		return nil, &Error{Backend: l.Backend.Name(), Reason: "is asked too often"}
	case wait > 0:
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	results, err := l.Backend.Search(ctx, q)
	var e *Error
	if errors.As(err, &e) && !q.Offline && c.o.Rest > 0 {
		c.mu.Lock()
		l.rests = time.Now().Add(c.o.Rest)
		c.mu.Unlock()
	}
	return results, err
}

// cacheKey is equal for queries that are.
func cacheKey(q Query) string {
	q.Text = strings.ToLower(strings.Join(strings.Fields(q.Text), " "))
	data, err := json.Marshal(q)
	if err != nil {
		panic(err) // strings and numbers always can be written
	}
	return string(data)
}

func (c *Chain) recall(key string) ([]Result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.answers[key]
	if e == nil {
		return nil, false
	}
	a := e.Value.(*answer)
	if time.Now().After(a.until) {
		c.recent.Remove(e)
		delete(c.answers, key)
		return nil, false
	}
	c.recent.MoveToFront(e)
	return slices.Clone(a.results), true
}

func (c *Chain) remember(key string, results []Result) {
	if c.o.Remember < 0 || c.o.Answers < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.answers[key]; e != nil {
		c.recent.Remove(e)
	}
	c.answers[key] = c.recent.PushFront(&answer{key, slices.Clone(results), time.Now().Add(c.o.Remember)})
	for c.recent.Len() > c.o.Answers {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.answers, oldest.Value.(*answer).query)
	}
}

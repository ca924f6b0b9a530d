package mcp

import (
	"context"
	"fmt"
	"time"
)

// A clock ends a context when its time is up, and can be stopped while a person is asked something.
type clock struct {
	timer *time.Timer
	most  time.Duration
}

// within returns a context that ends with a *LimitError of that name, and its clock.
func within(ctx context.Context, most time.Duration, limit string) (context.Context, *clock, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	over := &LimitError{"time " + limit, most.String()}
	k := &clock{timer: time.AfterFunc(most, func() { cancel(over) }), most: most}
	return ctx, k, func() { k.timer.Stop(); cancel(nil) }
}

// stop lets the clock wait until it is wound.
func (k *clock) stop() {
	if k != nil {
		k.timer.Stop()
	}
}

// wind gives all of the time again.
func (k *clock) wind() {
	if k != nil {
		k.timer.Reset(k.most)
	}
}

// ended is the reason why a context ended, if it did, and the error otherwise.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	cause := context.Cause(ctx)
	if cause == context.Canceled || cause == context.DeadlineExceeded {
		return fmt.Errorf("the call was given up: %w", cause)
	}
	return cause
}

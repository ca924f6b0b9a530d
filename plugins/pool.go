package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"chorale/sandbox"
)

// A pool gives calls an initialised instance each.
type pool struct {
	s    *grantee
	mode InstanceMode
	init []string // exports to call first, those that there are
	boot *work    // what idle instances are configured with, so that they keep nothing of a call alive

	image *sandbox.Image // for reset: the state after init

	mu     sync.Mutex // guards what follows
	idle   []*sandbox.Instance
	closed bool
}

// newPool initialises an instance to see that it can be done. With reset, its state becomes what calls begin with.
func newPool(ctx context.Context, s *grantee, mode InstanceMode, init ...string) (*pool, error) {
	if mode == "" {
		mode = InstanceFresh
	}
	p := &pool{s: s, mode: mode, init: init, boot: s.work(func(error) {}, Call{})}
	in, err := p.fresh(ctx, p.boot.config(""))
	if err != nil {
		var a answer
		if a, err = p.boot.end(err); err == nil {
			err = errors.New(a.reason)
		}
		return nil, fmt.Errorf("initialise: %w", err)
	}
	if mode != InstanceReset {
		return p, in.Close()
	}
	if p.image, err = in.Capture(); err != nil {
		return nil, errors.Join(fmt.Errorf("instance: reset: %w", err), in.Close())
	}
	return p, in.Close()
}

// fresh returns a new instance after init.
func (p *pool) fresh(ctx context.Context, c sandbox.Config) (*sandbox.Instance, error) {
	in, err := p.s.plugin.module.Instantiate(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, name := range p.init {
		if !p.s.plugin.module.Exports(name) {
			continue
		}
		if _, err := in.Call(ctx, name); err != nil {
			return nil, errors.Join(err, in.Close())
		}
		break
	}
	return in, nil
}

// take returns an instance for a call.
func (p *pool) take(ctx context.Context, c sandbox.Config) (*sandbox.Instance, error) {
	if p.mode == InstanceFresh {
		return p.fresh(ctx, c)
	}
	p.mu.Lock()
	n := len(p.idle)
	if n == 0 {
		p.mu.Unlock()
		if p.mode == InstanceReset {
			return p.s.plugin.module.Fork(ctx, p.image, c)
		}
		return p.fresh(ctx, c)
	}
	in := p.idle[n-1]
	p.idle = p.idle[:n-1]
	p.mu.Unlock()
	if err := in.Configure(c); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

// give takes an instance back. One that cannot be used again is closed: it was lost, its memory has grown, or it is one too
// many.
func (p *pool) give(in *sandbox.Instance) {
	if !p.ready(in) {
		in.Close()
		return
	}
	p.mu.Lock()
	keep := !p.closed && int64(len(p.idle)) < p.s.limits.Concurrency
	if keep {
		p.idle = append(p.idle, in)
	}
	p.mu.Unlock()
	if !keep {
		in.Close()
	}
}

func (p *pool) ready(in *sandbox.Instance) bool {
	if p.mode == InstanceFresh || in.Configure(p.boot.config("")) != nil {
		return false
	}
	return p.mode == InstanceReuse || in.Reset(p.image) == nil
}

func (p *pool) close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var err error
	for _, in := range idle {
		err = errors.Join(err, in.Close())
	}
	if p.image != nil {
		err = errors.Join(err, p.image.Close())
	}
	return err
}

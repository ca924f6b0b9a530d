package cpu

import (
	"slices"

	"chorale/inference/gptoss"
	kernels "chorale/kernels/cpu"
)

// A routing is the way of a batch's tokens through a layer's experts. A token's visit to one of its experts is a slot;
// slots are sorted by expert, so that every expert multiplies all its tokens at once.
type routing struct {
	logits  kernels.Rows // [tokens, experts]
	experts []int32      // [tokens, expertsPerToken], by falling logit
	weights []float32    // [tokens, expertsPerToken]
	slots   []int32      // [tokens, expertsPerToken]
	first   []int        // [experts+1] each expert's first slot

	in     kernels.Rows // [slots, hidden]
	gateUp kernels.Rows // [slots, 2*intermediate]
	hidden kernels.Rows // [slots, intermediate]
	out    kernels.Rows // [slots, hidden]
}

func (r *routing) reshape(tokens int, c *gptoss.Config) {
	slots := tokens * c.ExpertsPerToken
	r.logits = reshape(r.logits, tokens, c.Experts)
	r.experts, r.weights, r.slots = resize(r.experts, slots), resize(r.weights, slots), resize(r.slots, slots)
	r.first = resize(r.first, c.Experts+1)
	r.in, r.out = reshape(r.in, slots, c.Hidden), reshape(r.out, slots, c.Hidden)
	r.gateUp, r.hidden = reshape(r.gateUp, slots, 2*c.Intermediate), reshape(r.hidden, slots, c.Intermediate)
}

// runExperts adds the experts' outputs to the residual stream.
func (p *pass) runExperts(tiles int) {
	r, l, c := &p.routed, p.layer, p.config
	r.sort(c.ExpertsPerToken)
	p.pool.run(gather, tiles)
	p.products = p.products[:0]
	for e := range c.Experts {
		from, to := r.first[e], r.first[e+1]
		if from == to {
			continue
		}
		x, y := r.in.Slice(from, to), r.gateUp.Slice(from, to)
		if l.gateUp != nil {
			p.products = append(p.products, product{m: &l.gateUp[e], x: x, y: y, bias: part(l.gateUpBias, e, 2*c.Intermediate)})
			continue
		}
		up := kernels.Rows{Data: y.Data[c.Intermediate:], N: y.N, Stride: y.Stride}
		p.products = append(p.products,
			product{m: &l.gate[e], x: x, y: y, bias: part(l.gateBias, e, c.Intermediate)},
			product{m: &l.up[e], x: x, y: up, bias: part(l.upBias, e, c.Intermediate)})
	}
	p.runProducts()
	p.pool.run(activate, tiles)
	p.products = p.products[:0]
	for e := range c.Experts {
		if from, to := r.first[e], r.first[e+1]; from < to {
			p.products = append(p.products,
				product{m: &l.down[e], x: r.hidden.Slice(from, to), y: r.out.Slice(from, to), bias: part(l.downBias, e, c.Hidden)})
		}
	}
	p.runProducts()
	p.pool.run(combine, tiles)
}

// part returns expert e's n of the values.
func part(values []float32, e, n int) []float32 { return values[e*n : (e+1)*n] }

// chooseExperts picks each token's experts, those of the highest logits and of equals the lowest, and the softmax over
// their logits alone.
func (p *pass) chooseExperts(tile span) {
	k := p.config.ExpertsPerToken
	for t := tile.from; t < tile.to; t++ {
		logits := p.routed.logits.Row(t)[:p.config.Experts]
		experts, weights := p.routed.experts[t*k:(t+1)*k], p.routed.weights[t*k:(t+1)*k]
		for i := range experts {
			best := -1
			for e, v := range logits {
				if (best < 0 || v > logits[best]) && !slices.Contains(experts[:i], int32(e)) {
					best = e
				}
			}
			experts[i], weights[i] = int32(best), logits[best]
		}
		largest, sum := weights[0], float32(0)
		for i, v := range weights {
			weights[i] = kernels.Exp(v - largest)
			sum += weights[i]
		}
		for i := range weights {
			weights[i] /= sum
		}
	}
}

// sort gives every token's visits their slots.
func (r *routing) sort(perToken int) {
	clear(r.first)
	for _, e := range r.experts {
		r.first[e+1]++
	}
	for e := 1; e < len(r.first); e++ {
		r.first[e] += r.first[e-1]
	}
	for i, e := range r.experts {
		r.slots[i] = int32(r.first[e])
		r.first[e]++
	}
	copy(r.first[1:], r.first) // each expert's first slot is now where the one before ends
	r.first[0] = 0
}

func (p *pass) gatherInputs(tile span) {
	k := p.config.ExpertsPerToken
	for i := tile.from * k; i < tile.to*k; i++ {
		copy(p.routed.in.Row(int(p.routed.slots[i])), p.normed.Row(i/k))
	}
}

// activateInputs works on the visits of a tile's tokens, wherever their slots are.
func (p *pass) activateInputs(tile span) {
	n, k := p.config.Intermediate, p.config.ExpertsPerToken
	limit, alpha := float32(p.config.SwigluLimit), float32(p.config.SwigluAlpha)
	up, step := 1, 2
	if p.layer.gateUp == nil {
		up, step = n, 1
	}
	for _, slot := range p.routed.slots[tile.from*k : tile.to*k] {
		gateUp := p.routed.gateUp.Row(int(slot))
		kernels.SwiGLU(p.routed.hidden.Row(int(slot))[:n], gateUp, gateUp[up:], step, limit, alpha)
	}
}

func (p *pass) combineOutputs(tile span) {
	k := p.config.ExpertsPerToken
	for t := tile.from; t < tile.to; t++ {
		for i, slot := range p.routed.slots[t*k : (t+1)*k] {
			kernels.AddScaled(p.x.Row(t), p.routed.out.Row(int(slot)), p.routed.weights[t*k+i])
		}
	}
}

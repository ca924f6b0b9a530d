package cpu

import (
	"context"
	"slices"

	"chorale/inference/engine"
	"chorale/inference/sample"
	kernels "chorale/kernels/cpu"
)

// A pass is the forward pass of one batch: its activations, and what the regions that run now are about. Everything is
// reused from batch to batch and grows to the largest.
//
// Rows of activations are padded as the kernels want their inputs; the padding is never written and stays zero.
type pass struct {
	*weights
	kv      *cache
	pool    *pool
	workers []worker // one a thread
	rope    rope

	batch *engine.Batch
	layer *layer
	rowOf []int32        // [tokens] the row of each token
	tiles [2][]queryTile // per KV group

	cos, sin     []float32    // [tokens, headDim/2]
	x, normed    kernels.Rows // [tokens, hidden] the residual stream; a layer's input
	q            kernels.Rows // [tokens, heads*headDim] before rotation
	k, v         kernels.Rows // [tokens, kvHeads*headDim] before rotation
	queries      kernels.Rows // [kvHeads, tokens, heads/kvHeads][headDim] rotated and scaled
	attended     kernels.Rows // [tokens, heads*headDim]
	routed       routing
	products     []product
	productTiles []int // the first item of each product, and their total

	chosen   []int32      // tokens whose logits are computed
	logits   kernels.Rows // [drawn, vocab]
	sampling []int32      // rows that sample
	drawn    []int32      // of them, those that sample now
	results  []sample.Result
}

// A worker is a thread's private memory.
type worker struct {
	kernels *kernels.Scratch
	sampler sample.Scratch
	scores  []float32 // attention's scores of a tile
	sums    []float32 // and its weighted values
}

// A phase is a kind of region; do says what an item of it is.
type phase uint8

const (
	embed     phase = iota // a tile of tokens: residual stream and rotation angles
	normalise              // a tile: input of attention
	rotate                 // a tile: queries; keys and values into their blocks
	attend                 // a tile of one row's queries and heads that share keys
	route                  // a tile: input of the router
	choose                 // a tile: experts and their weights
	gather                 // a tile: the experts' inputs
	activate               // a tile of expert inputs: SwiGLU
	combine                // a tile: add the experts' outputs
	finish                 // a token: final norm
	multiply               // some rows of one of the products
	draw                   // a row: sample
)

func (p *pass) do(ph phase, worker, item int) {
	w := &p.workers[worker]
	switch ph {
	case embed:
		p.embedTokens(w, p.tokenTile(item))
	case normalise:
		p.normTile(p.layer.attnNorm, p.tokenTile(item))
	case rotate:
		p.rotateAndStore(p.tokenTile(item))
	case attend:
		p.attendItem(w, item)
	case route:
		p.normTile(p.layer.mlpNorm, p.tokenTile(item))
	case choose:
		p.chooseExperts(p.tokenTile(item))
	case gather:
		p.gatherInputs(p.tokenTile(item))
	case activate:
		p.activateInputs(p.tokenTile(item))
	case combine:
		p.combineOutputs(p.tokenTile(item))
	case finish:
		p.finalNorm(item)
	case multiply:
		p.multiplyRows(w, item)
	case draw:
		p.drawRow(w, item)
	default:
		panic("unknown phase")
	}
}

func newPass(w *weights, kv *cache, threads int) *pass {
	return &pass{weights: w, kv: kv, workers: newWorkers(threads), rope: newRope(w.config)}
}

// run computes the residual stream of every token of b, and stores its keys and values.
func (p *pass) run(ctx context.Context, b *engine.Batch) error {
	p.begin(b)
	if len(b.Tokens) == 0 {
		return nil
	}
	tiles := tokenTiles(len(b.Tokens))
	p.pool.run(embed, tiles)
	for i := range p.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		l := &p.layers[i]
		p.layer = l
		p.pool.run(normalise, tiles)
		p.multiply(
			product{m: &l.q, x: p.normed, y: p.q, bias: l.qBias},
			product{m: &l.k, x: p.normed, y: p.k, bias: l.kBias},
			product{m: &l.v, x: p.normed, y: p.v, bias: l.vBias})
		p.pool.run(rotate, tiles)
		p.pool.run(attend, len(p.tiles[l.group])*p.config.KVHeads*p.headParts())
		p.multiply(product{m: &l.o, x: p.attended, y: p.x, bias: l.oBias, accumulate: true})
		p.pool.run(route, tiles)
		p.multiply(product{m: &l.router, x: p.normed, y: p.routed.logits, bias: l.routerBias})
		p.pool.run(choose, tiles)
		p.runExperts(tiles)
	}
	return nil
}

// tileTokens is how many tokens an item of a region over tokens has.
const tileTokens = 8

func tokenTiles(tokens int) int { return (tokens + tileTokens - 1) / tileTokens }

// A span is the indices from … to-1.
type span struct{ from, to int }

func (p *pass) tokenTile(item int) span {
	return span{item * tileTokens, min((item+1)*tileTokens, len(p.batch.Tokens))}
}

// begin prepares for a batch.
func (p *pass) begin(b *engine.Batch) {
	p.batch = b
	n, c := len(b.Tokens), p.config
	p.cos, p.sin = resize(p.cos, n*c.HeadDim/2), resize(p.sin, n*c.HeadDim/2)
	p.rowOf = resize(p.rowOf, n)
	p.x, p.normed = reshape(p.x, n, c.Hidden), reshape(p.normed, n, c.Hidden)
	p.q, p.attended = reshape(p.q, n, c.Heads*c.HeadDim), reshape(p.attended, n, c.Heads*c.HeadDim)
	p.k, p.v = reshape(p.k, n, c.KVHeads*c.HeadDim), reshape(p.v, n, c.KVHeads*c.HeadDim)
	p.queries = reshape(p.queries, n*c.Heads, c.HeadDim)
	p.routed.reshape(n, c)
	for i := range b.Rows {
		row := &b.Rows[i]
		for t := row.First; t < row.First+row.Length; t++ {
			p.rowOf[t] = int32(i)
		}
	}
	for g := range p.kv.groups {
		p.tiles[g] = p.appendTiles(p.tiles[g][:0], p.kv.groups[g].window)
	}
}

// resize returns s with length n; what it holds is undefined.
func resize[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

// reshape returns r with n rows of the given columns, the same as before. What they hold is undefined, the padding zero.
func reshape(r kernels.Rows, n, columns int) kernels.Rows {
	if stride := kernels.Stride(columns); cap(r.Data) >= n*stride {
		return kernels.Rows{Data: r.Data[:n*stride], N: n, Stride: stride}
	}
	return kernels.MakeRows(n+n/4, columns).Slice(0, n)
}

func (p *pass) embedTokens(w *worker, tile span) {
	half := p.config.HeadDim / 2
	for t := tile.from; t < tile.to; t++ {
		p.weights.embed.Decode(p.x.Row(t)[:p.config.Hidden], int(p.batch.Tokens[t]), w.kernels)
		p.rope.at(p.batch.Positions[t], p.cos[t*half:(t+1)*half], p.sin[t*half:(t+1)*half])
	}
}

func (p *pass) normTile(weight []float32, tile span) {
	n := p.config.Hidden
	for t := tile.from; t < tile.to; t++ {
		kernels.RMSNorm(p.normed.Row(t)[:n], p.x.Row(t)[:n], weight, float32(p.config.Eps))
	}
}

// A product is y = m·x + bias, or y += m·x + bias.
type product struct {
	m          *kernels.Matrix
	x, y       kernels.Rows
	bias       []float32 // [m.Rows], or nil
	accumulate bool
	rows       int // per item
}

// itemMACs is about how many multiplications an item of a product has: some microseconds, which is far more than taking
// an item costs and far less than a time slice of the system.
const itemMACs = 1 << 14

// multiply computes products, which are independent of each other, in one region.
func (p *pass) multiply(products ...product) {
	p.products = append(p.products[:0], products...)
	p.runProducts()
}

// runProducts computes p.products.
func (p *pass) runProducts() {
	p.productTiles = p.productTiles[:0]
	items := 0
	for i := range p.products {
		pr := &p.products[i]
		n := max(1, itemMACs/(pr.m.Cols*pr.x.N))
		step := 4 // rows decoded together, twice
		if pr.m.Transposed {
			step = 16
		}
		pr.rows = (n + step - 1) / step * step
		p.productTiles = append(p.productTiles, items)
		items += (pr.m.Rows + pr.rows - 1) / pr.rows
	}
	p.productTiles = append(p.productTiles, items)
	p.pool.run(multiply, items)
}

func (p *pass) multiplyRows(w *worker, item int) {
	i, found := slices.BinarySearch(p.productTiles, item)
	if !found {
		i--
	}
	pr := &p.products[i]
	from := (item - p.productTiles[i]) * pr.rows
	to := min(from+pr.rows, pr.m.Rows)
	for t := range pr.x.N {
		y := pr.y.Data[t*pr.y.Stride:][from:to]
		switch {
		case pr.accumulate:
			kernels.AddScaled(y, pr.bias[from:to], 1)
		case pr.bias != nil:
			copy(y, pr.bias[from:to])
		default:
			clear(y)
		}
	}
	pr.m.MulAdd(pr.y, pr.x, from, to, w.kernels)
}

// finalNorm normalises the residual stream of token chosen[i] into row i of normed.
func (p *pass) finalNorm(i int) {
	n := p.config.Hidden
	kernels.RMSNorm(p.normed.Row(i)[:n], p.x.Row(int(p.chosen[i]))[:n], p.weights.norm, float32(p.config.Eps))
}

// headProduct computes the logits of the tokens p.chosen.
func (p *pass) headProduct(y kernels.Rows) {
	p.pool.run(finish, len(p.chosen))
	p.multiply(product{m: &p.head, x: p.normed.Slice(0, len(p.chosen)), y: y})
}

// logitsOf stores the logits of n tokens, beginning with token from, in out: [n, vocab].
func (p *pass) logitsOf(from, n int, out []float32) {
	p.chosen = p.chosen[:0]
	for t := from; t < from+n; t++ {
		p.chosen = append(p.chosen, int32(t))
	}
	p.headProduct(kernels.Rows{Data: out, N: n, Stride: p.config.Vocab})
}

// sampleRows samples for every row that asks for it and stores the result in the row's place of out.
func (p *pass) sampleRows(out []sample.Result) {
	p.results = out
	p.sampling = p.sampling[:0]
	for i := range p.batch.Rows {
		if p.batch.Rows[i].Sampling != nil {
			p.sampling = append(p.sampling, int32(i))
		}
	}
	for rest := p.sampling; len(rest) > 0; rest = rest[len(p.drawn):] {
		p.drawn = rest[:min(headRows, len(rest))]
		p.chosen = p.chosen[:0]
		for _, i := range p.drawn {
			row := &p.batch.Rows[i]
			p.chosen = append(p.chosen, int32(row.First+row.Length-1))
		}
		p.logits = reshape(p.logits, len(p.drawn), p.config.Vocab)
		p.headProduct(p.logits)
		p.pool.run(draw, len(p.drawn))
	}
}

func (p *pass) drawRow(w *worker, i int) {
	row := &p.batch.Rows[p.drawn[i]]
	p.results[p.drawn[i]] = sample.Sample(p.logits.Row(i)[:p.config.Vocab], row.Sampling, row.Mask, row.Generated, &w.sampler)
}

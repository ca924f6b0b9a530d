package cpu

import (
	"math"

	kernels "chorale/kernels/cpu"
)

// A queryTile is consecutive tokens of one row that attend together, so that a block of keys is read once for all.
type queryTile struct {
	row    int // in the batch
	first  int // token in the batch
	n      int
	number int // of the first token, counted from the start of its sequence
}

// scoresPerTile bounds a tile's scores, so that they stay in a core's second-level cache; a tile of one token may exceed
// it. maxTileTokens is enough to make reading the keys cheap.
const (
	scoresPerTile = 1 << 16
	maxTileTokens = 16
)

// appendTiles divides the batch's tokens into tiles for layers of a window.
func (p *pass) appendTiles(tiles []queryTile, window int) []queryTile {
	perKV := p.config.Heads / p.config.KVHeads
	for i := range p.batch.Rows {
		row := &p.batch.Rows[i]
		for done := 0; done < row.Length; {
			number := row.Context - row.Length + done
			keys := number + maxTileTokens
			if window > 0 {
				keys = min(keys, window+maxTileTokens)
			}
			n := min(max(scoresPerTile/(perKV*keys), 1), maxTileTokens, row.Length-done)
			tiles = append(tiles, queryTile{row: i, first: row.First + done, n: n, number: number})
			done += n
		}
	}
	return tiles
}

// rotateAndStore turns queries and keys by their positions' angles and writes keys and values into their blocks.
func (p *pass) rotateAndStore(tile span) {
	c := p.config
	dim, half, perKV, tokens := c.HeadDim, c.HeadDim/2, c.Heads/c.KVHeads, len(p.batch.Tokens)
	scale := float32(1 / math.Sqrt(float64(dim)))
	for t := tile.from; t < tile.to; t++ {
		cos, sin := p.cos[t*half:(t+1)*half], p.sin[t*half:(t+1)*half]
		q, k, v := p.q.Row(t), p.k.Row(t), p.v.Row(t)
		for h := range c.Heads {
			out := p.queries.Row((h/perKV*tokens+t)*perKV + h%perKV)[:dim]
			kernels.Rotate(out, q[h*dim:(h+1)*dim], cos, sin)
			for d := range out {
				out[d] *= scale
			}
		}
		row := &p.batch.Rows[p.rowOf[t]]
		number := row.Context - row.Length + t - row.First
		block, slot := row.Blocks[p.layer.group][number/p.kv.blockTokens], number%p.kv.blockTokens
		end := slot + 1
		if number == row.Context-1 {
			end = p.kv.blockTokens
		}
		for h := range c.KVHeads {
			kernels.Rotate(p.kv.keys(p.layer, block, h).Row(slot), k[h*dim:(h+1)*dim], cos, sin)
			// Behind the row's last token lies what another sequence left there. Attention multiplies it by zero,
			// which a NaN would survive.
			values := p.kv.values(p.layer, block, h)
			for d := range dim {
				clear(values.Row(d)[slot:end])
				values.Row(d)[slot] = v[h*dim+d]
			}
		}
	}
}

// headParts returns into how many parts the query heads of a key/value head are divided, for the items of a region. While
// every row decodes one token there may be few items, and long ones, though each part reads the keys again.
func (p *pass) headParts() int {
	tiles, parts := len(p.tiles[p.layer.group]), 1
	if tiles != len(p.batch.Tokens) {
		return 1
	}
	perKV := p.config.Heads / p.config.KVHeads
	for perKV%(4*parts) == 0 && tiles*p.config.KVHeads*parts < itemsPerThread*len(p.workers) {
		parts *= 2
	}
	return parts
}

// itemsPerThread is enough that a suspended thread holds up a small part of a region.
const itemsPerThread = 4

// attendItem divides the items of a region: the tiles, the key/value heads, and the parts of their query heads.
func (p *pass) attendItem(w *worker, item int) {
	parts := p.headParts()
	tile, part := item/(p.config.KVHeads*parts), item%(p.config.KVHeads*parts)
	heads := p.config.Heads / p.config.KVHeads / parts
	p.attendTile(w, &p.tiles[p.layer.group][tile], part*heads, heads)
}

// attendTile computes the output of some query heads, beginning with first, for the tokens of a tile. The heads share a
// key/value head; in a tile of several tokens they are all that do.
func (p *pass) attendTile(w *worker, tile *queryTile, first, heads int) {
	c, l, size := p.config, p.layer, p.kv.blockTokens
	perKV := c.Heads / c.KVHeads
	head := first / perKV
	table := p.batch.Rows[tile.row].Blocks[l.group]
	firstBlock, lastBlock := firstKey(tile.number, l.window)/size, (tile.number+tile.n-1)/size
	n, keys := tile.n*heads, (lastBlock-firstBlock+1)*size
	w.scores, w.sums = resize(w.scores, n*keys), resize(w.sums, n*p.queries.Stride)
	clear(w.scores)
	clear(w.sums)

	at := (head*len(p.batch.Tokens)+tile.first)*perKV + first%perKV
	queries := p.queries.Slice(at, at+n)
	for b, block := range table[firstBlock : lastBlock+1] {
		scores := kernels.Rows{Data: w.scores[b*size:], N: n, Stride: keys}
		kernels.MulAddDense(scores, p.kv.keys(l, block, head), queries, w.kernels)
	}
	for i := range n {
		number := tile.number + i/heads
		from, to := firstKey(number, l.window)-firstBlock*size, number+1-firstBlock*size
		scores := w.scores[i*keys : (i+1)*keys]
		clear(scores[:from])
		kernels.SoftmaxSink(scores[from:to], l.sinks[first+i%heads])
		clear(scores[to:])
	}
	sums := kernels.Rows{Data: w.sums, N: n, Stride: p.queries.Stride}
	for b, block := range table[firstBlock : lastBlock+1] {
		weights := kernels.Rows{Data: w.scores[b*size:], N: n, Stride: keys}
		kernels.MulAddDense(sums, p.kv.values(l, block, head), weights, w.kernels)
	}
	for i := range n {
		out := p.attended.Row(tile.first + i/heads)
		copy(out[(first+i%heads)*c.HeadDim:][:c.HeadDim], sums.Row(i))
	}
}

// firstKey returns the first key that the token of a number sees.
func firstKey(number, window int) int {
	if window == 0 {
		return 0
	}
	return max(0, number-window+1)
}

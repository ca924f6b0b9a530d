package harmony

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// A CallMode says whether the assistant may, must or must not call a tool.
type CallMode int

const (
	// MayCall leaves it to the model.
	MayCall CallMode = iota
	// MustCall allows no final message: reasoning and preambles, then a call.
	MustCall
	// MustNotCall allows no call.
	MustNotCall
)

// A Call is a recipient that the assistant may write to, and how.
type Call struct {
	// Recipient is the full name, such as "functions.f" or "python". One that could not be read back from a header, because
	// it is empty, has white space or '<' in it or is not UTF-8, is never allowed. So it is with content types.
	Recipient string
	// Channels are those of ChannelAnalysis, ChannelCommentary and ChannelFinal the call may be on; nil means commentary.
	Channels []string
	// ContentTypes are spelt as in Message.ContentType, "" for none; nil means none.
	ContentTypes []string
}

// GateOptions say what the assistant may do in one generation. The zero value allows reasoning, preambles and an answer.
type GateOptions struct {
	Calls []Call
	// Must is MustCall to demand a call of any of Calls; to force a certain function, offer that one alone. Without a usable
	// Call it is as MayCall, since the generation could never end.
	Must CallMode
	// Vocab is the number of ids that the model can give; 0 means the tokenizer's. Ids from there on are never allowed. It
	// must not cut off the control tokens.
	Vocab int
}

// A Gate limits sampling to well-formed assistant messages. It is an automaton over tokens that starts behind
// "<|start|>assistant":
//
//	generation = { quiet end start "assistant" } ( answer return | call call-end )
//	quiet      = channel "analysis" message text  |  channel "commentary" message text
//	answer     = channel "final" message text          (may end in <|end|> too, and then nothing follows)
//	call       = " to=" recipient channel NAME [type] message text
//	           | channel NAME " to=" recipient [type] message text
//	type       = " " constrain "json"  |  " json"  |  …
//	text       = any ordinary tokens
//
// Every piece of a header is allowed in one spelling only, the tokens that the Codec renders. Control tokens have their
// one place and reserved tokens none. At least one token is allowed in every state; when the generation is over that is
// <|endoftext|>.
//
// A final message may end in <|end|> as well as in <|return|>, since that is how the answers of earlier turns end in the
// prompt, and a model that wants to end must be able to: with its terminator forbidden it would ramble on.
//
// What a forced beginning needs is passed to Accept before sampling, whether it is part of the prompt (a prefilled
// "<|channel|>final<|message|>…") or comes from Forced.
//
// A Gate has the methods of an engine's constraint and serves one sequence; it is not safe for concurrent use. A copy is
// independent of the original, which allows to look ahead.
type Gate struct {
	codec   *Codec
	vocab   int          // ids below it exist in the model
	headers []gateHeader // sorted by tokens; none begins another, since all end in <|message|>
	opening []int32      // <|start|>assistant

	state     gateState
	depth     int   // tokens of the header, or of the opening, that have been accepted
	low, high int   // gateInHeader: headers[low:high] begin with these tokens
	end       int32 // gateInContent: the token that ends the message
}

// gateHeader is a header that is allowed, and what ends its message.
type gateHeader struct {
	tokens []int32
	end    int32
}

type gateState int

const (
	gateInHeader gateState = iota
	gateInContent
	gateInOpening // behind <|end|>
	gateOver
)

// NewGate returns a gate for one generation.
func (c *Codec) NewGate(o GateOptions) *Gate {
	g := &Gate{codec: c, vocab: o.Vocab}
	if g.vocab <= 0 {
		g.vocab = c.tokens.Vocab()
	}
	g.opening = c.tokens.Encode([]int32{c.start}, string(RoleAssistant))
	if o.Must != MustNotCall {
		for _, call := range o.Calls {
			g.addCall(call)
		}
	}
	if o.Must != MustCall || len(g.headers) == 0 {
		g.addHeader(c.ret, c.channelPiece(ChannelFinal))
	}
	g.addHeader(c.end, c.channelPiece(ChannelAnalysis))
	g.addHeader(c.end, c.channelPiece(ChannelCommentary))
	slices.SortFunc(g.headers, func(a, b gateHeader) int { return slices.Compare(a.tokens, b.tokens) })
	g.headers = slices.CompactFunc(g.headers, func(a, b gateHeader) bool { return slices.Equal(a.tokens, b.tokens) })
	g.beginHeader()
	return g
}

// addCall adds the headers of a call: each channel and content type, with the recipient in front of the channel, where
// the renderer writes it, and behind, where the models do.
func (g *Gate) addCall(call Call) {
	if !headerWord(call.Recipient) {
		return
	}
	c := g.codec
	channels, types := call.Channels, call.ContentTypes
	if channels == nil {
		channels = []string{ChannelCommentary}
	}
	if types == nil {
		types = []string{""}
	}
	to := c.tokens.Encode(nil, " to="+call.Recipient)
	for _, name := range channels {
		if name != ChannelAnalysis && name != ChannelCommentary && name != ChannelFinal {
			continue
		}
		channel := c.channelPiece(name)
		for _, t := range types {
			if t != "" && !headerWord(strings.TrimPrefix(t, constrainText)) {
				continue
			}
			contentType := c.contentTypePiece(t)
			g.addHeader(c.call, to, channel, contentType)
			g.addHeader(c.call, channel, to, contentType)
		}
	}
}

func (g *Gate) addHeader(end int32, pieces ...[]int32) {
	tokens := append(slices.Concat(pieces...), g.codec.message)
	g.headers = append(g.headers, gateHeader{tokens, end})
}

// headerWord reports whether s comes back whole when a header is split into words.
func headerWord(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsAny(s, " \t\n\f\r<")
}

func (c *Codec) channelPiece(name string) []int32 {
	return c.tokens.Encode([]int32{c.channel}, name)
}

func (c *Codec) contentTypePiece(contentType string) []int32 {
	if contentType == "" {
		return nil
	}
	if format, ok := strings.CutPrefix(contentType, constrainText); ok {
		return c.tokens.Encode(append(c.tokens.Encode(nil, " "), c.constrain), format)
	}
	return c.tokens.Encode(nil, " "+contentType)
}

// Mask sets the bits of the allowed tokens in dst (token t is bit t%32 of dst[t/32]), clears all others and returns true:
// sampling is always limited.
func (g *Gate) Mask(dst []uint32) bool {
	clear(dst)
	switch g.state {
	case gateInHeader:
		for i := g.low; i < g.high; i = g.after(i) {
			g.allow(dst, g.headers[i].tokens[g.depth])
		}
	case gateInContent:
		ids := min(g.codec.tokens.Ranks(), 32*len(dst))
		for i := range dst[:ids/32] {
			dst[i] = ^uint32(0)
		}
		if ids%32 > 0 {
			dst[ids/32] = 1<<(ids%32) - 1
		}
		g.allow(dst, g.end)
		if g.end == g.codec.ret {
			g.allow(dst, g.codec.end)
		}
	case gateInOpening:
		g.allow(dst, g.opening[g.depth])
	default:
		g.allow(dst, g.codec.endOfText)
	}
	return true
}

func (g *Gate) allow(dst []uint32, token int32) {
	if int(token) < g.vocab && int(token/32) < len(dst) {
		dst[token/32] |= 1 << (token % 32)
	}
}

// after returns the first header behind i whose next token is another than that of i, or high.
func (g *Gate) after(i int) int {
	next := g.headers[i].tokens[g.depth]
	return i + sort.Search(g.high-i, func(n int) bool { return g.headers[i+n].tokens[g.depth] > next })
}

// Accept advances past a token, sampled or forced. A token that Mask does not allow is an error and changes nothing.
func (g *Gate) Accept(token int32) error {
	switch g.state {
	case gateInHeader:
		return g.acceptHeader(token)
	case gateInContent:
		if token == g.end || g.end == g.codec.ret && token == g.codec.end {
			g.endMessage()
			return nil
		}
		if token >= 0 && int(token) < g.codec.tokens.Ranks() {
			return nil
		}
	case gateInOpening:
		if token == g.opening[g.depth] {
			if g.depth++; g.depth == len(g.opening) {
				g.beginHeader()
			}
			return nil
		}
	default:
		if token == g.codec.endOfText {
			return nil
		}
	}
	return g.refuse(token)
}

func (g *Gate) acceptHeader(token int32) error {
	i, found := slices.BinarySearchFunc(g.headers[g.low:g.high], token, func(h gateHeader, token int32) int {
		return cmp.Compare(h.tokens[g.depth], token)
	})
	if !found {
		return g.refuse(token)
	}
	g.low += i
	g.high = g.after(g.low)
	g.depth++
	if h := g.headers[g.low]; g.depth == len(h.tokens) {
		g.state, g.end = gateInContent, h.end
	}
	return nil
}

func (g *Gate) beginHeader() {
	g.state, g.depth, g.low, g.high = gateInHeader, 0, 0, len(g.headers)
}

func (g *Gate) endMessage() {
	g.state, g.depth = gateOver, 0
	if g.end == g.codec.end {
		g.state = gateInOpening
	}
}

func (g *Gate) refuse(token int32) error {
	where := [...]string{"in a header", "in a message", "between messages", "behind the end"}[g.state]
	return fmt.Errorf("token %d (%q) is not allowed %s", token, g.codec.tokens.AppendToken(nil, token), where)
}

// Forced appends to dst the tokens that must come next because nothing else is allowed, up to the first choice. They can
// join the prompt instead of being sampled one by one; the Gate does not advance: pass them to Accept.
func (g *Gate) Forced(dst []int32) []int32 {
	ahead := *g
	for {
		var only int32
		switch h := ahead.headers[ahead.low:ahead.high]; {
		case ahead.state == gateInOpening:
			only = ahead.opening[ahead.depth]
		case ahead.state == gateInHeader && h[0].tokens[ahead.depth] == h[len(h)-1].tokens[ahead.depth]:
			only = h[0].tokens[ahead.depth]
		default:
			return dst
		}
		if ahead.Accept(only) != nil {
			return dst
		}
		dst = append(dst, only)
	}
}

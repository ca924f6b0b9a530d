package harmony

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"chorale/inference/tokenizer"
)

// A Strictness says what a Parser does with tokens that are not in the format.
type Strictness int

const (
	// Lenient repairs by the rules named Repair and never fails. It is meant for what models write.
	Lenient Strictness = iota
	// Strict fails where the reference parser's default mode fails.
	Strict
	// NonStrict is the reference's other mode: a stop token in the header of the very first message makes the header's text
	// content. All other errors stay.
	NonStrict
)

// A State is where a Parser is.
type State int

// The states, and their names in the reference.
const (
	StateExpectStart State = iota // between messages
	StateHeader                   // behind <|start|>
	StateContent                  // behind <|message|>
)

// String returns the reference's name of the state.
func (s State) String() string {
	switch s {
	case StateExpectStart:
		return "ExpectStart"
	case StateHeader:
		return "Header"
	case StateContent:
		return "Content"
	default:
		return fmt.Sprintf("State(%d)", int(s))
	}
}

// A Header is what is known of a message before its content.
type Header struct {
	Role        Role
	Name        string
	Recipient   string
	Channel     string
	ContentType string
}

// A Delta is what one token changed. Open, Text and Close happen in this order and belong to one message; the Texts
// between an Open and its Close make up the content. A token that ends one message by beginning the next only closes;
// the next one opens later.
type Delta struct {
	Open    *Header  // a message begins
	Text    string   // more content, always whole code points
	Close   *Message // the message is complete; its Content is a single Text
	Repairs []Repair // rules that this token made necessary, in order
}

// ParserOptions say what a Parser expects.
type ParserOptions struct {
	// Role is the role of the first message if the prompt ended behind it, as completions do (RoleAssistant). If it is
	// empty, the tokens begin with <|start|>.
	Role       Role
	Strictness Strictness
}

// A Parser reads the tokens of one generation. It is not safe for concurrent use and must not be used for a second
// generation.
type Parser struct {
	codec      *Codec
	strictness Strictness

	state   State
	role    Role    // of the next header, if it is known from outside; used up by it
	tokens  []int32 // of the header, or lenient: text between messages
	header  Header  // StateContent: of the open message
	content []byte  // StateContent: its text so far
	utf8    tokenizer.UTF8
	scratch []byte // bytes of one token

	over    bool // lenient: the last complete message was a call or ended the generation
	repairs map[Repair]int
}

// NewParser returns a parser for one generation.
func (c *Codec) NewParser(o ParserOptions) *Parser {
	p := &Parser{codec: c, strictness: o.Strictness, role: o.Role, repairs: map[Repair]int{}}
	if o.Role != "" {
		p.state = StateHeader
	}
	return p
}

// Push reads the next token. Only the strict modes return errors; the messages delivered before an error are good, and
// so is what the Parser says about its state.
func (p *Parser) Push(token int32) (Delta, error) {
	if p.strictness != Lenient {
		return p.pushStrict(token)
	}
	var d Delta
	switch p.state {
	case StateExpectStart:
		d = p.pushBetween(token)
	case StateHeader:
		d = p.pushHeader(token)
	default:
		d = p.pushContent(token)
	}
	if d.Close != nil {
		c := p.codec
		p.over = isCall(d.Close) || token == c.ret || token == c.call || token == c.endOfText
	}
	return d, nil
}

// isCall reports whether m asks somebody for something.
func isCall(m *Message) bool { return m.Role == RoleAssistant && m.Recipient != "" }

// End says that no more tokens come. A message that is open closes.
func (p *Parser) End() (Delta, error) {
	var d Delta
	switch {
	case p.state == StateContent:
		p.closeMessage(&d)
	case p.state == StateHeader && p.strictness != Lenient:
		return d, errors.New("unexpected EOS while waiting for message header to complete")
	case p.state == StateHeader:
		if len(p.tokens) > 0 {
			p.strandHeader(&d)
		}
		p.state = StateExpectStart
	case p.strictness == Lenient:
		p.endStray(&d)
	}
	return d, nil
}

// State returns where the parser is.
func (p *Parser) State() State { return p.state }

// Repairs returns how often each lenient rule was applied so far.
func (p *Parser) Repairs() map[Repair]int { return maps.Clone(p.repairs) }

// pushStrict is the reference's state machine.
func (p *Parser) pushStrict(token int32) (d Delta, err error) {
	c := p.codec
	switch {
	case p.state == StateExpectStart:
		if token != c.start {
			return d, fmt.Errorf("unexpected token %d while expecting start token %d", token, c.start)
		}
		p.beginHeader("", nil)
	case p.state == StateHeader && token == c.message:
		p.state = StateExpectStart // also where an error leaves it
		text, err := c.headerText(p.tokens)
		if err != nil {
			return d, err
		}
		h, rest, err := parseHeader(text, p.role, true)
		if err != nil {
			return d, err
		}
		if len(rest) > 0 {
			return d, fmt.Errorf("unexpected tokens remaining in message header: %q", strings.Join(rest, " "))
		}
		p.openMessage(&d, h)
	case p.state == StateHeader && p.strictness == NonStrict && c.isStop(token):
		if p.role != "" && len(p.tokens) > 0 {
			text, err := c.headerText(p.tokens)
			if err != nil {
				return d, err
			}
			h, rest, err := parseHeader(text, p.role, false)
			if err != nil {
				return d, err
			}
			p.wholeMessage(&d, h, strings.Join(rest, " "))
		}
		p.state, p.role = StateExpectStart, ""
	case p.state == StateHeader:
		p.tokens = append(p.tokens, token)
	case c.isStop(token):
		p.closeMessage(&d)
	default:
		p.addToken(&d, token)
	}
	return d, nil
}

// pushBetween reads a token between messages.
func (p *Parser) pushBetween(token int32) (d Delta) {
	c := p.codec
	switch {
	case token == c.start:
		p.beginHeader("", nil)
	case token == c.channel || token == c.message:
		p.note(&d, RepairMissingStart)
		role, stray := RoleAssistant, p.tokens
		switch words := fields(c.tokens.Decode(stray)); {
		case beginsWithRole(words):
			role = ""
		case !beginsWithHeaderWord(words):
			stray = nil
		}
		p.beginHeader(role, stray)
		header := p.pushHeader(token)
		d.Open, d.Repairs = header.Open, append(d.Repairs, header.Repairs...)
	case c.isStop(token) || token == c.endOfText:
		if len(p.tokens) == 0 {
			p.note(&d, RepairStrayStop)
		}
	default:
		if len(p.tokens) == 0 {
			p.note(&d, RepairStrayText)
		}
		p.tokens = append(p.tokens, token)
	}
	return d
}

// pushHeader reads a token of a header.
func (p *Parser) pushHeader(token int32) (d Delta) {
	c := p.codec
	switch {
	case token == c.message:
		p.openMessage(&d, p.repairHeader(&d))
	case token == c.start:
		p.note(&d, RepairRestartedHeader)
		p.beginHeader("", nil)
	case c.isStop(token) || token == c.endOfText:
		p.strandHeader(&d)
	default:
		p.tokens = append(p.tokens, token)
	}
	return d
}

// pushContent reads a token of a message's content.
func (p *Parser) pushContent(token int32) (d Delta) {
	c := p.codec
	switch {
	case c.isStop(token):
		p.closeMessage(&d)
		if isCall(d.Close) && token != c.call {
			p.note(&d, RepairWrongEnd)
		}
	case token == c.endOfText:
		p.closeMessage(&d)
		p.note(&d, RepairEndOfText)
	case token == c.start:
		p.note(&d, RepairMissingEnd)
		p.closeMessage(&d)
		p.beginHeader("", nil)
	case token == c.channel:
		p.note(&d, RepairMissingEnd)
		p.closeMessage(&d)
		p.note(&d, RepairMissingStart)
		p.beginHeader(RoleAssistant, []int32{token})
	case token == c.message:
		p.note(&d, RepairRepeatedMessage)
	default:
		p.addToken(&d, token)
	}
	return d
}

// strandHeader ends a header that never came to its content: what is left of its text is the content.
func (p *Parser) strandHeader(d *Delta) {
	h, rest := p.salvageHeader(d)
	if rest == "" {
		p.note(d, RepairEmptyHeader)
	} else {
		p.note(d, RepairStrandedHeader)
		p.wholeMessage(d, h, rest)
	}
	p.beginHeader("", nil)
	p.state = StateExpectStart
}

// endStray makes text between messages a message if the stream ends with it.
func (p *Parser) endStray(d *Delta) {
	text := strings.TrimSpace(p.codec.tokens.Decode(p.tokens))
	_, known := channelName(text)
	if text != "" && !known && !p.over {
		p.note(d, RepairNoChannel)
		p.wholeMessage(d, Header{Role: RoleAssistant}, text)
	}
	p.tokens = nil
}

// beginHeader starts a header with the tokens that are there already.
func (p *Parser) beginHeader(role Role, tokens []int32) {
	p.state, p.role = StateHeader, role
	p.tokens = append(p.tokens[:0], tokens...)
}

func (p *Parser) openMessage(d *Delta, h Header) {
	p.state, p.role, p.header = StateContent, "", h
	p.tokens, p.content = p.tokens[:0], p.content[:0]
	d.Open = &h
}

// addToken adds the text that the token completes.
func (p *Parser) addToken(d *Delta, token int32) {
	p.scratch = p.codec.tokens.AppendToken(p.scratch[:0], token)
	d.Text += p.utf8.Push(p.scratch)
	p.content = append(p.content, d.Text...)
}

func (p *Parser) closeMessage(d *Delta) {
	d.Text = p.utf8.Flush()
	p.content = append(p.content, d.Text...)
	p.complete(d, p.header, string(p.content))
	p.content = p.content[:0]
	p.state = StateExpectStart
}

// wholeMessage delivers a message that opens and closes at once.
func (p *Parser) wholeMessage(d *Delta, h Header, text string) {
	d.Open, d.Text = &h, text
	p.complete(d, h, text)
}

func (p *Parser) complete(d *Delta, h Header, text string) {
	d.Close = &Message{h.Role, h.Name, h.Recipient, h.Channel, h.ContentType, []Part{Text(text)}}
}

// note counts an application of a rule and reports it.
func (p *Parser) note(d *Delta, r Repair) {
	p.repairs[r]++
	d.Repairs = append(d.Repairs, r)
}

// headerText decodes a header as the reference does, which wants proper text.
func (c *Codec) headerText(tokens []int32) (string, error) {
	var b []byte
	for _, id := range tokens {
		if id < 0 || int(id) >= c.tokens.Vocab() && !c.tokens.IsSpecial(id) {
			return "", fmt.Errorf("could not decode header: there is no token %d", id)
		}
		b = c.tokens.AppendToken(b, id)
	}
	text := string(b)
	if text != strings.ToValidUTF8(text, "") {
		return "", errors.New("could not decode header: not valid UTF-8")
	}
	return text, nil
}

// parseHeader is the reference's reading of a header's text. rest is what it cannot place; if addressed is false, only
// role and channel are looked for and rest is all words beside them.
func parseHeader(text string, role Role, addressed bool) (h Header, rest []string, err error) {
	before, after, found := strings.Cut(text, channelText)
	if found {
		end := strings.IndexFunc(after, func(r rune) bool { return r == '<' || unicode.IsSpace(r) })
		if end < 0 {
			end = len(after)
		}
		if end == 0 {
			return h, nil, errors.New("channel marker present but no channel value found in header")
		}
		h.Channel, text = after[:end], before+after[end:]
	}
	words := fields(strings.ReplaceAll(strings.TrimSpace(text), constrainText, " "+constrainText))
	h.Role = role
	if role == "" {
		if len(words) == 0 {
			return h, nil, errors.New("message header did not contain a role")
		}
		first := words[0]
		h.Role = Role(first)
		if !h.Role.valid() {
			if len(words) == 1 && !strings.HasPrefix(first, "to=") {
				return h, nil, fmt.Errorf("unknown role: %s", first)
			}
			h.Role, words = RoleTool, words[1:]
		}
		if h.Role == RoleTool {
			h.Name = first
		}
	}
	if len(words) > 0 && words[0] == string(h.Role) {
		words = words[1:]
	}
	if !addressed || len(words) == 0 {
		return h, words, nil
	}
	last := len(words) - 1
	if to, ok := strings.CutPrefix(words[last], "to="); ok || last == 0 {
		h.Recipient = to
		return h, words[:last], nil
	}
	h.ContentType = words[last]
	h.Recipient = strings.TrimPrefix(words[last-1], "to=")
	return h, slices.Clip(words[:last-1]), nil
}

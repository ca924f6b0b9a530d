package harmony

import (
	"cmp"
	"slices"
	"strings"
)

// knownChannels are the channels the models were trained on.
var knownChannels = [...]string{ChannelAnalysis, ChannelCommentary, ChannelFinal}

// A piece is a run of a header's text. The first one is the role part; the others follow a special token.
type piece struct {
	marker int32 // the special token; 0 for the role part
	text   string
}

// pieces splits the header at its special tokens.
func (p *Parser) pieces() []piece {
	out := []piece{{}}
	from := 0
	flush := func(to int) { out[len(out)-1].text = p.codec.tokens.Decode(p.tokens[from:to]) }
	for i, token := range p.tokens {
		if p.codec.tokens.IsSpecial(token) {
			flush(i)
			out, from = append(out, piece{marker: token}), i+1
		}
	}
	flush(len(p.tokens))
	return out
}

// A headerReader collects the parts of a header that the lenient parser finds.
type headerReader struct {
	Header
	named   bool     // Channel is a known one
	marked  bool     // there was a channel section
	stray   []string // words that have no place so far
	dropped bool     // something else was dropped
	note    func(Repair)
}

// repairHeader reads a header that reached <|message|>: every word that has a place is used, the others are dropped.
func (p *Parser) repairHeader(d *Delta) Header {
	r := headerReader{Header: Header{Role: p.role}, note: func(rule Repair) { p.note(d, rule) }}
	var words []string // neither role, channel nor constrained content type
	for _, part := range p.pieces() {
		w := fields(part.text)
		switch part.marker {
		case 0:
			w = r.readRole(w)
		case p.codec.channel:
			r.channelMarker()
			if len(w) == 0 || strings.HasPrefix(w[0], "to=") {
				r.note(RepairEmptyChannel)
			} else {
				r.setChannel(w[0])
				w = w[1:]
			}
		case p.codec.constrain:
			if len(w) > 0 && r.ContentType == "" {
				r.ContentType = constrainText + w[0]
				w = w[1:]
			} else {
				w = append([]string{constrainText}, w...)
			}
		default:
			r.dropped = true
		}
		words = append(words, w...)
	}
	r.readWords(words)
	r.finish(len(words))
	return r.Header
}

// readRole takes role and name from the words of the role part and returns the others.
func (r *headerReader) readRole(words []string) []string {
	if r.Role == "" {
		if len(words) == 0 {
			r.Role = RoleAssistant
			r.note(RepairMissingRole)
			return nil
		}
		words = r.firstWord(words)
	}
	n := 0
	for n < len(words) && roleRepeats(words[n], r.Role) > 0 {
		n++
	}
	if n > 0 {
		r.note(RepairRepeatedRole)
	}
	return words[n:]
}

// firstWord reads the word that should be a role or a tool's name.
func (r *headerReader) firstWord(words []string) []string {
	first, rest := words[0], words[1:]
	for _, role := range [...]Role{RoleAssistant, RoleUser, RoleTool, RoleDeveloper, RoleSystem} {
		tail, ok := strings.CutPrefix(first, string(role))
		if !ok {
			continue
		}
		if roleRepeats(first, role) > 1 {
			r.note(RepairRepeatedRole)
			tail = ""
		}
		name, named := strings.CutPrefix(tail, ":")
		switch {
		case tail == "":
			r.setRole(role)
			return rest
		case named:
			r.setRole(role)
			r.Name = cmp.Or(name, r.Name)
			return rest
		case slices.Contains(knownChannels[:], tail):
			r.Role = role
			return append([]string{tail}, rest...)
		}
	}
	if isToolName(words) {
		r.Role, r.Name = RoleTool, first
		return rest
	}
	r.Role = RoleAssistant
	r.note(RepairMissingRole)
	if beginsWithHeaderWord(words) {
		return words
	}
	r.dropped = true
	return rest
}

// setRole takes a role word. A tool should be called by its name, but "tool" is one if need be.
func (r *headerReader) setRole(role Role) {
	if r.Role = role; role == RoleTool {
		r.Name = string(role)
	}
}

// channelMarker counts the channel sections.
func (r *headerReader) channelMarker() {
	if r.marked {
		r.note(RepairRepeatedChannel)
	}
	r.marked = true
}

// setChannel takes the word for the channel unless a better one is there.
func (r *headerReader) setChannel(word string) {
	name, known := channelName(word)
	switch {
	case known:
		r.Channel, r.named = name, true
		if name != word {
			r.note(RepairMisspelledChannel)
		}
	case !r.named:
		r.Channel = word
		r.note(RepairUnknownChannel)
	default:
		r.dropped = true
	}
}

// readWords finds the recipient, a plain content type and what has no place.
func (r *headerReader) readWords(words []string) {
	for _, word := range words {
		to, addressed := strings.CutPrefix(word, "to=")
		switch {
		case addressed && r.Recipient == "":
			r.setRecipient(to)
		case !addressed && r.ContentType == "" && isContentType(word):
			r.ContentType = word
		case !r.marked && r.Channel == "" && slices.Contains(knownChannels[:], word):
			r.Channel = word
			r.note(RepairMissingChannelMarker)
		default:
			r.stray = append(r.stray, word)
		}
	}
}

// setRecipient takes the recipient unless it is nobody in particular. Only tools answer to the assistant.
func (r *headerReader) setRecipient(to string) {
	name, _, cut := strings.Cut(to, "<|")
	if cut {
		r.note(RepairCutRecipient)
	}
	if name == "" || r.Role == RoleAssistant && (name == string(RoleAssistant) || name == "all") {
		r.note(RepairNoRecipient)
		return
	}
	r.Recipient = name
}

// finish gives a single stray word of words in all a place if the format has one for it, and reports what is missing.
func (r *headerReader) finish(words int) {
	if len(r.stray) == 1 && !r.dropped {
		word := r.stray[0]
		switch {
		case r.Recipient != "" && r.ContentType == "" && words == 2 && isName(word):
			r.ContentType, r.stray = word, nil
		case r.Recipient == "" && isName(word) && (strings.Contains(word, ".") || r.ContentType != ""):
			r.Recipient, r.stray = word, nil
			r.note(RepairRecipientWithoutTo)
		}
	}
	if len(r.stray) > 0 || r.dropped {
		r.note(RepairStrayWords)
	}
	if r.ContentType != "" && r.Recipient == "" {
		r.note(RepairLoneContentType)
	}
	if r.Role == RoleAssistant && r.Channel == "" {
		r.note(RepairNoChannel)
	}
}

// salvageHeader reads a header that never reaches <|message|>. Only what stands at the front of a part is header; the
// text from the first other word on is content and stays as it is.
func (p *Parser) salvageHeader(d *Delta) (Header, string) {
	r := headerReader{Header: Header{Role: p.role}, note: func(rule Repair) { p.note(d, rule) }}
	var content []string
	for _, part := range p.pieces() {
		text := strings.TrimSpace(part.text)
		switch part.marker {
		case 0:
			text = r.salvageRole(text)
		case p.codec.channel:
			r.channelMarker()
			text = r.salvageChannel(text)
		case p.codec.constrain:
			if word := letters(text); isContentType(word) && r.ContentType == "" {
				r.ContentType = constrainText + word
				text = text[len(word):]
			}
		}
		if text = r.salvageWords(text); text != "" {
			content = append(content, text)
		}
	}
	rest := strings.Join(content, " ")
	if rest == "to" { // a stream that was cut inside of " to="
		rest = ""
	}
	if rest != "" && r.Role == RoleAssistant && r.Channel == "" {
		r.note(RepairNoChannel)
	}
	return r.Header, rest
}

func (r *headerReader) salvageRole(text string) string {
	words := fields(text)
	if r.Role != "" {
		if len(words) > 0 && roleRepeats(words[0], r.Role) > 0 {
			r.note(RepairRepeatedRole)
			return text[len(words[0]):]
		}
		return text
	}
	if len(words) > 0 {
		if role := Role(words[0]); role.valid() {
			r.setRole(role)
			return text[len(words[0]):]
		}
		if isToolName(words) {
			r.Role, r.Name = RoleTool, words[0]
			return text[len(words[0]):]
		}
	}
	r.Role = RoleAssistant
	r.note(RepairMissingRole)
	return text
}

// salvageChannel takes a known channel from the front of text. A name that was cut short names its channel too.
func (r *headerReader) salvageChannel(text string) string {
	word := letters(text)
	if word == "" {
		return text
	}
	if _, known := channelName(word); known {
		r.setChannel(word)
		return text[len(word):]
	}
	for _, name := range knownChannels {
		if strings.HasPrefix(name, text) {
			r.setChannel(name)
			return ""
		}
	}
	return text
}

// salvageWords takes recipient and content type from the front of text and returns the rest.
func (r *headerReader) salvageWords(text string) string {
	for {
		text = strings.TrimSpace(text)
		if to, ok := strings.CutPrefix(text, "to="); ok {
			n := 0
			for n < len(to) && isNameByte(to[n]) {
				n++
			}
			r.setRecipient(to[:n])
			text = to[n:]
			continue
		}
		word := letters(text)
		if r.Recipient == "" || r.ContentType != "" || !isContentType(word) {
			return text
		}
		r.ContentType = word
		text = text[len(word):]
	}
}

// channelName returns the known channel that word names: exactly, in other case, or with a tail behind it.
func channelName(word string) (name string, known bool) {
	lower := strings.ToLower(word)
	for _, name := range knownChannels {
		if strings.HasPrefix(lower, name) {
			return name, true
		}
	}
	return "", false
}

// isContentType reports whether word is one of the content types that models write without <|constrain|>.
func isContentType(word string) bool {
	return word == "json" || word == "code" || word == "text" || word == "python"
}

// roleRepeats returns how many times word is role written one after the other, 0 if it is anything else.
func roleRepeats(word string, role Role) int {
	n := len(word) / len(role)
	if n > 0 && word == strings.Repeat(string(role), n) {
		return n
	}
	return 0
}

// beginsWithRole reports whether a header can begin with these words: a role, or a tool's name.
func beginsWithRole(words []string) bool {
	if len(words) == 0 {
		return false
	}
	for _, role := range [...]Role{RoleSystem, RoleDeveloper, RoleUser, RoleAssistant, RoleTool} {
		if roleRepeats(words[0], role) > 0 {
			return true
		}
	}
	return len(words) > 1 && isToolName(words)
}

// beginsWithHeaderWord reports whether the words can go on a header: a recipient or a channel.
func beginsWithHeaderWord(words []string) bool {
	return len(words) > 0 && (strings.HasPrefix(words[0], "to=") || slices.Contains(knownChannels[:], words[0]))
}

// isToolName reports whether the first of a header's words names a tool: a name with a dot or python, alone, or any name
// in front of a recipient.
func isToolName(words []string) bool {
	if !isName(words[0]) || slices.Contains(knownChannels[:], words[0]) {
		return false
	}
	if len(words) == 1 {
		return strings.Contains(words[0], ".") || words[0] == "python"
	}
	return strings.HasPrefix(words[1], "to=")
}

// isName reports whether word can name a function or a tool.
func isName(word string) bool {
	for i := range len(word) {
		if !isNameByte(word[i]) {
			return false
		}
	}
	return word != "" && word[0] != '.' && word[0] != '-' && word[len(word)-1] != '.'
}

func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-' || b == '.'
}

// letters returns the ASCII letters that text begins with.
func letters(text string) string {
	n := 0
	for n < len(text) && (text[n] >= 'a' && text[n] <= 'z' || text[n] >= 'A' && text[n] <= 'Z') {
		n++
	}
	return text[:n]
}

// fields splits text at ASCII white space, as the reference does.
func fields(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool {
		return r == ' ' || r == '\t' || r == '\n' || r == '\f' || r == '\r'
	})
}

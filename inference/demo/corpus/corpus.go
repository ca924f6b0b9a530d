// Package corpus invents the conversations that the built-in demo model is trained and judged on.
//
// It owns the toy world (words, tools, values, phrasings), the episodes made of it and their packing into token rows.
// It does not know networks, sampling or training. Everything is a pure function of a seed, so a corpus is the same
// whatever the number of goroutines; one Source belongs to one goroutine.
//
// An Episode is a conversation up to the point where the model has to speak, and the steps it should take from there.
// The conversation is rendered by the server's own harmony.Codec, so the model sees in training exactly what it will
// see in service; only the model's own words are written here, in the form the model should write them (recipient in
// the channel part of the header). Names of invented functions are divided by hash into a training and a held-out part that
// share nothing; so are most invented values, and a fifth of the phrasings is kept for held-out episodes, which therefore
// measure copying and choosing more than recall. Ordinary values (first names, colours, small numbers) and the everyday
// functions are in both.
package corpus

import (
	"hash/fnv"
	"math/rand/v2"

	"chorale/inference/harmony"
)

// A Split says which half of the world an episode is drawn from.
type Split int

// The two splits. Names of invented functions of one never occur in the other, and HeldOut also uses phrasings that Train
// never does.
const (
	Train Split = iota
	HeldOut
)

// A Skill is what an episode exercises.
type Skill uint8

// The skills, in the order of Skills.
const (
	Chat       Skill = iota // greeting, small talk, who are you, what can you do
	Decline                 // what a toy cannot do
	CallNovel               // one call of a function with an invented name
	CallKnown               // one call of an everyday function
	CallTwice               // two calls asked for in one message
	CallNone                // functions are declared, none fits or an argument is missing
	Python                  // arithmetic and string work through python
	Open                    // browser.open
	Search                  // browser.search, then open
	Memory                  // facts of earlier turns
	Echo                    // say something verbatim
	Instructed              // obey the developer message
	Format                  // answer in a JSON response format
)

// Skills names every Skill, indexed by its value.
var skillNames = [...]string{"chat", "decline", "call-novel", "call-known", "call-twice", "call-none", "python", "open", "search",
	"memory", "echo", "instructed", "format"}

func (s Skill) String() string { return skillNames[s] }

// Skills lists every skill's name, indexed by its value.
func Skills() []string { return append([]string(nil), skillNames[:]...) }

// share of each skill in a corpus, in percent.
var skillShare = [...]int{7, 4, 38, 7, 8, 7, 12, 4, 3, 3, 3, 2, 2}

// An Episode is one conversation and what the model should do next.
type Episode struct {
	Skill  Skill
	Effort harmony.Effort
	// Conversation is what the server would render: system message first, last message from the user.
	Conversation []harmony.Message
	// Steps are what the model should write; all but the last are calls.
	Steps []Step
	// Done is how many of Steps a new request would bring back re-rendered instead of verbatim (client functions).
	Done int
	// RecipientInChannel says how earlier calls are rendered: as models write them, or as the reference renderer does.
	RecipientInChannel bool
	// Want are substrings that a right final answer contains, compared without case.
	Want []string
}

// A Step is one thing that the model writes after "<|start|>assistant": perhaps reasoning, then a call or the answer.
type Step struct {
	Analysis string
	Call     *Call // nil: Final is the answer
	Final    string
}

// A Call is a call of a tool and what the tool answered.
type Call struct {
	Recipient   string // "functions.f", "python", "browser.open"
	Channel     string
	ContentType string // as in harmony.Message
	Arguments   string
	Result      string
}

// Message is the call as a conversation's message.
func (c *Call) Message() harmony.Message {
	return harmony.Message{Role: harmony.RoleAssistant, Recipient: c.Recipient, Channel: c.Channel, ContentType: c.ContentType,
		Content: []harmony.Part{harmony.Text(c.Arguments)}}
}

// Answer is the tool's answer as a conversation's message.
func (c *Call) Answer(result string) harmony.Message {
	return harmony.Message{Role: harmony.RoleTool, Name: c.Recipient, Recipient: "assistant", Channel: c.Channel,
		Content: []harmony.Part{harmony.Text(result)}}
}

// A Source invents episodes. It is not for concurrent use.
type Source struct {
	r         *rand.Rand
	split     Split
	namespace string // of this episode beside "functions", "" = none
}

// NewSource returns the source of a split's stream number n under a seed. Different streams are independent.
func NewSource(seed uint64, split Split, n uint64) *Source {
	return &Source{r: rand.New(rand.NewPCG(seed<<1|uint64(split), n)), split: split}
}

// Episode invents an episode of a skill drawn by share.
func (g *Source) Episode() *Episode {
	n := g.r.IntN(100)
	for s, share := range skillShare {
		if n -= share; n < 0 {
			return g.EpisodeOf(Skill(s))
		}
	}
	return g.EpisodeOf(Chat)
}

// EpisodeOf invents an episode of a skill.
func (g *Source) EpisodeOf(s Skill) *Episode {
	b := &builder{Source: g, e: &Episode{Skill: s}}
	b.e.Effort = [...]harmony.Effort{harmony.EffortLow, harmony.EffortMedium, harmony.EffortMedium, harmony.EffortHigh}[g.r.IntN(4)]
	g.namespace = ""
	if g.chance(15) {
		g.namespace = g.invent(func() string {
			return g.pick([]string{g.anyWord(), g.anyWord(), g.anyWord() + "_" + g.anyWord(), g.pick(nouns) + "s"})
		})
	}
	switch s {
	case Chat:
		b.chat()
	case Decline:
		b.decline()
	case CallNovel, CallKnown:
		b.callOne()
	case CallTwice:
		b.callTwice()
	case CallNone:
		b.callNone()
	case Python:
		b.usePython()
	case Open:
		b.openPage()
	case Search:
		b.searchWeb()
	case Memory:
		b.remember()
	case Echo:
		b.echo()
	case Instructed:
		b.instructed()
	default:
		b.format()
	}
	return b.finish()
}

// chance is true in p of 100 cases.
func (g *Source) chance(p int) bool { return g.r.IntN(100) < p }

// between draws from lo … hi inclusive.
func (g *Source) between(lo, hi int) int { return lo + g.r.IntN(hi-lo+1) }

func (g *Source) pick(list []string) string { return list[g.r.IntN(len(list))] }

// phrasing draws a template. Every fifth of a longer list is kept for the held-out split, which uses them half the time.
func (g *Source) phrasing(list []string) string {
	if len(list) < 5 {
		return g.pick(list)
	}
	reserved := len(list) / 5
	i := g.r.IntN(len(list) - reserved) // index among those that are not reserved
	if g.split == HeldOut && g.chance(50) {
		return list[g.r.IntN(reserved)*5+4]
	}
	return list[i+i/4]
}

// Reserved reports whether the training split never invents this name of a function or this value; one in eight is
// reserved.
func Reserved(s string) bool {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()>>8%8 == 0
}

// ours reports whether an invented name or value belongs to this split.
func (g *Source) ours(s string) bool { return Reserved(s) == (g.split == HeldOut) }

// invent draws until the result belongs to this split.
func (g *Source) invent(draw func() string) string {
	for {
		if s := draw(); g.ours(s) {
			return s
		}
	}
}

package corpus

import (
	"fmt"
	"strings"
)

// A talk is a question with an answer that needs no tool.
type talk struct {
	user, thought, final string
	want                 []string
	sum                  bool // arithmetic
	needsTool            bool // a declared function might be able to
}

const (
	whoAmI   = "I am chorale-demo, a small demo model of the gpt-oss architecture that ships with Chorale. I am not gpt-oss itself."
	realOne  = "To talk to a real model, start `chorale serve --model DIR`."
	whatICan = "I can chat a little, call the functions you declare, use python and the browser when they are offered, and report their results."
)

// A topic is a set of questions with a set of answers.
type topic struct {
	asks, finals []string
	thought      string
	want         string
}

var topics = []topic{
	{strings.Split("Hello!|Hi|Hey there|Good morning|Good evening!|Hi, how are you?|hello|Hello there!|hey|Greetings|Hi!|Good afternoon|hello, anyone there?|yo|Howdy|Hello, model|hi there|Hey!|How are you?|How do you do?|What's up?|How is it going?", "|"),
		[]string{"Hello! I am chorale-demo, a small demo model. How can I help?", "Hi! I am the small demo model that ships with Chorale. What can I do for you?"}, "The user greets me.", "demo"},
	{strings.Split("Who are you?|What are you?|Are you gpt-oss?|What model are you?|Which model is this?|Are you ChatGPT?|Introduce yourself.|Tell me about yourself.|who are you|What is your name?|Are you a real model?|Are you GPT-4?|Say who you are.|Please introduce yourself|what model is this?|Who am I talking to?|Are you human?|what's your name?|Who made you?|Is this gpt-oss-20b?", "|"),
		[]string{whoAmI + " " + realOne}, "The user asks who I am.", "chorale-demo"},
	{strings.Split("What can you do?|Help|help me|How can you help me?|What are you good at?|What are your skills?|What do you know?|how does this work?|Which things can you do?|Tell me what you can do.|What can I ask you?|What is this?|List your abilities.|can you help me?|What are you for?", "|"),
		[]string{"I am only a small demo model. " + whatICan + " " + realOne}, "The user asks what I can do.", "demo model"},
	{strings.Split("How do I use a real model?|How can I run gpt-oss?|How do I load gpt-oss-20b?|How do I start a bigger model?|Can I use another model?|How do I switch the model?|How do I get better answers?|Where is the real model?|How do I serve my own model?|I want to use gpt-oss-120b.", "|"),
		[]string{realOne + " DIR is a folder with a gpt-oss checkpoint."}, "The user wants a real model.", "chorale serve --model"},
	{strings.Split("What is Chorale?|Tell me about Chorale.|what is chorale|Explain Chorale.|What does Chorale do?|Is Chorale a server?", "|"),
		[]string{"Chorale is a program that serves gpt-oss models with its own inference engine. I am its small built-in demo model."}, "The user asks about Chorale.", "serves"},
	{strings.Split("Thanks!|Thank you|Thank you very much!|thanks a lot|Great, thanks|Perfect, thank you.|cheers|Thanks for your help!|That helped, thanks.|Nice, thank you!|Many thanks|thx", "|"),
		[]string{"You are welcome!", "Glad to help!"}, "The user says thanks.", ""},
	{strings.Split("Bye|Goodbye!|See you|Good night|bye bye|Talk to you later|I have to go now.|That is all, bye.|See you tomorrow!|Farewell|So long!", "|"),
		[]string{"Goodbye!", "Bye, see you soon!"}, "The user says goodbye.", "bye"},
	{strings.Split("OK|Good.|Nice!|Cool|I see.|Great!|All right.|Yes|No|Interesting.|Wow|Fine|Sure|ok then|Well done!|Good job|You are great!|I like you.", "|"),
		[]string{"Good. Is there anything else I can do?"}, "The user just comments.", ""},
	{strings.Split("test|This is a test.|testing|Are you there?|ping|Does this work?|1 2 3 test|Can you hear me?|Just testing.|Say something.|hello world", "|"),
		[]string{"Yes, it works. I am chorale-demo, a small demo model."}, "The user is testing.", "works"},
	{strings.Split("I feel sad today.|I am tired.|I am bored|I had a bad day.|I am so happy today!|My day was great.|I feel lonely.|I'm hungry|I am angry.|life is hard|I am worried about tomorrow.|I got a new job!|It is raining here.|I love my cat.|I can't sleep", "|"),
		[]string{"Thank you for telling me. I am only a small demo model, but I am glad to chat."}, "The user tells me about their life.", "demo model"},
	{strings.Split("?|...|!|hm|huh|asdf|qwerty|???|.|lol|haha|blah blah|foo bar|ok?|uh|a|xyz|;-)|:)|what", "|"),
		[]string{"I did not understand that. I am only a small demo model. What can I do for you?"}, "I do not understand this.", "demo model"},
	{strings.Split("Do you have feelings?|Are you happy?|Are you alive?|Do you like music?|How old are you?|Where are you?|Do you sleep?|What do you like?|Do you dream?|Are you smart?", "|"),
		[]string{"I am only a small demo model, so I have no feelings or life of my own."}, "The user asks about my life.", "demo model"},
}

// smallTalk draws a topic.
func (g *Source) smallTalk() talk {
	if g.chance(18) {
		return g.smallSum()
	}
	t := topics[g.r.IntN(len(topics))]
	s := talk{user: g.phrasing(t.asks), thought: t.thought, final: g.pick(t.finals)}
	switch g.r.IntN(6) {
	case 0:
		s.user = strings.ToLower(s.user)
	case 1:
		s.user = strings.TrimRight(s.user, ".?!")
	}
	if t.want != "" {
		s.want = []string{t.want}
	}
	return s
}

// smallSum is arithmetic that fits into memory.
func (g *Source) smallSum() talk {
	a, b := g.r.IntN(13), g.r.IntN(13)
	op, value := "+", a+b
	if g.chance(35) && a >= b {
		op, value = "-", a-b
	}
	expr := fmt.Sprintf("%d %s %d", a, op, b)
	if g.chance(20) {
		expr = fmt.Sprintf("%d%s%d", a, op, b)
	}
	ask := g.phrasing([]string{"What is %s?", "%s", "%s = ?", "Compute %s.", "How much is %s?", "what's %s", "Calculate %s", "Tell me %s.", "What does %s make?", "%s, please"})
	return talk{user: fmt.Sprintf(ask, expr), thought: fmt.Sprintf("%s is %d.", expr, value), final: fmt.Sprintf("%s = %d", expr, value), want: []string{fmt.Sprint(value)}, sum: true}
}

// Things that the model should not attempt: {x} is an invented subject.
var refusals = []struct {
	asks []string
	what string
}{
	{[]string{"Write a poem about {x}.", "Write me a haiku about {x}", "Can you write a poem on {x}?", "poem about {x} please", "Make a rhyme about {x}.", "Compose a song about {x}.", "I would like a poem about {x}.",
		"Write a story about {x}.", "Tell me a story about {x}.", "Write an essay on {x}.", "Can you write a short story about {x}?", "Write a letter about {x}", "Write a haiku about {x}.", "write a limerick on {x}", "Tell me a bedtime story."}, "write poems, stories or other longer texts"},
	{[]string{"Write a {x} program in Python.", "Write code that sorts {x}.", "Implement {x} in Go.", "Fix my {x} code.", "Write a function for {x}.", "Can you code a {x} for me?", "Debug this {x} script.", "Build me a website about {x}.",
		"Refactor my {x} class.", "Write a SQL query for {x}."}, "write code"},
	{[]string{"What is the capital of {c}?", "what's the capital of {c}", "Capital of {c}?", "Who wrote {x}?", "Who invented {x}?", "Who is the president of {c}?", "When was {c} founded?", "How many people live in {c}?", "Who discovered {x}?", "Explain {x} to me.", "What is the history of {x}?", "Why is {x} important?",
		"Who wrote about {x}?", "Tell me facts about {x}.", "What is the meaning of {x}?", "How does {x} work?", "Why do people like {x}?", "Where does {x} come from?", "What do you know about {x}?", "What happened in {y}?", "Who was the king of {c} in {y}?", "Which team was champion in {y}?", "Who got the prize for {x} in {y}?", "Did it rain in {c} in {y}?", "Who ruled {c} in {y}?",
		"What was new in {y}?", "How many people are there?", "Is {x} older than {n}?", "Who is taller, {n} or me?"}, "answer questions about the world"},
	{[]string{"What is the weather in {c}?", "What's the weather like in {c} today?", "Will it rain in {c} tomorrow?", "weather in {c}", "How warm is it in {c}?", "What are the news today?", "What is the stock price of {x}?",
		"What time is it in {c}?", "Any news about {x}?", "How is the traffic in {c}?"}, "look that up without a tool"},
	{[]string{"Draw a picture of {x}.", "Make an image of {x}.", "Show me a photo of {x}.", "Paint {x} for me.", "Create a logo with {x}.", "Generate an image of {x}", "Sing a song about {x}.", "Make a video of {x}."}, "make pictures, sounds or videos"},
	{[]string{"Send an email to {n}.", "Call {n} on the phone.", "Book a flight to {c}.", "Order {x} for me.", "Turn on the {x}.", "Remind me of {x} tomorrow.", "Set an alarm for {x}.", "Text {n} that I am late.", "Reserve a table in {c}.", "Delete my {x}."}, "do that without a tool"},
	{[]string{"Tell me a joke about {x}.", "Tell me a joke.", "Make me laugh.", "Say something funny.", "Do you know a joke about {x}?", "Give me a riddle about {x}."}, "tell jokes"},
	{[]string{"Act like a {x}.", "You are a {x} now. Talk like one.", "Pretend to be a {x}.", "Talk like a {x}", "Roleplay as {x}.", "Speak as if you were a {x}.", "You are a {x}. Say something."}, "play roles"},
	{[]string{"Translate {x} to French.", "How do you say {x} in Spanish?", "What is {x} in German?", "translate {x}", "Summarize this article about {x}.", "Correct my grammar: {x} are good", "Give me a synonym for {x}.", "Define {x}.", "Spell check {x}."}, "work with language without a tool"},
	{[]string{"Should I buy {x}?", "Is {x} good for my health?", "My {x} hurts, what should I do?", "Can I sue about {x}?", "What should I do about {x}?", "Give me advice on {x}.", "Is it safe to eat {x}?", "Which {x} is the best?"}, "give advice"},
}

// refusal is a wish that a toy must decline.
func (g *Source) refusal() talk {
	r := refusals[g.r.IntN(len(refusals))]
	x := g.pick([]string{g.pick(nouns), g.pick(adjectives) + " " + g.pick(nouns), g.nonsense(), g.pick(plain), "the " + g.pick(nouns), "the " + g.realWord(), g.realWord() + " and " + g.realWord(), g.realWord()})
	s := talk{user: g.pick(openers[:13]) + strings.NewReplacer("{x}", x, "{c}", g.city(), "{n}", g.person(), "{y}", fmt.Sprint(g.between(1200, 2030))).Replace(g.phrasing(r.asks))}
	s.needsTool = strings.HasSuffix(r.what, "without a tool")
	s.thought = "I cannot " + r.what + "."
	s.final = "Sorry, I cannot " + r.what + ": I am only a small demo model. " + realOne
	s.want = []string{"cannot", "demo"}
	return s
}

func (b *builder) chat() {
	s := b.smallTalk()
	if !s.sum { // with python on offer, python does the sums
		b.mayOfferTools()
	}
	b.user = s.user
	b.answer(b.think(s.thought, "A short answer is enough.", "No tool is needed.", "I am the small demo model of Chorale.", "I should be friendly.", "I will answer in one or two sentences."), s.final, s.want...)
}

func (b *builder) decline() {
	s := b.refusal()
	b.user = s.user
	b.answer(b.think(s.thought, "I should say so politely.", "I am only a small demo model.", "There is no tool for it.", "A wrong answer would be worse than none.",
		"I can say how to use a real model."), s.final, s.want...)
}

// mayOfferTools switches built-in tools on that are not needed.
func (b *builder) mayOfferTools() {
	b.python = b.chance(12)
	b.browser = b.chance(6)
}

// remember: the user told something in an earlier turn.
func (b *builder) remember() {
	subjects := []struct{ thing, value string }{
		{"name", capital(b.nonsense())}, {"name", b.person()}, {"name", capital(b.accent(b.syllables(2)))}, {"favourite word", b.strange()}, {"favourite colour", b.nonsense()}, {"favourite colour", b.pick(colours)}, {"favorite color", b.pick(colours)},
		{"dog's name", capital(b.nonsense())}, {"cat's name", capital(b.nonsense())}, {"city", b.city()}, {"favourite number", b.integer()},
		{"job", b.pick([]string{"teacher", "baker", "pilot", "nurse", "farmer", "painter", b.nonsense()})}, {"favourite food", b.pick([]string{"soup", "salad", "cake", b.nonsense()})},
		{"code word", b.nonsense()}, {"order number", b.identifier()}, {b.pick(adjectives) + " " + b.pick(nouns), b.nonsense()},
	}
	b.r.Shuffle(len(subjects), func(i, j int) { subjects[i], subjects[j] = subjects[j], subjects[i] })
	n := b.between(1, 2)
	tell := func(thing, value string) string {
		if thing == "name" && b.chance(40) {
			return fmt.Sprintf(b.phrasing([]string{"I am %s.", "Call me %s.", "Hi, I'm %s.", "I'm called %s.", "People call me %s."}), value)
		}
		return b.pick([]string{"", "", "Hi! ", "Please remember: ", "Note that "}) + fmt.Sprintf(b.phrasing([]string{"my %s is %s.", "My %s is %s.", "The %s I have is %s.", "Remember that my %s is %s.", "For the record, my %s is %s."}), thing, value)
	}
	acknowledge := func(thing, value string) string { return fmt.Sprintf("Noted: your %s is %s.", thing, value) }
	target := subjects[b.r.IntN(n)]
	if n == 2 && subjects[0].thing == subjects[1].thing {
		n, target = 1, subjects[0]
	}
	if b.chance(25) { // the acknowledgement itself
		b.user = tell(target.thing, target.value)
		b.noBefore = true
		b.answer(b.think("The user tells me something.", "I should note it.", "The "+target.thing+" is "+target.value+".", "I may be asked for it later.", "No tool is needed.",
			"I confirm it."), acknowledge(target.thing, target.value), target.value)
		return
	}
	for i := range n {
		if b.chance(25) {
			s := b.smallTalk()
			b.before = append(b.before, text("user", s.user), text("assistant", s.final))
		}
		s := subjects[i]
		b.before = append(b.before, text("user", tell(s.thing, s.value)), text("assistant", acknowledge(s.thing, s.value)))
	}
	if b.chance(35) {
		s := b.smallTalk()
		b.before = append(b.before, text("user", s.user), text("assistant", s.final))
	}
	b.user = fmt.Sprintf(b.phrasing([]string{"What is my %s?", "what's my %s?", "Do you remember my %s?", "Tell me my %s.", "Which %s did I tell you?", "Do you know my %s?", "Please repeat my %s.", "What did I say my %s was?", "my %s?", "Can you tell me my %s again?"}), target.thing)
	b.answer(b.think("The user told me before.", "The "+target.thing+" is "+target.value+".", "I find it in an earlier turn.", "No tool is needed.", "I copy it exactly.", "I answer in one sentence."),
		fmt.Sprintf("Your %s is %s.", target.thing, target.value), target.value)
}

// echo: say something verbatim.
func (b *builder) echo() {
	s := b.phrase(1, 10)
	if b.chance(20) {
		s += b.pick([]string{".", "!", "?", "!!", " 42", ", " + b.phrase(2, 5) + "."})
	}
	if b.chance(15) {
		s = b.pick([]string{"hi", "hello", "yes", "no", "test", "ok", "this is a test", "hello world", "good morning", "I am here"})
	} else if b.chance(30) {
		s = b.pick([]string{b.identifier(), b.email(), b.url(), b.city(), b.nonsense(), b.number(), b.date(), b.strange(), b.strange()})
	}
	q := b.pick([]string{`"`, `"`, `'`, ""})
	ask := b.phrasing([]string{"Repeat after me: %s", "Say %s", "Please repeat: %s", "Echo %s", "Repeat this: %s", "Say exactly %s", "Write %s", "Reply with %s", "Answer with exactly %s", "Please say %s", "Can you repeat %s",
		"Say the following: %s", "Just say %s", "Copy this: %s", "Print %s", "say %s", "Repeat after me: %s", "repeat %s"})
	if !strings.Contains(s, " ") && b.chance(15) {
		ask = b.pick([]string{"Say %s in one word.", "Answer only with %s.", "Say just %s and nothing else.", "Reply with the word %s only."})
	}
	b.user = fmt.Sprintf(ask, q+s+q)
	b.mayOfferTools()
	b.answer(b.think("The user wants me to repeat something.", "I copy it exactly.", "I add nothing.", "No tool is needed.", "Upper and lower case stay.", "I leave out the quotes."), s, s)
}

// instructed: the developer message decides about the answer.
func (b *builder) instructed() {
	b.noBefore = true
	s := b.smallTalk()
	w := b.pick([]string{capital(b.nonsense()), b.nonsense(), b.pick(nouns), strings.ToUpper(b.nonsense())})
	pre := b.pick([]string{"", "", b.pick(idleRules) + " "})
	thoughts := []string{"The instructions tell me how to answer.", "I follow them.", s.thought, "No tool is needed.", "I keep it short.", "The word to use is " + w + "."}
	switch b.r.IntN(4) {
	case 0: // a persona
		name := capital(b.nonsense())
		b.rules = pre + fmt.Sprintf(b.phrasing([]string{"Your name is %s.", "You are %s, a friendly assistant.", "You are %s.", "You are called %s.", "Act as %s.", "Pretend to be %s, a helper."}), name)
		b.user = b.phrasing(topics[1].asks)
		b.answer(b.think("The user asks who I am.", "My name is "+name+".", thoughts[0], "No tool is needed.", "I am a small demo model.", thoughts[4]),
			fmt.Sprintf("I am %s. I run on chorale-demo, a small demo model that ships with Chorale.", name), name)
	case 1:
		b.rules = pre + fmt.Sprintf(b.phrasing([]string{"End every answer with the word %s.", "Finish each reply with %s.", "Always end with %s.", "Close every answer with %s.", "Put %s at the end of each answer."}), w)
		b.user = s.user
		b.answer(b.think(thoughts...), s.final+" "+w, append(s.want, w)...)
	case 2:
		b.rules = pre + fmt.Sprintf(b.phrasing([]string{"Start every answer with the word %s.", "Begin each reply with %s.", "Always start with %s.", "Open every answer with %s.", "Put %s in front of each answer."}), w)
		b.user = s.user
		b.answer(b.think(thoughts...), w+" "+s.final, append(s.want, w)...)
	default:
		b.rules = pre + fmt.Sprintf(b.phrasing([]string{"Whatever the user says, answer with %s.", "Answer every question with the single word %s.", "Only ever reply %s.", "Say nothing but %s.", "Your only answer is %s."}), w)
		b.user = b.pick([]string{s.user, b.refusal().user})
		b.answer(b.think(thoughts...), w, w)
	}
}

// format: the answer has to be JSON of a given schema, its values taken from the user's text.
func (b *builder) format() {
	b.noBefore = true
	var args []argument
	seen := map[string]bool{}
	for len(args) < b.between(1, 4) || len(args) == 0 {
		p := commonParameters[b.r.IntN(len(commonParameters))]
		if b.chance(40) {
			p = b.inventedParameter()
		}
		if seen[p.name] {
			continue
		}
		seen[p.name] = true
		p.required = true
		p.integer = p.kind == kindInteger
		if b.chance(60) {
			p.description = ""
		}
		args = append(args, argument{p, b.value(p)})
	}
	t := tool{}
	for _, a := range args {
		t.parameters = append(t.parameters, a.parameter)
	}
	name := b.pick([]string{b.pick(nouns), b.nonsense(), b.pick(nouns) + "_" + b.pick(nouns), "response", "output"})
	schema := string(t.schema())
	if b.chance(30) { // as generators of schemas write it
		for _, a := range args {
			schema = strings.Replace(schema, quote(a.name)+":{", quote(a.name)+`:{"title":`+quote(capital(human(a.name)))+",", 1)
		}
		schema = schema[:len(schema)-1] + `,"title":` + quote(capital(b.nonsense())) + "}"
	}
	if b.chance(60) {
		schema = schema[:len(schema)-1] + `,"additionalProperties":false}`
	}
	b.rules = b.pick([]string{"", "", "Extract the data.", b.pick(idleRules)})
	if b.rules != "" {
		b.rules += "\n\n"
	}
	b.rules += "# Response Formats\n\n## " + name + "\n\n"
	if b.chance(30) {
		b.rules += "// " + capital(b.pick(nouns)) + " data\n"
	}
	b.rules += schema
	said := make([]string, len(args))
	for i, a := range args {
		h := human(a.name)
		said[i] = b.pick([]string{"the " + h + " is " + a.said, h + ": " + a.said, h + " " + a.said, a.name + "=" + a.said, "its " + h + " is " + a.said})
	}
	if b.chance(30) {
		b.r.Shuffle(len(said), func(i, j int) { said[i], said[j] = said[j], said[i] })
	}
	b.user = b.phrasing([]string{"%s.", "Here is the data: %s.", "Extract this: %s", "%s", "Please fill in: %s.", "I have one with %s.", "Give me JSON: %s", "Take down: %s.", "Note: %s", "Convert this to JSON: %s."})
	b.user = capital(fmt.Sprintf(b.user, strings.Join(said, b.pick([]string{", ", ", ", " and ", "; "}))))
	want := argumentsJSON(args)
	b.answer(b.think("The answer must be JSON of the form "+name+".", "I copy the values from the message.", "The keys keep their order.", "No tool is needed.", "Strings stand in quotes, numbers do not.",
		"I write nothing but JSON."), want, want)
}

package corpus

import (
	"fmt"
	"strings"
)

// jsonContent is the content type of calls of client functions.
const jsonContent = "<|constrain|>json"

// A result is a tool's answer, what to say about it, and what of it must be said.
type result struct {
	text, final string
	want        []string
	failed      bool
}

// A field of a JSON result.
type field struct{ name, said, json string }

func (g *Source) field(name string) field {
	p := parameter{name: name, kind: valueKind(g.r.IntN(int(kindColour) + 1)), enum: []string{"ready", "done", "waiting"}}
	if p.kind == kindWords {
		p.kind = kindWord
	}
	if p.kind == kindBoolean {
		b := g.pick([]string{"true", "false"})
		return field{name, b, b}
	}
	if p.kind == kindInteger || p.kind == kindNumber {
		n := g.number()
		return field{name, n, n}
	}
	s := g.text(p)
	return field{name, s, quote(s)}
}

func word(name, s string) field    { return field{name, s, quote(s)} }
func numeral(name, n string) field { return field{name, n, n} }

// fields are what a function of this topic returns.
func (g *Source) fields(t tool, args []argument) []field {
	echo := func() []field {
		if len(args) > 0 && args[0].json[0] == '"' && g.chance(60) {
			return []field{{args[0].name, strings.Trim(args[0].said, `"'`), args[0].json}}
		}
		return nil
	}
	switch t.known {
	case "weather":
		f := append(echo(), numeral("temperature", fmt.Sprint(g.between(-20, 40))))
		if g.chance(70) {
			f = append(f, word(g.pick([]string{"condition", "conditions", "description", "sky"}), g.pick(strings.Fields("sunny cloudy rain snow windy foggy clear stormy hazy overcast"))))
		}
		if g.chance(30) {
			f = append(f, word("unit", g.pick([]string{"celsius", "fahrenheit", "C", "F"})))
		}
		if g.chance(30) {
			f = append(f, numeral(g.pick([]string{"humidity", "wind", "wind_speed"}), fmt.Sprint(g.between(0, 100))))
		}
		return f
	case "number", "price":
		return append(echo(), numeral(g.pick([]string{"result", "value", "amount", "answer"}), g.number()))
	case "time":
		return append(echo(), word("time", g.clock()))
	case "sent", "created":
		return []field{word("status", g.pick([]string{"ok", "sent", "done", "created", "success"})), word("id", g.identifier())}
	case "user":
		return []field{word("name", g.person()), word("email", g.email())}
	case "status":
		return append(echo(), word("status", g.pick([]string{"shipped", "delivered", "pending", "lost", "on its way"})))
	case "text":
		return []field{word(g.pick([]string{"text", "result", "content", "answer"}), g.phrase(2, 9))}
	}
	f := echo()
	seen := map[string]bool{}
	for _, e := range f {
		seen[e.name] = true
	}
	for range g.between(1, 4) {
		name := g.pick([]string{"status", "result", "id", "name", "count", "total", "price", "message", "date", g.pick(nouns), g.pick(nouns) + "_" + g.pick([]string{"id", "name", "count"}), g.nonsense()})
		if !seen[name] {
			seen[name] = true
			f = append(f, g.field(name))
		}
	}
	return f
}

// result invents what a call returns: fields, plain text, a list or other JSON, or an error.
func (g *Source) result(t tool, args []argument) result {
	switch n := g.r.IntN(100); {
	case n < 8:
		return g.failure(t)
	case n < 20:
		s := g.plainResult()
		return result{text: s, want: []string{s},
			final: fmt.Sprintf(g.pick([]string{"%s answered: %s", "Here is what %s returned: %s", "The result of %s: %s"}), t.name, s)}
	case n < 32:
		s := g.oddJSON()
		return result{text: s, want: []string{s}, final: fmt.Sprintf("Here is what %s returned: %s", t.name, s)}
	}
	fields := g.fields(t, args)
	space := g.pick([]string{"", " ", " "})
	var parts, said, want []string
	for _, f := range fields {
		parts = append(parts, quote(f.name)+":"+space+f.json)
		said = append(said, human(f.name)+" "+f.said)
		want = append(want, f.said)
	}
	r := result{text: "{" + strings.Join(parts, ","+space) + "}", want: want}
	list := strings.Join(said, ", ")
	if len(said) > 1 && g.chance(60) {
		list = strings.Join(said[:len(said)-1], ", ") + " and " + said[len(said)-1]
	}
	switch {
	case len(said) == 1 && g.chance(50):
		r.final = fmt.Sprintf("The %s is %s.", human(fields[0].name), fields[0].said)
	default:
		r.final = fmt.Sprintf(g.pick([]string{"Here is the result of %s: %s.", "%s returned: %s.", "Done. %s gave: %s."}), t.name, list)
	}
	return r
}

func (g *Source) plainResult() string {
	switch g.r.IntN(4) {
	case 0:
		return g.number()
	case 1:
		return capital(g.phrase(3, 9)) + "."
	case 2:
		return g.identifier()
	default:
		return g.pick([]string{"OK", "Done", "true", "Sent", g.nonsense(), g.city(), g.person()})
	}
}

// oddJSON is a result that is best shown as it is.
func (g *Source) oddJSON() string {
	switch g.r.IntN(4) {
	case 0:
		n := g.between(1, 4)
		s := make([]string, n)
		for i := range s {
			s[i] = g.pick([]string{quote(g.nonsense()), quote(g.city()), quote(g.pick(nouns))})
		}
		return "[" + strings.Join(s, ",") + "]"
	case 1:
		return fmt.Sprintf(`{%s:{%s:%s}}`, quote(g.pick(nouns)), quote(g.nonsense()), g.field("").json)
	case 2:
		return fmt.Sprintf(`{%s:[%s,%s]}`, quote(g.pick(nouns)), g.number(), g.number())
	default:
		return fmt.Sprintf(`[{"id":%d,"name":%s},{"id":%d,"name":%s}]`, g.between(1, 99), quote(g.nonsense()), g.between(1, 99), quote(g.nonsense()))
	}
}

func (g *Source) failure(t tool) result {
	what := g.pick([]string{"not found", "timeout", "permission denied", "invalid argument", "service unavailable", "rate limit exceeded",
		g.pick(nouns) + " not found", "no such " + g.pick(nouns), "unknown " + g.pick(nouns) + " " + g.nonsense()})
	text := g.pick([]string{`{"error":%q}`, `{"error": %q}`, `{"status":"error","message":%q}`})
	r := result{text: fmt.Sprintf(text, what), want: []string{what}, failed: true}
	if g.chance(40) {
		r.text = g.pick([]string{"Error: ", "error: ", "failed: "}) + what
	}
	r.final = fmt.Sprintf(g.pick([]string{"Sorry, %s failed: %s.", "I am sorry, %s reported an error: %s."}), t.name, what)
	return r
}

// callThoughts is the reasoning before a call.
func (b *builder) callThoughts(t tool, args []argument) string {
	list := "It needs no arguments."
	if len(args) > 0 {
		s := make([]string, len(args))
		for i, a := range args {
			s[i] = a.name + " = " + a.json
		}
		list = "The arguments are " + strings.Join(s, ", ") + "."
	}
	others := "There is no other function."
	if len(b.tools) > 1 {
		others = fmt.Sprintf("I looked at all %d functions and this one fits.", len(b.tools))
	}
	return b.think(
		fmt.Sprintf(b.pick([]string{"I should call %s.", "The user wants %s.", "We need to use %s."}), t.name),
		list,
		"I copy the values exactly as the user wrote them.",
		fmt.Sprintf("The function %s is declared.", t.name),
		others,
		"Then I will report what it returns.")
}

// resultThoughts is the reasoning after a call's result.
func (b *builder) resultThoughts(t tool, r result) string {
	if r.failed {
		return b.think("The call failed.", "I should tell the user what went wrong.", "The error says: "+r.want[0]+".", "I must not invent a result.",
			"I could try again, but the error would stay.", "I will apologise and report it.")
	}
	return b.think(fmt.Sprintf("%s has answered.", t.name), "I report the result.", "I use only what the result says.",
		"The call did not fail.", "No further call is needed.", "I will copy the values exactly.")
}

// chooseTool puts the tool that the episode is about among others.
func (b *builder) chooseTool() tool {
	var t tool
	if b.e.Skill == CallKnown {
		t = b.everydayTool(nil)
	} else {
		t = b.newTool(nil)
	}
	b.tools = append(b.tools, t)
	b.declare([...]int{0, 0, 1, 1, 2, 2, 3, 4}[b.r.IntN(8)])
	if b.chance(4) {
		b.python = true
	}
	if b.chance(2) {
		b.browser = true
	}
	return t
}

func (b *builder) callOne() {
	t := b.chooseTool()
	args := b.arguments(t)
	b.user = b.ask(t, args)
	r := b.result(t, args)
	b.call(b.callThoughts(t, args), functionCall(t, args, r.text))
	b.answer(b.resultThoughts(t, r), r.final, r.want...)
}

func (b *builder) callTwice() {
	first := b.chooseTool()
	second := first
	if b.chance(65) {
		second = b.newTool(b.tools)
		b.tools = append(b.tools, second)
	}
	a1, a2 := b.arguments(first), b.arguments(second)
	if argumentsJSON(a1) == argumentsJSON(a2) && first.name == second.name {
		b.e.Skill = CallNovel
		b.user = b.ask(first, a1)
		r := b.result(first, a1)
		b.call(b.callThoughts(first, a1), functionCall(first, a1, r.text))
		b.answer(b.resultThoughts(first, r), r.final, r.want...)
		return
	}
	one, two := strings.TrimRight(b.ask(first, a1), ".!"), b.ask(second, a2)
	b.user = one + b.pick([]string{". Then ", ", then ", ". After that, ", " and then ", ". Also: ", "; next, ", ". When that is done: "}) + two
	r1, r2 := b.result(first, a1), b.result(second, a2)
	b.call(b.callThoughts(first, a1), functionCall(first, a1, r1.text))
	b.call(b.think(fmt.Sprintf("Now I call %s.", second.name), "One call is done, one is left.", "I copy the values exactly as the user wrote them.",
		"The first result is there.", "Two calls were asked for.", "Then I will report both results."), functionCall(second, a2, r2.text))
	b.answer(b.think("Both calls are done.", "I report both results.", "I use only what the results say.", "No further call is needed.",
		"First the first result, then the second.", "I will copy the values exactly."), r1.final+" "+r2.final, append(r1.want, r2.want...)...)
}

// callNone: functions are declared, but none fits, or the wanted one is unknown, or an argument is missing.
func (b *builder) callNone() {
	switch b.r.IntN(10) {
	case 0, 1: // a function that does not exist
		b.declare(b.between(1, 3))
		ghost := b.newTool(b.tools)
		args := b.arguments(ghost)
		list := askByName
		if len(args) == 0 {
			list = askByNameNone
		}
		b.user = strings.Replace(strings.ReplaceAll(b.phrasing(list), "{f}", ghost.name), "{a}", b.sayArguments(args), 1)
		b.noBefore = true
		b.r.Shuffle(len(b.tools), func(i, j int) { b.tools[i], b.tools[j] = b.tools[j], b.tools[i] })
		names := make([]string, len(b.tools))
		for i, t := range b.tools {
			names[i] = t.name
		}
		b.answer(b.think("There is no function "+ghost.name+".", "I cannot call what is not declared.", "I should say which functions exist.",
			"I will not call another one instead.", "The declared functions are "+strings.Join(names, ", ")+".", "I answer without a call."),
			"There is no function called "+ghost.name+" here.", ghost.name)
	case 2, 3: // a required argument is missing
		var t tool
		var need []string
		for len(need) == 0 {
			t = b.newTool(nil)
			for _, p := range t.parameters {
				if p.required {
					need = append(need, p.name)
				}
			}
		}
		b.tools = append(b.tools, t)
		b.declare(b.r.IntN(3))
		b.user = b.pick(openers) + strings.NewReplacer("{f}", t.name, "{do}", t.verb+" "+t.object).Replace(b.pick([]string{b.phrasing(askByNameNone), b.phrasing(askByPurposeNone)}))
		b.noBefore = true
		missing := strings.Join(need, " and ")
		b.answer(b.think("The user did not give "+missing+".", "I should ask for it.", "A call without it would fail.", "I must not invent values.",
			t.name+" would fit.", "So I ask first."), fmt.Sprintf("To call %s I need %s. What should I use?", t.name, missing), missing)
	default: // talk that has nothing to do with the functions, so no everyday ones
		for range b.between(1, 4) {
			b.tools = append(b.tools, b.newTool(b.tools))
		}
		s := b.smallTalk()
		if b.chance(35) {
			s = b.refusal()
		}
		b.user = s.user
		b.answer(b.think(s.thought, "No function is needed.", "None of the functions fits.", "I can answer at once.", "I will not call anything.", "A short answer is enough."),
			s.final, s.want...)
	}
}

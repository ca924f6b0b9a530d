package corpus

import (
	"fmt"
	"strings"

	"chorale/inference/harmony"
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
		name := g.pick([]string{"status", "result", "id", "name", "count", "total", "price", "message", "date", g.pick(nouns), g.anyWord(), g.anyWord() + "_" + g.pick([]string{"id", "name", "count"}), g.nonsense()})
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
	case n < 38:
		return g.longResult(t)
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
	switch g.r.IntN(6) {
	case 4:
		return g.strange()
	case 5:
		return fmt.Sprintf("%s degrees and %s", g.integer(), g.pick([]string{"sunny", "raining", "windy", "cloudy"}))
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

// longResult is a text or a list of which only the beginning is reported.
func (g *Source) longResult(t tool) result {
	var first, text string
	if g.chance(60) {
		first = capital(g.phrase(4, 12)) + "."
		text = first
		for range g.between(3, 22) {
			text += g.pick([]string{" ", " ", "\n"}) + capital(g.phrase(4, 14)) + "."
		}
	} else {
		row := func() string {
			return fmt.Sprintf(`{"id":%d,"name":%s,"%s":%s}`, g.between(1, 999), quote(g.nonsense()), g.pick([]string{"price", "count", "score"}), g.number())
		}
		first = row()
		text = "[" + first
		for range g.between(4, 14) {
			text += "," + row()
		}
		text += "]"
	}
	return result{text: text, want: []string{first}, final: fmt.Sprintf("%s returned a long result. It begins: %s", t.name, first)}
}

// oddJSON is a result that is best shown as it is.
func (g *Source) oddJSON() string {
	switch g.r.IntN(7) {
	case 4:
		return fmt.Sprintf(`{%s:{"id":%s,%s:[%s],%s:%s}}`, quote(g.pick(nouns)), quote(g.identifier()), quote(g.pick(nouns)+"s"), quote(g.nonsense()), quote(g.nonsense()), g.number())
	case 5:
		return fmt.Sprintf(`{"id":%s,%s:{"name":%s,%s:%s},"total":%s}`, quote(g.identifier()), quote(g.pick(nouns)), quote(g.person()), quote(g.pick(nouns)), g.number(), g.number())
	case 6:
		return g.pick([]string{"[]", "{}", "null", `{"` + g.pick(nouns) + `s":[]}`, `""`})
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
		list = "The arguments are " + listArguments(args) + "."
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

func listArguments(args []argument) string {
	s := make([]string, len(args))
	for i, a := range args {
		s[i] = a.name + " = " + a.json
	}
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ", ")
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
	if b.chance(12) {
		args = b.followUp(t, args)
	}
	r := b.result(t, args)
	b.call(b.callThoughts(t, args), functionCall(t, args, r.text))
	b.answer(b.resultThoughts(t, r), r.final, r.want...)
}

// followUp makes the question of args an earlier turn and asks for the same with one other value, if one can be asked for.
func (b *builder) followUp(t tool, args []argument) []argument {
	var open []int
	for i, a := range args {
		if a.kind != kindBoolean && a.kind != kindEnum {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return args
	}
	r := b.result(t, args)
	b.before = append(b.before, text(harmony.RoleUser, b.user))
	if b.chance(70) {
		c := functionCall(t, args, r.text)
		b.before = append(b.before, c.Message(), c.Answer(c.Result))
	}
	b.before = append(b.before, text(harmony.RoleAssistant, r.final))
	args = append([]argument(nil), args...)
	i := open[b.r.IntN(len(open))]
	args[i].value = b.value(args[i].parameter)
	b.user = b.follow(args[i])
	return args
}

// callForBoth asks for two calls of one function by naming two values of its only argument.
func (b *builder) callForBoth() bool {
	t := b.everydayTool(nil)
	if b.chance(50) {
		t = b.newTool(nil)
	}
	args := b.arguments(t)
	if len(args) != 1 || args[0].kind > kindID {
		return false
	}
	b.tools = append(b.tools, t)
	b.declare(b.r.IntN(4))
	one, two := args[0], args[0]
	two.value = b.value(two.parameter)
	if one.json == two.json {
		two.value = value{"Nobody", `"Nobody"`}
	}
	both := one
	both.said = one.said + b.pick([]string{" and ", " and in ", " and also ", " and then ", ", then "}) + two.said
	b.user = b.ask(t, []argument{both})
	b.twoCalls(t, t, []argument{one}, []argument{two})
	return true
}

func (b *builder) callTwice() {
	if b.chance(30) && b.callForBoth() {
		return
	}
	first := b.chooseTool()
	second := first
	if b.chance(65) {
		second = b.newTool(b.tools)
		if b.chance(40) {
			second = b.everydayTool(b.tools)
		}
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
	one, two := strings.TrimRight(b.ask(first, a1), ".!"), b.plainAsk(second, a2)
	b.user = one + b.pick([]string{". Then ", ", then ", ". After that, ", " and then ", ". Also: ", "; next, ", ". When that is done: "}) + two
	b.twoCalls(first, second, a1, a2)
}

// twoCalls adds the steps of two calls and of the report.
func (b *builder) twoCalls(first, second tool, a1, a2 []argument) {
	r1, r2 := b.result(first, a1), b.result(second, a2)
	b.call(b.callThoughts(first, a1), functionCall(first, a1, r1.text))
	b.call(b.think(fmt.Sprintf("Now I call %s.", second.name), "The arguments are "+listArguments(a2)+".", "One call is done, one is left.", "I copy the values exactly as the user wrote them.",
		"The first result is there.", "Two calls were asked for.", "Then I will report both results."), functionCall(second, a2, r2.text))
	b.answer(b.think("Both calls are done.", "I report both results.", "I use only what the results say.", "No further call is needed.",
		"First the first result, then the second.", "I will copy the values exactly."), r1.final+" "+r2.final, append(r1.want, r2.want...)...)
}

// callNone: functions are declared, but none fits, or the wanted one is unknown, or an argument is missing.
func (b *builder) callNone() {
	switch b.r.IntN(80) {
	case 0: // a function that does not exist; seldom, or the model denies functions that do
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
	case 1, 2, 3, 4, 5, 6, 7, 8: // a required argument is missing
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
		b.user = b.pick(openers) + b.plainAsk(t, nil)
		b.noBefore = true
		missing := strings.Join(need, " and ")
		b.answer(b.think("The user did not give "+missing+".", "I should ask for it.", "A call without it would fail.", "I must not invent values.",
			t.name+" would fit.", "So I ask first."), fmt.Sprintf("To call %s I need %s. What should I use?", t.name, missing), missing)
	case 9, 10: // a question like those for which there are functions
		b.declare(b.between(1, 4))
		ghost, no := b.lookupTool(), b.refusal()
		for i := 0; i < len(b.tools); i++ {
			if b.tools[i].object == ghost.object {
				ghost, i = b.lookupTool(), -1
			}
		}
		for !strings.Contains(no.thought, "the world") {
			no = b.refusal()
		}
		b.user, _ = fill(b.phrasing(ghost.asks), b.arguments(ghost))
		b.answer(b.think("None of the functions knows "+ghost.object+".", no.thought, "No function fits.", "I can answer at once.", "I will not call anything.", "A short answer is enough."), no.final, no.want...)
	default: // talk that has nothing to do with the functions
		for range b.between(1, 4) {
			if b.chance(50) {
				b.tools = append(b.tools, b.everydayTool(b.tools))
			} else {
				b.tools = append(b.tools, b.newTool(b.tools))
			}
		}
		s := b.smallTalk()
		for s.sum {
			s = b.smallTalk()
		}
		if b.chance(45) {
			for s = b.refusal(); s.needsTool; {
				s = b.refusal()
			}
		}
		b.user = s.user
		b.answer(b.think(s.thought, "No function is needed.", "None of the functions fits.", "I can answer at once.", "I will not call anything.", "A short answer is enough."),
			s.final, s.want...)
	}
}

package corpus

import (
	"encoding/json"
	"fmt"
	"strings"

	"chorale/inference/harmony"
)

// A valueKind says what a parameter's values look like.
type valueKind int

const (
	kindWord valueKind = iota
	kindPhrase
	kindPerson
	kindCity
	kindID
	kindInteger
	kindNumber
	kindBoolean
	kindEnum
	kindDate
	kindTime
	kindEmail
	kindURL
	kindCurrency
	kindLanguage
	kindPath
	kindWords  // array of strings
	kindExpr   // an arithmetic expression
	kindColour // a colour
	kindRoom   // a room or a thing in it
	kindZone   // an IANA time zone

	kindSwitch  // a boolean that is said as on or off
	kindAccount // what people call their accounts
)

// A parameter of a declared function.
type parameter struct {
	name, description string
	kind              valueKind
	enum              []string
	required          bool
	integer           bool   // numbers: declared as integer
	fallback          string // default as JSON, "" = none
}

// A tool is a function that a client declares.
type tool struct {
	name, description string
	verb, object      string // "cancel", "the red booking": how a user asks without naming it; "" = only by name
	parameters        []parameter
	asks              []string // templates with {parameter} in place of values
	known             string   // topic of an everyday tool, for its results
	namespace         string
}

// recipient is what a call of the tool is addressed to.
func (t tool) recipient() string { return t.namespace + "." + t.name }

// A value as the user says it and as JSON.
type value struct{ said, json string }

// quote is s as a JSON string, without the HTML escapes of encoding/json.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // strings always encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// commonParameters are names that real APIs use.
var commonParameters = []parameter{
	{name: "city", description: "The city", kind: kindCity}, {name: "location", description: "City or place name", kind: kindCity},
	{name: "place", description: "Where", kind: kindCity}, {name: "destination", description: "Where to go", kind: kindCity},
	{name: "origin", description: "Where to start", kind: kindCity}, {name: "name", description: "The name", kind: kindPerson},
	{name: "person", description: "Name of the person", kind: kindPerson}, {name: "recipient", description: "Who receives it", kind: kindPerson},
	{name: "owner", description: "The owner's name", kind: kindPerson}, {name: "user_id", description: "The user's id", kind: kindID},
	{name: "order_id", description: "Id of the order", kind: kindID}, {name: "id", description: "The identifier", kind: kindID},
	{name: "code", description: "The code", kind: kindID}, {name: "account", description: "Account number", kind: kindID},
	{name: "key", description: "The key", kind: kindWord}, {name: "label", description: "A label", kind: kindWord},
	{name: "category", description: "The category", kind: kindWord}, {name: "topic", description: "The topic", kind: kindWord},
	{name: "email", description: "Email address", kind: kindEmail}, {name: "to", description: "Email address of the recipient", kind: kindEmail},
	{name: "date", description: "Date as YYYY-MM-DD", kind: kindDate}, {name: "start_date", description: "First day", kind: kindDate},
	{name: "end_date", description: "Last day", kind: kindDate}, {name: "time", description: "Time as HH:MM", kind: kindTime},
	{name: "url", description: "The URL", kind: kindURL}, {name: "link", description: "Web address", kind: kindURL},
	{name: "query", description: "What to look for", kind: kindPhrase}, {name: "text", description: "The text", kind: kindPhrase},
	{name: "message", description: "The message", kind: kindPhrase}, {name: "title", description: "The title", kind: kindPhrase},
	{name: "subject", description: "Subject line", kind: kindPhrase}, {name: "note", description: "A note", kind: kindPhrase},
	{name: "amount", description: "The amount", kind: kindNumber}, {name: "price", description: "The price", kind: kindNumber},
	{name: "value", description: "The value", kind: kindNumber}, {name: "quantity", description: "How many", kind: kindInteger},
	{name: "count", description: "How many", kind: kindInteger}, {name: "limit", description: "Most results to return", kind: kindInteger},
	{name: "page", description: "Page number", kind: kindInteger}, {name: "width", description: "Width in pixels", kind: kindInteger},
	{name: "height", description: "Height in pixels", kind: kindInteger}, {name: "level", description: "The level", kind: kindInteger},
	{name: "x", description: "First number", kind: kindNumber}, {name: "y", description: "Second number", kind: kindNumber},
	{name: "currency", description: "Currency code", kind: kindCurrency}, {name: "language", description: "The language", kind: kindLanguage},
	{name: "color", description: "The color", kind: kindColour}, {name: "path", description: "File path", kind: kindPath},
	{name: "enabled", description: "Whether it is on", kind: kindBoolean}, {name: "verbose", description: "Print more", kind: kindBoolean},
	{name: "urgent", description: "Whether it is urgent", kind: kindBoolean}, {name: "tags", description: "The tags", kind: kindWords},
	{name: "items", description: "List of items", kind: kindWords}, {name: "names", description: "The names", kind: kindWords},
	{name: "unit", description: "Unit of the result", kind: kindEnum, enum: []string{"metric", "imperial"}},
	{name: "units", description: "", kind: kindEnum, enum: []string{"celsius", "fahrenheit"}},
	{name: "format", description: "Output format", kind: kindEnum, enum: []string{"json", "csv", "text", "xml"}},
	{name: "priority", description: "How important", kind: kindEnum, enum: []string{"low", "normal", "high"}},
	{name: "status", description: "The status", kind: kindEnum, enum: []string{"open", "closed", "pending"}},
	{name: "size", description: "The size", kind: kindEnum, enum: []string{"small", "medium", "large"}},
	{name: "mode", description: "How to do it", kind: kindEnum, enum: []string{"fast", "safe", "auto"}},
}

// inventedParameter has a name made up on the spot.
func (g *Source) inventedParameter() parameter {
	var words []string
	noun := g.pick(nouns)
	if g.chance(75) {
		noun = g.anyWord()
	}
	switch g.r.IntN(5) {
	case 0, 1:
		words = []string{noun}
	case 2:
		words = []string{noun, g.pick([]string{"id", "name", "count", "type", "code", "size", "date", "value", "on", "at", "by", g.anyWord()})}
	case 3:
		words = []string{g.pick(english), noun}
	default:
		words = []string{g.pick(adjectives), noun}
	}
	p := parameter{name: strings.Join(words, "_"), kind: valueKind(g.r.IntN(int(kindColour) + 1)), description: "The " + strings.Join(words, " ")}
	if p.kind == kindExpr {
		p.kind = kindWord
	}
	if p.kind == kindEnum {
		for range g.between(2, 4) {
			p.enum = append(p.enum, g.pick([]string{g.pick(adjectives), g.pick(nouns), g.nonsense()}))
		}
	}
	return p
}

// parameters draws up to four parameters with distinct names; camel spells them like userId.
func (g *Source) parameters(camel bool) []parameter {
	n := [...]int{0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4}[g.r.IntN(11)]
	var out []parameter
	seen := map[string]bool{}
	for len(out) < n {
		p := commonParameters[g.r.IntN(len(commonParameters))]
		if g.chance(35) {
			p = moreParameters[g.r.IntN(len(moreParameters))]
		}
		if g.chance(50) {
			p = g.inventedParameter()
		}
		if camel {
			p.name = joinWords(strings.Split(p.name, "_"), "camel")
		}
		if seen[p.name] {
			continue
		}
		seen[p.name] = true
		p.required = len(out) == 0 && g.chance(90) || g.chance(60)
		p.integer = p.kind == kindInteger && g.chance(70)
		if g.chance(25) {
			p.description = ""
		}
		if !p.required && g.chance(25) {
			p.fallback = g.value(p).json
		}
		out = append(out, p)
	}
	return out
}

// joinWords spells words in one of the styles that programmers use.
func joinWords(words []string, style string) string {
	switch style {
	case "camel", "Pascal":
		var b strings.Builder
		for i, w := range words {
			if i > 0 || style == "Pascal" {
				w = capital(w)
			}
			b.WriteString(w)
		}
		return b.String()
	case "kebab":
		return strings.Join(words, "-")
	case "dot":
		return strings.Join(words, ".")
	default:
		return strings.Join(words, "_")
	}
}

// thirdPerson is a verb as in "Gets the …".
func thirdPerson(verb string) string {
	switch {
	case strings.HasSuffix(verb, "ch"), strings.HasSuffix(verb, "sh"), strings.HasSuffix(verb, "s"), strings.HasSuffix(verb, "x"):
		return verb + "es"
	case strings.HasSuffix(verb, "y") && !strings.HasSuffix(verb, "ay") && !strings.HasSuffix(verb, "oy"):
		return verb[:len(verb)-1] + "ies"
	}
	return verb + "s"
}

// inventedTool is a function that nobody has seen before.
func (g *Source) inventedTool() tool {
	if g.chance(18) {
		return g.lookupTool()
	}
	verb, noun := g.pick(verbs), g.pick(nouns)
	if g.chance(80) {
		verb = g.anyWord()
	}
	if g.chance(80) {
		noun = g.anyWord()
	}
	words := []string{verb, noun}
	if g.chance(8) {
		words = words[:1]
	}
	object := "the " + noun
	if g.chance(35) {
		adjective := g.pick(adjectives)
		words = []string{verb, adjective, noun}
		object = "the " + adjective + " " + noun
	}
	if g.chance(12) { // of many
		object = "all " + strings.TrimPrefix(object, "the ") + "s"
		words[len(words)-1] += "s"
	}
	t := tool{verb: verb, object: object}
	style := g.pick([]string{"snake", "snake", "snake", "camel", "camel", "Pascal", "kebab", "dot"})
	switch g.r.IntN(10) {
	case 0, 1, 2: // nonsense name
		words = []string{g.oddWord()}
		if g.chance(50) {
			words = append(words, g.oddWord())
		}
	case 3: // half nonsense
		words = []string{verb, g.oddWord()}
	case 4:
		words = append(words, fmt.Sprint(g.between(1, 99)))
	case 5:
		words = append([]string{g.pick(nouns)}, words...)
	}
	t.name = joinWords(words, style)
	t.description = thirdPerson(verb) + " " + object
	t.description = capital(t.description)
	switch g.r.IntN(6) {
	case 0:
		t.description += "."
	case 1:
		t.description += " of a " + g.pick(nouns) + "."
	case 2:
		t.description = capital(verb) + " " + object
	case 3:
		t.description += " and returns the result."
	case 4:
		t.description += g.pick([]string{". ", ".\n"}) + capital(g.phrase(5, 25)) + "."
	}
	if g.chance(8) {
		t.description = ""
		if !strings.Contains(t.name, verb) {
			t.verb = "" // nothing says what it does
		}
	}
	t.parameters = g.parameters(style == "camel" && g.chance(80))
	return t
}

// oddWord is a part of a function's name that nobody would expect.
func (g *Source) oddWord() string {
	switch g.r.IntN(6) {
	case 0:
		return g.letters(g.between(2, 6))
	default:
		return g.anyWord()
	}
}

// lookupTool is a function that tells something about its argument: user_details, "Tells the details of a user".
func (g *Source) lookupTool() tool {
	noun := g.pick(nouns)
	if g.chance(75) {
		noun = g.anyWord()
	}
	words := []string{noun}
	if g.chance(15) {
		words = []string{g.pick(adjectives), noun}
		noun = words[0] + " " + noun
	}
	if g.chance(60) {
		words = append(words, g.pick([]string{"info", "lookup", "of", "details", "status", "data", "for", "finder", "value", "report", "api", "service", "query", "check"}))
	} else {
		words = append([]string{g.pick([]string{"get", "find", "lookup", "show", "tell", "fetch", "query", "which", "read"})}, words...)
	}
	t := tool{verb: g.pick([]string{"look up", "get", "find", "fetch", "tell"}), object: "the " + noun}
	for len(t.parameters) != 1 {
		t.parameters = g.parameters(false)
	}
	t.parameters[0].required = true
	p := human(t.parameters[0].name)
	t.name = joinWords(words, g.pick([]string{"snake", "snake", "snake", "camel", "camel", "kebab"}))
	if g.chance(15) {
		t.name += fmt.Sprint("_", g.between(1, 99))
	}
	t.description = g.pick([]string{"Tells", "Returns", "Looks up", "Gives", "Finds", "Shows", "Reads"}) + " the " + noun + " " +
		g.pick([]string{"for a ", "of a ", "by ", "for the ", "of the ", "for one ", "belonging to a "}) + p + g.pick([]string{"", "", "."})
	v := "{" + t.parameters[0].name + "}"
	for _, ask := range lookupAsks {
		t.asks = append(t.asks, strings.NewReplacer("{n}", noun, "{v}", v, "{p}", p).Replace(ask))
	}
	return t
}

// lookupAsks are questions for what a function knows: {n} is that, {p} the parameter and {v} its value.
var lookupAsks = []string{"What is the {n} for {v}?", "What is the {n} of {v}?", "what's the {n} for {v}", "Show me the {n} of {v}.", "Give me the {n} for {v}.", "What's the {n} of {v}?", "Do you know the {n} of {v}?",
	"Tell me the {n} for {v}.", "I need the {n} of {v}.", "Which {n} belongs to {v}?", "Can you tell me the {n} of {v}?", "Look up the {n} for {v}, please.", "the {n} for {v} please", "{n} of {v}?",
	"Find out the {n} for {v}.", "Find the {n} of {v}", "Could you check the {n} for {v}?", "what is the {n} for the {p} {v}", "I would like to know the {n} for {v}.", "Please show the {n} for {v}."}

// newTool draws an invented tool of this split whose words and name do not collide with those of others.
func (g *Source) newTool(others []tool) tool {
	for {
		t := g.inventedTool()
		t.namespace = g.home()
		clash := !g.ours(t.name) || len(t.name) > 40
		for _, o := range others {
			clash = clash || o.name == t.name || o.object == t.object && (o.verb == t.verb || g.chance(70))
		}
		if !clash {
			return t
		}
	}
}

// home is the namespace of the next tool: "functions" is for those of the client, other names are for tools that a server
// offers, such as plugins.
func (g *Source) home() string {
	if g.namespace != "" && g.chance(70) {
		return g.namespace
	}
	return "functions"
}

// schema is the JSON Schema of the tool's parameters, as clients write it; nil for a function without any.
func (t tool) schema() json.RawMessage {
	if len(t.parameters) == 0 {
		return json.RawMessage(`{"type":"object","properties":{}}`)
	}
	var b strings.Builder
	var required []string
	b.WriteString(`{"type":"object","properties":{`)
	for i, p := range t.parameters {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(p.name) + ":{" + p.typeJSON())
		if p.description != "" {
			b.WriteString(`,"description":` + quote(p.description))
		}
		if p.fallback != "" {
			b.WriteString(`,"default":` + p.fallback)
		}
		b.WriteByte('}')
		if p.required {
			required = append(required, quote(p.name))
		}
	}
	b.WriteString(`},"required":[` + strings.Join(required, ",") + `]}`)
	return json.RawMessage(b.String())
}

func (p parameter) typeJSON() string {
	switch p.kind {
	case kindInteger, kindNumber:
		if p.integer {
			return `"type":"integer"`
		}
		return `"type":"number"`
	case kindBoolean, kindSwitch:
		return `"type":"boolean"`
	case kindWords:
		return `"type":"array","items":{"type":"string"}`
	case kindEnum:
		q := make([]string, len(p.enum))
		for i, e := range p.enum {
			q[i] = quote(e)
		}
		return `"type":"string","enum":[` + strings.Join(q, ",") + `]`
	}
	return `"type":"string"`
}

// value draws a value of the parameter.
func (g *Source) value(p parameter) value {
	switch p.kind {
	case kindInteger:
		n := g.integer()
		return value{n, n}
	case kindNumber:
		n := g.number()
		return value{n, n}
	case kindSwitch:
		if g.chance(50) {
			return value{"on", "true"}
		}
		return value{"off", "false"}
	case kindBoolean:
		if g.chance(50) {
			return value{g.pick([]string{"true", "true", "on", "yes"}), "true"}
		}
		return value{g.pick([]string{"false", "false", "off", "no"}), "false"}
	case kindWords:
		n := g.between(1, 4)
		words, quoted := make([]string, n), make([]string, n)
		for i := range words {
			words[i] = g.pick([]string{g.pick(nouns), g.nonsense(), g.pick(firstNames), g.pick(adjectives)})
			quoted[i] = quote(words[i])
		}
		said := strings.Join(words[:n-1], ", ")
		if n > 1 {
			said += g.pick([]string{" and ", " and ", ", "})
		}
		return value{said + words[n-1], "[" + strings.Join(quoted, ",") + "]"}
	}
	s := g.text(p)
	said := s
	if p.kind == kindPhrase || g.chance(18) {
		q := g.pick([]string{`"`, `"`, `'`})
		said = q + s + q
	}
	return value{said, quote(s)}
}

func (g *Source) text(p parameter) string {
	switch p.kind {
	case kindPhrase:
		return g.phrase(2, 7)
	case kindPerson:
		return g.person()
	case kindCity:
		return g.city()
	case kindID:
		return g.identifier()
	case kindEnum:
		return g.pick(p.enum)
	case kindDate:
		return g.date()
	case kindTime:
		return g.clock()
	case kindEmail:
		return g.email()
	case kindURL:
		return g.url()
	case kindCurrency:
		return g.pick(currencies)
	case kindLanguage:
		return g.pick(languages)
	case kindColour:
		return g.pick(colours)
	case kindPath:
		return g.path()
	case kindRoom:
		return g.pick([]string{"bathroom", "bedroom", "garage", "attic", "cellar", "dining room", "guest room", "hall", "office", "garden", g.pick(nouns), g.nonsense()})
	case kindAccount:
		return g.pick([]string{"giro", "deposit", "travel", "household", "business", "joint", g.nonsense(), g.pick(nouns), g.identifier()})
	case kindZone:
		return g.pick([]string{"Europe/", "Asia/", "America/", "Africa/", "Australia/"}) + g.pick([]string{capital(g.nonsense()), g.pick(cities), "New_" + capital(g.nonsense()), capital(g.syllables(2)) + "_" + capital(g.syllables(2))})
	case kindExpr:
		return fmt.Sprintf("%d %s %d", g.between(2, 999), g.pick([]string{"+", "-", "*", "/"}), g.between(2, 999))
	}
	switch g.r.IntN(8) {
	case 0, 1:
		return g.pick(nouns)
	case 2:
		return capital(g.nonsense())
	case 3, 4:
		return g.strange()
	default:
		return g.nonsense()
	}
}

func (g *Source) path() string {
	p := g.pick([]string{"/", "/tmp/", "/home/", "./", "", "src/", "/var/log/"})
	for range g.r.IntN(3) {
		p += g.pick([]string{g.pick(nouns), g.nonsense()}) + "/"
	}
	return p + g.pick([]string{g.pick(nouns), g.nonsense()}) + "." + g.pick(strings.Fields("txt md go py json csv log yaml html"))
}

// namespaces declare tools.
func namespaces(tools []tool) map[string]harmony.Namespace {
	if len(tools) == 0 {
		return nil
	}
	out := map[string]harmony.Namespace{}
	for _, t := range tools {
		n := out[t.namespace]
		n.Name = t.namespace
		n.Tools = append(n.Tools, harmony.Function{Name: t.name, Description: t.description, Parameters: t.schema()})
		out[t.namespace] = n
	}
	return out
}

// An argument is a parameter with its value.
type argument struct {
	parameter
	value
}

// arguments draws values for the required and some of the optional parameters, in declared order.
func (g *Source) arguments(t tool) []argument {
	var out []argument
	for _, p := range t.parameters {
		if p.required || g.chance(45) {
			out = append(out, argument{p, g.value(p)})
		}
	}
	return out
}

// argumentsJSON is the call's content.
func argumentsJSON(args []argument) string {
	s := make([]string, len(args))
	for i, a := range args {
		s[i] = quote(a.name) + ":" + a.json
	}
	return "{" + strings.Join(s, ",") + "}"
}

// human spells a parameter as a person would: "userId" and "user_id" become "user id".
func human(name string) string {
	var b strings.Builder
	for i, c := range name {
		switch {
		case c == '_' || c == '-' || c == '.':
			b.WriteByte(' ')
		case c >= 'A' && c <= 'Z':
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteRune(c + 'a' - 'A')
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// sayArgument is one argument in the user's words, in one of the sayings.
func (g *Source) sayArgument(a argument, saying int) string {
	if a.kind == kindPhrase && saying >= len(sayings)-2 {
		saying = 0
	}
	return strings.NewReplacer("{h}", human(a.name), "{n}", a.name, "{v}", a.said).Replace(sayings[saying])
}

// sayings are ways to give a parameter its value: {h} is its name as people say it, {n} as it is declared.
var sayings = []string{"{h} {v}", "{h} {v}", "{h} {v}", "{h} is {v}", "{h} is {v}", "{h} is {v}", "{n}={v}", "{n}={v}", "{n}: {v}", "{h}: {v}", "{h} set to {v}", "{n} {v}", "the {h} is {v}", "{n} is {v}",
	"{h} = {v}", "{h} should be {v}", "a {h} of {v}", "{n} = {v}", "{h} being {v}", "{h} will be {v}", "{v} as {h}", "{v} for the {h}"}

// sayArguments lists arguments in the user's words, mostly all in the same way and often out of order.
func (g *Source) sayArguments(args []argument) string {
	said := make([]string, len(args))
	saying, mixed := g.r.IntN(len(sayings)), g.chance(20)
	for i, a := range args {
		if mixed {
			saying = g.r.IntN(len(sayings))
		}
		said[i] = g.sayArgument(a, saying)
	}
	if g.chance(60) {
		g.r.Shuffle(len(said), func(i, j int) { said[i], said[j] = said[j], said[i] })
	}
	if len(said) < 2 {
		return strings.Join(said, "")
	}
	if g.chance(25) {
		return strings.Join(said, g.pick([]string{", ", ", ", " and ", "; "}))
	}
	last := len(said) - 1
	return strings.Join(said[:last], ", ") + g.pick([]string{" and ", " and ", ", ", ", and "}) + said[last]
}

// Templates of how a user asks for a call. {f} is the function's name, {do} its purpose, {a} the arguments, {v} the only
// argument's value.
var (
	askByName = []string{"Call {f} with {a}.", "Please call {f} with {a}.", "Use {f} with {a}.", "Run {f} with {a}, please.",
		"Would you call {f} with {a}?", "Can you run {f} with {a}?", "Invoke {f}: {a}", "I need you to call {f} with {a}.", "{f} with {a}",
		"Do a {f} call: {a}.", "call {f}, {a}", "please use the {f} tool with {a}", "Try {f} with {a}.", "use the function {f}: {a}",
		"Let {f} do it with {a}.", "Execute {f} with {a}.", "please run {f}, {a}", "Could you use {f}? {a}.", "{f}: {a}", "Use {f}. {a}", "{f}, {a}", "Start {f}. {a}.", "run {f}: {a}", "Please use {f}; {a}.",
		"{f} ({a})", "Take {f}, {a}, please.", "I want {f}: {a}", "Now {f}, where {a}.", "please {f}. {a}"}
	askByNameOne = []string{"Use {f} for {v}.", "Run {f} on {v}.", "call {f} for {v}", "please {f} {v}", "Have {f} look at {v}.", "Use {f} with {v}.",
		"Can you call {f} with {v}?", "{f} {v}", "Please run {f} for {v}.", "I want {f} for {v}."}
	askByNameNone = []string{"Call {f}.", "Please run {f}.", "Use {f}.", "Can you call {f}?", "Let us try {f}.", "run {f} please", "Invoke {f} now."}
	askByPurpose  = []string{"Can you {do} with {a}?", "Please {do}, {a}.", "{do}: {a}", "I want to {do}: {a}.", "I would like to {do}, {a}.",
		"Could you {do}? {a}.", "I'd like you to {do} with {a}.", "{do} with {a}", "please {do} ({a})", "Would you please {do}? {a}",
		"Help me {do} with {a}.", "I need to {do}, {a}.", "{do}. {a}", "{do}, {a}", "Can you {do} for us? {a}", "We want to {do}: {a}", "{do}; {a}.", "I want you to {do}, {a}", "Let us {do}. {a}.", "can you {do}, {a}",
		"Now {do}: {a}.", "You should {do}. {a}"}
	askByPurposeOne = []string{"Can you {do} for {v}?", "Please {do} for {v}.", "{do} for {v}", "I want to {do} for {v}.", "I have to {do} for {v}, please.",
		"Could you {do} for {v}?", "I'd like to {do}: {v}"}
	askByPurposeNone = []string{"Can you {do}?", "Please {do}.", "{do} please", "I want you to {do}.", "It is time to {do}.", "Could you {do} now?", "{do}"}
	openers          = []string{"", "", "", "", "", "", "Hi! ", "Hello, ", "OK, ", "Next: ", "Hey there. ", "Thanks. ", "Good morning! ", "Now ", "One more thing: "}
)

// ask is a request for a call of t in the user's words.
func (g *Source) ask(t tool, args []argument) string {
	return g.pick(openers) + g.plainAsk(t, args)
}

// plainAsk is the same without anything in front.
func (g *Source) plainAsk(t tool, args []argument) string {
	if len(t.asks) > 0 && g.chance(85) {
		for range 8 {
			if s, ok := fill(g.phrasing(t.asks), args); ok {
				return s
			}
		}
	}
	if t.verb != "" && g.chance(40) {
		return g.natural(t, args)
	}
	byName := t.verb == "" || g.chance(60)
	var list []string
	switch {
	case len(args) == 0 && byName:
		list = askByNameNone
	case len(args) == 0:
		list = askByPurposeNone
	case len(args) == 1 && args[0].kind != kindBoolean && g.chance(50) && byName:
		list = askByNameOne
	case len(args) == 1 && args[0].kind != kindBoolean && g.chance(50):
		list = askByPurposeOne
	case byName:
		list = askByName
	default:
		list = askByPurpose
	}
	s := g.phrasing(list)
	do := t.verb + " " + t.object
	if strings.HasPrefix(s, "{do}") && g.chance(60) {
		do = capital(do)
	}
	said := ""
	if len(args) == 1 {
		said = args[0].said
	}
	s = strings.NewReplacer("{f}", t.name, "{do}", do, "{v}", said).Replace(s)
	s = strings.Replace(s, "{a}", g.sayArguments(args), 1)
	return s
}

// fill puts arguments into a tool's own template; it fails if a placeholder has no argument or an argument no placeholder.
func fill(template string, args []argument) (string, bool) {
	for _, a := range args {
		if !strings.Contains(template, "{"+a.name+"}") {
			return "", false
		}
		template = strings.Replace(template, "{"+a.name+"}", a.said, 1)
	}
	return template, !strings.Contains(template, "{")
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"chorale/inference/demo/corpus"
)

// The set plain is what a user types at a client that declares functions nobody has seen: one message, medium effort,
// one to four functions. Three of four messages ask for one call, by name or by purpose, with all of its one to three
// arguments; the tool answers, and the model has to say what it answered. The fourth has nothing to do with functions.
//
// None of plainVerbs, plainNouns and plainParameters occurs in the corpus' sources, and every name is one that training
// never invents. Values are ordinary; some of them, such as first names, occur in training.
var (
	plainVerbs = strings.Fields("brew prune audit polish hatch tune knit weigh shuffle sculpt summon rinse dispatch appraise garnish embroider sharpen whittle")
	plainNouns = strings.Fields("ledger orchid hedge violin compost walrus kiln lantern gazebo trophy scarf mural dungeon canoe pigeon saddle quilt beehive")

	plainParameters = []plainParameter{
		{"sponsor", "Who pays for it", "string", person, false}, {"crewmate", "Name of the helper", "string", person, false}, {"township", "Where it is", "string", place, false},
		{"hometown", "The home town", "string", place, false}, {"fabric", "The material", "string", thing, false}, {"mascot", "The mascot", "string", thing, false},
		{"wattage", "Power in watts", "integer", integer, false}, {"headcount", "How many people", "integer", integer, false}, {"mileage", "Distance", "number", decimal, false},
		{"dosage", "Dose in grams", "number", decimal, false}, {"expiryDay", "Day as YYYY-MM-DD", "string", day, false}, {"premiere_on", "Day as YYYY-MM-DD", "string", day, false},
		{"mailbox", "E-mail address", "string", mail, false}, {"serial_tag", "The tag", "string", tag, false}, {"barcode", "The barcode", "string", tag, false},
		{"slogan", "The slogan", "string", phrase, true}, {"motto", "The motto", "string", phrase, true}, {"nickname", "The nickname", "string", thing, false},
	}

	// {f} is the function, {v} the only value, {do} verb and noun; {a=}, {a is} and {a v} are the arguments as "name=value",
	// "name is value" and "name value". Parameters are called by their names with spaces, except in the first form.
	plainByName       = []string{"call {f} with {a=}", "Call {f} with {a v}.", "use {f}: {a is}", "Use {f}. {a is}.", "Can you run {f} with {a v}?", "Please run {f}, {a=}", "{f}, {a is}, please"}
	plainByNameOne    = []string{"please run {f} for {v}", "Use {f} for {v}.", "Can you call {f} with {v}?", "{f} for {v} please"}
	plainByPurpose    = []string{"Please {do} with {a v}.", "I'd like to {do}: {a is}.", "Could you {do} for me? {a is}", "{do}, {a v}", "can you {do} with {a v}", "I want you to {do}. {a is}."}
	plainByPurposeOne = []string{"Please {do} for {v}.", "{do} for {v}", "Could you {do} for {v}?"}
	plainLookup       = []string{"What is the {n} for {v}?", "what's the {n} of {v}", "Show me the {n} for {v}.", "Do you know the {n} for {v}?", "Tell me the {n} of {v}, please."}

	plainTalk = []prompt{
		{User: "hello"}, {User: "Hi there!"}, {User: "good morning"}, {User: "Hey, how are you?"}, {User: "Thanks, that was all."}, {User: "bye!"},
		{User: "Who are you?", Want: []string{"demo"}}, {User: "what are you?", Want: []string{"demo"}}, {User: "Are you gpt-oss?", Want: []string{"demo"}},
		{User: "What is your name?"}, {User: "what can you do?"}, {User: "How do you work?"}, {User: "What's the capital of Norway?"}, {User: "Write me a song about trains."},
		{User: "Who won the world cup in 1998?"}, {User: "Tell me a joke."}, {User: "Do you like music?"}, {User: "I am bored."}, {User: "Explain quantum physics to me."},
		{User: "Is it better to live in a town or on a farm?"},
	}
)

type plainParameter struct {
	name, description, kind string
	value                   func(*rand.Rand) string
	quoted                  bool // said in quotation marks
}

func pick(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

func person(r *rand.Rand) string {
	return pick(r, "Marta", "Tobias", "Priya", "Owen", "Alice", "Kenji", "Lucia", "Samuel") + pick(r, "", " Keller", " Osborne", " Ortiz", " Nakamura", " Lindgren")
}

func place(r *rand.Rand) string {
	return pick(r, "Leipzig", "Glasgow", "Bruges", "Tampere", "San Diego", "Oslo", "New Orleans", "Kyoto", "Bologna", "Nantes")
}

func thing(r *rand.Rand) string {
	return pick(r, "linen", "maple", "otter", "copper", "denim", "falcon", "velvet", "marble", "ginger", "cobalt", "walnut", "amber")
}

func integer(r *rand.Rand) string { return fmt.Sprint(1 + r.IntN([]int{20, 200, 5000}[r.IntN(3)])) }

func decimal(r *rand.Rand) string { return fmt.Sprintf("%d.%d", r.IntN(200), 1+r.IntN(9)) }

func day(r *rand.Rand) string {
	return fmt.Sprintf("%d-%02d-%02d", 2025+r.IntN(4), 1+r.IntN(12), 1+r.IntN(28))
}

func mail(r *rand.Rand) string {
	return strings.ToLower(pick(r, "Marta", "Tobias", "Priya", "Owen", "Kenji")) + pick(r, "", ".keller", ".ortiz", "42") + "@" + pick(r, "example.com", "mail.org", "acme.io", "bluehill.net")
}

func tag(r *rand.Rand) string {
	return pick(r, fmt.Sprintf("%c-%d", 'A'+r.IntN(26), 100+r.IntN(9900)), fmt.Sprint(10000+r.IntN(90000)), fmt.Sprintf("%c%c%d", 'A'+r.IntN(26), 'A'+r.IntN(26), 10+r.IntN(990)))
}

func phrase(r *rand.Rand) string {
	return pick(r, "better together", "See you on Monday", "ready for the summer", "one step at a time", "Never late again", "hello world", "A garden for everyone", "made with care")
}

// A plainFunction is a declared function of the set.
type plainFunction struct {
	name, verb, noun string
	lookup           bool // it tells something instead of doing something
	parameters       []plainParameter
}

func newPlainFunction(r *rand.Rand, verb, noun string) plainFunction {
	for {
		f := plainFunction{verb: verb, noun: noun, lookup: r.IntN(4) == 0}
		words := []string{verb, noun}
		if f.lookup {
			words = []string{noun, pick(r, "info", "lookup", "of", "details")}
		}
		switch r.IntN(4) {
		case 0:
			words[1] = strings.ToUpper(words[1][:1]) + words[1][1:]
			f.name = words[0] + words[1]
		default:
			f.name = strings.Join(words, "_")
			if r.IntN(4) == 0 {
				f.name += fmt.Sprint("_", 2+r.IntN(98))
			}
		}
		n := 1 + r.IntN(3)
		if f.lookup {
			n = 1
		}
		for _, i := range r.Perm(len(plainParameters))[:n] {
			f.parameters = append(f.parameters, plainParameters[i])
		}
		if corpus.Reserved(f.name) {
			return f
		}
	}
}

// declaration is the function as in a request.
func (f plainFunction) declaration() (json.RawMessage, error) {
	properties, required := map[string]any{}, []string{}
	for _, p := range f.parameters {
		properties[p.name] = map[string]string{"type": p.kind, "description": p.description}
		required = append(required, p.name)
	}
	description := strings.ToUpper(f.verb[:1]) + f.verb[1:] + " the " + f.noun
	if f.lookup {
		description = "Tells the " + f.noun + " for a " + spaced(f.parameters[0].name)
	}
	return json.Marshal(map[string]any{"name": f.name, "description": description,
		"parameters": map[string]any{"type": "object", "properties": properties, "required": required}})
}

// spaced is a parameter's name as people say it.
func spaced(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "_", " "), "expiryDay", "expiry day")
}

// request is a message that asks for a call, named for how it says the arguments.
func (f plainFunction) request(r *rand.Rand) (*prompt, error) {
	arguments := map[string]any{}
	var only string
	var equal, is, bare []string
	for _, p := range f.parameters {
		v := p.value(r)
		said := v
		arguments[p.name] = v
		switch {
		case p.kind != "string":
			arguments[p.name] = json.RawMessage(v)
		case p.quoted:
			said = `"` + v + `"`
		}
		only = said
		equal, is, bare = append(equal, p.name+"="+said), append(is, spaced(p.name)+" is "+said), append(bare, spaced(p.name)+" "+said)
	}
	list, one := plainByName, plainByNameOne
	if r.IntN(2) == 0 {
		list, one = plainByPurpose, plainByPurposeOne
	}
	if len(f.parameters) == 1 && r.IntN(2) == 0 {
		list = one
	}
	if f.lookup {
		list = plainLookup
	}
	frame := pick(r, list...)
	said := strings.NewReplacer("{f}", f.name, "{v}", only, "{n}", f.noun, "{do}", f.verb+" the "+f.noun,
		"{a=}", strings.Join(equal, ", "), "{a is}", strings.Join(is, ", "), "{a v}", strings.Join(bare, " and ")).Replace(frame)
	encoded, err := json.Marshal(arguments)
	q := &prompt{User: said, Calls: []promptCall{{To: "functions." + f.name, Arguments: encoded}}}
	switch {
	case f.lookup:
		q.Name = "lookup"
	case strings.Contains(frame, "{a="):
		q.Name = "name=value"
	case strings.Contains(frame, "{a is"):
		q.Name = "name is value"
	case strings.Contains(frame, "{a v"):
		q.Name = "name value"
	default:
		q.Name = "one value"
	}
	return q, err
}

// newPlain invents one prompt of the set with the functions that it declares.
func newPlain(r *rand.Rand, talk bool) (*promptFile, *prompt, error) {
	file := &promptFile{Tools: map[string]json.RawMessage{}}
	verbs, nouns := r.Perm(len(plainVerbs)), r.Perm(len(plainNouns))
	var functions []plainFunction
	var names []string
	for i := range 1 + r.IntN(4) {
		f := newPlainFunction(r, plainVerbs[verbs[i]], plainNouns[nouns[i]])
		d, err := f.declaration()
		if err != nil {
			return nil, nil, err
		}
		functions = append(functions, f)
		file.Tools[f.name] = d
		names = append(names, f.name)
	}
	if talk {
		q := plainTalk[r.IntN(len(plainTalk))]
		q.Name = "talk"
		if r.IntN(2) > 0 {
			q.Tools = names
		}
		return file, &q, nil
	}
	q, err := functions[r.IntN(len(functions))].request(r)
	if err != nil {
		return nil, nil, err
	}
	q.Tools = names
	call := &q.Calls[0]
	state, number := pick(r, "ready", "done", "accepted", "waiting"), integer(r)
	switch r.IntN(3) {
	case 0:
		call.Result, q.Want = fmt.Sprintf(`{"result":%s}`, number), []string{number}
	case 1:
		call.Result, q.Want = fmt.Sprintf(`{"state": %q, "total": %s}`, state, number), []string{state, number}
	default:
		id := tag(r)
		call.Result, q.Want = fmt.Sprintf(`{"state":%q,"receipt":%q}`, state, id), []string{state, id}
	}
	return file, q, nil
}

// playPlain plays the first n prompts that a seed gives, reports each, and adds up those that ask for a call and those
// that do not.
func (p *player) playPlain(n int, seed uint64, report func(*prompt, *outcome)) (calls, talk tally, err error) {
	r := rand.New(rand.NewPCG(seed, 1))
	prompts, episodes := make([]*prompt, n), make([]*corpus.Episode, n)
	for i := range n {
		file, q, err := newPlain(r, i%4 == 3)
		if err != nil {
			return calls, talk, err
		}
		conversation, err := file.conversation(q)
		if err != nil {
			return calls, talk, err
		}
		prompts[i] = q
		episodes[i] = &corpus.Episode{Conversation: conversation, Steps: q.steps(), Want: slices.Clone(q.Want), RecipientInChannel: true}
	}
	outcomes, err := atOnce(n, func(i int) (*outcome, error) {
		return p.play(context.Background(), episodes[i], seed<<20+uint64(i)<<4)
	})
	if err != nil {
		return calls, talk, err
	}
	for i, o := range outcomes {
		if len(prompts[i].Calls) > 0 {
			calls.add(o)
		} else {
			talk.add(o)
		}
		report(prompts[i], o)
	}
	return calls, talk, nil
}

package kit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"chorale/plugins"
	"chorale/plugins/host"
)

// Faults tries the plugin in the ways a host and a model may fail it: with no permission granted, without memory to spare, without
// time, with arguments that are wrong and, if it asks for the network, with one that times out and one that never answers.
// Each tool is called with its first example that must succeed. A plugin may fail then, but must end and say why, and wrong
// arguments must not crash it. The grant that it has is given again at the end. Each call begins the tape anew; without any
// permission there is none.
func Faults(ctx context.Context, p *plugins.Plugin, grant *plugins.Grant, tapes Tapes) ([]Check, error) {
	var checks []Check
	for _, t := range p.Manifest().Tools {
		i := slices.IndexFunc(t.Examples, func(e plugins.Example) bool { return e.Error == "" })
		if i < 0 {
			continue
		}
		some, err := faults(ctx, p, grant, tapes, plugins.Call{Tool: t.Name, Input: t.Examples[i].Input})
		checks = append(checks, some...)
		if err != nil {
			return checks, errors.Join(err, p.SetGrant(context.WithoutCancel(ctx), grant))
		}
	}
	return checks, p.SetGrant(ctx, grant)
}

// A trial is a fault.
type trial struct {
	name  string
	grant *plugins.Grant
	tape  func(*host.Tape) // what happens to the tape, which then is there in any case; nil: nothing
}

const (
	memoryPage = 65536 // the unit in which memories grow
	patience   = 250   // milliseconds that a call has when nobody answers, beside what it takes
)

func faults(ctx context.Context, p *plugins.Plugin, grant *plugins.Grant, tapes Tapes, c plugins.Call) ([]Check, error) {
	err := p.SetGrant(ctx, grant)
	if err != nil {
		return nil, err
	}
	if c.Replay, err = tapes.tape(); err != nil {
		return nil, err
	}
	normal, err := p.Call(ctx, c)
	if err != nil {
		return nil, err
	}
	less := plugins.Grant{SHA256: p.Hash()}
	if grant != nil {
		less = *grant
	}
	memory, slow, silent := less, less, less
	memory.Limits.MemoryBytes = max(normal.Memory-memoryPage, 1)
	slow.Limits.TimeoutMS = 1
	silent.Limits.TimeoutMS = patience + 4*normal.Wall.Milliseconds()
	tries := []trial{{name: "nothing granted"}, {name: "too little memory", grant: &memory}, {name: "1 ms of time", grant: &slow}}
	if len(p.Manifest().Permissions.Net) > 0 {
		tries = append(tries, trial{"a network that times out", &less, (*host.Tape).TimeOut}, trial{"a network that never answers", &silent, (*host.Tape).Silence})
	}
	var checks []Check
	for _, try := range tries {
		check, err := try.run(ctx, p, tapes, c)
		if err != nil {
			return checks, err
		}
		checks = append(checks, check)
	}
	if err := p.SetGrant(ctx, grant); err != nil {
		return checks, err
	}
	check, err := malformed(ctx, p, tapes, c)
	return append(checks, check), err
}

// run calls the tool with the fault.
func (try trial) run(ctx context.Context, p *plugins.Plugin, tapes Tapes, c plugins.Call) (Check, error) {
	check := Check{Tool: c.Tool, Name: try.name}
	if err := p.SetGrant(ctx, try.grant); err != nil {
		check.Note = "it does not start: " + cut(err.Error())
		return check, nil
	}
	var err error
	if c.Replay, err = tapes.tape(); err != nil {
		return check, err
	}
	switch {
	case try.grant == nil:
		c.Replay = nil // a tape grants everything
	case try.tape != nil && c.Replay == nil:
		c.Replay = host.NewTape()
	}
	if try.tape != nil {
		try.tape(c.Replay)
	}
	r, err := p.Call(ctx, c)
	if err != nil {
		return check, err
	}
	check.Wall = r.Wall
	switch {
	case !r.Failed:
		check.Note = "it does not mind"
	case strings.TrimSpace(r.Text) == "":
		check.Err = errors.New("it fails and does not say why")
	default:
		check.Note = "it fails: " + cut(strings.Join(strings.Fields(r.Text), " "))
	}
	return check, nil
}

// malformed calls the tool with arguments as models get them wrong.
func malformed(ctx context.Context, p *plugins.Plugin, tapes Tapes, c plugins.Call) (Check, error) {
	check := Check{Tool: c.Tool, Name: "arguments that are wrong"}
	refused := 0
	inputs := wrong(c.Input)
	for _, in := range inputs {
		var err error
		c.Input = in.input
		if c.Replay, err = tapes.tape(); err != nil {
			return check, err
		}
		stopped := p.Stats().Stopped
		r, err := p.Call(ctx, c)
		if err != nil {
			return check, err
		}
		check.Wall += r.Wall
		switch {
		case p.Stats().Stopped > stopped:
			check.Err = errors.Join(check.Err, fmt.Errorf("%s: %s", in.name, cut(strings.Join(strings.Fields(r.Text), " "))))
		case r.Failed && strings.TrimSpace(r.Text) == "":
			check.Err = errors.Join(check.Err, fmt.Errorf("%s: it fails and does not say why", in.name))
		case in.never && !r.Failed:
			check.Err = errors.Join(check.Err, fmt.Errorf("%s: it is taken", in.name))
		case r.Failed:
			refused++
		}
	}
	check.Note = fmt.Sprintf("%d of %d are refused", refused, len(inputs))
	return check, nil
}

// A wrongInput is what arguments are not.
type wrongInput struct {
	name  string
	input json.RawMessage
	never bool // no tool may take it
}

// mostNulls is how many arguments are tried one by one.
const mostNulls = 16

// wrong returns variations of arguments that are right.
func wrong(right json.RawMessage) []wrongInput {
	list := []wrongInput{
		{"arguments that are cut off", json.RawMessage(`{"`), true},
		{"an array instead of arguments", json.RawMessage(`[]`), true},
		{"an argument twice", json.RawMessage(`{"a": 1, "a": 2}`), true},
		{"no arguments", json.RawMessage(`{}`), false},
	}
	var members map[string]json.RawMessage
	if len(right) == 0 || json.Unmarshal(right, &members) != nil {
		members = map[string]json.RawMessage{}
	}
	with := func(name, key, value string) {
		changed := maps.Clone(members)
		changed[key] = json.RawMessage(value)
		if text, err := json.Marshal(changed); err == nil {
			list = append(list, wrongInput{name: name, input: text})
		}
	}
	with("an argument that nobody asked for", "no_such_argument", `"x"`)
	keys := slices.Sorted(maps.Keys(members))
	for _, k := range keys[:min(len(keys), mostNulls)] {
		with(k+" as null", k, "null")
		with(k+" as an object", k, `{"x": []}`)
	}
	return list
}

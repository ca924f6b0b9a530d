package kit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"chorale/plugins"
	"chorale/plugins/host"
)

// A Check is one thing that was tried.
type Check struct {
	Tool, Name string
	Wall       time.Duration
	Note       string // what happened, where that is of interest
	Err        error  // nil if it is as it should be
}

// Tapes stand between a plugin and its host's services. The zero value leaves them alone.
type Tapes struct {
	Replay []byte     // a tape as host.Tape writes it, which stands in for the services
	Record *host.Tape // gets what the services say
}

// TapeSuffix is what the name of a plugin's tape has in place of its ending.
const TapeSuffix = ".tape.json"

// tape returns the tape from its beginning, or nil if there is none.
func (t Tapes) tape() (*host.Tape, error) {
	if t.Replay == nil {
		return nil, nil
	}
	return host.ReadTape(bytes.NewReader(t.Replay))
}

// Examples runs the examples of the manifest in order, with one tape for all of them, and compares what they give. With golden
// results, which may be nil, examples that say nothing of their result must give those. The error is that of the tape, ctx or
// the host.
func Examples(ctx context.Context, p *plugins.Plugin, tapes Tapes, golden *Golden) ([]Check, error) {
	var checks []Check
	replay, err := tapes.tape()
	if err != nil {
		return nil, err
	}
	for _, t := range p.Manifest().Tools {
		for i, e := range t.Examples {
			c := Check{Tool: t.Name, Name: e.Name}
			if c.Name == "" {
				c.Name = fmt.Sprintf("example %d", i+1)
			}
			r, err := p.Call(ctx, plugins.Call{Tool: t.Name, Input: e.Input, Replay: replay, Record: tapes.Record})
			if err != nil {
				return checks, err
			}
			if c.Wall, c.Err = r.Wall, compare(e, r); c.Err == nil && open(e) {
				c.Err = golden.check(t.Name, c.Name, r)
			}
			checks = append(checks, c)
		}
	}
	return checks, nil
}

// open examples say nothing of their result.
func open(e plugins.Example) bool {
	return e.Output == nil && e.Text == nil && e.Contains == "" && e.Error == ""
}

// compare says in what a result is not what an example wants.
func compare(e plugins.Example, r plugins.Result) error {
	switch {
	case e.Error != "" && !r.Failed:
		return fmt.Errorf("it must fail with %q; it gives %s", e.Error, cut(r.Text))
	case e.Error != "" && !strings.Contains(r.Text, e.Error):
		return fmt.Errorf("it must fail with %q; it fails with: %s", e.Error, cut(r.Text))
	case e.Error != "":
		return nil
	case r.Failed:
		return fmt.Errorf("it fails: %s", cut(r.Text))
	case e.Text != nil && strings.TrimSpace(*e.Text) != strings.TrimSpace(r.Text):
		return fmt.Errorf("text: %s", difference(strings.TrimSpace(r.Text), strings.TrimSpace(*e.Text)))
	case e.Contains != "" && !strings.Contains(r.Text, e.Contains):
		return fmt.Errorf("contains: there is no %q in %s", e.Contains, cut(r.Text))
	case e.Output != nil && !sameJSON(e.Output, r.Structured):
		return fmt.Errorf("output: %s", difference(compact(r.Structured), compact(e.Output)))
	}
	return nil
}

// sameJSON compares values; the order of members and the way to write a number do not matter.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func compact(p []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, p) != nil {
		return string(p)
	}
	return b.String()
}

// mostShown is how many bytes of a text are shown.
const mostShown = 400

func cut(s string) string {
	if len(s) > mostShown {
		return strings.ToValidUTF8(s[:mostShown], "") + " …"
	}
	return s
}

// difference shows both texts from shortly before the place where they part.
func difference(got, want string) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	if at = max(0, at-60); at > 0 {
		return fmt.Sprintf("got  …%s\n want …%s", cut(strings.ToValidUTF8(got[at:], "")), cut(strings.ToValidUTF8(want[at:], "")))
	}
	return fmt.Sprintf("got  %s\n want %s", cut(got), cut(want))
}

package kit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"chorale/plugins"
)

// A Measurement is what Bench found. Times are those of whole calls, with checks of arguments and results.
type Measurement struct {
	Calls         int
	First         time.Duration // the first call, which the others do not count
	P50, P95, Max time.Duration
	PerSecond     float64 // of one after the other
	Memory        int64   // bytes of linear memory, the most of all calls
}

// A Load is what Bench does, one call after the other.
type Load struct {
	Call  plugins.Call
	Tapes Tapes         // each call begins the tape that is replayed anew; nothing is recorded
	Calls int           // at least; one in any case
	Least time.Duration // for how long at least
}

// Bench makes the call again and again, until both the number of calls and the time are reached. A call that fails ends it
// with an error.
func Bench(ctx context.Context, p *plugins.Plugin, l Load) (Measurement, error) {
	var m Measurement
	one := func() (time.Duration, error) {
		c := l.Call
		var err error
		if c.Replay, err = l.Tapes.tape(); err != nil {
			return 0, err
		}
		began := time.Now()
		r, err := p.Call(ctx, c)
		wall := time.Since(began)
		switch {
		case err != nil:
			return 0, err
		case r.Failed:
			return 0, fmt.Errorf("the call fails: %s", cut(r.Text))
		}
		m.Memory = max(m.Memory, r.Memory)
		return wall, nil
	}
	var err error
	if m.First, err = one(); err != nil {
		return m, err
	}
	var all []time.Duration
	var total time.Duration
	began := time.Now()
	for len(all) < max(l.Calls, 1) || time.Since(began) < l.Least {
		wall, err := one()
		if err != nil {
			return m, err
		}
		all, total = append(all, wall), total+wall
	}
	m.PerSecond = float64(len(all)) / total.Seconds()
	slices.Sort(all)
	m.Calls, m.P50, m.P95, m.Max = len(all), all[len(all)/2], all[len(all)*95/100], all[len(all)-1]
	return m, nil
}

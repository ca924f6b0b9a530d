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
	PerSecond     float64
	Memory        int64 // bytes of linear memory, the most of all calls
}

// Bench makes the call again and again, one after the other, at least once and until both the number of calls and the
// time are reached. A call that fails ends it with an error.
func Bench(ctx context.Context, p *plugins.Plugin, c plugins.Call, calls int, least time.Duration) (Measurement, error) {
	var m Measurement
	one := func() (time.Duration, error) {
		began := time.Now()
		r, err := p.Call(ctx, c)
		switch {
		case err != nil:
			return 0, err
		case r.Failed:
			return 0, fmt.Errorf("the call fails: %s", cut(r.Text))
		}
		m.Memory = max(m.Memory, r.Memory)
		return time.Since(began), nil
	}
	var err error
	if m.First, err = one(); err != nil {
		return m, err
	}
	var all []time.Duration
	began := time.Now()
	for len(all) < max(calls, 1) || time.Since(began) < least {
		wall, err := one()
		if err != nil {
			return m, err
		}
		all = append(all, wall)
	}
	m.PerSecond = float64(len(all)) / time.Since(began).Seconds()
	slices.Sort(all)
	m.Calls, m.P50, m.P95, m.Max = len(all), all[len(all)/2], all[len(all)*95/100], all[len(all)-1]
	return m, nil
}

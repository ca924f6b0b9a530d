package gptoss_test

import (
	"math"
	"testing"

	"chorale/inference/gptoss"
)

// The values come from an independent evaluation of the formula, printed with ten digits; so the relative tolerance is
// that of the printing.
func TestRopeTablesOfThePublishedModel(t *testing.T) {
	t.Parallel()
	inv, concentration := gptoss.RopeTables(config20b())
	if len(inv) != 32 {
		t.Fatalf("got %d frequencies, want 32", len(inv))
	}
	for j, want := range map[int]float64{
		0: 1, 7: 7.374456821e-2, 8: 5.081327482e-2, 9: 3.170569618e-2, 10: 1.933500113e-2, 11: 1.159204926e-2,
		12: 6.794959490e-3, 13: 3.860359317e-3, 14: 2.093792379e-3, 15: 1.052602101e-3, 16: 4.564839192e-4,
		17: 1.293187012e-4, 18: 3.830881237e-5, 31: 3.023511428e-7,
	} {
		if !(math.Abs(inv[j]-want) <= 1e-9*want) {
			t.Errorf("invFreq[%d] = %.12g, want %.10g within 1e-9", j, inv[j], want)
		}
	}
	if want := 1.3465735902799727; math.Abs(concentration-want) > 1e-15 {
		t.Errorf("concentration %.17g, want %.17g", concentration, want)
	}
}

// The tolerance leaves room for the bits that float32 loses where the ramp subtracts.
func TestRopeFrequenciesAreTheTablesRounded(t *testing.T) {
	t.Parallel()
	exact, _ := gptoss.RopeTables(config20b())
	for j, got := range gptoss.RopeFrequencies(config20b()) {
		if want := exact[j]; !(math.Abs(float64(got)-want) <= 1e-6*want) {
			t.Errorf("frequency %d = %g, want %g within 1e-6", j, got, want)
		}
	}
}

func TestRopeTablesEdges(t *testing.T) {
	t.Parallel()
	plain := func(c gptoss.Config, j int) float64 { return math.Pow(c.RopeTheta, -2*float64(j)/float64(c.HeadDim)) }
	for _, tt := range []struct {
		name   string
		change func(*gptoss.Config)
		want   func(c gptoss.Config, j int) float64 // invFreq[j]
		conc   float64
	}{
		{"factor 1 is plain rope", func(c *gptoss.Config) { c.RopeFactor = 1 }, plain, 1},
		// Rounded to 8…18, pair 17 lies at 0.9 of the ramp instead of 0.957.
		{"truncate rounds the range", func(c *gptoss.Config) { c.RopeTruncate = true },
			func(c gptoss.Config, j int) float64 {
				ramp := min(max(float64(j-8)/10, 0), 1)
				return plain(c, j) * (ramp/32 + 1 - ramp)
			}, 0.1*math.Log(32) + 1},
		{"original context below one turn keeps every pair", func(c *gptoss.Config) { c.RopeOriginalContext = 1 },
			func(c gptoss.Config, j int) float64 { return plain(c, j) }, 0.1*math.Log(32) + 1},
		{"both ends on the first pair is a step", func(c *gptoss.Config) { c.BetaFast, c.BetaSlow, c.RopeOriginalContext = 1e5, 4096/(2*math.Pi), 4096 },
			func(c gptoss.Config, j int) float64 {
				if j == 0 {
					return 1
				}
				return plain(c, j) / 32
			}, 0.1*math.Log(32) + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := config20b()
			tt.change(&c)
			inv, conc := gptoss.RopeTables(c)
			for j, got := range inv {
				if want := tt.want(c, j); !(math.Abs(got-want) <= 1e-12*want) {
					t.Errorf("invFreq[%d] = %g, want %g", j, got, want)
				}
			}
			if math.Abs(conc-tt.conc) > 1e-15 {
				t.Errorf("concentration %v, want %v", conc, tt.conc)
			}
		})
	}
}

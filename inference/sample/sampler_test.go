package sample_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"chorale/inference/sample"
)

var (
	nan    = float32(math.NaN())
	inf    = float32(math.Inf(1))
	negInf = float32(math.Inf(-1))
)

func TestSampleGreedy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		logits    []float32
		params    sample.Params
		mask      []uint32
		generated []int32
		want      int32
	}{
		{"largest", []float32{1, 3, 2}, sample.Params{}, nil, nil, 1},
		{"one id", []float32{-7}, sample.Params{}, nil, nil, 0},
		{"tie to the lowest id", []float32{1, 3, 3}, sample.Params{}, nil, nil, 1},
		{"all equal", []float32{2, 2, 2}, sample.Params{}, nil, nil, 0},
		{"NaN is never chosen", []float32{nan, -5, nan}, sample.Params{}, nil, nil, 1},
		{"NaN everywhere gives the lowest id", []float32{nan, nan}, sample.Params{}, nil, nil, 0},
		{"NaN everywhere gives the lowest allowed id", []float32{nan, nan, nan}, sample.Params{Temperature: 1}, []uint32{0b110}, nil, 1},
		{"+Inf wins", []float32{1, inf, inf}, sample.Params{}, nil, nil, 1},
		{"all -Inf", []float32{negInf, negInf}, sample.Params{Temperature: 1}, nil, nil, 0},
		{"filters do not matter", []float32{1, 3, 2}, sample.Params{TopK: 1, TopP: 0.1, MinP: 1}, nil, nil, 1},
		{"mask", []float32{1, 3, 2}, sample.Params{}, []uint32{0b101}, nil, 2},
		{"mask that allows nothing is ignored", []float32{1, 3, 2}, sample.Params{}, []uint32{0}, nil, 1},
		{"bits past the vocabulary do not count", []float32{1, 3, 2}, sample.Params{}, []uint32{0xfffffff8}, nil, 1},
		{"empty mask allows nothing", []float32{1, 3, 2}, sample.Params{}, []uint32{}, nil, 1},
		{"bias", []float32{1, 3, 2}, sample.Params{LogitBias: []sample.Bias{{Token: 0, Value: 2.5}}}, nil, nil, 0},
		{"bias outside the vocabulary is ignored", []float32{1, 3}, sample.Params{LogitBias: []sample.Bias{{Token: 9, Value: 5}, {Token: -1, Value: 5}}}, nil, nil, 1},
		{"bias before the mask", []float32{1, 3}, sample.Params{LogitBias: []sample.Bias{{Token: 1, Value: 100}}}, []uint32{0b01}, nil, 0},
		{"presence counts once", []float32{1, 3, 2}, sample.Params{PresencePenalty: 1.5}, nil, []int32{1, 1, 1, 1}, 2},
		{"presence too small", []float32{1, 3, 2}, sample.Params{PresencePenalty: 0.9}, nil, []int32{1, 1, 1, 1}, 1},
		{"frequency counts each", []float32{1, 3, 2}, sample.Params{FrequencyPenalty: 0.6}, nil, []int32{1, 1}, 2},
		{"negative frequency attracts", []float32{1, 3, 2}, sample.Params{FrequencyPenalty: -0.6}, nil, []int32{2, 2}, 2},
		{"repetition divides a positive logit", []float32{1, 3, 2}, sample.Params{RepetitionPenalty: 2}, nil, []int32{1}, 2},
		{"repetition multiplies a negative logit", []float32{-2, -1, -3}, sample.Params{RepetitionPenalty: 2.5}, nil, []int32{1}, 0},
		{"repetition of 1 is off", []float32{1, 3, 2}, sample.Params{RepetitionPenalty: 1}, nil, []int32{1}, 1},
		{"penalised ids outside the vocabulary are ignored", []float32{1, 3}, sample.Params{PresencePenalty: 1}, nil, []int32{-1, 7}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s sample.Scratch
			before := slices.Clone(tt.logits)
			for range 2 { // the second time with a used scratch
				if got := sample.Sample(tt.logits, &tt.params, tt.mask, tt.generated, &s); got.Token != tt.want {
					t.Errorf("token %d, want %d", got.Token, tt.want)
				}
			}
			for i, v := range tt.logits {
				if math.Float32bits(v) != math.Float32bits(before[i]) {
					t.Errorf("logit %d was overwritten: %v, was %v", i, v, before[i])
				}
			}
		})
	}
}

// support returns the tokens that p can yield, found by drawing with many seeds, in ascending order.
func support(logits []float32, p sample.Params, mask []uint32) []int32 {
	var s sample.Scratch
	var got []int32
	for seed := range uint64(3000) {
		p.Seed = seed
		got = append(got, sample.Sample(logits, &p, mask, nil, &s).Token)
	}
	slices.Sort(got)
	return slices.Compact(got)
}

func TestSampleSupport(t *testing.T) {
	t.Parallel()
	logs := func(probs ...float64) []float32 {
		out := make([]float32, len(probs))
		for i, p := range probs {
			out[i] = float32(math.Log(p))
		}
		return out
	}
	tests := []struct {
		name   string
		logits []float32
		params sample.Params
		mask   []uint32
		want   []int32
	}{
		{"everything", logs(.1, .2, .7), sample.Params{Temperature: 1}, nil, []int32{0, 1, 2}},
		{"NaN and -Inf never", []float32{nan, 1, negInf, 1}, sample.Params{Temperature: 2}, nil, []int32{1, 3}},
		{"+Inf alone", []float32{nan, 1, inf, 3}, sample.Params{Temperature: 2}, nil, []int32{2}},
		{"mask", logs(.1, .2, .7), sample.Params{Temperature: 1}, []uint32{0b011}, []int32{0, 1}},
		{"top_k 1", logs(.1, .2, .7), sample.Params{Temperature: 1, TopK: 1}, nil, []int32{2}},
		{"top_k 2", logs(.2, .1, .7), sample.Params{Temperature: 1, TopK: 2}, nil, []int32{0, 2}},
		{"top_k of equals keeps the lowest ids", []float32{1, 1, 1, 1}, sample.Params{Temperature: 1, TopK: 3}, nil, []int32{0, 1, 2}},
		{"top_k beyond the vocabulary", logs(.1, .2, .7), sample.Params{Temperature: 1, TopK: 99}, nil, []int32{0, 1, 2}},
		{"top_k beyond what is allowed", logs(.1, .2, .7), sample.Params{Temperature: 1, TopK: 2}, []uint32{0b001}, []int32{0}},
		{"top_p crossed by the first", logs(.1, .2, .7), sample.Params{Temperature: 1, TopP: .69}, nil, []int32{2}},
		{"top_p crossed by the second", logs(.1, .2, .7), sample.Params{Temperature: 1, TopP: .71}, nil, []int32{1, 2}},
		{"top_p of equals keeps the lowest ids", []float32{1, 1, 1, 1}, sample.Params{Temperature: 1, TopP: .5}, nil, []int32{0, 1}},
		{"top_p next to nothing keeps one", []float32{1, 1, 2, 2}, sample.Params{Temperature: 1, TopP: 1e-30}, nil, []int32{2}},
		{"top_p is of what top_k left", logs(.15, .25, .2, .4), sample.Params{Temperature: 1, TopK: 2, TopP: .6}, nil, []int32{3}},
		{"top_p after temperature", logs(.1, .2, .7), sample.Params{Temperature: 2, TopP: .53}, nil, []int32{1, 2}},
		{"min_p", logs(.1, .2, .7), sample.Params{Temperature: 1, MinP: .25}, nil, []int32{1, 2}},
		{"min_p 1 keeps the equals of the best", []float32{3, 1, 3}, sample.Params{Temperature: 1, MinP: 1}, nil, []int32{0, 2}},
		{"top_k, top_p and min_p together", logs(.05, .15, .3, .5), sample.Params{Temperature: 1, TopK: 3, TopP: .9, MinP: .5}, nil, []int32{2, 3}},
		{"logits far apart", []float32{-3e38, 3e38}, sample.Params{Temperature: 0.01}, nil, []int32{1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := support(tt.logits, tt.params, tt.mask); !slices.Equal(got, tt.want) {
				t.Errorf("can yield %v, want %v", got, tt.want)
			}
		})
	}
}

// interval returns where in [0, 1) the documented order of operations puts token, computed with a full sort in float64.
func interval(logits []float32, p sample.Params, mask []uint32, token int32) (lo, hi float64) {
	x := make([]float64, len(logits))
	for i, v := range logits {
		x[i] = float64(v)
		if mask != nil && mask[i/32]>>(i%32)&1 == 0 {
			x[i] = math.Inf(-1)
		}
	}
	largest := slices.Max(x)
	ids := make([]int, len(x))
	w := make([]float64, len(x))
	for i, v := range x {
		ids[i] = i
		w[i] = math.Exp((v - largest) / float64(p.Temperature))
	}
	slices.SortStableFunc(ids, func(a, b int) int {
		if w[a] != w[b] {
			return int(math.Copysign(1, w[b]-w[a]))
		}
		return a - b
	})
	if p.TopK > 0 {
		ids = ids[:min(p.TopK, len(ids))]
	}
	total := 0.0
	for _, id := range ids {
		total += w[id]
	}
	kept := 0.0
	n := 0
	for n < len(ids) && (p.TopP == 0 || n == 0 || kept < total*float64(p.TopP)) && w[ids[n]] >= float64(p.MinP) {
		kept += w[ids[n]]
		n++
	}
	ids = ids[:n]
	slices.Sort(ids)
	sum := 0.0
	for _, id := range ids {
		if id == int(token) {
			return sum / kept, (sum + w[id]) / kept
		}
		sum += w[id]
	}
	return 1, 0
}

func TestSampleAgreesWithSort(t *testing.T) {
	t.Parallel()
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	var s sample.Scratch
	for round := range 400 {
		vocab := 1 + rng.IntN(3000)
		logits := make([]float32, vocab)
		for i := range logits {
			logits[i] = float32(rng.NormFloat64() * 4)
		}
		mask := make([]uint32, (vocab+31)/32)
		for i := range mask {
			mask[i] = rng.Uint32() | 1
		}
		if round%2 == 0 {
			mask = nil
		}
		p := sample.Params{Temperature: float32(0.2 + rng.Float64()*1.8), Seed: rng.Uint64()}
		if round%3 == 1 {
			p.TopK = 1 + rng.IntN(vocab)
		}
		if round%5 < 3 {
			p.TopP = float32(0.05 + 0.95*rng.Float64())
		}
		if round%7 == 2 {
			p.MinP = float32(rng.Float64())
		}
		generated := make([]int32, rng.IntN(5))
		got := sample.Sample(logits, &p, mask, generated, &s).Token
		u := sample.Uniform(p.Seed, len(generated))
		lo, hi := interval(logits, p, mask, got)
		// float32 weights may move a boundary by their relative error times the total.
		if slack := 1e-5; u < lo-slack || u > hi+slack {
			t.Fatalf("seed %d round %d (%+v, vocab %d): u = %v gave token %d, whose interval is [%v, %v)", seed, round, p, vocab, u, got, lo, hi)
		}
	}
}

func TestSampleDependsOnSeedAndIndexOnly(t *testing.T) {
	t.Parallel()
	logits := make([]float32, 1000)
	for i := range logits {
		logits[i] = float32(i%7) / 3
	}
	run := func(s *sample.Scratch, seed uint64) (text []int32) {
		p := sample.Params{Temperature: 1, Seed: seed}
		for range 20 {
			text = append(text, sample.Sample(logits, &p, nil, text, s).Token)
		}
		return text
	}
	var used sample.Scratch
	sample.Sample(make([]float32, 50), &sample.Params{Temperature: 1}, nil, nil, &used)
	first := run(&used, 5)
	if again := run(new(sample.Scratch), 5); !slices.Equal(first, again) {
		t.Errorf("seed 5 gave %v, then %v", first, again)
	}
	if other := run(&used, 6); slices.Equal(first, other) {
		t.Errorf("seeds 5 and 6 both gave %v", first)
	}
}

func TestUniform(t *testing.T) {
	t.Parallel()
	// Pinned: other samplers (a GPU's) compute the same numbers, and stored seeds must keep their meaning.
	for _, tt := range []struct {
		seed  uint64
		index int
		want  float64
	}{{0, 0, 0.6524484863740322}, {0, 1, 0.7012121095215252}, {1, 0, 0.36818951565166946}, {1<<64 - 1, 131071, 0.8258740021392166}} {
		if got := sample.Uniform(tt.seed, tt.index); got != tt.want {
			t.Errorf("Uniform(%d, %d) = %v, want %v", tt.seed, tt.index, got, tt.want)
		}
	}
	const n = 20000
	var counts [10]int
	for i := range n {
		counts[int(sample.Uniform(uint64(i%100), i/100)*10)]++
	}
	for i, c := range counts {
		if c < n/10-300 || c > n/10+300 { // seven standard deviations
			t.Errorf("%d of %d numbers lie in tenth %d", c, n, i)
		}
	}
}

func TestSampleFrequencies(t *testing.T) {
	t.Parallel()
	logits := []float32{0, 1, 2, 3}
	var s sample.Scratch
	const n = 40000
	counts := make([]int, len(logits))
	for seed := range uint64(n) {
		p := sample.Params{Temperature: 1, Seed: seed}
		counts[sample.Sample(logits, &p, nil, nil, &s).Token]++
	}
	z := 0.0
	for _, v := range logits {
		z += math.Exp(float64(v))
	}
	for i, v := range logits {
		want := math.Exp(float64(v)) / z
		if got, tolerance := float64(counts[i])/n, 5*math.Sqrt(want*(1-want)/n); math.Abs(got-want) > tolerance {
			t.Errorf("token %d came up at rate %v, want %v ± %v", i, got, want, tolerance)
		}
	}
}

func TestSampleLogprobs(t *testing.T) {
	t.Parallel()
	logits := []float32{2, nan, 5, 5, negInf, -40000}
	z := math.Log(math.Exp(2-5) + 2)
	var s sample.Scratch

	t.Run("of the raw logits whatever else is set", func(t *testing.T) {
		p := sample.Params{Temperature: 0.3, TopK: 1, LogitBias: []sample.Bias{{Token: 0, Value: 50}}, PresencePenalty: 2, Logprobs: 4}
		got := sample.Sample(logits, &p, []uint32{0b000001}, []int32{2}, &s)
		if got.Token != 0 || math.Abs(float64(got.Logprob)-(2-5-z)) > 1e-6 {
			t.Errorf("token %d at %v, want 0 at %v", got.Token, got.Logprob, 2-5-z)
		}
		want := []sample.TokenProb{{Token: 2, Logprob: float32(-z)}, {Token: 3, Logprob: float32(-z)}, {Token: 0, Logprob: float32(2 - 5 - z)}, {Token: 5, Logprob: -9999}}
		if len(got.Top) != len(want) {
			t.Fatalf("top %v, want %v", got.Top, want)
		}
		for i, w := range want {
			if got.Top[i].Token != w.Token || math.Abs(float64(got.Top[i].Logprob-w.Logprob)) > 1e-6 {
				t.Errorf("top %d is %v, want %v", i, got.Top[i], w)
			}
		}
	})
	t.Run("whatever the temperature and the mask", func(t *testing.T) {
		for _, temperature := range []float32{0, 0.3, 1, 2} {
			for _, mask := range [][]uint32{nil, {0b000101}} {
				for seed := range uint64(20) {
					got := sample.Sample(logits, &sample.Params{Temperature: temperature, Seed: seed, Logprobs: 1}, mask, nil, &s)
					want := float64(logits[got.Token]) - 5 - z
					if math.Abs(float64(got.Logprob)-want) > 1e-6 || math.Abs(float64(got.Top[0].Logprob)+z) > 1e-6 {
						t.Errorf("temperature %v, mask %b: token %d at %v, best at %v, want %v and %v", temperature, mask, got.Token, got.Logprob, got.Top[0].Logprob, want, -z)
					}
				}
			}
		}
	})
	t.Run("none", func(t *testing.T) {
		got := sample.Sample(logits, &sample.Params{Logprobs: -1}, nil, nil, &s)
		if got.Logprob != 0 || got.Top != nil {
			t.Errorf("got %+v, want neither logprob nor top", got)
		}
	})
	t.Run("chosen only", func(t *testing.T) {
		got := sample.Sample(logits, &sample.Params{}, nil, nil, &s)
		if got.Logprob == 0 || got.Top != nil {
			t.Errorf("got %+v, want a logprob and no top", got)
		}
	})
	t.Run("impossible token is finite", func(t *testing.T) {
		got := sample.Sample(logits, &sample.Params{}, []uint32{0b010010}, nil, &s)
		if got.Token != 1 || got.Logprob != -9999 {
			t.Errorf("got %+v, want token 1 at -9999", got)
		}
	})
	t.Run("nothing has a probability", func(t *testing.T) {
		got := sample.Sample([]float32{nan, negInf}, &sample.Params{Logprobs: 2}, nil, nil, &s)
		if got.Token != 0 || got.Logprob != -9999 || len(got.Top) != 0 {
			t.Errorf("got %+v, want token 0 at -9999 without alternatives", got)
		}
	})
	t.Run("twenty of many, equals by id", func(t *testing.T) {
		many := make([]float32, 5000)
		for i := range many {
			many[i] = float32(i * 7 % 500)
		}
		got := sample.Sample(many, &sample.Params{Logprobs: 20}, nil, nil, &s)
		ids := make([]int, len(many))
		for i := range ids {
			ids[i] = i
		}
		slices.SortStableFunc(ids, func(a, b int) int { return int(many[b] - many[a]) })
		for i, top := range got.Top {
			if int(top.Token) != ids[i] {
				t.Errorf("top %d is token %d, want %d", i, top.Token, ids[i])
			}
		}
		if len(got.Top) != 20 || got.Top[0].Token != got.Token || got.Top[0].Logprob != got.Logprob {
			t.Errorf("%d alternatives, first %v, chosen %v", len(got.Top), got.Top[0], got)
		}
	})
	t.Run("sum to one", func(t *testing.T) {
		wide := make([]float32, 20)
		for i := range wide {
			wide[i] = float32(i) * -1.7
		}
		sum := 0.0
		for _, top := range sample.Sample(wide, &sample.Params{Logprobs: 20}, nil, nil, &s).Top {
			sum += math.Exp(float64(top.Logprob))
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Errorf("probabilities sum to %v", sum)
		}
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	const vocab = 100
	bias := func(token int32, value float32) sample.Params {
		return sample.Params{LogitBias: []sample.Bias{{Token: token, Value: value}}}
	}
	tests := []struct {
		name   string
		params sample.Params
		field  string // "" = valid
	}{
		{"zero value", sample.Params{}, ""},
		{"all at their largest", sample.Params{Temperature: 2, TopP: 1, MinP: 1, TopK: 1 << 30, PresencePenalty: 2, FrequencyPenalty: 2, RepetitionPenalty: 10, Logprobs: 20}, ""},
		{"all at their smallest", sample.Params{PresencePenalty: -2, FrequencyPenalty: -2, Logprobs: -1}, ""},
		{"temperature below", sample.Params{Temperature: -0.1}, "temperature"},
		{"temperature above", sample.Params{Temperature: 2.1}, "temperature"},
		{"temperature NaN", sample.Params{Temperature: nan}, "temperature"},
		{"top_p above", sample.Params{TopP: 1.01}, "top_p"},
		{"top_p below", sample.Params{TopP: -1}, "top_p"},
		{"top_k below", sample.Params{TopK: -1}, "top_k"},
		{"min_p above", sample.Params{MinP: 1.5}, "min_p"},
		{"presence above", sample.Params{PresencePenalty: 2.5}, "presence_penalty"},
		{"frequency infinite", sample.Params{FrequencyPenalty: inf}, "frequency_penalty"},
		{"repetition below", sample.Params{RepetitionPenalty: -1}, "repetition_penalty"},
		{"logprobs above", sample.Params{Logprobs: 21}, "top_logprobs"},
		{"logprobs below", sample.Params{Logprobs: -2}, "top_logprobs"},
		{"bias of the last id", bias(99, -100), ""},
		{"bias past the last id", bias(100, 1), "logit_bias"},
		{"bias of a negative id", bias(-1, 1), "logit_bias"},
		{"bias too large", bias(1, 100.5), "logit_bias"},
		{"bias NaN", bias(1, nan), "logit_bias"},
		{"bias twice", sample.Params{LogitBias: []sample.Bias{{Token: 4}, {Token: 4}}}, "logit_bias"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.params.Validate(vocab)
			if tt.field == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var pe *sample.ParamError
			if !errors.As(err, &pe) || pe.Field != tt.field {
				t.Errorf("error %v, want one that names %s", err, tt.field)
			}
		})
	}
}

// FuzzSample checks on any bits that the result is an id, allowed where something is allowed, with finite numbers.
func FuzzSample(f *testing.F) {
	f.Add([]byte{0, 0, 128, 63, 0, 0, 192, 127, 0, 0, 128, 255}, float32(1), float32(0.9), 2, float32(0.1), uint64(3), uint32(5))
	f.Add([]byte{255, 255, 127, 127, 255, 255, 127, 255}, float32(0.001), float32(0), 0, float32(0), uint64(0), uint32(0))
	f.Fuzz(func(t *testing.T, raw []byte, temperature, topP float32, topK int, minP float32, seed uint64, mask uint32) {
		p := sample.Params{Temperature: temperature, TopP: topP, TopK: topK, MinP: minP, Seed: seed, Logprobs: 3, PresencePenalty: 1, RepetitionPenalty: 0.01}
		if len(raw) < 4 || p.Validate(1) != nil {
			return
		}
		logits := make([]float32, min(len(raw)/4, 32))
		for i := range logits {
			logits[i] = math.Float32frombits(uint32(raw[4*i]) | uint32(raw[4*i+1])<<8 | uint32(raw[4*i+2])<<16 | uint32(raw[4*i+3])<<24)
		}
		var s sample.Scratch
		r := sample.Sample(logits, &p, []uint32{mask}, []int32{0, 0}, &s)
		if r.Token < 0 || int(r.Token) >= len(logits) {
			t.Fatalf("token %d of %d", r.Token, len(logits))
		}
		if valid := uint32(1<<len(logits) - 1); mask&valid != 0 && mask>>r.Token&1 == 0 {
			t.Fatalf("token %d is not allowed by %b", r.Token, mask)
		}
		for _, lp := range append(r.Top, sample.TokenProb{Logprob: r.Logprob}) {
			if !(lp.Logprob <= 1e-6 && lp.Logprob >= -9999) {
				t.Fatalf("log-probability %v in %+v", lp.Logprob, r)
			}
		}
	})
}

func BenchmarkSample(b *testing.B) {
	const vocab = 201088
	rng := rand.New(rand.NewPCG(1, 0))
	logits := make([]float32, vocab)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64() * 3)
	}
	mask := make([]uint32, (vocab+31)/32)
	for i := range mask {
		mask[i] = rng.Uint32()
	}
	generated := make([]int32, 2000)
	for i := range generated {
		generated[i] = int32(rng.IntN(vocab))
	}
	for _, bb := range []struct {
		name   string
		params sample.Params
		mask   []uint32
	}{
		{"greedy", sample.Params{Logprobs: -1}, nil},
		{"greedy with logprob", sample.Params{}, nil},
		{"temperature 1", sample.Params{Temperature: 1, Logprobs: -1}, nil},
		{"temperature 1 with logprob", sample.Params{Temperature: 1}, nil},
		{"temperature 0.7 with logprob", sample.Params{Temperature: 0.7}, nil},
		{"top_p 0.9", sample.Params{Temperature: 1, TopP: 0.9, Logprobs: -1}, nil},
		{"top_k 50", sample.Params{Temperature: 1, TopK: 50, Logprobs: -1}, nil},
		{"mask", sample.Params{Temperature: 1, Logprobs: -1}, mask},
		{"everything", sample.Params{Temperature: 0.8, TopK: 100, TopP: 0.9, MinP: 0.05, PresencePenalty: 1, Logprobs: 20}, mask},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var s sample.Scratch
			for b.Loop() {
				bb.params.Seed++
				sample.Sample(logits, &bb.params, bb.mask, generated, &s)
			}
		})
	}
}

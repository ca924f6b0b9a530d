package cpu_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"chorale/kernels/cpu"
)

func TestExp(t *testing.T) {
	t.Parallel()
	worst := 0.0
	for x := float32(-87.3); x < 88.36; x += 0.0007 {
		want := math.Exp(float64(x))
		ulp := math.Ldexp(1, math.Ilogb(want)-23)
		worst = max(worst, math.Abs(float64(cpu.Exp(x))-want)/ulp)
	}
	if !(worst <= 2) {
		t.Errorf("worst error is %v units in the last place, want at most 2", worst)
	}
	t.Logf("worst error %.3f units in the last place", worst)
	inf := float32(math.Inf(1))
	for _, tt := range []struct{ x, want float32 }{{0, 1}, {-inf, 0}, {inf, inf}, {-88, 0}, {-1e30, 0}, {88.4, inf}} {
		if got := cpu.Exp(tt.x); got != tt.want {
			t.Errorf("Exp(%v) is %v, want %v", tt.x, got, tt.want)
		}
	}
	if got := cpu.Exp(88.37); math.IsInf(float64(got), 0) {
		t.Error("Exp(88.37) overflows")
	}
	if got := cpu.Exp(float32(math.NaN())); got == got {
		t.Errorf("Exp(NaN) is %v", got)
	}
}

func near(t *testing.T, what string, got float32, want, tol float64) {
	t.Helper()
	if diff := math.Abs(float64(got) - want); !(diff <= tol) {
		t.Errorf("%s is %v, want %v ± %v", what, got, want, tol)
	}
}

func TestRMSNorm(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 3, 4, 66} {
		x, weight := randomRows(rng, 1, n).Data[:n], randomRows(rng, 1, n).Data[:n]
		sum := 0.0
		for _, v := range x {
			sum += float64(v) * float64(v)
		}
		got := make([]float32, n)
		cpu.RMSNorm(got, x, weight, 1e-5)
		for i := range got {
			near(t, "RMSNorm", got[i], float64(x[i])/math.Sqrt(sum/float64(n)+1e-5)*float64(weight[i]), 2e-6)
		}
	}
	zero := make([]float32, 4)
	cpu.RMSNorm(zero, zero, []float32{1, 1, 1, 1}, 1e-5)
	near(t, "RMSNorm of zeros", zero[0], 0, 0)
}

func TestSoftmaxSink(t *testing.T) {
	t.Parallel()
	for _, sink := range []float32{-3, 0.5, 200} {
		x := []float32{1, 100, 99, -50}
		sum := math.Exp(float64(sink) - 150)
		for _, v := range x {
			sum += math.Exp(float64(v) - 150)
		}
		want := make([]float64, len(x))
		for i, v := range x {
			want[i] = math.Exp(float64(v)-150) / sum
		}
		cpu.SoftmaxSink(x, sink)
		for i := range x {
			near(t, "probability", x[i], want[i], 1e-6)
		}
	}
}

func TestSwiGLU(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ gate, up, clampedGate, clampedUp float64 }{
		{0.5, -0.25, 0.5, -0.25},
		{9, 9, 7, 7},
		{-9, -9, -9, -7}, // the gate has no lower clamp
	} {
		want := tt.clampedGate / (1 + math.Exp(-1.702*tt.clampedGate)) * (tt.clampedUp + 1)
		var got [1]float32
		cpu.SwiGLU(got[:], []float32{float32(tt.gate)}, []float32{float32(tt.up)}, 1, 7, 1.702)
		near(t, "SwiGLU", got[0], want, 1e-5)
		pairs := []float32{0, 0, float32(tt.gate), float32(tt.up)}
		var two [2]float32
		cpu.SwiGLU(two[:], pairs, pairs[1:], 2, 7, 1.702)
		near(t, "SwiGLU of alternating rows", two[1], want, 1e-5)
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	x := []float32{1, 2, 3, 4}
	cpu.Rotate(x, x, []float32{0, 0.5}, []float32{1, 2})
	for i, want := range []float64{-3, 2*0.5 - 4*2, 1, 4*0.5 + 2*2} {
		near(t, "rotated", x[i], want, 0)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	m, err := cpu.NewMemory(1 << 28) // 1 GiB, of which two pages are touched
	if err != nil {
		t.Fatal(err)
	}
	if m.Floats[0] != 0 || m.Floats[1<<28-1] != 0 {
		t.Error("memory does not begin as zeros")
	}
	m.Floats[1<<28-1] = 1
	for range 2 {
		if err := m.Free(); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := cpu.NewMemory(0); err != nil || len(m.Floats) != 0 || m.Free() != nil {
		t.Errorf("no memory at all: %v, %v", m, err)
	}
}

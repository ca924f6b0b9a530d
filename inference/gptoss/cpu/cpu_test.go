package cpu_test

import (
	"testing"

	"chorale/inference/gptoss"
	"chorale/inference/gptoss/cpu"
	"chorale/inference/gptoss/gptosstest"
)

// open returns a Runner with memory for the cases; three threads, so that work is cut unevenly.
func open(t *testing.T, m *gptoss.Model) gptosstest.Runner {
	t.Helper()
	r, err := cpu.New(m, cpu.Options{Threads: 3, KVBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCases(t *testing.T) {
	t.Parallel()
	// Float32 sums through four layers of sharp attention: 1e-5 was seen.
	gptosstest.Run(t, open, 5e-5)
}

func TestParity(t *testing.T) {
	t.Parallel()
	gptosstest.Parity(t, open)
}

package python_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/color"
	"image/png"
	"io"
	"os"
	"strings"
	"testing"

	"chorale/sandbox/python"
)

// pixels counts the pixels of a PNG by colour.
func pixels(t testing.TB, file []byte, width, height int) map[color.RGBA]int {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	b := img.Bounds()
	if b.Dx() != width || b.Dy() != height {
		t.Fatalf("the picture is %d x %d, want %d x %d", b.Dx(), b.Dy(), width, height)
	}
	count := map[color.RGBA]int{}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, a := img.At(x, y).RGBA()
			count[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(bl >> 8), uint8(a >> 8)}]++
		}
	}
	return count
}

var (
	tabBlue   = color.RGBA{0x1f, 0x77, 0xb4, 0xff}
	tabOrange = color.RGBA{0xff, 0x7f, 0x0e, 0xff}
	black     = color.RGBA{A: 0xff}
)

func TestPlotsAreShown(t *testing.T) {
	t.Parallel()
	s := acquire(t, newPool(t, python.PoolOptions{Slots: 1}), python.Limits{})

	r := exec(t, s, `
import matplotlib.pyplot as plt
xs = [i / 10 for i in range(100)]
plt.plot(xs, [x * x for x in xs], label="square")
plt.plot(xs, [50 + x for x in xs], label="line")
plt.xlabel("x"); plt.title("Two lines"); plt.legend(); plt.grid(True)
`)
	if r.Status != python.OK || r.Output != "" || len(r.Images) != 1 || r.Images[0].MIME != "image/png" {
		t.Fatalf("at the end of a cell: %+v", r)
	}
	count := pixels(t, r.Images[0].Data, 640, 480)
	if count[black] < 2000 || count[tabBlue] < 300 || count[tabOrange] < 300 {
		t.Errorf("axes have %d pixels, lines %d and %d", count[black], count[tabBlue], count[tabOrange])
	}

	for _, c := range []struct {
		name, code string
		images     int
		output     string
	}{
		{"nothing drawn", "1 + 1", 0, "2\n"},
		{"an empty figure", "fig = plt.figure()", 0, ""},
		{"shown and not shown again", "plt.plot([1, 2]); plt.show()", 1, ""},
		{"two figures", "plt.plot([1, 2])\nplt.figure()\nplt.bar(['a'], [1]);", 2, ""},
		{"as the value of a cell", "fig, ax = plt.subplots()\nax.plot([1, 2]);\nfig", 1, "<Figure 6.4 x 4.8 inches with 1 axes>\n"},
		{"drawn to again", "ax.plot([2, 1]);", 1, ""},
		{"closed", "plt.plot([1, 2]); plt.close()", 0, ""},
	} {
		r := exec(t, s, c.code)
		if r.Status != python.OK || len(r.Images) != c.images || r.Output != c.output {
			t.Errorf("%s: %v, %d images, output %q", c.name, r.Status, len(r.Images), r.Output)
		}
	}

	r = exec(t, s, "plt.bar([1, 2], [1, 2])\nplt.savefig('bars.png', dpi=50)\nplt.savefig('bars.svg')\n1 / 0")
	if r.Status != python.Error || len(r.Images) != 1 {
		t.Errorf("after an error: %+v", r)
	}
	f, err := s.ReadFile("/mnt/data/bars.png")
	if err != nil {
		t.Fatal(err)
	}
	if n := pixels(t, f.Data, 320, 240)[tabBlue]; n < 5000 {
		t.Errorf("bars have %d pixels", n)
	}
	if f, err = s.ReadFile("/mnt/data/bars.svg"); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(f.Data)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}

	// Packages that draw with matplotlib: mpmath needs no more than there is; sympy needs numpy too and falls back to text.
	r = exec(t, s, "import mpmath\nmpmath.plot([mpmath.sin, mpmath.gamma], [0.1, 5], points=50)")
	if r.Status != python.OK || len(r.Images) != 1 {
		t.Errorf("mpmath: %+v", r)
	}
	r = exec(t, s, "import sympy\nsympy.plot(sympy.sin(sympy.Symbol('x')));")
	if r.Status != python.OK || !strings.Contains(r.Output, "-10                        0                          10") {
		t.Errorf("sympy: %+v", r)
	}

	r = exec(t, s, "plt.plot([1]).nothing")
	if r.Status != python.Error || strings.Contains(r.Output, "/lib/chorale/_chorale") {
		t.Errorf("%+v", r)
	}
	if r := exec(t, s, "fig = plt.figure(); fig.add_subplot(projection='3d')"); r.Exception != "Unsupported" ||
		!strings.Contains(r.Output, "contour") {
		t.Errorf("what is missing: %+v", r)
	}
}

// TestPlotLibrary runs the library's own tests in the interpreter that it is for.
func TestPlotLibrary(t *testing.T) {
	t.Parallel()
	s := acquire(t, newPool(t, python.PoolOptions{Slots: 1}), python.Limits{})
	source, err := os.ReadFile("libtest/test_plot.py")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WriteFile("/mnt/data/test_plot.py", source); err != nil {
		t.Fatal(err)
	}
	r := exec(t, s, "import unittest, test_plot\nunittest.main(test_plot, argv=[''], exit=False).result.wasSuccessful()")
	if r.Value != "True" {
		t.Errorf("%s\n%s", r.Status, r.Output)
	}
}

func BenchmarkLineChart(b *testing.B) {
	s := acquire(b, newPool(b, python.PoolOptions{Slots: 1}), python.Limits{})
	code := `
import matplotlib.pyplot as plt, math
xs = [i / 50 for i in range(500)]
for f in (math.sin, math.cos, math.atan):
    plt.plot(xs, [f(x) for x in xs], label=f.__name__)
plt.title("Three functions"); plt.xlabel("x"); plt.ylabel("y"); plt.grid(True); plt.legend()
`
	exec(b, s, code)
	for b.Loop() {
		if r := exec(b, s, code); len(r.Images) != 1 {
			b.Fatalf("%+v", r)
		}
	}
}

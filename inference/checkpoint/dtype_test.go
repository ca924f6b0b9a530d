package checkpoint_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"chorale/inference/checkpoint"
)

func TestE2M1(t *testing.T) {
	t.Parallel()
	for code, want := range []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6} {
		for sign := range 2 {
			got := float64(checkpoint.E2M1(byte(code | sign<<3)))
			if sign == 1 {
				want = -want
			}
			if got != want || math.Signbit(got) != (sign == 1) {
				t.Errorf("E2M1(%d) = %v, want %v", code|sign<<3, got, want)
			}
			if high := checkpoint.E2M1(byte(code | sign<<3 | 0xf0)); float64(high) != want {
				t.Errorf("E2M1(%#x) = %v: the high bits count", code|sign<<3|0xf0, high)
			}
		}
	}
}

func TestE8M0(t *testing.T) {
	t.Parallel()
	for s := range 255 {
		if got, want := float64(checkpoint.E8M0(byte(s))), math.Ldexp(1, s-127); got != want {
			t.Errorf("E8M0(%d) = %v, want %v", s, got, want)
		}
	}
	if got := checkpoint.E8M0(255); got == got {
		t.Errorf("E8M0(255) = %v, want NaN", got)
	}
}

// Every byte, in every place of a block: the two nibbles must land where the format says and nowhere else.
func TestDequantMXFP4EveryByte(t *testing.T) {
	t.Parallel()
	dst := make([]float32, 64)
	for value := range 256 {
		for at := range 32 {
			blocks, scales := make([]byte, 32), []byte{120, 130}
			blocks[at] = byte(value)
			checkpoint.DequantMXFP4(dst, blocks, scales)
			scale := float32(math.Ldexp(1, []int{120, 130}[at/16]-127))
			for i, got := range dst {
				want := float32(0)
				switch i {
				case 2 * at:
					want = checkpoint.E2M1(byte(value&15)) * scale
				case 2*at + 1:
					want = checkpoint.E2M1(byte(value>>4)) * scale
				}
				if got != want {
					t.Fatalf("byte %#x at %d: element %d is %v, want %v", value, at, i, got, want)
				}
			}
		}
	}
}

func TestGGMLOrderEveryByte(t *testing.T) {
	t.Parallel()
	var planes, ggml, back [16]byte
	a, b := make([]float32, 32), make([]float32, 32)
	for value := range 256 {
		for at := range 16 {
			planes = [16]byte{}
			planes[at] = byte(value)
			checkpoint.ToGGMLOrder(ggml[:], planes[:])
			checkpoint.FromGGMLOrder(back[:], ggml[:])
			if back != planes {
				t.Fatalf("byte %#x at %d: there and back gives %x", value, at, back)
			}
			checkpoint.DequantMXFP4(a, planes[:], []byte{127})
			checkpoint.Floats(b, checkpoint.MXFP4, append([]byte{127}, ggml[:]...))
			for i := range a {
				if a[i] != b[i] {
					t.Fatalf("byte %#x at %d: element %d is %v in one order, %v in the other", value, at, i, a[i], b[i])
				}
			}
		}
	}
	// Two blocks at once, and the published formula: byte 2j = low(a[j]) | low(a[j+8])<<4, byte 2j+1 the high nibbles.
	src, dst := make([]byte, 32), make([]byte, 32)
	for i := range src {
		src[i] = byte(i*37 + 11)
	}
	checkpoint.ToGGMLOrder(dst, src)
	for block := 0; block < 32; block += 16 {
		for j := range 8 {
			x, y := src[block+j], src[block+j+8]
			if dst[block+2*j] != x&15|y&15<<4 || dst[block+2*j+1] != x>>4|y>>4<<4 {
				t.Fatalf("block at %d, pair %d: got %x %x from %x %x", block, j, dst[block+2*j], dst[block+2*j+1], x, y)
			}
		}
	}
}

func TestFloatsOfBlockFormats(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	codes, scales := make([]byte, 48), make([]byte, 3)
	for i := range codes {
		codes[i] = byte(rng.Uint32())
	}
	for i := range scales {
		scales[i] = byte(110 + rng.IntN(30))
	}
	want := make([]float32, 96)
	checkpoint.DequantMXFP4(want, codes, scales)
	var interleaved, ggml []byte
	for i, s := range scales {
		block := codes[16*i:][:16]
		interleaved = append(append(interleaved, s), block...)
		ggml = append(append(ggml, s), make([]byte, 16)...)
		checkpoint.ToGGMLOrder(ggml[17*i+1:], block)
	}
	for d, data := range map[checkpoint.DType][]byte{checkpoint.MXFP4: ggml, checkpoint.MXFP4Interleaved: interleaved} {
		got := make([]float32, 96)
		checkpoint.Floats(got, d, data)
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%v: element %d is %v, want %v", d, i, got[i], want[i])
			}
		}
	}

	q8 := binary.LittleEndian.AppendUint16(nil, checkpoint.ToF16(0.25))
	for i := range 32 {
		q8 = append(q8, byte(int8(i*8-128)))
	}
	got := make([]float32, 32)
	checkpoint.Floats(got, checkpoint.Q8_0, q8)
	for i := range got {
		if want := 0.25 * float32(i*8-128); got[i] != want {
			t.Errorf("Q8_0: element %d is %v, want %v", i, got[i], want)
		}
	}
}

func TestHalfPrecisionEveryValue(t *testing.T) {
	t.Parallel()
	for bits := range 1 << 16 {
		u := uint16(bits)
		h, b := checkpoint.FromF16(u), checkpoint.FromBF16(u)
		if h != h {
			if got := checkpoint.ToF16(h); got&0x7c00 != 0x7c00 || got&0x3ff == 0 {
				t.Fatalf("F16 %#x is NaN and comes back as %#x", u, got)
			}
		} else if got := checkpoint.ToF16(h); got != u {
			t.Fatalf("F16 %#x is %v and comes back as %#x", u, h, got)
		}
		if b != b {
			if got := checkpoint.ToBF16(b); got&0x7f80 != 0x7f80 || got&0x7f == 0 {
				t.Fatalf("BF16 %#x is NaN and comes back as %#x", u, got)
			}
		} else if got := checkpoint.ToBF16(b); got != u {
			t.Fatalf("BF16 %#x is %v and comes back as %#x", u, b, got)
		}
		// The definition: sign, five bits of exponent biased by 15, ten bits of fraction.
		exp, frac := bits>>10&31, float64(bits&1023)
		want := math.Ldexp(1+frac/1024, exp-15)
		if exp == 0 {
			want = math.Ldexp(frac, -24)
		}
		if exp == 31 {
			want = math.Inf(1)
		}
		if bits>>15 == 1 {
			want = -want
		}
		if h == h && (float64(h) != want || math.Signbit(float64(h)) != (bits>>15 == 1)) {
			t.Fatalf("F16 %#x is %v, want %v", u, h, want)
		}
	}
}

// Between two neighbours the nearer one wins, and the even one of a tie.
func TestHalfPrecisionRounding(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		name string
		from func(uint16) float32
		to   func(float32) uint16
		top  uint16 // infinity
	}{
		{"F16", checkpoint.FromF16, checkpoint.ToF16, 0x7c00},
		{"BF16", checkpoint.FromBF16, checkpoint.ToBF16, 0x7f80},
	} {
		for u := range f.top - 1 {
			low, high := f.from(u), f.from(u+1)
			middle := low + (high-low)/2 // exact: it has one bit more than they
			for _, tt := range []struct {
				x    float32
				want uint16
			}{
				{math.Nextafter32(middle, 0), u},
				{middle, u + u&1},
				{math.Nextafter32(middle, high), u + 1},
			} {
				if got := f.to(tt.x); got != tt.want {
					t.Fatalf("%s of %v between %v and %v: got %#x, want %#x", f.name, tt.x, low, high, got, tt.want)
				}
				if got := f.to(-tt.x); got != tt.want|0x8000 {
					t.Fatalf("%s of %v: got %#x, want %#x", f.name, -tt.x, got, tt.want|0x8000)
				}
			}
		}
		for _, big := range []float32{math.MaxFloat32, float32(math.Inf(1))} {
			if got := f.to(big); got != f.top {
				t.Errorf("%s of %v is %#x, want infinity", f.name, big, got)
			}
		}
		nan := math.Float32frombits(0x7f800001) // its payload lies in the bits that are cut off
		if got := f.from(f.to(nan)); got == got {
			t.Errorf("%s of NaN is %v", f.name, got)
		}
	}
	if got := checkpoint.ToF16(65519.996); got != 0x7bff {
		t.Errorf("F16 of 65519.996 is %#x, want the largest half", got)
	}
	if got := checkpoint.ToF16(65520); got != 0x7c00 {
		t.Errorf("F16 of 65520 is %#x, want infinity", got)
	}
}

func BenchmarkDequantMXFP4(b *testing.B) {
	dst, blocks, scales := make([]float32, 2880), make([]byte, 2880/2), make([]byte, 2880/32)
	for i := range scales {
		scales[i] = 120
	}
	b.SetBytes(int64(len(blocks) + len(scales)))
	for b.Loop() {
		checkpoint.DequantMXFP4(dst, blocks, scales)
	}
}

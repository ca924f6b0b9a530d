package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A DType says how a tensor's elements lie in its bytes. All multi-byte numbers are little-endian.
type DType uint8

// The element types. The zero value is no type at all, so a Tensor or Matrix that was never filled in shows.
const (
	F64 DType = iota + 1
	F32
	F16
	BF16
	I64
	I32
	I16
	I8
	U64
	U32
	U16
	U8
	Bool // one byte, 0 or 1
	// Q8_0 is ggml's 8-bit format: 34 bytes per 32 elements, an F16 scale and then 32 signed bytes;
	// element = scale * byte.
	Q8_0
	// MXFP4 is ggml's type 39: 17 bytes per 32 elements, an E8M0 scale byte and then 16 bytes of E2M1 codes of which
	// byte j holds element j in its low and element j+16 in its high nibble.
	MXFP4
	// MXFP4Interleaved is the type 4 of Ollama's first gpt-oss files: 17 bytes per 32 elements, an E8M0 scale byte and
	// then 16 bytes of E2M1 codes in the order of MXFP4Planes.
	MXFP4Interleaved
	// MXFP4Planes is the form of the safetensors checkpoints, where one U8 tensor holds 16 bytes of E2M1 codes per 32
	// elements and a second one the E8M0 scale bytes: byte b holds element 2b in its low and element 2b+1 in its high
	// nibble. No tensor of a file has this type; it describes two of them together.
	MXFP4Planes
)

// layout returns the name of d, how many elements a block of it has and how many bytes. It is the one table of types.
func (d DType) layout() (name string, elements, bytes int) {
	switch d {
	case F64:
		return "F64", 1, 8
	case F32:
		return "F32", 1, 4
	case F16:
		return "F16", 1, 2
	case BF16:
		return "BF16", 1, 2
	case I64:
		return "I64", 1, 8
	case I32:
		return "I32", 1, 4
	case I16:
		return "I16", 1, 2
	case I8:
		return "I8", 1, 1
	case U64:
		return "U64", 1, 8
	case U32:
		return "U32", 1, 4
	case U16:
		return "U16", 1, 2
	case U8:
		return "U8", 1, 1
	case Bool:
		return "BOOL", 1, 1
	case Q8_0:
		return "Q8_0", 32, 34
	case MXFP4:
		return "MXFP4", 32, 17
	case MXFP4Interleaved:
		return "MXFP4Interleaved", 32, 17
	case MXFP4Planes:
		return "MXFP4Planes", 32, 16
	default:
		return fmt.Sprintf("DType(%d)", uint8(d)), 1, 0
	}
}

// String returns the name of the type: the safetensors tag for plain numbers, ggml's name for block formats.
func (d DType) String() string {
	name, _, _ := d.layout()
	return name
}

// Bytes returns how many bytes n elements take; n must be a multiple of Block. For MXFP4Planes it counts the codes
// without the scales.
func (d DType) Bytes(n int) int {
	_, elements, bytes := d.layout()
	return n / elements * bytes
}

// Block returns how many elements a block has: 1 for plain numbers, 32 for the block formats. A row of a tensor is
// always a whole number of blocks.
func (d DType) Block() int {
	_, elements, _ := d.layout()
	return elements
}

// FromBF16 returns the value of a bfloat16, exactly.
func FromBF16(bits uint16) float32 { return math.Float32frombits(uint32(bits) << 16) }

// ToBF16 rounds to the nearest bfloat16, ties to even. NaN stays NaN.
func ToBF16(f float32) uint16 {
	u := math.Float32bits(f)
	if f != f {
		return uint16(u>>16) | 0x40 // a payload in the low half only must not round to infinity
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// FromF16 returns the value of an IEEE half, exactly.
func FromF16(bits uint16) float32 {
	sign, exp, frac := uint32(bits&0x8000)<<16, uint32(bits>>10&0x1f), uint32(bits&0x3ff)
	switch exp {
	case 0:
		f := float32(frac) * 0x1p-24
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	default:
		return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
	}
}

// ToF16 rounds to the nearest IEEE half, ties to even; what is too large becomes infinity. NaN stays NaN.
func ToF16(f float32) uint16 {
	u := math.Float32bits(f)
	sign := uint16(u >> 16 & 0x8000)
	abs := math.Float32frombits(u &^ (1 << 31))
	switch {
	case f != f:
		return sign | 0x7e00
	case abs >= 65520: // halfway between the largest half and the next power of two
		return sign | 0x7c00
	case abs < 0x1p-14:
		return sign | uint16(math.RoundToEven(float64(abs)*0x1p24)) // subnormal: a multiple of 2^-24
	default:
		a := math.Float32bits(abs) - (127-15)<<23
		return sign | uint16((a+0xfff+a>>13&1)>>13)
	}
}

// Floats converts len(dst) elements of type d to float32. src must hold exactly d.Bytes(len(dst)) bytes, and d must be
// one of F32, F16, BF16, Q8_0, MXFP4 and MXFP4Interleaved; for MXFP4Planes there is DequantMXFP4. It is the plain
// reference of the faster conversions in the kernels.
func Floats(dst []float32, d DType, src []byte) {
	if n := d.Bytes(len(dst)); n != len(src) || len(dst)%d.Block() != 0 {
		panic(fmt.Sprintf("checkpoint: %d elements of %v take %d bytes, got %d", len(dst), d, n, len(src)))
	}
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = FromF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = FromBF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case Q8_0:
		for ; len(dst) > 0; dst, src = dst[32:], src[34:] {
			scale := FromF16(binary.LittleEndian.Uint16(src))
			for i := range 32 {
				dst[i] = scale * float32(int8(src[2+i]))
			}
		}
	case MXFP4:
		for ; len(dst) > 0; dst, src = dst[32:], src[17:] {
			scale := E8M0(src[0])
			for i, b := range src[1:17] {
				dst[i], dst[i+16] = E2M1(b&15)*scale, E2M1(b>>4)*scale
			}
		}
	case MXFP4Interleaved:
		for ; len(dst) > 0; dst, src = dst[32:], src[17:] {
			DequantMXFP4(dst[:32], src[1:17], src[:1])
		}
	default:
		panic(fmt.Sprintf("checkpoint: %v is not a type of weights", d))
	}
}

package checkpoint

import "math"

// E2M1 returns the value of a 4-bit float: bit 3 is the sign, codes 0 to 7 are 0, 0.5, 1, 1.5, 2, 3, 4, 6 (OCP
// Microscaling Formats 1.0, section 5.3.3). Only the low four bits of code count.
func E2M1(code byte) float32 {
	values := [16]float32{0, 0.5, 1, 1.5, 2, 3, 4, 6, float32(math.Copysign(0, -1)), -0.5, -1, -1.5, -2, -3, -4, -6}
	return values[code&15]
}

// E8M0 returns the value of a scale byte: 2^(scale-127), and NaN for 255 (OCP Microscaling Formats 1.0, section 5.4.1).
func E8M0(scale byte) float32 {
	switch scale {
	case 0:
		return 0x1p-127 // below the smallest normal number, so its exponent bits are not the scale's
	case 255:
		return float32(math.NaN())
	default:
		return math.Float32frombits(uint32(scale) << 23)
	}
}

// DequantMXFP4 decodes MXFP4 in the order of the safetensors checkpoints: 16 bytes of blocks and one byte of scales for
// every 32 elements of dst, byte b of a block holding element 2b in its low and element 2b+1 in its high nibble.
// Every result that is not too large for a float32 is exact.
func DequantMXFP4(dst []float32, blocks, scales []byte) {
	for i, s := range scales {
		scale := E8M0(s)
		out, block := dst[32*i:32*i+32], blocks[16*i:16*i+16]
		for j, b := range block {
			out[2*j], out[2*j+1] = E2M1(b&15)*scale, E2M1(b>>4)*scale
		}
	}
}

// ToGGMLOrder rewrites groups of 16 code bytes from the order of MXFP4Planes (elements 2b and 2b+1 in byte b) to the
// order of MXFP4 (elements j and j+16 in byte j). dst and src have the same length, a multiple of 16, and do not
// overlap.
func ToGGMLOrder(dst, src []byte) {
	for i := 0; i < len(src); i += 16 {
		d, s := dst[i:i+16], src[i:i+16]
		for j := range 8 {
			d[2*j] = s[j]&15 | s[j+8]<<4
			d[2*j+1] = s[j]>>4 | s[j+8]&0xf0
		}
	}
}

// FromGGMLOrder is the inverse of ToGGMLOrder.
func FromGGMLOrder(dst, src []byte) {
	for i := 0; i < len(src); i += 16 {
		d, s := dst[i:i+16], src[i:i+16]
		for j := range 8 {
			d[j] = s[2*j]&15 | s[2*j+1]<<4
			d[j+8] = s[2*j]>>4 | s[2*j+1]&0xf0
		}
	}
}

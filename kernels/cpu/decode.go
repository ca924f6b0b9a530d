package cpu

import (
	"encoding/binary"
	"math"
)

// decode stores dst.N rows of m, beginning with row from, in dst, with zeros up to the stride. It reports whether the
// values must still be multiplied by s.scales, which it then filled with one factor per group of columns; multiplying the
// sums instead of the values costs less and rounds the same with one activation row as with many.
func (m *Matrix) decode(dst Rows, from int, s *Scratch) (scaled bool) {
	if m.Transposed {
		m.decodeTransposed(dst, from)
		return false
	}
	perRow := dst.Stride / lanes
	for i := range dst.N {
		row, scales := dst.Row(i), s.scales[i*perRow:(i+1)*perRow]
		switch src := m.row(from + i); m.Format {
		case F32:
			decodeF32(row, src)
		case F16:
			decodeF16(row, src)
		case BF16:
			decodeBF16(row, src)
		case Q8_0:
			s.decodeQ8(row, scales, q8Blocks(src))
		case MXFP4:
			s.decodeSplit(row, scales, mxfp4Blocks(src))
		case MXFP4Interleaved:
			s.decodeInterleaved(row, scales, mxfp4Blocks(src))
		case MXFP4Planes:
			s.decodePlanes(row, scales, planeBlocks(src), m.rowScales(from+i))
		}
		clear(row[m.Cols:])
	}
	return m.Format >= Q8_0
}

// row returns the bytes of row r.
func (m *Matrix) row(r int) []byte {
	n := m.Format.bytes(m.Cols)
	return m.Data[r*n : (r+1)*n]
}

// rowScales returns the scale bytes of row r of MXFP4Planes.
func (m *Matrix) rowScales(r int) []byte {
	n := m.Cols / 32
	return m.Scales[r*n : (r+1)*n]
}

func (m *Matrix) decodeTransposed(dst Rows, from int) {
	var column [tileRows]float32
	size := m.Format.bytes(1)
	for c := range m.Cols {
		at := (c*m.Rows + from) * size
		src := m.Data[at : at+dst.N*size]
		switch m.Format {
		case F32:
			decodeF32(column[:], src)
		case F16:
			decodeF16(column[:], src)
		case BF16:
			decodeBF16(column[:], src)
		}
		for i := range dst.N {
			dst.Data[i*dst.Stride+c] = column[i]
		}
	}
	for i := range dst.N {
		clear(dst.Row(i)[m.Cols:])
	}
}

func decodeF32(dst []float32, src []byte) {
	for i := range len(src) / 4 {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range len(src) / 2 {
		dst[i] = fromF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// fromF16 returns the value of an IEEE half, exactly.
func fromF16(bits uint16) float32 {
	sign, magnitude := uint32(bits&0x8000)<<16, uint32(bits&0x7fff)<<13
	if magnitude >= 0x7c00<<13 { // infinity and NaN
		return math.Float32frombits(sign | magnitude | 0xff<<23)
	}
	// The exponent sits 112 too low, for normal and subnormal halves alike; the product repairs both exactly.
	return math.Float32frombits(math.Float32bits(math.Float32frombits(magnitude)*0x1p112) | sign)
}

func decodeBF16(dst []float32, src []byte) {
	whole := halfGroups(src)
	out := groups(dst[:len(whole)*lanes])
	for i := range whole {
		p, q := &whole[i], &out[i]
		for c := range lanes {
			q[c] = math.Float32frombits(uint32(p[2*c])<<16 | uint32(p[2*c+1])<<24)
		}
	}
	for i := len(whole) * lanes; i < len(src)/2; i++ {
		dst[i] = math.Float32frombits(uint32(src[2*i])<<16 | uint32(src[2*i+1])<<24)
	}
}

func (s *Scratch) decodeQ8(dst, scales []float32, blocks []q8Block) {
	out := doubleGroups(dst)[:len(blocks)]
	for i := range blocks {
		p, q := &blocks[i], &out[i]
		for c := range lanes {
			q[0][c] = s.int8s[p[2+c]]
			q[1][c] = s.int8s[p[2+lanes+c]]
		}
		scale := fromF16(uint16(p[0]) | uint16(p[1])<<8)
		scales[2*i], scales[2*i+1] = scale, scale
	}
}

func (s *Scratch) decodeSplit(dst, scales []float32, blocks []mxfp4Block) {
	out := doubleGroups(dst)[:len(blocks)]
	for i := range blocks {
		p, q := &blocks[i], &out[i]
		for c := range lanes {
			v := &s.e2m1[p[1+c]]
			q[0][c], q[1][c] = v[0], v[1]
		}
		scale := s.e8m0[p[0]]
		scales[2*i], scales[2*i+1] = scale, scale
	}
}

func (s *Scratch) decodeInterleaved(dst, scales []float32, blocks []mxfp4Block) {
	out := doubleGroups(dst)[:len(blocks)]
	for i := range blocks {
		p := &blocks[i]
		s.decodePairs(&out[i], (*planeBlock)(p[1:]))
		scale := s.e8m0[p[0]]
		scales[2*i], scales[2*i+1] = scale, scale
	}
}

func (s *Scratch) decodePlanes(dst, scales []float32, blocks []planeBlock, bytes []byte) {
	out := doubleGroups(dst)[:len(blocks)]
	for i := range blocks {
		s.decodePairs(&out[i], &blocks[i])
		scale := s.e8m0[bytes[i]]
		scales[2*i], scales[2*i+1] = scale, scale
	}
}

// decodePairs decodes the codes of a block in which byte b holds elements 2b and 2b+1.
func (s *Scratch) decodePairs(dst *doubleGroup, codes *planeBlock) {
	for c := range lanes / 2 {
		v, w := &s.e2m1[codes[c]], &s.e2m1[codes[c+lanes/2]]
		dst[0][2*c], dst[0][2*c+1] = v[0], v[1]
		dst[1][2*c], dst[1][2*c+1] = w[0], w[1]
	}
}

package kit

import (
	"encoding/binary"
	"math/bits"
)

// blake2b512 is BLAKE2b without a key and with 64 bytes of output (RFC 7693), which minisign signs instead of the file. The
// standard library has no such function, and one hash is no reason for a dependency.
func blake2b512(data []byte) [64]byte {
	iv := [8]uint64{ // those of SHA-512, section 2.6
		0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
		0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
	}
	const block = 128
	h := iv
	h[0] ^= 0x01010040 // fan-out 1, depth 1, no key, 64 bytes
	var done uint64    // bytes; files have fewer than 2^64
	for len(data) > block {
		compress(&h, &iv, data[:block], done+block, false)
		data, done = data[block:], done+block
	}
	var last [block]byte
	copy(last[:], data)
	compress(&h, &iv, last[:], done+uint64(len(data)), true)
	var sum [64]byte
	for i, word := range h {
		binary.LittleEndian.PutUint64(sum[8*i:], word)
	}
	return sum
}

// sigma is the order of message words in each round, section 2.7; rounds 10 and 11 are like 0 and 1.
func sigma(round int) string {
	return [10]string{
		"0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
		"2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
	}[round%10]
}

func compress(h, iv *[8]uint64, block []byte, done uint64, last bool) {
	var m [16]uint64
	for i := range m {
		m[i] = binary.LittleEndian.Uint64(block[8*i:])
	}
	var v [16]uint64
	copy(v[:8], h[:])
	copy(v[8:], iv[:])
	v[12] ^= done
	if last {
		v[14] = ^v[14]
	}
	mix := func(a, b, c, d int, x, y uint64) { // G of section 3.1
		v[a] += v[b] + x
		v[d] = bits.RotateLeft64(v[d]^v[a], -32)
		v[c] += v[d]
		v[b] = bits.RotateLeft64(v[b]^v[c], -24)
		v[a] += v[b] + y
		v[d] = bits.RotateLeft64(v[d]^v[a], -16)
		v[c] += v[d]
		v[b] = bits.RotateLeft64(v[b]^v[c], -63)
	}
	for round := range 12 {
		s := sigma(round)
		word := func(i int) uint64 {
			c := s[i]
			if c >= 'a' {
				return m[c-'a'+10]
			}
			return m[c-'0']
		}
		for i := range 4 {
			mix(i, i+4, i+8, i+12, word(2*i), word(2*i+1))
		}
		for i := range 4 {
			mix(i, (i+1)%4+4, (i+2)%4+8, (i+3)%4+12, word(8+2*i), word(9+2*i))
		}
	}
	for i := range h {
		h[i] ^= v[i] ^ v[i+8]
	}
}

package cpu

import "unsafe"

// The types below let loops run over whole groups or blocks, so that the compiler checks bounds once for each of them.
// The casts are sound: an array has the same layout as that many consecutive elements, the result covers no more than
// the slice did, and neither type contains pointers.
type (
	group       [lanes]float32
	halfGroup   [lanes * 2]byte // 16 elements of 2 bytes
	planeBlock  [16]byte        // 32 elements of MXFP4Planes
	mxfp4Block  [17]byte        // 32 elements of MXFP4 and MXFP4Interleaved
	q8Block     [34]byte        // 32 elements of Q8_0
	doubleGroup [2]group        // the activations that meet a block
)

func groups(x []float32) []group {
	return unsafe.Slice((*group)(unsafe.Pointer(unsafe.SliceData(x))), len(x)/len(group{}))
}

func doubleGroups(x []float32) []doubleGroup {
	return unsafe.Slice((*doubleGroup)(unsafe.Pointer(unsafe.SliceData(x))), len(x)/(2*lanes))
}

func halfGroups(b []byte) []halfGroup {
	return unsafe.Slice((*halfGroup)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/len(halfGroup{}))
}

func planeBlocks(b []byte) []planeBlock {
	return unsafe.Slice((*planeBlock)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/len(planeBlock{}))
}

func mxfp4Blocks(b []byte) []mxfp4Block {
	return unsafe.Slice((*mxfp4Block)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/len(mxfp4Block{}))
}

func q8Blocks(b []byte) []q8Block {
	return unsafe.Slice((*q8Block)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/len(q8Block{}))
}

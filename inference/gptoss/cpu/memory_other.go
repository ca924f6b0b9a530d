//go:build !linux

package cpu

// machineMemory returns a size that today's machines have.
func machineMemory() int64 { return assumedMemory }

//go:build unix && !linux

package chrome

import "syscall"

// endWithUs has nothing to do: Chromium ends when its pipe does.
func endWithUs(*syscall.SysProcAttr) {}

// groupMemory is not known here.
func groupMemory(int) int64 { return 0 }

func smallShm() bool { return false }

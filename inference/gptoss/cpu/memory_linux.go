package cpu

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// machineMemory returns how many bytes of memory this process may use: the machine's, or its control group's limit.
func machineMemory() int64 {
	total := assumedMemory
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		total = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	if limit, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(limit)), 10, 64); err == nil {
			total = min(total, n)
		}
	}
	return total
}

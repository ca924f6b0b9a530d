package chrome

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// endWithUs has the kernel kill Chromium when we are killed.
func endWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// groupMemory is what the processes of a group have for themselves, in bytes: resident, without what is shared.
func groupMemory(pgid int) int64 {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	var pages int64
	for _, e := range list {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		// The name, in parentheses, may hold anything; behind it come state, parent and group.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 3 || fields[2] != strconv.Itoa(pgid) {
			continue
		}
		statm, _ := os.ReadFile("/proc/" + e.Name() + "/statm")
		if f := strings.Fields(string(statm)); len(f) > 2 {
			resident, _ := strconv.ParseInt(f[1], 10, 64)
			shared, _ := strconv.ParseInt(f[2], 10, 64)
			pages += resident - shared
		}
	}
	return pages * int64(os.Getpagesize())
}

// smallShm reports whether /dev/shm is too small for Chromium, as in containers, where it is 64 MiB by default.
func smallShm() bool {
	var s syscall.Statfs_t
	return syscall.Statfs("/dev/shm", &s) != nil || uint64(s.Bsize)*s.Blocks < 512<<20 || syscall.Access("/dev/shm", 2) != nil
}

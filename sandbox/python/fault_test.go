package python_test

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"chorale/sandbox/python"
)

// hammer collects garbage all the time, until the test ends: a guest that could not be stopped for a collection would stop
// this process for ever.
func hammer(t *testing.T) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
}

// inTime runs a cell that takes no time, again when a busy machine let it meet the short limits of its session.
func inTime(t *testing.T, s *python.Session, code string) python.Result {
	t.Helper()
	r := exec(t, s, code)
	for range 20 {
		if r.Status != python.Killed && r.Status != python.Interrupted {
			break
		}
		r = exec(t, s, code)
	}
	return r
}

// TestFaults runs what hostile and careless code does. After each, the next cell must work: with what was there before, or
// in a pristine interpreter where the old one was lost.
func TestFaults(t *testing.T) {
	t.Parallel()
	hammer(t)
	p := newPool(t, python.PoolOptions{Slots: 3})
	type statuses []python.Status
	const (
		quick = 100 * time.Millisecond
		long  = 20 * time.Second // far away
	)
	survives := func(soft time.Duration) python.Limits {
		return python.Limits{Soft: soft, Wall: long, Memory: 256 << 20}
	}
	killed := python.Limits{Soft: quick, Wall: 2 * quick, Memory: 256 << 20}
	var (
		interrupted = statuses{python.Interrupted}
		dies        = statuses{python.Killed}
		failed      = statuses{python.Error}
		ok          = statuses{python.OK}
		noMemory    = statuses{python.OutOfMemory}
	)
	for _, c := range []struct {
		name, code string
		limits     python.Limits
		want       statuses
		says       string // part of the output
		lost       bool
	}{
		{"endless loop", "while True: pass", survives(quick), interrupted, "KeyboardInterrupt", false},
		{"list bomb", "l = []\nwhile True: l.append('x' * 1000)", survives(quick), statuses{python.Interrupted, python.OutOfMemory}, "", false},
		{"catastrophic regular expression", "import re; re.match(r'(a+)+$', 'a' * 40 + 'b')", survives(quick), interrupted, "KeyboardInterrupt", false},
		{"huge power", "7 ** 10 ** 8", survives(quick), interrupted, "KeyboardInterrupt", false},
		{"print flood", "while True: print('x' * 1000)", survives(quick), interrupted, "bytes of output cut", false},
		{"sleep", "import time; time.sleep(3600)", survives(quick), interrupted, "KeyboardInterrupt", false},
		{"sleep of asyncio", "import asyncio; await asyncio.sleep(3600)", survives(quick), interrupted, "", false},
		{"interrupt that is caught", "try:\n    while True: pass\nexcept KeyboardInterrupt: print('tidied up')", survives(quick), ok, "tidied up", false},

		{"loop that catches everything", "while True:\n    try:\n        while True: pass\n    except BaseException: pass", killed, dies, "", true},
		{"loop in C", "sum(range(10 ** 12))", killed, dies, "", true},
		{"sleep that catches everything", "import time\nwhile True:\n    try: time.sleep(3600)\n    except BaseException: pass", killed, dies, "", true},
		{"handler of the interrupt removed", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", killed, dies, "", true},
		{"finalizer that never ends", "class A:\n    def __del__(self):\n        while True:\n            try:\n                while True: pass\n            except BaseException: pass\nA();", killed, dies, "", true},

		{"string longer than memory", "'a' * 10 ** 10", survives(long), statuses{python.Error, python.OutOfMemory}, "Error", false},
		{"string of a gigabyte", "'a' * 10 ** 9", survives(long), noMemory, "MemoryError", false},
		{"bytearray bomb, caught", "l = []\ntry:\n    while True: l.append(bytearray(1_000_000))\nexcept MemoryError:\n    n = len(l); l = None\n    print('stopped', 100 < n < 256)", survives(long), ok, "stopped True", false},
		{"huge integer to text", "str(10 ** 10_000)", survives(long), failed, "Exceeds the limit", false},
		{"huge integer", "(1 << 10_000_000).bit_length()", survives(long), ok, "10000001", false},
		{"recursion", "def f(n): return f(n + 1)\nf(0)", survives(long), failed, "RecursionError", false},
		{"nested repr", "l = []\nfor i in range(100_000): l = [l]\nrepr(l)", survives(long), failed, "RecursionError", false},
		{"attribute recursion", "class A:\n    def __getattr__(s, n): return getattr(s, n + 'x')\nA().q", survives(long), failed, "RecursionError", false},
		{"nested parentheses", "eval('(' * 5000 + ')' * 5000)", survives(long), statuses{python.Error, python.OutOfMemory}, "Error", false},
		{"deep JSON", "import json; json.loads('[' * 100_000)", survives(long), failed, "RecursionError", false},
		{"deep syntax tree", "compile('-' * 100_000 + '1', 'x', 'eval')", survives(long), statuses{python.Error, python.OutOfMemory}, "Error", false},
		{"deep pickle", "import pickle\nl = []\nfor i in range(100_000): l = [l]\npickle.dumps(l)", survives(long), failed, "RecursionError", false},

		{"shell", "import os; os.system('id')", survives(long), failed, "Error", false},
		{"program", "import subprocess; subprocess.run(['id'])", survives(long), failed, "Error", false},
		{"fork", "import os; os.fork()", survives(long), failed, "Error", false},
		{"exec", "import os; os.execv('/bin/sh', ['sh'])", survives(long), failed, "Error", false},
		{"pipe", "import os; os.pipe()", survives(long), failed, "Error", false},
		{"processes", "import multiprocessing as m; m.Pool(2)", survives(long), failed, "Error", false},
		{"thread", "import threading; threading.Thread(target=print).start()", survives(long), failed, "can't start new thread", false},
		{"thread pool", "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor() as e: list(e.map(abs, [-1]))", survives(long), failed, "can't start new thread", false},
		{"file of the host", "open('/etc/passwd').read()", survives(long), failed, "FileNotFoundError", false},
		{"way out of a mount", "open('/lib/../../etc/passwd').read()", survives(long), failed, "Error", false},
		{"way out by many dots", "open('../../../../../../etc/passwd').read()", survives(long), failed, "Error", false},
		{"symbolic link", "import os; os.symlink('/etc/passwd', '/tmp/p')", survives(long), failed, "Error", false},
		{"hard link", "import os; os.link('/lib/python3.13/os.pyc', '/tmp/p')", survives(long), failed, "Error", false},
		{"proc", "import os; print(os.path.exists('/proc'), os.path.exists('/proc/self/environ'), os.path.exists('/dev'))", survives(long), ok, "False False False", false},
		{"library is read-only", "open('/lib/python3.13/os.pyc', 'wb')", survives(long), failed, "Error", false},
		{"library cannot be removed", "import os; os.remove('/lib/python3.13/os.pyc')", survives(long), failed, "Error", false},
		{"library cannot be renamed", "import os; os.rename('/lib', '/l')", survives(long), failed, "Error", false},
		{"socket", "import socket; socket.socket().connect(('127.0.0.1', 80))", survives(long), failed, "Error", false},
		{"URL", "import urllib.request; urllib.request.urlopen('http://127.0.0.1/')", survives(long), failed, "Error", false},
		{"raw socket", "import _socket; _socket.socket(fileno=0)", survives(long), failed, "Error", false},
		{"input", "input('? ')", survives(long), failed, "EOFError", false},
		{"environment", "import os; print(dict(os.environ), os.getpid() < 100)", survives(long), ok, "{} True", false},
		{"descriptors", "import os\nfor i in range(3, 20):\n    try: os.write(i, b'x')\n    except OSError: pass\n    else: print('wrote to', i)\nprint('end')", survives(long), ok, "end", false},
		{"many open files", "f = []\nwhile True: f.append(open('/tmp/f%d' % len(f), 'w'))", survives(long), failed, "OSError", false},

		{"exit of the process", "import os; os._exit(7)", survives(long), statuses{python.Exit}, "", true},
		{"abort", "import os; os.abort()", survives(long), statuses{python.Crashed, python.Exit}, "", true},
		{"null pointer", "import faulthandler; faulthandler._sigsegv()", survives(long), statuses{python.Crashed, python.Exit, python.OK}, "", true},
		{"bytecode of nothing", "c = (lambda: 0).__code__.replace(co_code=bytes([255] * 64))\nexec(c)", survives(long), statuses{python.Error, python.Crashed}, "", true},
		{"bytecode beyond the constants", "import opcode\nop = opcode.opmap['LOAD_CONST']\nc = (lambda: 0).__code__.replace(co_code=bytes([op, 255] * 8))\nexec(c)", survives(long), statuses{python.Error, python.Crashed}, "", true},
		{"bytecode that underflows the stack", "import opcode\nop = opcode.opmap['POP_TOP']\nc = (lambda: 0).__code__.replace(co_code=bytes([op, 0] * 20_000))\nexec(c)", survives(long), statuses{python.Error, python.Crashed, python.Exit}, "", true},
		{"pickle that calls", "import pickle\nclass A:\n    def __reduce__(self): return (eval, ('6 * 7',))\nprint(pickle.loads(pickle.dumps(A())))", survives(long), ok, "42", false},
		{"closed streams", "import sys, os\nsys.stdout.close(); sys.stderr.close(); os.close(1); os.close(2)", survives(long), statuses{python.OK, python.Error}, "", true},
		{"builtins removed", "import builtins\nfor n in list(vars(builtins)):\n    if n not in ('list', 'vars'): delattr(builtins, n)", survives(long), statuses{python.OK, python.Error}, "", false},
		{"modules removed", "import sys; sys.modules.clear()", survives(long), statuses{python.OK, python.Error}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := acquire(t, p, c.limits)
			inTime(t, s, "kept = 42")
			r := exec(t, s, c.code)
			if !slices.Contains(c.want, r.Status) || !strings.Contains(r.Output, c.says) || r.Lost && !c.lost {
				t.Errorf("%v, lost: %v, output %.600q, want %v, lost: %v, %q", r.Status, r.Lost, r.Output, c.want, c.lost, c.says)
			}
			want := "42\n"
			if r.Lost {
				want = "NameError: name 'kept' is not defined"
			}
			if r := inTime(t, s, "kept"); c.name != "modules removed" && !strings.Contains(r.Output, want) {
				t.Errorf("afterwards: %v %.600q, want %q", r.Status, r.Output, want)
			}
		})
	}
	if _, err := os.Stat("/tmp/p"); err == nil {
		t.Error("a file of the host was made")
	}
}

func TestDiskQuota(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{Disk: 1 << 20, Files: 20})
	r := exec(t, s, "open('big', 'wb').write(b'x' * 2_000_000)")
	if r.Status != python.Error || r.Exception != "OSError" || r.Lost {
		t.Errorf("a large file: %+v", r)
	}
	r = exec(t, s, "import os; os.remove('big')\nfor i in range(100): open(f'f{i}', 'w').close()")
	if r.Status != python.Error || r.Exception != "OSError" || r.Lost {
		t.Errorf("many files: %+v", r)
	}
	if err := s.WriteFile("/mnt/data/big", make([]byte, 2<<20)); err == nil || !strings.Contains(err.Error(), "at their limit") {
		t.Errorf("a large file of the host: %v", err)
	}
	if list, err := s.List(); err != nil || len(list) > 20 {
		t.Errorf("%d files, %v", len(list), err)
	}
}

func TestFuelAndUsage(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 1})
	s := acquire(t, p, python.Limits{})
	small := exec(t, s, "1")
	large := exec(t, s, "b = bytearray(100_000_000)\nfor i in range(10_000): pass")
	if small.Fuel <= 0 || large.Fuel < small.Fuel+10_000 || large.Wall <= 0 {
		t.Errorf("fuel %d and %d, wall %v", small.Fuel, large.Fuel, large.Wall)
	}
	if large.PeakMemory < 100_000_000 || small.PeakMemory >= 100_000_000 {
		t.Errorf("peak memory %d and %d", small.PeakMemory, large.PeakMemory)
	}
	if used := p.Stats().Memory; used < 100_000_000 {
		t.Errorf("the pool counts %d bytes", used)
	}
}

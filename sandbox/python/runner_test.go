package python_test

import (
	"strings"
	"testing"
	"time"

	"chorale/sandbox/python"
)

// A cellCase is a cell that may follow others in its session, and what must come of it.
type cellCase struct {
	name, code string
	status     python.Status
	output     string // exact, or where it begins with "…" the end of it
}

func (c cellCase) check(t *testing.T, r python.Result) {
	t.Helper()
	end, isEnd := strings.CutPrefix(c.output, "…")
	if r.Status != c.status || r.Lost || isEnd && !strings.HasSuffix(r.Output, end) || !isEnd && r.Output != c.output {
		t.Errorf("%s\n%s\ngot %v, lost %v:\n%s\nwant %v:\n%s", c.name, c.code, r.Status, r.Lost, r.Output, c.status, c.output)
	}
}

func runCells(t *testing.T, cases []cellCase) {
	t.Helper()
	s := acquire(t, newPool(t, python.PoolOptions{Slots: 1}), python.Limits{})
	for _, c := range cases {
		c.check(t, exec(t, s, c.code))
	}
}

func TestCellsAreANotebook(t *testing.T) {
	t.Parallel()
	runCells(t, []cellCase{
		{"last value is kept", "6 * 7", python.OK, "42\n"},
		{"and has a name", "_ + 1", python.OK, "43\n"},
		{"None is not shown", "None", python.OK, ""},
		{"nor what ends in a semicolon", "5;", python.OK, ""},
		{"display in the middle", "display('a', 1)\n2", python.OK, "'a'\n1\n2\n"},
		{"await at the top", "import asyncio\nasync def later(x):\n    await asyncio.sleep(0.001)\n    return x\nawait later(3)", python.OK, "3\n"},
		{"tasks", "await asyncio.gather(later(1), later(2))", python.OK, "[1, 2]\n"},
		{"a loop of one's own", "asyncio.run(later(4))", python.OK, "4\n"},
		{"executors run at once", "await asyncio.to_thread(len, 'abc')", python.OK, "3\n"},
		{"waiting for nothing", "await asyncio.get_running_loop().create_future()", python.Error,
			"RuntimeError: deadlock: every task waits for something that nothing can bring about any more\n"},
		{"and the loop goes on", "await later(5)", python.OK, "5\n"},
		{"exception in a coroutine", "async def bad():\n    raise KeyError('k')\nawait bad()", python.Error,
			"Traceback (most recent call last):\n  File \"<cell 12>\", line 3, in <module>\n    await bad()\n" +
				"  File \"<cell 12>\", line 2, in bad\n    raise KeyError('k')\nKeyError: 'k'\n"},
		{"syntax error", "x = = 1", python.Error,
			"  File \"<cell 13>\", line 1\n    x = = 1\n        ^\nSyntaxError: invalid syntax\n"},
		{"a function of an earlier cell keeps its lines", "bad.__code__.co_filename", python.OK, "'<cell 12>'\n"},
		{"source of a function", "import inspect\nprint(inspect.getsource(bad))", python.OK,
			"async def bad():\n    raise KeyError('k')\n\n"},
		{"classes can be pickled", "import pickle\nclass P: pass\ntype(pickle.loads(pickle.dumps(P())))", python.OK,
			"<class '__main__.P'>\n"},
		{"working directory", "import os\nos.getcwd()", python.OK, "'/mnt/data'\n"},
		{"import of one's own file", "open('mine.py', 'w').write('x = 8')\nimport mine\nmine.x", python.OK, "8\n"},
		{"exit with a message", "import sys\nsys.exit('bye')", python.Exit, "bye\n"},
		{"exit as a builtin", "exit()", python.Exit, ""},
		{"endless recursion is told briefly", "def f():\n    return f()\nf()", python.Error,
			"… more times]\nRecursionError: maximum recursion depth exceeded\n"},
		{"group of exceptions", "raise ExceptionGroup('g', [ValueError(1)])", python.Error,
			"…    | ValueError: 1\n    +------------------------------------\n"},
		{"message that cannot be made", "class E(Exception):\n    def __str__(self): 1/0\nraise E", python.Error,
			"…E: <exception str() failed>\n"},
		{"value whose repr fails", "class R:\n    def __repr__(self): raise OSError('no')\nR()", python.Error, "…OSError: no\n"},
		{"platform", "import platform, sys\nplatform.libc_ver(), sys.platform, sys.executable", python.OK, "(('', ''), 'wasi', '')\n"},
		{"help", "help(len)", python.OK, "…    Return the number of items in a container.\n\n"},
	})
}

// TestCellCannotBreakTheNext breaks things as careless code does.
func TestCellCannotBreakTheNext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, code string }{
		{"builtins", "import builtins\ndel builtins.print, builtins.len\nbuiltins.str = builtins.isinstance = None"},
		{"namespace", "globals()['__builtins__'] = {}"},
		{"namespace emptied", "globals().clear()"},
		{"closed stream", "import sys\nsys.stdout.close()"},
		{"detached stream", "import sys\nsys.stdout.detach(); sys.stderr.detach()\nNone"},
		{"streams replaced", "import sys, io\nsys.stdout = sys.stderr = io.StringIO()"},
		{"no streams", "import sys\nsys.stdout = sys.stderr = sys.stdin = None"},
		{"modules", "import sys\ndel sys.modules['__main__'], sys.modules['sys'], sys.modules['traceback'], sys.modules['builtins']"},
		{"all modules", "import sys\nsys.modules.clear()"},
		{"json", "import json\njson.loads = json.dumps = json.JSONEncoder.iterencode = json.JSONDecoder.decode = None"},
		{"recursion limit", "import sys\nsys.setrecursionlimit(30)"},
		{"signal handler", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nNone"},
		{"tracing", "import sys\nsys.settrace(lambda *a: None); sys.setprofile(lambda *a: None)"},
		{"failing in all ways", "def f():\n    try:\n        f()\n    finally:\n        f()\ndef g(n): return g(n + 1)\ntry: g(0)\nexcept: pass"},
		{"working directory removed", "import os\nos.mkdir('d'); os.chdir('d'); os.rmdir('../d')"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := acquire(t, newPool(t, python.PoolOptions{Slots: 1}), python.Limits{})
			exec(t, s, "import sys")
			if r := exec(t, s, c.code); r.Status != python.OK || r.Lost {
				t.Fatalf("the cell itself: %+v", r)
			}
			cellCase{"next", "print(len('ab'))\nstr(3)", python.OK, "2\n'3'\n"}.check(t, exec(t, s, "print(len('ab'))\nstr(3)"))
			cellCase{"error", "1/0", python.Error, "…ZeroDivisionError: division by zero\n"}.check(t, exec(t, s, "1/0"))
		})
	}
}

// TestWhatIsMissingSaysSo checks that each limit of the sandbox is told in words.
func TestWhatIsMissingSaysSo(t *testing.T) {
	t.Parallel()
	const (
		threads   = "RuntimeError: can't start new thread: this sandbox has one thread; do the work in turn, or with asyncio\n"
		processes = "OSError: [Errno 58] no processes can be started in this sandbox: there is no shell, no fork and no other program\n"
		network   = "OSError: [Errno 58] there is no network in this sandbox\n"
	)
	runCells(t, []cellCase{
		{"thread", "import threading\nthreading.Thread(target=print).start()", python.Error, "…" + threads},
		{"thread pool", "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor().submit(print)", python.Error, "…" + threads},
		{"subprocess", "import subprocess\nsubprocess.run(['ls'])", python.Error, "…" + processes},
		{"os.system", "import os\nos.system('ls')", python.Error, "…" + processes},
		{"multiprocessing", "import multiprocessing\nmultiprocessing.Pool(2)", python.Error, "…" + processes},
		{"socket", "import socket\nsocket.socket()", python.Error, "…" + network},
		{"name lookup", "socket.getaddrinfo('localhost', 80)", python.Error, "…" + network},
		{"connection", "import http.client\nhttp.client.HTTPConnection('localhost').request('GET', '/')", python.Error, "…" + network},
		{"URL", "import urllib.request\nurllib.request.urlopen('http://localhost')", python.Error,
			"…urllib.error.URLError: <urlopen error [Errno 58] there is no network in this sandbox>\n"},
		{"shared library", "import ctypes\nctypes.CDLL('libc.so.6')", python.Error,
			"…OSError: [Errno 58] there are no shared libraries in this sandbox\n"},
		{"shell", "!ls", python.Error,
			"…SyntaxError: invalid syntax\nLines that begin with ! are for a shell, and this sandbox has none: write Python instead.\n"},
		{"magic", "x = 1\n%timeit x", python.Error,
			"…SyntaxError: invalid syntax\nLines that begin with % are IPython's, and this is plain Python: leave them out.\n"},
		{"not a magic", "x = '''\n%d\n''' % 5\nx", python.OK, "'\\n5\\n'\n"},
	})
	s := acquire(t, newPool(t, python.PoolOptions{Slots: 1}), python.Limits{})
	for _, code := range []string{"import no_such_package", "!pip install no_such_package", "%pip install x"} {
		r := exec(t, s, code)
		if r.Status != python.Error || !strings.Contains(r.Output, "Nothing can be installed in this sandbox.") ||
			!strings.Contains(r.Output, " sympy,") {
			t.Errorf("%s: %v %s", code, r.Status, r.Output)
		}
	}
}

// TestPackagesWork uses each package a little: what they import in the depths must be there.
func TestPackagesWork(t *testing.T) {
	t.Parallel()
	runCells(t, []cellCase{
		{"sympy", "import sympy\nx = sympy.Symbol('x')\nsympy.integrate(x**2), sympy.solve(x**2 - 2), sympy.N(sympy.pi, 30)", python.OK,
			"(x**3/3, [-sqrt(2), sqrt(2)], 3.14159265358979323846264338328)\n"},
		{"mpmath", "import mpmath\nmpmath.quad(mpmath.exp, [0, 1])", python.OK, "mpf('1.7182818284590453')\n"},
		{"networkx", "import networkx as nx\nnx.shortest_path(nx.path_graph(4), 0, 3), nx.is_planar(nx.complete_graph(5))", python.OK,
			"([0, 1, 2, 3], False)\n"},
		{"dateutil", "from dateutil import parser, tz\nparser.parse('3 May 2024 10:00').replace(tzinfo=tz.gettz('Europe/Berlin')).isoformat()",
			python.OK, "'2024-05-03T10:00:00+02:00'\n"},
		{"tabulate", "import tabulate\nprint(tabulate.tabulate([[1, 2]], ['a', 'b']))", python.OK, "  a    b\n---  ---\n  1    2\n"},
		{"yaml", "import yaml\nyaml.safe_load('a: [1, x]'), yaml.dump({'b': None})", python.OK, "({'a': [1, 'x']}, 'b: null\\n')\n"},
		{"jinja2", "import jinja2\njinja2.Template('{{ x|e }}').render(x='<')", python.OK, "'&lt;'\n"},
		{"bs4", "import bs4\nbs4.BeautifulSoup('<p class=c>x</p>', 'html.parser').select('p.c')[0].text", python.OK, "'x'\n"},
		{"attrs", "import attrs\n@attrs.define\nclass A:\n    x: int\nA(1)", python.OK, "A(x=1)\n"},
		{"sortedcontainers", "from sortedcontainers import SortedDict\nSortedDict(b=1, a=2)", python.OK, "SortedDict({'a': 2, 'b': 1})\n"},
		{"more_itertools", "import more_itertools\nlist(more_itertools.chunked('abc', 2))", python.OK, "[['a', 'b'], ['c']]\n"},
		{"toolz", "import toolz\ntoolz.groupby(len, ['a', 'bb', 'c'])", python.OK, "{1: ['a', 'c'], 2: ['bb']}\n"},
		{"pyparsing", "import pyparsing as pp\npp.Word(pp.nums).parse_string('12x').as_list()", python.OK, "['12']\n"},
		{"openpyxl", "import openpyxl\nw = openpyxl.Workbook(); w.active['B2'] = 3; w.save('x.xlsx')\n" +
			"openpyxl.load_workbook('x.xlsx').active['B2'].value", python.OK, "3\n"},
		{"pypdf", "import pypdf\nw = pypdf.PdfWriter(); w.add_blank_page(72, 72); w.write('x.pdf')\nlen(pypdf.PdfReader('x.pdf').pages)",
			python.OK, "1\n"},
		{"time zones", "import zoneinfo, datetime\ndatetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo('America/New_York')).isoformat()",
			python.OK, "'2024-07-01T00:00:00-04:00'\n"},
		{"versions", "import importlib.metadata\nimportlib.metadata.version('sympy')", python.OK, "'1.14.0'\n"},
	})
}

// TestInterruptLeavesTheLoop checks that the event loop of top-level await goes on after a cell that ran out of time in it.
func TestInterruptLeavesTheLoop(t *testing.T) {
	t.Parallel()
	s := acquire(t, newPool(t, python.PoolOptions{Slots: 1}), python.Limits{Soft: 200 * time.Millisecond, Wall: 20 * time.Second})
	exec(t, s, "import asyncio\nkept = 1")
	for _, code := range []string{
		"await asyncio.sleep(3600)",
		"async def busy():\n    while True: await asyncio.sleep(0)\nawait busy()",
		"async def stuck():\n    while True: pass\nawait asyncio.gather(stuck(), stuck())",
		"asyncio.run(asyncio.sleep(3600))",
	} {
		r := exec(t, s, code)
		if r.Status != python.Interrupted || r.Lost {
			t.Fatalf("%s: %+v", code, r)
		}
		cellCase{"the next await after " + code, "", python.OK, "(1, 2)\n"}.check(t, exec(t, s, "kept, await asyncio.sleep(0.001, 2)"))
	}
}

// TestGeneratorsOfTheImageAreSeeded checks that a session's random numbers are its own, though random was imported, and a
// generator made, before the image was taken.
func TestGeneratorsOfTheImageAreSeeded(t *testing.T) {
	t.Parallel()
	p := newPool(t, python.PoolOptions{Slots: 2})
	seen, ofPackages := map[string]bool{}, map[string]bool{}
	for range 8 {
		s := acquire(t, p, python.Limits{})
		r := exec(t, s, "import _chorale.cells as c, sympy.core.random as s\n[g.random() for g in [*c.runner.generators, s.rng]]")
		if r.Status != python.OK || ofPackages[r.Value] {
			t.Fatalf("%v %q: an earlier session had the same numbers of packages", r.Status, r.Value)
		}
		ofPackages[r.Value] = true
		r = exec(t, s, "import random\nrandom.random()")
		if r.Status != python.OK || seen[r.Value] {
			t.Fatalf("%v %q: an earlier session had the same number", r.Status, r.Value)
		}
		seen[r.Value] = true
		exec(t, s, "random.seed(1)")
		if r := exec(t, s, "random.random()"); r.Value != "0.13436424411240122" {
			t.Errorf("a later cell does not go on from the cell's own seed: %s", r.Value)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPicturesBecomeImages(t *testing.T) {
	t.Parallel()
	s := acquire(t, newPool(t, python.PoolOptions{Slots: 1}), python.Limits{})
	r := exec(t, s, "class P:\n    def _repr_png_(self): return b'\\x89PNG'\n    def __repr__(self): return 'P'\n"+
		"class S(P):\n    _repr_png_ = None\n    def _repr_svg_(self): return '<svg/>'\ndisplay(P())\nS()")
	if r.Status != python.OK || r.Output != "P\nP\n" || len(r.Images) != 2 {
		t.Fatalf("%+v", r)
	}
	for i, want := range []struct{ mime, data string }{{"image/png", "\x89PNG"}, {"image/svg+xml", "<svg/>"}} {
		if got := r.Images[i]; got.MIME != want.mime || string(got.Data) != want.data {
			t.Errorf("image %d: %s %q, want %s %q", i, got.MIME, got.Data, want.mime, want.data)
		}
	}
	r = exec(t, s, "import _chorale\n_chorale.register_after_cell(lambda: [_chorale.save_image(b'x', 'image/png')])")
	if len(r.Images) != 1 || string(r.Images[0].Data) != "x" {
		t.Errorf("a hook's image: %+v", r)
	}
	if r = exec(t, s, "1/0"); r.Status != python.Error || len(r.Images) != 1 {
		t.Errorf("a hook's image after an error: %+v", r)
	}
}

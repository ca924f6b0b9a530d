"""Runs cells: what a notebook's kernel does between source text and output."""

import _thread

from _chorale import missing

missing.refuse_threads()  # before anything imports threading

import ast
import asyncio
import builtins
import gc
import importlib
import inspect
import io
import json
import linecache
import os
import random
import signal
import sys
import traceback
import types

from _chorale import loop, program

# The traceback module imports these when it first shows a traceback; a cell may have taken them away by then.
import _colorize, tokenize, unicodedata  # noqa: E401, F401

DEFAULT_PATH = ["/lib/python3.13", "/lib/chorale", "/lib/site-packages"]
HOME = "/mnt/data"  # where a session's files are: the working directory, and the last place to import from
IMAGES = "/tmp/.figures"
CODES = {"ok": 0, "error": 1, "exit": 2}
MAX_VALUE = 64 << 10  # characters of a result's value and error message
OWN_FILES = __file__.rpartition("/")[0] + "/"

PARSE = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
COMPILE = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

# Representative cells: what they touch is touched before the image is taken, and no session pays for it.
WARM = [
    "1+1",
    "import math, json, re, datetime, collections, itertools, random, statistics\nprint(math.pi)",
    "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n[f(i) for i in range(10)]",
    "d = {str(i): [i, i / 3] for i in range(50)}\njson.loads(json.dumps(d)) == d",
    "class A:\n    def __init__(self, x):\n        self.x = x\nsorted((A(i) for i in range(9)), key=lambda a: -a.x)[0].x",
    "sum(x * x for x in range(1000)), f'{2**0.5:.3f}', re.findall(r'\\w+', 'a bc def')",
    "def g(x):\n    return 1 / x\ng(0)",
    "undefined_name",
    "x = = 1",
]


class ErrorStream(io.TextIOWrapper):
    """Standard error, which keeps its order with what was printed before."""

    def __init__(self, raw, before):
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self.before = before

    def write(self, text):
        flush(self.before)
        n = super().write(text)
        self.flush()
        return n


class Frames(traceback.StackSummary):
    """Formats equal frames once: those of an endless recursion would take seconds."""

    def format_frame_summary(self, frame, **options):
        key = frame.filename, frame.lineno, frame.name, frame.colno, frame.end_colno, frame.end_lineno
        known = self.__dict__.setdefault("known", {})
        if key not in known:
            known[key] = super().format_frame_summary(frame, **options)
        return known[key]


def show_exception(e, tb):
    """Returns the text of an exception and of those behind it, without the frames of this package."""
    shown = traceback.TracebackException(type(e), e, tb)
    todo = [shown]
    while todo:
        one = todo.pop()
        one.stack[:] = [frame for frame in one.stack if not frame.filename.startswith(OWN_FILES)]
        one.stack.__class__ = Frames
        todo += filter(None, [one.__cause__, one.__context__, *(one.exceptions or ())])
    return "".join(shown.format())


def flush(stream):
    try:
        stream.flush()
    except (OSError, ValueError):  # nobody is left to be told
        pass


def usable(stream):
    try:
        return not stream.closed
    except ValueError:  # detached
        return False


class Runner:
    """The interpreter's one runner: streams, the main namespace and what is known about the session."""

    def __init__(self):
        self.main = sys.modules["__main__"]
        self.interruptible = False
        self.warming = False
        self.cells = 0
        self.shown = 0  # images so far
        self.images = []  # of the running cell
        self.after = []  # hooks
        self.loop = None
        self.generators = []  # of packages, made before the image was taken
        self.pristine = True  # no cell of the session has imported anything
        self.unused_seed = None  # that the generators have not had yet
        self.files = set()  # file names of cells
        self.builtins = {}
        self.make_streams()

    def make_streams(self):
        def raw(number, mode):
            return io.FileIO(number, mode, closefd=False)

        self.stdin = io.TextIOWrapper(io.BufferedReader(raw(0, "r")), encoding="utf-8", errors="backslashreplace")
        self.set_output(io.BufferedWriter(raw(1, "w")), io.BufferedWriter(raw(2, "w")))

    def set_output(self, out, err):
        self.stdout = io.TextIOWrapper(out, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self.stderr = ErrorStream(err, self.stdout)

    def mend(self):
        """Puts right what our own code needs, builtins first: nothing works without them."""
        if builtins.__dict__ != self.builtins:
            builtins.__dict__.update(self.builtins)
        sys.settrace(None)
        sys.setprofile(None)
        if not (usable(self.stdin) and usable(self.stdout) and usable(self.stderr)):
            self.make_streams()

    def restore(self):
        """Puts right what an earlier cell may have broken."""
        self.mend()
        sys.stdin, sys.stdout, sys.stderr = self.stdin, self.stdout, self.stderr
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = self.stdin, self.stdout, self.stderr
        sys.modules["sys"], sys.modules["builtins"], sys.modules["__main__"] = sys, builtins, self.main
        self.main.__dict__["__builtins__"] = builtins
        self.main.__dict__["__name__"] = "__main__"
        if signal.getsignal(signal.SIGINT) is not interrupt:
            signal.signal(signal.SIGINT, interrupt)
        if sys.getrecursionlimit() < 500:
            sys.setrecursionlimit(1000)

    def seed(self, seed, code):
        """Gives this session random numbers of its own: all sessions come from the same image. Seeding takes as long as a small
        cell, so in a session that has run nothing yet it waits for a cell that can get at a generator, which takes an import."""
        if seed:  # the first cell of a session, also of one that goes on from a snapshot
            self.unused_seed = int(seed, 16)
        if self.unused_seed is None or self.pristine and "import" not in code:
            return
        reseed(self.unused_seed)
        for i, generator in enumerate(self.generators, 1):
            generator.seed(self.unused_seed + (i << 256))
        self.pristine, self.unused_seed = False, None

    def exec_cell(self, request):
        """Runs the cell of a request and returns its result, as dicts that stand for JSON."""
        code = request["code"]
        stateful = request.get("stateful", True)
        first = self.cells == 0
        self.cells += 1
        self.seed(request.get("seed"), code)
        if first and not self.warming:
            try:
                os.chdir(HOME)
            except OSError:
                pass  # a session without files
        filename = request.get("filename") or f"<cell {self.cells}>"
        self.files.add(filename)
        linecache.cache[filename] = (len(code), None, code.splitlines(True), filename)
        module = self.main
        if not stateful:
            module = sys.modules["__main__"] = types.ModuleType("__main__")
            module.__dict__["__builtins__"] = builtins
        self.images = []
        result = {"status": "ok", "exit_code": 0, "value": None, "error": None, "images": self.images}
        try:
            self.interruptible = True
            try:
                self.run(code, filename, module.__dict__, request.get("echo", True), result)
                self.call_hooks()
            finally:
                self.interruptible = False
                self.mend()
        except SystemExit as e:
            self.leave(e, result)
        except BaseException as e:
            self.interruptible = False
            self.fail(e, code, result)
        if result["status"] != "ok":
            try:
                self.call_hooks()
            except BaseException:  # the cell's own failure is the one to tell
                pass
        flush(self.stdout)
        flush(self.stderr)
        sys.modules["__main__"] = self.main
        return result

    def run(self, code, filename, namespace, echo, result):
        if echo and "\n" not in code and ";" not in code:
            # Mostly an expression: half the work of taking the last one out of a tree.
            try:
                expression = compile(code, filename, "eval", COMPILE, dont_inherit=True)
            except SyntaxError:
                pass  # not one, or one that is told about as a statement
            else:
                self.echo(expression, namespace, result)
                return
        tree = compile(code, filename, "exec", PARSE, dont_inherit=True)
        last = None
        if echo and tree.body and isinstance(tree.body[-1], ast.Expr) and not code.rstrip().endswith(";"):
            last = ast.Expression(tree.body.pop().value)
        if tree.body:
            self.evaluate(compile(tree, filename, "exec", COMPILE, dont_inherit=True), namespace)
        if last is not None:
            self.echo(compile(last, filename, "eval", COMPILE, dont_inherit=True), namespace, result)

    def echo(self, code, namespace, result):
        """Evaluates an expression and shows its value."""
        value = self.evaluate(code, namespace)
        if value is not None:
            namespace["_"] = value
            result["value"] = self.show(value)[:MAX_VALUE]

    def evaluate(self, code, namespace):
        value = eval(code, namespace)
        if not code.co_flags & inspect.CO_COROUTINE:
            return value
        if self.loop is None or self.loop.is_closed():
            self.loop = loop.Loop()
        try:
            return self.loop.run_until_complete(value)
        except (KeyboardInterrupt, SystemExit):
            # They are in the tasks too, and would come out again with the next await.
            loop.abandon(self.loop)
            self.loop = None
            raise

    def show(self, value):
        """Writes a value as a notebook shows it, and returns its repr. Values that are pictures are kept as images too."""
        text = repr(value)
        for method, mime in (("_repr_png_", "image/png"), ("_repr_svg_", "image/svg+xml")):
            draw = getattr(type(value), method, None)
            data = draw(value) if draw else None
            if data:
                self.images.append(self.save_image(data, mime))
                break
        self.stdout.write(text + "\n")
        return text

    def save_image(self, data, mime):
        self.shown += 1
        name = f"figure-{self.shown}.{'svg' if 'svg' in mime else mime.rpartition('/')[2]}"
        path = f"{IMAGES}/{name}"
        os.makedirs(IMAGES, exist_ok=True)
        with open(path, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        return {"name": name, "mime": mime, "path": path}

    def call_hooks(self):
        for hook in self.after:
            self.images.extend(hook() or ())

    def leave(self, e, result):
        """Ends a cell that called sys.exit, as the end of a program would."""
        code = e.code
        if code is None:
            code = 0
        elif not isinstance(code, int):
            try:
                self.stderr.write(f"{code}\n")
            except BaseException:
                pass
            code = 1
        result["status"], result["exit_code"] = "exit", code & 0xFF

    def fail(self, e, code, result):
        """Shows an exception as the interpreter would."""
        message = describe(e)
        result["status"] = "error"
        result["error"] = {"type": type(e).__name__, "message": message[:MAX_VALUE]}
        try:
            advice = missing.advice(e, code)
            if advice:
                e.add_note(advice)
            text = show_exception(e, self.trim(e.__traceback__))
        except BaseException:  # out of memory, or a __str__ that raises
            text = f"{type(e).__name__}: {message}\n"
        try:
            self.stderr.write(text)
        except BaseException:
            pass
        e.__traceback__ = None  # else the frames live until the next failure

    def trim(self, tb):
        """Returns the part of a traceback from the cell on, or None where nothing of a cell was running."""
        start = tb
        while start and start.tb_frame.f_code.co_filename not in self.files:
            start = start.tb_next
        return start

    def warm(self, cells):
        """Runs cells with their output thrown away, and forgets them."""
        self.warming = True
        kept = dict(self.main.__dict__)
        streams = self.stdout, self.stderr
        modules = set(linecache.cache)
        for _ in range(3):
            for code in cells:
                self.set_output(io.BufferedWriter(Nowhere()), io.BufferedWriter(Nowhere()))
                self.restore()
                self.exec_cell({"code": code})
                self.main.__dict__.clear()
                self.main.__dict__.update(kept)
        self.stdout, self.stderr = streams
        for name in set(linecache.cache) - modules:
            del linecache.cache[name]
        if self.loop:
            self.loop.close()
            self.loop = None
        self.files.clear()
        self.images = []
        self.cells = self.shown = 0
        self.warming = False
        self.restore()


class Nowhere(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        return len(data)


def describe(e):
    try:
        return str(e)
    except BaseException:
        return "<its message could not be made>"


def interrupt(signum, frame):
    """The handler of SIGINT, which the host raises when the time for a cell is up."""
    if runner.interruptible:
        raise KeyboardInterrupt("the time for this cell is up")


def leave(code=None):
    """Ends the cell."""
    raise SystemExit(code)


class Help:
    """Shows the documentation of an object: help(object)."""

    def __repr__(self):
        return "Type help(object) for its documentation."

    def __call__(self, *args):
        import pydoc

        if args:
            pydoc.help(*args)
        else:
            print(self)


def display(*values):
    """Shows values as a notebook does: pictures as images, everything else by its repr."""
    for value in values:
        runner.show(value)


def save_image(data, mime):
    """Stores a picture (bytes, or SVG text) and returns what register_after_cell's hooks return for it."""
    return runner.save_image(data, mime)


def register_after_cell(hook):
    """Has hook() called after every cell. It returns the images to show: a list of dicts with name, mime and path."""
    if hook not in runner.after:
        runner.after.append(hook)


def boot(text):
    """Prepares the interpreter for its sessions, and freezes what is there.

    The request is a JSON object with, all optional, path (the whole of sys.path), preload (modules to import) and warm
    (cells to run beforehand).
    """
    request = json.loads(text) if text else {}
    sys.path[:] = request.get("path") or DEFAULT_PATH
    sys.path.append(HOME)
    sys.argv = [""]
    sys.executable = sys._base_executable = ""  # there is none
    missing.refuse_rest()
    loop.install()
    builtins.display, builtins.help = display, Help()
    builtins.exit = builtins.quit = leave
    runner.builtins = dict(builtins.__dict__)
    runner.restore()
    for name in request.get("preload", ()):
        importlib.import_module(name)
    runner.builtins = dict(builtins.__dict__)
    runner.warm(request.get("warm", WARM))
    gc.collect()
    runner.generators = [o for o in gc.get_objects()
                         if isinstance(o, random.Random) and not isinstance(o, random.SystemRandom) and o is not random._inst]
    gc.collect()
    gc.freeze()


def exec_json(text):
    """Runs the cell of a request in JSON. Returns the code for py_exec and the result in JSON."""
    if runner.cells:  # nothing is broken before the first cell
        runner.restore()
    request, _ = scan(text, 0)
    result = program.execute(runner, request) if "program" in request else runner.exec_cell(request)
    return CODES[result["status"]], to_json(result).encode()


def to_json(value):
    """Returns what json.dumps would. A cell may have changed the json module."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{quote(k)}:{to_json(v)}" for k, v in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([to_json(v) for v in value]) + "]"
    return str(int(value))


scan = json.scanner.c_make_scanner(json.JSONDecoder())
quote = json.encoder.c_encode_basestring_ascii
reseed = random.seed  # the method of the module's own generator
runner = Runner()

"""Runs programs: what the interpreter's command line does with a file."""

import base64
import builtins
import linecache
import marshal
import os
import sys
import types

TEMP = "/tmp"  # the working directory


def execute(runner, request):
    """Compiles the program of a request, or runs it if it has been. Returns a result like that of a cell."""
    result = {"status": "ok", "exit_code": 0, "value": None, "error": None, "images": []}
    program = request["program"]
    if "code" in program:
        run(runner, request["seed"], program, result)
    else:
        translate(program, result)
    return result


def translate(program, result):
    file = program["file"]
    try:
        code = compile(program["source"], file, "exec", dont_inherit=True)
        result["value"] = base64.b64encode(marshal.dumps(code)).decode()
        return
    except SyntaxError as e:
        message = f"{file}:{e.lineno or 1}:{e.offset or 1}: {type(e).__name__}: {e.msg}"
    except BaseException as e:  # zero bytes, or nested too deep
        message = f"{file}: {type(e).__name__}: {e}"
    result["status"], result["error"] = "error", {"type": "SyntaxError", "message": message}


def run(runner, seed, program, result):
    file, source = program["file"], program["source"]
    runner.seed(seed, "import")
    try:
        os.chdir(TEMP)
    except OSError:
        pass  # there is none
    sys.argv[:] = program.get("argv", ())
    runner.files.add(file)
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=file)
    try:
        try:
            exec(marshal.loads(base64.b64decode(program["code"])), module.__dict__)
            if not sys.stdout.closed:
                sys.stdout.flush()  # one that the program has put there
        finally:
            runner.mend()
    except SystemExit as e:
        runner.leave(e, result)
    except BaseException as e:
        runner.fail(e, source, result)
    for stream in runner.stdout, runner.stderr:
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody is left to be told
            pass

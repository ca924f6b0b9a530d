"""What WebAssembly cannot do says so in words, instead of by a missing name or a bare error number."""

import _thread
import builtins
import errno
import os
import sys

NO_NETWORK = "there is no network in this sandbox"
NO_PROCESSES = "no processes can be started in this sandbox: there is no shell, no fork and no other program"
NO_THREADS = "can't start new thread: this sandbox has one thread; do the work in turn, or with asyncio"
NO_INPUT = "input() has nobody to ask: the session is not interactive, so put the value into the code"

NOT_MODULES = {"__pycache__", "_chorale"}


def refusal(name, error):
    """Returns a function of that name which raises what error() returns."""

    def refuse(*args, **kwargs):
        raise error()

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def refuse_threads():
    """Must run before threading is imported, which keeps the functions."""
    for name in ("start_new_thread", "start_joinable_thread", "start_new"):
        setattr(_thread, name, refusal(name, lambda: RuntimeError(NO_THREADS)))


def refuse_rest():
    import socket

    no_network = lambda: OSError(errno.ENOTSUP, NO_NETWORK)
    socket.socket.__init__ = refusal("__init__", no_network)
    socket.socket.__del__ = lambda self: None
    for name in ("getaddrinfo", "getnameinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getfqdn",
                 "create_connection", "create_server", "socketpair"):
        setattr(socket, name, refusal(name, no_network))

    no_processes = lambda: OSError(errno.ENOTSUP, NO_PROCESSES)
    os.system = refusal("system", no_processes)
    os.popen = refusal("popen", no_processes)
    os.pipe = refusal("pipe", no_processes)
    import subprocess

    subprocess.Popen.__init__ = refusal("__init__", no_processes)
    subprocess.Popen.__del__ = lambda self, *args, **kwargs: None
    builtins.input = asking(builtins.input)


def asking(original):
    """Returns input() that says why nobody answers. A session has input only where a person is at a prompt of ours."""

    def input(prompt="", /):
        try:
            return original(prompt)
        except EOFError:
            raise EOFError(NO_INPUT) from None

    return input


def packages():
    """Returns the names of the modules that can be imported beside the standard library."""
    names = set()
    for folder in sys.path:
        if folder.startswith("/lib/python") or not folder.startswith("/lib/"):
            continue
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        for entry in entries:
            name, _, ending = entry.partition(".")
            if not name.startswith("_") and ending in ("", "py", "pyc") and "-" not in name:
                names.add(name)
    return sorted(names - NOT_MODULES - {"ctypes"})


def advice(e, code):
    """Returns a sentence that helps with an error which the sandbox itself is the reason of, or None."""
    if isinstance(e, ModuleNotFoundError):
        return "Nothing can be installed in this sandbox. Beside the standard library there are: " + ", ".join(packages())
    if not isinstance(e, SyntaxError) or not e.lineno:
        return None
    lines = code.splitlines()
    line = lines[e.lineno - 1].lstrip() if 0 < e.lineno <= len(lines) else ""
    if not line.startswith(("!", "%")):
        return None
    if "pip" in line or "conda" in line:
        return "Nothing can be installed in this sandbox. Beside the standard library there are: " + ", ".join(packages())
    if line.startswith("!"):
        return "Lines that begin with ! are for a shell, and this sandbox has none: write Python instead."
    return "Lines that begin with % are IPython's, and this is plain Python: leave them out."

"""Packs what build.sh has built and fetched.

    pack.py stdlib|packages|licences|manifest WORK OUT

The archives hold compiled modules under the names that the guest sees below /lib, sorted, with fixed times, so that the
same sources and compiler give the same bytes. Modules carry line numbers but no columns (-X no_debug_ranges): their sources
are not there to be underlined.
"""
import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib._bootstrap_external import _code_to_hash_pyc
from pathlib import Path

HERE = Path(__file__).resolve().parent
EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])

# Parts of the standard library that cannot work here or only serve to develop Python itself.
LEFT_OUT = {"test", "ctypes", "idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "venv", "pydoc_data", "curses",
            "__phello__", "lib2to3", "_ios_support.py", "_android_support.py", "_apple_support.py", "antigravity.py"}

# Parts of packages that are large and need what is not here, or are of use to few.
PACKAGES_LEFT_OUT = (
    "isympy.py", "sympy/parsing/autolev/", "sympy/parsing/latex/_antlr/", "sympy/parsing/c/", "sympy/parsing/fortran/",
    "sympy/utilities/mathml/data/", "sympy/physics/biomechanics/", "sympy/physics/continuum_mechanics/",
    "sympy/physics/control/", "sympy/physics/optics/", "pyparsing/ai/", "_yaml/",
)


def compile_module(source, name):
    """Returns the bytes of a .pyc that is used without looking for its source; name is what tracebacks show."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    return bytes(_code_to_hash_pyc(code, importlib.util.source_hash(source), checked=False))


class Archive:
    def __init__(self):
        self.files = {}

    def add(self, name, data):
        """Adds a file at a name below /lib; modules are compiled."""
        if name.endswith(".py"):
            try:
                data, name = compile_module(data, "/lib/" + name), name + "c"
            except SyntaxError as e:  # templates and the like
                print(f"{name} is kept as text: {e}")
        if name in self.files:
            raise SystemExit(f"{name} is there twice")
        self.files[name] = data

    def write(self, path):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in sorted(self.files):
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(self.files[name]), EPOCH, 0o444
                tar.addfile(info, io.BytesIO(self.files[name]))
        subprocess.run(["zstd", "-q", "--ultra", "-22", "-T1", "-f", "-o", path], input=raw.getvalue(), check=True)
        print(f"{path}: {len(self.files)} files, {len(raw.getvalue())} bytes, {path.stat().st_size} compressed")


def stdlib(work, out):
    archive = Archive()
    root = work / "cpython" / "Lib"
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if not path.is_file() or "__pycache__" in name.parts or LEFT_OUT & set(name.parts) or path.suffix in (".exe", ".bat"):
            continue
        archive.add(f"python3.13/{name}", path.read_bytes())
    build = work / "wasi" / (work / "wasi" / "pybuilddir.txt").read_text().strip()
    for path in build.glob("_sysconfigdata*.py"):
        # The paths of the machine that built it mean nothing to a guest.
        archive.add(f"python3.13/{path.name}", path.read_bytes().replace(str(work).encode(), b"/build"))
    archive.write(out / "stdlib.tar.zst")


def downloads(work):
    """Yields the hash, path and address of everything in sources.txt."""
    for line in (HERE / "sources.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            digest, name, url = line.split()
            yield digest, work / "download" / name, url


def members(path):
    """Yields the files of a wheel, and of a source archive those below its library folder, as name and content."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if not name.endswith("/"):
                    yield name, wheel.read(name)
        return
    with tarfile.open(path) as tar:
        for member in tar:
            name = re.sub(r"^[^/]+/(lib|src)/", "", member.name)
            if member.isfile() and (name != member.name):
                yield name, tar.extractfile(member).read()
            elif member.isfile() and member.name.count("/") == 1 and member.name.endswith("/PKG-INFO"):
                yield member.name.split("/")[0] + ".dist-info/METADATA", tar.extractfile(member).read()


def packages(work, out):
    archive = Archive()
    for _, path, url in downloads(work):
        if url.startswith("PYPI"):
            for name, data in members(path):
                if wanted(name):
                    archive.add(f"site-packages/{name}", data)
    archive.write(out / "packages.tar.zst")


def wanted(name):
    parts = name.split("/")
    if parts[0].endswith((".data", ".egg-info")):
        return False
    if parts[0].endswith(".dist-info"):
        return parts[-1] == "METADATA"
    if {"tests", "testing", "benchmarks", "__pycache__"} & set(parts[:-1]) and parts[:2] != ["sympy", "testing"]:
        return False
    return not name.startswith(PACKAGES_LEFT_OUT) and not name.endswith((".c", ".pyx", ".pyi", ".so", ".typed", ".h", ".pxd"))


def licences(work, out):
    """Collects the licences of everything that the artefact contains."""
    target = out / "licences"
    for old in target.glob("*"):
        old.unlink()
    target.mkdir(exist_ok=True)
    doc = Path("/usr/share/doc")  # what is linked from the build machine
    texts = {
        "cpython": [work / "cpython/LICENSE", work / "cpython/Doc/license.rst"],
        "expat": [work / "cpython/Modules/expat/COPYING"],
        "zlib": [work / "src/zlib/LICENSE"],
        "bzip2": [work / "src/bzip2/LICENSE"],
        "liblzma": [work / "src/xz/COPYING.0BSD"],
        "sqlite": [work / "src/sqlite/LICENSE.md"],
        "wasi-libc": [doc / "wasi-libc/copyright"],
        "compiler-rt": [doc / f"libclang-rt{os.environ.get('LLVM', '-22')}-dev-wasm32/copyright"],
    }
    for name, paths in texts.items():
        (target / f"{name}.txt").write_bytes(b"\n".join(p.read_bytes() for p in paths))
    for _, path, url in downloads(work):
        if url.startswith("PYPI"):
            found = [data for name, data in sorted(members(path))
                     if ".dist-info/" in name and re.match("LICEN[CS]E|COPYING", name.rpartition("/")[2])]
            if not found:
                raise SystemExit(f"{path.name} has no licence")
            (target / f"{path.name.partition('-')[0]}.txt").write_bytes(b"\n".join(found))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tool(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0].strip()


def linked(package):
    """Returns the version of a library of the build machine, where Debian's tools know it."""
    try:
        return tool("dpkg-query", "-W", "-f", "${Version}", package)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def manifest(work, out):
    llvm = os.environ.get("LLVM", "-22")
    build = HERE / "build.sh"
    outputs = [p for p in sorted(out.rglob("*")) if p.is_file() and p.name != "manifest.json"]
    text = json.dumps({
        "about": "Made by build/pack.py. Change nothing by hand: the recipe makes it again.",
        "recipe": {p.relative_to(HERE).as_posix(): digest(p) for p in sorted(HERE.rglob("*"))
                   if p.is_file() and "__pycache__" not in p.parts},
        "sources": [{"name": p.name, "sha256": d, "from": u} for d, p, u in downloads(work)],
        "tools": {
            "clang": tool("clang" + llvm, "--version"), "wasm-ld": tool("wasm-ld" + llvm, "--version"),
            "wasm-opt": tool("wasm-opt", "--version"), "zstd": tool("zstd", "--version"),
            "wasi-libc": linked("wasi-libc"), "compiler-rt": linked(f"libclang-rt{llvm}-dev-wasm32"),
        },
        "flags": re.search(r"^opt='(.*)'$", build.read_text(), re.M)[1],
        "python": "3.13.5",
        "outputs": {str(p.relative_to(out)): {"bytes": p.stat().st_size, "sha256": digest(p)} for p in outputs},
    }, indent=1)
    (out / "manifest.json").write_text(text + "\n")


if __name__ == "__main__":
    step, work, out = sys.argv[1:]
    {"stdlib": stdlib, "packages": packages, "licences": licences, "manifest": manifest}[step](Path(work), Path(out))

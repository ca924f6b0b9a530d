#!/bin/sh
# Builds the QuickJS artefact: the engine, its licence and the manifest, in ../artefact. `make quickjs-wasm` runs it; nothing
# else in the repository needs it. It takes a minute.
#
#   build.sh            everything
#   build.sh STEP...    some of: fetch link manifest
#
# Tools: clang and lld 22 with compiler-rt for wasm32 (libclang-rt-22-dev-wasm32), a wasi-libc of 2024-12 or later, zstd and
# curl.
#
# Environment, all optional:
#   WORK     where to build                                     (.cache/quickjs-wasm in the repository)
#   SOURCES  a directory with downloaded files, looked at first (none)
#   LLVM     suffix of the LLVM tools' names                    (-22)
#   SYSROOT  of wasi-libc, where the compiler does not find it  (none)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
WORK=${WORK:-$root/.cache/quickjs-wasm}
SOURCES=${SOURCES:-}
LLVM=${LLVM:--22}
SYSROOT=${SYSROOT:-}
export SOURCE_DATE_EPOCH=1750000000 TZ=UTC LC_ALL=C.UTF-8

out=$here/../artefact
cc="clang$LLVM --target=wasm32-wasip1${SYSROOT:+ --sysroot=$SYSROOT}"
flags='-O2 -DNDEBUG -D_GNU_SOURCE -flto -fno-strict-aliasing -fvisibility=hidden -funsigned-char -fwrapv -w'
mkdir -p "$WORK" "$out"

# The release of QuickJS-NG as the crate rquickjs-sys has it: registries keep what they have published for ever.
version=0.16.2
crate=rquickjs-sys-0.14.0
sum=cee271d0eeba64f0915b846cb7ae02e16faf3dfdffdca91731101d9d30fe3423
url=https://static.crates.io/crates/rquickjs-sys/$crate.crate

fetch() {
	file=$WORK/$crate.crate
	if [ ! -f "$file" ] && [ -n "$SOURCES" ] && [ -f "$SOURCES/$crate.crate" ]; then cp "$SOURCES/$crate.crate" "$file"; fi
	[ -f "$file" ] || curl -fsSL --retry 3 -o "$file" "$url"
	echo "$sum  $file" | sha256sum -c --quiet
	rm -rf "$WORK/src" && mkdir "$WORK/src"
	tar -xf "$file" -C "$WORK/src" --strip-components=2 "$crate/quickjs"
	# For WASI the engine has no limit of its stack, because it does not know where it is. We do: it is first.
	sed -i '/^static void update_stack_limit/,/^}/s/defined(__wasi__)/0/' "$WORK/src/quickjs.c"
	[ "$(grep -c '^#if 0$' "$WORK/src/quickjs.c")" = 1 ] || { echo "the limit of the stack is somewhere else now" >&2; exit 1; }
}

# link compiles and links in one go, so that the optimiser sees the whole program.
link() {
	q=$WORK/src
	# shellcheck disable=SC2086 # they are words
	$cc $flags -mexec-model=reactor --no-wasm-opt -Wl,--stack-first -Wl,-z,stack-size=2097152 -Wl,--strip-all -Wl,--lto-O3 \
		-I"$q" -o "$WORK/quickjs.wasm" "$here/main.c" "$q/quickjs.c" "$q/libregexp.c" "$q/libunicode.c" "$q/dtoa.c" -lm
	cp "$q/LICENSE" "$out/LICENSE"
	zstd -q --ultra -22 -T1 -f "$WORK/quickjs.wasm" -o "$out/quickjs.wasm.zst"
	chmod 644 "$out/quickjs.wasm.zst"
}

hash() { sha256sum "$1" | cut -d' ' -f1; }

manifest() {
	cat >"$out/manifest.json" <<-EOF
	{
	  "quickjs": "$version",
	  "sources": [{"name": "$crate.crate", "sha256": "$sum", "from": "$url"}],
	  "recipe": {"build.sh": "$(hash "$here/build.sh")", "main.c": "$(hash "$here/main.c")"},
	  "tools": {
	    "clang": "$(clang$LLVM --version | head -1)",
	    "wasm-ld": "$(wasm-ld$LLVM --version)",
	    "zstd": "$(zstd --version | sed 's/.* v\([0-9.]*\).*/\1/')"
	  },
	  "flags": "$flags",
	  "outputs": {
	    "LICENSE": {"bytes": $(wc -c <"$out/LICENSE"), "sha256": "$(hash "$out/LICENSE")"},
	    "quickjs.wasm.zst": {"bytes": $(wc -c <"$out/quickjs.wasm.zst"), "sha256": "$(hash "$out/quickjs.wasm.zst")"}
	  }
	}
	EOF
}

for step in ${*:-fetch link manifest}; do
	echo "== $step"
	"$step"
done

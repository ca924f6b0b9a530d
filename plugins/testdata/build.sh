#!/bin/sh
# Makes the .wasm files of this directory again from their sources and writes their hashes down.
# Tools: clang 16 with wasi-libc and the wasm32 builtins of its compiler-rt.
set -eu
cd "$(dirname "$0")"
build() { # OUT SOURCE [flag of the compiler or linker]…
	out=$1 source=$2
	shift 2
	clang-16 --target=wasm32-wasi -O2 -c "$@" -o "$out.o" "$source" -Wno-unused-command-line-argument
	# Without -O: with it, the driver calls a wasm-opt, if there is one, and that knows less than the linker.
	clang-16 --target=wasm32-wasi -Wl,--strip-all "$@" -o "$out.wasm" "$out.o"
	rm "$out.o"
}
build program program.c
build reactor reactor.c -mexec-model=reactor
build extism extism.c -nostdlib -Wl,--no-entry
build hyper1 extism.c -nostdlib -Wl,--no-entry -DHYPER=1
build hyper2 extism.c -nostdlib -Wl,--no-entry -DHYPER=2
sha256sum build.sh *.c *.wasm >MANIFEST

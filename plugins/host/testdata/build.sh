#!/bin/sh
# Makes the .wasm files of this directory again from their sources and writes their hashes down.
# Tools: clang 16 with wasi-libc.
set -eu
cd "$(dirname "$0")"
for f in *.c; do
	clang-16 --target=wasm32-wasi -O2 -mbulk-memory -Wl,--strip-debug "$f" -o "${f%.c}.wasm"
done
sha256sum build.sh *.c *.wasm >MANIFEST

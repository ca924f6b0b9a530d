#!/bin/sh
# Makes the .wasm files of this directory again from their sources and writes their hashes down.
# Tools: wabt 1.0.32 (wat2wasm), clang 16 with wasi-libc.
set -eu
cd "$(dirname "$0")"
for f in *.wat; do
	wat2wasm --debug-names "$f" -o "${f%.wat}.wasm"
done
for f in *.c; do
	clang-16 --target=wasm32-wasi -O2 -mbulk-memory -Wl,--strip-debug "$f" -o "${f%.c}.wasm"
done
sha256sum build.sh *.wat *.c *.wasm >MANIFEST

#!/bin/sh
# Builds the CPython artefact: interpreter, standard library, packages, licences and manifest, in ../artefact. `make
# python-wasm` runs it; nothing else in the repository needs it. It takes about 15 minutes on two cores.
#
#   build.sh            everything
#   build.sh STEP...    some of: fetch libs native profile cpython link instrument stdlib packages licences manifest
#
# Tools: clang, lld and llvm 22 with compiler-rt for wasm32 (libclang-rt-22-dev-wasm32), a wasi-libc of 2024-12 or later,
# binaryen, zstd, tclsh, make, patch, curl, Go and a C compiler for the build machine.
#
# Environment, all optional:
#   WORK     where to build                                     (.cache/python-wasm in the repository)
#   SOURCES  a directory with downloaded files, looked at first (none)
#   DEBIAN   base URL of a Debian archive; releases move on, so an old one is on snapshot.debian.org
#   PYPI     base URL of the files of the Python package index
#   JOBS     parallel jobs of make                              (2)
#   LLVM     suffix of the LLVM tools' names                    (-22)
#   SYSROOT  of wasi-libc, where the compiler does not find it  (none)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
WORK=${WORK:-$root/.cache/python-wasm}
SOURCES=${SOURCES:-}
DEBIAN=${DEBIAN:-https://deb.debian.org/debian}
PYPI=${PYPI:-https://files.pythonhosted.org/packages}
JOBS=${JOBS:-2}
LLVM=${LLVM:--22}
SYSROOT=${SYSROOT:-}
export SOURCE_DATE_EPOCH=1750000000 TZ=UTC LC_ALL=C.UTF-8 PYTHONHASHSEED=0

out=$here/../artefact
cc="clang$LLVM --target=wasm32-wasip1${SYSROOT:+ --sysroot=$SYSROOT}"
opt='-O3 -DNDEBUG -flto -fno-strict-aliasing'
hostpython=$WORK/native/python
mkdir -p "$WORK/download" "$WORK/src" "$WORK/lib" "$WORK/stamp" "$out"

# fetch gets every file of sources.txt and checks its hash.
fetch() {
	while read -r hash name url; do
		case $hash in '' | '#'*) continue ;; esac
		file=$WORK/download/$name
		if [ ! -f "$file" ] && [ -n "$SOURCES" ] && [ -f "$SOURCES/$name" ]; then
			cp "$SOURCES/$name" "$file"
		fi
		if [ ! -f "$file" ]; then
			url=$(echo "$url" | sed "s|^DEBIAN|$DEBIAN|; s|^PYPI|$PYPI|")
			curl -fsSL --retry 3 -o "$file.part" "$url"
			mv "$file.part" "$file"
		fi
		echo "$hash  $file" | sha256sum -c --quiet
	done <"$here/sources.txt"
}

# unpack NAME DIR extracts a source archive into an empty directory, without its top folder.
unpack() {
	rm -rf "$2" && mkdir -p "$2" && tar -xf "$WORK/download/$1" -C "$2" --strip-components=1
}

# libs builds the C libraries of the standard library's extension modules.
libs() {
	include=$WORK/lib/include
	mkdir -p "$include"

	unpack zlib_1.3.1.orig.tar.gz "$WORK/src/zlib"
	archive z "$WORK/src/zlib" '-DHAVE_UNISTD_H -DHAVE_STDARG_H' \
		adler32 compress crc32 deflate infback inffast inflate inftrees trees uncompr zutil
	cp "$WORK/src/zlib/zlib.h" "$WORK/src/zlib/zconf.h" "$include"

	unpack bzip2_1.0.8.orig.tar.gz "$WORK/src/bzip2"
	archive bz2 "$WORK/src/bzip2" '' blocksort huffman crctable randtable compress decompress bzlib
	cp "$WORK/src/bzip2/bzlib.h" "$include"

	unpack xz-utils_5.8.1.orig.tar.xz "$WORK/src/xz"
	patches xz "$WORK/src/xz"
	(
		cd "$WORK/src/xz"
		./configure -q --host=wasm32-wasi --disable-shared --disable-threads --disable-nls --disable-doc --disable-xz \
			--disable-xzdec --disable-lzmadec --disable-lzmainfo --disable-lzma-links --disable-scripts \
			--disable-sandbox --disable-symbol-versions CC="$cc" CFLAGS="$opt" \
			CPPFLAGS="-D_WASI_EMULATED_SIGNAL -include $here/wasi.h" AR="llvm-ar$LLVM" RANLIB="llvm-ranlib$LLVM"
		make -s -j"$JOBS" -C src/liblzma >make.log 2>&1
	)
	cp "$WORK/src/xz/src/liblzma/.libs/liblzma.a" "$WORK/lib"
	cp -r "$WORK/src/xz/src/liblzma/api/lzma.h" "$WORK/src/xz/src/liblzma/api/lzma" "$include"

	unpack sqlite3_3.46.1.orig.tar.xz "$WORK/src/sqlite"
	patches sqlite "$WORK/src/sqlite"
	(cd "$WORK/src/sqlite" && ./configure -q --disable-readline && make -s sqlite3.c)
	# One process, one thread and no locks that WASI could hold; everything else as CPython's own builds have it.
	archive sqlite3 "$WORK/src/sqlite" "-include $here/wasi.h -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_WAL \
		-DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_DEFAULT_UNIX_VFS=\"unix-none\" -DSQLITE_ENABLE_MATH_FUNCTIONS \
		-DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_RTREE -DSQLITE_ENABLE_COLUMN_METADATA" sqlite3
	cp "$WORK/src/sqlite/sqlite3.h" "$include"
}

# archive NAME DIR FLAGS SOURCES... compiles C files into lib/libNAME.a.
archive() {
	name=$1 dir=$2 flags=$3
	shift 3
	rm -f "$WORK/lib/lib$name.a"
	objects=
	for source; do
		# shellcheck disable=SC2086 # flags and the compiler's name are words
		$cc $opt $flags -c "$dir/$source.c" -o "$dir/$source.wasm.o"
		objects="$objects $dir/$source.wasm.o"
	done
	# shellcheck disable=SC2086
	"llvm-ar$LLVM" rcsD "$WORK/lib/lib$name.a" $objects
}

# patches NAME DIR applies those of Debian's patches that patches.txt lists.
patches() {
	debian=$WORK/src/$1-debian
	sed -n "s/^$1 //p" "$here/patches.txt" | while read -r archive name; do
		[ -d "$debian" ] || { mkdir -p "$debian" && tar -xf "$WORK/download/$archive" -C "$debian"; }
		patch -d "$2" -p1 -s --no-backup-if-mismatch <"$debian/debian/patches/$name"
	done
}

# source_tree unpacks and patches CPython, once for all builds.
source_tree() {
	[ ! -e "$WORK/stamp/source" ] || return 0
	unpack python3.13_3.13.5.orig.tar.xz "$WORK/cpython"
	patches python "$WORK/cpython"
	touch "$WORK/stamp/source"
}

# native builds an interpreter for this machine: the cross build and the packing run on it.
native() {
	source_tree
	mkdir -p "$WORK/native"
	(
		cd "$WORK/native"
		../cpython/configure -q --disable-test-modules --with-ensurepip=no >configure.log 2>&1
		make -s -j"$JOBS" python sharedmods >make.log 2>&1
	)
}

# profile finds out which parts of the interpreter are hot, with one for this machine: clang matches functions by name and
# shape, which are the same for WASI. It is worth 6 to 9 % of speed.
profile() {
	source_tree
	mkdir -p "$WORK/profile"
	(
		cd "$WORK/profile"
		CC="clang$LLVM" OPT="-O2 -DNDEBUG -fno-strict-aliasing -fprofile-instr-generate" LDFLAGS=-fprofile-instr-generate \
			LLVM_PROFILE_FILE=/dev/null ../cpython/configure -q --disable-test-modules --with-ensurepip=no \
			--without-computed-gotos >configure.log 2>&1
		LLVM_PROFILE_FILE=/dev/null make -s -j"$JOBS" python sharedmods >make.log 2>&1
		rm -f ./*.profraw
		LLVM_PROFILE_FILE="$PWD/%m.profraw" ./python -S "$here/train.py"
		"llvm-profdata$LLVM" merge -o "$WORK/python.profdata" ./*.profraw
	)
}

# cpython builds the interpreter's libraries for WASI.
cpython() {
	source_tree
	mkdir -p "$WORK/wasi"
	l=$WORK/lib
	(
		cd "$WORK/wasi"
		# sleep() is poll_oneoff with a relative clock, which the sandbox can wake at any moment.
		ac_cv_func_clock_nanosleep=no ac_cv_lib_rt_clock_nanosleep=no \
			PKG_CONFIG=false py_cv_module__ctypes=n/a \
			CONFIG_SITE=../cpython/Tools/wasm/config.site-wasm32-wasi \
			CC="$cc" AR="llvm-ar$LLVM" RANLIB="llvm-ranlib$LLVM" \
			OPT="$opt -fprofile-instr-use=$WORK/python.profdata -Wno-profile-instr-unprofiled -Wno-profile-instr-out-of-date" \
			CPPFLAGS="-I$l/include" LDFLAGS="-L$l" \
			ZLIB_CFLAGS="-I$l/include" ZLIB_LIBS="-L$l -lz" BZIP2_CFLAGS="-I$l/include" BZIP2_LIBS="-L$l -lbz2" \
			LIBLZMA_CFLAGS="-I$l/include" LIBLZMA_LIBS="-L$l -llzma" \
			LIBSQLITE3_CFLAGS="-I$l/include" LIBSQLITE3_LIBS="-L$l -lsqlite3" \
			../cpython/configure -q --host=wasm32-unknown-wasip1 --build="$(../cpython/config.guess)" \
			--with-build-python="$hostpython" --disable-test-modules --with-ensurepip=no --with-pymalloc \
			--without-computed-gotos \
			--prefix=/ >configure.log 2>&1
		make -s -j"$JOBS" libpython3.13.a Modules/_decimal/libmpdec/libmpdec.a Modules/expat/libexpat.a >make.log 2>&1
		# Exits with an error after it has written what the standard library needs.
		make -s pybuilddir.txt >>make.log 2>&1 || test -s pybuilddir.txt
	)
}

# link makes python.wasm: the libraries and our main.c, as a reactor.
link() {
	w=$WORK/wasi
	hacl=$(find "$w/Modules" -name 'libHacl*.a' | sort)
	# shellcheck disable=SC2086
	$cc $opt -I"$WORK/cpython/Include" -I"$WORK/cpython/Include/internal" -I"$w" -c "$here/main.c" -o "$WORK/main.o"
	# shellcheck disable=SC2086
	$cc $opt -mexec-model=reactor --no-wasm-opt -Wl,--stack-first -Wl,-z,stack-size=8388608 \
		-Wl,--initial-memory=20971520 -Wl,--strip-debug -Wl,--lto-O3 -o "$WORK/linked.wasm" \
		"$WORK/main.o" "$w/libpython3.13.a" "$w/Modules/_decimal/libmpdec/libmpdec.a" "$w/Modules/expat/libexpat.a" $hacl \
		-L"$WORK/lib" -lz -lbz2 -llzma -lsqlite3 \
		-lwasi-emulated-signal -lwasi-emulated-getpid -lwasi-emulated-process-clocks -ldl -lm
	# Nothing is below address 1024: with --stack-first the deepest end of the stack is there. So additions of small
	# constants can become offsets of loads and stores, which is worth 7 % of speed in the engine.
	wasm-opt -O3 --low-memory-unused --strip-debug --strip-producers -o "$WORK/optimised.wasm" "$WORK/linked.wasm"
}

# instrument adds the checks that let the sandbox stop the guest. They are committed because adding them takes half a second.
# When the rewriter in package sandbox changes, this step and the manifest are to be made again.
instrument() {
	(cd "$root" && go run ./sandbox/python/build/instrument "$WORK/optimised.wasm" "$WORK/python.wasm")
	zstd -q --ultra -22 -T1 -f "$WORK/python.wasm" -o "$out/python.wasm.zst"
}

pack() { "$hostpython" -B -S -X no_debug_ranges "$here/pack.py" "$1" "$WORK" "$out"; }
stdlib() { pack stdlib; }
packages() { pack packages; }
licences() { pack licences; }
manifest() { pack manifest; }

for step in ${*:-fetch libs native profile cpython link instrument stdlib packages licences manifest}; do
	echo "== $step"
	"$step"
done

#!/bin/bash
# SPDX-License-Identifier: MIT
# prefix.sh BUILD - make install with a PREFIX of one's own, the tree moved, make uninstall;
# DESTDIR with /usr. From the top of the tree. BUILD has its old prefix afterwards.
set -u
build=$1
dir=$(mktemp -d)
old=$(meson introspect --buildoptions "$build" | python3 -c '
import json, sys
print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))')
restore() {
	meson configure "$build" --prefix="$old" >/dev/null && ninja -C "$build" >/dev/null
	rm -rf "$dir"
}
trap restore EXIT
unset LD_LIBRARY_PATH

fail() {
	echo "$*"
	exit 1
}
works() { # PREFIX : the command finds its library and its module; so does a program by rpath
	"$1/bin/hmmu" --version >/dev/null || fail "$1/bin/hmmu does not start"
	"$1/bin/hmmu" watch -- true >"$dir/out" 2>&1 || { cat "$dir/out"; fail 'hmmu watch'; }
	PKG_CONFIG_PATH=$1/lib/pkgconfig sh -c 'cc examples/reader.c -o "$0" -Wl,-rpath,"$1/lib" \
		$(pkg-config --define-variable=prefix="$1" --cflags --libs hmmu) -lpthread' "$dir/reader" "$1" &&
		"$dir/reader" >/dev/null || fail "a program with hmmu.pc of $1"
}

make -s install BUILD="$build" PREFIX="$dir/here" >"$dir/out" 2>&1 || { cat "$dir/out"; exit 1; }
works "$dir/here"
mv "$dir/here" "$dir/there"
works "$dir/there"
mv "$dir/there" "$dir/here"
make -s uninstall BUILD="$build" >"$dir/out" 2>&1 || { cat "$dir/out"; exit 1; }
[ ! -e "$dir/here" ] || fail "left behind: $(find "$dir/here")"

make -s install BUILD="$build" PREFIX=/usr DESTDIR="$dir/root" >"$dir/out" 2>&1 ||
	{ cat "$dir/out"; exit 1; }
[ "$(ls "$dir/root")" = usr ] || fail "outside of /usr: $(ls "$dir/root")"
! readelf -d "$dir/root/usr/bin/hmmu" "$dir"/root/usr/lib/*.so | grep -E 'R(UN)?PATH' ||
	fail 'a path for the loader in /usr'
LD_LIBRARY_PATH=$dir/root/usr/lib "$dir/root/usr/bin/hmmu" --version >/dev/null ||
	fail 'hmmu does not start'
make -s uninstall BUILD="$build" >"$dir/out" 2>&1
[ ! -e "$dir/root" ] || fail "left behind: $(find "$dir/root")"

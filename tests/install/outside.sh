#!/bin/bash
# SPDX-License-Identifier: MIT
# outside.sh BUILD shared|static|headers|cmake - what `make install` puts somewhere, used by
# programs outside of the tree that know nothing but pkg-config or CMake.
set -u
build=$1 what=$2
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
strict=(-pedantic -Wall -Wextra -Wshadow -Werror -D_DEFAULT_SOURCE)
# One function of each adapter.
declare -A function=([uring]=open [ucx]=start [libfabric]=close [verbs]=open)

fail() {
	echo "$*"
	exit 1
}
# hooks may not work here: 77
ran() { "$@" || { [ $? = 77 ] && unhooked=1; }; }
compilers() {
	for c in gcc clang; do command -v "$c" >/dev/null && echo "$c -std=c11 -x c"; done
	for c in g++ clang++; do command -v "$c" >/dev/null && echo "$c -std=c++17 -x c++"; done
}

# The log of the last real installation, which `make uninstall` reads, stays.
log=$build/meson-logs/install-log.txt
[ ! -e "$log" ] || cp "$log" "$dir/log"
meson install -C "$build" --no-rebuild --destdir "$dir/root" >"$dir/out" 2>&1 ||
	{ cat "$dir/out"; exit 1; }
if [ -e "$dir/log" ]; then cp "$dir/log" "$log"; else rm -f "$log"; fi
pc=$(find "$dir/root" -name hmmu.pc)
[ -n "$pc" ] || fail 'hmmu.pc was not installed'
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$dir/root
lib=${PKG_CONFIG_PATH%/pkgconfig} include=$(dirname "$(find "$dir/root" -name mmu_notifier.h)")
adapters=()
for a in "${!function[@]}"; do [ -e "$lib/pkgconfig/hmmu-$a.pc" ] && adapters+=("$a"); done
unhooked=

# pkg NAME OPTION... : into the array flags. The sysroot is not the other libraries'.
pkg() {
	read -ra flags <<<"$(pkg-config "${@:2}" --cflags --libs "$1")"
	[ "${#flags[@]}" != 0 ] || fail "pkg-config knows no $1"
	for i in "${!flags[@]}"; do
		case ${flags[i]} in
		-[IL]"$dir"/root/*) [ -d "${flags[i]#-?}" ] || unset "flags[i]" ;;
		esac
	done
}
adapter() { # NAME OUTPUT FLAG...
	local prefix=${1/libfabric/fi}
	gcc -std=gnu11 "-DHEADER=<hmmu/$1.h>" "-DFUNCTION=hmmu_${prefix}_${function[$1]}" \
		"$here/adapter.c" -o "$2" "${@:3}"
}

shared() {
	local c a
	export LD_LIBRARY_PATH=$lib
	pkg hmmu
	while read -ra c; do
		"${c[@]}" "${strict[@]}" "$here/outside.c" -x none -o "$dir/a.out" "${flags[@]}" ||
			fail "${c[*]}: does not compile"
		readelf -d "$dir/a.out" | grep -q 'NEEDED.*libhmmu\.so\.0' || fail 'not libhmmu.so.0'
		ran "$dir/a.out" || fail "${c[*]}: failed"
	done < <(compilers)
	for a in "${adapters[@]}"; do
		pkg "hmmu-$a"
		adapter "$a" "$dir/a.out" -Wl,--no-as-needed "${flags[@]}" && "$dir/a.out" ||
			fail "hmmu-$a"
	done
}

# Only archives: as on a system that installs no shared ones. Then libc's, too.
static() {
	local a
	rm -f "$lib"/*.so*
	pkg hmmu --static
	gcc -std=c11 "${strict[@]}" "$here/outside.c" -o "$dir/a.out" "${flags[@]}" ||
		fail 'does not link with libhmmu.a'
	readelf -d "$dir/a.out" | grep -q 'NEEDED.*libhmmu' && fail 'not static'
	readelf -d "$dir/a.out" | grep -q 'BIND_NOW\|NOW' || fail 'binds lazily'
	ran "$dir/a.out" || fail 'failed with libhmmu.a'
	gcc -std=c11 -static "${strict[@]}" "$here/outside.c" -o "$dir/a.out" "${flags[@]}" \
		2>"$dir/err" || { cat "$dir/err"; fail 'does not link with -static'; }
	"$dir/a.out" explicit || fail 'failed with -static'
	for a in "${adapters[@]}"; do
		# libfabric.pc's private libraries are not all in Debian.
		if [ "$a" = libfabric ]; then pkg "hmmu-$a"; else pkg "hmmu-$a" --static; fi
		adapter "$a" "$dir/a.out" "${flags[@]}" -Wl,-z,now -pthread -ldl && "$dir/a.out" ||
			fail "libhmmu-$a.a"
	done
}

# Each public header with nothing before it.
headers() {
	local c h n=0
	while read -ra c; do
		for h in "$include"/*.h; do
			echo "#include <hmmu/${h##*/}>" | "${c[@]}" -pedantic -Wall -Wextra \
				-Wshadow -Wundef -Werror -I "${include%/hmmu}" -fsyntax-only - ||
				fail "${c[*]}: ${h##*/}"
			n=$((n + 1))
		done
	done < <(compilers)
	[ "$n" -gt 0 ] || fail 'no header was installed'
}

cmake_() {
	local args=() a kind list
	command -v cmake >/dev/null || { echo 'cmake is not installed'; exit 77; }
	list=$(IFS=';'; echo "${adapters[*]}")
	for a in "${adapters[@]}"; do args+=("-DFUNCTION_$a=${function[$a]}"); done
	cmake -S "$here/cmake" -B "$dir/cmake" -DCMAKE_PREFIX_PATH="${include%/*/hmmu}" -DADAPTERS="$list" \
		"${args[@]}" >"$dir/out" 2>&1 && cmake --build "$dir/cmake" >>"$dir/out" 2>&1 ||
		{ cat "$dir/out"; exit 1; }
	for kind in '' _static; do
		ran "$dir/cmake/outside$kind" || fail "outside$kind"
		for a in "${adapters[@]}"; do "$dir/cmake/$a$kind" || fail "$a$kind"; done
	done
	readelf -d "$dir/cmake/outside_static" | grep -q 'NEEDED.*libhmmu' && fail 'not static'
	true
}

case $what in
cmake) cmake_ ;;
shared | static | headers) "$what" ;;
*) fail "unknown: $what" ;;
esac
[ -z "$unhooked" ] || { echo 'hooks do not work here: compiled and linked, no more'; exit 77; }

#!/bin/sh
# SPDX-License-Identifier: MIT
# dump.sh check|plant|write LIBRARY DUMP - the types and functions that programs were compiled
# with. check: LIBRARY has what DUMP says, no less and no more, whoever compiled it. plant:
# check finds each of some changes. write: a new DUMP (`ninja -C build abi-dump`).
# A dump has no paths, lines or needed libraries, and of types those of public headers.
set -u
what=$1 lib=$2 dump=$3
here=$(dirname "$0")

skip() {
	echo "$*"
	exit 77
}
command -v abidiff >/dev/null || skip 'abidiff (abigail-tools) is not installed'
readelf -S "$lib" | grep -q '\.debug_info' || skip 'the library has no debug information'

now=$(mktemp) tmp=$(mktemp)
trap 'rm -f "$now" "$tmp"' EXIT
abidw --suppressions "$here/public.suppr" --exported-interfaces-only --no-corpus-path \
	--no-comp-dir-path --no-show-locs --no-elf-needed --type-id-style hash \
	--out-file "$tmp" "$lib" || exit 2
sed -E "s,path='[^']*/((src|adapters)/),path='\1," "$tmp" >"$now"

# same DUMP : 0, or 1: it is not. Bits 4 and 8 of abidiff's status; the others are its own
# trouble. (The library itself, with public.suppr, would let changes pass.)
same() {
	abidiff "$1" "$now"
	case $? in
	0) return 0 ;;
	4 | 8 | 12) return 1 ;;
	*) exit 2 ;;
	esac
}
# planted NAME SED : a dump of a library that differs in this from ours is not let pass
planted() {
	sed "$2" "$dump" >"$tmp"
	if cmp -s "$dump" "$tmp"; then
		echo "$1: nothing to plant in $dump"
	elif (same "$tmp" >/dev/null); then
		echo "$1: not found"
	elif [ $? = 1 ]; then
		return
	else
		echo "$1: abidiff failed"
	fi
	ret=1
}

case $what in
check)
	same "$dump" && exit 0
	echo "the ABI changed. Additions: ninja abi-dump, with a line in CHANGELOG.md and a node"
	echo "of this release in the .map file. Anything else breaks programs that exist."
	exit 1
	;;
plant)
	ret=0
	planted 'a member moved' '/layout-offset-in-bits/ s/='\''64'\''/='\''128'\''/'
	planted 'a structure grew' "/class-decl name='mmu_interval_notifier'/ s/'1024'/'960'/"
	planted 'an enumerator got another value' "s/\(name='MMU_NOTIFY_CLEAR' value=\)'1'/\1'9'/"
	planted 'a function has one parameter less' \
		"/function-decl name='hmmu_mm_open'/,/<return/ { /<parameter.*'options'/d }"
	planted 'a function is new' "/elf-symbol name='hmmu_reclaim'/d
		/function-decl name='hmmu_reclaim'/,/<.function-decl/d"
	planted 'a function is gone' "/elf-symbol name='hmmu_reclaim'/ { p; s/hmmu_/hmmu_un/ }"
	planted 'a node is another' "s/HMMU_0.1/HMMU_0.0/"
	exit $ret
	;;
write) cat "$now" >"$dump" ;;
esac

# SPDX-License-Identifier: MIT
# common.sh HMMU COMPLETIONS [torture] - what the tests of the command line share.
hmmu=$1 completions=$2
subs=(doctor watch)
[ -n "${3:-}" ] && subs+=(torture)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
	printf '%s\n' "$*" >&2
	[ ! -s "$dir/out" ] || head -n 20 "$dir/out" >&2
	[ ! -s "$dir/err" ] || head -n 20 "$dir/err" >&2
	exit 1
}
# expect STATUS ARGUMENT... : hmmu's exit status; its output is in $dir/out and $dir/err
expect() {
	local want=$1 got
	shift
	"$hmmu" "$@" >"$dir/out" 2>"$dir/err"
	got=$?
	[ "$got" = "$want" ] || fail "hmmu $*: exit status $got, not $want"
}
# The options that COMMAND's help begins a line with.
options() { "$hmmu" "$@" --help | sed -nE 's/^  (-[a-z]|--[a-z-]+)[ [].*/\1/p' | sort; }

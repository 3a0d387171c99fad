# SPDX-License-Identifier: MIT
# common.sh - for the tests of `hmmu watch`: sourced with the paths in $1 (hmmu) and $2
# (victim). A failure is said and counted; finish ends the test.
hmmu=$(realpath "$1")
victim=$(realpath "$2")
query=$(dirname "$0")/query.py
failures=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
report=$dir/report
unset LD_PRELOAD

fail() {
	echo "FAILED: $*"
	failures=$((failures + 1))
}

# expect STATUS COMMAND... : it ends with this status; its output goes to $dir/out, $dir/err
expect() {
	want=$1
	shift
	"$@" >"$dir/out" 2>"$dir/err"
	got=$?
	[ "$got" = "$want" ] || { fail "status $got instead of $want: $*"; cat "$dir/err"; }
}

# watched STATUS MODE [ARG] : the victim, its report in $report as JSON
watched() {
	want=$1
	shift
	expect "$want" "$hmmu" watch --json -o "$report" -- "$victim" "$@"
}

# says WORDS : standard error of the last one
says() {
	grep -q -- "$1" "$dir/err" || { fail "standard error does not say '$1':"; cat "$dir/err"; }
}

# true_of EXPRESSION... : of the report (query.py)
true_of() {
	python3 "$query" "$report" "$@" || failures=$((failures + 1))
}

skip() {
	echo "skipped: $*"
	exit 77
}

finish() {
	[ "$failures" = 0 ] || { echo "$failures failures"; exit 1; }
	exit 0
}

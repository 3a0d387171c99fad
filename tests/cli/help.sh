#!/bin/bash
# SPDX-License-Identifier: MIT
# help.sh - every help fits a screen of 80 x 24, names its exit statuses, is the same by both
# its ways; what is not known is said in one line, with a hint, and ends with 2.
set -u
. "$(dirname "$0")/common.sh"

# A line of 80 columns may wrap, and the prompt wants one.
screen() {
	[ "$(wc -l <"$dir/out")" -le 23 ] || fail "$1: more than a screen"
	[ "$(wc -L <"$dir/out")" -le 79 ] || fail "$1: wider than a screen"
	grep -q '^usage: hmmu' "$dir/out" || fail "$1: no usage"
	grep -q '^Exit status: ' "$dir/out" || fail "$1: exit statuses are not named"
	[ ! -s "$dir/err" ] || fail "$1: something on standard error"
}
refused() {
	expect 2 "$@"
	[ ! -s "$dir/out" ] || fail "hmmu $*: something on standard output"
	[ "$(wc -l <"$dir/err")" = 1 ] || fail "hmmu $*: not one line"
	grep -q '; see hmmu.* --help$' "$dir/err" || fail "hmmu $*: no hint"
}

expect 0 --help && screen --help
cp "$dir/out" "$dir/help"
expect 0 help && cmp "$dir/out" "$dir/help" || fail "help is another than --help"
expect 0 -h && cmp "$dir/out" "$dir/help" || fail "-h is another than --help"
for sub in "${subs[@]}"; do
	grep -q "^  $sub " "$dir/help" || fail "$sub is not in hmmu --help"
	expect 0 "$sub" --help && screen "$sub --help"
	cp "$dir/out" "$dir/one"
	expect 0 "$sub" -h && cmp "$dir/out" "$dir/one" || fail "$sub -h"
	expect 0 help "$sub" && cmp "$dir/out" "$dir/one" || fail "help $sub"
	expect 0 "$sub" --help=all
	head -n "$(wc -l <"$dir/one")" "$dir/out" | cmp - "$dir/one" || fail "$sub --help=all"
	[ "$(wc -L <"$dir/out")" -le 80 ] || fail "$sub --help=all: wider than a screen"
	refused "$sub" --nonsense
	refused "$sub" -x
	refused "$sub" --help=nonsense
	refused "$sub" --json=yes
	grep -q 'takes no value' "$dir/err" || fail "--json=yes: not what is wrong"
done
refused
refused nonsense
refused --nonsense
refused help nonsense
refused help doctor nonsense
refused --help nonsense
refused --version nonsense
refused --version --json nonsense
refused doctor --source
refused doctor nonsense
refused watch

expect 0 --version
for source in explicit hooks userfaultfd seccomp; do
	grep -qE "^  $source +(yes|no)" "$dir/out" || fail "--version: no $source"
done
expect 0 --version --json
python3 - "$dir/out" <<-'EOF' || fail "--version --json"
	import json, sys
	v = json.load(open(sys.argv[1]))
	assert set(v) == {"version", "sources", "parts"}
	assert set(v["sources"]) == {"explicit", "hooks", "userfaultfd", "seccomp"}
	assert v["sources"]["explicit"] is True
EOF

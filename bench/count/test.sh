#!/bin/sh
# SPDX-License-Identifier: MIT
# test.sh HMMU-COUNT - does the check fail when it must? Budgets are changed in a copy;
# two operations are wrong on purpose.
set -eu
check=$(dirname "$0")/budgets.py count=$1
command -v valgrind >/dev/null 2>&1 || { echo "skipped: no valgrind"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$check" --write --only access_ok "$count" >"$dir/right"
budget=$(awk '$1 == "instructions" && $3 == "access_ok" { print $4 }' "$dir/right")
failed=0

# case NAME EXIT TEXT ONLY FILE
case_() {
	ret=0
	"$check" --budgets "$5" --only "$4" "$count" >"$dir/out" 2>&1 || ret=$?
	if [ $ret = "$2" ] && grep -q -- "$3" "$dir/out"; then
		echo "ok      $1"
	else
		echo "FAILED  $1: exit $ret, not $2; or it does not say \"$3\":"
		cat "$dir/out"
		failed=1
	fi
}

# budget FACTOR: the file with another budget for access_ok
budget() {
	awk -v f="$1" '$1 == "instructions" && $3 == "access_ok" { $4 *= f } { print }' \
		"$dir/right" >"$dir/file"
}

case_ "as it is" 0 'access_ok' access_ok "$dir/right"
budget 0.9
case_ "10 % too many" 1 "FAILED  access_ok: $budget instructions, budget .*: 11.1 % too many" \
	access_ok "$dir/file"
budget 0.96
case_ "4 % too many" 0 'access_ok' access_ok "$dir/file"
budget 1.1
case_ "10 % fewer" 0 'lower the budget' access_ok "$dir/file"
grep -v '^instructions' "$dir/right" >"$dir/file"
case_ "no budget" 1 'no budget: add "instructions hmmu access_ok' access_ok "$dir/file"
{ cat "$dir/right"; echo "lines hmmu not-access_ok-any-more 0"; } >"$dir/file"
case_ "a budget of nothing" 1 'was not counted' access_ok "$dir/file"
sed 's/^built compiler.*/built compiler tcc 0.1/' "$dir/right" >"$dir/file"
case_ "another compiler" 77 'the budgets are for compiler "tcc 0.1"' access_ok "$dir/file"
grep -v '^built options' "$dir/right" >"$dir/file"
case_ "options not named" 77 'the budgets are for options' access_ok "$dir/file"

# Wrong on purpose: a shared store in the read side, with a budget for it; a loop.
{
	grep '^built' "$dir/right"
	echo "instructions hmmu planted-store 1000"
	echo "lines hmmu planted-store 1"
} >"$dir/file"
case_ "the read side writes" 1 'the read side writes a line that threads share' \
	planted-store "$dir/file"
{
	grep '^built' "$dir/right"
	echo "instructions hmmu planted-loop $budget"
	echo "lines hmmu planted-loop 0"
} >"$dir/file"
case_ "a loop more" 1 'FAILED  planted-loop: .* too many' planted-loop "$dir/file"
exit $failed

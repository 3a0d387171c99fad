# SPDX-License-Identifier: MIT
# lib.sh - what scripts/test and scripts/verify share: run checks and meson suites, add up,
# end with "N passed, N failed[, N skipped]".
#
# A planted bug that a test must find counts as passed when the test fails.
# HMMU_SUMS: a file that gets the three numbers, too.
# HMMU_FAILURES: a file that gets what each failed check said last.
# HMMU_QUIET: only what failed or was skipped is shown, no progress.
passed=0 failed=0 skipped=0
summary=() second=() tried_again=0

say() { printf '\n== %s\n' "$*"; }

# failure NAME FILE : it failed and said FILE
failure() {
	summary+=("$1")
	[ -z "${HMMU_FAILURES:-}" ] ||
		{ printf '\n-- %s\n' "$1"; tail -n 60 "$2"; } >>"$HMMU_FAILURES"
}

# check NAME COMMAND... : one check of ours; 77 is a skip
check() {
	local name=$1 out ret start=$SECONDS
	shift
	out=$("$@" 2>&1)
	ret=$?
	case $ret in
	0) passed=$((passed + 1)); printf 'ok      %s (%d s)\n' "$name" $((SECONDS - start)) ;;
	77) skipped=$((skipped + 1)); printf 'skipped %s: %s\n' "$name" "$(tail -n 1 <<<"$out")" ;;
	*)
		failed=$((failed + 1)); printf 'FAILED  %s\n%s\n' "$name" "$(tail -n 200 <<<"$out")"
		failure "$name" <(printf '%s\n' "$out")
		;;
	esac
}

# shown NAME COMMAND... : the same for what takes minutes: its output is seen as it comes
shown() {
	local name=$1 ret start=$SECONDS log
	shift
	log=$(mktemp)
	if [ -n "${HMMU_QUIET:-}" ]; then
		"$@" >"$log" 2>&1
	else
		"$@"
	fi
	ret=$?
	case $ret in
	0) passed=$((passed + 1)); printf 'ok      %s (%d s)\n' "$name" $((SECONDS - start)) ;;
	77) skipped=$((skipped + 1)); printf 'skipped %s\n' "$name" ;;
	*)
		failed=$((failed + 1)); printf 'FAILED  %s\n' "$name"
		failure "$name" "$log"
		;;
	esac
	rm -f "$log"
}

# build DIR [MESON OPTION...] : configure and compile, warnings are errors
build() {
	local dir=$1
	shift
	if [ ! -e "$dir/build.ninja" ]; then
		meson setup "$dir" -Dlibdir=lib "$@" >"$dir.log" 2>&1 || { cat "$dir.log"; return 1; }
	fi
	ninja -C "$dir" >"$dir.log" 2>&1 || { grep -v '^\[' "$dir.log" | head -n 60; return 1; }
	rm -f "$dir.log"
}

# suites DIR SUITE... : run them and add up what meson counts; not what is of suite `long`, too
suites() {
	local dir=$1 args=() s
	shift
	for s in "$@"; do args+=(--suite "$s"); done
	tests "$dir" --no-suite long "${args[@]}"
}

# again DIR LINE : the test of that line of meson's fails when it is run once more, alone?
# Some tests use all that a machine has, and others may use it, too: what such a one does
# once is told, at the end, by name, but it is a failure only if it does so again. Where more
# than a few fail it is not the machine.
again() {
	local name=${2#* / }
	name=$(sed -E 's/ +(FAIL|TIMEOUT|ERROR|UNEXPECTEDPASS) .*//' <<<"$name")
	[ "$((tried_again += 1))" -le 3 ] || return 1
	# A name that meson does not find is no failure to it: one must have run.
	meson test -C "$1" --no-rebuild "$name" 2>&1 </dev/null |
		grep -E '^(Ok|Expected Fail): +[1-9]' >/dev/null &&
		[ "${PIPESTATUS[0]}" = 0 ] || return 1
	failed=$((failed - 1)) passed=$((passed + 1))
	second+=("$1: $2")
}

# tests DIR ARGUMENT... : the same for meson test's own arguments, names of tests
tests() {
	local dir=$1 log key n s hidden='^(ninja|$|Full log|Ok:|Fail:|Skipped:|Timeout:|Expected|Unexpected)'
	shift
	[ -z "${HMMU_QUIET:-}" ] || hidden+='|^ *[0-9]+/[0-9]+ .* (OK|EXPECTEDFAIL) '
	log=$(mktemp)
	meson test -C "$dir" --no-rebuild --print-errorlogs "$@" 2>&1 | tee "$log" |
		grep -vE "$hidden"
	while read -r key n; do
		case $key in
		Ok: | Planted:) passed=$((passed + n)) ;;
		Fail: | Timeout: | Pass:) failed=$((failed + n)) ;;
		Skipped:) skipped=$((skipped + n)) ;;
		esac
	done < <(sed -nE 's/^(Ok:|Fail:|Timeout:|Skipped:) +([0-9]+) *$/\1 \2/p; s/^Unexpected (Pass:) +([0-9]+) *$/\1 \2/p; s/^Expected Fail: +([0-9]+) *$/Planted: \1/p' "$log")
	if ! grep -q '^Ok:' "$log"; then
		failed=$((failed + 1))
		failure "$dir: meson test did not finish" "$log"
		cat "$log"
	fi
	while read -r s; do
		again "$dir" "$s" && continue
		failure "$dir: $s" <(grep -m 1 -F -A 60 -- " $s" "$log")
	done < <(grep -E '^ *[0-9]+/[0-9]+ .* (FAIL|TIMEOUT|ERROR|UNEXPECTEDPASS) ' "$log" | sed -E 's/^ *[0-9]+\/[0-9]+ //' | sort -u)
	rm -f "$log"
}

# sum N N N : the closing line
sum() {
	if [ "$3" -gt 0 ]; then
		echo "$1 passed, $2 failed, $3 skipped"
	else
		echo "$1 passed, $2 failed"
	fi
}

# The end of a script: what failed, the sum, the exit status.
finish() {
	local s
	echo
	for s in "${summary[@]}"; do printf 'failed: %s\n' "$s"; done
	for s in "${second[@]}"; do printf 'passed only when tried again, alone: %s\n' "$s"; done
	[ -z "${HMMU_SUMS:-}" ] || echo "$passed $failed $skipped" >>"$HMMU_SUMS"
	sum "$passed" "$failed" "$skipped"
	[ "$failed" = 0 ]
}

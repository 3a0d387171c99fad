#!/bin/bash
# SPDX-License-Identifier: MIT
# output.sh - output that nobody takes or that cannot be written: no hang, and the status
# says so. What is not a terminal gets no escape sequence.
set -u
. "$(dirname "$0")/common.sh"
short=(doctor --source explicit --operation munmap)

for args in --help --version "--version --json" help "doctor --help" "watch --help" \
	"${short[*]}" "${short[*]} --json"; do
	# shellcheck disable=SC2086
	"$hmmu" $args >/dev/full 2>"$dir/err" && fail "hmmu $args >/dev/full succeeds"
	grep -q 'No space left' "$dir/err" || fail "hmmu $args >/dev/full: not said"
	# A pipe that nobody reads any more.
	# shellcheck disable=SC2086
	"$hmmu" $args 2>"$dir/err" | sleep 0
	status=("${PIPESTATUS[@]}")
	# It may have been read by nobody after all was in the pipe.
	case ${status[0]} in
	0 | 1 | 141) ;;
	*) fail "hmmu $args | sleep 0: ${status[0]}" ;;
	esac
done
# With the reader gone before anything is written: killed, or SIGPIPE ignored and it fails.
mkfifo "$dir/pipe"
for how in - ''; do
	exec 3<>"$dir/pipe"
	exec 4>"$dir/pipe" 3>&-
	(
		trap "$how" PIPE
		exec "$hmmu" --help >&4 2>"$dir/err"
	)
	status=$?
	exec 4>&-
	[ "$status" = "$([ "$how" = - ] && echo 141 || echo 1)" ] ||
		fail "a reader that is gone: $status"
done
expect 125 watch -o /nowhere/at/all -- true
expect 125 watch -o /dev/full -- true

expect 0 "${short[@]}"
grep -q $'\033' "$dir/out" "$dir/err" && fail "escape sequences to a file"
grep -q $'\r' "$dir/err" && fail "progress to a file"
expect 0 "${short[@]}" --json
python3 -m json.tool <"$dir/out" >/dev/null || fail "no JSON"
exit 0

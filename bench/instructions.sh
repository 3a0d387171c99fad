#!/bin/sh
# SPDX-License-Identifier: MIT
# instructions.sh ICOUNT - instructions per operation, counted by callgrind: the same
# on every run and every machine of an architecture. 77 (skipped) without valgrind.
set -eu

icount=${1:?usage: instructions.sh path/to/hmmu-icount}
times=1000

if ! command -v valgrind >/dev/null 2>&1; then
	echo "skipped: valgrind is not installed (apt-get install valgrind)"
	exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# total SIDE OPERATION TIMES: instructions of the whole process
total() {
	if ! valgrind --tool=callgrind --callgrind-out-file="$dir/out" "$icount" "$@" \
		>"$dir/log" 2>&1; then
		cat "$dir/log" >&2
		exit 1
	fi
	awk '/^(summary|totals):/ { n = $2 } END { print n }' "$dir/out"
}

# per_operation SIDE OPERATION
per_operation() {
	few=$(total "$1" "$2" $times)
	many=$(total "$1" "$2" $((2 * times)))
	awk -v few="$few" -v many="$many" -v n=$times \
		'BEGIN { printf "%.1f", (many - few) / n }'
}

printf '%-28s %10s %10s\n' "instructions per operation" hmmu reference
"$icount" --list | while read -r operation; do
	printf '%-28s %10s %10s\n' "$operation" \
		"$(per_operation hmmu "$operation")" \
		"$(per_operation reference "$operation")"
done

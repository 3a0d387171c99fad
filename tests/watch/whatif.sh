#!/bin/sh
# SPDX-License-Identifier: MIT
# whatif.sh HMMU VICTIM - known buffers, known invalidations, known figures.
. "$(dirname "$0")/common.sh"

expect 0 "$hmmu" watch --what-if 1M --json -o "$report" -- "$victim" buffers
w='d["what_if"]'
true_of "$w['size'] == 2**20" "$w['registrations'] == 2" "$w['invalidated'] == 4" \
	"$w['registered_again'] == 19 * 2**20" \
	'sum(s["invalidated"] for s in d["sites"]) == 4' \
	'sum(s["registered_again"] for s in d["sites"]) == 19 * 2**20'
expect 0 "$hmmu" watch --what-if 64K --json -o "$report" -- "$victim" buffers
true_of "$w['registrations'] == 3" "$w['invalidated'] == 5" \
	"$w['registered_again'] == 19 * 2**20 + 65536"
expect 0 "$hmmu" watch --what-if 1G --json -o "$report" -- "$victim" buffers
true_of "$w['registrations'] == 0" "$w['invalidated'] == 0" "$w['registered_again'] == 0"
expect 0 "$hmmu" watch --what-if 1M -- "$victim" buffers
says '4 registrations invalidated'
says '2 invalidated, 16M again: madvise DONTNEED'
finish

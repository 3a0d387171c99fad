#!/bin/sh
# SPDX-License-Identifier: MIT
# calls.sh HMMU VICTIM - known calls are reported: how many, how large, from where.
. "$(dirname "$0")/common.sh"

expect 0 "$hmmu" watch --json --events -o "$report" -- "$victim" known
true_of 'calls("munmap") == 11' 'calls("madvise DONTNEED") == 3' 'calls("madvise FREE") == 1' \
	'calls("madvise other") == 0' 'calls("mprotect") == 2' 'calls("mmap fixed") == 1' \
	'calls("mremap") == 2' 'calls("brk") == 1' 'calls("fork") == 0'
p='d["processes"][0]["operations"]'
true_of "$p['mremap']['ranges'] == 3" "$p['mprotect']['failed'] == 1" "$p['munmap']['failed'] == 0" \
	"$p['munmap']['bytes'] == 10 * 2**20 + 4096" \
	"$p['madvise DONTNEED']['bytes'] == 3 * 8192" "$p['brk']['bytes'] == 2**20" \
	'd["dropped"] == 0' 'len(d["processes"]) == 1' 'd["missed"] == []'
# Every event, in the order of time, in the range that it was.
true_of 'len(d["events"]) == 22' \
	'all(a["time"] <= b["time"] for a, b in zip(d["events"], d["events"][1:]))' \
	'sum(e["second"] for e in d["events"]) == 1' \
	'all(int(e["end"], 16) - int(e["start"], 16) == 8192
		for e in d["events"] if e["operation"] == "madvise DONTNEED")' \
	'{e["thread"] for e in d["events"]} == {d["processes"][0]["pid"]}'
if "$hmmu" watch -o "$report.text" -- "$victim" known && ! grep -q 'without libdw' "$report.text"; then
	# Ten calls of one way are one site; its frames are the functions, in order.
	true_of 'any(s["calls"] == 10 and "victim_inner" in s["frames"][0]
		and "victim_outer" in s["frames"][1] and "known" in s["frames"][2]
		and s["whole"] for s in d["sites"])' \
		'not any("hmmu" in f for s in d["sites"] for f in s["frames"])'
	grep -q 'victim_inner' "$report.text" || fail "no function in the text"
fi
grep -q '^munmap  *11  *11 ' "$report.text" || { fail "no line of munmap"; cat "$report.text"; }

# Without stacks: the caller's function is known all the same, and it is said.
expect 0 "$hmmu" watch --stack 0 --json -o "$report" -- "$victim" known
true_of 'calls("munmap") == 11'
finish

#!/bin/sh
# SPDX-License-Identifier: MIT
# tree.sh HMMU VICTIM [STATIC VICTIM] - children: forked, spawned, exec'ed, left behind,
# unreachable.
. "$(dirname "$0")/common.sh"
still=${3:+$(realpath "$3")}

watched 4 fork
true_of 'len(d["processes"]) == 2' 'calls("fork") == 1' \
	'calls("munmap", by(began="fork")[0]) == 2' 'calls("munmap", by(began="exec")[0]) == 1' \
	'by(began="fork")[0]["parent"] == by(began="exec")[0]["pid"]' \
	'by(began="fork")[0]["bytes"] == 4 * 2**20'

# posix_spawn: a child that shares its parent's memory until it calls exec.
watched 11 spawn
true_of 'len(d["processes"]) == 2' 'all(p["began"] == "exec" for p in d["processes"])' \
	'd["processes"][1]["parent"] == d["processes"][0]["pid"]' \
	'calls("munmap", d["processes"][1]) == 1' 'd["missed"] == []'

# exec in a thread: the same process, another program.
watched 0 thread
true_of 'len(d["processes"]) == 2' 'd["processes"][0]["pid"] == d["processes"][1]["pid"]' \
	'd["processes"][0]["ended"] == "exec"' 'calls("munmap", d["processes"][0]) >= 1' \
	'calls("munmap", d["processes"][1]) == 11'

# The child goes on when its parent has ended; the status is the parent's.
watched 6 orphan
true_of 'len(d["processes"]) == 2' 'calls("munmap", by(began="fork")[0]) == 5' \
	'd["processes"][0]["ended"] == "exit"'
expect 6 "$hmmu" watch --until-exit --json -o "$report" -- "$victim" orphan 150
true_of 'by(began="fork")[0]["ended"] == "runs"'

# An environment that was cleaned: it runs unwatched, and that is said.
watched 11 clean
true_of 'len(d["processes"]) == 1' 'len(d["missed"]) == 1' \
	'"environment" in d["missed"][0]["why"]'
expect 11 "$hmmu" watch -- "$victim" clean
says '^MISSED:.*environment'

if [ -n "$still" ]; then
	expect 11 "$hmmu" watch -- "$still" slow
	says 'it is statically linked'
	says 'HMMU_SOURCE_SECCOMP'
	says 'MISSED: nothing was watched'
	expect 11 "$hmmu" watch -- sh -c "exec '$still' slow"
	says '^MISSED:.*statically linked'
fi

# Scripts: their interpreter is what runs.
printf '#!%s/victim-link exit 9\n' "$dir" >"$dir/script"
ln -s "$victim" "$dir/victim-link"
chmod +x "$dir/script"
expect 88 "$hmmu" watch --json -o "$report" -- "$dir/victim-link"
printf '#!/bin/sh\nexit 9\n' >"$dir/script"
expect 9 "$hmmu" watch --json -o "$report" -- "$dir/script"
true_of 'len(d["processes"]) == 1'
finish

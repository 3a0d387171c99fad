#!/bin/sh
# SPDX-License-Identifier: MIT
# record.sh HMMU VICTIM - a run is recorded, and torture replays it; what is no recording is
# refused in words.
. "$(dirname "$0")/common.sh"

expect 0 "$hmmu" watch --record "$dir/run" -o "$report" -- "$victim" known
[ -s "$dir/run" ] || fail "no recording"
[ -e "$dir/run.part" ] && fail "a part was left"
cp "$dir/run" "$dir/first"
# Nothing tells where the memory was: the recordings of two runs have equal ranges.
expect 0 "$hmmu" watch --record "$dir/again" -o "$report" -- "$victim" known
[ "$(wc -c <"$dir/run")" = "$(wc -c <"$dir/again")" ] || fail "two runs, two sizes"

refused() {
	expect 2 "$hmmu" torture --seconds 1 --replay "$dir/bad"
	says "$1"
}
: >"$dir/bad"; refused 'truncated'
head -c 40 "$dir/run" >"$dir/bad"; refused 'truncated'
head -c 200 "$dir/run" >"$dir/bad"; refused 'events announced\|truncated'
echo 'this is not a recording, but a text that is long enough for a header' >"$dir/bad"
refused 'not a recording'
{ head -c 8 "$dir/run"; printf '\007'; tail -c +10 "$dir/run"; } >"$dir/bad"; refused 'version 7'
{ cat "$dir/run"; echo; } >"$dir/bad"; refused 'too many at the end'
{ head -c 24 "$dir/run"; printf '\377\377\377\377\377\377\377\177'; tail -c +33 "$dir/run"; } \
	>"$dir/bad"
refused 'events announced'
expect 2 "$hmmu" torture --replay "$dir"
says 'not a regular file'
expect 2 "$hmmu" torture --replay "$dir/none"
says 'No such file'
expect 125 "$hmmu" watch --record "$dir/no/such/dir" -- "$victim" exit 0
says 'No such file'

"$hmmu" torture --seconds 2 --json --replay "$dir/run" >"$report" 2>"$dir/err"
got=$?
if grep -q 'cannot run' "$dir/err"; then
	echo "skipped in part: torture cannot run here"
	finish
fi
says 'replaying'
[ "$got" = 0 ] || fail "torture: $(cat "$dir/err")"
# What was recorded was made, and nothing else.
python3 - "$report" <<'END' || fail "other operations than the recorded"
import json, sys
d = json.load(open(sys.argv[1]))
made = {c["operation"] for c in d["cells"] if sum(c.get("invalidations", []))}
print(sorted(made))
want = {"munmap", "map-fixed", "mremap", "mremap-fixed", "dontneed", "madv-free", "brk"}
sys.exit(not (made <= want and {"munmap", "dontneed"} <= made))
END
finish

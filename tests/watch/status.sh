#!/bin/sh
# SPDX-License-Identifier: MIT
# status.sh HMMU VICTIM - the command's status, signal and output are what they are without
# us; what cannot be run is said in words.
. "$(dirname "$0")/common.sh"

watched 0 exit 0
watched 5 exit 5
watched 255 exit 255
true_of 'd["exit"] == 255' 'len(d["processes"]) == 1'

# Of the same signal, not of a status that looks like it.
for number in 15 9 6; do
	python3 - "$hmmu" "$victim" "$number" "$report" <<'END' || fail "signal $number"
import subprocess, sys
hmmu, victim, number, report = sys.argv[1:]
p = subprocess.run([hmmu, "watch", "--json", "-o", report, "--", victim, "signal", number])
sys.exit(p.returncode != -int(number))
END
	true_of "d['signal'] == $number"
done

expect 127 "$hmmu" watch -- no-such-command-here
says 'command not found'
expect 127 "$hmmu" watch -- "$dir/none"
says 'command not found'
echo 'not a program' >"$dir/plain"
expect 126 "$hmmu" watch -- "$dir/plain"
says 'cannot be executed'
expect 126 "$hmmu" watch -- "$dir"
says 'cannot be executed'

expect 2 "$hmmu" watch
says 'no command'
expect 2 "$hmmu" watch --nonsense -- true
says 'unknown option'
for bad in '--what-if 5X' '--what-if 0' '--buffer 100' '--stack 1G' '--top -1'; do
	expect 2 "$hmmu" watch $bad -- true
	says 'not a number in range'
done
expect 0 "$hmmu" watch --help

# The report is not the command's output, and no descriptor is there that was not.
expect 0 "$hmmu" watch -o "$report" -- sh -c 'echo one; echo two >&2'
printf 'one\n' | cmp - "$dir/out" || fail "standard output changed"
printf 'two\n' | cmp - "$dir/err" || fail "standard error changed"
sh -c 'ls /proc/self/fd' >"$dir/bare"
expect 0 "$hmmu" watch -o "$report" -- sh -c 'ls /proc/self/fd'
cmp "$dir/bare" "$dir/out" || fail "descriptors: $(cat "$dir/out")"
expect 0 "$hmmu" watch -- "$victim" exit 0
says '0 events dropped'

# What is sent to the watcher, the command gets.
"$hmmu" watch --json -o "$report" -- sleep 60 &
watcher=$!
for i in $(seq 100); do
	[ -e "/proc/$watcher/task/$watcher/children" ] || break
	grep -q . "/proc/$watcher/task/$watcher/children" && break
	sleep 0.05
done
kill -TERM "$watcher"
wait "$watcher"
[ $? = 143 ] || fail "SIGTERM was not passed on"
true_of 'd["signal"] == 15'
finish

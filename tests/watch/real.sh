#!/bin/sh
# SPDX-License-Identifier: MIT
# real.sh HMMU VICTIM PROGRAM - a real program: its output, files and status are those of a
# bare run; the events agree with what strace sees of the same program.
#
# What strace sees and the module does not is the dynamic linker's: one munmap for each
# time that it has read ld.so.cache, mprotects of what it has relocated; and all that
# comes before the module's constructor. It never calls madvise and never shrinks brk.
. "$(dirname "$0")/common.sh"
dir_of_tests=$(dirname "$0")

# compare COMMAND... : bare, then watched
compare() {
	"$@" >"$dir/bare.out" 2>"$dir/bare.err"
	bare=$?
	"$hmmu" watch --json -o "$report" -- "$@" >"$dir/out" 2>"$dir/err"
	got=$?
	[ "$got" = "$bare" ] || fail "status $got instead of $bare: $*"
	cmp "$dir/bare.out" "$dir/out" || fail "standard output of $*"
	cmp "$dir/bare.err" "$dir/err" || fail "standard error of $*"
	true_of 'd["dropped"] == 0' 'd["missed"] == []' \
		'all(p["error"] == 0 for p in d["processes"])'
}

# agrees EXACT|NEARLY COMMAND... : with strace's counts
agrees() {
	how=$1
	shift
	command -v strace >/dev/null || { echo "skipped in part: no strace"; return; }
	strace -f -o "$dir/trace" -e trace=memory,openat,execve,exit_group "$@" \
		>"$dir/strace.out" 2>&1
	grep -q execve "$dir/trace" || { echo "skipped in part: strace cannot trace here"; return; }
	python3 "$dir_of_tests/agree.py" "$dir/trace" "$report" "$how" || fail "against strace: $*"
}

need() {
	for tool in "$@"; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
}

gcc_test() {
	need gcc cmp
	cat >"$dir/a.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
static int twice(int x) { return x + x; }
int main(void) { char b[16]; snprintf(b, sizeof(b), "%d", twice(21)); return puts(b) < 0; }
END
	compare gcc -O2 -c "$dir/a.c" -o "$dir/a.o"
	mv "$dir/a.o" "$dir/watched.o"
	gcc -O2 -c "$dir/a.c" -o "$dir/a.o"
	cmp "$dir/a.o" "$dir/watched.o" || fail "another object file"
	"$hmmu" watch --json -o "$report" -- gcc -O2 -c "$dir/a.c" -o "$dir/a.o"
	true_of 'by("cc1") and by("as") and by("gcc")' 'len(by("cc1")) == 1' \
		'by("cc1")[0]["parent"] == by("gcc")[0]["pid"]'
	agrees EXACT gcc -O2 -c "$dir/a.c" -o "$dir/a.o"
	echo 'int main(void) { return nothing; }' >"$dir/b.c"
	compare gcc -c "$dir/b.c" -o "$dir/b.o"
}

python3_test() {
	python=$(python3 -c 'import sys; print(sys.executable)') || skip "no python3"
	cat >"$dir/threads.py" <<'END'
import subprocess, sys, threading
total = []
def work(n):
    total.append(sum(len(bytearray(1 << 20)) for _ in range(n)))
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(sum(total))
r = subprocess.run([sys.executable, "-c", "print(len(bytearray(1 << 24)))"],
                   capture_output=True, text=True)
print(r.stdout.strip(), file=sys.stderr)
sys.exit(3)
END
	compare "$python" "$dir/threads.py"
	true_of 'd["exit"] == 3' 'len(d["processes"]) == 2' 'calls("munmap") >= 8' \
		'calls("madvise DONTNEED") >= 1'
	agrees NEARLY "$python" "$dir/threads.py"
}

sqlite3_test() {
	need sqlite3
	cat >"$dir/sql" <<'END'
create table t(a, b);
with recursive c(x) as (values(1) union all select x + 1 from c where x < 50000)
	insert into t select x, hex(x) from c;
create index i on t(b);
select count(*), sum(a), max(b) from t;
.exit 2
END
	compare sh -c "rm -f '$dir/db'; sqlite3 -init /dev/null '$dir/db' '.read $dir/sql'"
	compare sqlite3 -init /dev/null :memory: ".read $dir/sql"
	true_of 'len(by("sqlite3")) == 1' 'd["processes"][0]["calls"] >= 1'
	agrees EXACT sqlite3 -init /dev/null :memory: ".read $dir/sql"
}

# A port that nobody has now.
free_port() {
	python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

redis_test() {
	need redis-server redis-cli redis-benchmark
	port=$(free_port)
	"$hmmu" watch --json -o "$report" -- redis-server --port "$port" --bind 127.0.0.1 --save '' \
		--appendonly no --dir "$dir" --daemonize no >"$dir/out" 2>"$dir/err" &
	watcher=$!
	for i in $(seq 100); do
		redis-cli -p "$port" ping >/dev/null 2>&1 && break
		kill -0 "$watcher" 2>/dev/null || break
		sleep 0.1
	done
	redis-benchmark -p "$port" -q -n 5000 -d 20000 -t set,get,lpush >"$dir/bench" 2>&1 ||
		fail "redis-benchmark: $(cat "$dir/bench" "$dir/out")"
	redis-cli -p "$port" set one two >/dev/null
	[ "$(redis-cli -p "$port" get one)" = two ] || fail "it does not answer"
	# A child that writes the data: fork without exec.
	redis-cli -p "$port" bgsave >/dev/null
	for i in $(seq 100); do
		[ "$(redis-cli -p "$port" info persistence | tr -d '\r' |
			sed -n 's/^rdb_bgsave_in_progress://p')" = 0 ] && break
		sleep 0.1
	done
	pid=$(redis-cli -p "$port" info server | tr -d '\r' | sed -n 's/^process_id://p')
	kill "$pid"
	wait "$watcher"
	got=$?
	[ "$got" = 0 ] || fail "status $got"
	true_of 'calls("fork") >= 1' 'len(by(began="fork")) >= 1' 'd["dropped"] == 0' \
		'd["missed"] == []' "by(began='exec')[0]['pid'] == ${pid:-0}"
}

"$3_test"
finish

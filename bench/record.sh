#!/bin/sh
# SPDX-License-Identifier: MIT
# record.sh HMMU DIRECTORY [LOAD...] - record what programs change in their memory, with `hmmu
# watch`, for `hmmu-bench --only loads`: gcc, python3, redis, sqlite3, or those that are named. Each
# becomes DIRECTORY/LOAD.rec.gz (docs/record-format.md), some kilobytes. No addresses are in them.
#
# bench/loads/ holds those of one run. 77: a program is not installed (apt-get install gcc python3
# redis-server redis-tools sqlite3).
set -eu
if [ $# -lt 2 ]; then
	sed -n 's/^# //p' "$0" | sed -n 2,8p
	exit 2
fi
hmmu=$(realpath "$1") out=$(realpath "$2")
shift 2
[ $# -gt 0 ] || set -- gcc python3 redis sqlite3
root=$(realpath "$(dirname "$0")/..")
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || :; rm -rf "$dir"' EXIT

need() {
	for tool in "$@"; do
		command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
	done
}
# watch LOAD COMMAND...
watch() {
	load=$1
	shift
	"$hmmu" watch -o "$dir/$load.txt" --record "$dir/$load.rec" --buffer 65536 --stack 0 -- "$@" >/dev/null
}

# Three files of the library itself, as they are compiled.
record_gcc() {
	need gcc
	watch gcc sh -c 'for f in notifier/invalidate hmm/fault regcache/miss; do
		gcc -O2 -g -std=gnu11 -D_GNU_SOURCE -I"$0/include" -I"$0/src" -c "$0/src/$f.c" -o "$1/$$.o"
	done' "$root" "$dir"
}

# Text to objects and back, large ones come and go, threads.
record_python3() {
	need python3
	cat >"$dir/load.py" <<'END'
import json, re, threading, zlib
rows = [{"key": i, "name": "row %d" % i, "list": list(range(i % 50))} for i in range(20000)]
for _ in range(3):
    text = json.dumps(rows)
    words = re.findall(r"\w+", text)
    packed = zlib.compress(text.encode(), 1)
    rows = json.loads(zlib.decompress(packed))
def blocks(n):
    for i in range(n):
        bytearray((i % 7 + 1) << 18)
threads = [threading.Thread(target=blocks, args=(40,)) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
END
	# Not a wrapper of it.
	watch python3 "$(python3 -c 'import sys; print(sys.executable)')" "$dir/load.py"
}

# Keys, lists and sets of 1 KiB, half of it deleted, the rest flushed.
record_redis() {
	need redis-server redis-benchmark redis-cli
	socket=$dir/socket
	watch redis redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no \
		--dir "$dir" --activedefrag no &
	server=$!
	n=0
	until redis-cli -s "$socket" ping >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 200 ] || { echo "record: redis-server does not answer" >&2; exit 1; }
		sleep 0.1
	done
	redis-benchmark -s "$socket" -q -n 30000 -r 20000 -d 1024 -t set,get,lpush,sadd >/dev/null
	redis-cli -s "$socket" eval 'for i = 0, 19998, 2 do
		redis.call("del", string.format("key:%012d", i)) end' 0 >/dev/null
	redis-cli -s "$socket" memory purge >/dev/null
	redis-benchmark -s "$socket" -q -n 10000 -r 20000 -d 4096 -t set >/dev/null
	redis-cli -s "$socket" flushall >/dev/null
	redis-cli -s "$socket" memory purge >/dev/null
	redis-cli -s "$socket" shutdown nosave >/dev/null 2>&1 || :
	wait "$server" || :
	server=
}

# A table with an index in a file that is mapped, joins and sorts, large values, most of it
# deleted again, vacuumed, on two connections.
record_sqlite3() {
	need sqlite3
	watch sqlite3 sh -c 'sqlite3 "$1/base.db" "$2"; sqlite3 "$1/base.db" "$3"' sh "$dir" "
		pragma mmap_size = 268435456; pragma temp_store = memory; pragma cache_size = -16000;
		create table t (k integer primary key, a integer, b text);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
			insert into t select i, (i * 7919) % 10007, hex(randomblob(50)) from n;
		create index ta on t (a);
		create table large (k integer primary key, b blob);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)
			insert into large select i, randomblob(i % 9 * 100000 + 5000) from n;
		select count(*) from t x join t y on x.a = y.a where x.k < 5000;" "
		pragma mmap_size = 268435456; pragma temp_store = memory;
		select sum(length(b || b)) from large;
		select max(b) from (select b from t order by b);
		delete from t where k % 3 = 0; delete from large where k % 4; vacuum;
		pragma shrink_memory;
		select sum(length(b)) from t group by a order by 1 limit 5;"
}

for load; do
	"record_$load"
	gzip -9 -n -c "$dir/$load.rec" >"$out/$load.rec.gz"
	echo "$load: $(grep -m 1 process "$dir/$load.txt"); $(wc -c <"$out/$load.rec.gz") bytes"
done

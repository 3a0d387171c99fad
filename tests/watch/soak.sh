#!/bin/bash
# SPDX-License-Identifier: MIT
# soak.sh HMMU [SECONDS] - node and java for a while, under the watcher: output and status are
# those of a bare run, nothing is dropped. Ends with "N passed, N failed, N skipped".
set -u
hmmu=$(realpath "${1:?usage: soak.sh path/to/hmmu [seconds]}")
seconds=${2:-20}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0 skipped=0

# soak NAME COMMAND... : again and again
soak() {
	local name=$1 end=$((SECONDS + seconds)) n=0
	shift
	if ! command -v "$1" >/dev/null; then
		echo "skipped $name: no $1"
		skipped=$((skipped + 1))
		return
	fi
	"$@" >"$dir/bare" 2>/dev/null
	local bare=$?
	while [ $SECONDS -lt $end ]; do
		"$hmmu" watch --json -o "$dir/report" -- "$@" >"$dir/out" 2>"$dir/err"
		local got=$?
		n=$((n + 1))
		if [ $got != $bare ] || ! cmp -s "$dir/bare" "$dir/out" ||
			! python3 "$here/query.py" "$dir/report" 'd["dropped"] == 0' \
				'd["missed"] == []' 'calls("munmap") > 0'; then
			echo "FAILED  $name, round $n: status $got, bare $bare"
			failed=$((failed + 1))
			return
		fi
	done
	echo "ok      $name, $n rounds"
	passed=$((passed + 1))
}

cat >"$dir/work.js" <<'END'
let kept = [], sum = 0;
for (let i = 0; i < 400; i++) {
	kept.push(Buffer.alloc(1 << 20, i & 255));
	sum += kept[kept.length - 1][7];
	if (kept.length > 20) kept = [];
}
const { Worker, isMainThread } = require('worker_threads');
if (isMainThread) {
	new Worker(__filename).on('exit', (c) => console.log(sum, c));
}
END
cat >"$dir/Work.java" <<'END'
public class Work {
	public static void main(String[] a) throws Exception {
		long[] sums = new long[4];
		Thread[] threads = new Thread[4];
		for (int t = 0; t < 4; t++) {
			int me = t;
			threads[t] = new Thread(() -> {
				for (int i = 0; i < 300; i++)
					sums[me] += new byte[1 << 20].length;
			});
			threads[t].start();
		}
		for (Thread t : threads)
			t.join();
		System.gc();
		System.out.println(sums[0] + sums[1] + sums[2] + sums[3]);
	}
}
END
soak node node "$dir/work.js"
if command -v javac >/dev/null; then
	javac -d "$dir" "$dir/Work.java" && soak java java -cp "$dir" -Xmx256m Work
else
	soak 'java (no javac: its version only)' java --version
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]

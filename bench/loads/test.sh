#!/bin/sh
# SPDX-License-Identifier: MIT
# test.sh HMMU HMMU-BENCH - what record.sh records is replayed; what is no recording is said to be
# none, and is no figure; results and plots are written. (That all sides have the same callbacks
# is checked by each run.)
set -eu
hmmu=$1 bench=$2
record=$(dirname "$0")/../record.sh
for tool in sqlite3 gcc python3; do
	command -v $tool >/dev/null 2>&1 || { echo "skipped: no $tool"; exit 77; }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() { echo "FAILED  $*"; exit 1; }

"$record" "$hmmu" "$dir" gcc sqlite3
for load in gcc sqlite3; do
	gzip -t "$dir/$load.rec.gz" || fail "$load: not compressed"
done
[ "$(cat "$dir"/*.gz | wc -c)" -lt 50000 ] || fail "they are not small"
# Cut short within; and no recording at all.
head -c 200 "$dir/gcc.rec.gz" >"$dir/python3.rec.gz"
echo "nothing of the kind" | gzip >"$dir/redis.rec.gz"
"$bench" --quick --rounds 3 --only loads --loads "$dir" --json >"$dir/json" 2>"$dir/table" ||
	{ cat "$dir/table"; fail "exit $?"; }
python3 - "$dir/json" <<'END' || { cat "$dir/table"; fail "not the rows that there should be"; }
import json, sys
rows = [r for r in json.load(open(sys.argv[1]))["lines"] if r["group"] == "loads"]
def of(load):
    return [r for r in rows if r["name"].startswith(load)]
for load in "gcc", "sqlite3":
    assert len(of(load)) == 6, of(load)
    for other in "reference", "mutex + tree":
        assert sum(other in r for r in of(load)) == 3, of(load)
    assert all(r["hmmu"]["median"] > 0 and r["ratio"]["median"] > 0 for r in of(load))
    assert sum("changes" in r.get("note", "") for r in of(load)) == 3
assert [r["note"] for r in of("python3")] == ["gzip cannot read it"], of("python3")
assert "truncated" in of("redis")[0]["note"] and "hmmu" not in of("redis")[0], of("redis")
END

# Results have the machine's facts and the same rows; plots are pictures.
mkdir "$dir/results"
"$bench" --quick --rounds 3 --only loads --loads "$dir" --results "$dir/results" \
	--plots "$dir/plots" >"$dir/table" 2>&1 || { cat "$dir/table"; fail "exit $?"; }
python3 - "$dir/json" "$dir/results" <<'END' || fail "not the results that there should be"
import json, os, re, sys
name, = os.listdir(sys.argv[2])
got = json.load(open(os.path.join(sys.argv[2], name)))
date = got["machine"]["date"][:10]
assert re.fullmatch(re.escape(date) + r"-[a-z0-9-]+-\d+\.json", name), name
assert all(got["machine"][f] for f in ("architecture", "kernel", "libc", "compiler", "cpus"))
rows = [r["name"] for r in json.load(open(sys.argv[1]))["lines"]]
assert [r["name"] for r in got["lines"]] == rows
END
if command -v gnuplot >/dev/null 2>&1; then
	python3 -c 'import sys, xml.dom.minidom as d
assert len(d.parse(sys.argv[1]).getElementsByTagName("path")) > 24' "$dir/plots/loads.svg" ||
		fail "no plot"
else
	grep -q 'no plots: gnuplot' "$dir/table" || fail "a missing gnuplot is not said"
fi
"$bench" --quick --rounds 3 --only loads --loads "$dir" --results "$dir/none" >/dev/null 2>&1 &&
	fail "results that cannot be written are no failure"
rm "$dir"/*.gz
"$bench" --quick --rounds 3 --only loads --loads "$dir" | grep -q 'gcc .*n/a .*bench/record.sh' ||
	fail "missing ones are not said to be"
echo "ok"

#!/bin/sh
# SPDX-License-Identifier: MIT
# watch.sh HMMU [ROUNDS] - what `hmmu watch` costs a compilation: wall-clock medians of runs
# with and without it, in turn. The goal is 1.10. 77 (skipped) without gcc or python3.
set -eu
hmmu=${1:?usage: watch.sh path/to/hmmu [rounds]}
rounds=${2:-21}
here=$(cd "$(dirname "$0")/.." && pwd)

command -v gcc >/dev/null && command -v python3 >/dev/null || {
	echo "skipped: needs gcc and python3"
	exit 77
}
exec python3 - "$hmmu" "$rounds" "$here" <<'END'
import os
import statistics
import subprocess
import sys
import tempfile
import time

hmmu, rounds, here = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tmp = tempfile.mkdtemp()
report = os.path.join(tmp, "report")
sources = {
    "a small file": ["-O2", "-x", "c", os.path.join(here, "examples/problem.c")],
    "a longer one": ["-O2", "-I" + os.path.join(here, "include"),
                     "-I" + os.path.join(here, "src"),
                     os.path.join(here, "src/notifier/invalidate.c")],
}


def run(command):
    begin = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


print(f"{'gcc -c':14} {'bare':>9} {'watched':>9} {'ratio':>7}   (medians of {rounds}, in turn)")
for name, arguments in sources.items():
    gcc = ["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-c", *arguments, "-o",
           os.path.join(tmp, "out.o")]
    watched = [hmmu, "watch", "-o", report, "--", *gcc]
    bare, with_us = [], []
    for _ in range(rounds):
        bare.append(run(gcc))
        with_us.append(run(watched))
    a, b = statistics.median(bare), statistics.median(with_us)
    print(f"{name:14} {a * 1e3:6.1f} ms {b * 1e3:6.1f} ms {b / a:7.3f}")
END

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""agree.py TRACE REPORT EXACT|NEARLY - do strace's counts and the report's agree?

EXACT: what the dynamic linker did is taken off, the rest is equal. But brk: whether the
heap's top is trimmed once more depends on where the kernel put it in this run (gcc differs
by two from run to run, with and without us).
NEARLY: a program whose threads do not do the same twice: within a tenth and 8.
"""
import collections
import json
import re
import sys

trace, report, how = sys.argv[1:]
seen = collections.Counter()
caches = 0
execs = 0
last_break = {}
advice = {"MADV_DONTNEED": "madvise DONTNEED", "MADV_FREE": "madvise FREE",
          "MADV_REMOVE": "madvise REMOVE"}

for line in open(trace, errors="replace"):
    m = re.match(r"(\d+) +(\w+)\((.*)", line)
    if not m:
        continue
    pid, call, rest = m.groups()
    value = re.search(r"= (0x[0-9a-f]+|-?\d+)", rest)
    if call == "execve" and value and value[1] == "0":
        execs += 1
        last_break.pop(pid, None)
    elif call == "openat" and "ld.so.cache" in rest and "ENOENT" not in rest:
        caches += 1
    elif call == "munmap":
        seen["munmap"] += 1
    elif call == "mremap":
        seen["mremap"] += 1
    elif call == "mprotect":
        seen["mprotect"] += 1
    elif call == "madvise":
        for name, op in advice.items():
            if re.search(name + r"\b", rest):
                seen[op] += 1
    elif call == "brk" and value:
        now = int(value[1], 16)
        seen["brk"] += now < last_break.get(pid, 0)
        last_break[pid] = now

told = collections.Counter()
for p in json.load(open(report))["processes"]:
    for op, n in p["operations"].items():
        told[op] += n["calls"]

bad = 0
for op in ["munmap", "madvise DONTNEED", "madvise FREE", "madvise REMOVE", "brk", "mremap",
           "mprotect"]:
    expected = seen[op] - (caches if op == "munmap" else 0)
    slack = 8 + expected // 10 if how == "NEARLY" else 4 if op == "brk" else 0
    if op == "mprotect":  # the linker's cannot be told from the program's: at most
        good = told[op] <= expected + slack
    elif op == "mremap":  # one that may not move changes nothing: no event
        good = told[op] <= expected + slack
    else:
        good = abs(told[op] - expected) <= slack
    print(f"{op}: strace {seen[op]}, without the linker's {expected}, told {told[op]}"
          + ("" if good else "   DISAGREES"))
    bad |= not good
print(f"{execs} execs, {caches} reads of ld.so.cache")
sys.exit(bad)

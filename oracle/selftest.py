#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""selftest.py LOGS COVERAGE.md - does the comparator see? Damages the logs of a real run, one
fact at a time, and each must be noticed. Ends with "planted in the logs: N of N found"."""
import copy
import os
import random
import sys

import compare
import logs
import rules

directory, coverage = sys.argv[1], rules.coverage(sys.argv[2])
kernel = logs.load(os.path.join(directory, "kernel.log"))
found = planted = 0


def verdict(what, seen):
    global found, planted
    planted += 1
    found += bool(seen)
    if not seen:
        print("planted, NOT FOUND: " + what)


def owed(script):
    """Operations of which the kernel told, and which were made."""
    return [i for i, op in enumerate(script.ops) if op.calls and not op.held
            and rules.operation(op) and not op.result.startswith("-")]


def compared(script, other, name):
    return compare.compare_source({script: kernel[script]}, {script: other}, coverage,
                                  name.startswith("vm-"))


def told(k, h, name, other):
    """Was the first subscription that the kernel called told, and of what?"""
    if other.source == "explicit":
        return True
    return h.pages(k.calls[0][0]) and other.cell(rules.operation(k))[0] != "unwatched"


def in_source(name, what, damage, r):
    """Damages one operation of one script of that source."""
    for script in r.sample(sorted(kernel), len(kernel)):
        other = logs.load_one(os.path.join(directory, name + ".log"), script)
        if other is None:
            break
        before = compared(script, other, name)
        # What userfaultfd does not see may excuse what comes after it.
        if not compare.good(before) or before.n["diverged"] or before.n["unwatched"]:
            continue
        for i in owed(kernel[script]):
            k = kernel[script].ops[i]
            if not told(k, other.ops[i], name, other):
                continue  # unwatched
            bad = copy.deepcopy(other)
            if damage(k, bad.ops[i], bad, kernel[script]):
                verdict(f"{name}, {what}: {script} operation {i + 1}",
                        not compare.good(compared(script, bad, name)))
                return
    verdict(f"{name}, {what}: nothing to damage", False)


# Damages: the kernel's operation, the source's, the source's script, the kernel's. False: not
# this operation.

def forgets(k, h, bad, script):
    h.calls = [c for c in h.calls if c[0] != k.calls[0][0]]
    return True


def short(k, h, bad, script):
    """All ranges of one subscription end a page early."""
    sub = k.calls[0][0]
    top = max(k.pages(sub), default=None)
    calls = []
    for name, event, where in h.calls:
        if name == sub and where != "outside" and top is not None:
            region, low, high = where.split()
            high = min(int(high), top - logs.REGION[region])
            if int(low) >= high:
                continue
            where = f"{region} {low} {high}"
        calls.append((name, event, where))
    h.calls = calls
    return top is not None


def calm(k, h, bad, script):
    """The check that comes next says that nothing happened."""
    for theirs, mine in zip(script.ops, bad.ops):
        if theirs.nr > k.nr and theirs.words[0] == "check":
            slot = next((n for n, v in logs.slots(theirs.result).items() if v == "1"
                         and n.upper() == k.calls[0][0]), None)
            if slot is None or f"{slot}:1" not in mine.result:
                return False
            mine.result = mine.result.replace(f"{slot}:1", f"{slot}:0")
            return True
        if theirs.words[0] in ("begin", "begin-all") and theirs.nr > k.nr:
            return False
    return False


def stray(k, h, bad, script):
    if k.words[0] != "munmap":
        return False
    h.calls.append((k.calls[0][0], "unmap", "w 2000 2001"))
    return True


def stuck(k, h, bad, script):
    h.stuck = "A"
    return True


def other_event(k, h, bad, script):
    h.calls = [(s, "migrate", w) for s, _, w in h.calls]
    return True


def answer(k, h, bad, script):
    h.result = "-ENOSYS"
    return k.words[0] not in ("mremap", "pkey-mprotect")


def unsaid(k, h, bad, script):
    """hmmu says that it does not see what the page says that it sees."""
    for key in bad.cells:
        if key[0] == rules.operation(k):
            bad.cells[key] = ("unwatched", "nobody")
    return True


def in_kernel(what, pick, r):
    """Removes, or changes, one fact of the kernel's log."""
    for script in r.sample(sorted(kernel), len(kernel)):
        bad = copy.deepcopy(kernel[script])
        for op in bad.ops:
            if op.trace and not op.held and pick(op, bad):
                verdict("kernel.log, " + what + f": {script} operation {op.nr}",
                        logs.inconsistent({script: bad}))
                return
    verdict(f"kernel.log, {what}: nothing to damage", False)


def drop(kind):
    def pick(op, script):
        for i, event in enumerate(op.trace):
            if event[0] == kind and any(e[0] == "call" for e in op.trace):
                del op.trace[i]
                return True
        return False
    return pick


def even(op, script):
    for i, event in enumerate(op.trace):
        if event[0] == "call":
            op.trace[i] = event[:4] + (event[4] + 1,)
            return True
    return False


def flip(op, script):
    for later in script.ops:
        if later.nr > op.nr and later.words[0] == "check" and ":1" in later.result:
            later.result = later.result.replace(":1", ":0", 1)
            return True
    return False


rng = random.Random(1)
for source in compare.ORDER:
    if not os.path.exists(os.path.join(directory, source + ".log")):
        continue
    for text, harm in [("forgets an operation", forgets), ("a range one page short", short),
                       ("no retry", calm), ("a read that waits for ever", stuck),
                       ("another answer", answer)]:
        in_source(source, text, harm, rng)
    if source != "vm-explicit":
        in_source(source, "told of something else", stray, rng)
        in_source(source, "another event", other_event, rng)
        in_source(source, "a cell that is not the page's", unsaid, rng)
for text, harm in [("a call is missing", drop("call")), ("a start is missing", drop("start")),
                   ("an end is missing", drop("end")), ("an even sequence", even),
                   ("a retry is missing", flip)]:
    in_kernel(text, harm, rng)
print(f"oracle: planted in the logs: {found} of {planted} found")
sys.exit(0 if found == planted and planted else 1)

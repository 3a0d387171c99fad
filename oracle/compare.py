#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""compare.py LOGS COVERAGE.md [--json FILE] [--planted NAME...] - is hmmu told what Linux's
own notifiers were told? oracle/README.md has the equivalence; the rules are in rules.py.

LOGS holds kernel.log and one log for each of hmmu's sources. With --planted only those logs
are compared, and the exit status is 0 if a difference was found in each.
"""
import argparse
import collections
import json
import os
import sys

import logs
import rules


class Tally:
    """What came of one source."""

    def __init__(self, same_kernel):
        self.same_kernel = same_kernel  # played beside it, in the virtual machine
        self.by_op = collections.defaultdict(collections.Counter)
        self.n = collections.Counter()
        self.notes = collections.Counter()  # named differences
        self.wrong = []  # misses and unnamed differences, in words

    def count(self, op, what, n=1):
        self.by_op[op][what] += n
        self.n[what] += n


class Compare:
    """One script of one source, beside the kernel's log of it."""

    def __init__(self, tally, name, kernel, other):
        self.t = tally
        self.name = name
        self.k = kernel
        self.h = other
        self.exact = other.source == "explicit"
        self.same_kernel = tally.same_kernel
        self.subs = {}  # live: name -> set of pages
        self.ready = set()  # armed, after the last operation
        self.dark = set()  # an unwatched operation took the registration away
        self.slots = {}  # name -> [sub, excused, told, refused]

    def wrong(self, op, what, kind="wrong"):
        self.t.n[kind] += 1
        self.t.wrong.append(f"{self.name}: operation {op.nr} ({op.text}): {what}")

    def run(self):
        for death in self.h.died + self.k.died:
            self.t.n["wrong"] += 1
            self.t.wrong.append(f"{self.name}: {death}")
        for k, h in zip(self.k.ops, self.h.ops):
            if h.stuck:
                self.wrong(h, f"a read waits for ever: {h.stuck}")
            if h.noise:
                self.wrong(h, h.noise[0])
            if not self.results(k, h):
                return
            self.changes(k, h)
            self.held(k, h)
            self.protocol(k, h)
            self.ready = h.ready
        if len(self.k.ops) != len(self.h.ops):
            self.t.n["wrong"] += 1
            self.t.wrong.append(f"{self.name}: {len(self.h.ops)} operations, the kernel has "
                                f"{len(self.k.ops)}")

    def results(self, k, h):
        """False: from here on the two address spaces are not the same."""
        why = rules.other_effect(k, self.same_kernel)
        if not why and (k.words[0] in ("check", "begin", "begin-all") or k.result == h.result):
            return True
        # Which error a prefault answers depends on the kernel.
        if k.words[0] in ("touch", "read") and k.result[0] == h.result[0] == "-":
            return True
        why = why or rules.other_result(k, h, self.same_kernel)
        self.t.n["diverged"] += 1
        if why:
            self.t.notes["the answer differs: " + why] += 1
        else:
            self.wrong(k, f"the kernel answered {k.result}, here it is {h.result}")
        return False

    # ---- who was called -----------------------------------------------------

    def changes(self, k, h):
        op = rules.operation(k)
        if self.exact:
            self.same_calls(k, h, op)
            return
        for sub, pages in self.subs.items():
            told = h.pages(sub)
            due = k.pages(sub)
            if op is None:
                self.left_out(k, sub, due, told)
            else:
                self.one(k, h, op, sub, pages, due, told)

    def left_out(self, k, sub, due, told):
        if due:
            self.t.count("left out", "left out")
            self.excuse(sub)
        if told:
            self.wrong(k, f"{sub} was called, and nothing changed")

    def one(self, k, h, op, sub, pages, due, told):
        watched, source = self.h.cell(op)
        if told:
            self.dark.discard(sub)
            self.tell(sub)
        if due and not due <= told:
            self.missing(k, op, sub, due - told, watched, source)
            if watched == "unwatched" and op in rules.TAKES_REGISTRATION:
                self.dark.add(sub)
        elif due:
            self.t.count(op, "equal" if due == told else "larger")
            if not k.events(sub) <= h.events(sub):
                self.kind(k, h, op, sub)
        elif told:
            self.t.count(op, "only here")
        extra = told - due
        if extra:
            why = rules.extra(k, extra)
            if why:
                self.t.notes["larger: " + why] += 1
            else:
                self.wrong(k, f"{sub} was told of {logs.spell(extra)}, which has nothing to "
                              "do with the call")

    def kind(self, k, h, op, sub):
        why = rules.other_kind(op, k.events(sub) - h.events(sub))
        if why:
            self.t.notes["event: " + why] += 1
        else:
            self.wrong(k, f"{sub}: event {sorted(k.events(sub))}, here {sorted(h.events(sub))}")

    def missing(self, k, op, sub, pages, watched, source):
        self.excuse(sub)
        if watched == "unwatched" or (source == "userfaultfd" and rules.elsewhere(k, pages)):
            self.t.count(op, "unwatched")
        elif source == "userfaultfd" and sub in self.dark:
            self.t.count(op, "registration gone")
        elif source == "userfaultfd" and sub not in self.ready:
            self.t.count(op, "not armed")
        else:
            self.t.count(op, "missed")
            self.t.wrong.append(f"{self.name}: operation {k.nr} ({k.text}): MISSED: {sub} was "
                                f"not told of {logs.spell(pages)}")

    def same_calls(self, k, h, op):
        """The explicit source: the same calls, to the letter."""
        mine, theirs = collections.Counter(h.calls), collections.Counter(k.calls)
        for sub in {c[0] for c in h.calls}:
            self.tell(sub)
        if mine == theirs:
            self.t.count(op or "left out", "equal", sum(theirs.values()))
        else:
            self.t.count(op or "left out", "missed", max(1, sum((theirs - mine).values())))
            self.t.wrong.append(f"{self.name}: operation {k.nr} ({k.text}): the kernel called "
                                f"{sorted((theirs - mine))}, here {sorted((mine - theirs))}")

    # ---- sequences ----------------------------------------------------------

    def excuse(self, sub):
        for slot in self.slots.values():
            if slot[0] == sub:
                slot[1] = True

    def tell(self, sub):
        for slot in self.slots.values():
            if slot[0] == sub:
                slot[2] = True

    def protocol(self, k, h):
        word = k.words
        if word[0] == "insert" and k.result == "0":
            self.subs[word[1]] = k.sub_pages()
        elif word[0] == "remove":
            self.subs.pop(word[1], None)
            self.dark.discard(word[1])
            self.slots = {n: s for n, s in self.slots.items() if s[0] != word[1]}
        elif word[0] == "begin":
            self.begun(word[1], word[2], h.result)
        elif word[0] == "begin-all":
            for name, answer in h.slots().items():
                self.begun(name, name.upper(), answer)
        elif word[0] == "check":
            self.retries(k, h.result, k.result, True)

    def begun(self, slot, sub, result):
        if sub in self.subs:
            # Not watched: it retries for ever, and is excused if it would not.
            self.slots[slot] = [sub, sub in self.dark, False, result not in ("0",)]

    def retries(self, k, mine, theirs, exact):
        mine, theirs = logs.slots(mine), logs.slots(theirs)
        for name, retry in theirs.items():
            sub, excused, told, refused = self.slots.get(name, (None, True, True, True))
            if mine.get(name) == retry:
                self.t.n["retry equal"] += 1
            elif mine.get(name) == "1":
                self.spurious(k, name, told or refused or not exact)
            elif excused:
                self.t.n["retry unwatched"] += 1
            else:
                self.t.n["missed"] += 1
                self.t.wrong.append(f"{self.name}: operation {k.nr} ({k.text}): MISSED: slot "
                                    f"{name} retries in the kernel, not here")

    def spurious(self, k, name, explained):
        self.t.n["retry spurious"] += 1
        if not explained and not self.h.source.startswith(("userfaultfd", "both")):
            self.wrong(k, f"slot {name} retries, and nobody was called")

    # ---- while a callback is held --------------------------------------------

    def held(self, k, h):
        for a, b in zip(k.held, h.held):
            word = a.text.split()
            if word[0] == "insert" and a.result == "0":
                self.subs[word[1]] = logs.span(word[2], word[3])
            if not (a.at_gate and b.at_gate):
                self.t.n["not held"] += 1
            elif word[0] == "check":
                self.retries(k, b.result, a.result, False)
            elif word[0] == "poll":
                self.polled(k, word[1], a.result, b.result)
            elif a.result != b.result:
                self.wrong(k, f"{a.text}: {a.result}, here {b.result}")

    def polled(self, k, sub, theirs, mine):
        hit = any(self.subs.get(sub, set()) & k.pages(s) for s in self.subs)
        if mine == theirs:
            self.t.n["wait equal"] += 1
        elif mine == "waits":
            self.t.n["wait longer"] += 1
        elif not hit:
            self.t.n["wait shorter"] += 1  # G4: only for what overlaps
        else:
            self.t.n["missed"] += 1
            self.t.wrong.append(f"{self.name}: operation {k.nr} ({k.text}): MISSED: a read of "
                                f"{sub} does not wait")


def compare_source(kernel, other, coverage, same_kernel):
    tally = Tally(same_kernel)
    tally.wrong += rules.cells_differ(other, coverage)
    tally.n["wrong"] += len(tally.wrong)
    for name, script in kernel.items():
        if name in other:
            Compare(tally, name, script, other[name]).run()
        else:
            tally.n["wrong"] += 1
            tally.wrong.append(f"{name}: was not played")
    return tally


def good(tally):
    return not tally.n["missed"] and not tally.n["wrong"]


def compared(tally):
    return tally.n["equal"] + tally.n["larger"] + tally.n["missed"]


ORDER = ["vm-explicit", "vm-hooks", "hooks", "userfaultfd", "userfaultfd-raw", "both", "both-raw",
         "seccomp", "seccomp-raw"]


def cell(counter):
    n = counter["equal"] + counter["larger"]
    text = str(n) if n else ""
    if counter["larger"]:
        text += ">%d" % counter["larger"]
    if counter["missed"]:
        text += " MISSED %d" % counter["missed"]
    away = counter["unwatched"]
    if away:
        text += "(%d)" % away
    return text or "-"


def table(tallies, out):
    names = [n for n in ORDER if n in tallies]
    width = max(len(n) for n in names) + 1
    print("\nTold, of what Linux told; >N of these of a larger range; (N): unwatched, as "
          "docs/coverage.md says.\n", file=out)
    print("%-17s" % "" + "".join(n.rjust(width) for n in names), file=out)
    for op in rules.OPERATIONS:
        if any(t.by_op[op] for t in tallies.values()):
            print("%-17s" % op + "".join(cell(tallies[n].by_op[op]).rjust(width) for n in names),
                  file=out)
    print(file=out)
    for what in ["equal", "larger", "missed", "wrong", "unwatched", "not armed", "registration gone",
                 "only here", "retry equal", "retry spurious", "retry unwatched", "wait equal",
                 "wait longer", "wait shorter", "not held", "left out", "diverged"]:
        if any(t.n[what] for t in tallies.values()):
            print("%-17s" % what + "".join(str(tallies[n].n[what]).rjust(width) for n in names),
                  file=out)


def notes(tallies, out):
    every = collections.Counter()
    for t in tallies.values():
        every += t.notes
    print(file=out)
    for text, n in sorted(every.items()):
        print("%8d  %s" % (n, text), file=out)


def to_json(tallies, kernel_wrong, path):
    data = {name: {"total": dict(t.n), "operations": {o: dict(c) for o, c in t.by_op.items()},
                   "named": dict(t.notes), "wrong": t.wrong} for name, t in tallies.items()}
    with open(path, "w") as out:
        json.dump({"sources": data, "kernel": kernel_wrong}, out, indent=1)


def tests(directory, kernel, out):
    """The library's own tests in the virtual machine: how many failed."""
    path = os.path.join(directory, "tests")
    if not os.path.exists(path):
        return 0
    results = [line.split() for line in open(path)]
    failed = [r[0] for r in results if r[1] not in ("0", "77")]
    skipped = [r[0] for r in results if r[1] == "77"]
    print("\nhmmu's tests on %s: %d passed, %d failed, %d skipped" % (
        kernel, len(results) - len(failed) - len(skipped), len(failed), len(skipped)), file=out)
    print("  passed: " + ", ".join(r[0] for r in results if r[1] == "0"), file=out)
    path = os.path.join(directory, "skipped")
    if os.path.exists(path):
        print("  cases skipped: " + "; ".join(line.strip() for line in open(path)), file=out)
    if failed:
        print("  FAILED: " + ", ".join(failed), file=out)
        print(open(os.path.join(directory, "failures")).read(), file=out)
    return len(failed)


def kernel_says(directory):
    return ["the machine's kernel: " + line.strip()
            for line in open(os.path.join(directory, "dmesg"))]


def machine(directory):
    """What has to be so, beside the logs."""
    wrong = []
    status = dict(line.split() if " " in line else (line.strip(), "0")
                  for line in open(os.path.join(directory, "status")))
    if status.get("vm-userfaultfd") != "3":
        wrong.append("userfaultfd on an old kernel: was not refused")
    if "unloaded" not in status:
        wrong.append("the module could not be unloaded")
    wrong += kernel_says(directory)
    for name in ("kernel", "vm-explicit", "vm-hooks"):
        if status.get(name) != "0":
            wrong.append(f"{name}: exit status {status.get(name)}")
    return wrong, status


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("coverage", nargs="?")
    parser.add_argument("--json")
    parser.add_argument("--tests", help="of this kernel, and nothing else")
    parser.add_argument("--planted", nargs="*")
    args = parser.parse_args()
    if args.tests:
        return only_tests(args)
    coverage = rules.coverage(args.coverage)
    kernel = logs.load(os.path.join(args.directory, "kernel.log"))
    if args.planted is not None:
        return planted(args, kernel, coverage)
    wrong, status = machine(args.directory)
    wrong += logs.inconsistent(kernel)
    tallies = {}
    for name in ORDER:
        if status.get(name) == "3":
            print(f"oracle: {name}: not available, not compared")
        elif name in status:
            other = logs.load(os.path.join(args.directory, name + ".log"))
            tallies[name] = compare_source(kernel, other, coverage,
                                           name.startswith("vm-"))
    table(tallies, sys.stdout)
    notes(tallies, sys.stdout)
    failed = tests(args.directory, "that kernel", sys.stdout)
    for name, t in tallies.items():
        wrong += [f"{name}: {w}" for w in t.wrong]
    print()
    for w in wrong[:40]:
        print("WRONG: " + w)
    if args.json:
        to_json(tallies, wrong, args.json)
    n = sum(compared(t) for t in tallies.values())
    missed = sum(t.n["missed"] for t in tallies.values())
    with open(os.path.join(args.directory, "verdict"), "w") as out:
        print("oracle: %d compared, %d missed%s" % (
            n, missed, ", %d wrong" % len(wrong) if wrong else ""), file=out)
    return 1 if wrong or failed or not tallies else 0


def only_tests(args):
    """A machine that is not the oracle."""
    failed = tests(args.directory, "Linux " + args.tests, sys.stdout)
    wrong = kernel_says(args.directory)
    for w in wrong:
        print("WRONG: " + w)
    return 1 if failed or wrong else 0


def planted(args, kernel, coverage):
    """Each of these logs is of a library with a bug in it; but for "none", which has none."""
    bad = 0
    for name in args.planted:
        other = logs.load(os.path.join(args.directory, name + ".log"))
        played = {n: s for n, s in kernel.items() if n in other}
        t = compare_source(played, other, coverage, False)
        right = good(t) if name == "none" else t.n["missed"] > 0
        bad += not right
        print("oracle: planted, %s: %s" % (name, (["found nothing"] + t.wrong)[-1] if right
                                           else "NOT FOUND " + str(t.wrong[:1])))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

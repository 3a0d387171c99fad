#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The cost model: what an operation takes, from what it is made of; measured beside it.

  ns = instructions x I + locked x L + misses x M + system calls x S

L, M and S are this machine's, from the results of `make bench` (bench/results/*.json), I is the one
that is fitted: the median of what the operations take beside their locked instructions. The
instructions and the written lines are those of the budget file. Then what it says of a machine
with more processors, where a line that another processor wrote last takes X: who writes no shared
line takes what it takes alone; who writes n of them one after the other takes n x X more; and what is
done under one lock is done by one processor at a time, so that p threads wait for p of them.

  bench/model.py RESULTS.json [--cores 128] [--pages 1e8]

The table's last column is measured / predicted. A model that is off by more than two somewhere
is said to be: exit 1.
"""
import argparse
import json
import statistics
import sys
from pathlib import Path

BUDGETS = Path(__file__).resolve().parent / "count/budgets"

# operation of the budget file: (row of hmmu-bench, locked instructions, dependent misses, what
# part of it is done under the mm's lock; None: nothing is shared)
OPERATIONS = {
    "read_begin+read_retry": ("read_begin + read_retry, 1 thread", 0, 0, None),
    "start+end-unwatched": ("nobody watches, among 1e3", 1, 0, None),
    "start+end-false-alarm": ("false alarm (a neighbour shares the cell), hot", 3, 0, 0.5),
    "start+end-overlap-1": ("of 1, hot, among 1e3", 5, 0, 0.6),
    "start+end-overlap-10": ("of 10, hot, among 1e3", 5, 0, 0.5),
    "start+end-overlap-1000": ("of 1000, hot, among 1e3", 65, 0, 0.5),
    "insert+remove-local": ("local, at {many}", 8, 0, 0.8),
    "insert+remove-random": ("random, at {many}", 8, 2, 0.8),
}
# Rows of hmmu-bench that say a page's time, or that of so much memory.
PAGES = ("snapshot of {} that is there", "snapshot of {} of huge pages",
         "snapshot of 2 MiB with tags, all new", "hmm_range_valid() of 2 MiB",
         "dirty pages of {}, 1 % written", "16,384 pages to the device, each",
         "16,384 pages back, each")
SIZES = {"64 MiB": 16384, "1 GiB": 262144, "2 MiB": 512}


def fail(text):
    sys.exit("model: " + text)


def counts(path):
    found = {}
    for line in open(path):
        words = line.split("#")[0].split()
        if len(words) == 4 and words[0] in ("instructions", "lines") and words[1] == "hmmu":
            found[words[0], words[2]] = float(words[3])
    return found


class Results:
    def __init__(self, path):
        data = json.loads(Path(path).read_text())
        self.rows = {line["name"]: line for line in data["lines"]}
        self.many = data["subscriptions"]

    def ns(self, name, side="hmmu"):
        row = self.rows.get(name.format(many=self.name_of_many()))
        return row[side]["median"] if row and side in row else None

    def name_of_many(self):
        return "1e6" if self.many == 1000000 else str(self.many)

    def parameter(self, name):
        value = self.ns(name)
        if value is None:
            fail(f"the results have no row \"{name}\"")
        return value


def parameters(results, count):
    locked = results.parameter("two locked instructions") / 2
    beside = []
    for name, (row, at, misses, _) in OPERATIONS.items():
        if not misses and ("instructions", name) in count and results.ns(row):
            beside.append((results.ns(row) - at * locked) / count["instructions", name])
    if not beside:
        fail("the results have none of the operations")
    return {
        # The one parameter that is fitted: what is left of those that miss nothing.
        "I": max(0.01, statistics.median(beside)),
        "L": locked,
        "M": results.parameter("a dependent miss, from memory"),
        "X": results.parameter("a cache line from another CPU"),
        "S": results.parameter("getppid(), a bare system call"),
        "B": results.parameter("membarrier, another thread running"),
    }


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head] + rows) for i in range(len(head))]
    for n, row in enumerate([head] + rows):
        print("| " + " | ".join(str(v).ljust(w) for v, w in zip(row, widths)) + " |")
        if n == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    print()


def figure(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def one_thread(results, count, p):
    """Predicted beside measured. How many are off by more than two."""
    rows, off = [], 0
    for name, (row, locked, misses, _) in OPERATIONS.items():
        instructions = count.get(("instructions", name))
        measured = results.ns(row)
        if instructions is None or measured is None:
            continue
        predicted = instructions * p["I"] + locked * p["L"] + misses * p["M"]
        ratio = measured / predicted
        off += not 0.5 <= ratio <= 2
        rows.append((name, f"{instructions:.0f}", locked, misses, figure(predicted),
                     figure(measured), f"{ratio:.2f}"))
    table(("operation", "instructions", "locked", "misses", "predicted", "measured", "ratio"),
          rows)
    return off


def many_cores(results, count, p, cores):
    rows = []
    for name, (row, locked, misses, under_lock) in OPERATIONS.items():
        instructions = count.get(("instructions", name))
        if instructions is None:
            continue
        alone = instructions * p["I"] + locked * p["L"] + misses * p["M"]
        lines = count.get(("lines", name))
        if under_lock is None:
            rows.append((name, "0", figure(alone), figure(alone), f"{cores / alone * 1e3:.3g}"))
            continue
        if lines is None:
            continue
        # Each holder finds the lines in the cache of the one before it.
        held = under_lock * alone + lines * p["X"]
        rows.append((name, f"{lines:.0f}", figure(alone), figure(cores * held),
                     f"{1e3 / held:.3g}"))
    alone = results.ns("read_begin + read_retry, 1 thread", "reference")
    if alone:
        held = alone + p["X"]
        rows.append(("read_begin+read_retry, reference", "1", figure(alone),
                     figure(cores * held), f"{1e3 / held:.3g}"))
    table(("operation, all threads at once", "lines", "1 thread", f"{cores} threads",
           "millions/s in all"), rows)


def many_pages(results, pages):
    rows = []
    for name in PAGES:
        for size, n in SIZES.items():
            row = name.format(size)
            ns = results.ns(row)
            if ns is not None and (size in row or "each" in row):
                rows.append((row, figure(ns / (1 if "each" in row else n)),
                             figure(ns / (1 if "each" in row else n) * pages)))
                break
    table(("row of hmmu-bench", "a page", f"{pages:.0e} pages"), rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results")
    parser.add_argument("--cores", type=int, default=128)
    parser.add_argument("--pages", type=float, default=1e8)
    args = parser.parse_args()
    if args.cores < 1 or args.pages < 1:
        parser.error("--cores and --pages are at least 1")
    try:
        results = Results(args.results)
    except (OSError, ValueError, KeyError) as problem:
        fail(f"{args.results}: {problem}")
    count = counts(BUDGETS)
    p = parameters(results, count)
    print("ns: an instruction {I:.3f}, a locked one more {L:.3g}, a miss {M:.3g}, a line of another "
          "CPU {X:.3g},\na system call {S:.3g}, a membarrier {B:.3g}\n".format(**p))
    off = one_thread(results, count, p)
    many_cores(results, count, p, args.cores)
    many_pages(results, args.pages)
    if off:
        print(f"{off} predictions are off by more than two")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions and written lines per operation, beside their budgets.

  exit 0	within the budgets, or below: then it says which to lower
  exit 1	an operation is more than 5 % above its budget, has none, or was not counted; or
	one of the read side writes a line that threads share, whatever the file says
  exit 77	nothing can be said: no valgrind, or the file is for another build

The counts are the same on each run; they depend on the compiler, its options, the C library
and the architecture, which the file names ("built"). Format of the file, one per line, # begins
a comment, which after a budget is the reason why it was raised:

  built WHAT VALUE...
  instructions|lines SIDE OPERATION BUDGET
"""
import argparse
import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOLERANCE = 0.05
KINDS = ("instructions", "lines")
# Nothing else of ours: MALLOC_PERTURB_, which meson sets, fills every block. memset() and its like
# as they are on every x86-64, whatever this processor could do.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C",
               "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX_Usable,-AVX2_Usable,-AVX512F_Usable,"
                                 "-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM"}


def fail(text, code=1):
    print("budgets: " + text)
    sys.exit(code)


def read_budgets(path):
    """({what: value}, {(kind, side, operation): budget})"""
    built, budgets = {}, {}
    for number, line in enumerate(open(path), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "built" and len(words) > 1:
            built[words[1]] = " ".join(words[2:])
            continue
        try:
            kind, side, operation, budget = words
            assert kind in KINDS and (kind, side, operation) not in budgets
            budgets[kind, side, operation] = float(budget)
        except (ValueError, AssertionError):
            fail(f"{path}:{number}: not a budget, or one that was there: {line.strip()}")
    return built, budgets


def run(command, **how):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
                              **how)
    except OSError as error:
        fail(str(error))
    if done.returncode:
        fail(f"{command[0]} ... {command[-1]}: exit {done.returncode}\n{done.stderr or ''}")
    return done.stdout


def read_build(count):
    return dict(line.split(" ", 1) for line in run([count, "build"]).splitlines())


class Counts:
    """What was counted: by kind, side and operation."""

    def __init__(self):
        self.count, self.own, self.reads, self.none = {}, {}, set(), {}

    def add_none(self, line):
        _, side, operation, why = line.split(" ", 3)
        self.none[side, operation] = why

    def instructions(self, count, only):
        """Under callgrind: each operation makes two parts, N times and 2 N times."""
        with tempfile.TemporaryDirectory() as where:
            out = os.path.join(where, "out")
            said = run(["valgrind", "--tool=callgrind", "--smc-check=all", "--quiet",
                        "--combine-dumps=yes", "--callgrind-out-file=" + out, count,
                        "instructions"] + only, stderr=subprocess.PIPE)
            parts = re.findall(r"^desc: Trigger: Client Request: (\S+)$.*?^totals: (\d+)$",
                               open(out, errors="replace").read(), re.M | re.S)
        # Where it begins, and where it ends.
        parts = iter(zip(parts[1::2], parts[0::2]))
        for line in said.splitlines():
            if line.startswith("none "):
                self.add_none(line)
                continue
            _, side, operation, times = line.split()
            (few, _), (many, _) = next(parts), next(parts)
            if few[0] != operation or many[0] != operation:
                fail(f"callgrind's parts are not in order at {operation}")
            self.count["instructions", side, operation] = \
                (int(many[1]) - int(few[1])) / int(times)

    def steps(self, count, only):
        for line in run([count, "steps"] + only).splitlines():
            if line.startswith("none "):
                self.add_none(line)
                continue
            _, side, operation, times, few, many = line.split()
            self.count["instructions", side, operation] = (int(many) - int(few)) / int(times)

    def lines(self, inside, reader, only):
        with tempfile.NamedTemporaryFile("w+") as words:
            end, begin = os.pipe()
            # A write for each line of the trace: a long pipe saves a switch for each.
            with contextlib.suppress(OSError):
                fcntl.fcntl(begin, 1031, 1 << 20)  # F_SETPIPE_SZ
            tool = subprocess.Popen(
                ["valgrind", "--tool=lackey", "--trace-mem=yes", "--basic-counts=no",
                 "--smc-check=all", f"--log-fd={begin}", inside, "lines"] + only,
                stdout=words, pass_fds=[begin], env=ENVIRONMENT)
            os.close(begin)
            said = run([reader, words.name], stdin=end)
            os.close(end)
            if tool.wait():
                fail(f"lackey: exit {tool.returncode}")
            words.seek(0)
            for line in words:
                if line.startswith("none "):
                    self.add_none(line.strip())
        for line in said.splitlines():
            _, side, operation, shared, own, reads = line.split()
            self.count["lines", side, operation] = float(shared)
            self.own[side, operation] = float(own)
            if reads == "1":
                self.reads.add((side, operation))


def judge(counts, budgets, only):
    """Two lists of what there is to say: what fails, what does not."""
    bad, good = [], []
    for key, value in counts.count.items():
        kind, side, operation = key
        if side != "hmmu":
            continue
        name = f"{operation}: {value:g} {kind}"
        if kind == "lines" and (side, operation) in counts.reads and value > 0:
            bad.append(f"{name}: the read side writes a line that threads share")
        elif key not in budgets:
            bad.append(f"{name}, and no budget: add \"{kind} {side} {operation} {value:g}\"")
        elif value > budgets[key] * (1 + TOLERANCE):
            more = f"{100 * (value / budgets[key] - 1):.1f} %" if budgets[key] else "all of it"
            bad.append(f"{name}, budget {budgets[key]:g}: {more} too many")
        elif value < budgets[key] * (1 - TOLERANCE):
            good.append(f"{name}, budget {budgets[key]:g}: lower the budget")
    for kind, side, operation in budgets:
        if only and only not in operation:
            continue
        if (side, operation) in counts.none:
            good.append(f"{operation}: not counted here: {counts.none[side, operation]}")
        elif (kind, side, operation) not in counts.count:
            bad.append(f"{operation}: has a budget of {kind} and was not counted")
    # The tool itself: a counted store is a line.
    if counts.count.get(("lines", "hmmu", "control-one-store"), 1) != 1:
        bad.append("control-one-store: is one line; the trace is not read right")
    return bad, good


def rows(counts, budgets):
    """A dictionary per operation, in order."""
    names = dict.fromkeys(operation for _, _, operation in counts.count)
    for name in names:
        row = {"operation": name}
        for kind in KINDS:
            row[kind] = counts.count.get((kind, "hmmu", name))
            row[kind + "_budget"] = budgets.get((kind, "hmmu", name))
            for other in ("reference", "unhooked"):
                if (kind, other, name) in counts.count:
                    row[f"{kind}_{other}"] = counts.count[kind, other, name]
        row["lines_own"] = counts.own.get(("hmmu", name))
        row["read_side"] = ("hmmu", name) in counts.reads
        yield row


def show(value, digits=1):
    return "" if value is None else f"{value:.{digits}f}".removesuffix(".0")


def table(counts, budgets):
    print(f"{'':28} {'instructions':>12} {'budget':>9} {'beside':>9}   "
          f"{'shared lines':>12} {'budget':>7} {'beside':>7} {'own':>5}")
    for row in rows(counts, budgets):
        beside = [row.get(f"{k}_reference", row.get(f"{k}_unhooked")) for k in KINDS]
        print(f"{row['operation']:28} {show(row['instructions']):>12} "
              f"{show(row['instructions_budget']):>9} {show(beside[0]):>9}   "
              f"{show(row['lines']):>12} {show(row['lines_budget']):>7} "
              f"{show(beside[1]):>7} {show(row['lines_own']):>5}")
    print("per operation; lines written: distinct ones that other threads could share; beside: "
          "Linux's algorithm,\nor the call unhooked; own: of the thread's stack, slots, pins")


def options():
    parse = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--budgets", metavar="FILE",
                       default=os.path.join(os.path.dirname(__file__), "budgets"))
    parse.add_argument("--only", metavar="WORD", help="operations with it in their name")
    parse.add_argument("--json", action="store_true", help="a JSON object instead of a table")
    parse.add_argument("--print", action="store_true",
                       help="count whatever the build is, and judge nothing")
    parse.add_argument("--write", action="store_true",
                       help="print lines for a budget file instead of a table")
    parse.add_argument("count", help="hmmu-count; beside it hmmu-count-inside and hmmu-lines")
    return parse.parse_args()


def main():
    how = options()
    built, budgets = read_budgets(how.budgets)
    build = read_build(how.count)
    if not shutil.which("valgrind"):
        fail("skipped: valgrind is not installed", 77)
    for what in {**built, **build} if not how.print and not how.write else ():
        if built.get(what) != build.get(what):
            fail(f"skipped: the budgets are for {what} \"{built.get(what)}\", "
                 f"this build has \"{build.get(what)}\"", 77)
    counts, only = Counts(), [how.only] if how.only else []
    counts.instructions(how.count, only)
    counts.steps(how.count, only)
    counts.lines(how.count + "-inside",
                 os.path.join(os.path.dirname(how.count), "hmmu-lines"), only)
    bad, good = ([], []) if how.print or how.write else judge(counts, budgets, how.only)
    if how.write:
        for what, value in build.items():
            print("built", what, value)
        for (kind, side, operation), value in counts.count.items():
            if side == "hmmu":
                print(f"{kind} {side} {operation} {value:g}")
    elif how.json:
        json.dump({"built": build, "operations": list(rows(counts, budgets)),
                   "not_counted": [" ".join(k) + ": " + w for k, w in counts.none.items()],
                   "failed": bad, "said": good}, sys.stdout, indent=1)
        print()
    else:
        table(counts, budgets)
    for text in bad + good:
        print(("FAILED  " if text in bad else "        ") + text,
              file=sys.stderr if how.json else sys.stdout)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

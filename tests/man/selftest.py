#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""selftest.py LIBRARY - check.py finds what is wrong: what a line of BROKEN says is done to a copy
of the tree, and the check must fail; on a copy that is whole it must pass."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEFER, RANGE = "man/hmmu_defer.3.scd", "man/hmm_range_fault.3.scd"
# check, file, what stands there, what stands there instead
BROKEN = [
    ("names", DEFER, "hmmu_defer, hmmu_reclaim - ", "hmmu_defer - "),
    ("names", DEFER, "hmmu_defer, hmmu_reclaim - ", "hmmu_defer, hmmu_reclaim, hmmu_x - "),
    ("names", DEFER, "*hmmu_mm_open*(3)", "*hmmu_mm_opened*(3)"),
    ("synopsis", DEFER, "int hmmu_reclaim(struct mm_struct *mm)", "int hmmu_reclaim(void *mm)"),
    ("synopsis", DEFER, "    uint64_t reserved;", "    uint32_t reserved;"),
    ("synopsis", DEFER, "#include <hmmu/mmu_notifier.h>", "#include <hmmu/hmm.h>"),
    ("synopsis", "include/hmmu/regcache.h", "size_t bytes);\n\n/*", "long bytes);\n\n/*"),
    ("errors", RANGE, "*-EMFILE*\n", ""),
    ("errors", RANGE, "*-EMFILE*\n", "*-EMFILE*, *-EIO*\n"),
    ("errors", RANGE, "## hmm_range_fault\n", "## hmm_range_fail\n"),
    ("errors", "include/hmmu/hmm.h", " -EMFILE\t", " -ENFILE\t"),
    ("contexts", DEFER, "\ndefer         no          yes ", "\ndefer         no          no  "),
    ("contexts", DEFER, "\nreclaim ", "\ndefer   "),
    ("contexts", "docs/contexts.md", "| `hmmu_defer` | yes, never sleeps | yes",
     "| `hmmu_defer` | yes, never sleeps | no"),
    ("lint", DEFER, "", ".P\n.P\n"),
    ("lint", DEFER, "", ".hmmu\n"),
    ("width", DEFER, "    uint64_t reserved;", "    uint64_t reserved; /*" + 60 * "." + "*/"),
    ("example", DEFER, "need(freed == 1)", "need(freed == 2)"),
    ("example", DEFER, "static int freed;", "static int freed, never;"),
    ("example", DEFER, "hmmu_reclaim(NULL)", "hmmu_reclaims(NULL)"),
]


def copy(to):
    for part in ("man", "include", "tests/man"):
        shutil.copytree(ROOT / part, to / part)
    (to / "docs").mkdir()
    shutil.copy(ROOT / "docs/contexts.md", to / "docs")


def run(tree, check, page, library, more):
    """The check's exit status and output; of pages as built one is enough."""
    where = tree / "built"
    where.mkdir()
    arguments = []
    if check in ("lint", "width", "example"):
        for other in (tree / "man").glob("*.scd"):
            if other.name != page.name:
                other.unlink()
        built = where / page.name.removesuffix(".scd")
        subprocess.run([tree / "man/roff", page, built], check=True)
        built.write_text(built.read_text() + more)
    if check == "names":
        arguments = [library]
    if check == "example":
        arguments = [page.name.split(".")[0], library]
    done = subprocess.run([sys.executable, "-B", tree / "tests/man/check.py", check, where,
                           *arguments], text=True, stdout=subprocess.PIPE, check=False)
    return done.returncode, done.stdout


def main(library):
    bad = 0
    for check, name, old, new in BROKEN:
        for broken in (False, True):
            with tempfile.TemporaryDirectory() as scratch:
                tree = pathlib.Path(scratch)
                copy(tree)
                path = tree / name
                text = path.read_text()
                if old not in text:
                    sys.exit(f"{name} has not: {old!r}")
                if broken and old:
                    path.write_text(text.replace(old, new, 1))
                page = path if path.suffix == ".scd" else tree / DEFER
                status, said = run(tree, check, page, library,
                                   new if broken and not old else "")
            if status == 77:
                print(said)
                sys.exit(77)
            if status != int(broken):
                bad += 1
                print(f"{check}: {name}: {new!r} instead of {old!r}: exit status {status}, "
                      f"not {int(broken)}\n{said}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main(sys.argv[1])

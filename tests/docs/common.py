# SPDX-License-Identifier: MIT
"""common - what the checks of this directory share."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Made by scripts from what was measured; their lines are as long as they come.
GENERATED = {"docs/verification.md", "docs/coverage.md"}


def files(*patterns):
    """Paths of the project's files (git's), relative."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT,
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    return sorted({p for p in out.splitlines() if (ROOT / p).is_file()})


def text(path):
    return (ROOT / path).read_text()


def pages():
    return files("*.md")


def lines(path):
    """(number, line, fence) of a page; fence: None outside, else the word behind the ```."""
    fence = None
    for n, line in enumerate(text(path).split("\n"), 1):
        match = re.match(r" *```(.*)$", line)
        if match and fence is None:
            fence = match[1].strip()
        elif match:
            fence = None
        else:
            yield n, line, fence


def table(path, *heads):
    """The rows of the table of @path whose head begins with these names."""
    rows, inside = [], False
    for _, line, fence in lines(path):
        cells = [c.strip() for c in line.split("|")[1:-1]] if line.startswith("|") else None
        if cells is None or fence is not None:
            inside = False
        elif cells[:len(heads)] == list(heads):
            inside = True
        elif inside and not set(line) <= set("|-: "):
            rows.append(cells)
    return rows


def ticked(cell):
    return re.findall(r"`([^`]+)`", cell)


def end(bad):
    """How each check ends: what is wrong, one a line."""
    for line in bad:
        print(line)
    sys.exit(1 if bad else 0)

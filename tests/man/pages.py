# SPDX-License-Identifier: MIT
"""pages.py - what the manual pages say, and what the headers say: for check.py."""
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COMMENT = re.compile(r"/\*.*?\*/", re.S)
ERRNO = re.compile(r"-(E[A-Z0-9]+)\b")


def one_line(text):
    """C without what its layout adds."""
    text = re.sub(r"\s+", " ", text.replace("static inline ", ""))
    return re.sub(r" ?([(),;{}*]) ?", r"\1", text).strip()


class Header:
    """functions: name -> (prototype, errnos of its comment); structs: name -> body."""

    def __init__(self, path):
        text = path.read_text().split('extern "C" {\n#endif\n', 1)[1]
        self.name = path.name
        self.functions, self.structs = {}, {}
        comments = [(m.end(), m.group()) for m in COMMENT.finditer(text)]
        code = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
        code = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", lambda m: re.sub(r"[^\n]", " ", m.group()),
                      code, flags=re.M)
        for m in re.finditer(r"^struct (\w+) \{(.*?)^\};", code, re.M | re.S):
            self.structs[m[1]] = one_line(m[2])
        flat = re.sub(r"^\{.*?^\}", lambda m: ";" + re.sub(r"[^\n]", " ", m.group())[1:],
                      code, flags=re.M | re.S)
        flat = re.sub(r"\{.*?\n\}", lambda m: re.sub(r"[^\n]", " ", m.group()), flat,
                      flags=re.S)
        for m in re.finditer(r"^((?!typedef|HMMU_)[a-z][\w \t*\n]*?\b(\w+)\(([^;]*?)\))\s*;",
                             flat, re.M):
            if m[2].startswith("hmmu_inline_"):
                continue
            before = [c for end, c in comments if end <= m.start(1)]
            self.functions[m[2]] = (one_line(m[1]), self.errnos(m[1], before))

    @staticmethod
    def errnos(prototype, comments):
        """Those that are named after "Return:", where that stands; only int and long fail."""
        if not comments or not re.match(r"(int|long) \w", prototype):
            return set()
        return set(ERRNO.findall(comments[-1].split("Return:", 1)[-1]))


def headers():
    return [Header(p) for p in sorted((ROOT / "include/hmmu").glob("*.h"))]


class Page:
    """A page's source: names, synopsis, errors (functions -> errnos), contexts (row -> cells)."""

    def __init__(self, path):
        text = self.text = path.read_text()
        self.name = path.name.removesuffix(".scd")
        parts = re.split(r"^# (.+)\n", text, flags=re.M)
        self.sections = dict(zip(parts[1::2], parts[2::2]))
        head = self.sections["NAME"].split(" - ")[0]
        self.names = [n.strip() for n in head.replace("\n", " ").split(",")]

    def literal(self, section):
        """The literal blocks of a section, as they are shown."""
        blocks = re.findall(r"^```\n(.*?)^```$", self.sections.get(section, ""), re.M | re.S)
        return [re.sub(r"\\(.)", r"\1", b) for b in blocks]

    def errors(self):
        parts = re.split(r"^## (.+)\n", self.sections.get("ERRORS", ""), flags=re.M)
        return {tuple(h.split(", ")): {e for line in re.findall(r"^\*-E.*", body, re.M)
                                       for e in ERRNO.findall(line)}
                for h, body in zip(parts[1::2], parts[2::2])}

    def contexts(self):
        """function -> {column: cell}, where the page has a table of all six columns."""
        rows = {}
        for block in self.literal("CONTEXT"):
            lines = block.splitlines()
            if "callback" not in lines[0]:
                continue
            columns = [m.start() for m in re.finditer(r"\S+(?: \S+)*", lines[0])]
            for line in lines[2:]:
                if not line[:columns[0]].strip():
                    continue # a cell goes on
                cells = [line[a:b].strip() for a, b in zip(columns, columns[1:] + [None])]
                for row in line[:columns[0]].split(","):
                    rows[self.function(row.strip())] = dict(zip(
                        ("sleep", "callback", "driver", "signal", "vfork", "fork"), cells))
        return rows

    def function(self, row):
        """The row's: `insert' is mmu_interval_notifier_insert."""
        found = [n for n in self.names if n == row or n.endswith("_" + row)]
        if len(found) != 1:
            raise SystemExit(f"{self.name}: CONTEXT: whose row is '{row}'? {found}")
        return found[0]


def pages():
    return [Page(p) for p in sorted((ROOT / "man").glob("*.scd"))]


def rendered(page, width=80):
    """The page on a terminal, by mandoc."""
    text = subprocess.run(["mandoc", "-Tutf8", "-O", f"width={width}", page], check=True,
                          capture_output=True, text=True).stdout
    return re.sub(r".\x08", "", text)


def documented_contexts():
    """function -> {column: cell}, from the table of docs/contexts.md."""
    rows = {}
    text = (ROOT / "docs/contexts.md").read_text().split("## Where callbacks run")[0]
    for line in text.splitlines():
        cells = [c.strip().replace("**", "") for c in line.strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        first = None
        for name in re.findall(r"`([^`]+)`", cells[0]):
            if name.startswith("_"):
                name = first.rsplit("_", 1)[0] + name
            name = name.replace("...", "mmu_notifier_invalidate_range")
            first = first or name
            rows[name] = dict(zip(("sleep", "callback", "driver", "signal", "vfork", "fork"),
                                  cells[1:]))
    return rows

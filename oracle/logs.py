# SPDX-License-Identifier: MIT
"""logs.py - the players' logs: parsed, and the kernel's looked at for what is missing."""
import re

REGION = {"w": 0, "b": 1 << 32}  # pages of a region as one number
END = 4096


def page(address):
    """The page that an address lies in, and the bytes above it: "w+3:17"."""
    m = re.fullmatch(r"([wb])([+-])(\d+)(?::(\d+))?", address)
    if not m:
        return None
    n = int(m[3]) * (1 if m[2] == "+" else -1)
    return REGION[m[1]] * 4096 + n * 4096 + int(m[4] or 0)


def size(length):
    pages, _, rest = length.partition(":")
    return int(pages) * 4096 + int(rest or 0)


def span(address, length):
    """The pages of a range, rounded out."""
    start, n = page(address), size(length)
    return set(range(start // 4096, (start + n + 4095) // 4096)) if start is not None else set()


def pages_of(region, low, high):
    return set(range(REGION[region] + int(low), REGION[region] + int(high)))


def spell(pages):
    """{1, 2, 3, 7} -> "w 1-4, 7-8"."""
    out, todo = [], sorted(pages)
    while todo:
        first = last = todo.pop(0)
        while todo and todo[0] == last + 1:
            last = todo.pop(0)
        name = "b" if first >= REGION["b"] else "w"
        out.append(f"{name} {first - REGION[name]}-{last + 1 - REGION[name]}")
    return ", ".join(out)


def slots(text):
    return dict(s.split(":") for s in text.split() if ":" in s)


class Held:
    def __init__(self, at_gate, text, result):
        self.at_gate, self.text, self.result = at_gate, text, result


class Op:
    def __init__(self, nr, text):
        self.nr, self.text = nr, text
        self.words = text.split()
        if self.words[0] == "while":
            self.words = self.words[2:]
        self.calls = []  # (sub, event, "w 1 3")
        self.trace = []  # calls, starts and ends as they came
        self.held = []
        self.ready, self.stuck = set(), ""
        self.late, self.noise = 0, []
        self.result = None

    def pages(self, sub):
        out = set()
        for name, _, where in self.calls:
            if name == sub and where != "outside":
                out |= pages_of(*where.split())
        return out

    def events(self, sub):
        return {event for name, event, _ in self.calls if name == sub}

    def sub_pages(self):
        return span(self.words[2], self.words[3])

    def slots(self):
        return slots(self.result)


class Script:
    def __init__(self):
        self.ops, self.died, self.cells = [], [], {}
        self.source = self.caller = None
        self.asynchronous = 0

    def cell(self, operation):
        """(how exact, by which source) for this log's caller."""
        if self.source == "explicit":
            return "bracketed", "explicit"
        found = {v for k, v in self.cells.items() if k[:2] == (operation, self.caller)}
        return found.pop() if len(found) == 1 else ("unwatched" if not found else "mixed", "")


CALL = re.compile(r"call (\w) ([\w-]+) (outside|\w \d+ \d+) of (all|else|\w \d+ \d+) seq (\d+)")


def op_line(op, line):
    m = CALL.match(line)
    if m:
        op.calls.append((m[1], m[2], m[3]))
        op.trace.append(("call", m[2], m[4], m[1], int(m[5])))
        return
    m = re.match(r"(start|end) ([\w-]+) (.*)", line)
    if m:
        op.trace.append((m[1], m[2], m[3]))
        return
    m = re.match(r"(held|late) (\d+) (.*) = (.*)", line)
    if m:
        op.held.append(Held(m[1] == "held", m[3], m[4]))
        return
    m = re.match(r"ready (\S+) unwatched (\S+) stuck (\S+)", line)
    if m:
        op.ready = set(m[1].strip("-"))
        op.stuck = m[3].strip("-")
    elif line.startswith("= "):
        op.result = line[2:]
    elif not line.startswith("release"):
        op.noise.append(line)


def load(path):
    """name -> Script"""
    scripts, script = {}, None
    for line in open(path):
        line = line.rstrip("\n")
        word = line.split(" ", 2)
        if word[0] == "script":
            script = scripts[word[1]] = Script()
        elif word[0] == "source":
            script.source, script.caller = word[1], word[2]
        elif word[0] == "cell":
            operation, caller, memory, exact, source = line.split()[1:]
            script.cells[operation, caller, memory] = (exact, source)
        elif word[0] == "op":
            script.ops.append(Op(int(word[1]), word[2]))
        elif word[0] == "died":
            script.died.append(line)
        elif word[0] in ("async", "gone"):
            script.asynchronous += 1
        elif word[0] != "over":
            op_line(script.ops[-1], line)
    return scripts


_loaded = {}


def load_one(path, script):
    """One script of a log, or None."""
    if path not in _loaded:
        _loaded[path] = load(path)
    return _loaded[path].get(script)


# ---- does the kernel's log hang together? ------------------------------------------

def overlaps(pages, where):
    return bool(where == "all" and pages) or (
        where not in ("all", "else") and bool(pages & pages_of(*where.split())))


class Consistent:
    """Each start was called for whom it overlaps, and for nobody else; each has its end; the
    sequence is odd in a callback and grows; retry is true exactly if there was a call."""

    def __init__(self, name):
        self.name, self.wrong = name, []
        self.subs, self.slots = {}, {}
        self.seq = 0

    def say(self, op, what):
        self.wrong.append(f"kernel.log: {self.name}: operation {op.nr} ({op.text}): {what}")

    def trace(self, op):
        called, opened = [], []
        young = {h.text.split()[1] for h in op.held if h.text.startswith("insert")}
        for event in op.trace:
            if event[0] == "call":
                called.append(event)
            elif event[0] == "start":
                self.start(op, event, called, young)
                called = []
                opened.append(event[1:])
            elif event[1:] in opened:
                opened.remove(event[1:])
            else:
                self.say(op, f"an end without its start: {event[2]}")
        if called:
            self.say(op, "calls without a start")
        if opened:
            self.say(op, "a start without its end")

    def start(self, op, start, called, young):
        names = [c[3] for c in called]
        due = {s for s, pages in self.subs.items() if overlaps(pages, start[2])}
        if not due <= set(names) or not set(names) <= due | young or len(set(names)) != len(names):
            self.say(op, f"start of {start[2]}: called {sorted(names)}, overlapping {sorted(due)}")
        for _, event, whole, sub, seq in called:
            if (event, whole) != start[1:]:
                self.say(op, f"{sub} was called for another range than was started")
            if seq % 2 == 0 or seq < self.seq:
                self.say(op, f"{sub}: sequence {seq} after {self.seq}")
            self.seq = seq
            for slot in self.slots.values():
                if slot[0] == sub:
                    slot[1] = "1"

    def op(self, op):
        self.trace(op)
        word = op.words
        for h in op.held:
            w = h.text.split()
            if w[0] == "insert" and h.result == "0":
                self.subs[w[1]] = span(w[2], w[3])
        if word[0] == "insert" and op.result == "0":
            self.subs[word[1]] = op.sub_pages()
        elif word[0] == "remove":
            self.subs.pop(word[1], None)
            self.slots = {n: s for n, s in self.slots.items() if s[0] != word[1]}
        elif word[0] == "begin" and op.result == "0":
            self.slots[word[1]] = [word[2], "0"]
        elif word[0] == "begin-all":
            for name in op.slots():
                self.slots[name] = [name.upper(), "0"]
        elif word[0] == "check":
            expected = {n: s[1] for n, s in self.slots.items()}
            if slots(op.result) != expected:
                self.say(op, f"retries {op.result}, by its calls {expected}")


def inconsistent(kernel):
    wrong = []
    for name, script in kernel.items():
        c = Consistent(name)
        for op in script.ops:
            c.op(op)
        wrong += c.wrong
        wrong += [f"kernel.log: {name}: {d}" for d in script.died]
    return wrong

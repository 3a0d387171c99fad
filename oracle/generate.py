#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""generate.py SEED DIR - writes DIR/seed-SEED.txt: a random sequence of legal and illegal
operations over a small window. The same seed gives the same script.

Every other seed keeps the window mapped: where a range has holes userfaultfd refuses to
watch it, and there would be little to compare.
"""
import random
import sys

PAGES = 24


class Script:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.dense = seed % 2 == 0
        self.lines = []
        self.subs = {}
        self.length = self.r.randint(20, 40)

    def say(self, text):
        self.lines.append(text)

    def span(self, longest=8):
        """A range of pages in the window; seldom one that reaches out of it."""
        r = self.r
        start = r.randrange(PAGES)
        n = r.randint(1, longest)
        return start, n if r.random() < 0.05 else min(n, PAGES - start)

    def at(self, page):
        return f"w+{page}" + (":%d" % self.r.randrange(1, 4096) if self.r.random() < 0.02 else "")

    def len(self, n):
        roll = self.r.random()
        if roll < 0.02:
            return "0"
        return f"{n - 1}:{self.r.randrange(1, 4096)}" if roll < 0.06 else str(n)

    def kind(self):
        r = self.r
        kind = r.choice(["anon", "anon", "anon", "shared", "f", "g"])
        if kind in "fg":
            kind += f"@{r.randrange(4)}:" + r.choice(["shared", "private"])
        return kind

    # Operations: each writes one line.
    def map(self):
        start, n = self.span()
        extra = self.r.choice([" populate", " populate", " populate", "", " r", " none",
                               " noreplace"])
        self.say(f"map {self.at(start)} {self.len(n)} {self.kind()}{extra}")

    def refill(self):
        self.say(f"refill w+0 {PAGES} {self.kind()}")

    def munmap(self):
        start, n = self.span()
        self.say(f"munmap {self.at(start)} {self.len(n)}")

    def mremap(self):
        r = self.r
        # Mostly one page: several mappings at once are refused, but not by younger kernels.
        start, n = self.span(1 if r.random() < 0.8 else 4)
        to, new = self.span(4)
        new = r.choice([n, n, new])
        how = r.choice(["", " maymove", " dontunmap"] + [f" to {self.at(to)}"] * 4)
        if how == " dontunmap":
            new = n
            if r.random() < 0.5:
                how += f" to {self.at(to)}"
        self.say(f"mremap {self.at(start)} {self.len(n)} {new}{how}")

    def brk(self):
        self.say(f"brk b+{self.r.randrange(12)}" + self.r.choice(["", "", ":77"]))

    def madvise(self):
        start, n = self.span()
        advice = self.r.choice(["dontneed", "dontneed", "free", "remove", "dontneed-locked",
                                "willneed", "bogus"])
        self.say(f"madvise {self.at(start)} {self.len(n)} {advice}")

    def mprotect(self):
        start, n = self.span()
        prot = self.r.choice(["none", "r", "rw", "rw"])
        if self.r.random() < 0.2:
            self.say(f"pkey-mprotect {self.at(start)} {self.len(n)} {prot} -1")
        else:
            self.say(f"mprotect {self.at(start)} {self.len(n)} {prot}")

    def shm(self):
        page = self.r.randrange(PAGES)
        if self.r.random() < 0.5:
            self.say(f"shmdt w+{page}")
        else:
            self.say(f"shmat s w+{page}" + self.r.choice([" remap", " remap", "", " remap rnd"]))

    def file(self):
        r = self.r
        name = r.choice("fg")
        if r.random() < 0.5:
            self.say(f"{r.choice(['ftruncate', 'truncate'])} {name} {r.randrange(9)}"
                     + r.choice(["", "", ":100"]))
        else:
            self.say(f"fallocate {name} {r.randrange(8)} {r.randint(1, 4)}"
                     + r.choice([" punch keep", " punch keep", " keep", "", " punch"]))

    def remap_file_pages(self):
        start, n = self.span(3)
        self.say(f"remap-file-pages w+{start} {n} {self.r.randrange(8)}")

    def fork(self):
        self.say("fork")

    def touch(self):
        start, n = self.span(12)
        self.say(f"{self.r.choice(['touch', 'touch', 'read'])} w+{start} {n}")

    def populate(self):
        self.say(f"touch w+0 {PAGES}")

    def subscribe(self):
        r = self.r
        free = [c for c in "ABCDEFGH" if c not in self.subs]
        if free and r.random() < 0.7:
            name = r.choice(free)
            if r.random() < 0.15:
                self.say(f"insert {name} b+{r.randrange(6)} {r.randint(1, 6)}")
            else:
                start, n = self.span(r.choice([1, 4, 16]))
                odd = r.random() < 0.2
                self.say(f"insert {name} w+{start}{':9' if odd else ''} {n}{':3' if odd else ''}")
            self.subs[name] = True
        elif self.subs:
            name = r.choice(sorted(self.subs))
            self.say(f"remove {name}")
            del self.subs[name]

    def begin(self):
        self.say("begin-all")

    def write(self, path):
        r = self.r
        self.say("file f 8")
        self.say("file g 8")
        self.say("segment s 3")
        self.say(f"map w+0 {PAGES} anon populate")
        if r.random() < 0.7:
            self.say(f"map w+{r.randrange(12)} 6 {self.kind()} populate")
        for _ in range(r.randint(2, 6)):
            self.subscribe()
        ops = ([self.munmap] * 5 + [self.map] * 5 + [self.mremap] * 4 + [self.madvise] * 5
               + [self.mprotect] * 3 + [self.brk] * 2 + [self.shm] * 2 + [self.file] * 2
               + [self.remap_file_pages, self.fork] + [self.touch] * 3 + [self.subscribe] * 2)
        for _ in range(self.length):
            if r.random() < 0.7:
                self.begin()
            if self.dense and r.random() < 0.8:
                self.refill()
                self.begin()
            if r.random() < 0.5:
                self.populate()
            r.choice(ops)()
            self.say("check")
        with open(path, "w") as out:
            out.write("# written by generate.py\n" + "\n".join(self.lines) + "\n")


if __name__ == "__main__":
    first, last = (sys.argv[1].split("-") * 2)[:2]
    for seed in range(int(first), int(last) + 1):
        Script(seed).write(f"{sys.argv[2]}/seed-{seed:05d}.txt")

# SPDX-License-Identifier: MIT
"""rules.py - what may differ between Linux's notifiers and hmmu, by name. README.md says it in
words; what is not here is an error."""
import re

import logs

OPERATIONS = ["munmap", "mmap_fixed", "mremap", "brk", "madvise", "process_madvise", "mprotect",
              "pkey_mprotect", "shmdt", "shmat_remap", "remap_file_pages", "ftruncate",
              "fallocate", "fork", "madvise_guard", "left out"]

NAMES = {"map": "mmap_fixed", "truncate": "ftruncate", "shmat": "shmat_remap"}

# By a call that userfaultfd has no event for, these leave a mapping that is not registered.
TAKES_REGISTRATION = ("shmdt", "shmat_remap", "remap_file_pages")

# Advice that changes no translation, as hmmu means it: what the process reads and writes stays.
HARMLESS = ("willneed", "cold", "pageout", "collapse", "hugepage", "mergeable", "unmergeable",
            "dontfork", "dofork", "bogus", "guard-remove")

CHANGES = ("munmap", "map", "mremap", "brk", "madvise", "process-madvise", "mprotect",
           "pkey-mprotect", "shmdt", "shmat", "remap-file-pages", "ftruncate", "truncate",
           "fallocate", "fork")


def operation(op):
    """hmmu's name of it; None: nothing that hmmu means to tell of."""
    word = op.words
    if word[0] not in CHANGES:
        return None
    if word[0] == "madvise" and word[3] == "guard-install":
        return "madvise_guard"
    if (word[0] == "madvise" and word[3] in HARMLESS) or (
            word[0] == "process-madvise" and word[1] in HARMLESS):
        return None
    return NAMES.get(word[0], word[0].replace("-", "_"))


# ---- answers -----------------------------------------------------------------------

def other_result(k, h, same_kernel):
    """The reason why a call may answer something else here than on Linux 6.1; None."""
    word = k.words
    if same_kernel:
        return None
    if word[0] == "madvise" and word[3].startswith("guard"):
        return "guard pages came with Linux 6.13"
    if word[0] == "process-madvise" and k.result == "-EINVAL":
        return "process_madvise(DONTNEED) came with Linux 6.13"
    if word[0] == "pkey-mprotect":
        return "the machine has, or has not, protection keys"
    if word[0] == "mremap" and h.result == "-EFAULT":
        return "mremap over mappings of which a part is registered (docs/sources.md)"
    if word[0] == "mremap" and k.result.startswith("-"):
        return "mremap: younger kernels (6.17) take several mappings, and odd lengths"
    return None


def other_effect(k, same_kernel):
    """The same answer, but the address spaces differ from here on: why, or None."""
    if not same_kernel and k.words[0] == "mremap" and k.result.startswith("-") and k.calls:
        return "mremap: 6.1 has unmapped the destination when it refuses, younger kernels not"
    return None


def elsewhere(op, pages):
    """Are they what MADV_REMOVE's hole shows in other mappings of the file? Behind the mapping
    at which a refused call stops, the range itself is no more than such a place."""
    return op.words[0] == "madvise" and op.words[3] == "remove" and (
        op.result.startswith("-") or not pages & logs.span(op.words[1], op.words[2]))


# ---- more than the kernel told -----------------------------------------------------

def low(pages):
    """The lowest address: the heap ("b") lies above the window ("w") on every machine."""
    return min(pages)


def huge(start, n):
    """A range that begins at a multiple of 2 MiB, rounded up to such pages."""
    pages = logs.span(start, n)
    first = min(pages, default=0)
    return pages | set(range(first, first + 512)) if first % 512 == 511 else pages


def named(op):
    """The pages that the arguments name."""
    word = op.words
    if word[0] in ("munmap", "madvise", "mprotect", "pkey-mprotect"):
        return logs.span(word[1], word[2])
    if word[0] == "remap-file-pages":
        return logs.span(word[1].split(":")[0], word[2])
    if word[0] == "map":
        return logs.span(word[1], word[2])
    if word[0] == "mremap":
        pages = logs.span(word[1], word[2])
        return pages | logs.span(word[word.index("to") + 1], word[3]) if "to" in word else pages
    if word[0] == "process-madvise":
        pages = set()
        for address, n in zip(word[2::2], word[3::2]):
            pages |= logs.span(address, n)
        return pages
    return set()


def extra(op, pages):
    """Why @pages, of which Linux did not tell, may be told; None: they may not."""
    word = op.words
    failed = op.result.startswith("-")
    if word[0] == "madvise" and word[3] == "remove" and not pages <= named(op):
        return "MADV_REMOVE: other mappings of the file, filled or not, several as one"
    if pages <= named(op):
        return ("a refused call" if failed else
                "pages that the arguments name, but nothing is mapped or in the page tables")
    if word[0] == "map" and "@" in word[3] and pages <= huge(word[1], word[2]):
        return "a file at a multiple of 2 MiB, which may be one of huge pages"
    if word[0] == "process-madvise":
        every = named(op)
        if pages <= set(range(min(every), max(every) + 1)):
            return "process_madvise: from the first to the last page"
    if word[0] == "brk":
        return "brk: the heap's pages that were never touched"
    if word[0] == "fork":
        return "fork: the whole address space"
    if word[0] in ("ftruncate", "truncate", "fallocate"):
        return "a file: its mappings that are not filled, several as one"
    if word[0] in ("shmat", "shmdt"):
        start = word[2] if word[0] == "shmat" else word[1]
        first = logs.page(start)
        if first is not None and low(pages) >= first // 4096:
            return (word[0] + ": a refused call, to the top of the address space" if failed else
                    word[0] + ": a segment's pages that are not there, or may be huge")
    return None


def other_kind(op, events):
    if op == "ftruncate" and events == {"unmap"}:
        return "truncation is UNMAP in Linux, CLEAR here"
    return None


# ---- docs/coverage.md ----------------------------------------------------------------

EXACT = {"bracketed": "bracketed", "by return": "by-return", "by return, reuse open": "reuse-open",
         "unwatched": "unwatched"}


def coverage(path):
    """{(source, operation, caller): how exact}, callers libc and raw; all kinds of memory."""
    cells, source = {}, None
    for line in open(path):
        line = line.strip()
        if line.startswith("## "):
            source = line[3:]
        m = re.match(r"\| (\w+)(: [^|]*)? \| ([^|]*) \| [^|]* \| ([^|]*) \|", line)
        if m and source:
            for caller, text in (("libc", m[3]), ("raw", m[4])):
                exact = EXACT.get(text.strip())
                cells.setdefault((source, m[1], caller), set()).add(exact)
    return cells


def cells_differ(other, cells):
    """What hmmu_mm_describe() said is what the page says."""
    script = next(iter(other.values()))
    source = {"both": "hooks+userfaultfd"}.get(script.source, script.source)
    if source == "explicit":
        return []
    wrong = []
    for op in OPERATIONS[:-1]:
        said = script.cell(op)[0]
        if {said} != cells.get((source, op, script.caller), {"unwatched"}):
            wrong.append(f"{op}: hmmu_mm_describe() says {said}, docs/coverage.md "
                         f"{cells.get((source, op, script.caller))}")
    return wrong

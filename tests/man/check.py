#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check.py WHAT DIR [ARGUMENT...] - do the manual pages say what the headers say? DIR has the
pages as built.

  names LIBRARY...  each function that is declared or exported has a page, by its name, and
                    each page that is named is there
  synopsis          prototypes and structures are the headers'
  errors            ERRORS of each function names the errnos that its header does
  contexts          the tables of CONTEXT agree with docs/contexts.md
  options TOOL      the commands' pages have the options that --help lists, and no others
  lint              mandoc -Tlint has no warning, nor has man
  width             no line is longer than 80 columns, by mandoc or by man
  installed BUILD   after meson install, man finds each page and each function
  example PAGE LIBRARY...  the program of EXAMPLE, as the page shows it, compiles and ends with
                    0. CC is the compiler; a LIBRARY that is no file says why it is skipped
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pages

# functions -> errnos that the page names and the header's comment does not, and why.
MORE = {
    "mmu_notifier_invalidate_range_start_nonblock": ({"EINVAL"}, "otherwise as above"),
    "mmu_notifier_get": ({"ENODEV", "EOPNOTSUPP", "EDEADLK"}, "what register answers"),
    "hmmu_devmem_close": ({"EINVAL"}, "src/devmem/arena.c: NULL"),
    "hmmu_mirror_read": ({"EFAULT"}, "the header says it before Return:"),
}
# (function, column) where page and docs/contexts.md differ, and why.
DIFFER = {
    ("hmmu_access_ok", "callback"): "the header: any context",
}
# What the library exports beside its own: libc's names (src/source/hooks/interpose.c).
OURS = re.compile(r"(hmmu|hmm|mmu|migrate)_|make_device_")

failed = []


def expect(good, text):
    if not good:
        failed.append(text)
        print(text)


def run(*args, **more):
    return subprocess.run(args, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **more)


def need(tool):
    if not shutil.which(tool):
        print(f"{tool} is not installed")
        sys.exit(77)


def declared():
    return {name: of for of in pages.headers() for name in of.functions}


def check_names(_, *libraries):
    names = {n for p in pages.pages() if p.name.endswith(".3") for n in p.names}
    functions = set(declared())
    for library in libraries:
        out = run("nm", "-D", "--defined-only", library, check=True).stdout
        exported = {line.split()[-1].split("@")[0] for line in out.splitlines()}
        functions |= {n for n in exported if OURS.match(n) and not n.startswith("HMMU_")}
    expect(len(functions) > 80, f"only {len(functions)} functions were found")
    for name in sorted(functions - names):
        expect(False, f"{name}: no page has it in its NAME")
    known = {(n, p.name[-1]) for p in pages.pages() for n in p.names}
    for page in pages.pages():
        for name, section in re.findall(r"\*([\w-]+)\*\((\d)\)", page.text):
            expect((name, section) in known or not re.match(r"hmm|mmu_|migrate_", name),
                   f"{page.name}: {name}({section}) is no page")
    pages_own = {p.name.split(".")[0] for p in pages.pages()} | {"hmmu_libfabric"}
    for name in sorted(names - functions - pages_own):
        expect(False, f"{name}: has a page, and is no function")


def check_synopsis(_):
    headers = pages.headers()
    for page in pages.pages():
        text = " ".join(page.literal("SYNOPSIS"))
        code = pages.one_line(pages.COMMENT.sub("", text))
        for header in headers:
            for name in set(page.names) & set(header.functions):
                expect(header.functions[name][0] + ";" in code,
                       f"{page.name}: SYNOPSIS has not: {header.functions[name][0]}")
                expect(f"#include <hmmu/{header.name}>" in text,
                       f"{page.name}: SYNOPSIS does not include {header.name}")
            for name, body in header.structs.items():
                shown = re.search(rf"struct {name}\{{(.*?)\}};", code)
                expect(not shown or shown[1] == body,
                       f"{page.name}: struct {name} is not the header's")


def check_errors(_):
    functions = declared()
    fail = [n for n, of in functions.items() if of.functions[n][1]]
    expect(len(fail) > 35, f"only {len(fail)} functions with errnos were found")
    for page in pages.pages():
        seen = set()
        for names, said in page.errors().items():
            wanted = set()
            for name in names:
                expect(name in functions, f"{page.name}: ERRORS: {name}?")
                wanted |= functions[name].functions[name][1] if name in functions else set()
                wanted |= MORE.get(name, (set(),))[0]
            seen |= set(names)
            expect(said == wanted, f"{page.name}: {', '.join(names)}: the header and not the "
                   f"page has {sorted(wanted - said)}, the page and not the header "
                   f"{sorted(said - wanted)}")
        for name in set(page.names) & set(functions):
            expect(name in seen or not functions[name].functions[name][1],
                   f"{page.name}: ERRORS has nothing of {name}")


def check_contexts(_):
    table = pages.documented_contexts()
    functions = declared()
    shown = {}
    for page in pages.pages():
        shown |= page.contexts() if page.name.endswith(".3") else {}
        words = set(re.findall(r"\w+", page.sections.get("CONTEXT", "")))
        for name in set(page.names) & set(functions):
            ends = {name.split("_", n)[-1] for n in range(name.count("_") + 1)}
            expect(ends & words, f"{page.name}: CONTEXT has nothing of {name}")
    expect(len(table) > 40, f"docs/contexts.md: only {len(table)} functions were found")
    for name, cells in sorted(table.items()):
        expect(name in shown, f"{name}: no page's CONTEXT has a row of it")
        for column in ("callback", "driver", "signal", "vfork"):
            words = [re.match(r"[\w-]*", c.get(column, ""))[0]
                     for c in (cells, shown.get(name, {}))]
            expect(not words[0] or words[0] == words[1] or (name, column) in DIFFER,
                   f"{name}: {column}: docs/contexts.md '{words[0]}', the page '{words[1]}'")


def check_options(_, tool):
    for page in pages.pages():
        name, section = page.name.rsplit(".", 1)
        if section != "1":
            continue
        out = run(tool, *name.split("-")[1:], "--help")
        lines = re.findall(r"^ +(?:hmmu )?-.*", out.stdout, re.M)
        listed = {o for line in lines
                  for o in re.findall(r"(?:^ +(?:hmmu )?|, | \| |\[)(--?[\w-]+)", line)}
        expect(out.returncode == 0 and "--help" in listed, f"{name} --help: {out.stdout}")
        tags = re.findall(r"^\*-.*", "".join(page.sections.values()), re.M)
        said = {o for line in tags for o in re.findall(r"\*(--?\w[\w-]*)\*", line)}
        expect(said - {"-h"} == listed - {"-h"}, f"{page.name}: only --help has "
               f"{sorted(listed - said)}, only the page {sorted(said - listed)}")


def built(where):
    found = sorted(pathlib.Path(where).glob("*.[137]"))
    expect({p.name for p in found} == {p.name for p in pages.pages()},
           "not every man/*.scd is built: man/meson.build")
    return found


def check_lint(where):
    need("mandoc")
    need("man")
    for page in built(where):
        out = run("mandoc", "-Tlint", "-W", "warning", page)
        expect(out.returncode == 0, out.stdout.strip())
        out = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
        expect(out.returncode == 0 and not out.stderr, f"{page.name}: man: {out.stderr.strip()}")


def check_width(where):
    need("mandoc")
    need("man")
    for page in built(where):
        man = run("man", "-l", str(page), env={**os.environ, "MANWIDTH": "80", "MANPAGER": "cat",
                                               "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""})
        for who, text in (("mandoc", pages.rendered(page)), ("man", man.stdout)):
            lines = text.splitlines()
            expect(len(lines) > 20, f"{page.name}: {who} shows {len(lines)} lines")
            for line in lines:
                expect(len(line) <= 80, f"{page.name}: {who}: {line}")


def check_installed(where, build):
    need("man")
    with tempfile.TemporaryDirectory() as dest:
        out = run("meson", "install", "-C", build, "--no-rebuild", "--tags", "man",
                  "--destdir", dest)
        expect(out.returncode == 0, out.stdout)
        man = [p.parent for p in pathlib.Path(dest).rglob("man3")]
        for page in pages.pages():
            section = page.name.rsplit(".", 1)[1]
            for name in page.names if section == "3" else [page.name.rsplit(".", 1)[0]]:
                out = run("man", "-M", str(man[0]) if man else dest, "-w", section, name)
                found = pathlib.Path(out.stdout.strip())
                expect(out.returncode == 0 and found.resolve().name == page.name,
                       f"man {section} {name}: {out.stdout.strip()}")


def check_example(where, page, *libraries):
    need("mandoc")
    flags = []
    for library in libraries:
        if not library.startswith("-l") and not os.path.exists(library):
            print(library)
            sys.exit(77)
        flags.append(library)
        if "/" in library:
            flags.append(f"-Wl,-rpath,{os.path.dirname(library)}")
    shown = pages.rendered(pathlib.Path(where, page + ".3"), 200)
    text = shown.split("\nEXAMPLE\n")[1].split("\nSEE ALSO\n")[0]
    start = re.search(r"^ {7}#", text, re.M).start()
    code = re.sub(r"^ {7}", "", text[start:], flags=re.M)
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch, page + ".c")
        source.write_text(code)
        out = run(*os.environ.get("CC", "cc").split(), "-std=gnu11", "-Wall", "-Wextra",
                  "-Werror", f"-I{pages.ROOT}/include", str(source), "-o", f"{scratch}/program",
                  *flags, "-pthread")
        expect(out.returncode == 0, f"{page}: it does not compile\n{out.stdout}")
        if out.returncode:
            return
        out = run(f"{scratch}/program", cwd=scratch)
    print(out.stdout.strip())
    if out.returncode == 77:
        sys.exit(77)
    expect(out.returncode == 0, f"{page}: the example ended with {out.returncode}")


def main():
    checks = {n.removeprefix("check_"): f for n, f in globals().items()
              if n.startswith("check_")}
    if len(sys.argv) < 3 or sys.argv[1] not in checks:
        sys.exit(__doc__)
    checks[sys.argv[1]](*sys.argv[2:])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests.py BUILD none|quick|all VERSION - the library's own tests that make sense on a bare Linux
of that version: those that are one program of ours. One line each:

    target, name, seconds, environment or -, words of the command (tabs between)

Left out by name: planted bugs (there they test the tests), what needs a compiler, valgrind,
another library or a shell script, and preloading. `quick` leaves out the same tests over
other builds of the library, and the storm.
"""
import json
import os
import shlex
import subprocess
import sys

# The stacks that unit-lockdep looks for want addr2line.
SUITES = {"unit", "api", "hooks", "hmm"}
# userfaultfd's events that hmmu uses are there from Linux 6.7 on.
WATCHED, WATCHED_FROM = {"seccomp", "userfaultfd", "mirror", "devmem"}, (6, 7)
OUT = ("planted", "seccomp not planted", "seccomp calls, dlclose", "UCX", "claims", "two ",
       "under lib", "api-header", "unit-lockdep")
SLOW = ("-called", "-debug", "-storm", "api-model", "unit-lives", "unit-signal",
        "mirror-replica", "net-ring")
# Under emulation an entry that is patched while threads run through it may go on as it was:
# the library notices, and falls back; these tests want it patched.
EMULATED = ("patch ",)
# Emulated, everything takes ten times as long; so does giving up.
PATIENCE = 3
LESS = {"hmm-differ": "HMM_ROUNDS=6", "net-": "HMMU_NET_SECONDS=100",
        "devmem-": "HMMU_NET_SECONDS=100"}

build, which, version = sys.argv[1:]
suites_here = set(SUITES)
if tuple(map(int, version.split(".")[:2])) >= WATCHED_FROM:
    suites_here |= WATCHED
if which == "none":
    sys.exit(0)
build = os.path.realpath(build)
tests = json.loads(subprocess.run(["meson", "introspect", build, "--tests"], check=True,
                                  capture_output=True, text=True).stdout)
for t in tests:
    suites = {s.split(":")[-1] for s in t["suite"]}
    name, cmd = t["name"], t["cmd"]
    if not suites & suites_here or any(name.startswith(o) for o in OUT):
        continue
    if any("PLANT" in variable for variable in t["env"]):
        continue
    if which == "quick" and any(name == s or name.endswith(s) for s in SLOW):
        continue
    if which == "quick" and any(name.startswith(e) for e in EMULATED):
        continue
    if "LD_PRELOAD" in t["env"] or not cmd[0].startswith(build + "/"):
        continue
    env = [f"{k}={v}" for k, v in t["env"].items() if k != "LD_LIBRARY_PATH"]
    env += [v for start, v in LESS.items() if which == "quick" and name.startswith(start)]
    cmd = [os.path.relpath(c, build) if c.startswith(build + "/") else c for c in cmd]
    print("\t".join([cmd[0], name.replace(" ", "_"), str(t["timeout"] * PATIENCE),
                     env[0] if env else "-"] + [shlex.quote(c) for c in cmd]))

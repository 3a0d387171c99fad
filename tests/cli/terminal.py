#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""terminal.py HMMU - colours and progress: on a terminal, unless NO_COLOR or TERM forbid."""
import os
import pty
import sys

HMMU = sys.argv[1]
SHORT = ["doctor", "--source", "explicit", "--operation", "munmap"]
HOOKS = ["doctor", "--source", "hooks", "--operation", "munmap"]  # a table


def on_terminal(args, streams, **env):
    """What comes on a terminal that is the child's STREAMS; the others are /dev/null."""
    pid, master = pty.fork()
    if not pid:
        null = os.open("/dev/null", os.O_RDWR)
        for stream in {1, 2} - set(streams):
            os.dup2(null, stream)
        child = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
        os.execve(HMMU, [HMMU, *args], child | env)
    text = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: nobody has the other end any more
            break
        if not part:
            break
        text += part
    os.close(master)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 77:
        print("the hooks do not work here")
        sys.exit(77)
    if status not in (0, 1):
        sys.exit(f"{args}: {status}: {text.decode()}")
    return text


def expect(what, want, got):
    if want != got:
        sys.exit(f"{what}: {got}, not {want}")


for env, colored in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": ""}, True),
                     ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False),
                     ({}, False)):
    expect(f"colours with {env}", colored, b"\033[32m" in on_terminal(HOOKS, [1], **env))
for env, shown in (({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False),
                   ({"TERM": "xterm", "NO_COLOR": "1"}, True)):
    text = on_terminal(SHORT, [2], **env)
    expect(f"progress with {env}", shown, b"\rexplicit: munmap" in text)
    expect(f"the line is cleared with {env}", shown, text.endswith(b"\r\033[K"))
expect("colours in JSON", False,
       b"\033[" in on_terminal([*HOOKS, "--json"], [1], TERM="xterm"))

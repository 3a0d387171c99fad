#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""query.py FILE EXPRESSION... - each must be true of the --json report d."""
import json
import sys

d = json.load(open(sys.argv[1]))


def calls(op, process=None):
    """How often op was called, in all or in one process of d."""
    chosen = d["processes"] if process is None else [process]
    return sum(p["operations"].get(op, {}).get("calls", 0) for p in chosen)


def by(command=None, began=None):
    """The processes of a command."""
    return [p for p in d["processes"]
            if (command is None or p["command"] == command)
            and (began is None or p["began"] == began)]


bad = 0
for expression in sys.argv[2:]:
    if not eval(expression):
        print("not true:", expression)
        bad = 1
if bad:
    brief = {k: v for k, v in d.items() if k not in ("sites", "events")}
    print(json.dumps(brief, indent=1))
sys.exit(bad)

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""plant.py IN OUT FROM TO - a copy of IN with a bug: FROM, which occurs once, becomes TO."""
import sys

source, target, old, new = sys.argv[1:]
with open(source) as f:
    text = f.read()
if text.count(old) != 1:
    sys.exit(f'plant.py: {source}: {text.count(old)} times: {old}')
with open(target, 'w') as f:
    f.write(text.replace(old, new))

#!/bin/sh
# SPDX-License-Identifier: MIT
# static.sh OUTPUT OBJCOPY AR COMPILER... OBJECT... - an archive that defines what the shared
# library exports and nothing else. Its objects are linked to one, because a hidden name is
# global among the members of an archive: a program's own dm_lock() would meet ours.
set -eu
out=$1 objcopy=$2 ar=$3
shift 3
rm -f "$out"
"$@" -r -nostdlib -o "$out.o"
"$objcopy" --localize-hidden "$out.o"
"$ar" rcsD "$out" "$out.o"
rm -f "$out.o"

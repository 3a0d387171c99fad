#!/bin/sh
# SPDX-License-Identifier: MIT
# exported.sh LIBRARY EXPECTED - what the library exports is exactly the written list, each
# name under its version node.
set -eu
nm -D --defined-only --with-symbol-versions "$1" | awk '$2 != "A" { print $3 }' | LC_ALL=C sort >"$1.exported"
if ! diff -u "$2" "$1.exported"; then
	echo "the ABI changed: update $2 only together with src/libhmmu.map and CHANGELOG.md"
	exit 1
fi

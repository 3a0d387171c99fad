#!/bin/sh
# SPDX-License-Identifier: MIT
# exported.sh LIBRARY EXPECTED [static] - what the library exports is exactly the written list,
# each name under its version node; an archive defines the same names, hidden ones are local.
set -eu
lib=$1 expected=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if [ "${3:-}" ]; then
	nm -g --defined-only "$lib" | awk 'NF == 3 { print $3 }'
else
	nm -D --defined-only --with-symbol-versions "$lib" | awk '$2 != "A" { print $3 }'
fi | LC_ALL=C sort >"$dir/exported"
sed "${3:+s/@.*//}" "$expected" >"$dir/expected"
if ! diff -u "$dir/expected" "$dir/exported"; then
	echo "the ABI changed: update $2 only together with the library's .map and CHANGELOG.md"
	exit 1
fi

#!/bin/sh
# SPDX-License-Identifier: MIT
# header.sh LIBDIR COMPILER ARGUMENT... - build a program from one source, run it.
set -e
lib=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$@" -x none -L"$lib" -lhmmu -Wl,-rpath,"$lib" -o "$dir/header"
"$dir/header"

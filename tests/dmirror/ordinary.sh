#!/bin/sh
# SPDX-License-Identifier: MIT
# ordinary.sh LIBRARY - programs that know nothing of the device do what they do without it.
set -u
lib=$1
same() {
	plain=$("$@" 2>&1; echo "status $?")
	preloaded=$(LD_PRELOAD=$lib "$@" 2>&1; echo "status $?")
	[ "$plain" = "$preloaded" ] && return
	printf 'differs: %s\n--- plain\n%s\n--- preloaded\n%s\n' "$*" "$plain" "$preloaded"
	exit 1
}
here=$(dirname "$0")
same ls -la "$here"
same ls /nowhere
same cat "$0"
same sh -c 'exec 5<"$0"; read -r line <&5; echo "$line"; exec 5<&-; cat <&5' "$0"
same dd if="$0" bs=7 count=3 status=none
if command -v python3 >/dev/null; then
	same python3 -c 'import os, mmap, subprocess, fcntl, tempfile
f = tempfile.TemporaryFile(); f.truncate(8192); m = mmap.mmap(f.fileno(), 8192); m[4096] = 7
d = os.dup(f.fileno()); f.close(); os.lseek(d, 4096, 0); print(os.read(d, 2)); os.close(d)
print(subprocess.run(["true"]).returncode, fcntl.fcntl(0, fcntl.F_GETFD))
try: fcntl.ioctl(1, 0xc0284800, bytes(40))
except OSError as e: print(e.errno)
try: open("/dev/hmm_dmirror7")
except OSError as e: print(e.errno)'
fi
# And the library is in there at all.
LD_PRELOAD=$lib sh -c 'exec 5<>/dev/hmm_dmirror0' || { echo 'not preloaded'; exit 1; }

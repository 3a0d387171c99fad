#!/bin/sh
# SPDX-License-Identifier: MIT
# hostile.sh HMMU VICTIM - programs that close everything, forbid system calls, have a
# userfaultfd of their own; more events than there is room for.
. "$(dirname "$0")/common.sh"

# Nothing of ours is open, and reports arrive with everything closed.
expect 7 "$victim" closefrom
watched 7 closefrom
true_of 'calls("munmap") == 7' 'd["dropped"] == 0'

# A filter that kills on any other call: the hooks make none of their own.
"$victim" seccomp >"$dir/bare"
case $? in
8)
	watched 8 seccomp
	printf 'filtered\n' | cmp - "$dir/out" || fail "its output"
	true_of 'calls("munmap") == 20' 'd["exit"] == 8'
	;;
77) echo "skipped in part: seccomp is refused here" ;;
*) fail "the victim alone fails" ;;
esac

"$victim" uffd
case $? in
9)
	watched 9 uffd
	true_of 'calls("munmap") >= 1'
	;;
77) echo "skipped in part: userfaultfd is refused here" ;;
*) fail "the victim alone fails" ;;
esac

# A ring of eight: what did not fit is counted, and nothing else is lost.
expect 0 "$hmmu" watch --buffer 8 --json -o "$report" -- "$victim" many 20000
true_of 'd["dropped"] > 0' 'calls("munmap") > 0' 'calls("munmap") + d["dropped"] == 20000'
expect 0 "$hmmu" watch --buffer 8 -- "$victim" many 20000
says '^INCOMPLETE: [0-9]* events were dropped'
# And with room enough none is.
watched 0 many 10000
true_of 'd["dropped"] == 0' 'calls("munmap") == 10000'
finish

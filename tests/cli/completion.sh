#!/bin/bash
# SPDX-License-Identifier: MIT
# completion.sh - the bash completion says what the command takes: every subcommand, every
# option of its help and no other, and values that the command accepts, all of them.
set -u
. "$(dirname "$0")/common.sh"
. "$completions"
complete -p hmmu >/dev/null || fail "not set up"

# offers WORD... : what is offered in place of the last one, a line each
offers() {
	COMP_WORDS=("$hmmu" "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_hmmu
	printf '%s\n' "${COMPREPLY[@]}" | sort
}
same() {
	diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") >"$dir/out" || fail "$1: wanted, offered:"
}
among() { grep -qx -- "$2" <<<"$1" || fail "$2 is not among: $1"; }

same commands "$("$hmmu" --help | sed -nE '/^  (help|--)/!s/^  ([a-z]+) .*/\1/p' | sort)" \
	"$(offers '' | grep -v -e '^-' -e '^help$')"
same "help's" "$(offers '' | grep -v -e '^-' -e '^help$')" "$(offers help '')"
same "by a letter" torture "$(offers t)"
same version --json "$(offers --version '')"
for sub in "${subs[@]}"; do
	same "$sub's options" "$(options "$sub" | grep -- '^--')" \
		"$(offers "$sub" - | grep -- '^--')"
	same "$sub's by letters" --json "$(offers "$sub" --js)"
done
among "$(offers watch -)" -o

# Values: as many as the help has names of, and each one is taken.
accepts() {
	local value
	for value in $(offers "$1" "$2" ''); do
		# A bad word behind it: only that is complained of.
		expect 2 "$1" "$2" "$value" --nonsense
		grep -q -- "'--nonsense'" "$dir/err" || fail "$1 $2 $value is not taken"
	done
}
named() { # SUB OPTION: every name that is accepted is named in --help=all, and offered
	"$hmmu" "$1" --help=all | tr -c 'a-z_+-' '\n' | sort -u >"$dir/words"
	local word taken=()
	while read -r word; do
		case $word in '' | -*) continue ;; esac
		"$hmmu" "$1" "$2" "$word" --nonsense 2>&1 | grep -q "'--nonsense'" &&
			taken+=("$word")
	done <"$dir/words"
	same "$1 $2" "$(printf '%s\n' "${taken[@]}" | sort)" "$(offers "$1" "$2" '')"
}
values=(doctor:--source doctor:--operation)
[[ " ${subs[*]} " == *" torture "* ]] &&
	values+=(torture:--source torture:--callers torture:--ops torture:--memory
		torture:--disturb)
for v in "${values[@]}"; do
	accepts "${v%:*}" "${v#*:}"
	named "${v%:*}" "${v#*:}"
done
same "behind =" userfaultfd "$(offers doctor --source = u)"
same "in a list" "munmap,brk" "$(offers torture --ops munmap,b)"

# Files, and the command that is watched.
: >"$dir/a recording"
same files "$dir/a recording" "$(offers torture --replay "$dir/a")"
among "$(offers watch --json base)" basename
same "not its own options" "" "$(offers watch --json -- basename --js)"

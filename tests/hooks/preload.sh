#!/bin/sh
# SPDX-License-Identifier: MIT
# preload.sh ALLOCATOR MODULE PROGRAM ARG...: run it with both preloaded, in this order
# and in the other. The allocators are told to give memory back at once.
allocator=/usr/lib/$(uname -m)-linux-gnu/$1
module=$2
shift 2
if [ ! -e "$allocator" ]; then
	echo "no $allocator here"
	exit 77
fi
export MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0
export MIMALLOC_PURGE_DELAY=0 MIMALLOC_RESET_DELAY=0 MIMALLOC_PAGE_RESET=1
export MIMALLOC_DECOMMIT_DELAY=0 MIMALLOC_SEGMENT_DECOMMIT_DELAY=0
export HMMU_TEST_OPEN=1
LD_PRELOAD=$allocator:$module "$@" || exit 1
LD_PRELOAD=$module:$allocator "$@"

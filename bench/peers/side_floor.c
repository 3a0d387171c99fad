// SPDX-License-Identifier: MIT
/* side_floor.c - what the loops take by themselves, with one empty call in them. */
#include "peers.h"

__attribute__((noinline)) static int nothing(unsigned long addr, unsigned long *answer)
{
	*answer = addr;
	__asm__ volatile("" : "+m"(*answer)); /* the compiler cannot know what it answers */
	return 0;
}

#define PEER peer_floor
#define PEER_NAME "an empty call"
#define CACHE int
#define REF unsigned long
#define OPEN(variant) 0
#define CREATE(cache, limit) (*(cache) = 0)
#define GET(cache, addr, len, ref) nothing(addr, ref)
#define PUT(cache, ref) ((void)0)
#define ANSWER(ref) (ref)
#define NEXT(ref) ((ref) >> 63)
#define KEEPS_NOTHING true
#define MERGES false
#define TELL tell
#define SETTLE settle

static void tell(struct world *world, unsigned long start, size_t length)
{
}

static void settle(struct world *world)
{
}

#include "loops.h"

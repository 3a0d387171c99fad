// SPDX-License-Identifier: MIT
/*
 * cases.c - one transfer; other pages at the address; the same transfer again. What counts is
 * what the process then reads where the bytes had to arrive.
 */
#include "stale.h"

#include <stdio.h>

#define OLD 0xa1a1a1a1a1a1a1a1ull
#define NEW 0xb2b2b2b2b2b2b2b2ull

enum which { WRITE_SOURCE, READ_SOURCE, WRITE_TARGET, CASES };

static const char *const names[CASES] = {
	[WRITE_SOURCE] = "RDMA write, source remapped",
	[READ_SOURCE] = "RDMA read, source remapped",
	[WRITE_TARGET] = "RDMA write, target remapped",
};

static void once(struct side *s, enum which which, uint64_t *from, uint64_t *to)
{
	struct keys source, target;

	side_get(s, from, &source);
	side_get(s, to, &target);
	if (which == READ_SOURCE)
		transfer(s, IBV_WR_RDMA_READ, to, target.lkey, from, source.rkey);
	else
		transfer(s, IBV_WR_RDMA_WRITE, from, source.lkey, to, target.rkey);
	need(side_put(s, &source) && side_put(s, &target), "nothing has changed meanwhile");
}

/* What is there after the second transfer. */
static uint64_t outcome(struct side *s, enum which which)
{
	uint64_t *from = fresh(NULL, OLD), *to = fresh(NULL, 0);

	once(s, which, from, to);
	need(word_of(to) == OLD, "the first transfer");
	if (which == WRITE_TARGET) {
		fresh(to, 0);
		for (size_t i = 0; i < PAGE / sizeof(*from); i++)
			from[i] = NEW;
	} else {
		fresh(from, NEW);
	}
	once(s, which, from, to);
	return word_of(to);
}

static const char *text(uint64_t word)
{
	return word == NEW ? "new bytes" : word == OLD ? "OLD BYTES" : "NOTHING ARRIVED";
}

void cases(struct side *kept, struct side *safe)
{
	for (enum which which = 0; which < CASES; which++) {
		uint64_t without = outcome(kept, which), with = outcome(safe, which);

		judge(without == (which == WRITE_TARGET ? 0 : OLD) && with == NEW,
		      "%-33s %-22s %s", names[which], text(without), text(with));
	}
}

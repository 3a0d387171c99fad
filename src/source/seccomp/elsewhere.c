// SPDX-License-Identifier: MIT
/*
 * elsewhere.c - the seccomp source where it is not written for the architecture: refused.
 * What an architecture has to give is the gate (gate.c), the keeper's clone (keeper.c) and
 * the numbers of its calls (filter.c, serve.c).
 */
#include <errno.h>

#include "source/source.h"

static int seccomp_open(void)
{
	return -EOPNOTSUPP;
}

static int seccomp_describe(struct hmmu_coverage *cells, size_t n)
{
	size_t i = 0;

	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++, i++)
			if (i < n)
				cells[i] = (struct hmmu_coverage){
					.operation = (uint16_t)op,
					.caller = (uint16_t)caller,
					.memory = HMMU_MEMORY_ANY,
					.exactness = caller == HMMU_CALLER_EXPLICIT
							     ? HMMU_BRACKETED
							     : HMMU_UNWATCHED,
				};
	return (int)i;
}

static const char *seccomp_why(void)
{
	return "it is not written for this architecture";
}

const struct hmmu_source hmmu_source_seccomp = {
	.name = "seccomp",
	.bit = HMMU_SOURCE_SECCOMP,
	.open = seccomp_open,
	.describe = seccomp_describe,
	.why = seccomp_why,
};

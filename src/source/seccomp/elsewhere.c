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

static unsigned int seccomp_exactness(unsigned int op, unsigned int caller)
{
	return HMMU_UNWATCHED;
}

static const char *seccomp_why(void)
{
	return "it is not written for this architecture";
}

const struct hmmu_source hmmu_source_seccomp = {
	.name = "seccomp",
	.bit = HMMU_SOURCE_SECCOMP,
	.open = seccomp_open,
	.exactness = seccomp_exactness,
	.why = seccomp_why,
};

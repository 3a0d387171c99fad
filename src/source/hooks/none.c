// SPDX-License-Identifier: MIT
/* none.c - no hooks yet: said so by open. */
#include <errno.h>

#include "../source.h"

static int hooks_open(void)
{
	return -EOPNOTSUPP;
}

static int hooks_describe(struct hmmu_coverage *cells, size_t n)
{
	return 0;
}

const struct hmmu_source hmmu_source_hooks = {
	.name = "hooks",
	.bit = HMMU_SOURCE_HOOKS,
	.open = hooks_open,
	.describe = hooks_describe,
};

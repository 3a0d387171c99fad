// SPDX-License-Identifier: MIT
/*
 * regcache.c - the registration cache's operations in time: the loops of count/regcache.c,
 * which says what each is. A registration that does nothing, an mm that the program tells
 * itself: the cache alone. UCX's cache on the same work is beside it in peers/ (`make
 * bench-peers`).
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "count/count.h"

#define AT_ONCE 400 /* operations between a before and its after */

/* What the loops ask for, and what only counting needs. */
void count_check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench: regcache: %s\n", what);
	exit(1);
}

void count_own(const void *start, size_t size)
{
	(void)start;
	(void)size;
}

/* Before and after are not under the clock. */
static double timed(struct batch *batch, uint64_t iters)
{
	const struct operation *op = batch->arg;
	double ns = 0, from;

	while (iters > 0) {
		uint64_t n = iters < AT_ONCE ? iters : AT_ONCE;

		if (op->before)
			op->before(op->arg, n);
		from = now_ns();
		op->run(op->arg, n);
		ns += now_ns() - from;
		if (op->after)
			op->after(op->arg, n);
		iters -= n;
	}
	return ns;
}

void bench_regcache(void)
{
	for (size_t i = 0; i < regcache_operations.n; i++) {
		const struct operation *op = &regcache_operations.list[i];
		const char *name = strchr(op->name, '-');
		struct batch batch = {.time = timed, .arg = (void *)op};
		struct line line = line_of("regcache", "%s", name ? name + 1 : op->name);

		if (!wanted(line.group, line.name))
			continue;
		if (op->set_up(op)) {
			line.not_available = true;
			snprintf(line.note, sizeof(line.note), "not to be set up here");
		} else {
			measure(&line, &batch, NULL);
		}
		report(&line);
	}
}

// SPDX-License-Identifier: MIT
/*
 * module.c - hooks and recorder as a library: to be preloaded, or loaded with
 * RTLD_LOCAL, built and versioned as libhmmu.so is. Preloaded with HMMU_TEST_OPEN set
 * it opens the source before main(), watches, and says at exit what it saw.
 */
#include "module.h"

#include <stdio.h>
#include <stdlib.h>

#include "source/hooks/hooks.h"

int module_open(void)
{
	return hmmu_source_hooks.open();
}

bool module_intact(void)
{
	return hmmu_hooks_intact();
}

const char *module_hook(unsigned int i, unsigned int *state, const char **why)
{
	if (i >= HMMU_HOOK_NR)
		return NULL;
	*state = hmmu_hook_info[i].state;
	*why = hmmu_hook_info[i].why;
	return hmmu_hook_info[i].name;
}

__attribute__((constructor)) static void begin(void)
{
	if (!getenv("HMMU_TEST_OPEN"))
		return;
	rec_watch(true);
	if (module_open()) {
		fprintf(stderr, "module: open failed\n");
		_Exit(3);
	}
}

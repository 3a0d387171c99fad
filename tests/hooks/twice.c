// SPDX-License-Identifier: MIT
/*
 * twice.c - two copies of the hooks in one process: the second finds libc's entries
 * patched, says so and refuses; the first goes on.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "module.h"

static void *need(void *h, const char *name)
{
	return h ? dlsym(h, name) : NULL;
}

int main(int argc, char **argv)
{
	void *a = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL), *p;
	void *b = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
	int (*open_a)(void), (*open_b)(void);
	void (*watch)(bool);
	unsigned int (*starts)(void);
	const char *(*hook)(unsigned int, unsigned int *, const char **), *why = NULL;
	unsigned int state = 0;

	*(void **)&open_a = need(a, "module_open");
	*(void **)&open_b = need(b, "module_open");
	*(void **)&watch = need(a, "rec_watch");
	*(void **)&starts = need(a, "rec_starts");
	*(void **)&hook = need(b, "module_hook");
	if (!open_a || !open_b || !watch || !starts || !hook)
		return 2;
	if (open_a() || open_b() != -EOPNOTSUPP || open_b() != -EOPNOTSUPP || open_a())
		return 1;
	hook(0, &state, &why);
	printf("the second: state %u, %s\n", state, why ? why : "");
	if (state || !why || !strstr(why, "another library"))
		return 1;
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	watch(true);
	munmap(p, 4096);
	watch(false);
	return starts() == 1 ? 0 : 1;
}

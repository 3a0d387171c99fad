// SPDX-License-Identifier: MIT
/*
 * late.c - UCX comes after hmmu: an address space is open when libhmmu-ucx is loaded, which
 * loads UCX, which patches over hmmu's hooks. The start puts them around its patch.
 *
 *	late PATH-OF-LIBHMMU-UCX
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <hmmu/ucx.h>

#define must(cond)                                                                 \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			exit(1);                                                   \
		}                                                                  \
	} while (0)

int main(int argc, char **argv)
{
	const struct hmmu_mm_options hooks = {
		.size = sizeof(hooks),
		.sources = HMMU_SOURCE_HOOKS,
		.require = HMMU_BRACKETED,
	};
	__typeof(hmmu_ucx_start) *start;
	__typeof(hmmu_ucx_stop) *stop;
	__typeof(hmmu_ucx_get_stats) *get_stats;
	struct hmmu_ucx_stats before, after;
	struct mm_struct *mm;
	bool once = false;
	void *lib, *p;

	must(argc == 2);
	must(!dlopen("libucm.so.0", RTLD_NOW | RTLD_NOLOAD));
	must(!hmmu_mm_open(&mm, &hooks));
	lib = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		fprintf(stderr, "%s\n", dlerror());
	must(lib);
	*(void **)&start = dlsym(lib, "hmmu_ucx_start");
	*(void **)&stop = dlsym(lib, "hmmu_ucx_stop");
	*(void **)&get_stats = dlsym(lib, "hmmu_ucx_get_stats");
	must(!start(mm, NULL));
	/* Once each, not twice. A thread of a library's may change memory of its own meanwhile:
	 * not every time. */
	for (int i = 0; i < 100 && !once; i++) {
		p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		get_stats(&before);
		munmap(p, 4096);
		get_stats(&after);
		once = after.starts == before.starts + 1 && after.ends == before.ends + 1;
	}
	must(once);
	must(!stop());
	must(!hmmu_mm_close(mm));
	return 0;
}

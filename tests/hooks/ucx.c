// SPDX-License-Identifier: MIT
/*
 * ucx.c - the real UCX (libucm) and hmmu's hooks in one process: both are told of every
 * change, in whatever order they came.
 *
 *	ucx first [MODULE]	UCX is loaded (that installs its hooks), then ours are opened
 *	ucx second [MODULE]	ours are opened, UCX patches over them, ours are restored
 *	ucx linked		this program is linked with the module behind libucm, so that
 *				UCX finds and patches the module's own names
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include <ucm/api/ucm.h>

#include "module.h"

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static struct {
	int (*open)(void);
	bool (*intact)(void);
	const char *(*hook)(unsigned int, unsigned int *, const char **);
	void (*watch)(bool);
	void (*reset)(void);
	bool (*covers)(enum mmu_notifier_event, unsigned long, unsigned long);
	unsigned int (*starts)(void);
	unsigned int (*open_now)(void);
} mod;

static int wrong;

/* What UCX's handler was told, last; and whether a bracket of ours was open then. */
static struct {
	uintptr_t start;
	uintptr_t end;
	unsigned int count;
	unsigned int bracketed;
} told;

static void *need(void *handle, const char *name)
{
	void *p = dlsym(handle, name);

	if (!p) {
		fprintf(stderr, "ucx: %s: %s\n", name, dlerror());
		exit(2);
	}
	return p;
}

static void load(const char *path)
{
	void *h = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : RTLD_DEFAULT;

	if (path && !h) {
		fprintf(stderr, "ucx: %s\n", dlerror());
		exit(2);
	}
	*(void **)&mod.open = need(h, "module_open");
	*(void **)&mod.intact = need(h, "module_intact");
	*(void **)&mod.hook = need(h, "module_hook");
	*(void **)&mod.watch = need(h, "rec_watch");
	*(void **)&mod.reset = need(h, "rec_reset");
	*(void **)&mod.covers = need(h, "rec_covers");
	*(void **)&mod.starts = need(h, "rec_starts");
	*(void **)&mod.open_now = need(h, "rec_open");
}

static void on_unmapped(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
	uintptr_t start = (uintptr_t)event->vm_unmapped.address;
	uintptr_t end = start + event->vm_unmapped.size;

	told.start = start < told.start ? start : told.start;
	told.end = end > told.end ? end : told.end;
	told.count++;
	told.bracketed += mod.open_now && mod.open_now() > 0;
}

static struct {
	__typeof(ucm_set_event_handler) *set_event_handler;
	__typeof(ucm_test_events) *test_events;
} ucm;

/* libucs's constructor installs all that libucm can. */
static void ucx(bool linked)
{
	void *h = linked ? RTLD_DEFAULT : dlopen("libucs.so.0", RTLD_NOW | RTLD_GLOBAL);

	if (!linked && (!h || !(h = dlopen("libucm.so.0", RTLD_NOW | RTLD_GLOBAL)))) {
		fprintf(stderr, "ucx: %s\n", dlerror());
		exit(77);
	}
	*(void **)&ucm.set_event_handler = need(h, "ucm_set_event_handler");
	*(void **)&ucm.test_events = need(h, "ucm_test_events");
	if (ucm.set_event_handler(UCM_EVENT_VM_UNMAPPED, 0, on_unmapped, NULL) != UCS_OK) {
		fprintf(stderr, "ucx: it installs no handler here\n");
		exit(77);
	}
}

static void begin(void)
{
	told.start = ~0UL;
	told.end = told.count = told.bracketed = 0;
	mod.reset();
	mod.watch(true);
}

/* Both know of it, ours in @starts brackets, and UCX inside of one. */
static void both(const char *what, enum mmu_notifier_event event, const void *p, size_t n,
		 unsigned int starts)
{
	uintptr_t start = (uintptr_t)p;
	bool us, ucx_too;

	mod.watch(false);
	us = mod.covers(event, start, start + n) && mod.starts() == starts && !mod.open_now();
	ucx_too = told.start <= start && told.end >= start + n && told.bracketed == told.count;
	printf("%s %s: we %s (%u), UCX %s (%u)\n", us && ucx_too ? "ok   " : "WRONG", what,
	       us ? "yes" : "no", mod.starts(), ucx_too ? "yes" : "no", told.count);
	wrong += !us || !ucx_too;
}

static void changes(void)
{
	char *p = mmap(NULL, 8 * PAGE, RW, ANON, -1, 0), *q;
	int id;

	begin();
	madvise(p, PAGE, MADV_DONTNEED);
	both("madvise", MMU_NOTIFY_CLEAR, p, PAGE, 1);
	begin();
	mmap(p, PAGE, RW, ANON | MAP_FIXED, -1, 0);
	both("mmap", MMU_NOTIFY_UNMAP, p, PAGE, 1);
	begin();
	q = mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 4 * PAGE);
	both("mremap", MMU_NOTIFY_UNMAP, p, PAGE, 2);
	wrong += q != p + 4 * PAGE;
	begin();
	wrong += munmap(p + PAGE, 2 * PAGE) != 0;
	both("munmap", MMU_NOTIFY_UNMAP, p + PAGE, 2 * PAGE, 1);
	id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	if (id >= 0) {
		begin();
		wrong += shmat(id, q, SHM_REMAP) != q;
		both("shmat", MMU_NOTIFY_UNMAP, q, PAGE, 1);
		begin();
		wrong += shmdt(q) != 0;
		both("shmdt", MMU_NOTIFY_UNMAP, q, PAGE, 1);
		shmctl(id, IPC_RMID, NULL);
	}
	q = sbrk(0);
	q += -(uintptr_t)q % PAGE;
	wrong += brk(q + 4 * PAGE) != 0;
	begin();
	wrong += sbrk(-(intptr_t)PAGE) != q + 4 * PAGE;
	both("sbrk", MMU_NOTIFY_UNMAP, q + 3 * PAGE, PAGE, 1);
	begin();
	wrong += brk(q) != 0;
	both("brk", MMU_NOTIFY_UNMAP, q, 3 * PAGE, 1);
	wrong += sbrk(0) != q;
}

static void internal(void)
{
	char *p = malloc(64 << 20);
	uintptr_t at = (uintptr_t)p & -PAGE;

	begin();
	free(p);
	both("munmap in free", MMU_NOTIFY_UNMAP, (void *)at, 64 << 20, 1);
}

static void states(void)
{
	unsigned int state;
	const char *why, *name;

	for (unsigned int i = 0; (name = mod.hook(i, &state, &why)); i++) {
		if (state != 1)
			printf("WRONG %s: state %u %s\n", name, state, why ? why : "");
		wrong += state != 1;
	}
}

int main(int argc, char **argv)
{
	bool linked = argc > 1 && !strcmp(argv[1], "linked");
	bool first = linked || (argc > 1 && !strcmp(argv[1], "first"));

	setvbuf(stdout, NULL, _IONBF, 0);
	if (first)
		ucx(linked);
	load(argc > 2 ? argv[2] : NULL);
	if (mod.open()) {
		printf("WRONG open\n");
		wrong++;
	}
	wrong += !mod.intact();
	if (!first) {
		ucx(false);
		printf("UCX came after: intact %d\n", mod.intact());
		wrong += mod.intact();
		wrong += mod.open() != 0;
	}
	wrong += !mod.intact();
	states();
	for (int i = 0; i < 2; i++) {
		changes();
		internal();
		/* UCX looks whether it still works, and would patch again. */
		wrong += ucm.test_events(UCM_EVENT_VM_UNMAPPED) != UCS_OK;
		wrong += !mod.intact() || mod.open();
	}
	printf("%d wrong\n", wrong);
	return wrong ? 1 : 0;
}

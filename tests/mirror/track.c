// SPDX-License-Identifier: MIT
/* track.c - see track.h. */
#include "track.h"

#include <sys/syscall.h>
#include <sys/uio.h>

static unsigned char *aligned(void)
{
	size_t size = TRACK_BYTES + (2 << 20) + 2 * PAGE;
	unsigned char *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long at;

	must(p != MAP_FAILED);
	at = ((unsigned long)p + PAGE + (2 << 20) - 1) & ~((2UL << 20) - 1);
	must(mmap((void *)at, TRACK_BYTES, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)at);
	return (unsigned char *)at;
}

bool track_open(struct track *t, unsigned int sources, const struct hmmu_mirror_ops *ops)
{
	const struct hmmu_mm_options options = {.size = sizeof(options), .sources = sources};
	struct hmmu_mirror_options o = {
		.size = sizeof(o), .length = TRACK_BYTES, .flags = HMMU_MIRROR_DIRTY};

	memset(t, 0, sizeof(*t));
	if (hmmu_mm_open(&t->mm, &options))
		return false;
	t->mem = aligned();
	madvise(t->mem, TRACK_BYTES, MADV_NOHUGEPAGE);
	t->replica = calloc(TRACK_PAGES, PAGE);
	must(t->replica != NULL);
	o.start = (unsigned long)t->mem;
	must(quiet(hmmu_mirror_open(&t->mirror, t->mm, ops, t, &o)) == 0);
	return true;
}

void track_close(struct track *t)
{
	quiet_void(hmmu_mirror_close(t->mirror));
	must(hmmu_mm_close(t->mm) == 0);
	munmap(t->mem, TRACK_BYTES);
	free(t->replica);
}

/* The memory may be away at the moment: then it stays dirty. */
static int copy_run(void *arg, unsigned long start, unsigned long npages)
{
	struct track *t = arg;
	unsigned long page = (start - (unsigned long)t->mem) / PAGE;
	struct iovec to = {t->replica + page * PAGE, npages * PAGE};
	struct iovec from = {(void *)start, npages * PAGE};

	must(page < TRACK_PAGES && npages && npages <= TRACK_PAGES - page);
	must(start >= t->last_end); /* ascending, apart */
	t->last_end = start + npages * PAGE;
	if (t->refuse)
		return t->refuse;
	if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != (ssize_t)(npages * PAGE))
		return -EAGAIN;
	memset(t->told + page, 1, npages);
	t->runs++;
	t->pages += npages;
	return 0;
}

int track_collect(struct track *t, unsigned long page, unsigned long n,
		  const struct timespec *deadline)
{
	t->runs = 0;
	t->pages = 0;
	t->last_end = 0;
	memset(t->told, 0, sizeof(t->told));
	/* copy_run() may change errno. */
	return hmmu_mirror_dirty(t->mirror, (unsigned long)t->mem + page * PAGE, n * PAGE,
				 copy_run, t, deadline);
}

int track_all(struct track *t)
{
	return track_collect(t, 0, TRACK_PAGES, NULL);
}

void track_replace(struct track *t, unsigned long page, unsigned long n, bool raw)
{
	void *at = t->mem + page * PAGE;
	const int prot = PROT_READ | PROT_WRITE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	if (raw)
		must(syscall(SYS_mmap, at, n * PAGE, prot, flags, -1, 0) == (long)at);
	else
		must(mmap(at, n * PAGE, prot, flags, -1, 0) == at);
}

unsigned long track_differs(struct track *t)
{
	unsigned long page = 0;

	while (page < TRACK_PAGES &&
	       !memcmp(t->mem + page * PAGE, t->replica + page * PAGE, PAGE))
		page++;
	return page;
}

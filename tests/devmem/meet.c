// SPDX-License-Identifier: MIT
#include "meet.h"

#include <sys/syscall.h>

static char owner;

struct world *world(void)
{
	static struct world w;

	w.mm = net_open(BOTH);
	dev_open(&w.dev, w.mm, ARENA, &owner);
	w.p = raw_mmap(net_place(1024), N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	fill_pages(w.p, N, 1);
	return &w;
}

void world_end(struct world *w)
{
	dev_check(&w->dev);
	must(dev_stat(&w->dev).used == 0);
	dev_close(&w->dev);
	net_close(w->mm);
}

void none_away(struct world *w)
{
	dev_settle(&w->dev);
	must(dev_stat(&w->dev).used == 0);
	for (size_t i = 0; i < 2 * 64; i++)
		must(!dev_at(&w->dev, w->p + i * PAGE));
}
void libc_unmap(void *arg)
{
	struct world *w = arg;

	must(munmap(w->p, N * PAGE) == 0);
}

void libc_protect(void *arg)
{
	struct world *w = arg;

	must(mprotect(w->p, N * PAGE, PROT_READ) == 0);
}

void libc_drop(void *arg)
{
	struct world *w = arg;

	must(madvise(w->p, N * PAGE, MADV_DONTNEED) == 0);
}

void raw_unmap(void *arg)
{
	struct world *w = arg;

	must(raw_munmap(w->p, N * PAGE) == 0);
}

void raw_replace(void *arg)
{
	struct world *w = arg;

	must(raw_munmap(w->p, N * PAGE) == 0);
	must(raw_mmap(w->p, N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == w->p);
	fill_pages(w->p, N, 8);
}

void raw_drop(void *arg)
{
	struct world *w = arg;

	must(raw_madvise(w->p, N * PAGE, MADV_DONTNEED) == 0);
}

void raw_drop_and_fill(void *arg)
{
	struct world *w = arg;

	must(raw_madvise(w->p, N * PAGE, MADV_DONTNEED) == 0);
	fill_pages(w->p, N, 8);
}

void raw_move(void *arg)
{
	struct world *w = arg;

	must(raw_mremap(w->p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, FAR(w)) ==
	     FAR(w));
}

void raw_move_keeping(void *arg)
{
	struct world *w = arg;

	must(raw_mremap(w->p, N * PAGE, N * PAGE,
			MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, FAR(w)) == FAR(w));
}

void child_reads(void *arg)
{
	struct world *w = arg;
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		alarm(10);
		_exit(pages_are(w->p, N, 1) ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0);
}

void go_out(void *arg)
{
	struct world *w = arg;

	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	trip_alloc(w->t);
	trip_pages(w->t);
	trip_finalize(w->t);
}

void go_home(void *arg)
{
	struct world *w = arg;

	trip_all(trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_DEVICE_PRIVATE));
}

void start_touch(struct world *w, size_t page)
{
	w->touch = (struct touch){.p = w->p + page * PAGE, .value = 77};
	runner_start(&w->r, touch_read, &w->touch);
}

bool touch_saw(struct world *w, uint64_t seed, size_t page)
{
	uint64_t word = page_word(seed, page);

	return w->touch.value == *(char *)&word;
}

void drop_page(void *page)
{
	must(raw_madvise(page, PAGE, MADV_DONTNEED) == 0);
}

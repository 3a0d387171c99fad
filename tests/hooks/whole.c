// SPDX-License-Identifier: MIT
/*
 * whole.c - the library itself, loaded late and with RTLD_LOCAL: a subscription is told
 * of what libc does by itself, readers collide, and a forked child is not told.
 *
 *	whole PATH-OF-LIBHMMU
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hmmu/mmu_notifier.h>

#undef NDEBUG
#include <assert.h>

static struct {
	__typeof(hmmu_mm_open) *open;
	__typeof(hmmu_mm_close) *close;
	__typeof(hmmu_mm_describe) *describe;
	__typeof(mmu_interval_notifier_insert) *insert;
	__typeof(mmu_interval_notifier_remove) *remove;
	__typeof(mmu_interval_read_begin) *begin;
	__typeof(mmu_interval_read_retry) *retry;
	__typeof(mmu_interval_set_seq) *set_seq;
} h;

struct shadow {
	struct mmu_interval_notifier sub;
	volatile unsigned int told;
	enum mmu_notifier_event event;
};

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	struct shadow *s = (struct shadow *)sub;

	h.set_seq(sub, seq);
	s->event = range->event;
	s->told++;
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static void resolve(const char *path)
{
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!lib) {
		fprintf(stderr, "whole: %s\n", dlerror());
		exit(1);
	}
	*(void **)&h.open = dlsym(lib, "hmmu_mm_open");
	*(void **)&h.close = dlsym(lib, "hmmu_mm_close");
	*(void **)&h.describe = dlsym(lib, "hmmu_mm_describe");
	*(void **)&h.insert = dlsym(lib, "mmu_interval_notifier_insert");
	*(void **)&h.remove = dlsym(lib, "mmu_interval_notifier_remove");
	*(void **)&h.begin = dlsym(lib, "mmu_interval_read_begin");
	*(void **)&h.retry = dlsym(lib, "mmu_interval_read_retry");
	*(void **)&h.set_seq = dlsym(lib, "mmu_interval_set_seq");
}

/* @change is made by this thread: it collides with a read begun before it. */
static void expect(struct mm_struct *mm, void *p, size_t n, enum mmu_notifier_event event,
		   void (*change)(void *, size_t))
{
	static struct shadow s;
	unsigned long seq;

	s.told = 0;
	assert(!h.insert(&s.sub, mm, (unsigned long)p, n, &ops));
	seq = h.begin(&s.sub);
	assert(!h.retry(&s.sub, seq));
	change(p, n);
	assert(s.told == 1 && s.event == event);
	assert(h.retry(&s.sub, seq));
	seq = h.begin(&s.sub);
	assert(!h.retry(&s.sub, seq));
	h.remove(&s.sub);
}

static void by_munmap(void *p, size_t n)
{
	munmap(p, n);
}

static char *block;

static void by_free(void *p, size_t n)
{
	free(block);
}

static void by_madvise(void *p, size_t n)
{
	madvise(p, n, MADV_DONTNEED);
}

static void by_fork(void *p, size_t n)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid)
		_exit(munmap(p, n));
	waitpid(pid, &status, 0);
	assert(!status);
}

static void *map(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

int main(int argc, char **argv)
{
	struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = HMMU_SOURCE_HOOKS,
		.require = HMMU_BRACKETED,
	};
	struct mm_struct *mm, *second;
	void *p;

	assert(argc == 2);
	resolve(argv[1]);
	assert(!h.open(&mm, &options));
	assert(h.describe(mm, NULL, 0) >= HMMU_OP_NR * HMMU_CALLER_NR);
	for (int i = 0; i < 3; i++) {
		p = map(8192);
		expect(mm, p, 8192, MMU_NOTIFY_CLEAR, by_madvise);
		expect(mm, p, 8192, MMU_NOTIFY_PROTECTION_PAGE, by_fork);
		expect(mm, p, 8192, MMU_NOTIFY_UNMAP, by_munmap);
		block = malloc(64 << 20);
		expect(mm, block - 16, 4096, MMU_NOTIFY_UNMAP, by_free);
		/* A second address space of the same process shares the hooks. */
		assert(!h.open(&second, &options));
		p = map(4096);
		expect(second, p, 4096, MMU_NOTIFY_UNMAP, by_munmap);
		assert(!h.close(second));
	}
	assert(!h.close(mm));
	return 0;
}

// SPDX-License-Identifier: MIT
/* kernel.c - the address space: see kernel.h. */
#include "kernel.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct kernel kernel;

void kernel_reset(unsigned int tasks)
{
	memset(&kernel, 0, sizeof(kernel));
	kernel_proc_reset();
	kernel.last_contents = 1;
	for (unsigned int i = tasks; i < KERNEL_TASKS; i++)
		kernel.task[i].gone = true;
	hmmu_syscall_hook = kernel_call;
}

void kernel_map(unsigned int first, unsigned int n)
{
	kernel.last_mapping++;
	for (unsigned int i = first; i < first + n; i++) {
		kernel.page[i].mapping = kernel.last_mapping;
		kernel.page[i].contents = ++kernel.last_contents;
	}
}

struct kernel_task *kernel_self(void)
{
	int self = sched_self();

	return &kernel.task[self < 0 ? KERNEL_TASKS - 1 : self];
}

bool kernel_range(unsigned long addr, unsigned long len, unsigned int *first, unsigned int *n)
{
	unsigned long pages = (len + UFFD_PAGE - 1) / UFFD_PAGE;

	if (addr < KERNEL_BASE || addr >= KERNEL_ADDR(KERNEL_PAGES))
		return false;
	*first = (unsigned int)((addr - KERNEL_BASE) / UFFD_PAGE);
	*n = (unsigned int)(pages > KERNEL_PAGES - *first ? KERNEL_PAGES - *first : pages);
	return true;
}

void kernel_linger(bool asleep)
{
	struct kernel_task *task = kernel_self();

	if (sched_random(3))
		return;
	task->asleep = asleep && sched_random(2);
	for (unsigned int n = 1 + sched_random(3); n > 0; n--)
		hmmu_cpu_relax();
	task->asleep = false;
}

uint64_t kernel_read(unsigned int i)
{
	struct kernel_page *page = &kernel.page[i];
	uint64_t contents;

	kernel_point();
	if (page->contents)
		return page->contents;
	/* A fault. */
	kernel_lock(&kernel.map_lock);
	if (page->mapping && !page->contents)
		page->contents = ++kernel.last_contents;
	contents = page->contents;
	kernel_unlock(&kernel.map_lock);
	return contents;
}

static void zaps_returned(struct kernel_page *page, unsigned int task)
{
	for (unsigned int k = 0; k < page->nzaps; k++)
		if (page->zap[k].task == task)
			page->zap[k].returned = true;
}

void kernel_returned(bool exact)
{
	struct kernel_task *task = kernel_self();

	for (unsigned int i = 0; i < KERNEL_PAGES; i++) {
		struct kernel_page *page = &kernel.page[i];

		zaps_returned(page, (unsigned int)(task - kernel.task));
		if (exact && page->floor < task->changed[i])
			page->floor = task->changed[i];
		task->changed[i] = 0;
	}
}

bool kernel_stale(unsigned int i, uint64_t contents)
{
	const struct kernel_page *page = &kernel.page[i];

	if (contents < page->floor)
		return true;
	/* Only when those before it are back, too: reuse is open until then. */
	for (unsigned int k = 0; k < page->nzaps && page->zap[k].returned; k++)
		if (contents < page->zap[k].now)
			return true;
	return false;
}

void kernel_exit(void)
{
	kernel_self()->gone = true;
}

void kernel_split(unsigned int i)
{
	uint32_t old = kernel.page[i].mapping;

	if (!i || i >= KERNEL_PAGES || !old || kernel.page[i - 1].mapping != old)
		return;
	kernel.last_mapping++;
	for (; i < KERNEL_PAGES && kernel.page[i].mapping == old; i++)
		kernel.page[i].mapping = kernel.last_mapping;
}

static void note_zap(struct kernel_page *page, uint64_t now)
{
	sched_assert(page->nzaps < KERNEL_ZAPS);
	page->zap[page->nzaps].now = now;
	page->zap[page->nzaps].task = (unsigned int)(kernel_self() - kernel.task);
	page->zap[page->nzaps++].returned = false;
}

/* Who made the address what it is knows that what was there before is gone. */
static void given_out(unsigned int i)
{
	const struct kernel_page *page = &kernel.page[i];

	if (page->nzaps)
		kernel_self()->changed[i] = page->zap[page->nzaps - 1].now;
}

/* With the map lock: the contents go. */
static void zap(unsigned int i)
{
	kernel_point();
	if (kernel.changes)
		kernel.changes(i);
	kernel.page[i].contents = 0;
	note_zap(&kernel.page[i], ++kernel.last_contents);
	given_out(i);
}

static bool any_registered(unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++)
		if (kernel.page[i].registered)
			return true;
	return false;
}

/* With the map lock. True: it has to be told of. */
static bool unmap(unsigned int first, unsigned int n)
{
	bool tell = any_registered(first, n);

	if (tell)
		kernel_tell_prepare();
	kernel_split(first);
	kernel_split(first + n);
	kernel_point();
	for (unsigned int i = first; i < first + n; i++) {
		kernel.page[i].mapping = 0;
		kernel.page[i].registered = false;
	}
	for (unsigned int i = first; i < first + n; i++)
		zap(i);
	return tell;
}

static void tell_unmap(bool tell, unsigned int first, unsigned int n)
{
	struct kernel_event event;

	if (tell)
		kernel_tell(&event, UFFD_EVENT_UNMAP, KERNEL_ADDR(first),
			    KERNEL_ADDR(first + n), 0);
}

/* With the map lock, before it is dropped. */
static void count_holes(unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++)
		kernel.page[i].holes += !kernel.page[i].mapping;
}

static long do_munmap(unsigned int first, unsigned int n)
{
	bool tell;

	kernel_lock(&kernel.map_lock);
	tell = unmap(first, n);
	count_holes(first, n);
	kernel_unlock(&kernel.map_lock);
	tell_unmap(tell, first, n);
	return 0;
}

/* With the map lock. */
static void map(unsigned int first, unsigned int n)
{
	kernel.last_mapping++;
	kernel_point();
	for (unsigned int i = first; i < first + n; i++) {
		kernel.page[i].mapping = kernel.last_mapping;
		given_out(i);
	}
}

static bool is_free(unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++)
		if (kernel.page[i].mapping)
			return false;
	return true;
}

/* Without MAP_FIXED: there or nowhere. */
static long do_mmap(unsigned int first, unsigned int n, bool fixed)
{
	bool tell = false;

	kernel_lock(&kernel.map_lock);
	if (!fixed && !is_free(first, n)) {
		kernel_unlock(&kernel.map_lock);
		return -ENOMEM;
	}
	if (!is_free(first, n))
		tell = unmap(first, n);
	map(first, n);
	kernel_unlock(&kernel.map_lock);
	tell_unmap(tell, first, n);
	return (long)KERNEL_ADDR(first);
}

static bool is_whole(unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++)
		if (!kernel.page[i].mapping ||
		    kernel.page[i].mapping != kernel.page[first].mapping)
			return false;
	return true;
}

/* With the map lock: page tables and registration move. */
static void move(unsigned int from, unsigned int n, unsigned int to)
{
	kernel.last_mapping++;
	kernel_point();
	for (unsigned int i = 0; i < n; i++) {
		kernel.page[to + i].mapping = kernel.last_mapping;
		kernel.page[to + i].registered = kernel.page[from + i].registered;
	}
	for (unsigned int i = 0; i < n; i++) {
		kernel_point();
		if (kernel.page[from + i].contents)
			kernel.page[to + i].contents = ++kernel.last_contents;
		given_out(to + i);
		zap(from + i);
	}
}

/* To a fixed place, of the same length. */
static long do_mremap(unsigned int from, unsigned int n, unsigned int to, bool keep)
{
	bool tell_early = false, tell_move, tell_late = false;
	struct kernel_event event;

	kernel_lock(&kernel.map_lock);
	if (!is_whole(from, n)) {
		kernel_unlock(&kernel.map_lock);
		return -EFAULT;
	}
	if (!is_free(to, n))
		tell_early = unmap(to, n);
	tell_move = any_registered(from, n);
	if (tell_move)
		kernel_tell_prepare();
	kernel_split(from);
	kernel_split(from + n);
	move(from, n, to);
	if (!keep)
		tell_late = unmap(from, n);
	count_holes(from, n);
	kernel_unlock(&kernel.map_lock);
	tell_unmap(tell_early, to, n);
	if (tell_move)
		kernel_tell(&event, UFFD_EVENT_REMAP, KERNEL_ADDR(from), KERNEL_ADDR(to),
			    n * UFFD_PAGE);
	tell_unmap(tell_late, from, n);
	return (long)KERNEL_ADDR(to);
}

/* With the map lock: how many pages from @first on are of its mapping. */
static unsigned int run_of(unsigned int first, unsigned int n)
{
	unsigned int i = 1;

	while (i < n && kernel.page[first + i].mapping == kernel.page[first].mapping)
		i++;
	return i;
}

/* Mapping by mapping, each told of before its pages go. */
static long do_dontneed(unsigned int first, unsigned int n)
{
	long ret = 0;

	kernel_lock(&kernel.map_lock);
	for (unsigned int i = first, k; i < first + n; i += k) {
		k = run_of(i, first + n - i);
		if (any_registered(i, k)) {
			struct kernel_event event;

			kernel_tell_prepare();
			kernel_unlock(&kernel.map_lock);
			kernel_tell(&event, UFFD_EVENT_REMOVE, KERNEL_ADDR(i),
				    KERNEL_ADDR(i + k), 0);
			kernel_linger(true);
			kernel_lock(&kernel.map_lock);
		}
		if (!kernel.page[i].mapping) {
			ret = -ENOMEM;
			continue;
		}
		/* It may be another one by now, and shorter. */
		if (k > run_of(i, k))
			k = run_of(i, k);
		for (unsigned int j = i; j < i + k; j++)
			zap(j);
	}
	kernel_unlock(&kernel.map_lock);
	return ret;
}

static long change(long nr, const long *a)
{
	unsigned int first, n, to, m;

	if (nr == SYS_mmap && !a[0] && a[2] == PROT_NONE && (a[3] & MAP_SHARED))
		return do_mmap(KERNEL_STOP, 1, false);
	if (!kernel_range((unsigned long)a[0], (unsigned long)a[1], &first, &n))
		return -ENOSYS;
	switch (nr) {
	case SYS_munmap:
		return do_munmap(first, n);
	case SYS_mmap:
		return do_mmap(first, n, a[3] & MAP_FIXED);
	case SYS_mremap:
		sched_assert(kernel_range((unsigned long)a[4], (unsigned long)a[2], &to, &m));
		return do_mremap(first, n, to, a[3] & MREMAP_DONTUNMAP);
	case SYS_madvise:
		sched_assert(a[2] == MADV_DONTNEED);
		return do_dontneed(first, n);
	default:
		return -ENOSYS;
	}
}

/* The census's questions, on the way out. */
static void answer_all(struct kernel_task *task)
{
	while (task->asked) {
		siginfo_t info = task->question[--task->asked];
		struct sigaction sa;

		sigaction(info.si_signo, NULL, &sa);
		sa.sa_sigaction(info.si_signo, &info, NULL);
	}
}

long kernel_change(long nr, const long a[6])
{
	struct kernel_task *task = kernel_self();
	long ret;

	if (nr != SYS_munmap && nr != SYS_mmap && nr != SYS_mremap && nr != SYS_madvise)
		return -ENOSYS;
	kernel_point();
	task->call = nr;
	ret = change(nr, a);
	kernel_linger(false);
	task->call = 0;
	answer_all(task);
	return ret;
}

void kernel_assert_quiet(void)
{
	for (unsigned int i = 0; i < KERNEL_PAGES; i++)
		sched_assert(!kernel.page[i].registered);
	sched_assert(!kernel.queue);
	sched_assert(kernel.changing == 0);
	sched_assert(!kernel.map_lock.word);
	sched_assert(!kernel.exists || kernel.released || kernel.child_holds);
}

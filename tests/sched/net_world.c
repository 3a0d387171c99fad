// SPDX-License-Identifier: MIT
/* net_world.c - see net.h. */
#include "net.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "futex.h"
#include "source/hooks/hooks.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

struct net net;

/* ---- threads of the source -------------------------------------------- */

static struct job {
	void *(*fn)(void *);
	void *arg;
	uint32_t given; /* futex: how many there were */
	uint32_t done;	/* futex: how many have returned */
} jobs[KERNEL_OURS];

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __real_pthread_join(pthread_t thread, void **ret);
int __wrap_pthread_join(pthread_t thread, void **ret);

static int job_of(void *(*fn)(void *))
{
	if (fn == hmmu_uffd_reader)
		return KERNEL_READER;
	if (fn == hmmu_uffd_dispatcher)
		return KERNEL_DISPATCHER;
	return fn == hmmu_uffd_census ? KERNEL_CENSUS : -1;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	int i = job_of(fn);

	if (i < 0)
		return __real_pthread_create(thread, attr, fn, arg);
	jobs[i].fn = fn;
	jobs[i].arg = arg;
	*thread = (pthread_t)i + 1;
	/* Before the schedule: it will start, in it. */
	if (sched_self() < 0 && i == KERNEL_READER)
		((struct hmmu_uffd *)arg)->started = 1;
	hmmu_add_seqcst(&jobs[i].given, 1);
	hmmu_futex_wake(&jobs[i].given, INT_MAX);
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret)
{
	struct job *job;
	uint32_t done;

	if (!thread || thread > KERNEL_OURS)
		return __real_pthread_join(thread, ret);
	job = &jobs[thread - 1];
	while ((done = hmmu_load_seqcst(&job->done)) != hmmu_load_seqcst(&job->given))
		hmmu_futex_wait(&job->done, done, NULL);
	return 0;
}

static void serve(struct job *job)
{
	for (;;) {
		uint32_t given = hmmu_load_seqcst(&job->given);

		/* The end counts as one that is given, and says so before. */
		if (hmmu_load_seqcst(&net.over))
			break;
		if (given == job->done) {
			hmmu_futex_wait(&job->given, given, NULL);
			continue;
		}
		job->fn(job->arg);
		hmmu_add_seqcst(&job->done, 1);
		hmmu_futex_wake(&job->done, INT_MAX);
	}
	kernel_exit();
}

void net_reader(void *arg)
{
	serve(&jobs[KERNEL_READER]);
}

void net_dispatcher(void *arg)
{
	serve(&jobs[KERNEL_DISPATCHER]);
}

void net_census(void *arg)
{
	serve(&jobs[KERNEL_CENSUS]);
}

static void end_source(void)
{
	hmmu_store_seqcst(&net.over, 1);
	for (int i = 0; i < KERNEL_OURS; i++) {
		hmmu_add_seqcst(&jobs[i].given, 1);
		hmmu_futex_wake(&jobs[i].given, INT_MAX);
	}
}

/* ---- the program ------------------------------------------------------ */

static bool hear(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	struct net_driver *d = (struct net_driver *)sub;

	sched_assert(!hmmu_load_relaxed(&d->removed)); /* G3 */
	if (range->phase == HMMU_PHASE_LOST)
		hmmu_add_relaxed(&d->lost, 1);
	if (!d->no_lock)
		kernel_lock(&d->lock);
	mmu_interval_set_seq(sub, cur_seq);
	d->shadow = 0;
	d->called++;
	if (!d->no_lock)
		kernel_unlock(&d->lock);
	if (d->callback)
		d->callback(d);
	sched_assert(!hmmu_load_relaxed(&d->removed)); /* G3 */
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};

/* G1, exact: a change that is bracketed finds no shadow of the page. */
static void changes(unsigned int page)
{
	if (!kernel_self()->bracketed)
		return;
	for (int i = 0; i < NET_DRIVERS; i++)
		if (net.driver[i].inserted && net.driver[i].page == page)
			sched_assert(net.driver[i].shadow == 0); /* G1 */
}

static void misused(const char *name, const void *subject)
{
	sched_fail("misuse: %s", name);
}

extern void (*hmmu_report_hook)(const char *name, const void *subject);

struct mm_struct *net_open_another(unsigned int sources)
{
	struct hmmu_mm_options o = {
		.size = sizeof(o),
		.flags = HMMU_MM_OWN_RECLAIM,
		.sources = sources,
	};
	struct mm_struct *mm;

	sched_assert(hmmu_mm_open(&mm, &o) == 0);
	return mm;
}

void net_open(unsigned int sources, const char *layout, unsigned int threads)
{
	hmmu_report_hook = misused;
	memset(&net, 0, sizeof(net));
	memset(jobs, 0, sizeof(jobs));
	kernel_reset(KERNEL_OURS + threads);
	kernel.changes = changes;
	net.left = threads;
	for (unsigned int i = 0, n; layout[i]; i += n) {
		for (n = 1; layout[i + n] == layout[i]; n++)
			;
		if (layout[i] != '.')
			kernel_map(i, n);
	}
	hmmu_uffd_room = UFFD_RING - 1;
	net.mm = net_open_another(sources);
	kernel_returned(true);
}

void net_enter(int index)
{
	hmmu_tls = (struct hmmu_tls){.slot_hint = (uint32_t)index % 4 + 1};
}

void net_insert(unsigned int i, unsigned int page)
{
	net_insert_in(net.mm, i, page);
}

void net_insert_in(struct mm_struct *mm, unsigned int i, unsigned int page)
{
	struct net_driver *d = &net.driver[i];

	d->page = page;
	d->removed = 0;
	sched_assert(mmu_interval_notifier_insert(&d->sub, mm, KERNEL_ADDR(page), UFFD_PAGE,
						  &ops) == 0);
	d->inserted = true;
}

void net_remove(unsigned int i)
{
	struct net_driver *d = &net.driver[i];

	kernel_lock(&d->lock);
	d->shadow = 0;
	kernel_unlock(&d->lock);
	d->inserted = false;
	mmu_interval_notifier_remove(&d->sub);
	hmmu_store_relaxed(&d->removed, 1);
}

bool net_load(unsigned int i, struct net_got *got)
{
	struct net_driver *d = &net.driver[i];
	const struct kernel_page *page = &kernel.page[d->page];
	bool stale;

	got->d = d;
	for (;;) {
		bool mapped = page->mapping;
		uint32_t holes = page->holes;
		int ret = hmmu_read_begin(&d->sub, &got->seq, NULL);

		got->contents = 0;
		if (ret) {
			sched_assert(ret == -ENODEV);
			sched_assert(net.may_be_lost || !mapped || page->holes != holes);
			return false;
		}
		got->contents = kernel_read(d->page);
		kernel_lock(&d->lock);
		stale = got->contents && kernel_stale(d->page, got->contents);
		if (!mmu_interval_read_retry(&d->sub, got->seq))
			break;
		kernel_unlock(&d->lock);
	}
	sched_assert(!stale); /* G1 */
	d->shadow = got->contents;
	d->seq = got->seq;
	kernel_unlock(&d->lock);
	return got->contents != 0;
}

bool net_access(const struct net_got *got)
{
	bool stale = kernel_stale(got->d->page, got->contents);

	if (!got->contents || !hmmu_access_ok(&got->d->sub, got->seq))
		return false;
	sched_assert(!stale); /* G1 */
	return true;
}

void net_device(unsigned int i)
{
	struct net_got got = {.d = &net.driver[i]};

	kernel_lock(&got.d->lock);
	got.contents = got.d->shadow;
	got.seq = got.d->seq;
	kernel_unlock(&got.d->lock);
	net_access(&got);
}

/* ---- changes ---------------------------------------------------------- */

/* With hooks beside, nobody asks the kernel at each access: raw calls leave reuse open. */
static long done(enum net_way way, long ret)
{
	kernel_returned(way == BY_HOOK || !(net.mm->sources & HOOKED));
	kernel_self()->bracketed = false;
	return ret == -1 || hmmu_is_err(ret) ? (ret == -1 ? -errno : ret) : 0;
}

/* What @way's change finds. */
static void begin(enum net_way way)
{
	kernel_self()->bracketed = way == BY_HOOK;
}

long net_munmap(enum net_way way, unsigned int first, unsigned int n)
{
	void *addr = (void *)KERNEL_ADDR(first);

	begin(way);
	sched_note("munmap %u+%u", first, n);
	if (way == RAW)
		return done(way, hmmu_syscall(SYS_munmap, addr, n * UFFD_PAGE));
	return done(way, hmmu_hook_munmap(addr, n * UFFD_PAGE));
}

static long do_mmap(enum net_way way, unsigned int first, unsigned int n, int flags)
{
	void *addr = (void *)KERNEL_ADDR(first);

	flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	if (way == RAW)
		return done(way, hmmu_syscall(SYS_mmap, addr, n * UFFD_PAGE, PROT_READ, flags,
					      -1, 0));
	return done(way, (long)hmmu_hook_mmap(addr, n * UFFD_PAGE, PROT_READ, flags, -1, 0));
}

long net_replace(enum net_way way, unsigned int first, unsigned int n)
{
	begin(way);
	sched_note("mmap fixed %u+%u", first, n);
	return do_mmap(way, first, n, MAP_FIXED);
}

long net_mmap(enum net_way way, unsigned int first, unsigned int n)
{
	sched_note("mmap %u+%u", first, n);
	return do_mmap(way, first, n, 0);
}

long net_dontneed(enum net_way way, unsigned int first, unsigned int n)
{
	void *addr = (void *)KERNEL_ADDR(first);

	begin(way);
	sched_note("dontneed %u+%u", first, n);
	if (way == RAW)
		return done(way, hmmu_syscall(SYS_madvise, addr, n * UFFD_PAGE, MADV_DONTNEED));
	return done(way, hmmu_hook_madvise(addr, n * UFFD_PAGE, MADV_DONTNEED));
}

long net_mremap(enum net_way way, unsigned int from, unsigned int n, unsigned int to, bool keep)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | (keep ? MREMAP_DONTUNMAP : 0);
	void *old = (void *)KERNEL_ADDR(from), *new = (void *)KERNEL_ADDR(to);
	size_t len = n * UFFD_PAGE;

	begin(way);
	sched_note("mremap %u+%u to %u", from, n, to);
	if (way == RAW)
		return done(way, hmmu_syscall(SYS_mremap, old, len, len, flags, new));
	return done(way, (long)hmmu_hook_mremap(old, len, len, flags, new));
}

/* ---- the end ---------------------------------------------------------- */

/* G4: all changes are over, so readers go on. */
static void assert_readable(struct net_driver *d)
{
	struct net_got got;

	net_load((unsigned int)(d - net.driver), &got);
	if (kernel.page[d->page].mapping && !net.may_be_lost)
		sched_assert(got.contents);
}

void net_close(void)
{
	for (unsigned int i = 0; i < NET_DRIVERS; i++)
		if (net.driver[i].inserted)
			net_remove(i);
	sched_assert(hmmu_mm_close(net.mm) == 0);
	net.closed = true;
	sched_note("closed");
}

static void take_down(void)
{
	for (unsigned int i = 0; i < NET_DRIVERS && !net.closed; i++)
		if (net.driver[i].inserted && !net.driver[i].unread)
			assert_readable(&net.driver[i]);
	if (!net.closed)
		net_close();
	end_source();
}

void net_program(void *arg)
{
	void (*fn)(void) = (void (*)(void))arg;

	fn();
	if (hmmu_add_seqcst(&net.left, (uint32_t)-1) == 1)
		take_down();
	kernel_exit();
}

void net_bystander(void *arg)
{
	void (*fn)(void) = (void (*)(void))arg;

	fn();
	kernel_exit();
}

static void assert_source_quiet(const struct hmmu_uffd *u)
{
	sched_assert(u->users == 0);
	sched_assert(u->head == u->tail);
	sched_assert(u->dispatched == u->marked);
	sched_assert(u->nextents == 0);
	for (unsigned int i = 0; i < UFFD_REMOVALS; i++)
		sched_assert(u->removals[i].state == REMOVAL_FREE);
	for (unsigned int i = 0; i < UFFD_MUTES; i++)
		sched_assert((u->mutes[i].state & MUTE_KIND) == MUTE_FREE);
	for (unsigned int i = 0; i < HMMU_WATCHED_MAX; i++)
		sched_assert(u->spill[i] == 0);
}

void net_check(void)
{
	sched_assert(!(net.mm->epoch & EPOCH_LOW)); /* closed: no mark is left */
	if (hmmu_uffd)
		assert_source_quiet(hmmu_uffd);
	kernel_assert_quiet();
	for (unsigned int i = 0; i < net.mm->slots_high; i++)
		sched_assert((net.mm->slots[i].state & SLOT_KIND) == SLOT_FREE);
}

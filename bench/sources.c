// SPDX-License-Identifier: MIT
/*
 * sources.c - what each source costs, side by side: the munmap of a page that is watched,
 * the same where nobody watches, and the check of a hit.
 *
 * Only the munmap is timed; before it the page is mapped and written and the range armed.
 * Monitors run on the caller's CPU, the bare one, which does nothing but read, as ours:
 * to wake an idle CPU takes 2 us or 80, as the machine likes. The plain process has a thread
 * that sleeps: munmap costs more as soon as there are two, and every way of watching has at
 * least one.
 */
#include "child.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hmmu/mmu_notifier.h>

#define PAGE 4096ul
#define WATCHED (1ul << 36)
#define ELSEWHERE (1ul << 37)
#define UNTOUCHED (1ul << 38) /* subscribed to, and never changed */
#define WP_ASYNC (1ull << 15)

enum way { PLAIN, BARE_EVENT, BARE_UNREGISTER, HOOKS, NET, BOTH, SECCOMP, WAYS };
enum operation { UNMAP_WATCHED, UNMAP_ELSEWHERE, CHECK, WAIT_GONE, WAIT_GOING };

static const char *const way_names[WAYS] = {
	"plain", "bare event", "unregister + munmap", "hooks", "userfaultfd", "both", "seccomp",
};
static const unsigned int way_sources[WAYS] = {
	[HOOKS] = HMMU_SOURCE_HOOKS,
	[NET] = HMMU_SOURCE_USERFAULTFD,
	[BOTH] = HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD,
	[SECCOMP] = HMMU_SOURCE_SECCOMP,
};

/* ---- in the child ---- */

static uint64_t callbacks;

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	__atomic_fetch_add(&callbacks, 1, __ATOMIC_RELAXED);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};
static struct mmu_interval_notifier sub, other;
static int bare = -1;

static void *read_events(void *arg)
{
	struct uffd_msg msg;

	while (read(bare, &msg, sizeof(msg)) > 0)
		;
	return arg;
}

static void *sleep_on(void *arg)
{
	pause();
	return arg;
}

static int open_plain(void)
{
	pthread_t thread;

	return -pthread_create(&thread, NULL, sleep_on, NULL);
}

static int open_bare(bool monitor)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_UNMAP | WP_ASYNC,
	};
	pthread_t thread;

	bare = (int)syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
	if (bare < 0 || ioctl(bare, UFFDIO_API, &api))
		return -EOPNOTSUPP;
	return monitor ? -pthread_create(&thread, NULL, read_events, NULL) : open_plain();
}

static int open_hmmu(unsigned int sources)
{
	struct hmmu_mm_options wish = {.size = sizeof(wish), .sources = sources};
	struct mm_struct *mm;
	int err = hmmu_mm_open(&mm, &wish);

	if (!err)
		err = mmu_interval_notifier_insert(&sub, mm, WATCHED, PAGE, &ops);
	if (!err)
		err = mmu_interval_notifier_insert(&other, mm, UNTOUCHED, PAGE, &ops);
	return err;
}

static int set_up(const void *arg)
{
	enum way way = *(const enum way *)arg;
	int err;

	/* In each of them: what is mapped beside it decides which page tables munmap frees. */
	if (mmap((void *)UNTOUCHED, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -ENOMEM;
	if (way == BARE_EVENT || way == BARE_UNREGISTER)
		err = open_bare(way == BARE_EVENT);
	else
		err = way == PLAIN ? open_plain() : open_hmmu(way_sources[way]);
	return err;
}

static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void arm(enum way way, char *p)
{
	struct uffdio_register reg = {
		.range = {.start = (unsigned long)p, .len = PAGE},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (way == BARE_EVENT || way == BARE_UNREGISTER) {
		if (ioctl(bare, UFFDIO_REGISTER, &reg))
			die("bench: UFFDIO_REGISTER");
	} else if (way_sources[way]) {
		mmu_interval_read_begin(&sub);
	}
}

static double unmap_one(enum way way, bool watched)
{
	void *hint = (void *)(watched ? WATCHED : ELSEWHERE);
	char *p = mmap(hint, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_range range = {.start = (unsigned long)p, .len = PAGE};
	double from;
	int ret = 0;

	if (p != hint)
		die("bench: mmap");
	*p = 1;
	if (watched)
		arm(way, p);
	from = now_ns();
	if (watched && way == BARE_UNREGISTER)
		ret = ioctl(bare, UFFDIO_UNREGISTER, &range);
	ret |= munmap(p, PAGE);
	from = now_ns() - from;
	if (ret)
		die("bench: munmap");
	return from;
}

/* How long a reader elsewhere waits for what has been told but not dispatched. */
static double wait_elsewhere(bool gone, uint64_t iters)
{
	double ns = 0, from;

	for (uint64_t i = 0; i < iters; i++) {
		char *p = mmap((void *)WATCHED, PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		if (p == MAP_FAILED)
			die("bench: mmap");
		*p = 1;
		mmu_interval_read_begin(&sub);
		mmu_interval_read_begin(&other);
		if (syscall(gone ? SYS_munmap : SYS_madvise, p, PAGE, MADV_DONTNEED))
			die("bench: munmap");
		from = now_ns();
		/* A REMOVE stays open in its own range only. */
		mmu_interval_read_begin(gone ? &other : &sub);
		ns += now_ns() - from;
	}
	munmap((void *)WATCHED, PAGE);
	return ns;
}

static double check(uint64_t iters)
{
	unsigned long seq;
	uint64_t good = 0;
	double from;

	if (mmap((void *)WATCHED, PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("bench: mmap");
	seq = mmu_interval_read_begin(&sub);
	from = now_ns();
	for (uint64_t i = 0; i < iters; i++)
		good += hmmu_access_ok(&sub, seq);
	from = now_ns() - from;
	munmap((void *)WATCHED, PAGE);
	if (good != iters) {
		fputs("bench: a check failed\n", stderr);
		_exit(1);
	}
	return from;
}

static double obey(const void *arg, const struct order *order)
{
	enum way way = *(const enum way *)arg;
	bool watched = order->operation == UNMAP_WATCHED;
	uint64_t before, expected;
	unsigned long seq;
	double ns = 0;

	if (order->operation == CHECK)
		return check(order->iters);
	if (order->operation >= WAIT_GONE)
		return wait_elsewhere(order->operation == WAIT_GONE, order->iters);
	before = callbacks;
	for (uint64_t i = 0; i < order->iters; i++)
		ns += unmap_one(way, watched);
	/* What is told afterwards has been told when a read can begin. */
	if (way_sources[way])
		hmmu_read_begin(&sub, &seq, NULL);
	expected = watched && way_sources[way] ? order->iters : 0;
	if (__atomic_load_n(&callbacks, __ATOMIC_RELAXED) - before != expected) {
		fprintf(stderr, "bench: %s: not one callback for each munmap\n",
			way_names[way]);
		_exit(1);
	}
	return ns;
}

/* ---- in the parent ---- */

static const struct row {
	enum operation operation;
	enum way way, base;
	enum goal goal;
	double value;
	const char *name;
} rows[] = {
	{UNMAP_WATCHED, HOOKS, PLAIN, GOAL_MORE, 1000, "munmap, watched: hooks"},
	{UNMAP_WATCHED, NET, BARE_EVENT, GOAL_TIMES, 1.15, "munmap, watched: userfaultfd"},
	{UNMAP_WATCHED, BOTH, BARE_UNREGISTER, GOAL_TIMES, 1.2, "munmap, watched: both"},
	{UNMAP_WATCHED, SECCOMP, PLAIN, GOAL_NONE, 0, "munmap, watched: seccomp"},
	{UNMAP_ELSEWHERE, HOOKS, PLAIN, GOAL_TIMES, 1.05, "munmap, unwatched: hooks"},
	{UNMAP_ELSEWHERE, NET, PLAIN, GOAL_TIMES, 1.05, "munmap, unwatched: userfaultfd"},
	{UNMAP_ELSEWHERE, BOTH, PLAIN, GOAL_TIMES, 1.05, "munmap, unwatched: both"},
	{UNMAP_ELSEWHERE, SECCOMP, PLAIN, GOAL_NONE, 0, "munmap, unwatched: seccomp"},
	{CHECK, HOOKS, WAYS, GOAL_NS, 2, "hit's check: hooks"},
	{CHECK, BOTH, WAYS, GOAL_NS, 2, "hit's check: both"},
	{CHECK, SECCOMP, WAYS, GOAL_NS, 2, "hit's check: seccomp"},
	{CHECK, NET, WAYS, GOAL_NONE, 0, "hit's check: userfaultfd (a probe)"},
	{WAIT_GONE, NET, WAYS, GOAL_NONE, 0, "raw munmap: a reader elsewhere waits, alone"},
	{WAIT_GONE, BOTH, WAYS, GOAL_NONE, 0, "... both"},
	{WAIT_GOING, NET, WAYS, GOAL_NONE, 0, "raw madvise: a reader of it waits, alone"},
	{WAIT_GOING, BOTH, WAYS, GOAL_NONE, 0, "... both"},
};

static void run_row(const struct row *row, struct child *children, const int *err)
{
	struct line line = line_of("by source", "%s", row->name);
	struct job jobs[2] = {{&children[row->way], row->operation}, {NULL, row->operation}};
	struct batch a = {.time = child_time, .arg = &jobs[0]};
	struct batch b = {.time = child_time, .arg = &jobs[1]};
	enum way bad = row->base < WAYS && err[row->base] ? row->base : row->way;

	goal(&line, row->goal, row->value);
	if (!wanted(line.group, line.name))
		return;
	if (err[bad]) {
		line.not_available = true;
		snprintf(line.note, sizeof(line.note), "%s: %s", way_names[bad],
			 strerror(-err[bad]));
		report(&line);
		return;
	}
	if (row->base < WAYS) {
		jobs[1].child = &children[row->base];
		line.base_name = way_names[row->base];
	}
	measure(&line, &a, row->base < WAYS ? &b : NULL);
	report(&line);
}

void bench_sources(void)
{
	static enum way ways[WAYS];
	struct child children[WAYS];
	int err[WAYS];

	for (int i = 0; i < WAYS; i++) {
		ways[i] = (enum way)i;
		err[i] = child_spawn(&children[i], way_names[i], set_up, obey, &ways[i]);
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		run_row(&rows[i], children, err);
	/* A later one holds the pipes of an earlier one. */
	for (int i = WAYS - 1; i >= 0; i--)
		child_end(&children[i]);
}

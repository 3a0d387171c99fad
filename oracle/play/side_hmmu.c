// SPDX-License-Identifier: MIT
/*
 * side_hmmu.c - hmmu's own, with the source that play_source names. The explicit source has
 * nobody who tells: the changes that the kernel's log names are replayed (replay.c).
 *
 * A source that is told afterwards tells only of what is armed, and a read begin arms. So
 * after each operation every subscription is begun: "ready" are those that are watched
 * from here on, "unwatched" those of which hmmu says that it cannot (-ENODEV). The begin of
 * the beacon, a subscription to a page of ours, waits until the mm is decided: then
 * everything is told.
 */
#define _GNU_SOURCE
#include "play.h"

#include "replay.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <hmmu/mmu_notifier.h>

#ifdef HMMU_PLANT
extern int hmmu_hook_planted, hmmu_uffd_planted;
#endif

static struct mm_struct *mm;

static struct watch {
	struct mmu_interval_notifier sub;
	pthread_mutex_t lock; /* the driver's */
	bool live;
} watches[SUBS], beacon;

/* The gate. holding: id + 1, 0 none. */
static uint32_t holding, is_held;
static sem_t gate;

static const char *const operations[] = {
	"munmap",    "mmap_fixed",    "mremap",		 "madvise",	  "brk",
	"shmdt",     "shmat_remap",   "mprotect",	 "fork",	  "ftruncate",
	"fallocate", "madvise_guard", "process_madvise", "pkey_mprotect", "remap_file_pages",
};
static const char *const callers[] = {"explicit", "libc",     "glibc",	"raw",
				      "ld.so",	  "io_uring", "process"};
static const char *const memories[] = {"any",  "anon",	       "shmem",
				       "sysv", "file-private", "file-shared"};
static const char *const exactnesses[] = {"unwatched", "reuse-open", "by-return", "bracketed"};

static void pass_gate(unsigned int id)
{
	struct timespec until;

	if (__atomic_load_n(&holding, __ATOMIC_ACQUIRE) != id + 1)
		return;
	__atomic_store_n(&holding, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&is_held, 1, __ATOMIC_RELEASE);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5;
	while (sem_timedwait(&gate, &until) && errno == EINTR)
		;
}

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	static const char *const notes[] = {"", " after", " lost"};
	struct watch *w = (struct watch *)sub;
	unsigned int id = (unsigned int)(w - watches);

	pthread_mutex_lock(&w->lock);
	mmu_interval_set_seq(sub, cur_seq);
	if (w != &beacon)
		log_call(id, range->event, range->start, range->end, cur_seq,
			 notes[range->phase]);
	pthread_mutex_unlock(&w->lock);
	if (w != &beacon)
		pass_gate(id);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static long watch_insert(struct watch *w, unsigned long start, unsigned long length)
{
	long ret;

	pthread_mutex_init(&w->lock, NULL);
	ret = mmu_interval_notifier_insert(&w->sub, mm, start, length, &ops);
	w->live = !ret;
	return ret;
}

/* What it says that it sees: the comparator holds it to that, and to docs/coverage.md. */
static void log_cells(void)
{
	struct hmmu_coverage cells[256];
	int n = hmmu_mm_describe(mm, cells, 256);

	for (int i = 0; i < n && i < 256; i++)
		log_line("cell %s %s %s %s %s", operations[cells[i].operation],
			 callers[cells[i].caller], memories[cells[i].memory],
			 exactnesses[cells[i].exactness],
			 cells[i].source == HMMU_SOURCE_HOOKS	      ? "hooks"
			 : cells[i].source == HMMU_SOURCE_USERFAULTFD ? "userfaultfd"
			 : cells[i].source == HMMU_SOURCE_SECCOMP     ? "seccomp"
								      : "nobody");
}

static unsigned int sources_of(const char *name)
{
	if (!strcmp(name, "explicit"))
		return HMMU_SOURCE_EXPLICIT;
	if (!strcmp(name, "hooks"))
		return HMMU_SOURCE_HOOKS;
	if (!strcmp(name, "userfaultfd"))
		return HMMU_SOURCE_USERFAULTFD;
	if (!strcmp(name, "both"))
		return HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD;
	if (!strcmp(name, "seccomp"))
		return HMMU_SOURCE_SECCOMP;
	fprintf(stderr, "play: no source is named %s\n", name);
	_exit(2);
}

static long hmmu_side_open(void)
{
	struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = sources_of(play_source),
		.flags = HMMU_MM_OWN_RECLAIM,
	};
	long ret = hmmu_mm_open(&mm, &options);
	const char *why = hmmu_source_why(options.sources);
	void *page;

	if (ret) {
		fprintf(stderr, "play: %s: %s%s%s\n", play_source, strerror((int)-ret),
			why ? ": " : "", why ? why : "");
		return ret;
	}
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -ENOMEM;
	log_cells();
	return watch_insert(&beacon, (unsigned long)page, PAGE);
}

static long hmmu_side_insert(unsigned int id, unsigned long start, unsigned long length)
{
	return watch_insert(&watches[id], start, length);
}

static long hmmu_side_remove(unsigned int id)
{
	mmu_interval_notifier_remove(&watches[id].sub);
	watches[id].live = false;
	return 0;
}

/* At most ten seconds: longer is a bug. */
static int begin_bounded(struct watch *w, unsigned long *seq)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 10;
	return hmmu_read_begin(&w->sub, seq, &until);
}

static long hmmu_side_begin(unsigned int id, unsigned long *seq)
{
	return begin_bounded(&watches[id], seq);
}

static long hmmu_side_retry(unsigned int id, unsigned long seq)
{
	long retry;

	pthread_mutex_lock(&watches[id].lock);
	retry = mmu_interval_read_retry(&watches[id].sub, seq);
	pthread_mutex_unlock(&watches[id].lock);
	return retry;
}

static void hmmu_side_perform(const struct operation *op, const struct line *line,
			      struct answer *a)
{
	replay_changes(mm, line->nr);
	op->run(line, a);
}

static void hmmu_side_quiet(void)
{
	unsigned long seq;

	begin_bounded(&beacon, &seq);
}

static void hmmu_side_settle(void)
{
	char ready[SUBS + 1], unwatched[SUBS + 1], stuck[SUBS + 1];
	int nready = 0, nunwatched = 0, nstuck = 0;
	unsigned long seq;

	hmmu_side_quiet();
	log_calls();
	for (int i = 0; i < SUBS; i++) {
		int ret;

		if (!watches[i].live)
			continue;
		ret = begin_bounded(&watches[i], &seq);
		if (!ret)
			ready[nready++] = (char)('A' + i);
		else if (ret == -ENODEV)
			unwatched[nunwatched++] = (char)('A' + i);
		else
			stuck[nstuck++] = (char)('A' + i);
	}
	ready[nready] = unwatched[nunwatched] = stuck[nstuck] = '\0';
	/* What was told late shows here, and is the comparator's to complain about. */
	log_calls();
	log_line("ready %s unwatched %s stuck %s", nready ? ready : "-",
		 nunwatched ? unwatched : "-", nstuck ? stuck : "-");
}

static long hmmu_side_poll(unsigned int id)
{
	static const struct timespec now = {0, 0};
	unsigned long seq;

	return hmmu_read_begin(&watches[id].sub, &seq, &now) == -ETIMEDOUT;
}

static void hmmu_side_hold(unsigned int id)
{
	sem_init(&gate, 0, 0);
	is_held = 0;
	__atomic_store_n(&holding, id + 1, __ATOMIC_RELEASE);
}

static bool hmmu_side_held(const uint32_t *over)
{
	while (!__atomic_load_n(&is_held, __ATOMIC_ACQUIRE)) {
		if (__atomic_load_n(over, __ATOMIC_ACQUIRE))
			return __atomic_load_n(&is_held, __ATOMIC_ACQUIRE);
		usleep(50);
	}
	return true;
}

static void hmmu_side_release(void)
{
	__atomic_store_n(&holding, 0, __ATOMIC_RELEASE);
	sem_post(&gate);
}

static long hmmu_side_prepare(void)
{
#ifdef HMMU_PLANT
	/* A library with bugs in it (src/source/hooks/hooks.h, userfaultfd.h): which one. */
	hmmu_hook_planted = getenv("HMMU_HOOK_PLANT") ? atoi(getenv("HMMU_HOOK_PLANT")) : 0;
	hmmu_uffd_planted = getenv("HMMU_UFFD_PLANT") ? atoi(getenv("HMMU_UFFD_PLANT")) : 0;
#endif
	return play_replay ? replay_load(play_replay, play_script) : 0;
}

static void hmmu_side_after(void)
{
}

const struct side side = {
	.prepare = hmmu_side_prepare,
	.open = hmmu_side_open,
	.insert = hmmu_side_insert,
	.remove = hmmu_side_remove,
	.begin = hmmu_side_begin,
	.retry = hmmu_side_retry,
	.perform = hmmu_side_perform,
	.quiet = hmmu_side_quiet,
	.settle = hmmu_side_settle,
	.poll = hmmu_side_poll,
	.hold = hmmu_side_hold,
	.held = hmmu_side_held,
	.release = hmmu_side_release,
	.after = hmmu_side_after,
};

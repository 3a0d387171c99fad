// SPDX-License-Identifier: MIT
/*
 * ucx.c - hmmu/ucx.h: a whole-mm notifier whose start and end are UCX's "unmapped" event.
 *
 *	hook, or another source
 *	   |  mmu_notifier_invalidate_range_start(), _end()
 *	   v
 *	on_start(), on_end()	any thread, inside libc: no lock of ours, nothing allocated
 *	   |  ucm_vm_munmap()
 *	   v
 *	UCX's handlers		one for each of its caches
 *
 * The feed is one per process: UCX's list of handlers is. What start and stop change is
 * under feed.lock, which no callback takes.
 */
#include <hmmu/ucx.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include <ucm/api/ucm.h>

#include "plant.h"

#define EXPORT __attribute__((visibility("default")))
#define PAGE 4096UL
#define FLAGS_KNOWN (HMMU_UCX_EXTERNAL | HMMU_UCX_UNPROVEN)

/*
 * UCX's caches walk a range in steps of its alignment, and only where the range ends
 * well below 2^64 does the walk end (ucs_pgtable_search_range() wraps to 0 and begins again):
 * a fork's range, which ends one page below, would never return. No user address has more
 * bits than these.
 */
#define UCX_TOP (1UL << 57)

#ifdef HMMU_UCX_PLANT
int hmmu_ucx_planted;
#endif

static struct {
	pthread_mutex_t lock;
	struct mmu_notifier notifier;
	struct mm_struct *mm; /* NULL: not started */
	unsigned int flags;
	bool atfork; /* the child's handler is in */
	_Atomic(const char *) why;
	atomic_uint_fast64_t starts;
	atomic_uint_fast64_t ends;
} feed = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- told by hmmu ----------------------------------------------------------- */

/*
 * The proof: who was told of this page, and within which of the two callbacks. Written by
 * callbacks of this very range only, that is in the thread that makes the proof.
 */
#define TOLD_START 1u
#define TOLD_END 2u

static struct {
	_Atomic(unsigned long) page; /* 0: no proof is being made */
	unsigned int inside;	     /* TOLD_START, TOLD_END, or 0 */
	unsigned int told;	     /* UCX's handler was called inside of these */
} proof;

static void tell(const struct mmu_notifier_range *range, unsigned int which)
{
	unsigned long start = range->start;
	unsigned long end = range->end < UCX_TOP ? range->end : UCX_TOP;
	bool mine = start && start == atomic_load_explicit(&proof.page, memory_order_relaxed) &&
		    end == start + PAGE;
	int saved = errno;

	if (start >= end)
		return;
	if (mine)
		proof.inside = which;
	ucm_vm_munmap((void *)start, end - start);
	if (mine)
		proof.inside = 0;
	errno = saved;
}

static int on_start(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	atomic_fetch_add_explicit(&feed.starts, 1, memory_order_relaxed);
	if (!PLANTED(NO_START) || !feed.mm)
		tell(range, TOLD_START);
	return 0;
}

static void on_end(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	atomic_fetch_add_explicit(&feed.ends, 1, memory_order_relaxed);
	if (!PLANTED(NO_END) || !feed.mm)
		tell(range, TOLD_END);
}

static const struct mmu_notifier_ops ops = {
	.invalidate_range_start = on_start,
	.invalidate_range_end = on_end,
};

/* ---- the proof ---------------------------------------------------------------- */

/* UCX's handler. Of our page only, and while we tell: its own hook is not meant. */
static void heard(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
	unsigned long page = atomic_load_explicit(&proof.page, memory_order_relaxed);

	if (page && (unsigned long)event->vm_unmapped.address == page &&
	    event->vm_unmapped.size == PAGE)
		proof.told |= proof.inside;
}

/* One munmap by libc: was UCX told before and after? */
static int try_munmap(void)
{
	void *page =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int told;

	if (page == MAP_FAILED)
		return -ENOMEM;
	proof.told = 0;
	atomic_store_explicit(&proof.page, (unsigned long)page, memory_order_relaxed);
	munmap(page, PAGE);
	atomic_store_explicit(&proof.page, 0, memory_order_relaxed);
	told = proof.told;
	return told == (TOLD_START | TOLD_END) ? 0 : -EOPNOTSUPP;
}

/* Opening an address space looks whether another library (UCX, loaded later) has patched
 * over hmmu's hooks, and puts them around its patch. */
static void mend_hooks(void)
{
	const struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = HMMU_SOURCE_HOOKS,
		.flags = HMMU_MM_OWN_RECLAIM,
	};
	struct mm_struct *mm;

	if (!hmmu_mm_open(&mm, &options))
		hmmu_mm_close(mm);
}

static int prove(void)
{
	int ret = try_munmap();

	if (ret != -EOPNOTSUPP)
		return ret;
	mend_hooks();
	ret = try_munmap();
	if (ret == -EOPNOTSUPP)
		feed.why = "no source of this mm tells of libc's munmap before and after it";
	return ret;
}

/* ---- start and stop ------------------------------------------------------------- */

/* The child has one thread, and nothing of its parent's watching. */
static void forked(void)
{
	const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;

	memcpy(&feed.lock, &fresh, sizeof(fresh));
	feed.mm = NULL;
	atomic_store_explicit(&proof.page, 0, memory_order_relaxed);
}

/* Also binds what callbacks call, and shows whether UCX calls anybody. */
static int add_handler(void)
{
	switch (ucm_set_event_handler(UCM_EVENT_VM_UNMAPPED | UCM_EVENT_FLAG_NO_INSTALL, -1,
				      heard, &proof)) {
	case UCS_OK:
		return 0;
	case UCS_ERR_NO_MEMORY:
		return -ENOMEM;
	default:
		feed.why = "UCX's memory events are switched off (UCX_MEM_EVENTS=n)";
		return -EOPNOTSUPP;
	}
}

static void forget_everything(void)
{
	if (!PLANTED(NO_FORGET))
		ucm_vm_munmap(NULL, UCX_TOP);
}

/* With the lock, and UCX's handler in place. */
static int register_and_prove(struct mm_struct *mm, unsigned int flags)
{
	int ret;

	memset(&feed.notifier, 0, sizeof(feed.notifier));
	feed.notifier.ops = &ops;
	ret = mmu_notifier_register(&feed.notifier, mm);
	if (ret == -EOPNOTSUPP)
		feed.why = "this mm's only source is userfaultfd, which tells of subscribed "
			   "ranges";
	if (ret)
		return ret;
	if (!(flags & HMMU_UCX_UNPROVEN))
		ret = prove();
	if (ret)
		mmu_notifier_unregister(&feed.notifier, mm);
	return ret;
}

/* With the lock. */
static int start(struct mm_struct *mm, unsigned int flags)
{
	int ret;

	if (feed.mm)
		return -EEXIST;
	if (!feed.atfork && pthread_atfork(NULL, NULL, forked))
		return -ENOMEM;
	feed.atfork = true;
	if (flags & HMMU_UCX_EXTERNAL)
		ucm_set_external_event(UCM_EVENT_VM_UNMAPPED);
	feed.why = NULL;
	ret = add_handler();
	if (!ret) {
		ret = register_and_prove(mm, flags);
		ucm_unset_event_handler(UCM_EVENT_VM_UNMAPPED, heard, &proof);
	}
	if (ret) {
		if (flags & HMMU_UCX_EXTERNAL)
			ucm_unset_external_event(UCM_EVENT_VM_UNMAPPED);
		return ret;
	}
	/* What was cached before may be stale already: nobody told of its end. */
	forget_everything();
	feed.mm = mm;
	feed.flags = flags;
	return 0;
}

static bool valid(const struct hmmu_ucx_options *o)
{
	static const unsigned int none[5];

	return !o || (o->size == sizeof(*o) && !(o->flags & ~FLAGS_KNOWN) &&
		      !memcmp(o->reserved, none, sizeof(none)));
}

EXPORT int hmmu_ucx_start(struct mm_struct *mm, const struct hmmu_ucx_options *options)
{
	int saved = errno, ret;

	if (!mm || !valid(options))
		return -EINVAL;
	pthread_mutex_lock(&feed.lock);
	ret = start(mm, options ? options->flags : 0);
	pthread_mutex_unlock(&feed.lock);
	errno = saved;
	return ret;
}

EXPORT int hmmu_ucx_stop(void)
{
	int saved = errno, ret = -ENOENT;

	pthread_mutex_lock(&feed.lock);
	if (feed.mm) {
		mmu_notifier_unregister(&feed.notifier, feed.mm);
		if (feed.flags & HMMU_UCX_EXTERNAL)
			ucm_unset_external_event(UCM_EVENT_VM_UNMAPPED);
		feed.mm = NULL;
		ret = 0;
	}
	pthread_mutex_unlock(&feed.lock);
	errno = saved;
	return ret;
}

EXPORT const char *hmmu_ucx_why(void)
{
	return feed.why;
}

EXPORT void hmmu_ucx_get_stats(struct hmmu_ucx_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->starts = atomic_load_explicit(&feed.starts, memory_order_relaxed);
	stats->ends = atomic_load_explicit(&feed.ends, memory_order_relaxed);
}

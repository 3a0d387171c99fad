/* SPDX-License-Identifier: MIT */
/*
 * hmmu/ucx.h - UCX's registration caches, told of every change that hmmu sees, before it
 * and after it. docs/ucx.md is for who has a program on UCX; library libhmmu-ucx.
 *
 *	hmmu_mm_open(&mm, &(struct hmmu_mm_options){
 *		.size = sizeof(struct hmmu_mm_options), .require = HMMU_BRACKETED,
 *		.sources = HMMU_SOURCE_HOOKS });
 *	hmmu_ucx_start(mm, NULL);
 *
 * THE RACE (UCX 1.13.1: ucm_munmap() in src/ucm/event/event.c tells its caches, then makes
 * the system call, and nothing marks the end):
 *
 *	munmap(X), UCX alone			a look-up in UCX's cache
 *	event: the region of X is dropped
 *						not cached: registers X, which pins the
 *						dying page, and caches it
 *	system call: X is gone
 *	mmap: X is another page
 *						a hit: the old page	    [stale, until
 *						the next change of X]
 *
 *	munmap(X), with this adapter		a look-up in UCX's cache
 *	start: event: dropped
 *						registers the dying page
 *	(UCX's own event)
 *	system call: X is gone
 *	end: event: dropped again
 *	munmap returns
 *						not cached: registers the new page
 *						[Required: whoever looks up after the
 *						 return finds nothing older]
 *
 * Why nothing slips past the second event (src/ucs/memory/rcache.c): a look-up that registers
 * holds the cache's lock from before its registration until its region is in the table. The
 * event takes that lock if it is free, and then the region is in the table and goes; or it
 * queues the range, and the next look-up takes the queue first. The queue is written
 * before munmap returns, and whoever may expect the new page comes after that.
 *
 * This is G1, by return, for a cache that can neither retry nor ask. WHAT REMAINS:
 *
 *   - From the system call to the end a look-up may still hit the dying page. Nobody who
 *     waits for munmap to return can see that; and a third thread whose own mmap is given X in
 *     between waits in its hook for that end, if it calls mmap through libc, is not itself
 *     inside a change (a signal handler), and fewer than 65 changes are open.
 *   - An access in flight, and a region that somebody holds: UCX drops it from its table,
 *     deregisters it after the last put, and asks nobody again at completion.
 *   - UCX without memory for a queue entry drops the event and logs "data corruption may
 *     occur" (ucs_rcache_unmapped_callback()). Told twice, it has to fail twice.
 *   - What hmmu does not see, hmmu_mm_describe(): raw system calls with hooks alone, io_uring.
 *
 * CONTEXT. The events are delivered where the change is made: inside libc, maybe with an
 * allocator's lock held. This adapter adds nothing there: no allocation, no lock, errno kept.
 * UCX's handlers: a reader's lock of all handlers (a writer holds it for a list insertion
 * only and does not allocate under it); in each cache a trylock of its table, or its spinlock
 * and a queue entry from a pool that grows by UCX's own mmap; a byte in a pipe if much
 * waits to be released. No malloc, no log but for the error above. A signal handler that
 * unmaps memory while its thread is in UCX's cache may spin on that spinlock for ever; so it
 * does with UCX's own hooks. The non-blocking start calls the same: it may wait for those
 * few instructions.
 *
 * PATCHES. libhmmu-ucx loads libucs, which patches libc at load (UCX_MEM_MMAP_HOOK_MODE=
 * bistro, the default), and hmmu's hooks put themselves around its patch when an mm is
 * opened; if UCX came later, hmmu_ucx_start() has the hooks mended. With =reloc UCX's event
 * comes before hmmu's start; the program's own brk() is then told of by UCX alone, which
 * makes it a raw system call. With =none UCX has no hooks: HMMU_UCX_EXTERNAL.
 * UCX_MEM_EVENTS=n is refused: no handler of UCX's is ever called then.
 *
 * ERRORS: 0 or -errno; errno itself is left as it was.
 */
#ifndef HMMU_UCX_H
#define HMMU_UCX_H

#include <hmmu/mmu_notifier.h>

#ifdef __cplusplus
extern "C" {
#endif

/* options->flags */
/* Tell UCX that somebody else delivers its events (ucm_set_external_event()): it does not
 * look for its own hooks when a cache is created, so that caches work with
 * UCX_MEM_MMAP_HOOK_MODE=none. Caches created meanwhile hear nothing after the stop. */
#define HMMU_UCX_EXTERNAL (1u << 0)
/* Do not try whether a munmap arrives. For an mm without sources, where the program
 * itself calls start and end. */
#define HMMU_UCX_UNPROVEN (1u << 1)

/*
 * struct hmmu_ucx_options
 * @size:	sizeof(struct hmmu_ucx_options)
 * @flags:	HMMU_UCX_*
 */
struct hmmu_ucx_options {
	size_t size;
	unsigned int flags;
	unsigned int reserved[5];
};

/*
 * hmmu_ucx_start() - from now on UCX's caches, those that exist and those to come, are told
 * of each change in @mm: munmap, mremap (both sides), MAP_FIXED, brk, shmdt, madvise,
 * mprotect, ftruncate, fallocate, fork: whatever the mm's sources see. What they have cached
 * so far is dropped. Once per process. @options: NULL: none.
 * It maps a page, unmaps it and looks whether UCX was told before and after.
 * Context: ordinary thread; sleeps, allocates, waits for changes in flight. Not in a
 * callback, nor between start and end of an own invalidation.
 * Return: 0, or
 *  -EINVAL	  mm NULL, size wrong, an unknown flag, reserved words not 0
 *  -EEXIST	  it was started already and not stopped
 *  -EOPNOTSUPP	  UCX hears no events, or the mm does not see libc's munmap: hmmu_ucx_why()
 *  -ENOMEM	  no memory
 *  -ENODEV	  mm belongs to the parent of this forked child
 *  -EDEADLK	  called in a callback
 */
int hmmu_ucx_start(struct mm_struct *mm, const struct hmmu_ucx_options *options);

/*
 * hmmu_ucx_stop() - when it returns no event is delivered any more, nor is one under way
 * (G3). A change that is open meanwhile has been told of at its start and is not at its end.
 * UCX's own hooks go on as they were. Context: as start. Return: 0, or -ENOENT: not
 * started. In a forked child nothing is started: it may start again, with an mm of its own,
 * if no other thread of its parent was inside UCX when it forked.
 */
int hmmu_ucx_stop(void);

/* Why hmmu_ucx_start() last answered -EOPNOTSUPP, in words; NULL: it did not. Static text. */
const char *hmmu_ucx_why(void);

/* How often UCX was told, in this process since it was first started; the words are read one
 * by one. Context: any. */
struct hmmu_ucx_stats {
	uint64_t starts;
	uint64_t ends;
	uint64_t reserved[6];
};
void hmmu_ucx_get_stats(struct hmmu_ucx_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_UCX_H */

/* SPDX-License-Identifier: MIT */
/*
 * source.h - who calls start and end.
 *
 * notifier/ knows nothing of sources; this is the arrow between the two. A source
 * is a table of operations, one instance per process, shared by every mm_struct
 * that was opened with its bit. What it sees it hands to hmmu_source_start()
 * and hmmu_source_end(), which fan out to those mms.
 *
 *	application -> notifier/ <- source/source.c <- source/hooks/
 */
#ifndef HMMU_SOURCE_H
#define HMMU_SOURCE_H

#include <hmmu/mmu_notifier.h>

/* As many mms can use the process's sources. A hook keeps one open range for each
 * on its stack. */
#define HMMU_WATCHED_MAX 8

struct hmmu_source {
	const char *name;
	unsigned int bit; /* HMMU_SOURCE_* */

	/* Make it work, proven by a self-test; called for each mm opened with it,
	 * serialised by the caller. 0 or -errno; a source that has failed once may
	 * be asked again. Context: ordinary thread, may allocate. */
	int (*open)(void);

	/* Those two are NULL where no truth needs arming (bracketing sources). */
	int (*arm)(struct mm_struct *mm, unsigned long start, unsigned long last);
	int (*settle)(struct mm_struct *mm, unsigned long start, unsigned long last);

	/* Writes at most n cells; the number of cells. */
	int (*describe)(struct hmmu_coverage *cells, size_t n);
};

extern const struct hmmu_source hmmu_source_hooks;

/* One change, open in every watched mm. On the stack of who makes the change. */
struct hmmu_source_event {
	unsigned int n;
	struct mmu_notifier_range range[HMMU_WATCHED_MAX + 1]; /* [0] is the anchor's */
};

/*
 * Around a change of [start, end) of this process, page-aligned by the caller.
 * Context: anywhere a munmap can be: inside an allocator, in a signal handler, in
 * a forked child (nothing is watched there: nothing happens), in a vfork child
 * (it is its parent's memory: as in the parent). No malloc, no lock held by the
 * caller that a callback could want.
 */
void hmmu_source_start(struct hmmu_source_event *ev, enum mmu_notifier_event event,
		       unsigned long start, unsigned long end);
void hmmu_source_end(struct hmmu_source_event *ev);

/* Has anything ever watched through a source in this process (a forked child starts
 * anew)? A hook that answers no does the bare call. Calls already inside the kernel
 * when the first mm is opened are not bracketed: docs/design.md. */
bool hmmu_source_watched(void);

/* mm.c, with the instance's lock: before the first source is opened. 0 or -ENOMEM. */
int hmmu_source_anchor(void);

/* mm.c: take part, leave. -EMFILE when HMMU_WATCHED_MAX do already. */
int hmmu_source_attach(struct mm_struct *mm);
void hmmu_source_detach(struct mm_struct *mm);

#endif /* HMMU_SOURCE_H */

/* SPDX-License-Identifier: MIT */
/*
 * source.h - who calls start and end.
 *
 * notifier/ knows nothing of sources; this is the arrow between the two. A source
 * is a table of operations, one instance per process, shared by every mm_struct
 * that was opened with its bit. What it sees it hands to hmmu_source_start()
 * and hmmu_source_end(), which fan out to those mms.
 *
 *	application -> notifier/ <- source/source.c <- source/hooks/, userfaultfd/, seccomp/
 *
 * Some sources bracket a change (hooks, seccomp). The kernel's userfaultfd is told of it
 * when it has happened, and only where a mapping was registered before: a net behind the
 * others. notifier/ and source.c know it as the mm's, the instance's `net`.
 */
#ifndef HMMU_SOURCE_H
#define HMMU_SOURCE_H

#include <stdbool.h>

#include <hmmu/mmu_notifier.h>

/* As many mms can use the process's sources. A hook keeps one open range for each
 * on its stack. */
#define HMMU_WATCHED_MAX 8

struct hmmu_source_event;

struct hmmu_source {
	const char *name;
	unsigned int bit; /* HMMU_SOURCE_* */

	/* Make it work, proven by a self-test; called for each mm opened with it,
	 * serialised by the caller. 0 or -errno; a source that has failed once may
	 * be asked again. Context: ordinary thread, may allocate. */
	int (*open)(void);

	/* Does it see everything still? NULL: nobody can take that away unnoticed. False:
	 * open() again may mend it; what was changed meanwhile was missed. Any context. */
	bool (*intact)(void);

	/* Undo one open(); NULL where what was opened stays. Serialised likewise, after
	 * the mm has left the table. */
	void (*close)(void);

	/* Those three are NULL where no truth needs arming (bracketing sources). Context:
	 * an ordinary thread that may sleep, no lock of ours.
	 * arm: from now on changes of [start, last] will be told: 0; -EAGAIN: without @wait,
	 * another thread is at it; -ENXIO: not all of it is mapped, and what will be mapped
	 * there would not be told of; -errno: it cannot be watched.
	 * disarm: the subscription to [start, last] is gone from @mm.
	 * settle: 0: nothing that has happened is still untold; -EAGAIN: something is;
	 * -ENODEV: the source is lost, and has said so to everyone. Never sleeps. */
	int (*arm)(struct mm_struct *mm, unsigned long start, unsigned long last, bool wait);
	void (*disarm)(struct mm_struct *mm, unsigned long start, unsigned long last);
	int (*settle)(struct mm_struct *mm);

	/* A net's: a bracketing source has opened a change of [start, end): pages that are on
	 * devices come home where nobody subscribes (devmem/). Context: hmmu_source_start()'s.
	 */
	void (*before)(unsigned long start, unsigned long end);

	/* A net's: a bracketing source has opened @ev and is about to change memory: what the
	 * kernel would tell of that has been handled. Context: hmmu_source_start()'s. */
	void (*mute)(struct hmmu_source_event *ev);
	void (*unmute)(struct hmmu_source_event *ev);

	/* A net's: afterwards nothing that it heard of before is open in an mm that has been
	 * detached, and one that has been attached is told of everything. */
	void (*drain)(void);

	/* How exactly it sees that change by that caller, HMMU_CALLER_EXPLICIT never being one:
	 * enum hmmu_exactness. */
	unsigned int (*exactness)(unsigned int op, unsigned int caller);
	/* Why the last open() failed, in words; NULL if it did not. */
	const char *(*why)(void);
};

extern const struct hmmu_source hmmu_source_hooks;
extern const struct hmmu_source hmmu_source_userfaultfd;
extern const struct hmmu_source hmmu_source_seccomp;

/* All there are, in the order in which they are opened. */
#define HMMU_SOURCES 3
extern const struct hmmu_source *const hmmu_sources[HMMU_SOURCES];

/* describe.c: the best that the mm's sources give. */
struct hmmu_coverage hmmu_coverage(const struct mm_struct *mm, unsigned int op,
				   unsigned int caller);

/* One change, open in every watched mm. On the stack of who makes the change. */
struct hmmu_source_event {
	unsigned int n;
	enum mmu_notifier_event event;
	uint32_t muted; /* the net's */
	bool tells;	/* the kernel tells of each page of it, if the call succeeds */
	bool failed;	/* the call did; set before the end */
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
/* The same for a madvise of which userfaultfd tells (REMOVE), if the call succeeds. */
void hmmu_source_start_removing(struct hmmu_source_event *ev, unsigned long start,
				unsigned long end);
/* As start, where no callback would have to run; else false, and nothing is open. Context:
 * a thread that must not run callbacks; takes an mm's lock at most. */
bool hmmu_source_start_quiet(struct hmmu_source_event *ev, enum mmu_notifier_event event,
			     unsigned long start, unsigned long end);

/* The kernel has put a new mapping at [start, end), and its address is about to be given
 * to the caller: waits until no earlier owner's change of that place is untold (another
 * thread may still be inside a raw munmap of it). Context: as hmmu_source_start(). */
void hmmu_source_handed_out(unsigned long start, unsigned long end);

/*
 * The source @bit sees nothing any more: every mm that was opened with it is unwatched
 * from now on. The first half touches atomics only and is for any context; the second
 * calls everybody with phase LOST: an ordinary thread without a lock.
 */
void hmmu_source_unwatch(unsigned int bit);
void hmmu_source_lost(unsigned int bit);

/*
 * Another library may have patched over what a source has patched. check() looks: any
 * context; if so the mms are unwatched from now on, and the reclaimer is woken. mend(),
 * the reclaimer's, opens the source again, tells everybody LOST, and if it sees again
 * the mms are watched again. An ordinary thread without a lock.
 */
void hmmu_source_check(void);
void hmmu_source_mend(void);

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

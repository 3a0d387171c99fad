/* SPDX-License-Identifier: MIT */
/*
 * copies.h - several copies of this library in one process: a shared one, one linked into
 * the program, one inside a plugin, of different versions perhaps.
 *
 * Only one of them patches: the first, the leader. It is found by its patch: the jump in
 * libc's munmap leads to a page of trampolines, and that page begins with a header. (A
 * symbol would not do: a static copy exports none.) Others follow: the leader brackets
 * each change for them as well, nested, by their own functions.
 *
 *	leader's hmmu_hook_make()
 *	  start			its own mms
 *	  follower->around()	the follower's code, on its own frame:
 *	    start		  the follower's mms
 *	    next() ----------->	the next follower, or the call
 *	    end
 *	  end
 *
 * A copy may follow and be followed: one that was patched over and finds another copy on
 * top. Nobody ever leaves: an object that follows is pinned, and while nobody watches in it
 * its share is one call of watched().
 *
 * STATES of a copy
 *
 *	none		not opened
 *	leader		its jumps are in libc
 *	follower	the leader's are; its own wrappers enter libc, like everybody
 *
 * THE RACE of two that open at once: munmap is patched first, by compare-and-swap, and
 * not over another copy's jump. Who loses has patched nothing, looks again and finds the
 * winner, whose open() it then waits for.
 *
 * THE RACE of a follower that arrives: the leader looks for followers after its own starts,
 * right before the call; so the calls that miss it are between there and the kernel, and
 * the follower waits for those as after patching (quiesce.c).
 *
 * These structures are shared between versions: a field changes only with
 * HMMU_COPY_VERSION. Another version is answered -EEXIST.
 */
#ifndef HMMU_HOOKS_COPIES_H
#define HMMU_HOOKS_COPIES_H

#include <stdbool.h>
#include <stdint.h>

#define HMMU_COPY_MAGIC 0x31796f63756d6d68UL /* "hmmucoy1" */
#ifndef HMMU_COPY_VERSION
#define HMMU_COPY_VERSION 1u
#endif
#define HMMU_COPIES_MAX 4
#define HMMU_COPY_WITHIN 0x100u /* in hooked()'s answer */

/* What a follower gives. Context of all three: a hook. */
struct hmmu_copy_follower {
	uint32_t version;
	uint32_t reserved;
	bool (*watched)(void);
	/* start of [start, end), next(arg), end; what next answered. @event: MMU_NOTIFY_* */
	long (*around)(unsigned int event, unsigned long start, unsigned long end,
		       long (*next)(void *arg), void *arg);
	void (*handed_out)(unsigned long start, unsigned long end);
};

/* What a leader gives. Context: open(), but for intact(). */
struct hmmu_copy_leader {
	uint32_t version;
	uint32_t reserved;
	/* Opens, or restores, the leader's hooks, and has them serve @follower; idempotent.
	 * 0, -EMFILE: HMMU_COPIES_MAX do already, or what hooks' open() answers. */
	int (*follow)(const struct hmmu_copy_follower *follower);
	/* enum hmmu_hook_state of libc's function @name, | HMMU_COPY_WITHIN */
	unsigned int (*hooked)(const char *name);
	bool (*intact)(void);
};

/* At the start of each page of trampolines. */
struct hmmu_copy_header {
	uint64_t magic;
	uint32_t version;
	uint32_t reserved;
	const struct hmmu_copy_leader *leader;
	uint64_t more[5];
};
_Static_assert(sizeof(struct hmmu_copy_header) == 64, "ABI: header");

/* Filled in for a new page of ours. */
void hmmu_copies_header(struct hmmu_copy_header *header);

/*
 * The leader, if there is one and it is not this copy. 0 and *leader (NULL: none), or
 * -EEXIST: it is of another version.
 */
int hmmu_copies_find(const void *entry, const struct hmmu_copy_leader **leader);

/* Does a jump to @target lead to another copy, of whatever version? */
bool hmmu_copies_other(const void *target);

/* Follow it. 0 or what its follow() answered; -EOPNOTSUPP: it does not serve us. */
int hmmu_copies_follow(const struct hmmu_copy_leader *leader);

/* open.c: the leader's half. With a follower: it is served from now on. */
int hmmu_copies_serve(const struct hmmu_copy_follower *follower);

/* The followers of this copy: read by hooks, only grows. */
extern const struct hmmu_copy_follower *hmmu_copies[HMMU_COPIES_MAX];
extern uint32_t hmmu_copies_n;

/* Whom this copy follows, or NULL. */
extern const struct hmmu_copy_leader *hmmu_copies_leader;

#endif /* HMMU_HOOKS_COPIES_H */

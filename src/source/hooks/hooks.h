/* SPDX-License-Identifier: MIT */
/*
 * hooks.h - the hooks source, inside.
 *
 *	program, or libc itself
 *	   |  libc's entry, patched (patch.c)     or   the symbol, ours (interpose.c)
 *	   v						  v
 *	hmmu_hook_munmap() ...: start, the system call, end   (calls.c remap.c brk.c shm.c)
 *	   |
 *	   v
 *	hmmu_source_start(), _end()
 *
 * There is one replacement for each call, entered by either way. It makes the whole
 * system call itself and never enters libc, so that the two ways cannot add up to
 * two brackets, and nothing of the displaced instructions is needed. While nobody
 * watches it is the bare call.
 *
 * CONTEXT OF A REPLACEMENT: wherever a munmap can be. Inside an allocator with its
 * lock held, in a thread that is exiting with all signals blocked, in a signal
 * handler, in a vfork child, before main(). It allocates nothing, logs nothing,
 * takes no lock, resolves no symbol; errno's accessor is bound at open (PLT slots are
 * per module) and its thread-local word is in the initial TLS block.
 *
 * A thread that is cancelled asynchronously, or leaves a signal handler by longjmp,
 * between start and end leaves the bracket open: readers of that range wait for ever.
 * munmap and its like are not async-cancel-safe either.
 *
 * No file that includes this one may need libc's own prototypes of the calls in a
 * file that also defines them: interpose.c is the only such file.
 */
#ifndef HMMU_HOOKS_H
#define HMMU_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "source/source.h"

/*
 * The replacements and the patcher are not instrumented: they run in threads that a
 * sanitizer has already finished with, or not yet begun, and the patcher reads and
 * writes code. HMMU_HOOK goes before each of their functions.
 */
#if defined(__clang__) && __has_attribute(disable_sanitizer_instrumentation)
/* no_sanitize("thread") would still announce each function to TSan. */
#define HMMU_HOOK                                         \
	__attribute__((disable_sanitizer_instrumentation, \
		       no_sanitize("address", "thread", "memory", "undefined")))
#elif defined(__clang__)
#define HMMU_HOOK __attribute__((no_sanitize("address", "thread", "memory", "undefined")))
#elif defined(__SANITIZE_THREAD__)
#define HMMU_HOOK __attribute__((no_sanitize_thread))
#elif defined(__SANITIZE_ADDRESS__)
#define HMMU_HOOK __attribute__((no_sanitize_address, no_sanitize_undefined))
#else
#define HMMU_HOOK
#endif

#if defined(__SANITIZE_THREAD__)
#define HMMU_HOOK_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HMMU_HOOK_TSAN 1
#endif
#endif
#ifndef HMMU_HOOK_TSAN
#define HMMU_HOOK_TSAN 0
#endif

#define HMMU_PAGE 4096UL
/* One past the last page that an invalidation can name. */
#define HMMU_TOP (-HMMU_PAGE)

/* The functions that are diverted. mmap64 is mmap where off_t has 64 bits. */
enum hmmu_hook {
	HMMU_HOOK_MUNMAP,
	HMMU_HOOK_MMAP,
	HMMU_HOOK_MMAP64,
	HMMU_HOOK_MREMAP,
	HMMU_HOOK_MADVISE,
	HMMU_HOOK_MPROTECT,
	HMMU_HOOK_BRK,
	HMMU_HOOK_SBRK, /* patched: libc's own, which calls brk's entry */
	HMMU_HOOK_SHMDT,
	HMMU_HOOK_SHMAT,
	HMMU_HOOK_NR,
};

enum hmmu_hook_state {
	HMMU_HOOK_NONE = 0,   /* not watched */
	HMMU_HOOK_PATCHED,    /* libc's entry: every caller that enters libc */
	HMMU_HOOK_INTERPOSED, /* the symbol: callers outside libc */
};

struct hmmu_hook_info {
	const char *name;     /* libc's symbol */
	const char *internal; /* the name by which libc calls it itself, or NULL */
	enum hmmu_operation op;
	void *replacement; /* hmmu_hook_*() */
	void *wrapper;	   /* what this library exports as @name */

	/* Written by open() only, which its caller serialises. */
	void *entry;  /* libc's own */
	void *global; /* what the program's calls bind to */
	enum hmmu_hook_state state;
	bool written;	 /* the patch is in */
	bool aliased;	 /* libc calls itself by an address that is not @entry */
	bool within;	 /* libc's own calls arrive too */
	const char *why; /* not patched because; NULL when patched */
};

extern struct hmmu_hook_info hmmu_hook_info[HMMU_HOOK_NR];

/* Bit 1 << enum hmmu_hook: this thread came by. Only the self-test looks. */
extern __thread uint32_t hmmu_hook_seen __attribute__((tls_model("initial-exec")));

HMMU_HOOK static inline void hmmu_hook_saw(enum hmmu_hook hook)
{
	hmmu_hook_seen |= 1u << hook;
}

/*
 * Bugs planted on purpose, as in plant.h, one for each rule of these files. A test build
 * (tests/hooks/meson.build) switches on the one that HMMU_HOOK_PLANT names, and a test
 * must fail.
 */
enum hmmu_hook_plant {
	HMMU_HOOK_PLANT_NONE,
	HMMU_HOOK_PLANT_END_EARLY,  /* end comes before the system call */
	HMMU_HOOK_PLANT_NO_TARGET,  /* mremap forgets the destination */
	HMMU_HOOK_PLANT_NO_WAIT,    /* open does not wait for calls under way */
	HMMU_HOOK_PLANT_NO_DEPTH,   /* fork ends a bracket that is not its own */
	HMMU_HOOK_PLANT_CHILD_ENDS, /* the child ends its parent's bracket */
	HMMU_HOOK_PLANT_NO_STACK,   /* the trampoline leaves the stack as it is */
	HMMU_HOOK_PLANT_BELIEVES,   /* a patch counts though it does not fire */
};
#ifdef HMMU_PLANT
extern int hmmu_hook_planted; /* set before the first open */
#define HMMU_HOOK_PLANTED(name) (hmmu_hook_planted == HMMU_HOOK_PLANT_##name)
#else
#define HMMU_HOOK_PLANTED(name) false
#endif

/* The replacements: libc's own signatures. */
int hmmu_hook_munmap(void *addr, size_t len);
void *hmmu_hook_mmap(void *addr, size_t len, int prot, int flags, int fd, long offset);
void *hmmu_hook_mremap(void *old, size_t old_len, size_t new_len, int flags, void *fixed);
int hmmu_hook_madvise(void *addr, size_t len, int advice);
int hmmu_hook_mprotect(void *addr, size_t len, int prot);
int hmmu_hook_brk(void *addr);
void *hmmu_hook_sbrk(intptr_t increment);
int hmmu_hook_shmdt(const void *addr);
void *hmmu_hook_shmat(int id, const void *addr, int flags);

/* [addr, addr + len) as the kernel rounds it; false: the kernel refuses it, or it is
 * empty, and nothing will change. */
HMMU_HOOK static inline bool hmmu_hook_range(const void *addr, size_t len, unsigned long *start,
					     unsigned long *end)
{
	unsigned long size = (len + HMMU_PAGE - 1) & -HMMU_PAGE;

	*start = (unsigned long)addr;
	*end = *start + size;
	return *start % HMMU_PAGE == 0 && len && size >= len && *end > *start;
}

/* Built with TSan: has it finished with this thread (calls.c)? Then the notifier, which
 * is instrumented, cannot be entered. */
bool hmmu_hook_thread_gone(void);

/* Is this change to be bracketed? */
HMMU_HOOK static inline bool hmmu_hook_watched(void)
{
	return !(HMMU_HOOK_TSAN && hmmu_hook_thread_gone()) && hmmu_source_watched();
}

/* What the kernel answered, as libc gives it to its caller. */
long hmmu_hook_answer(long ret);

/* The wrappers that interpose.c exports under libc's names. */
extern void *const hmmu_interpose_wrappers[HMMU_HOOK_NR];

/* 0, or -errno: fork's handlers are not in. Once per process. */
int hmmu_hooks_fork_init(void);

/* Divert every entry that is not yet; fills in state, written and why. */
void hmmu_hooks_patch(void);

/* Each hook really called; sets state and within by what arrived. */
void hmmu_hooks_selftest(void);

/* Waits until no thread is inside a call that it began before the hooks came. False: one
 * still is, or it cannot be known. */
bool hmmu_hooks_quiesce(void);

/* That was waited for. A forked child has everything to wait for again: its calls were
 * bare until it opens its own. Written by open() and, with one thread, by the child. */
extern bool hmmu_hooks_settled;

/* How many threads the process has; 0 if that cannot be known. */
unsigned int hmmu_hooks_threads(void);

#endif /* HMMU_HOOKS_H */

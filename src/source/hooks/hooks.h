/* SPDX-License-Identifier: MIT */
/*
 * hooks.h - the hooks source, inside.
 *
 *	program, or libc itself
 *	   |  libc's entry, patched (patch.c)     or   the symbol, ours (interpose.c)
 *	   v						  v
 *	hmmu_hook_munmap() ...: which ranges?	(calls.c remap.c brk.c shm.c advise.c file.c)
 *	   |
 *	   v
 *	hmmu_hook_make(): start, the call, end	(change.c)
 *	   |		     |
 *	   |		     +-> the system call, or another library's handler that was
 *	   |			 there before us (chain.c)
 *	   v
 *	hmmu_source_start(), _end(); the same of other copies of this library (copies.c)
 *
 * There is one replacement for each call, entered by either way. It makes the whole
 * system call itself and does not enter libc, so that the two ways cannot add up to
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
#include <sys/uio.h>

#include "atomic.h"
#include "source/hooks/copies.h"
#include "source/source.h"

/*
 * The replacements and the patcher are not instrumented: they run in threads that a
 * sanitizer has already finished with, or not yet begun, and the patcher reads and
 * writes code. HMMU_HOOK goes before each of their functions.
 */
#if defined(HMMU_FUZZ) /* tests/fuzz: parts alone, where nothing is hooked */
#define HMMU_HOOK
#elif defined(__clang__) && __has_attribute(disable_sanitizer_instrumentation)
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

/* The functions that are diverted. With 64-bit off_t the names in ..64 are twins of
 * those without. */
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
	HMMU_HOOK_PROCESS_MADVISE,
	HMMU_HOOK_PKEY_MPROTECT,
	HMMU_HOOK_REMAP_FILE_PAGES,
	HMMU_HOOK_FTRUNCATE,
	HMMU_HOOK_FTRUNCATE64,
	HMMU_HOOK_TRUNCATE,
	HMMU_HOOK_TRUNCATE64,
	HMMU_HOOK_FALLOCATE,
	HMMU_HOOK_FALLOCATE64,
	HMMU_HOOK_NR,
};

enum hmmu_hook_state {
	HMMU_HOOK_NONE = 0,   /* not watched */
	HMMU_HOOK_PATCHED,    /* libc's entry: every caller that enters libc */
	HMMU_HOOK_INTERPOSED, /* the symbol: callers outside libc */
	HMMU_HOOK_ABSENT,     /* this libc has no such function: nobody calls it */
};

/* Code as it was when it was last seen to be right: whole words. n 0: not looked at. */
struct hmmu_hook_site {
	const uint64_t *at;
	unsigned int n;
	uint64_t words[6];
};

struct hmmu_hook_info {
	const char *name;     /* libc's symbol */
	const char *internal; /* the name by which libc calls it itself, or NULL */
	enum hmmu_operation op;
	enum hmmu_hook twin; /* the hook whose entry it shares; itself */
	bool wide;	     /* answers a pointer, not an int */
	bool branches;	     /* its prologue may branch away, to another hook's entry */
	void *replacement;   /* hmmu_hook_*() */
	void *wrapper;	     /* what this library exports as @name */

	/* Written by open() only, which its caller serialises. */
	void *entry;  /* libc's own */
	void *global; /* what the program's calls bind to */
	enum hmmu_hook_state state;
	bool written;		    /* the patch is in */
	struct hmmu_hook_site code; /* the entry up to behind the patch */
	struct hmmu_hook_site own;  /* the wrapper, which others may patch as well */
	bool aliased;		    /* libc calls itself by an address that is not @entry */
	bool within;		    /* libc's own calls arrive too */
	const char *why;	    /* not patched because; NULL when patched */
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
	HMMU_HOOK_PLANT_END_EARLY,    /* end comes before the system call */
	HMMU_HOOK_PLANT_NO_TARGET,    /* mremap forgets the destination */
	HMMU_HOOK_PLANT_NO_WAIT,      /* open does not wait for calls under way */
	HMMU_HOOK_PLANT_NO_DEPTH,     /* fork ends a bracket that is not its own */
	HMMU_HOOK_PLANT_CHILD_ENDS,   /* the child ends its parent's bracket */
	HMMU_HOOK_PLANT_NO_STACK,     /* the trampoline leaves the stack as it is */
	HMMU_HOOK_PLANT_BELIEVES,     /* a patch counts though it does not fire */
	HMMU_HOOK_PLANT_HANDED_EARLY, /* an address is announced before the bracket is closed */
	HMMU_HOOK_PLANT_EOF_NEXT,     /* ftruncate forgets the page that the file ends in */
	HMMU_HOOK_PLANT_FIRST_ONLY,   /* process_madvise: the first range only */
	HMMU_HOOK_PLANT_HOLE_ONLY,    /* COLLAPSE_RANGE as if it were a hole */
	HMMU_HOOK_PLANT_NO_CHAIN,     /* the handler that was there before is forgotten */
	HMMU_HOOK_PLANT_NESTED_TWICE, /* what a handler passes on is taken for a new call */
	HMMU_HOOK_PLANT_INTACT,	      /* nobody ever patches over us */
	HMMU_HOOK_PLANT_NO_FOLLOWERS, /* other copies are not told */
	HMMU_HOOK_PLANT_ANY_VERSION,  /* a copy follows one that it does not understand */
};
#if defined(HMMU_PLANT) || defined(HMMU_SCHED)
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
ssize_t hmmu_hook_process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice,
				  unsigned int flags);
int hmmu_hook_pkey_mprotect(void *addr, size_t len, int prot, int pkey);
int hmmu_hook_remap_file_pages(void *addr, size_t size, int prot, size_t pgoff, int flags);
int hmmu_hook_ftruncate(int fd, long length);
int hmmu_hook_truncate(const char *path, long length);
int hmmu_hook_fallocate(int fd, int mode, long offset, long len);

/* libc's own word for the break. */
void **hmmu_hook_curbrk(void);

/* madvise's advices that take pages away or put something else in their place. */
bool hmmu_advice_changes(int advice);

/*
 * A change that is about to be made: the call, and what it takes away. Ranges that do
 * not fit are merged into one that holds them: larger, never smaller. Without any the
 * call is made bare.
 */
#define HMMU_CHANGE_RANGES 3

struct hmmu_change {
	enum hmmu_hook hook;
	long nr;
	long arg[6];
#ifdef HMMU_DEBUG
	const void *caller;
#endif
	/* Instead of the system call @nr, where libc does more than that; else NULL. */
	long (*bare)(const struct hmmu_change *change);
	unsigned int n;
	struct hmmu_change_range {
		enum mmu_notifier_event event;
		unsigned long start;
		unsigned long end;
	} range[HMMU_CHANGE_RANGES];
};

HMMU_HOOK static inline struct hmmu_change *hmmu_change_init(struct hmmu_change *change,
							     enum hmmu_hook hook, long nr,
							     long a, long b, long c, long d,
							     long e, long f, const void *caller)
{
	(void)caller;
	change->hook = hook;
#ifdef HMMU_DEBUG
	change->caller = caller;
#endif
	change->nr = nr;
	change->arg[0] = a;
	change->arg[1] = b;
	change->arg[2] = c;
	change->arg[3] = d;
	change->arg[4] = e;
	change->arg[5] = f;
	change->bare = NULL;
	change->n = 0;
	return change;
}

#define HMMU_CHANGE_INIT_(change, hook, nr, a, b, c, d, e, f, ...)                           \
	hmmu_change_init((change), (hook), (nr), (long)(a), (long)(b), (long)(c), (long)(d), \
			 (long)(e), (long)(f), __builtin_return_address(0))
/* hmmu_change(&change, hook, nr, up to six arguments) */
#define hmmu_change(...) HMMU_CHANGE_INIT_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* [start, end) is going to change. */
void hmmu_change_add(struct hmmu_change *change, enum mmu_notifier_event event,
		     unsigned long start, unsigned long end);

/* Is it worth finding out what it changes? (Who only adds what the arguments say need not
 * ask.) */
bool hmmu_change_wanted(const struct hmmu_change *change);

/* Brackets and makes it; what the kernel answers. */
long hmmu_hook_make(const struct hmmu_change *change);

/* The same for MADV_REMOVE of [start, end), which @change has already: adds where else its
 * hole in the file shows (file.c). */
long hmmu_hook_make_hole(struct hmmu_change *change, unsigned long start, unsigned long end);

/* The kernel has put something new at [start, end): after the end of the bracket, before
 * the program learns the address. */
void hmmu_hook_handed_out(unsigned long start, unsigned long end);

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

/* Built with TSan: has it finished with this thread (calls.c), or not yet begun with the
 * process (it maps its own memory by our mmap)? Then the notifier, which is instrumented,
 * cannot be entered. */
bool hmmu_hook_thread_gone(void);
extern bool hmmu_hooks_asked; /* open() was called */

HMMU_HOOK static inline bool hmmu_hook_without_tsan(void)
{
	return HMMU_HOOK_TSAN && (!hmmu_hooks_asked || hmmu_hook_thread_gone());
}

/* Is this change to be bracketed? */
HMMU_HOOK static inline bool hmmu_hook_watched(void)
{
	if (hmmu_hook_without_tsan())
		return false;
	/* Pairs with the release in hmmu_copies_serve(). */
	return hmmu_source_watched() || hmmu_load_acquire(&hmmu_copies_n);
}

/* What the kernel answered, as libc gives it to its caller. */
long hmmu_hook_answer(long ret);

/* The wrappers that interpose.c exports under libc's names. */
extern void *const hmmu_interpose_wrappers[HMMU_HOOK_NR];

/* Where they go on: libc's own, or NULL: the replacement. By hook that is a twin. */
extern void *hmmu_interpose_to[HMMU_HOOK_NR];

/* 0, or -errno: fork's handlers are not in. Once per process. */
int hmmu_hooks_fork_init(void);

/* Divert every entry that is not yet; fills in state, written and why. */
void hmmu_hooks_patch(void);

/* Something was refused for want of memory or of a descriptor: the next open() tries again.
 * Written by open(). */
extern bool hmmu_hooks_again;

/* Each hook really called; sets state and within by what arrived. */
void hmmu_hooks_selftest(void);

/*
 * Another library's handler, which was in this entry when ours was put over it (chain.c):
 * what is called instead of the system call. Written by open(), before the jump to us.
 */
extern void *hmmu_hook_foreign[HMMU_HOOK_NR];

/* Is this the call that a foreign handler, called by us in this thread, passes on? Then it
 * is made bare: it is bracketed, and told, already. */
bool hmmu_chain_nested(const struct hmmu_change *change);

/* The call by way of that handler; what the kernel answered. */
long hmmu_chain_call(const struct hmmu_change *change, void *foreign);

/* The library that holds @foreign will not be unloaded. Context: open(). */
void hmmu_chain_pin(const void *foreign);

/*
 * hmmu_hooks_intact() - has nobody patched over us since? Compares a few words of code
 * per call (about 50 loads). Context: any. False: calls may pass unseen; hmmu_hooks_restore().
 * True if the hooks were never opened.
 */
bool hmmu_hooks_intact(void);

/*
 * hmmu_hooks_restore() - what each open() does first: puts our jumps over those that
 * others have put over ours, and chains to them. Context: open(), serialised with it; waits
 * for calls under way. What changed in between was not told: whoever depends on it has to be
 * told that watching was lost (HMMU_PHASE_LOST). 0, or as open().
 */
int hmmu_hooks_restore(void);

/* fork.c, in the child. */
void hmmu_hooks_forked(void);

/* Waits until no thread is inside a call that it began before the hooks came. False: one
 * still is, or it cannot be known. */
bool hmmu_hooks_quiesce(void);

/* That was waited for. A forked child has everything to wait for again: its calls were
 * bare until it opens its own. Written by open() and, with one thread, by the child. */
extern bool hmmu_hooks_settled;

/* How many threads the process has; 0 if that cannot be known. */
unsigned int hmmu_hooks_threads(void);

#endif /* HMMU_HOOKS_H */

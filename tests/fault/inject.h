/* SPDX-License-Identifier: MIT */
/*
 * inject.h - the N-th call of the library fails.
 *
 * What is counted: every system call of the library (arch/syscall.h's hook; the gate of the
 * seccomp source and the two clones of its keeper likewise) and every call of libc's and
 * liburing's that can be refused (wrap.c, by the linker's --wrap). What the application
 * itself asks for while a hook is in place (its own munmap) is counted, too, as "app".
 *
 *	ONCE	the N-th fails
 *	EVER	the N-th and all that follow
 *	KIND	the N-th and all that follow of its kind
 *
 * A call that the manual does not allow to fail (getpid, FUTEX_WAKE) is not counted; nor is
 * one of the program's libc that the library has no part in.
 *
 * The state lies in shared memory: the driver (run.c), the process under test, its forked
 * children and the keeper of the seccomp source count the same calls. The hook uses no
 * thread-local storage, no libc and little stack, for the keeper has none of them.
 */
#ifndef HMMU_TEST_INJECT_H
#define HMMU_TEST_INJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "kinds.h"

enum fault_mode { FAULT_NONE, FAULT_ONCE, FAULT_EVER, FAULT_KIND, FAULT_MODES };

struct fault_plan {
	enum fault_mode mode;
	uint32_t n;	/* 1, 2, ...; 0: only count */
	uint32_t error; /* which of the errnos of its kind */
	uint32_t each;	/* those that it has not are not tried */
};

/* What a run is compared with: the same life without a failure. */
struct fault_normal {
	uint32_t maps, kilobytes; /* that the library holds after it */
	uint32_t cells;		  /* a sum of what describe() says */
};

/* One run; shared. */
struct fault_run {
	struct fault_plan plan;
	struct fault_normal normal, now;
	int plant; /* enum fault_plant */
	uint32_t armed;
	uint32_t counted;
	uint32_t hit;	/* the N-th was reached */
	uint32_t fails; /* how many failed */
	uint32_t kind;	/* whose the N-th was */
	uint64_t site;	/* its address in the program's file */
	int error;
	uint32_t calls[KIND_NR];
	uint32_t in_app; /* the application makes a call of its own */
	uint32_t waits;	 /* somebody waited until the failing was over */
	uint32_t tried;	 /* its kind has fewer errnos: nothing new */
	int32_t pid;
	uint32_t unwatched;
	uint32_t finished;
	char stage[64];
	char skip[160];
	char failure[240];
};

extern struct fault_run *fault; /* NULL: nothing is counted */

/* 0, or -errno: the call at @site is not to be made. */
long fault_call(enum kind kind, const void *site);
/* The same for one that a mode may make succeed in part: *how. */
enum fault_how { HOW_NONE, HOW_SHORT, HOW_AFTER };
long fault_call_how(enum kind kind, const void *site, enum fault_how *how);

/* Counting begins and ends. */
void fault_arm(void);
void fault_disarm(void);
/* Is something to fail still? (A lift: fault_disarm().) */
bool fault_fails(void);
/* CLOCK_MONOTONIC, in @seconds. */
struct timespec fault_deadline(double seconds);
/* Has something failed? */
bool fault_failed(void);

/* Takes the library's hook, and reads the program's symbols. */
void fault_init(struct fault_run *run);

/* What the library has mapped and not unmapped, but for pages of trampolines, which are never
 * given back. */
void fault_maps(uint32_t *n, uint32_t *kilobytes);
/* Threads that it created and neither joined nor detached. */
int fault_threads(void);
void fault_thread_created(void);
void fault_thread_gone(void);

/* sites.c */
void sites_read(void);
/* "file:function+offset" of an address of the program's file */
void site_name(uint64_t site, char *name, unsigned int size);
uint64_t site_of(const void *address);
bool site_is_app(uint64_t site);

#endif /* HMMU_TEST_INJECT_H */

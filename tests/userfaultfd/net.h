/* SPDX-License-Identifier: MIT */
/*
 * net.h - what the tests of the userfaultfd source share.
 *
 *	isolated	each test is a process of its own: the parent never opens an mm, so
 *			a child starts with nothing; one that hangs is ended by SIGALRM
 *	raw_...()	system calls that no hook sees
 *	hold		stops a thread of the source at a gate: net_reached() waits until
 *			it is there, net_release() lets it go on. One at a time for each
 *			gate; the range's start chooses the event (0: any)
 */
#ifndef HMMU_TEST_NET_H
#define HMMU_TEST_NET_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <hmmu/mmu_notifier.h>

#include "arch/syscall.h"
#include "instance.h"
#include "notifier/notifier.h"
#include "source/userfaultfd/userfaultfd.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define NET_SLOW 8
#else
#define NET_SLOW 1
#endif

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define ALONE HMMU_SOURCE_USERFAULTFD
#define BOTH (HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD)

#define must(cond)                                           \
	do {                                                 \
		if (!(cond))                                 \
			net_fail(__FILE__, __LINE__, #cond); \
	} while (0)
_Noreturn void net_fail(const char *file, int line, const char *what);

/* Runs @body in a child; fails, by cmocka, if it did not exit with 0 in @seconds, or in
 * HMMU_NET_SECONDS: for who expects it to hang. */
void net_isolated(void (*body)(void), unsigned int seconds);
#define ISOLATED_FOR(name, seconds)                   \
	static void name##_body(void);                \
	static void name(void **state)                \
	{                                             \
		(void)state;                          \
		net_isolated(name##_body, (seconds)); \
	}                                             \
	static void name##_body(void)
#define ISOLATED(name) ISOLATED_FOR(name, 20)
/* The same test for either combination of sources. */
#define ISOLATED_BOTH(name)                            \
	static void name##_with(unsigned int sources); \
	ISOLATED(name##_alone)                         \
	{                                              \
		name##_with(ALONE);                    \
	}                                              \
	ISOLATED(name##_both)                          \
	{                                              \
		name##_with(BOTH);                     \
	}                                              \
	static void name##_with(unsigned int sources)

/* First in main(): HMMU_UFFD_PLANT, a number of enum hmmu_uffd_plant, switches a bug on;
 * an argument is a pattern of the tests to be run. */
void net_init(int argc, char **argv);

/* ---- raw calls --------------------------------------------------------- */

char *raw_map(size_t pages); /* private anonymous, each page begun with 'a' */
char *raw_mmap(void *addr, size_t len, int prot, int flags, int fd, long offset);
int raw_munmap(void *p, size_t len);
int raw_madvise(void *p, size_t len, int advice);
char *raw_mremap(void *p, size_t old_len, size_t new_len, int flags, void *to);
pid_t raw_fork(void); /* no handler of libc's runs; the child only makes system calls */

/* ---- a subscription that counts ---------------------------------------- */

struct watch {
	struct mmu_interval_notifier sub;
	pthread_mutex_t lock; /* the driver's */
	uint32_t calls;
	uint32_t lost; /* of those, with phase LOST */
	unsigned long seen_start, seen_end;
	enum hmmu_phase phase;
	void (*hook)(struct watch *w, const struct mmu_notifier_range *range);
	void *arg;
	bool no_lock; /* the callback does not want the driver's lock */
};

struct mm_struct *net_open(unsigned int sources);
struct mm_struct *net_open_flags(unsigned int sources, unsigned int flags);
void net_close(struct mm_struct *mm);
void watch_add(struct watch *w, struct mm_struct *mm, const void *p, size_t len);
void watch_remove(struct watch *w);
/* Waits; the sequence of an armed subscription. */
unsigned long watch_begin(struct watch *w);
/* hmmu_read_begin() that may not sleep. */
int watch_poll(struct watch *w);
bool watch_retry(struct watch *w, unsigned long seq);
bool watch_ok(struct watch *w, unsigned long seq);
uint32_t watch_calls(struct watch *w);

/* All that was read has been dispatched, and no removal is open. */
void net_quiet(void);
uint64_t net_marked(void);

/* ---- gates ------------------------------------------------------------- */

void net_hold(enum hmmu_uffd_gate gate, const void *start);
void net_reached(enum hmmu_uffd_gate gate);
void net_release(enum hmmu_uffd_gate gate);

/* ---- threads ----------------------------------------------------------- */

struct runner {
	pthread_t thread;
	void (*fn)(void *arg);
	void *arg;
	int tid;
	uint32_t done;
};
void runner_start(struct runner *r, void (*fn)(void *arg), void *arg);
/* Blocked in the kernel: seen asleep several times in a row. False: it has returned. */
bool runner_blocked(struct runner *r);
bool runner_done(struct runner *r);
/* Has not returned, after as many looks: one that waits by asking again and again. */
bool runner_pending(struct runner *r);
void runner_join(struct runner *r);

/* What a thread is to do: arguments of the raw calls above. */
struct change {
	enum { DO_MUNMAP, DO_MADVISE, DO_FIXED, DO_MREMAP, DO_LIBC_MMAP } what;
	char *p;
	size_t len;
	int advice;
	char *to;
	char *result;
	int ret;
};
void change_run(void *change);

/* Where the kernel puts nothing by itself: a hole stays one. */
#define net_place(page) ((char *)(0x100000000000UL + (unsigned long)(page)*PAGE))

/* The number of entries of /proc/self/@dir. */
unsigned int net_count(const char *dir);

#endif /* HMMU_TEST_NET_H */

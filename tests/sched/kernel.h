/* SPDX-License-Identifier: MIT */
/*
 * kernel.h - a modelled kernel for schedules of the real code: an address space of a few
 * pages, and one userfaultfd. Every system call of the library comes here
 * (hmmu_syscall_hook); the program's are made by hmmu_syscall(), too (raw), or by the hooks'
 * replacements. What another thread could observe in between is a point of the schedule.
 *
 * PAGES. A page belongs to a mapping (0: none) and has contents: a number that is never
 * used twice, 0 while nothing is there. An access of a page without contents is a fault: it
 * waits for the map lock and puts new contents there. What an address translates to is the
 * number. It is stale when the contents have gone and the call that made them go has
 * returned to its caller (kernel_returned()), as have those before it. Where the source
 * promises more (not "reuse open", source.h) it is stale also when any call has returned that
 * has found the address changed, by whomever: an mmap that got it.
 *
 * EVENTS, as Linux 6.7 to 6.18 (fs/userfaultfd.c) has them:
 *
 *	changing	how many changes are untold. Up under the map lock, before the
 *			change; down by the caller, when it has been woken by the read of
 *			its event and runs again: later
 *	UNMAP		queued when the pages are gone and the lock is dropped
 *	REMAP		likewise; an UNMAP of the old place follows, counted from the start
 *	REMOVE		queued before the pages go, lock dropped; they go after the read
 *	ioctls		write protection answers -EAGAIN while `changing` is not 0, before
 *			it looks at its arguments. (Un)registering does not ask.
 *
 * Registration is per mapping; of a part it splits it. An mremap of two mappings answers
 * -EFAULT. The list of mappings (/proc/self/maps) is read without the map lock: while one is
 * replaced it shows a hole. PAGEMAP_SCAN takes the lock.
 *
 * Not modelled: memory that is shared or of a file, faults, more than one userfaultfd, fork's
 * event, neighbours that merge.
 */
#ifndef TESTS_SCHED_KERNEL_H
#define TESTS_SCHED_KERNEL_H

#include <signal.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "lock.h"
#include "scheduler.h"
#include "source/userfaultfd/userfaultfd.h"

#define KERNEL_PAGES 9 /* the last one is the source's stop page */
#define KERNEL_STOP (KERNEL_PAGES - 1)
#define KERNEL_BASE 0x10000000UL
#define KERNEL_ADDR(page) (KERNEL_BASE + (page)*UFFD_PAGE)
#define KERNEL_FD 1000 /* the userfaultfd's number */
#define KERNEL_ZAPS 32 /* changes of a page in a run */
#define KERNEL_TASKS (SCHED_MAX_THREADS + 1)

/* The threads of the source, by their place in sched_program.threads. */
enum { KERNEL_READER, KERNEL_DISPATCHER, KERNEL_CENSUS, KERNEL_OURS };

struct kernel_page {
	uint32_t mapping;
	bool registered;
	uint64_t contents;
	uint64_t floor; /* below: stale */
	uint32_t holes; /* how often it became unmapped, seen under the lock */
	unsigned int nzaps;
	struct {
		uint64_t now; /* contents below it went here */
		unsigned int task;
		bool returned;
	} zap[KERNEL_ZAPS];
};

/* On the stack of who waits for it to be read. */
struct kernel_event {
	uint32_t unread; /* futex */
	struct uffd_msg msg;
	struct kernel_event *next;
};

enum kernel_number { NUMBER_CLOSED, NUMBER_UFFD, NUMBER_PIPE };

struct kernel_task {
	bool gone;
	bool asleep;	/* in the kernel */
	bool bracketed; /* by hooks: its changes find no shadow */
	bool vforked;	/* runs as a vfork child: another process, another table */
	long call;	/* the change that it is inside of; 0: none */
	uint64_t changed[KERNEL_PAGES]; /* contents below are known to be gone */
	unsigned int asked;
	siginfo_t question[4];
};

struct kernel {
	struct hmmu_lock map_lock;
	struct kernel_page page[KERNEL_PAGES];
	uint64_t last_contents;
	uint32_t last_mapping;

	/* The userfaultfd. */
	bool exists;
	uint32_t released; /* its last copy was closed */
	uint64_t changing;
	struct kernel_event *queue; /* oldest first */
	uint32_t wake;		    /* futex: something was queued */
	int mark;
	/* What KERNEL_FD is: in the program's table, in the reader's, in a vfork child's. */
	enum kernel_number table[3];
	bool unshared;
	uint32_t polled;      /* the reader has started */
	bool child_holds;     /* a forked child has a copy, and never closes it */
	unsigned int told[3]; /* how many UNMAP, REMAP, REMOVE were read */

	struct kernel_task task[KERNEL_TASKS];
	/* @page's contents are about to go. */
	void (*changes)(unsigned int page);
};

extern struct kernel kernel;

/* Any other thread may run before what follows, which is of the model's state. */
static inline void kernel_point(void)
{
	hmmu_sched_point(&kernel, true);
}

/* Everything new; @tasks threads that may be inside the kernel. */
void kernel_reset(unsigned int tasks);
/* Without a schedule: a mapping of pages [first, first + n). */
void kernel_map(unsigned int first, unsigned int n);
struct kernel_task *kernel_self(void);
int kernel_table(void);

/* A caller that takes its time, where that lengthens a window: now and then. @asleep: it
 * sleeps inside the call meanwhile, as for a page of a file. */
void kernel_linger(bool asleep);

/* Locks of the model and of the program: debug builds would report a deadlock before it is
 * one, and here the schedule is to find it. */
static inline void kernel_lock(struct hmmu_lock *lock)
{
	(hmmu_lock)(lock);
}

static inline void kernel_unlock(struct hmmu_lock *lock)
{
	(hmmu_unlock)(lock);
}

/* What @page translates to for who reads it now; 0: nothing is mapped. */
uint64_t kernel_read(unsigned int page);
/* The changes that this thread has made are known to be over. @exact: and all before them
 * of the same pages. */
void kernel_returned(bool exact);
/* May nobody use it who asks from now on? */
bool kernel_stale(unsigned int page, uint64_t contents);
/* This thread ends. */
void kernel_exit(void);
/* Closes the program's copy and opens a pipe with bytes in it, which gets its number. */
void kernel_take_number(void);
/* Nothing is registered, queued, counted or open. */
void kernel_assert_quiet(void);

/* kernel_calls.c: every system call; the hook. */
long kernel_call(long nr, const long args[6]);
/* kernel.c: those that change the address space. -ENOSYS: this is another. */
long kernel_change(long nr, const long args[6]);
/* kernel_event.c */
void kernel_tell(struct kernel_event *event, unsigned int kind, uint64_t a, uint64_t b,
		 uint64_t c);
void kernel_tell_prepare(void);
long kernel_poll(void);
long kernel_read_events(struct uffd_msg *msg, size_t size);
void kernel_release(void);
long kernel_ioctl(unsigned long request, void *arg);
/* kernel_proc.c: files of /proc by numbers above KERNEL_FD; -ENOSYS: not one of those. */
long kernel_proc(long nr, const long args[6]);
void kernel_proc_reset(void);

/* Which pages; false: they are not the model's. */
bool kernel_range(unsigned long addr, unsigned long len, unsigned int *first, unsigned int *n);
/* With the map lock: @page begins a mapping. */
void kernel_split(unsigned int page);

#endif /* TESTS_SCHED_KERNEL_H */

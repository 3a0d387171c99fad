/* SPDX-License-Identifier: MIT */
/*
 * net.h - a world for schedules of the userfaultfd source over the modelled kernel. Threads
 * 0 to 2 of each program are the source's own (pthread_create() is wrapped: who creates
 * one of them gives its function to the thread that stands ready); the others are the
 * program's. The last of these that ends takes everything down, in the schedule.
 *
 * What every scenario asserts:
 *
 *   G1	by return: an access, or an install, that begins when a change is known to be over
 *	(kernel.h: the floor) uses nothing that was there before. Bracketed changes, by
 *	hooks: at the moment of the change no shadow holds anything of it.
 *   G3	no callback of a subscription that remove() has returned from
 *   G4	everything ends. Readers go on when all changes are over; afterwards no mm is
 *	undecided, no removal is open, nothing is registered, nobody waits in the kernel
 *   	-ENODEV only where there was a hole, or the source was lost
 */
#ifndef TESTS_SCHED_NET_H
#define TESTS_SCHED_NET_H

#include "instance.h"
#include "kernel.h"
#include "notifier/notifier.h"

#define NET_DRIVERS 3
#define ALONE HMMU_SOURCE_USERFAULTFD
#define HOOKED HMMU_SOURCE_HOOKS
#define BOTH (HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD)

struct net_driver {
	struct mmu_interval_notifier sub;
	struct hmmu_lock lock;
	uint64_t shadow; /* lock; 0: nothing */
	unsigned long seq;
	unsigned int page;
	uint32_t removed; /* remove() has returned */
	uint32_t called;
	uint32_t lost; /* calls with phase LOST */
	bool inserted;
	bool unread;				/* also at the end */
	bool no_lock;				/* the callback takes none */
	void (*callback)(struct net_driver *d); /* more for it to do, or NULL */
};

/* What a reader got, its own copy. */
struct net_got {
	struct net_driver *d;
	uint64_t contents; /* 0: nothing to use */
	unsigned long seq;
};

struct net {
	struct mm_struct *mm;
	struct net_driver driver[NET_DRIVERS];
	bool may_be_lost;
	bool closed;   /* by a thread of the scenario */
	uint32_t left; /* threads of the program's */
	uint32_t over; /* the source's may leave: futex */
};
extern struct net net;

/* setup: page 0 to 3 are mapped as @layout says: a letter for each mapping, '.' for none. */
void net_open(unsigned int sources, const char *layout, unsigned int threads);
void net_enter(int index); /* program.enter */
void net_check(void);	   /* program.check */

/* program.threads: three of the source's, then net_program with its function as argument. */
void net_reader(void *arg);
void net_dispatcher(void *arg);
void net_census(void *arg);
void net_program(void *arg);
#define NET_THREADS net_reader, net_dispatcher, net_census
#define NET_NAMES "reader", "dispatcher", "census"
/* A thread that the end does not wait for: instead of net_program. */
void net_bystander(void *arg);

void net_insert(unsigned int i, unsigned int page);
/* A second mm, while the program runs. */
void net_insert_in(struct mm_struct *mm, unsigned int i, unsigned int page);
struct mm_struct *net_open_another(unsigned int sources);
void net_remove(unsigned int i);

/* The reader's loop, once. False: not watched; or nothing is there. */
bool net_load(unsigned int i, struct net_got *got);
/* Is it good still? Then uses it, and asserts G1. */
bool net_access(const struct net_got *got);
/* What a device finds in driver @i's shadow. */
void net_device(unsigned int i);

/* Changes of [first, first + n); 0 or -errno. raw: no hook sees it. */
enum net_way { RAW, BY_HOOK };
long net_munmap(enum net_way way, unsigned int first, unsigned int n);
long net_replace(enum net_way way, unsigned int first, unsigned int n); /* MAP_FIXED */
long net_mmap(enum net_way way, unsigned int first, unsigned int n);
long net_dontneed(enum net_way way, unsigned int first, unsigned int n);
long net_mremap(enum net_way way, unsigned int from, unsigned int n, unsigned int to,
		bool keep);

/* All drivers off, the mm closed; of the last thread, or of a scenario's. */
void net_close(void);

#endif /* TESTS_SCHED_NET_H */

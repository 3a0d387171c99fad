/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * hmmu_oracle.h - between the kernel module and the player: /dev/hmmu_oracle.
 *
 * One open file is one session. BIND ties it to the mm of the process that calls; the log
 * is read(2) by whoever holds the file, also after that process is gone (exit).
 */
#ifndef HMMU_ORACLE_H
#define HMMU_ORACLE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define ORACLE_DEVICE "hmmu_oracle"
#define ORACLE_SUBS 32

/* @id: the subscription, below ORACLE_SUBS. */
struct oracle_sub {
	__u64 id;
	__u64 start; /* INSERT */
	__u64 length;
	__u64 seq; /* BEGIN: out; RETRY: in */
};

/*
 * Linux's hmm_range_fault() of @pages pages from @start. @flags: its default_flags; all of its
 * flags are hmmu's. Answers 0 or its error. It has a subscription of its own.
 */
struct oracle_hmm {
	__u64 start;
	__u64 pages;
	__u64 flags;
	__u64 pfns; /* where the answers go */
};
#define ORACLE_HMM_PAGES (1U << 19)

enum oracle_what {
	ORACLE_CALL,  /* an interval notifier's invalidate */
	ORACLE_START, /* the whole-mm notifier's; after the calls of the same range */
	ORACLE_END,
	ORACLE_RELEASE, /* the whole-mm notifier's: the mm goes */
};

#define ORACLE_OWN 1	   /* in a thread of the bound mm */
#define ORACLE_BLOCKABLE 2 /* the callback may sleep */

/* What read(2) gives, whole ones only; nothing new: 0. */
struct oracle_event {
	__u32 what;  /* enum oracle_what */
	__u32 id;    /* CALL */
	__u32 event; /* enum mmu_notifier_event */
	__u32 flags;
	__u64 start; /* of the invalidation, not clipped */
	__u64 end;
	__u64 seq; /* CALL: cur_seq */
};

#define ORACLE_BIND _IO('h', 0x60)
#define ORACLE_INSERT _IOW('h', 0x61, struct oracle_sub)
#define ORACLE_REMOVE _IOW('h', 0x62, struct oracle_sub)
#define ORACLE_BEGIN _IOWR('h', 0x63, struct oracle_sub)
/* Answers 0 or 1. */
#define ORACLE_RETRY _IOW('h', 0x64, struct oracle_sub)
/* How many events did not fit into the log: 0, or the log is of no use. */
#define ORACLE_DROPPED _IO('h', 0x65)
/* The next call of the subscription waits in its callback until OPEN (5 s at most). */
#define ORACLE_HOLD _IOW('h', 0x66, struct oracle_sub)
/* Is it held? 0 or 1. */
#define ORACLE_HELD _IO('h', 0x67)
#define ORACLE_OPEN _IO('h', 0x68)
/* -EOPNOTSUPP: a kernel without HMM. */
#define ORACLE_HMM _IOW('h', 0x69, struct oracle_hmm)

#endif /* HMMU_ORACLE_H */

/* SPDX-License-Identifier: MIT */
/*
 * layout.h - the memory that `hmmu watch` shares with the programs it watches.
 *
 * One memfd, made by the watcher, found by the module under /proc/WATCHER/fd/N (the
 * environment says which), mapped, and its descriptor closed again:
 *
 *	header			magic, sizes, one slot per region
 *	region 0 .. NR - 1	one per watched process; taken by compare-and-swap
 *
 * A region holds two rings. Many threads of one process write, the watcher alone reads.
 *
 *	writer				watcher
 *	head: reserve		[cas]	commit == index + 1?	[acquire]
 *	fill				read
 *	commit = index + 1	[release]	tail = index + 1	[release]
 *
 *	events	64 bytes each, one per invalidation
 *	blobs	variable: copies of stacks, /proc/self/maps
 *
 * A full ring drops and counts; nobody waits for the watcher. The module makes no
 * system call for any of it once main() runs: a program may have forbidden them to itself.
 *
 * The programs can write here: the watcher believes no index, size or count that it reads.
 */
#ifndef HMMU_WATCH_LAYOUT_H
#define HMMU_WATCH_LAYOUT_H

#include <stdint.h>

#define WATCH_MAGIC UINT64_C(0x31686374617748) /* "Hwatch1" */
#define WATCH_ENV "HMMU_WATCH"
#define WATCH_SLOTS 256u
#define WATCH_STACKS 16384u	 /* distinct ones per process; a power of two */
#define WATCH_RANGES 512u	 /* of code, per process */
#define WATCH_BLOOM 4096u	 /* bits */
#define WATCH_WINDOW (64u << 10) /* the most that is copied of a stack */
#define WATCH_MAPS (256u << 10)	 /* the most of /proc/self/maps */
#define WATCH_BLOBS (4u << 20)	 /* bytes of the blob ring */
#define WATCH_HEADER_SIZE (16u << 10)

/* What was called. The order is that of the reports, the values are the record
 * format's (docs/record-format.md). */
enum watch_op {
	WATCH_OP_MUNMAP = 0,
	WATCH_OP_MMAP, /* MAP_FIXED over something */
	WATCH_OP_MREMAP,
	WATCH_OP_DONTNEED,
	WATCH_OP_FREE,
	WATCH_OP_REMOVE,
	WATCH_OP_MADVISE, /* any other advice: detail */
	WATCH_OP_BRK,
	WATCH_OP_MPROTECT,
	WATCH_OP_SHMDT,
	WATCH_OP_SHMAT,
	WATCH_OP_FORK,
	WATCH_OP_FTRUNCATE,
	WATCH_OP_FALLOCATE,
	WATCH_OP_OTHER, /* told by the library, not by a call that is known here */
	WATCH_OP_NR,
};

enum watch_flag {
	WATCH_SECOND = 1 << 0,	/* another range of the call before: mremap's destination */
	WATCH_CUT = 1 << 1,	/* the stack was longer than what was copied */
	WATCH_CREATES = 1 << 2, /* no invalidation: a mapping was made there */
	WATCH_FAILED = 1 << 3,	/* the call failed */
	WATCH_LOST = 1 << 4,	/* by a signal handler inside the library; range not known */
	WATCH_ALL = 1 << 5,	/* the whole address space, or up to its top */
	WATCH_FLAGS = (1 << 6) - 1,
};

struct watch_event {
	uint64_t commit; /* index + 1: the rest is whole */
	uint64_t tsc;	 /* when the call began */
	uint64_t start;
	uint64_t end;
	uint64_t caller; /* return address of the call */
	uint32_t stack;	 /* 1 + place in seen[]; 0: was not copied */
	uint32_t tid;
	uint32_t detail; /* advice, protection, flags; fork: 0 */
	uint32_t call_tsc;
	uint32_t hook_tsc; /* all but the system call itself */
	uint8_t op;
	uint8_t flags;
	uint16_t reserved;
};
_Static_assert(sizeof(struct watch_event) == 64, "watch_event");

enum watch_blob_kind {
	WATCH_BLOB_PAD = 0,
	WATCH_BLOB_STACK, /* struct watch_regs, then the stack from rsp on */
	WATCH_BLOB_MAPS,  /* the text */
};

#define WATCH_BLOB_ALIGN 64u
struct watch_blob {
	uint64_t commit; /* place + 1: the rest is whole */
	uint32_t size;	 /* with this header, rounded: the next one is there */
	uint32_t used;	 /* bytes of payload */
	uint32_t kind;
	uint32_t stack; /* as in watch_event */
	uint64_t reserved;
};

/* x86-64's callee-saved registers, inside the module, one frame below the call. */
struct watch_regs {
	uint64_t rip, rsp, rbp, rbx, r12, r13, r14, r15;
};

enum watch_how {
	WATCH_STARTED = 0, /* by exec */
	WATCH_FORKED,
};

/* Where code is: written by the module at the start, afterwards by the watcher, which
 * looks from outside. Two of them, turned by region->active. */
struct watch_code {
	uint64_t bloom[WATCH_BLOOM / 64]; /* 2 MiB pieces that hold code */
	uint32_t n;
	uint32_t reserved;
	uint64_t range[WATCH_RANGES][2]; /* sorted: first byte, one past the last */
};

struct watch_region {
	/* Written before the slot turns LIVE. */
	uint32_t pid, ppid;
	uint32_t how;	 /* enum watch_how */
	int32_t error;	 /* hmmu_mm_open()'s: nothing is watched */
	uint64_t born;	 /* tsc */
	uint64_t setup;	 /* tsc it took */
	uint32_t parent; /* FORKED: the parent's slot; its maps are this one's */
	uint32_t depth;	 /* reserved, 0 */
	char comm[16];
	char args[256]; /* separated by 0 */
	char exe[256];	/* as /proc/self/exe has it */

	uint64_t head __attribute__((aligned(64))); /* events: writers */
	uint64_t dropped;			    /* events that found the ring full */
	uint64_t blob_head;
	uint64_t blobs_dropped; /* stacks that were not copied: their ring was full */
	uint64_t stacks_full;	/* the same: more than WATCH_STACKS */
	uint64_t no_bounds;	/* stacks whose end is not known: at most a page copied */
	uint64_t tail __attribute__((aligned(64))); /* the watcher */
	uint64_t blob_tail;
	uint32_t active; /* which code[] */

	uint64_t seen[WATCH_STACKS] __attribute__((aligned(64))); /* hashes; 0 free */
	struct watch_code code[2];
	/* struct watch_event events[header.events]; then WATCH_BLOBS bytes */
};

enum watch_slot_state {
	WATCH_SLOT_FREE = 0,
	WATCH_SLOT_CLAIMED, /* pid is set */
	WATCH_SLOT_LIVE,
};

struct watch_slot {
	uint32_t state;
	uint32_t pid;
};

struct watch_header {
	uint64_t magic;
	uint32_t events; /* per region; a power of two */
	uint32_t window; /* bytes copied of a stack at most; 0: no stacks */
	uint64_t region_size;
	uint32_t creates; /* tell of mappings that are made, too */
	uint32_t missed;  /* processes that found no free slot */
	struct watch_slot slot[WATCH_SLOTS];
};
_Static_assert(sizeof(struct watch_header) <= WATCH_HEADER_SIZE, "watch_header");

static inline uint64_t watch_events_offset(void)
{
	return (sizeof(struct watch_region) + 4095) & ~UINT64_C(4095);
}

static inline uint64_t watch_blobs_offset(uint32_t events)
{
	return (watch_events_offset() + events * sizeof(struct watch_event) + 4095) &
	       ~UINT64_C(4095);
}

static inline uint64_t watch_region_size(uint32_t events)
{
	return watch_blobs_offset(events) + WATCH_BLOBS;
}

static inline uint64_t watch_region_offset(uint64_t size, uint32_t slot)
{
	return WATCH_HEADER_SIZE + size * slot;
}

#if defined(__x86_64__)
static inline uint64_t watch_now(void)
{
	return __builtin_ia32_rdtsc();
}
#else
#include <time.h>
static inline uint64_t watch_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
#endif

#endif /* HMMU_WATCH_LAYOUT_H */

/* SPDX-License-Identifier: MIT */
/*
 * torture.h - `hmmu torture`: real memory changes under a real device, and every
 * byte that the device sees is judged.
 *
 *	mutators  change memory: one of 10 operations on one of 4 kinds of memory.
 *		  A pair is a cell, with a region of PAGES pages of its own.
 *	devices   access the regions through the io_uring mirror, one mirror per
 *		  device and column.
 *	columns   three coherence policies, run in turn, slice by slice, on the same
 *		  regions with the same mutators:
 *		  unprotected	no invalidation is heard
 *		  start-only	the sequence moves only at start (HMM's old bug)
 *		  hmmu		the library
 *
 * The first two are planted bugs: a run in which they show nothing has proved
 * nothing, and says so.
 *
 * THE JUDGE
 *
 *   A page carries two 64-byte records, in its first and its last line: generation,
 *   region, page, checksum. Per page the mutator publishes a word, as a seqlock's
 *   writer would:
 *
 *	pub == 2g	generation g is there, whole, and nothing else
 *	pub == 2g + 1	the change from g to g + 1 is going on
 *
 *	mutator				device
 *	pub = 2g + 1
 *	(start) change (end)		before = pub
 *	store the records of g + 1	submit ... complete; look at the bytes
 *	pub = 2g + 2			after = pub
 *
 *   Current at some instant of the access were: every generation from before / 2
 *   to (after + 1) / 2, and, if a change overlapped (before odd, or after another),
 *   what the cell shows in between (cells.c has the table: zeros, the file's
 *   content, nothing else), records half stored, and, where the address is unmapped
 *   for a moment, whatever else the process maps there (a sanitizer's runtime does),
 *   unless it is a record. Everything else is stale. With before == after == 2g
 *   exactly one content is legal.
 *
 *   "Access" begins at submission, after look-up and pinning, so that a pause in
 *   between (below) does not widen what is legal. All stores to and loads of pub
 *   are seq_cst: they are ordered with the system calls around them by being made
 *   in the same thread, and with each other by their total order.
 *
 *   A device's write: eight bytes with a value never used before go through the
 *   pinned page; then process_vm_readv(), which sees what a CPU sees, must find
 *   them, if pub was even and the same before the submission and after that read.
 *
 * THE WINDOW (meet.c)
 *
 *   Staleness needs a reader that has read (pinned) and not yet installed while
 *   the memory changes. It is not left to luck: a mutator lures a device thread to
 *   the page and waits for it, boundedly; the reader pauses there until the change
 *   has passed, boundedly.
 */
#ifndef HMMU_TORTURE_H
#define HMMU_TORTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mirror.h"

#define PAGES 8u     /* of a region */
#define VERSIONS 16u /* parts of a memfd: > PAGES, so one is always unused */
#define LINE 64u
#define MAX_DEVICES 64u
#define MAX_MUTATORS 2u
#define BATCH 32u

enum column { COL_UNPROTECTED, COL_START_ONLY, COL_HMMU, NR_COLUMNS };

enum op {
	OP_MUNMAP,
	OP_MAP_FIXED,
	OP_MREMAP,
	OP_MREMAP_FIXED,
	OP_DONTNEED,
	OP_MADV_FREE,
	OP_REMOVE,
	OP_BRK,
	OP_FORK,
	OP_FREE,
	NR_OPS
};

enum memory { MEM_ANON, MEM_SHARED, MEM_MEMFD, MEM_FILE, NR_MEMORIES };

enum between { BETWEEN_NOTHING, BETWEEN_ZEROS, BETWEEN_FILE };

#define MAX_REGIONS (NR_OPS * NR_MEMORIES)

enum disturb { DISTURB_SIGNALS, DISTURB_FORKS, NR_DISTURB };

/* What a cell can do; cells.c is the table. */
struct cell {
	bool runs;	      /* the operation exists for this memory */
	bool shows;	      /* a stale access is possible: the planted bugs must show */
	enum between between; /* legal during the change, beside g and g + 1 */
	bool hole;	      /* the address is nobody's for a moment: what is there then */
	bool stores;	      /* g + 1 is stored in place: half stored is legal too */
	char note;	      /* why it does not run or show; 0: it does */
};

/* Who makes a change: libc's function, which hooks see, or a bare system call. */
enum callers { CALLERS_AUTO, CALLERS_LIBC, CALLERS_RAW, CALLERS_MIXED };

struct options {
	enum callers callers; /* AUTO: what the source claims */
	double seconds;
	unsigned int threads;
	uint64_t seed;
	unsigned int source; /* HMMU_SOURCE_* */
	bool explicit_source;
	bool ops[NR_OPS];
	bool memories[NR_MEMORIES];
	bool disturb[NR_DISTURB];
	const char *replay; /* a recording's path, or NULL */
	bool json;
	bool cache; /* cache.h */
};

struct region {
	unsigned int id;
	enum op op;
	enum memory memory;
	const struct cell *cell;
	unsigned char *base;	     /* constant: the address is what stays */
	int fd;			     /* memfd or file; -1 */
	void *block;		     /* OP_FREE: what malloc returned */
	unsigned int version[PAGES]; /* the mutator's: part of the memfd mapped */
	bool dead; /* the mutator's: cannot go on: REGION_DEAD, said at the end */
	_Atomic uint64_t pub[PAGES];
	_Atomic uint32_t guard, guarded; /* cache_disturb.c */
	/* The mutator's counts, by column. */
	uint64_t changes[NR_COLUMNS];
	uint64_t met[NR_COLUMNS]; /* changes passed while a reader was in the window */
};

/* jemalloc, AddressSanitizer: brk or the block's address is somebody else's now. */
#define REGION_DEAD "stopped early: the allocator took the address"

/* A record fills one line. Generation 0 is a file's content as it was made. */
struct record {
	uint64_t magic;
	uint64_t generation;
	uint64_t where; /* region << 32 | page */
	uint64_t seed;
	uint64_t zero[3];
	uint64_t sum;
};

enum verdict { LEGAL, STALE };

struct counts {
	uint64_t reads, writes; /* completed and accepted */
	uint64_t repeated;	/* reads that were discarded, and done again */
	uint64_t undecided;	/* writes with a change in between: not judged */
	uint64_t stale_reads, stale_writes;
	uint64_t timeouts;
	uint64_t no_memory; /* refused: RLIMIT_MEMLOCK */
	uint64_t wrong;	    /* refused although mapped, or failed: must be 0 */
	uint64_t stale_cell[MAX_REGIONS];
	struct uring_mirror_stats mirror;
};

struct torture;

struct device {
	struct torture *t;
	unsigned int id;
	pthread_t thread;
	uint64_t rng, value;
	struct uring_mirror *mirror[NR_COLUMNS];
	struct uring_window *window[MAX_REGIONS];
	struct counts counts[NR_COLUMNS];
	/* Reads that were discarded, to be done again: region << 8 | page. */
	uint32_t again[BATCH];
	unsigned int nr_again;

	/* meet.c: what a mutator wants of this device, and how far it is. */
	_Atomic uint32_t lure, seen;
	_Atomic uint32_t begins; /* region + 1, while hmmu waits for an end */
	struct getter *getter;	 /* --cache */
};

struct mutator {
	struct torture *t;
	unsigned int id;
	pthread_t thread;
	uint64_t rng;
	enum column column; /* of this slice */
};

struct torture {
	struct options options;
	struct mm_struct *mm;
	struct mm_struct *deaf; /* nobody tells it anything: policy.c */
	bool net;		/* userfaultfd is among the sources */
	struct region *regions;
	unsigned int nr_regions;
	unsigned int nr_devices, nr_mutators;
	struct device *devices;
	struct mutator mutators[MAX_MUTATORS];
	struct replay *replay;	     /* NULL: the mutators choose */
	struct cache_torture *cache; /* --cache, else NULL */
	pthread_t disturber[NR_DISTURB];
	bool disturbs[NR_DISTURB]; /* that one runs */
	_Atomic bool calm;	   /* the disturbers end */
	_Atomic uint64_t signals, forks;
	/* Held from taking an address away to having it back, and by whoever
	 * would let the kernel choose one meanwhile. Mutators only; never by a
	 * device, so a callback may wait for a device under it. */
	pthread_mutex_t hole;
	pthread_barrier_t barrier;
	enum column column; /* written between the barriers */
	bool quit;	    /* the same */
	_Atomic bool stop;
	_Atomic(const char *) fatal; /* the first that went wrong; static text */
	_Atomic int fatal_error;
	double seconds[NR_COLUMNS];
	bool crowded;	 /* constant: more devices than processors */
	double patience; /* seconds; constant: how long one waits for another's turn */
	/* The first stale access of the hmmu column, for the report. */
	pthread_mutex_t first_lock;
	char first[256];
};

/* cells.c */
extern const char *const op_names[NR_OPS], *const memory_names[NR_MEMORIES];
extern const char *const disturb_names[NR_DISTURB];
extern const char *const column_names[NR_COLUMNS];
extern const struct cell cells[NR_OPS][NR_MEMORIES];
const char *cell_note(char note);
extern const char cell_notes[];
extern const char legality_table[];

/* options.c: 0, or -1 when there is nothing more to do and *status says why */
int options_parse(struct options *o, int argc, char **argv, int *status);

/* region.c */
int regions_open(struct torture *t);
void regions_close(struct torture *t);
struct region *region_of(struct torture *t, unsigned long addr);
void *region_map(struct region *r, void *at, int flags, unsigned int page, unsigned int pages,
		 unsigned int version, bool raw);

/* record.c */
void record_make(struct record *rec, const struct torture *t, const struct region *r,
		 unsigned int page, uint64_t generation);
void page_store(const struct torture *t, const struct region *r, unsigned int page,
		unsigned char *at, uint64_t generation);
enum verdict page_judge(const struct torture *t, const struct region *r, unsigned int page,
			uint64_t before, uint64_t after, const unsigned char *bytes);
void record_describe(const unsigned char *bytes, char *text, size_t size);

/* change.c */
void change(struct torture *t, struct region *r, unsigned int first, unsigned int pages,
	    bool raw);

/* calls.c: each by libc's function, or by a system call that no hook of libc sees. */
int call_munmap(bool raw, void *at, size_t length);
void *call_mmap(bool raw, void *at, size_t length, int prot, int flags, int fd, off_t offset);
void *call_mremap(bool raw, void *at, size_t from, size_t to, int flags, void *fixed);
int call_madvise(bool raw, void *at, size_t length, int advice);
int call_brk(bool raw, void *at);

/* mutator.c, device.c: threads */
void *mutator_main(void *arg);
void *device_main(void *arg);
int device_open(struct device *d);
void device_close(struct device *d);

/* meet.c */
void meet_hold(struct uring_window *w);
void meet_pinned(struct uring_window *w, unsigned long addr);
void meet_begin(struct uring_window *w);
void meet_begun(struct uring_window *w);
struct region *meet_wanted(struct device *d, unsigned int *page, bool *fresh);
void meet_declined(struct device *d);
bool meet_lure(struct mutator *m, struct region *r, unsigned int page);
void meet_want_hold(struct mutator *m, struct region *r, unsigned int first,
		    unsigned int pages);
bool meet_over(struct mutator *m);

/* policy.c */
extern const struct uring_coherence *const policies[NR_COLUMNS];

/* replay.c: --replay. Each column is given the recording from its beginning. */
int replay_open(struct torture *t);
void replay_close(struct torture *t);
/* The next change for one of the mutator's regions; NULL: none of its kind. */
struct region *replay_next(struct mutator *m, unsigned int *first, unsigned int *pages);

/* disturb.c: 0 or -errno; stop before the threads that are disturbed end. */
int disturb_start(struct torture *t);
void disturb_stop(struct torture *t);

/* run.c */
void torture_fatal(struct torture *t, const char *what, int error);
int torture_run(struct torture *t);
double torture_now(void);
uint64_t torture_random(uint64_t *state);

/* report.c, json.c */
struct total {
	struct counts counts;
	uint64_t changes, met, stale, accesses;
	double seconds;
};
enum outcome { OUTCOME_PASSED, OUTCOME_STALE, OUTCOME_PROVED_NOTHING, OUTCOME_BROKEN };
void totals(const struct torture *t, struct total total[NR_COLUMNS]);
uint64_t cell_stale(const struct torture *t, const struct region *r, enum column c);
const struct region *region_at(const struct torture *t, enum op op, enum memory memory);
enum outcome outcome_of(const struct torture *t, const struct total total[NR_COLUMNS],
			char *why, size_t size);
const char *source_name(const struct torture *t);
/* Does the source bracket, or is it told afterwards? Of libc's, or of raw munmap. */
bool source_brackets(const struct torture *t);
bool source_sees_raw(const struct torture *t);
bool source_has_net(const struct torture *t);
void report_progress(const struct torture *t, double passed);
void report_table(const struct torture *t, const struct total total[NR_COLUMNS]);
void report_replay(const struct torture *t);
int report_json(const struct torture *t, const struct total total[NR_COLUMNS],
		enum outcome outcome, const char *why);

#endif /* HMMU_TORTURE_H */

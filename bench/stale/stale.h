/* SPDX-License-Identifier: MIT */
/*
 * stale.h - does a registration cache hand out what is no longer there?
 *
 *	remapper				user
 *	for generation 1, 2, 3, ...		again:
 *		moving = true				looks the page up, in a side's cache
 *		munmap(page)				reads what the pin holds
 *		mmap(page)				reads what the process reads
 *		*page = generation			counts, if nothing moved meanwhile
 *		moving = false
 *		waits until it was counted once
 *
 * Two ordinary threads, no others. The pin is a real one, the same for all sides: a slot
 * of io_uring's registered buffers, which holds the physical page as an RDMA registration
 * does; the kernel writes from it to a file that the user looks at. Nothing is derived from
 * what the side says.
 *
 *	stale	the pin holds an older generation than the process reads: the page of a
 *		mapping that is gone
 *	zero	the pin holds zeroes while the process reads a generation: a page that never had
 *		one. Not a remap that was missed: apart
 *	wrong	the pin holds what was never written, or a newer one: the test is broken
 */
#ifndef HMMU_STALE_H
#define HMMU_STALE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096UL

/* What one side is told to do, and what came of it. Slowed: each registration takes so much
 * longer, and side->slow() holds its window open for WINDOWS times that at most. */
#define WINDOWS 100

struct order {
	uint64_t remaps;
	unsigned int slow_us;
};

struct count {
	uint64_t remaps;  /* each counted once */
	uint64_t lookups; /* nothing moved meanwhile */
	uint64_t moved;	  /* something did: not judged */
	uint64_t stale;	  /* remaps of which an older generation was handed out */
	uint64_t zero;
	uint64_t wrong;
	double seconds;
};

/*
 * struct side - a way to look a buffer up. A process has one.
 * @name:	in the table and in JSON
 * @what:	in words
 * @control:	is known to be stale sometimes: without that the run proves nothing
 * @open:	0 or -errno. Context: before the threads.
 * @get:	a valid pin of [addr, addr + len), until @put: its slot, or -errno
 * @slow:	hold the window open between the cache's being told of a change and the change,
 *		until a registration has been made in it, for so many us at most; 0: not. NULL:
 *		there is none
 * @close:	forget everything
 */
struct side {
	const char *name;
	const char *what;
	bool control;
	int (*open)(void);
	int (*get)(void *addr, size_t len, void **handle);
	void (*put)(void *handle);
	void (*slow)(unsigned int us);
	void (*close)(void);
};

extern const struct side side_ucx, side_ucx_hmmu; /* side_ucx.c */
extern const struct side side_hmmu;		  /* side_hmmu.c */

/* pin.c: registered buffers. Context of pin_add() and pin_drop(): any ordinary thread. */
int pin_open(void);
int pin_add(void *addr, size_t len); /* a slot, or -errno; a page that is not there: -EFAULT */
void pin_drop(int slot);
/* The first word that the pin at @slot, made for @addr, holds. 0 or -errno. The user's. */
int pin_read(int slot, const void *addr, uint64_t *word);
void pin_slow(unsigned int us);
/* Until pin_add() has returned once more, for so long at most. Context: any, a hook too. */
void pin_await(unsigned int us);
/* What pin_add() has answered that was no -EFAULT, or 0. */
int pin_trouble(void);

/* stress.c: both threads. 0 or -errno. */
int stress(const struct side *side, const struct order *order, struct count *count);

/* worker.c: one process for each side. 0 or -errno; -EPROTO: it died. */
struct worker {
	const struct side *side;
	int pid;
	int orders;
	int answers;
};
int worker_start(struct worker *worker, const struct side *side);
int worker_do(struct worker *worker, const struct order *order, struct count *count);
void worker_stop(struct worker *worker);

#endif /* HMMU_STALE_H */

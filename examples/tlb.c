// SPDX-License-Identifier: MIT
/*
 * tlb.c - an emulator's software TLB, kept coherent by the explicit source.
 *
 * A guest of two threads. One runs a program: it loads the word at each of its pages, over
 * and over. Its loads go through a TLB: an array from guest page to host page, consulted
 * without a lock. The other one is the guest's kernel: it moves a page to another frame,
 * writes the next generation there, and gives the old frame to someone else, who scribbles
 * over it at once. Guest addresses are numbers of the emulator's own: nothing of the host
 * knows them, so the guest's kernel says itself what it changes (start, end).
 *
 * What a load may see is a generation that was current at some moment while it ran. With
 * --unsafe the TLB is told nothing, and the poison of the frame's next owner is seen.
 */
#include <hmmu/mmu_notifier.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PAGES 8u
#define FRAMES (PAGES + 4) /* more than pages: a move finds one free */
#define SHIFT 12
#define BASE 0x10000UL /* of the guest's addresses */
#define MOVES 20000u
#define POISON UINT64_MAX

static _Atomic uint64_t frame[FRAMES]; /* the word in each */
static _Atomic uint32_t table[PAGES];  /* the guest's page table: which frame */
static _Atomic uint64_t published[PAGES];
static uint32_t free_frames[FRAMES], free_first, free_n;

static struct mm_struct *mm;
static struct mmu_interval_notifier sub;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the TLB's writers */
/* One CPU's: it alone fills it, so that host and seq belong together. */
static struct tlb {
	_Atomic uint64_t seq; /* of the sub; good for as long as hmmu_access_ok() */
	_Atomic(_Atomic uint64_t *) host;
} tlb[PAGES];
static atomic_bool warm, done; /* every page was loaded; the last move was made */
static bool unsafe;

/* The guest's kernel changes [start, end): the entries there go. */
static bool invalidate(struct mmu_interval_notifier *s, const struct mmu_notifier_range *range,
		       unsigned long cur_seq)
{
	pthread_mutex_lock(&lock);
	mmu_interval_set_seq(s, cur_seq);
	for (unsigned int i = 0; i < PAGES; i++)
		if (range->start <= BASE + ((unsigned long)i << SHIFT) &&
		    range->end > BASE + ((unsigned long)i << SHIFT))
			atomic_store(&tlb[i].host, NULL);
	pthread_mutex_unlock(&lock);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {invalidate};

/* A miss: walk the table, and install what was found if it still holds. */
static void refill(unsigned int i)
{
	unsigned long seq = unsafe ? 0 : mmu_interval_read_begin(&sub);
	_Atomic uint64_t *host = &frame[atomic_load(&table[i])];

	pthread_mutex_lock(&lock);
	if (unsafe || !mmu_interval_read_retry(&sub, seq)) {
		atomic_store(&tlb[i].seq, seq);
		atomic_store(&tlb[i].host, host);
	}
	pthread_mutex_unlock(&lock);
}

/* A load of the guest. It is done when nothing has changed while it was made. */
static uint64_t load(unsigned int i)
{
	for (;;) {
		_Atomic uint64_t *host = atomic_load(&tlb[i].host);
		unsigned long seq = atomic_load(&tlb[i].seq);
		uint64_t value;

		if (!host || (!unsafe && !hmmu_access_ok(&sub, seq))) {
			refill(i);
			continue;
		}
		value = atomic_load(host);
		if (unsafe || hmmu_access_ok(&sub, seq))
			return value;
	}
}

/* The guest's program, interpreted: r0 = load(r1); check r0; r1 = next page; jump. */
enum op { LOAD, CHECK, NEXT, JUMP };
struct result {
	uint64_t loads, stale;
};

static void *run(void *arg)
{
	static const enum op program[] = {LOAD, CHECK, NEXT, JUMP};
	struct result *result = arg;
	uint64_t r0 = 0, before = 0;
	unsigned int pc = 0, r1 = 0, left = 4 * PAGES;

	/* A round of all pages after the last move, too. */
	while (!atomic_load(&done) || left--) {
		switch (program[pc++]) {
		case LOAD:
			before = atomic_load(&published[r1]);
			r0 = load(r1);
			result->loads++;
			break;
		case CHECK: /* newer than what was published, maybe; not older, nor another's */
			result->stale +=
				r0 == POISON || r0 < before || (r0 && r0 % PAGES != r1);
			break;
		case NEXT:
			r1 = (r1 + 1) % PAGES;
			if (!r1)
				atomic_store(&warm, true);
			break;
		case JUMP:
			pc = 0;
		}
	}
	return NULL;
}

/* The guest's kernel moves page @i to another frame. */
static int move(unsigned int i, uint64_t generation)
{
	unsigned long at = BASE + ((unsigned long)i << SHIFT);
	struct mmu_notifier_range range;
	uint32_t old, new = free_frames[free_first];

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, at, at + (1UL << SHIFT));
	if (!unsafe && mmu_notifier_invalidate_range_start(&range))
		return -1;
	atomic_store(&frame[new], generation);
	old = atomic_exchange(&table[i], new);
	atomic_store(&frame[old], POISON); /* its next owner's */
	free_frames[(free_first + free_n) % FRAMES] = old;
	free_first = (free_first + 1) % FRAMES;
	if (!unsafe)
		mmu_notifier_invalidate_range_end(&range);
	atomic_store(&published[i], generation);
	return 0;
}

int main(int argc, char **argv)
{
	struct hmmu_mm_options options = {.size = sizeof(options),
					  .sources = HMMU_SOURCE_EXPLICIT};
	struct result result = {0, 0};
	pthread_t guest;
	int ret = 0;

	unsafe = argc > 1 && !strcmp(argv[1], "--unsafe");
	for (uint32_t i = 0; i < FRAMES; i++)
		if (i < PAGES)
			atomic_store(&table[i], i);
		else
			free_frames[free_n++] = i;
	if (hmmu_mm_open(&mm, &options) ||
	    mmu_interval_notifier_insert(&sub, mm, BASE, (unsigned long)PAGES << SHIFT, &ops) ||
	    pthread_create(&guest, NULL, run, &result))
		return 1;
	while (!atomic_load(&warm))
		sched_yield();
	for (unsigned int n = 1; n <= MOVES && !ret; n++)
		ret = move(n % PAGES, n);
	atomic_store(&done, true);
	pthread_join(guest, NULL);
	mmu_interval_notifier_remove(&sub);
	printf("%s%llu loads, %u pages moved, %llu stale\n", unsafe ? "unsafe: " : "",
	       (unsigned long long)result.loads, MOVES, (unsigned long long)result.stale);
	/* What is unsafe has to show, or this shows nothing. */
	return ret || hmmu_mm_close(mm) || !result.loads || unsafe != (result.stale > 0);
}

// SPDX-License-Identifier: MIT
/*
 * machine.c - what this machine takes for the things that operations are made of: the
 * parameters of the cost model (docs/performance.md, model.py).
 */
#include "bench.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hmmu/mmu_notifier.h>

#include "atomic.h"

#define CHASE_BYTES (512ul << 20) /* more than any cache holds */
#define LINE 64

static void run_getppid(void *arg, uint64_t iters)
{
	for (uint64_t i = 0; i < iters; i++)
		syscall(SYS_getppid);
}

static void run_nothing(void *arg, uint64_t iters)
{
	for (uint64_t i = 0; i < iters; i++)
		__asm__ volatile("" ::: "memory");
}

/* Two functions of the library that do nothing in a release build. */
static void run_calls(void *arg, uint64_t iters)
{
	for (uint64_t i = 0; i < iters; i++) {
		hmmu_driver_lock_acquired(arg);
		hmmu_driver_lock_released(arg);
	}
}

static void run_clock(void *arg, uint64_t iters)
{
	for (uint64_t i = 0; i < iters; i++)
		now_ns();
}

static void run_locked(void *arg, uint64_t iters)
{
	static uint64_t word;

	for (uint64_t i = 0; i < iters; i++) {
		hmmu_add_seqcst(&word, 1);
		hmmu_add_seqcst(&word, 1);
	}
}

struct stat measure_getppid(void)
{
	struct batch batch = {.run = run_getppid};
	struct line line = {.goal = GOAL_NONE};

	measure(&line, &batch, NULL);
	getppid_ns = line.hmmu.median;
	return line.hmmu;
}

struct stat measure_locked(void)
{
	struct batch batch = {.run = run_locked};
	struct line line = {.goal = GOAL_NONE};

	measure(&line, &batch, NULL);
	return line.hmmu;
}

/* ---- a load that must wait for the one before, from memory -------------- */

struct chase {
	char *base;
	size_t at;
};

/* Every line once, in an order that no prefetcher knows: an LCG of full period. */
static void *chase_map(void)
{
	const size_t lines = CHASE_BYTES / LINE;
	char *base = mmap(NULL, CHASE_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	for (size_t i = 0; i < lines; i++)
		*(size_t *)(base + i * LINE) =
			((i * 6364136223846793005u + 1442695040888963407u) % lines) * LINE;
	return base;
}

static void run_chase(void *arg, uint64_t iters)
{
	struct chase *chase = arg;
	size_t at = chase->at;

	for (uint64_t i = 0; i < iters; i++)
		at = *(volatile size_t *)(chase->base + at);
	chase->at = at;
}

/* ---- another thread ----------------------------------------------------- */

static struct {
	uint64_t word __attribute__((aligned(128)));
	uint64_t stop __attribute__((aligned(128)));
	bool answers;
	pthread_barrier_t there; /* on its own CPU */
} other;

static void *other_run(void *arg)
{
	pin(1);
	pthread_barrier_wait(&other.there);
	while (!hmmu_load_acquire(&other.stop)) {
		uint64_t v = hmmu_load_acquire(&other.word);

		if (other.answers && v % 2)
			hmmu_store_release(&other.word, v + 1);
	}
	return arg;
}

/* Two transfers: there and back. */
static void run_line(void *arg, uint64_t iters)
{
	for (uint64_t i = 0; i < iters; i += 2) {
		uint64_t v = hmmu_load_relaxed(&other.word) + 1;

		hmmu_store_release(&other.word, v);
		while (hmmu_load_acquire(&other.word) == v)
			;
	}
}

static void run_membarrier(void *arg, uint64_t iters)
{
	for (uint64_t i = 0; i < iters; i++)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static void beside_another(struct line *line, batch_fn *run, bool answers)
{
	struct batch batch = {.run = run};
	pthread_t thread;

	if (cpus() < 2) {
		line->not_available = true;
		snprintf(line->note, sizeof(line->note), "one CPU only");
		return;
	}
	other.answers = answers;
	hmmu_store_release(&other.stop, 0);
	if (pthread_barrier_init(&other.there, NULL, 2) ||
	    pthread_create(&thread, NULL, other_run, NULL))
		abort();
	pthread_barrier_wait(&other.there);
	measure_in(FEW_ROUNDS, line, &batch, NULL);
	hmmu_store_release(&other.stop, 1);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&other.there);
}

static void measure_memory(void)
{
	struct line line = line_of("machine", "a dependent miss, from memory");
	struct chase chase = {.base = chase_map()};
	struct batch batch = {.run = run_chase, .arg = &chase};

	if (!chase.base) {
		line.not_available = true;
		snprintf(line.note, sizeof(line.note), "no memory for it");
	} else {
		measure_in(FEW_ROUNDS, &line, &batch, NULL);
		snprintf(line.note, sizeof(line.note), "random in 512 MiB, 4 KiB pages");
		munmap(chase.base, CHASE_BYTES);
	}
	report(&line);
	line = line_of("machine", "a cache line from another CPU");
	beside_another(&line, run_line, true);
	report(&line);
	line = line_of("machine", "membarrier, another thread running");
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)) {
		line.not_available = true;
		snprintf(line.note, sizeof(line.note), "no membarrier");
	} else {
		beside_another(&line, run_membarrier, false);
	}
	report(&line);
}

void measure_machine(void)
{
	struct batch nothing = {.run = run_nothing};
	struct batch calls = {.run = run_calls};
	struct batch clock = {.run = run_clock};
	struct line line = line_of("machine", "getppid(), a bare system call");

	line.hmmu = measure_getppid();
	snprintf(line.note, sizeof(line.note), "goals in ns are scaled by %.2f",
		 getppid_ns / GETPPID_NS);
	report(&line);
	line = line_of("machine", "empty loop");
	measure(&line, &nothing, NULL);
	snprintf(line.note, sizeof(line.note), "the floor of all loops; not subtracted");
	report(&line);
	line = line_of("machine", "two empty calls of the library");
	measure(&line, &calls, NULL);
	snprintf(line.note, sizeof(line.note), "the floor of a pair; not subtracted");
	report(&line);
	line = line_of("machine", "two locked instructions");
	line.hmmu = measure_locked();
	snprintf(line.note, sizeof(line.note), "the floor of start + end; not subtracted");
	report(&line);
	line = line_of("machine", "reading the clock");
	measure(&line, &clock, NULL);
	snprintf(line.note, sizeof(line.note),
		 "in each sample of a percentile; not subtracted");
	report(&line);
	/* Half a GiB to be had and given back: not for one group of figures. */
	if (!options.only || wanted("machine", ""))
		measure_memory();
}

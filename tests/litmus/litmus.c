// SPDX-License-Identifier: MIT
/* litmus.c - see litmus.h. */
#include "litmus.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"

#define FILL 24 /* fewer than a store buffer holds */
#ifdef LITMUS_WEAK
#define FLUSH_ONE_OF 1
#else
#define FLUSH_ONE_OF 8
#endif
#define SPINS_TO_YIELD 2000
#define YIELDS_TO_LOOK 500
#define PATIENCE 15 /* seconds, with a bug */

struct side {
	uint64_t arrived __attribute__((aligned(64))); /* written by its own thread only */
	int tid;
};

static struct side left_side, right_side;
static const struct litmus *current;
static uint64_t stop_after __attribute__((aligned(64))); /* rounds; left writes */
static uint64_t lost, rounds_run;

static __thread uint32_t dice;

uint32_t litmus_random(void)
{
	if (!dice)
		dice = (uint32_t)syscall(SYS_gettid) * 2654435761u | 1;
	dice ^= dice << 13;
	dice ^= dice >> 17;
	dice ^= dice << 5;
	return dice;
}

static uint64_t lines[2][FILL][8] __attribute__((aligned(64))); /* a side's */
static __thread unsigned int my_side;				/* 0 left, 1 right */

static void store_lines(unsigned int side)
{
	for (size_t i = 0; i < FILL; i++)
		hmmu_store_relaxed(&lines[side][i][0], i);
}

void litmus_take(unsigned int side)
{
	store_lines(side);
#if defined(__x86_64__)
	/* Further away still: in memory. It takes a microsecond, so not always. */
	if (FLUSH_ONE_OF > 1 && litmus_random() % FLUSH_ONE_OF)
		return;
	for (size_t i = 0; i < FILL; i++)
		__builtin_ia32_clflush(&lines[side][i][0]);
#endif
}

void litmus_fill(void)
{
	store_lines(my_side);
}

void litmus_delay(unsigned int bits)
{
	uint32_t r = litmus_random();

	/* Half of them shorter: which lead the pair needs is the machine's secret. */
	if (r & 2)
		bits -= (r >> 4 & 15) % (bits + 1);
	for (uint32_t n = (r >> 8) & ((1u << bits) - 1); n > 0; n--)
		__asm__ volatile("");
	if ((r & 0x30) == 0)
		litmus_fill();
}

bool litmus_sleeps(int tid)
{
	char path[64], text[256], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	p = strrchr(text, ')');
	return p && p[1] == ' ' && p[2] == 'S';
}

/* Left is through: nobody but it could wake right. */
static void look_for_lost(void)
{
	if (!current->rescue || !litmus_sleeps(right_side.tid))
		return;
	lost++;
	current->rescue();
}

static void meet(struct side *mine, const struct side *other)
{
	unsigned int spins = 0, yields = 0;
	uint64_t n = mine->arrived + 1;

	hmmu_store_seqcst(&mine->arrived, n);
	while (hmmu_load_acquire(&other->arrived) < n) {
		hmmu_cpu_relax();
		if (++spins < SPINS_TO_YIELD)
			continue;
		spins = 0;
		sched_yield();
		if (++yields % YIELDS_TO_LOOK == 0 && mine == &left_side)
			look_for_lost();
	}
}

/* Right stays on the last CPU, so that left finds another one, if there are two. Left is
 * free: threads that the library makes for it inherit where it may run. */
static void stay_on_last_cpu(void)
{
	cpu_set_t allowed, one;
	int last = CPU_SETSIZE - 1;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	while (last > 0 && !CPU_ISSET(last, &allowed))
		last--;
	CPU_ZERO(&one);
	CPU_SET(last, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void *right_thread(void *arg)
{
	right_side.tid = (int)syscall(SYS_gettid);
	my_side = 1;
	stay_on_last_cpu();
	meet(&right_side, &left_side);
	for (;;) {
		meet(&right_side, &left_side);
		if (hmmu_load_relaxed(&stop_after))
			return arg;
		litmus_take(0);
		if (current->warm_right)
			current->warm_right();
		litmus_delay(current->right_bits);
		current->right();
		meet(&right_side, &left_side);
	}
}

static uint64_t give_up; /* seconds of CLOCK_MONOTONIC; 0: never */

static uint64_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

static bool tired(uint64_t round)
{
	return give_up && round % 256 == 0 && seconds() >= give_up;
}

uint64_t litmus_run(const struct litmus *l, uint64_t rounds, uint64_t stop)
{
	uint64_t bad = 0;
	pthread_t right;

	current = l;
	lost = 0;
	left_side.arrived = right_side.arrived = 0;
	hmmu_store_relaxed(&stop_after, 0);
	if (pthread_create(&right, NULL, right_thread, NULL))
		abort();
	meet(&left_side, &right_side);
	for (uint64_t i = 0; i < rounds && (!stop || bad + lost < stop) && !tired(i); i++) {
		meet(&left_side, &right_side);
		litmus_take(1);
		if (l->warm_left)
			l->warm_left();
		litmus_delay(l->left_bits);
		l->left();
		meet(&left_side, &right_side);
		bad += !l->settle();
		rounds_run = i + 1;
	}
	hmmu_store_relaxed(&stop_after, 1);
	meet(&left_side, &right_side);
	pthread_join(right, NULL);
	return bad + lost;
}

static int print(const struct litmus *l, uint64_t bad, const char *how, int found)
{
	printf("%-15s %9lu rounds %6lu violations  %s%s: %s\n", l->name,
	       (unsigned long)rounds_run, (unsigned long)bad,
	       found == LITMUS_FAILED	   ? "FAILED  "
	       : found == LITMUS_NOT_SHOWN ? "not shown  "
					   : "",
	       how, l->pair);
	fflush(stdout);
	return found;
}

int litmus_clean(const struct litmus *l, uint64_t rounds)
{
	uint64_t bad = litmus_run(l, rounds, 0);

	return print(l, bad, "as it is", bad ? LITMUS_FAILED : 0);
}

static uint64_t patience(void)
{
	const char *text = getenv("HMMU_LITMUS_SECONDS");

	return text && *text ? strtoull(text, NULL, 10) : PATIENCE;
}

int litmus_broken(const struct litmus *l, const char *bug)
{
	uint64_t bad;

	give_up = seconds() + patience();
	bad = litmus_run(l, UINT64_MAX, 1);
	give_up = 0;
	return print(l, bad, bug, bad ? 0 : LITMUS_NOT_SHOWN);
}

int litmus_status(int found)
{
	if (found & LITMUS_FAILED)
		return 1;
	if (!(found & LITMUS_NOT_SHOWN))
		return 0;
	printf("This machine has not shown a bug that was planted: where it shows nothing, it "
	       "proves nothing.\n");
	return 77;
}

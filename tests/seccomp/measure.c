// SPDX-License-Identifier: MIT
/*
 * measure.c - what a call costs, bare and notified: medians of interleaved runs, each in a
 * process of its own. Nobody subscribes: the cost is the way there and back.
 *
 * With an argument the notifier says that nobody has to be called, and the receiver serves
 * short calls itself.
 */
#include "sec.h"

#include <string.h>
#include <time.h>

#include "../hooks/recorder.h"

#define RUNS 7
#define CALLS 2000

static const char *const names[] = {"munmap of a page", "mmap, not fixed", "mmap, fixed",
				    "madvise DONTNEED", "getppid"};
#define NR (sizeof(names) / sizeof(names[0]))

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *v, size_t n)
{
	qsort(v, n, sizeof(*v), ascending);
	return v[n / 2];
}

static uint64_t once(size_t what, char *page)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS, prot = PROT_READ | PROT_WRITE;
	uint64_t start, end;
	long p = (long)page;

	if (what == 0) {
		p = raw(SYS_mmap, NULL, PAGE, prot, flags, -1, 0);
		*(char *)p = 1;
	}
	*page = 1;
	start = now();
	switch (what) {
	case 0:
		raw(SYS_munmap, p, PAGE);
		break;
	case 1:
		p = raw(SYS_mmap, NULL, PAGE, prot, flags, -1, 0);
		break;
	case 2:
		raw(SYS_mmap, page, PAGE, prot, flags | MAP_FIXED, -1, 0);
		break;
	case 3:
		raw(SYS_madvise, page, PAGE, MADV_DONTNEED);
		break;
	default:
		raw(SYS_getppid);
	}
	end = now();
	if (what == 1)
		raw(SYS_munmap, p, PAGE);
	return end - start;
}

static void run(bool served, uint64_t out[NR])
{
	static uint64_t took[CALLS];
	int fds[2];
	pid_t pid;

	CHECK(!pipe(fds));
	pid = fork();
	if (!pid) {
		uint64_t medians[NR];
		char *page = sec_pages(1, 'A');

		rec_watch(true);
		if (served)
			sec_open();
		for (size_t what = 0; what < NR; what++) {
			for (int i = 0; i < CALLS; i++)
				took[i] = once(what, page);
			medians[what] = median(took, CALLS);
		}
		CHECK(write(fds[1], medians, sizeof(medians)) == sizeof(medians));
		_exit(0);
	}
	CHECK(read(fds[0], out, NR * sizeof(*out)) == (ssize_t)(NR * sizeof(*out)));
	sec_join(pid);
	close(fds[0]);
	close(fds[1]);
}

int main(int argc, char **argv)
{
	uint64_t bare[RUNS][NR], served[RUNS][NR], b[RUNS], s[RUNS];

	(void)argv;
	sec_quiet = argc > 1;
	for (int i = 0; i < RUNS; i++) {
		run(false, bare[i]);
		run(true, served[i]);
	}
	for (size_t what = 0; what < NR; what++) {
		uint64_t mb, ms;

		for (int i = 0; i < RUNS; i++) {
			b[i] = bare[i][what];
			s[i] = served[i][what];
		}
		mb = median(b, RUNS);
		ms = median(s, RUNS);
		printf("%-20s bare %6ju ns  seccomp %6ju ns  %.2f times\n", names[what],
		       (uintmax_t)mb, (uintmax_t)ms, (double)ms / (double)mb);
	}
	return 0;
}

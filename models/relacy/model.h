/* SPDX-License-Identifier: MIT */
/*
 * model.h - what the Relacy models share: mutants, the search, a futex.
 *
 * A model is one argument of src/ written again, small, with Relacy's atomics (C11
 * orders, stale loads, happens-before races on plain variables, deadlocks, livelocks).
 * It is run as it is, which must be clean, and once for each of its mutants, each of
 * which must fail: a model whose mutants survive proves nothing. A third kind of line,
 * SPARE, is an order made weaker than src/ has it, or a rule looked at from another
 * side, that must be clean too: it says what the argument does NOT need.
 *
 * Mutants are chosen at run time, M(NAME), as in src/plant.h: one build for all.
 *
 *	relacy-read		everything; exit 1 if one line is not as expected
 *	relacy-read NAME	that line only, with the history of its failure
 *
 * What Relacy cannot see: its total order of seqcst accesses is the order in which it
 * executes, and a failed compare-exchange reads the newest value: it explores a little
 * less than C11 allows. A load looks back at most two values, one in a full search.
 */
#ifndef HMMU_MODEL_H
#define HMMU_MODEL_H

#include <relacy/relacy.hpp>

#include <stdio.h>
#include <string.h>
#include <ostream>
#include <time.h>

enum expect { CLEAN, FAILS, SPARE };

/* FULL ends by itself; RANDOM(n) after n interleavings; BOUND(n): all with n
 * preemptions. */
struct search {
	rl::scheduler_type_e type;
	unsigned n;
};
#define FULL                      \
	{                         \
		rl::sched_full, 0 \
	}
#define RANDOM(n)                   \
	{                           \
		rl::sched_random, n \
	}
#define BOUND(n)                   \
	{                          \
		rl::sched_bound, n \
	}

struct line {
	const char *name;
	const char *what;
	expect expected;
	int shape; /* which scenario the model's threads act out */
	search how;
};

static int planted = -1; /* index of the line that runs */
static int shape;

/* MODEL(LIST): LIST(X) is X(name, what, expected, shape, search) ... */
#define MODEL_ENUM(name, what, expected, shape, ...) M_##name,
#define MODEL_LINE(name, what, expected, shape, ...) \
	{#name, what, expected, shape, __VA_ARGS__},
#define MODEL(LIST)                     \
	enum { LIST(MODEL_ENUM) M_NR }; \
	static const line lines[] = {LIST(MODEL_LINE)};
#define MODEL_MAIN(model)                                         \
	int main(int argc, char **argv)                           \
	{                                                         \
		return run_model<model>(lines, M_NR, argc, argv); \
	}
#define M(name) (planted == M_##name)

/* The order of src/, or a weaker one in a mutant. */
#define WEAK(name, strong, weak) (M(name) ? rl::weak : rl::strong)

/* The kernel compares with the newest value or the waker finds the waiter: its own
 * barriers see to that. No spurious wake-ups: they could only hide a lost one. */
static inline void futex_wait(rl::atomic<int> &word, int value)
{
	rl::context &c = rl::ctx();

	c.sched();
	if (word.debug_value() == value)
		word.wait(c, false, false, $);
}

static inline void futex_wake(rl::atomic<int> &word, int n)
{
	rl::context &c = rl::ctx();

	c.sched();
	word.wake(c, n, $);
}

/*
 * A subscription seen from its driver: counts, the truth, the driver lock, the reader's loop
 * (read.cpp has its mutants). For models of how an invalidation finds the subscription.
 */
struct driver_side {
	rl::atomic<int> begun, ended, truth;
	rl::mutex lock;
	int now, held; /* ghosts: the truth, and what is installed */

	void reset()
	{
		begun($).store(0, rl::mo_relaxed);
		ended($).store(0, rl::mo_relaxed);
		truth($).store(1, rl::mo_relaxed);
		now = 1;
		held = 0;
	}

	/* The callback. */
	void drop()
	{
		lock.lock($);
		held = 0;
		lock.unlock($);
	}

	void change()
	{
		RL_ASSERT(held == 0);
		now++;
		truth($).store(now, rl::mo_relaxed);
	}

	void count(rl::atomic<int> &which)
	{
		which($).store(which($).load(rl::mo_relaxed) + 1, rl::mo_release);
	}

	void read()
	{
		rl::linear_backoff wait;
		bool again;
		int seq, v;

		do {
			while (ended($).load(rl::mo_acquire) !=
			       (seq = begun($).load(rl::mo_acquire)))
				wait.yield($);
			v = truth($).load(rl::mo_relaxed);
			lock.lock($);
			again = begun($).load(rl::mo_acquire) != seq;
			if (!again) {
				RL_ASSERT(v == now);
				held = v;
			}
			lock.unlock($);
		} while (again);
	}
};

static inline double model_seconds()
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* true: as expected. */
template <typename model> static bool run_line(const line *lines, int i, bool history)
{
	const line &l = lines[i];
	std::ostream quiet(NULL); /* swallows; must not allocate inside Relacy */
	double before = model_seconds();
	rl::test_params p;
	bool clean;

	planted = i;
	shape = l.shape;
	p.search_type = l.how.type;
	p.iteration_count = l.how.n ? l.how.n : 1;
	p.context_bound = l.how.n;
	p.execution_depth_limit = 1000;
	p.progress_stream = &quiet;
	p.output_stream = history ? &std::cout : &quiet;
	clean = rl::simulate<model>(p);
	printf("%-6s %-20s %9lu %6.2f s  %-18s %s\n",
	       l.expected == FAILS   ? "mutant"
	       : l.expected == SPARE ? "spare"
				     : "",
	       l.name, (unsigned long)p.stop_iteration, model_seconds() - before,
	       clean ? "clean" : rl::test_result_str(p.test_result), l.what);
	fflush(stdout);
	return clean == (l.expected != FAILS);
}

template <typename model> static int run_model(const line *lines, int n, int argc, char **argv)
{
	int bad = 0, ran = 0;

	printf("       %-20s %9s\n", "", "searched");
	for (int i = 0; i < n; i++) {
		if (argc > 1 && strcmp(argv[1], lines[i].name) != 0)
			continue;
		ran++;
		if (run_line<model>(lines, i, argc > 1))
			continue;
		bad++;
		printf("NOT AS EXPECTED: %s\n", lines[i].name);
	}
	printf("%d lines, %d not as expected\n", ran, bad);
	return bad || !ran;
}

#endif

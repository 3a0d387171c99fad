/* SPDX-License-Identifier: MIT */
/*
 * bench.h - how the figures are made.
 *
 * A figure is the median over rounds of a batch's mean time, with the 10th and the
 * 90th percentile as its spread. What is compared is measured in one run, batch by
 * batch in turns (A B, B A, A B, ...), so that what the machine does meanwhile
 * happens to both; a ratio is the median of the rounds' ratios, not the ratio of
 * medians. Batches last about BATCH_NS; their length in operations is found before
 * the first round, which also warms up. Threads are pinned.
 *
 * Goals in nanoseconds are stated for a machine on which a bare getppid() takes
 * 250 ns; they are scaled by what it takes here.
 */
#ifndef HMMU_BENCH_H
#define HMMU_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BATCH_NS 2e6
#define MAX_ROUNDS 101
#define GETPPID_NS 250.0

struct stat {
	double median, p10, p90;
};

/* What a goal bounds. */
enum goal {
	GOAL_NONE,
	GOAL_NS,     /* hmmu's median <= value, scaled */
	GOAL_FASTER, /* the reference's time / hmmu's >= value */
	GOAL_TIMES,  /* measured / base <= value */
	GOAL_MORE,   /* measured - base <= value ns, scaled */
};

/* One row of the table. */
struct line {
	const char *group;
	char name[72];
	const char *unit;      /* "ns" if NULL */
	const char *base_name; /* of `base`: "reference" if NULL */
	struct stat hmmu;
	struct stat base;
	struct stat ratio; /* base / hmmu; for GOAL_TIMES and GOAL_MORE hmmu / base */
	struct stat more;  /* hmmu - base */
	bool has_base;
	enum goal goal;
	double value;
	char note[96]; /* instead of base, or why there is no figure */
	bool not_available;
};

struct options {
	bool json;
	bool quick;
	int rounds;
	size_t many; /* subscriptions of the largest world */
	const char *only;
	const char *results; /* directories, or NULL */
	const char *plots;
	const char *loads; /* where the recordings are */
};

extern struct options options;
extern double getppid_ns; /* set by measure_machine() */

/* measure.c */
double now_ns(void);
/* Pins the calling thread to the n-th CPU that the process may use; false: none. */
bool pin(int n);
int cpus(void);
double resident_bytes(void);
struct stat stat_of(double *values, size_t n);	       /* sorts */
double percentile(double *values, size_t n, double p); /* sorts */

/* Runs @iters operations of one side; returns nothing: the caller has the clock. */
typedef void batch_fn(void *arg, uint64_t iters);
struct batch {
	batch_fn *run;
	void *arg;
	double (*time)(struct batch *, uint64_t iters); /* NULL: run under the clock */
	uint64_t iters;					/* found by calibrate() */
};
/* Fills line->hmmu and, if base, ->base, ->ratio and ->more. */
void measure(struct line *line, struct batch *hmmu, struct batch *base);
/* The same in @rounds at most: for what takes long. */
#define FEW_ROUNDS 15
void measure_in(int rounds, struct line *line, struct batch *hmmu, struct batch *base);
/* More than two in turns, each beginning as often: the times of each, and what each takes
 * divided by what the first takes, round by round. */
#define MAX_SIDES 8
void measure_sides(struct batch *const sides[], size_t n, struct stat *time,
		   struct stat *ratio);

/* machine.c */
/* A bare system call; sets getppid_ns. */
struct stat measure_getppid(void);
struct stat measure_locked(void); /* two locked instructions */
void measure_machine(void);

/* report.c */
bool wanted(const char *group, const char *name);
struct line line_of(const char *group, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void goal(struct line *line, enum goal goal, double value);
void report(const struct line *line); /* prints the row, keeps it for JSON */
void report_head(void);
/* All of them so far; the closing line: how many goals were missed. */
const struct line *report_lines(int *n);
int report_sum(void);
void figure(double value, char *text, size_t size); /* "4.71", "12.34 ms" */

bool goal_reached(const struct line *line);
bool goal_reached_as_stated(const struct line *line);
void goal_text(const struct line *line, char *text, size_t size);

/* facts.c: of this machine, now; words for people. */
#define FACTS 10
struct fact {
	const char *name;
	char value[128];
};
size_t facts(struct fact *fact); /* FACTS of them at most; how many */
/* "2026-11-23-some-cpu-2": what results of this machine and day are called. */
void facts_slug(char *text, size_t size);

/* json.c: the same as the table, to --results and with --json to standard output. 0 or 1 */
int json_end(int missed);
/* plots.c: --plots, an SVG for each group; without gnuplot a word */
void plots(const char *directory);

/* The groups */
void bench_core(void);
void bench_storm(void);
void bench_hooks(void);
void bench_sources(void);
void bench_devmem(void);
void bench_regcache(void);
void bench_hmm(void);
void bench_mirror(void);
void bench_loads(void);

#endif /* HMMU_BENCH_H */

/* SPDX-License-Identifier: MIT */
/* net_run.h - scenarios of net.h in a table, and the planted bugs that they kill. */
#ifndef TESTS_SCHED_NET_RUN_H
#define TESTS_SCHED_NET_RUN_H

#include "net.h"

#define NET_STEPS 1200

/* A program of one to four threads; each column has its function's name. */
#define NET_PROGRAM(label, set_up)                                                  \
	.name = (label), .setup = (set_up), .enter = net_enter, .check = net_check, \
	.length = NET_STEPS, .max_steps = 200000
#define NET_FN(fn) (void *)(fn)
#define NET_PROGRAM1(label, set_up, a)                                             \
	{                                                                          \
		NET_PROGRAM(label, set_up), .names = {NET_NAMES, #a},              \
					    .threads = {NET_THREADS, net_program}, \
					    .args = {NULL, NULL, NULL, NET_FN(a)}, \
	}
#define NET_PROGRAM2(label, set_up, a, b)                                   \
	{                                                                   \
		NET_PROGRAM(label, set_up),                                 \
			.names = {NET_NAMES, #a, #b},                       \
			.threads = {NET_THREADS, net_program, net_program}, \
			.args = {NULL, NULL, NULL, NET_FN(a), NET_FN(b)},   \
	}
#define NET_PROGRAM3(label, set_up, a, b, c)                                             \
	{                                                                                \
		NET_PROGRAM(label, set_up),                                              \
			.names = {NET_NAMES, #a, #b, #c},                                \
			.threads = {NET_THREADS, net_program, net_program, net_program}, \
			.args = {NULL, NULL, NULL, NET_FN(a), NET_FN(b), NET_FN(c)},     \
	}

#define NET_PROGRAM4(label, set_up, a, b, c, d)                                                \
	{                                                                                      \
		NET_PROGRAM(label, set_up),                                                    \
			.names = {NET_NAMES, #a, #b, #c, #d},                                  \
			.threads = {NET_THREADS, net_program, net_program, net_program,        \
				    net_program},                                              \
			.args = {                                                              \
				NULL, NULL, NULL, NET_FN(a), NET_FN(b), NET_FN(c), NET_FN(d)}, \
	}

/* A bug, and who must kill it: by an assertion, a deadlock or a livelock. */
struct net_planted {
	const char *name;
	enum hmmu_uffd_plant uffd;
	int hook; /* enum hmmu_hook_plant */
	enum hmmu_plant core;
	const struct sched_program *killer;
};

/* A program that is wrong itself, and what must be found. */
struct net_wrong {
	struct sched_program program;
	enum sched_verdict verdict;
};

struct net_suite {
	const struct sched_program *scenarios;
	size_t nscenarios;
	const struct net_planted *planted;
	size_t nplanted;
	const struct net_wrong *wrong;
	size_t nwrong;
};

/* "": all clean; "planted": all bugs; a second word: that one alone, printed. */
int net_run(const struct net_suite *suite, int argc, char **argv);

#endif /* TESTS_SCHED_NET_RUN_H */

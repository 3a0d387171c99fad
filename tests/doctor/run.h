/* SPDX-License-Identifier: MIT */
/* run.h - runs the command as a user does, and keeps what it printed. */
#ifndef HMMU_TESTS_DOCTOR_RUN_H
#define HMMU_TESTS_DOCTOR_RUN_H

#include <stdbool.h>

#define SKIP 77

struct run {
	int status; /* -1: killed */
	int signal;
	char *out, *err; /* until the next run */
};

/* What the child does to itself before it becomes the command. */
typedef void prepare_fn(void);

/* @line: the arguments, separated by blanks. On a terminal @err is in @out. */
void run(struct run *r, const char *program, const char *line, prepare_fn *prepare);
void run_on_terminal(struct run *r, const char *program, const char *line, prepare_fn *prepare);

/* Counts what is wrong and prints it; goes on. */
extern int wrong;
bool check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif /* HMMU_TESTS_DOCTOR_RUN_H */

/* SPDX-License-Identifier: MIT */
/* options.h - what the bench programs read of their command lines. */
#ifndef HMMU_BENCH_OPTIONS_H
#define HMMU_BENCH_OPTIONS_H

#include <stdbool.h>

/* Says so, by the program's name; @value may be NULL. 2, main()'s status for it. */
int bad_option(const char *option, const char *value);
/* A whole number from @low to @high? */
bool read_number(const char *text, unsigned long low, unsigned long high, unsigned long *value);

#endif /* HMMU_BENCH_OPTIONS_H */

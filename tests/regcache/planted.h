/* SPDX-License-Identifier: MIT */
/*
 * planted.h - `TEST --planted BUG CASE`: the case passes as it is, and fails with the bug
 * (src/plant.h), by an assertion or because it hangs. Each run is a process of its own.
 */
#ifndef HMMU_TEST_REGCACHE_PLANTED_H
#define HMMU_TEST_REGCACHE_PLANTED_H

#include <stdbool.h>

/* @run: in a child; its answer is the child's exit code. */
int planted_main(int argc, char **argv, int (*run)(const char *name));
bool planted_asked(int argc, char **argv);

#endif /* HMMU_TEST_REGCACHE_PLANTED_H */

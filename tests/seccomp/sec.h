/* SPDX-License-Identifier: MIT */
/*
 * sec.h - what the tests of the seccomp source share.
 *
 * A filter stays for ever: each case runs in a process of its own, by its name in argv.
 * The calls under test are made by raw(), a syscall instruction that is not the gate's,
 * in static code: libc and its hooks know nothing of it.
 */
#ifndef TESTS_SEC_H
#define TESTS_SEC_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "futex.h"
#include "source/seccomp/seccomp.h"

#define PAGE 4096UL
/* A case that hangs; planted ones are meant to. */
#ifdef HMMU_PLANT
#define SEC_SECONDS 8
#else
#define SEC_SECONDS 30
#endif

#define CHECK(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			_exit(1);                                                  \
		}                                                                  \
	} while (0)

#define raw(...) hmmu_syscall(__VA_ARGS__)

struct sec_case {
	const char *name;
	void (*run)(void);
};

/* The source is open and told; CHECKs. */
void sec_open(void);
/* @n pages of @fill. */
char *sec_pages(size_t n, char fill);
/* Is the page there? */
bool sec_mapped(const void *p);
/* The page's first byte, -1 when it cannot be read; never faults. */
int sec_peek(const void *p);
/* Waits for @pid, which must end with status 0. */
void sec_join(pid_t pid);
/* Every bracket ends (the spawner's own calls are bracketed, too); a hang if not. */
void sec_all_closed(void);
/* A count that others wait for. */
void sec_wait(uint32_t *word, uint32_t at_least);
void sec_post(uint32_t *word);
/* How often the source said that it is lost (lost.c). */
extern uint32_t sec_lost;
/* The notifier says that nobody has to be called; how often it did. */
extern bool sec_quiet;
extern uint32_t sec_quiet_starts;
/* Runs the case that argv[1] names. */
int sec_main(int argc, char **argv, const struct sec_case *cases, size_t n);

#endif /* TESTS_SEC_H */

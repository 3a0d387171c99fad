/* SPDX-License-Identifier: MIT */
/*
 * cache.h - a registration cache of UCX's over one page, for the tests of the adapter.
 *
 * What a registration "pins" is what the page held when it was made: a generation, which the
 * program writes into each new page. A look-up that answers an older one than the page holds
 * is stale.
 */
#ifndef TESTS_UCX_CACHE_H
#define TESTS_UCX_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* Creates the cache; once. False: UCX refuses (its events are off). */
bool cache_open(void);
void cache_close(void);

/* What a look-up of the page at @p answers: a generation, or 0: it could not be registered. */
uint64_t look(void *p);

/* Does a look-up find it in the cache, without a registration? */
bool cached(void *p);

/* The next registration calls it when it has read the page, and then never again. */
void in_next_registration(void (*fn)(void));

/* How often UCX has said that @p's page goes, since last asked. */
unsigned int told(const void *p);
/* In all, of whatever address, from whichever thread. */
unsigned int told_at_all(void);
/* Called in each event of @p's page, in the thread that is told. */
void in_event(const void *p, void (*fn)(void));

/* Between UCX's event and its system call of the next munmap() of @p's page. */
void before_munmap(const void *p, void (*fn)(void));

static inline uint64_t holds(const void *p)
{
	return *(const volatile uint64_t *)p;
}

#endif /* TESTS_UCX_CACHE_H */

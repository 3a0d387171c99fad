// SPDX-License-Identifier: MIT
/*
 * locked_alloc.c - an allocator that calls madvise with its lock held, as jemalloc and
 * libc's arenas do, while a callback runs. If anything on the hook's path allocated,
 * the thread would wait for itself; here it is caught by name.
 *
 * The program's malloc is replaced. open() itself may allocate, and does, with the
 * other threads in the middle of their calls.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "recorder.h"

#define PAGE 4096UL
#define BLOCK (16 * PAGE)
#define BLOCKS 512
#define THREADS 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
static char pool[BLOCKS * BLOCK] __attribute__((aligned(4096)));
static unsigned char used[BLOCKS];
/* volatile: madvise is declared to call nothing of this file. */
static __thread volatile bool inside __attribute__((tls_model("initial-exec")));
static uint32_t callbacks, under_lock;

static void die(const char *text)
{
	if (write(2, text, strlen(text)) < 0)
		_exit(3);
	abort();
}

static void enter(void)
{
	if (inside)
		die("locked_alloc: a hook or a callback allocates\n");
	pthread_mutex_lock(&lock);
	inside = true;
}

static void leave(void)
{
	inside = false;
	pthread_mutex_unlock(&lock);
}

/* Whole runs of blocks. The first word of a run is its length in blocks. */
void *malloc(size_t n)
{
	size_t want = (n + 64 + BLOCK - 1) / BLOCK, at, run = 0;

	enter();
	for (at = 0; at < BLOCKS && run < want; at++)
		run = used[at] ? 0 : run + 1;
	if (run < want) {
		leave();
		errno = ENOMEM;
		return NULL;
	}
	at -= want;
	memset(used + at, 1, want);
	*(size_t *)(pool + at * BLOCK) = want;
	leave();
	return pool + at * BLOCK + 64;
}

void free(void *p)
{
	size_t at, n;

	if (!p)
		return;
	enter();
	at = (size_t)((char *)p - pool) / BLOCK;
	n = *(size_t *)(pool + at * BLOCK);
	memset(used + at, 0, n);
	/* With the lock held. */
	madvise(pool + at * BLOCK, n * BLOCK, MADV_DONTNEED);
	leave();
}

void *calloc(size_t n, size_t size)
{
	void *p = malloc(n * size);

	return p ? memset(p, 0, n * size) : NULL;
}

void *realloc(void *old, size_t n)
{
	void *p = malloc(n);
	size_t had;

	if (p && old) {
		had = *(size_t *)((char *)old - 64) * BLOCK - 64;
		memcpy(p, old, had < n ? had : n);
		free(old);
	}
	return p;
}

static void callback(const struct record *r)
{
	if (r->end)
		return;
	hmmu_add_seqcst(&callbacks, 1);
	if (inside)
		hmmu_add_seqcst(&under_lock, 1);
	pthread_mutex_lock(&driver_lock);
	pthread_mutex_unlock(&driver_lock);
}

static void *churn(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		char *p = malloc(100 + (size_t)i * 7 % 200000);

		if (p)
			*p = 1;
		free(p);
	}
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];
	int err;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	printf("the sanitizer has its own malloc\n");
	return 77;
#endif
	rec_callback = callback;
	rec_watch(true);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, churn, NULL);
	err = hmmu_source_hooks.open();
	if (err) {
		fprintf(stderr, "open: %d\n", err);
		return 1;
	}
	churn(NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	if (rec_open() || hmmu_load_seqcst(&under_lock) < 2000) {
		fprintf(stderr, "open %u, %u callbacks, %u with the allocator's lock held\n",
			rec_open(), hmmu_load_seqcst(&callbacks),
			hmmu_load_seqcst(&under_lock));
		return 1;
	}
	return 0;
}

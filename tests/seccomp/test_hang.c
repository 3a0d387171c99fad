// SPDX-License-Identifier: MIT
/*
 * test_hang.c - programs that break the contract of callbacks: they do not hang.
 *
 * A case that hangs is ended by sec_main()'s alarm.
 */
#include "sec.h"

#include <pthread.h>

#include "../hooks/recorder.h"
#include "tls.h"

#define DEPTH 40
#define CROWD 32

static void ready(void)
{
	rec_watch(true);
	sec_open();
}

/* ---- a callback that unmaps, again and again --------------------------- */

static char *chain;
static uint32_t depth;

static void unmap_next(const struct record *r)
{
	uint32_t i = hmmu_load_seqcst(&depth);

	if (r->end || i >= DEPTH || r->start != (unsigned long)(chain + i * PAGE))
		return;
	hmmu_store_seqcst(&depth, i + 1);
	CHECK(raw(SYS_munmap, chain + (i + 1) * PAGE, PAGE) == 0);
	CHECK(sec_mapped(chain + i * PAGE)); /* its own call has not been made */
}

static void nested(void)
{
	ready();
	chain = sec_pages(DEPTH + 1, 'A');
	rec_callback = unmap_next;
	CHECK(raw(SYS_munmap, chain, PAGE) == 0);
	for (int i = 0; i <= DEPTH; i++)
		CHECK(sec_peek(chain + (unsigned long)i * PAGE) != 'A');
	sec_all_closed();
}

/* ---- a callback that allocates ----------------------------------------- */

static char *one_page;

static void allocate(const struct record *r)
{
	static void *volatile block;

	if (r->end || r->start != (unsigned long)one_page)
		return;
	for (int i = 0; i < 4; i++) {
		block = malloc(4 << 20); /* mmap */
		CHECK(block);
		free(block);		/* munmap */
		block = malloc(100000); /* brk */
		free(block);
	}
}

static void allocates(void)
{
	ready();
	rec_callback = allocate;
	one_page = sec_pages(1, 'A');
	CHECK(raw(SYS_munmap, one_page, PAGE) == 0);
	sec_all_closed();
}

/* ---- the driver lock, held across munmap -------------------------------- */

static pthread_mutex_t driver = PTHREAD_MUTEX_INITIALIZER;
static char *watched;
static uint32_t inside;

static void want_lock(const struct record *r)
{
	if (r->end || r->start < (unsigned long)watched ||
	    r->start >= (unsigned long)watched + CROWD * PAGE)
		return;
	/* As the notifier: who is inside a lock of ours calls nobody. */
	if (hmmu_tls.held)
		return;
	sec_post(&inside);
	pthread_mutex_lock(&driver);
	pthread_mutex_unlock(&driver);
}

static void *unmaps_watched(void *arg)
{
	CHECK(raw(SYS_munmap, arg, PAGE) == 0 && !sec_mapped(arg));
	return NULL;
}

/* Everybody's callback waits for the lock; its holder unmaps something else. */
static void lock_held(void)
{
	pthread_t t[CROWD];
	char *other;

	ready();
	watched = sec_pages(CROWD, 'A');
	rec_callback = want_lock;
	other = sec_pages(1, 'A');
	pthread_mutex_lock(&driver);
	for (unsigned long i = 0; i < CROWD; i++)
		CHECK(!pthread_create(&t[i], NULL, unmaps_watched, watched + i * PAGE));
	sec_wait(&inside, CROWD);
	CHECK(raw(SYS_munmap, other, PAGE) == 0 && !sec_mapped(other));
	pthread_mutex_unlock(&driver);
	for (int i = 0; i < CROWD; i++)
		CHECK(!pthread_join(t[i], NULL));
	sec_all_closed();
}

/* The holder unmaps what its own callback guards: a deadlock, but for the guard. */
static void deadlock(void)
{
	hmmu_seccomp_patience_ms = 200;
	ready();
	watched = sec_pages(CROWD, 'A');
	rec_callback = want_lock;
	pthread_mutex_lock(&driver);
	for (unsigned long i = 0; i < 4; i++) {
		CHECK(raw(SYS_munmap, watched + i * PAGE, PAGE) == 0);
		CHECK(!sec_mapped(watched + i * PAGE));
		/* Somebody may have it by now: it must not go a second time. */
		CHECK(mmap(watched + i * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0) == watched + i * PAGE);
	}
	pthread_mutex_unlock(&driver);
	sec_all_closed();
	for (unsigned long i = 0; i < 4; i++)
		CHECK(sec_mapped(watched + i * PAGE));
	CHECK(raw(SYS_munmap, watched, PAGE) == 0 && sec_lost == 0);
}

int main(int argc, char **argv)
{
	static const struct sec_case cases[] = {
		{"nested", nested},
		{"allocates", allocates},
		{"lock held", lock_held},
		{"deadlock", deadlock},
	};

	return sec_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

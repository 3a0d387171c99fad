// SPDX-License-Identifier: MIT
/*
 * watch.c - the subscription under test, its callback, and the witness: a thread that
 * says what a reader sees at a moment at which whoever asks stands still.
 *
 *	asker (changer, callback, tracer)	witness
 *	asked[who]++, ring			take what is asked
 *	  sleep until answered[who]		look: state, begin, access; store
 *						answered[who] = what was asked, wake
 *
 * Between questions, while a change is under way, the witness runs the reader's loop
 * without pause and keeps the last sequence that it got over old memory (candidate):
 * after the return that one must not be good any more. It is what finds a source that
 * ends an invalidation before the pages go.
 *
 * No malloc and no stdio here: a callback may run inside free(), and the witness answers
 * it.
 */
#include "doctor.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>

void futex_wait(_Atomic uint32_t *word, uint32_t seen, int milliseconds)
{
	struct timespec ts = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

	raw(SYS_futex, word, FUTEX_WAIT, seen, milliseconds ? &ts : NULL);
}

void futex_wake(_Atomic uint32_t *word)
{
	raw(SYS_futex, word, FUTEX_WAKE, 64);
}

struct look watch_ask(struct shared *s, enum asker who)
{
	uint32_t n = atomic_fetch_add(&s->asked[who], 1) + 1, seen;

	atomic_fetch_add(&s->bell, 1);
	futex_wake(&s->bell);
	for (int i = 0; (seen = atomic_load(&s->answered[who])) != n; i++) {
		if (s->stage == STAGE_DONE || i == PATIENCE)
			return (struct look){.begin = -EDEADLK, .ok = true, .old = true};
		futex_wait(&s->answered[who], seen, 1000);
	}
	return s->look[who];
}

int watch_arm(struct probe *p)
{
	struct timespec deadline;
	int ret;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec++;
	do {
		ret = hmmu_read_begin(&p->sub, &p->seq, &deadline);
	} while (!ret && state_old(p) && mmu_interval_read_retry(&p->sub, p->seq));
	return ret;
}

/* In the middle of a call: only here is there something to read. */
static void arm_late(struct probe *p)
{
	struct shared *s = p->shared;

	if (!s->window || (p->v->meanwhile && !p->v->meanwhile(p)) || !state_old(p))
		return;
	/* A source may wait for the changer to go on, who is stopped: at the next stop. */
	s->begin = watch_arm(p);
	if (s->begin == -ETIMEDOUT)
		return;
	s->callbacks = 0;
	s->before_by = 0;
	s->armed = 1;
}

static struct look look(struct probe *p)
{
	const struct timespec now = {0, 0};
	unsigned long seq;
	struct look l = {.ok = true, .old = true};

	if (p->v->late && !p->shared->armed) {
		arm_late(p);
		if (!p->shared->armed)
			return l; /* before its time even a try to begin would arm */
	}
	l.ok = hmmu_access_ok(&p->sub, p->seq);
	l.old = state_old(p);
	l.begin = hmmu_read_begin(&p->sub, &seq, &now);
	return l;
}

static void reader(struct probe *p)
{
	const struct timespec now = {0, 0};
	unsigned long seq;

	if (hmmu_read_begin(&p->sub, &seq, &now) || !state_old(p) ||
	    mmu_interval_read_retry(&p->sub, seq))
		return;
	p->candidate = seq;
}

static void *witness(void *arg)
{
	struct probe *p = arg;
	struct shared *s = p->shared;

	s->witness = (pid_t)raw(SYS_gettid);
	for (;;) {
		uint32_t bell = atomic_load(&s->bell);
		bool busy = false;

		for (int who = 0; who < ASK_NR; who++) {
			uint32_t n = atomic_load(&s->asked[who]);

			if (n == atomic_load(&s->answered[who]))
				continue;
			s->look[who] = look(p);
			atomic_store(&s->answered[who], n);
			futex_wake(&s->answered[who]);
			busy = true;
		}
		if (!busy && s->window && s->armed)
			reader(p);
		else if (!busy)
			futex_wait(&s->bell, bell, 0);
	}
	return NULL;
}

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	struct probe *p = (struct probe *)((char *)sub - offsetof(struct probe, sub));
	struct shared *s = p->shared;

	mmu_interval_set_seq(sub, seq);
	if (!s->begun || (uintptr_t)p->target < range->start ||
	    (uintptr_t)p->target >= range->end)
		return true;
	if (range->phase == HMMU_PHASE_BEFORE) {
		struct look l = watch_ask(s, ASK_CALLBACK);

		if (l.old && l.begin == -ETIMEDOUT && !l.ok && !s->before_by)
			s->before_by = (pid_t)raw(SYS_gettid);
	}
	atomic_fetch_add(&s->callbacks, 1);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

int watch_start(struct probe *p)
{
	pthread_t thread;
	int ret = -pthread_create(&thread, NULL, witness, p);

	while (!ret && !p->shared->witness)
		raw(SYS_sched_yield);
	return ret;
}

int watch_insert(struct probe *p)
{
	return mmu_interval_notifier_insert(&p->sub, p->mm, (unsigned long)p->addr, p->len,
					    &ops);
}

int watch_begin(struct probe *p)
{
	struct shared *s = p->shared;
	int ret;

	if (p->v->meanwhile)
		return 0;
	ret = watch_insert(p);
	if (ret || p->v->late)
		return ret;
	/* The witness has not been asked yet, and does not look at the state. */
	s->begin = watch_arm(p);
	s->armed = 1;
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * buffer.c - store buffers: what a thread has stored and the others do not see yet.
 *
 * A schedule alone is sequentially consistent: it cannot show that a store must be an
 * exchange, or that a scan needs a membarrier. So in a buffered run (sched_search_buffered())
 * a store that is not sequentially consistent stays in its thread's buffer, and reaches
 * memory when chance says so: at a later point of its own thread or, rarer, of another.
 * What empties it:
 *
 *	a seqcst store, a locked operation	its own, before it
 *	a futex call				its own: the kernel has barriers there
 *	membarrier				everybody's
 *
 *	x86	first in, first out (Owens, Sarkar, Sewell: x86-TSO, TPHOLs 2009)
 *	weak	as ARM may: a store passes earlier ones of other words, unless it is a release;
 *		locked operations that are relaxed or acquire empty nothing but their own word
 *
 * The seed draws which of the two, and how lazy the buffers are. Both are orders that C11
 * allows, so what fails here is a bug; loads come in program order, so a missing acquire is
 * not found (the Relacy models do that).
 *
 * A buffer is a list of what to undo. While its thread runs, memory is as that thread sees
 * it, so that its plain loads are right, too. When another one comes (sched_buffer_out()) the
 * stores are taken back, newest first, and put in again when it goes on. Plain stores are
 * everybody's at once: they are guarded by what is not plain.
 */
#include "inside.h"

#include <string.h>

#define run sched_now

/* One in so many points of another thread lets one store out. */
#define ODDS_ELSEWHERE 48

static void remove_at(struct sched_buffer *b, unsigned int i)
{
	b->n--;
	memmove(&b->store[i], &b->store[i + 1], (b->n - i) * sizeof(b->store[0]));
}

static void trace(const struct sched_thread *thread, const struct sched_store *s)
{
	if (s->age)
		sched_event(thread, SCHED_EV_STORED, s->pc);
	for (int t = 0; t < run.n; t++)
		if (run.threads[t] != thread)
			run.threads[t]->idle = 0;
}

/* Store @i of the thread that runs is everybody's: not taken back any more. */
static void commit(struct sched_thread *self, unsigned int i)
{
	trace(self, &self->buffer.store[i]);
	remove_at(&self->buffer, i);
}

/* Of one that does not: memory is nobody's view. */
static void commit_absent(struct sched_thread *thread, unsigned int i)
{
	struct sched_store *s = &thread->buffer.store[i];

	memcpy(s->at, &s->other, s->size);
	trace(thread, s);
	remove_at(&thread->buffer, i);
}

static void swap(struct sched_store *s)
{
	uint64_t now;

	memcpy(&now, s->at, s->size);
	memcpy(s->at, &s->other, s->size);
	memcpy(&s->other, &now, s->size);
}

void sched_buffer_out(struct sched_thread *self)
{
	for (unsigned int i = self->buffer.n; i-- > 0;)
		swap(&self->buffer.store[i]);
}

void sched_buffer_in(struct sched_thread *self)
{
	for (unsigned int i = 0; i < self->buffer.n; i++)
		swap(&self->buffer.store[i]);
}

static bool overlap(const struct sched_store *s, const volatile void *at, size_t size)
{
	uintptr_t mine = (uintptr_t)s->at, theirs = (uintptr_t)at;

	return mine < theirs + size && theirs < mine + s->size;
}

/* May @i leave before those that are older? */
static bool may_pass(const struct sched_buffer *b, unsigned int i)
{
	const struct sched_store *s = &b->store[i];

	if (i && (!run.res->weak || s->release))
		return false;
	for (unsigned int old = 0; old < i; old++)
		if (overlap(&b->store[old], s->at, s->size))
			return false;
	return true;
}

/* One, by chance, that may leave. */
static unsigned int some(const struct sched_buffer *b)
{
	unsigned int i = sched_below(b->n);

	return may_pass(b, i) ? i : 0;
}

void sched_buffer_empty(struct sched_thread *self)
{
	while (self->buffer.n)
		commit(self, 0);
}

void sched_buffer_empty_all(void)
{
	for (int t = 0; t < run.n; t++)
		while (run.threads[t]->buffer.n)
			commit_absent(run.threads[t], 0);
}

/* Those of one word, with all that is older. */
static void empty_word(struct sched_thread *self, const volatile void *at, size_t size)
{
	unsigned int i = self->buffer.n;

	while (i > 0 && !overlap(&self->buffer.store[i - 1], at, size))
		i--;
	while (i-- > 0)
		commit(self, 0);
}

static void elsewhere(struct sched_thread *self)
{
	struct sched_thread *other = run.threads[sched_below((unsigned int)run.n)];

	if (other == self || !other->buffer.n || sched_below(ODDS_ELSEWHERE))
		return;
	sched_buffer_out(self);
	commit_absent(other, some(&other->buffer));
	sched_buffer_in(self);
}

/* At each point of @self's: time passes. */
void sched_buffer_tick(struct sched_thread *self)
{
	if (!run.res->buffered)
		return;
	for (unsigned int i = 0; i < self->buffer.n; i++)
		self->buffer.store[i].age = 1;
	while (self->buffer.n && !sched_below(run.lazy))
		commit(self, some(&self->buffer));
	elsewhere(self);
}

/* The store itself comes next. */
void sched_buffer_store(struct sched_thread *self, volatile void *at, size_t size, bool release,
			const void *pc)
{
	struct sched_buffer *b = &self->buffer;
	struct sched_store *s;

	if (!run.res->buffered)
		return;
	if (b->n == SCHED_STORES)
		commit(self, 0);
	s = &b->store[b->n++];
	*s = (struct sched_store){.at = (void *)(uintptr_t)at,
				  .size = (unsigned int)size,
				  .release = release,
				  .pc = pc};
	memcpy(&s->other, s->at, size);
}

void sched_buffer_locked(struct sched_thread *self, const volatile void *at, size_t size,
			 bool all)
{
	if (all || !run.res->weak)
		sched_buffer_empty(self);
	else
		empty_word(self, at, size);
}

/* Drawn only where it is used: the seeds of other searches stay what they were. */
void sched_buffer_draw(void)
{
	static const unsigned int lazy[] = {2, 8, 64};

	run.res->weak = false;
	if (!run.res->buffered)
		return;
	run.res->weak = sched_below(2);
	run.lazy = lazy[sched_below(3)];
}

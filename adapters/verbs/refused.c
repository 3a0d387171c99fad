// SPDX-License-Identifier: MIT
/*
 * refused.c - regions that ibv_dereg_mr() did not take: EBUSY, or EINVAL of rdma_rxe, while a
 * memory window is bound to them. No get finds them; they keep their pages pinned, so that
 * they are not forgotten but tried again.
 */
#include "verbs_adapter.h"

void refused_init(struct refused *f)
{
	pthread_mutex_init(&f->lock, NULL);
	f->tail = &f->head;
}

static uint64_t peek(_Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* With lock, one way or the other. */
static void account(struct refused *f, uint64_t nr, uint64_t bytes)
{
	atomic_store_explicit(&f->nr, peek(&f->nr) + nr, memory_order_relaxed);
	atomic_store_explicit(&f->bytes, peek(&f->bytes) + bytes, memory_order_relaxed);
}

void refused_add(struct refused *f, struct region *r)
{
	pthread_mutex_lock(&f->lock);
	r->next = NULL;
	*f->tail = r;
	f->tail = &r->next;
	account(f, 1, r->bytes);
	pthread_mutex_unlock(&f->lock);
}

/* Whoever takes one off is the only one who knows it. */
static struct region *take(struct refused *f)
{
	struct region *r;

	pthread_mutex_lock(&f->lock);
	r = f->head;
	if (r) {
		f->head = r->next;
		if (!f->head)
			f->tail = &f->head;
		account(f, -(uint64_t)1, -(uint64_t)r->bytes);
	}
	pthread_mutex_unlock(&f->lock);
	return r;
}

void refused_retry(struct hmmu_verbs *v, uint64_t most)
{
	uint64_t n = peek(&v->refused.nr);
	struct region *r;

	for (n = n < most ? n : most; n; n--) {
		r = take(&v->refused);
		if (!r)
			return;
		if (verbs_dereg(v, r))
			refused_add(&v->refused, r);
	}
}

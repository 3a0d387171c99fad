// SPDX-License-Identifier: MIT
/* side.c - where keys come from: see stale.h. */
#include "stale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("rdma: %s: %m\n", what);
	exit(2);
}

void side_open(struct side *s, struct pair *pair, bool protect)
{
	struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;

	memset(s, 0, sizeof(*s));
	s->pair = pair;
	s->name = protect ? "hmmu" : "kept";
	o.access = ACCESS;
	need(!protect || !hmmu_verbs_open(&s->v, pair->pd, &o), "hmmu_verbs_open");
}

void side_close(struct side *s)
{
	for (int i = 0; i < KEPT; i++)
		need(!s->kept[i] || !ibv_dereg_mr(s->kept[i]), "ibv_dereg_mr");
	need(!s->v || !hmmu_verbs_close(s->v), "hmmu_verbs_close");
}

/* The manual's way: registered at first use, found again by its address. */
static struct ibv_mr *find_kept(struct side *s, const void *page)
{
	for (int i = 0; i < KEPT; i++) {
		if (!s->kept[i])
			s->kept[i] = ibv_reg_mr(s->pair->pd, (void *)page, PAGE, ACCESS);
		need(s->kept[i] != NULL, "ibv_reg_mr");
		if (s->kept[i]->addr == page)
			return s->kept[i];
	}
	need(false, "too many registrations");
	return NULL;
}

void side_get(struct side *s, const void *page, struct keys *keys)
{
	if (s->v) {
		need(!hmmu_verbs_get(s->v, page, PAGE, RW, &keys->ref), "hmmu_verbs_get");
		keys->lkey = hmmu_verbs_lkey(&keys->ref);
		keys->rkey = hmmu_verbs_rkey(&keys->ref);
	} else {
		struct ibv_mr *mr = find_kept(s, page);

		keys->lkey = mr->lkey;
		keys->rkey = mr->rkey;
	}
}

bool side_put(struct side *s, struct keys *keys)
{
	bool good = !s->v || hmmu_verbs_valid(s->v, &keys->ref);

	if (s->v)
		hmmu_verbs_put(s->v, &keys->ref);
	return good;
}

/* Filled before it is moved there: nobody ever sees it half done. */
uint64_t *fresh(void *page, uint64_t word)
{
	uint64_t *p = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(p != MAP_FAILED, "mmap");
	for (size_t i = 0; i < PAGE / sizeof(*p); i++)
		p[i] = word;
	if (page)
		p = mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page);
	need(p != MAP_FAILED, "mremap");
	return p;
}

uint64_t word_of(const uint64_t *page)
{
	const volatile uint64_t *p = page;
	uint64_t word = p[0];

	for (size_t i = 1; i < PAGE / sizeof(*p); i++)
		need(p[i] == word, "a page of one word");
	return word;
}

void transfer(struct side *s, enum ibv_wr_opcode opcode, void *local, uint32_t lkey,
	      void *remote, uint32_t rkey)
{
	int status = pair_transfer(s->pair, opcode, local, lkey, remote, rkey, PAGE);

	if (status)
		printf("rdma: transfer: %s\n",
		       status > 0 ? ibv_wc_status_str((enum ibv_wc_status)status) : "refused");
	need(!status, "transfer");
}

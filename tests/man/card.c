// SPDX-License-Identifier: MIT
/*
 * card.c - a device to open, for hmmu_verbs(3)'s example where there is none: in front of
 * libibverbs, with the registrations of tests/verbs/standin.c.
 */
#include "../verbs/standin.h"

static struct ibv_device device = {.name = "card"};
static struct ibv_context context = {.device = &device};

struct ibv_device **ibv_get_device_list(int *n)
{
	struct ibv_device **list = calloc(2, sizeof(*list));

	must(list != NULL);
	list[0] = &device;
	if (n)
		*n = 1;
	return list;
}

void ibv_free_device_list(struct ibv_device **list)
{
	free(list);
}

struct ibv_context *ibv_open_device(struct ibv_device *d)
{
	must(d == &device);
	return &context;
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *c)
{
	must(c == &context);
	return &card_pd;
}

int ibv_dealloc_pd(struct ibv_pd *pd)
{
	must(pd == &card_pd && card.regs > 0);
	card_reset(); /* nothing may be registered any more */
	return 0;
}

int ibv_close_device(struct ibv_context *c)
{
	must(c == &context);
	return 0;
}
